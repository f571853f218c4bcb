"""Find the store that holds a job's ledger, among all kinds that are built in or installed."""

from collections.abc import Iterator
from pathlib import Path

from bulk_patch import plugins
from bulk_patch.job.section import Section
from bulk_patch.ledgers import LedgerStore

USUAL = "sqlite"


def open_store(kind: str, output: Path, settings: Section | None = None) -> LedgerStore:
    """Return the ledgers of one kind below an output folder.

    Args:
        kind: As in `[ledger] kind`.
        output: The `output/` folder.
        settings: The job's `[ledger]`; None: it is only read.

    Raises:
        JobError: There is no such kind.
    """
    store: LedgerStore = plugins.find("ledger", kind)(output, settings)
    return store


def all_stores(output: Path) -> Iterator[LedgerStore]:
    """Yield the stores of all kinds below an output folder, the usual kind first."""
    for kind in sorted(plugins.kinds("ledger"), key=lambda kind: (kind != USUAL, kind)):
        yield open_store(kind, output)


def find_store(job: str, output: Path) -> LedgerStore:
    """Return the store that has a ledger of this job; the usual one where none has."""
    usual = open_store(USUAL, output)
    if job in usual.jobs():  # what else is installed takes a while to look through
        return usual
    return next((store for store in all_stores(output) if job in store.jobs()), usual)
