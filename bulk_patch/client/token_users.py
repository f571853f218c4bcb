"""Which processes of this login use an API's token now, so that two jobs do not double its rate unnoticed.

Each leaves a file that it keeps locked; a file that is not locked is of a process that has ended. The token itself is
nowhere in it: its hash is keyed with random bytes that end with the boot.
"""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bulk_patch.client.share_file import share_file

_KEY_BYTES = 32
_SUFFIX = ".sender"


@dataclass(frozen=True, slots=True)
class TokenUser:
    """Another process that uses the same token."""

    job: str
    pid: int


@contextmanager
def using_token(token: str, host: str, *, job: str, share: str | None) -> Iterator[tuple[TokenUser, ...]]:
    """Let others know that this process uses a token; yield who uses it already without sharing its rate with us.

    Where no such file can be kept, nobody is known: the run goes on as it would alone.

    Args:
        token: Of the API.
        host: Of the API, with its port.
        job: Named to others.
        share: The name of the shared rate; None: it shares none.
    """
    folder = share_file("", None).parent
    path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
    handle = -1
    others: tuple[TokenUser, ...] = ()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid == os.getuid() and not folder.is_symlink():
            mark = hmac.new(_key(folder), f"{host}\n{token}".encode(), hashlib.sha256).hexdigest()
            others = tuple(_others(folder, mark, share))
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.write(handle, json.dumps({"job": job, "pid": os.getpid(), "token": mark, "share": share}).encode())
    except OSError:
        others = ()
    try:
        yield others
    finally:
        if handle >= 0:
            with suppress(OSError):
                path.unlink()
            os.close(handle)


def _key(folder: Path) -> bytes:
    path = folder / "key"
    with suppress(FileExistsError):
        draft = folder / f"key-{secrets.token_hex(4)}"
        draft.touch(mode=0o600)
        draft.write_bytes(secrets.token_bytes(_KEY_BYTES))
        try:
            os.link(draft, path)  # whole from the first moment
        finally:
            draft.unlink()
    return path.read_bytes()


def _others(folder: Path, mark: str, share: str | None) -> Iterator[TokenUser]:
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            found = json.loads(os.read(handle, 4096) or b"{}")
            if not _is_locked(handle):
                path.unlink(missing_ok=True)
            elif found.get("token") == mark and (share is None or found.get("share") != share):
                yield TokenUser(str(found["job"]), int(found["pid"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        finally:
            os.close(handle)


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
