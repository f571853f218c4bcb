"""Where SQLite ledgers are: `output/<job>/ledger.db`."""

import os
from pathlib import Path
from typing import ClassVar

from bulk_patch.files.atomic import is_shared
from bulk_patch.job.section import Section
from bulk_patch.ledgers.records import Holder
from bulk_patch.ledgers.sqlite.backup import back_up, refuse_shared
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger, holder_of
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.ledgers.sqlite.settings import SqliteSettings


class SqliteStore:
    """The SQLite ledgers of an output folder; see `LedgerStore` for what each method promises.

    Args:
        output: The `output/` folder.
        settings: Of the job that writes: whether a file system that other hosts write to is accepted.
    """

    Settings = SqliteSettings
    file_name: ClassVar[str] = "ledger.db"

    def __init__(self, output: Path, settings: Section | None = None) -> None:
        self._output = output
        self._refuses_shared = settings is not None and getattr(settings, "shared_filesystem", None) is None

    def jobs(self) -> list[str]:
        """Return the names of the jobs that have a ledger here."""
        return (
            sorted(path.parent.name for path in self._output.glob(f"*/{self.file_name}"))
            if self._output.is_dir()
            else []
        )

    def write(self, job: str, *, wait_s: float = 0.0, restored: str = "") -> SqliteLedger:
        """Open the ledger of a job to write; make it when there is none. A folder of a team has one for the team."""
        folder = self._output / job
        if self._refuses_shared:
            refuse_shared(folder / self.file_name)
        group = folder.is_dir() and is_shared(folder)
        path, salts = folder / self.file_name, self.draw_salts
        return SqliteLedger.open(path, job=job, group=group, wait_s=wait_s, restored=restored, draw_salts=salts)

    def draw_salts(self, size: int) -> bytes:
        """Return random bytes for a seal; a test overrides it, so that the same plan gets the same hash."""
        return os.urandom(size)

    def read(self, job: str) -> SqliteReader:
        """Open the ledger of a job to read."""
        return SqliteReader.read(self._output / job / self.file_name, job=job)

    def back_up(self, job: str, to: Path) -> tuple[int, str]:
        """Copy the ledger of a job to a file, whole or not at all; return how many runs are in it, and its head."""
        return back_up(self._output / job / self.file_name, to, job=job)

    def holder(self, job: str) -> Holder | None:
        """Return who holds the ledger of a job for writing now, if anyone does."""
        return holder_of(self._output / job / self.file_name)
