"""Every kind of ledger goes through one suite."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.testing.ledger_plans import JOB


def open_sqlite(folder: Path) -> Ledger:
    """Open the SQLite ledger of the test's job; its salts are fixed, so that the same plan has the same hash."""
    return SqliteLedger.open(folder / JOB / "ledger.db", job=JOB, draw_salts=bytes)


#: Kind -> how one is opened; a new kind of ledger adds a line here and nothing else.
LEDGERS: dict[str, Callable[[Path], Ledger]] = {"sqlite": open_sqlite}


@pytest.fixture(params=LEDGERS)
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Ledger]:
    """Return what opens the ledger of the test's job, each time it is called."""
    return lambda: LEDGERS[request.param](tmp_path)


@pytest.fixture
def ledger(open_ledger: Callable[[], Ledger]) -> Iterator[Ledger]:
    """Return an open ledger."""
    with open_ledger() as opened:
        yield opened
