"""The ledger's files: who may write them, how they are made, opened and checked."""

import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from bulk_patch.errors import LedgerError, LockedError, OutdatedLedgerError
from bulk_patch.files.atomic import sync_folder
from bulk_patch.ledgers.records import Holder
from bulk_patch.ledgers.sqlite.database import Database, explain
from bulk_patch.ledgers.sqlite.schema import (
    APPLICATION_ID,
    FILE_SETTINGS,
    READ_AS_MIGRATED,
    migrate,
    newest_version,
    read_version,
)

_LOCK_POLL_S = 0.05
_LOCK_GRACE_S = 0.1  # `find_holder` touches the lock for an instant; that must not fail a command

_INSERT_META = "INSERT INTO meta (name, value) VALUES (:name, :value)"
_JOB = "SELECT value FROM meta WHERE name = 'job'"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Translate what the operating system says of the ledger's files."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


class Lock:
    """The right to write: an OS lock on a file of its own, which dies with the process.

    It is not the ledger's own file: closing any handle of that one would drop the locks that SQLite has on it.
    """

    def __init__(self, path: Path, *, mode: int, wait_s: float) -> None:
        """Take the lock.

        Args:
            path: The lock's file.
            mode: Its permissions.
            wait_s: How long to wait for another holder.

        Raises:
            LockedError: When another process, named in it, still holds the lock.
        """
        deadline = time.monotonic() + max(wait_s, _LOCK_GRACE_S)
        while not self._try(path, mode):
            if time.monotonic() >= deadline:
                raise LockedError(*_describe(find_holder(path)))
            time.sleep(_LOCK_POLL_S)

    def _try(self, path: Path, mode: int) -> bool:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file), path.lstat()):
                raise FileNotFoundError  # another file has taken the name
            _set_mode(path, mode)
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "started_at": time.time()}
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(holder).encode(), 0)
        except (BlockingIOError, FileNotFoundError):
            os.close(file)
            return False
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._file >= 0:
            with suppress(OSError):  # what is left in it does not count
                os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1


def find_holder(path: Path) -> Holder | None:
    """Return who holds the lock of this file now; what a killed process left in it does not count."""
    with explained(path):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe in this place blocks no one
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(file, 4096, 0)
        else:
            return None
        finally:
            os.close(file)
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError):  # it has just taken the lock and not written its name yet
        return Holder(pid=0, host="", started_at=0.0)


def _describe(holder: Holder | None) -> tuple[str, str]:
    hint = "Wait until it ends, or stop it; `bulk-patch status` shows how far it is."
    if holder is None or not holder.pid:
        return "another process held this job's ledger just now", "Run the same command again."
    since = datetime.fromtimestamp(holder.started_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {holder.pid} on {holder.host} has held this job's ledger since {since}", hint


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder and those above it that are missing; leave alone what is there."""
    if folder.is_dir():
        return
    make_folder(folder.parent, 0o700)
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        return
    folder.chmod(mode)


def open_for_writing(path: Path, *, job: str, mode: int) -> Database:
    """Open the ledger, made or migrated where needed; the caller holds the lock.

    Raises:
        LedgerError: When it is damaged, of another job, or written by a newer bulk-patch.
    """
    if not path.exists():
        _create(path, job=job)
    _refuse_other_than_files(path)
    _set_mode(path, mode)
    database = Database(path, writable=True)
    try:
        version = _check(database, job)
        if database.first("PRAGMA journal_mode = WAL") != ("wal",):
            raise LedgerError(
                f"ledger {path}: this file system cannot keep a write-ahead log",
                "Choose a folder on a local disk with --output.",
            )
        if 0 < version < newest_version():
            _keep_copy(database, version=version, mode=mode)
        migrate(database, version=version, now=time.time())
    except BaseException:
        database.close()
        raise
    return database


def _keep_copy(database: Database, *, version: int, mode: int) -> None:
    """Copy a ledger before it is migrated: `ledger.db.version-3`, whole or not at all."""
    copy = database.path.with_name(f"{database.path.name}.version-{version}")
    if copy.exists():
        return
    draft = copy.with_name(f"{copy.name}.new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
    database.copy_to(draft)
    _set_mode(draft, mode)
    draft.replace(copy)
    sync_folder(copy.parent)


def open_for_reading(path: Path, *, job: str) -> Database:
    """Open the ledger without a lock and without writing, while another process may write.

    Raises:
        LedgerError: When there is none, or it is damaged, of another job, or of another version.
    """
    if not path.exists():
        raise LedgerError(f"job {job!r} has no run yet: {path} does not exist", "Start with `bulk-patch plan`.")
    _refuse_other_than_files(path)
    # In a folder that we may not write SQLite cannot make its shared memory. Where no log is left either, no process is
    # writing, and the file can be read as it is.
    by_user = os.access in os.supports_effective_ids
    alone = not os.access(path.parent, os.W_OK, effective_ids=by_user) and not _wal(path).exists()
    database = Database(path, writable=False, immutable=alone)
    try:
        version = _check(database, job)
        views = READ_AS_MIGRATED.get((version, newest_version()), ())
        for view in views:
            database.run(view)
        if version < newest_version() and not views:
            raise OutdatedLedgerError(
                f"ledger {path}: an older bulk-patch wrote it",
                "Nothing is wrong with it: `bulk-patch plan` or `run` of the job brings it up to date.",
            )
    except BaseException:
        database.close()
        raise
    return database


def _create(path: Path, *, job: str) -> None:
    """Make a ledger under a draft name and rename it: a kill leaves either nothing or a whole ledger."""
    if _wal(path).exists() and _wal(path).stat().st_size:
        raise LedgerError(
            f"ledger {path}: the file is gone, but the log {_wal(path).name} is still there",
            "Restore the ledger from a backup, or move the log away.",
        )
    draft = path.with_name(f"{path.name}.new")
    for leftover in (draft, path.with_name(f"{draft.name}-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    database = Database(draft, writable=True)
    try:
        now = time.time()
        for setting in FILE_SETTINGS:
            database.run(setting)
        migrate(database, version=0, now=now)
        with database.transaction():
            facts = {"job": job, "created_at": now, "last_time": 0.0}
            database.run_many(_INSERT_META, [{"name": name, "value": value} for name, value in facts.items()])
    finally:
        database.close()
    draft.replace(path)
    sync_folder(path.parent)


def _check(database: Database, job: str) -> int:
    """Refuse what is not this job's ledger; return its version."""
    path = database.path
    if database.first("PRAGMA application_id") != (APPLICATION_ID,):
        raise LedgerError(
            f"ledger {path}: it is not a ledger, or its header is damaged",
            "Move it away and restore it from a backup.",
        )
    version = read_version(database)
    if version > newest_version():
        raise LedgerError(
            f"ledger {path}: a newer bulk-patch wrote it (version {version}, this one knows {newest_version()})",
            "Use that newer bulk-patch.",
        )
    owner = database.first(_JOB)
    if owner != (job,):
        raise LedgerError(
            f"ledger {path}: it belongs to job {owner[0] if owner else '?'!r}, not to {job!r}",
            "Give each job its own folder with --output, or correct the name in the job file.",
        )
    return version


def _refuse_other_than_files(path: Path) -> None:
    """Refuse what SQLite would wait for, or open to no end."""
    for file in (path, _wal(path)):
        if file.exists() and not stat.S_ISREG(file.stat().st_mode):
            raise LedgerError(f"ledger {path}: {file.name} is not a file", "Move it away, and restore the ledger.")


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _set_mode(path: Path, mode: int) -> None:
    status = path.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o777 != mode:
        path.chmod(mode)
