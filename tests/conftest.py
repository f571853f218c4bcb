"""What every test shares."""

import pytest
from hypothesis import HealthCheck, settings

from tests.support.examples import QUICK, WHOLE

MARKERS = ("browser", "bench", "dev", "chaos")

# How long an example takes says more about the machine than about the code.
settings.register_profile("long", max_examples=WHOLE, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("long"), max_examples=QUICK)
settings.load_profile("quick")  # `--hypothesis-profile=long` is loaded after this, and before any test is imported


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what is left out, and how to run it."""
    if config.getoption("markexpr") != " and ".join(f"not {name}" for name in MARKERS):
        return None
    extras, either = ",".join(("test", *MARKERS)), " or ".join(MARKERS)
    return f"left out: tests with a marker; pip install -e '.[{extras}]' && pytest -m '{either}' runs them"
