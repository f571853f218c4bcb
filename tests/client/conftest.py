"""The suite of the transport runs over both: the one that is chosen on this version of aiohttp, and the other one.

With a version of aiohttp that is not in `LEAN_ON`, `pytest -m "" tests/client` therefore says whether it may be.
"""

import aiohttp
import pytest

from bulk_patch.client import transport

#: Modules whose tests say something about a transport.
ABOUT_TRANSPORTS = {"test_connections", "test_failures", "test_http", "test_http_tls", "test_session"}
CHOSEN, OTHER = ("lean", "reference") if aiohttp.__version__ in transport.LEAN_ON else ("reference", "lean")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test about a transport over both of them."""
    is_chosen = any(marker.args[0] == "over" for marker in metafunc.definition.iter_markers("parametrize"))
    if metafunc.module.__name__.rpartition(".")[2] in ABOUT_TRANSPORTS and not is_chosen:
        metafunc.parametrize("over", [CHOSEN, pytest.param(OTHER, marks=pytest.mark.chaos)], indirect=True)


@pytest.fixture(autouse=True)
def over(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the transport chosen that the test asks for, whatever the version of aiohttp."""
    if (chosen := getattr(request, "param", None)) is not None:
        monkeypatch.setattr(transport, "LEAN_ON", {aiohttp.__version__} if chosen == "lean" else set())
