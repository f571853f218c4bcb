"""The conformance suites of plug-ins, for pytest: a package with a ledger of its own runs the suite of ledgers over it.

In a test module of that package, with the fixtures that the suite names:

    from bulk_patch.testing.ledgers import *

Needed besides this package: pytest.
"""

import pytest

pytest.register_assert_rewrite("bulk_patch.testing.ledgers")
