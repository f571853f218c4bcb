"""One SQLite connection: settings, transactions, and what its failures mean in words."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from bulk_patch.errors import LedgerError

Values = Mapping[str, Any] | Sequence[Any]
Line = tuple[Any, ...]

_OLDEST_SQLITE = (3, 31, 0)  # generated columns; RHEL 9 has 3.34
_BUSY_S = 2.0  # only a database browser can make us wait: there is one writer

_SETTINGS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",  # find damage when it is read, not later
    "PRAGMA cache_size = -4096",  # KiB: rows are written in their order, more would only make a long run look leaking
    "PRAGMA mmap_size = 0",  # a bad sector under a map is a SIGBUS, not an error
)
_WRITER_SETTINGS = (
    "PRAGMA synchronous = FULL",  # NORMAL loses the last commits on power loss
    "PRAGMA fullfsync = ON",  # macOS: fsync alone stops at the drive's cache
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA secure_delete = FAST",  # ON writes every page of a discarded plan again
    "PRAGMA journal_size_limit = 67108864",
)

_SAFE = "Nothing is sent whose intent is not on record. "
_AGAIN = "then run the same command again."

#: How SQLite's error names begin -> what happened, what to do.
_MEANINGS = {
    "SQLITE_FULL": ("the disk is full", f"Free some space, {_AGAIN}"),
    "SQLITE_IOERR": ("the disk failed", f"Look for a full disk, a quota, or a failing disk, {_AGAIN}"),
    "SQLITE_READONLY": ("it may only be read", f"Make its folder and its files writable, {_AGAIN}"),
    "SQLITE_CANTOPEN": ("it cannot be opened", f"Check that you may read and write its folder and files, {_AGAIN}"),
    "SQLITE_PERM": ("it may not be used", f"Check the permissions of its folder and files, {_AGAIN}"),
    "SQLITE_CORRUPT": ("it is damaged", "Do not edit it: move it away and restore it from a backup."),
    "SQLITE_NOTADB": (
        "it is not a ledger, or its header is damaged",
        "Move it away and restore it from a backup.",
    ),
    "SQLITE_BUSY": ("another program writes to it", f"Close the other program, such as a database browser, {_AGAIN}"),
    "SQLITE_LOCKED": ("another program holds it", f"Close the other program, such as a database browser, {_AGAIN}"),
}


def explain(error: sqlite3.Error | OSError, path: Path) -> LedgerError:
    """Return the failure in words that a person can act on."""
    if isinstance(error, OSError):
        what = f"{error.strerror or type(error).__name__} ({error.filename or path})"
        return LedgerError(f"ledger {path}: {what}", f"{_SAFE}Check the folder's permissions and space, {_AGAIN}")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    for begin, (what, hint) in _MEANINGS.items():
        if name.startswith(begin):
            return LedgerError(f"ledger {path}: {what} ({name})", _SAFE + hint)
    return LedgerError(f"ledger {path}: {error} ({name})", f"{_SAFE}Please report this.")


class Database:
    """One connection, for one thread at a time; every failure of it is a `LedgerError`.

    After a failed write it refuses all further ones: a failed fsync must not be tried again, since the kernel
    may have dropped what it could not write, and would then report success.
    """

    def __init__(self, path: Path, *, writable: bool, immutable: bool = False) -> None:
        self.path = path
        self.writable = writable
        self._writing = False
        self._failure = ""
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise LedgerError(
                f"this Python's SQLite {sqlite3.sqlite_version} is too old for a ledger",
                f"Use a Python with SQLite {'.'.join(map(str, _OLDEST_SQLITE))} or newer.",
            )
        mode = "mode=rw" if writable else "mode=ro&immutable=1" if immutable else "mode=ro"
        with self._explained():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?{mode}",
                uri=True,
                timeout=_BUSY_S,
                isolation_level=None,  # no hidden BEGIN: transactions are said aloud
                check_same_thread=False,
            )
        try:
            for setting in _SETTINGS + (_WRITER_SETTINGS if writable else ()):
                self.run(setting)
        except BaseException:
            self.close()
            raise

    def all(self, query: str, values: Values = ()) -> list[Line]:
        """Return all lines of an answer that is known to be small."""
        with self._explained():
            return self._connection.execute(query, values).fetchall()

    def first(self, query: str, values: Values = ()) -> Line | None:
        """Return the first line of an answer, None when it is empty."""
        lines = self.all(query, values)
        return lines[0] if lines else None

    def run(self, statement: str, values: Values = ()) -> sqlite3.Cursor:
        """Execute one statement."""
        with self._explained():
            return self._connection.execute(statement, values)

    def run_many(self, statement: str, values: Iterable[Values]) -> None:
        """Execute one statement for each of these values."""
        with self._explained():
            self._connection.executemany(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is run inside durable together, or undo all of it.

        Raises:
            LedgerError: When it is open for reading only, when an earlier write failed, or when this one does.
        """
        if not self.writable:
            raise LedgerError(f"ledger {self.path}: it was opened for reading only")
        if self._failure:
            raise LedgerError(f"ledger {self.path}: nothing is written since an earlier failure", self._failure)
        self._writing = True
        try:
            self.run("BEGIN IMMEDIATE")
            yield
            self.run("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite rolls back by itself on some failures
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._writing = False

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all that is read inside be of one moment, while another process writes."""
        if self.writable or self._connection.in_transaction:
            yield
            return
        self.run("BEGIN")
        try:
            yield
        finally:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def copy_to(self, path: Path, *, alone: bool = False) -> None:
        """Copy the whole database to an empty file, durably.

        Args:
            path: The file.
            alone: The copy needs no other file beside it, also when it is opened.
        """
        with self._explained(), closing(sqlite3.connect(path)) as copy:
            copy.execute("PRAGMA synchronous = EXTRA")
            self._connection.backup(copy)
            if alone:
                copy.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        """Close the connection; what is not committed is undone."""
        with self._explained():
            self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            explained = explain(error, self.path)
            if self._writing:
                self._failure = explained.message
            raise explained from error
