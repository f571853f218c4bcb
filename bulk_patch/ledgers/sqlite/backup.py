"""Copies of a SQLite ledger, and places where none may lie."""

import os
from pathlib import Path

from bulk_patch.errors import LedgerError
from bulk_patch.files.atomic import sync_folder
from bulk_patch.files.mounts import SHARED, file_system_of
from bulk_patch.ledgers.sqlite.files import explained, open_for_reading
from bulk_patch.ledgers.sqlite.reader import SqliteReader


def back_up(ledger: Path, to: Path, *, job: str) -> tuple[int, str]:
    """Copy a ledger to a file, also while another process writes to it; return how many runs it has, and its head.

    Raises:
        LedgerError: The ledger cannot be read, or the disk fails.
    """
    draft = to.with_name(f"{to.name}.new")
    with explained(to):
        database = open_for_reading(ledger.resolve(), job=job)
        try:
            draft.unlink(missing_ok=True)
            os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            database.copy_to(draft, alone=True)
        finally:
            database.close()
        try:
            with SqliteReader(open_for_reading(draft, job=job)) as copy:
                runs, head = len(copy.runs()), copy.head()
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        draft.replace(to)
        sync_folder(to.parent)
    return runs, head


def refuse_shared(ledger: Path) -> None:
    """Refuse a ledger on a file system that other hosts may write to.

    Raises:
        LedgerError: It lies on one.
    """
    kind = file_system_of(ledger.parent)
    if kind in SHARED:
        raise LedgerError(
            f"ledger {ledger} lies on a network file system ({kind}), where its lock and its log are not safe",
            'Choose a folder on a local disk with --output. A job that says `shared_filesystem = "I know"` under '
            "[ledger] takes the risk that two hosts send at once.",
        )
