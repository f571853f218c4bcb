"""The conformance suites of plug-ins, for pytest: a package with plug-ins of its own runs the suites over them.

In a test module of that package, with the fixtures that the suite names in its docstring:

    from bulk_patch.testing.ledgers import *

The others are `targets`, `engines` and `baselines`. Needed besides this package: pytest, and for targets and engines
Hypothesis.
"""

import pytest

for suite in ("ledgers", "targets", "engines", "baselines"):
    pytest.register_assert_rewrite(f"bulk_patch.testing.{suite}")
