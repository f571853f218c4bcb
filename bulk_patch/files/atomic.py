"""Files for the owner alone that take their place whole or not at all.

Where a folder was opened to a team (`team_folder.py`), what is made in it is for the team too.
"""

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bulk_patch.errors import LedgerError

REVEALED_PAGE = "report-revealed.html"  # whole values: for who asked for it, whoever shares the folder

TEAM_FOLDER = 0o2770  # the set-group-id bit hands the group down
TEAM_FILE = 0o660


@contextmanager
def replacing(path: Path, *, for_team: bool = True) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path`, durably, once the block has ended well.

    Args:
        path: The file.
        for_team: Where the folder was opened to a team, so is the file; else it is for its owner alone.

    Raises:
        LedgerError: When the disk fails; what was there before is still there then.
    """
    with explaining(path):
        remove_drafts(path)
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(handle, "wb") as file:
                with suppress(OSError):  # some file systems have no locks: there a draft is never taken for left over
                    fcntl.flock(handle, fcntl.LOCK_EX)
                os.fchmod(
                    handle, file_mode(path.parent) if for_team else 0o600
                )  # the umask may have taken even the owner's rights
                yield file
                file.flush()
                os.fsync(handle)
                os.replace(draft, path)
            _sync_folder(path.parent)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft)
            raise


def remove_drafts(path: Path) -> None:
    """Remove what kills left of a file on its way to its place; what is being written stays."""
    is_draft = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}").fullmatch  # as `tempfile` names them
    for draft in [its for its in path.parent.iterdir() if is_draft(its.name)]:
        with suppress(OSError):  # somebody writes it, or it is another's
            handle = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if os.fstat(handle).st_size:  # an empty one may be about to be locked, and tells nobody anything
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    draft.unlink()
            finally:
                os.close(handle)


def make_private_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, and close it to others, whatever the umask.

    Raises:
        LedgerError: When the disk fails, or the folder is another user's and not the team's.
    """
    with explaining(folder):
        if not folder.is_dir():
            if not folder.parent.is_dir():
                make_private_folder(folder.parent)
            folder.mkdir(exist_ok=True)
        mode = TEAM_FOLDER if is_shared(folder.parent) else 0o700
        if stat.S_IMODE(folder.stat().st_mode) != mode:
            folder.chmod(mode)


def is_shared(folder: Path) -> bool:
    """Tell whether a folder was opened to a team: then what is made in it belongs to the team's group by itself."""
    return stat.S_IMODE(folder.stat().st_mode) == TEAM_FOLDER


def file_mode(folder: Path) -> int:
    """Return the permissions of a new file in a folder."""
    return TEAM_FILE if is_shared(folder) else 0o600


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file to write, of which nothing has to last.

    Raises:
        LedgerError: When the disk fails.
    """
    with explaining(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            yield file


@contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """Remove a folder of things that only the block needs, before it, where a kill left it, and after it."""

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
    """Say what the disk did in words.

    Raises:
        LedgerError: For any failure to write or read.
    """
    try:
        yield
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be written: {error.strerror or type(error).__name__}",
            "the ledger has everything that was recorded: check space and permissions, then run the command again",
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
