"""The head of a SQLite ledger beside it: a ledger that was restored, deleted, or lost its log is behind it.

The file is written after the commit, so it is never ahead of the ledger: when a session starts, at a seal, every ten
seconds, and at the end. Only a ledger behind it is refused; one ahead of it was killed before it wrote it again.
"""

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from bulk_patch.errors import OlderLedgerError
from bulk_patch.files.atomic import sync_folder
from bulk_patch.ledgers.sqlite import chain_queries
from bulk_patch.ledgers.sqlite.database import Database

_EVERY_S = 10.0
_EVIDENCE = "summary.json"  # written last into a run's folder, when the ledger had long known the run

_is_run = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}").fullmatch

#: Number and hash of an event.
Head = tuple[int, str]


class HeadFile:
    """The file `ledger.head`.

    Args:
        ledger: The ledger's file.
        mode: The permissions of the file.
    """

    def __init__(self, ledger: Path, *, mode: int = 0o600) -> None:
        self._path = ledger.with_suffix(".head")
        self._mode = mode
        kept = self.read()
        self._written = kept[0] if kept else 0  # number of the event
        self._written_at = time.monotonic()

    def read(self) -> Head | None:
        """Return what was written last; None where there is nothing that can be read."""
        try:
            kept = json.loads(self._path.read_bytes())
            return int(kept["number"]), str(kept["sha256"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def keep(self, number: int, sha256: bytes, *, at_once: bool) -> None:
        """Write the head durably, when it is due.

        A failure is passed over: it hides nothing but a later restore, and the ledger itself tells of a full disk.
        """
        if number == self._written or not (at_once or time.monotonic() - self._written_at >= _EVERY_S):
            return
        self._written, self._written_at = number, time.monotonic()
        draft = self._path.with_name(f"{self._path.name}.new")
        with suppress(OSError):
            draft.unlink(missing_ok=True)
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(file, self._mode)
                os.write(file, json.dumps({"number": number, "sha256": sha256.hex()}).encode() + b"\n")
                os.fsync(file)
            finally:
                os.close(file)
            draft.replace(self._path)
            sync_folder(self._path.parent)


def find_gap(database: Database | None, head: Head | None, folder: Path) -> str:
    """Say what a ledger does not know though it was there; "" when it knows all.

    Args:
        database: The ledger; None where there is none.
        head: What was kept beside it.
        folder: Of the job, with a folder for each run.
    """
    last, known = 0, set[str]()
    if database is not None:
        line = database.first(chain_queries.LAST_EVENT)
        last = line[0] if line else 0
    if head is not None:
        number, sha256 = head
        if number > last:
            return f"it ends at event {last:,}, and event {number:,} had been written"
        line = database.first("SELECT sha256 FROM events WHERE number = ?", (number,)) if database else None
        if line is None or bytes(line[0]).hex() != sha256:
            return f"event {number:,} is not the one that had been written"
    folders = folders_of(folder)
    if folders and database is not None:
        known = {name for (name,) in database.all("SELECT id FROM runs")}
        if not known.issuperset(folders):
            known |= _told(database)
    lost = [name for name in folders if name not in known]
    return f"it does not know run {lost[0]}, which has a folder" if lost else ""


def _told(database: Database) -> set[str]:
    """Return runs that are gone by right: discarded, older than the chain, or given up with an older ledger."""
    told = set[str]()
    for (detail,) in database.all("SELECT detail FROM events WHERE run = 0"):
        facts = json.loads(detail) if detail else {}
        told |= {str(facts.get("run", "")), *map(str, facts.get("folders", ()))}
    return told


def folders_of(folder: Path) -> list[str]:
    """Return the names of the folders of runs that were reported."""
    return sorted(path.parent.name for path in folder.glob(f"*/{_EVIDENCE}") if _is_run(path.parent.name))


def older(path: Path, gap: str) -> OlderLedgerError:
    """Return the error that says which ledger is older than its folder, and how to continue."""
    return OlderLedgerError(
        f"ledger {path} is older than its folder: {gap}; nothing is sent",
        "Restore a newer copy of it. Where there is none: `bulk-patch run JOB --new --reason TEXT` reads every row "
        "before it sends it, and treats rows that were open as possibly sent.",
    )
