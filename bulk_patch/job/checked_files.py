"""Open small files that a job file names: a regular file only, and one that others cannot have changed."""

import os
import stat
from pathlib import Path


class UnsafeFileError(Exception):
    """A file that must not be used as it is.

    Args:
        reason: What is wrong with it, to follow its name.
        fix: What to do about it.
    """

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def read_small(path: Path, *, longest: int, secret: bool) -> bytes:
    """Read a file that decides who may do something: a token, the keys of signers.

    Args:
        path: The file; what it is and who may write it is asked of the opened file, not of its name.
        longest: Bytes at most.
        secret: Nobody but its owner and its group may read it.

    Raises:
        UnsafeFileError: It is a pipe, a device or a folder, too long, or others may write (or read) it.
        OSError: It cannot be opened or read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)  # a pipe must not make us wait
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeFileError(f"is {_kind(status.st_mode)}, not a file", "name a regular file")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o022:
            who = "everybody" if mode & 0o002 else "its whole group"
            raise UnsafeFileError(f"may be written by {who} (mode {mode:04o})", f"chmod {_closed(secret)} {path}")
        if secret and mode & 0o004:
            raise UnsafeFileError(f"may be read by everybody (mode {mode:04o})", f"chmod {_closed(secret)} {path}")
        with open(handle, "rb", closefd=False) as file:
            data = file.read(longest + 1)
    finally:
        os.close(handle)
    if len(data) > longest:
        raise UnsafeFileError(f"is longer than {longest:,} bytes", "check that it is the right file")
    return data


def _closed(secret: bool) -> str:
    return "600" if secret else "644"


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
