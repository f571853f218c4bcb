"""Backup: a whole copy of a job's ledger, also while a run is sent."""

from dataclasses import dataclass
from pathlib import Path

from bulk_patch.errors import UsageError
from bulk_patch.ledgers.stores import find_store


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of a ledger."""

    runs: int
    head: str  # hash of the last event, "" in a ledger that has none


def back_up(job_folder: Path, to: Path, *, force: bool) -> Backup:
    """Copy the ledger of a job, whole or not at all.

    Args:
        job_folder: `output/<job>`.
        to: The copy.
        force: Replace a file that is there.

    Raises:
        UsageError: There is a file already, or no such folder.
        LedgerError: The ledger is damaged, or the disk fails.
    """
    if to.is_dir() or not to.parent.is_dir():
        what = "it is a folder" if to.is_dir() else f"the folder {to.parent} does not exist"
        raise UsageError(f"cannot write to {to}: {what}", "name a file in an existing folder")
    if to.exists() and not force:
        raise UsageError(f"{to} exists already", "name another file, or replace this one with --force")
    store = find_store(job_folder.name, job_folder.parent)
    with store.read(job_folder.name) as ledger:  # a damaged ledger replaces no backup
        if to.exists() and any(to.samefile(file) for file in job_folder.iterdir()):
            raise UsageError(f"{to} is in use by the ledger itself", "name another file")
        ledger.runs()
    runs, head = store.back_up(job_folder.name, to)
    return Backup(runs, head)
