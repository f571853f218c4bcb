"""Files for their owner alone that take their place whole or not at all.

Where a folder was opened to a team (`team.py`), what is made in it is for the team too.

A file is written as a draft in the same folder, under a fixed name: what a kill left behind is replaced by the next
writer. Two processes that write the same file at once never share a draft: the second takes the name away from the
first, and a writer that finds the name gone copies the draft to a new one before it is renamed.
"""

import errno
import fcntl
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bulk_patch.errors import StorageError

REVEALED_PAGE = "report-revealed.html"  # whole values: for the person who asked for it, not for the team

TEAM_FOLDER = 0o2770  # the set-group-id bit hands the group down
TEAM_FILE = 0o660


@contextmanager
def replacing(path: Path, *, for_team: bool = True) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path`, durably, once the block has ended well.

    Of two processes that write the same file at once, both succeed, and the one that ends last is the one that stays.

    Args:
        path: The file.
        for_team: Give the file to the team where its folder was opened to one; else it is for its owner alone.

    Raises:
        StorageError: When the disk fails; what was there before is still there then.
    """
    draft = draft_of(path)
    with explaining(path):
        with _folder_locked(path.parent):
            file = _create(draft)
        try:
            os.fchmod(
                file.fileno(), file_mode(path.parent) if for_team else 0o600
            )  # the umask may have taken even the owner's rights
            yield file
            file.flush()
            os.fsync(file.fileno())
            with _folder_locked(path.parent):
                if not _has_name(file, draft):
                    file = _copy(file, draft)
                os.replace(draft, path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(OSError), _folder_locked(path.parent):
                if _has_name(file, draft):
                    draft.unlink()
            raise
        finally:
            file.close()


def draft_of(path: Path) -> Path:
    """Return the path of the draft of a file."""
    return path.with_name(f".{path.name}.bulk-patch-draft")


def remove_draft(path: Path) -> None:
    """Remove a draft that a kill left behind; a process that is still writing it is not harmed."""
    with suppress(OSError), _folder_locked(path.parent):  # another user's stays
        draft_of(path).unlink()


def _create(draft: Path) -> BinaryIO:
    """Create a draft that no other process writes, in place of any that has the name."""
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return open(handle, "w+b")


def _has_name(file: BinaryIO, draft: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), draft.lstat())
    except FileNotFoundError:
        return False


def _copy(file: BinaryIO, draft: Path) -> BinaryIO:
    """Copy a draft that lost its name into a new one, durably, and close it."""
    copy = _create(draft)
    try:
        file.seek(0)
        shutil.copyfileobj(file, copy, 1 << 20)
        os.fchmod(copy.fileno(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        copy.flush()
        os.fsync(copy.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        copy.close()
        raise
    file.close()
    return copy


@contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    """Keep other processes from creating or renaming drafts in a folder, between a check of the name and the rename."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems have no locks: there this instant is not protected
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: what was created, renamed or removed in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private_folder(folder: Path) -> None:
    """Make a folder, with missing folders above it, and close it to others, whatever the umask.

    Raises:
        StorageError: When the disk fails, or the folder belongs to another user and not to the team.
    """
    with explaining(folder):
        if not folder.is_dir():
            if not folder.parent.is_dir():
                make_private_folder(folder.parent)
            folder.mkdir(exist_ok=True)
        mode = TEAM_FOLDER if is_shared(folder.parent) else 0o700
        with _opened(folder) as handle:
            found = os.fstat(handle)
            if stat.S_IMODE(found.st_mode) == mode:
                return
            if found.st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, f"it belongs to {owner_name(found.st_uid)}, not to you")
            os.fchmod(handle, mode)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a folder, and not what a link in its place points to: others may plant links in a team's folder."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if folder.is_symlink():
            raise OSError(errno.ELOOP, "a link stands in the place of the folder; remove it") from error
        if isinstance(error, PermissionError):
            owner = owner_name(folder.lstat().st_uid)
            raise PermissionError(errno.EACCES, f"it belongs to {owner}, and you may not read it") from error
        raise
    try:
        yield handle
    finally:
        os.close(handle)


def check_reachable(folder: Path) -> None:
    """Refuse a folder that is there and that this user may not use.

    Raises:
        StorageError: With the folder and its owner.
    """
    there = folder
    while True:  # a folder above may be closed too
        try:
            owner = owner_name(there.stat().st_uid)
        except FileNotFoundError:
            if there.parent == there:
                return
            there = there.parent
            continue
        except NotADirectoryError:
            raise StorageError(
                f"{folder} cannot be used: a file stands in the place of a folder", "name another place: --output"
            ) from None
        except PermissionError:
            there = there.parent
            continue
        break
    if there == folder and not os.access(there, os.R_OK | os.X_OK, effective_ids=True):
        raise _foreign(there, owner)
    if there != folder and not os.access(there, os.X_OK, effective_ids=True):
        raise _foreign(there, owner)


def _foreign(folder: Path, owner: str) -> StorageError:
    return StorageError(
        f"{folder} belongs to {owner}, and you may not use it",
        f"run the command as {owner}, or share the folder with a team: [ledger] group; another place: --output",
    )


def owner_name(uid: int) -> str:
    """Return the login of a user, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def is_shared(folder: Path) -> bool:
    """Tell whether a folder was opened to a team: then what is made in it belongs to the team's group by itself."""
    return stat.S_IMODE(folder.stat().st_mode) == TEAM_FOLDER


def file_mode(folder: Path) -> int:
    """Return the permissions of a new file in a folder."""
    return TEAM_FILE if is_shared(folder) else 0o600


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for data that does not have to last.

    Raises:
        StorageError: When the disk fails.
    """
    with explaining(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            yield file


@contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """Keep a folder of temporary data empty before the block (a kill may have left it) and remove it afterwards."""

    def remove() -> None:
        with explaining(folder):
            if folder.exists():
                shutil.rmtree(folder)

    remove()
    try:
        yield
    finally:
        remove()


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Translate a failure of the disk.

    Raises:
        StorageError: For any failure to read or write.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or type(error).__name__}",
            "the ledger is intact: free disk space or fix the permissions, then run the same command again",
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
