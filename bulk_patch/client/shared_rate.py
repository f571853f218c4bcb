"""One rate for several processes of a host: a file that all of them lock for a moment.

Each request takes a slot: an instant of the one monotonic clock that all processes of a host read. Slots are one
interval apart whoever takes them, and a slot that is not used within 10 ms lapses. So no window of length w over all
processes holds more than rate × (w + 0.01 s) + 1 sends, and a process that dies leaves at most one slot unused. Nobody
takes a second slot while one of its own waits: those who share take turns.

The file also holds the pauses that the API asked any of them for, and the rate that it leaves each of them: the lowest
holds for all.
"""

import asyncio
import fcntl
import json
import math
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from bulk_patch.client.share_file import Share, boot_id, decode, is_sound, living, share_file
from bulk_patch.errors import StorageError, UsageError
from bulk_patch.files.mounts import SHARED, file_system_of

LATEST_S = 0.008  # after its instant, a slot may still be taken up to here
_SETTLE_S = 0.16  # what a file that was lost may have given away lapses in this time
_PATIENCE_S = 5.0  # for the lock, which is held for microseconds
_RETRY_S = 0.0005
_SIZE = 16 << 10


class SharedRate(Protocol):
    """Who shares a rate: slots, pauses and the rate that holds."""

    @property
    def paused_until(self) -> float:
        """Return until when all pause, monotonic seconds, as far as was heard at the last slot."""
        ...

    @property
    def rate_per_s(self) -> float:
        """Return the rate that holds for all together, as far as was heard at the last slot."""
        ...

    async def take(self, rate_per_s: float) -> float:
        """Take the next slot; return its instant, monotonic seconds.

        Args:
            rate_per_s: What the API leaves this process, as far as it knows.
        """
        ...

    def is_void(self, slot: float) -> bool:
        """Tell whether a slot may not be used: it is too late, or was taken of a file that is gone."""
        ...

    async def pause(self, until: float) -> None:
        """Let all pause until an instant, monotonic seconds."""
        ...

    def delay(self, seconds: float) -> None:
        """Let the next slot be later: a request left later than its slot."""
        ...

    def close(self) -> None:
        """Share no more."""
        ...


class FileRate:
    """A rate that is shared by a file.

    Args:
        share: What the job says.
        clock: The monotonic clock of the host, seconds.

    Raises:
        UsageError: Another job shares it with another rate.
        StorageError: The file cannot be used.
    """

    def __init__(self, share: Share, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._path = share_file(share.name, share.folder)
        self._key = f"{os.getpid()}-{id(self)}"
        self._late_s = 0.0
        self._from = 0  # the file that the last slot was taken of, by its number
        self._paused_until = -math.inf
        self._rate = share.rate_per_s
        self._handle = -1
        self._ready_at = 0.0
        self._open()
        self._lock_soon()
        try:
            self._join()
        finally:
            self._unlock()

    @property
    def paused_until(self) -> float:
        """Return until when all pause, monotonic seconds, as far as was heard at the last slot."""
        return self._paused_until

    @property
    def rate_per_s(self) -> float:
        """Return the rate that holds for all together, as far as was heard at the last slot."""
        return self._rate

    async def take(self, rate_per_s: float) -> float:
        """Take the next slot; return its instant, monotonic seconds.

        Raises:
            StorageError: The file cannot be used any more.
            UsageError: It was lost meanwhile, and now another job shares it with another rate.
        """
        await self._lock()
        try:
            now = self._clock()
            held = self._read(now)
            members = held["members"]
            members[self._key] = self._entry(now, rate_per_s)
            self._rate = min(float(one["rate_per_s"]) for one in members.values())
            self._paused_until = float(held["paused_until"])
            late_s, self._late_s = self._late_s, 0.0
            slot = max(float(held["next_at"]) + late_s, now - LATEST_S)
            held["next_at"] = slot + 1 / self._rate
            self._write(held)
            return slot
        finally:
            self._unlock()

    def is_void(self, slot: float) -> bool:
        """Tell whether a slot may not be used: it is too late, or was taken of a file that is gone."""
        return self._clock() - slot > LATEST_S or not self._is_current()

    async def pause(self, until: float) -> None:
        """Let all pause until an instant, monotonic seconds; a file that cannot be used is met at the next slot."""
        if self._handle < 0:
            return
        with suppress(StorageError, UsageError):
            await self._pause(until)

    async def _pause(self, until: float) -> None:
        await self._lock()
        try:
            held = self._read(self._clock())
            held["paused_until"] = self._paused_until = max(float(held["paused_until"]), until)
            self._write(held)
        finally:
            self._unlock()

    def delay(self, seconds: float) -> None:
        """Let the next slot that this process takes be later, and with it all that follow."""
        self._late_s += seconds

    def close(self) -> None:
        """Share no more; the others are not waited for."""
        if self._handle < 0:
            return
        with suppress(StorageError, UsageError, OSError):
            self._lock_soon()
            try:
                held = self._read(self._clock())
                held["members"].pop(self._key, None)
                self._write(held)
            finally:
                self._unlock()
        os.close(self._handle)
        self._handle = -1

    # --- the file

    def _open(self) -> None:
        folder = self._path.parent
        try:
            if self._share.folder is None:
                folder.mkdir(mode=0o700, exist_ok=True)
            self._check_folder(folder)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            mode = 0o600 if self._share.folder is None else 0o660
            handle = os.open(self._path, flags, mode)
        except OSError as error:
            raise StorageError(
                f"the shared rate {self._share.name!r} cannot be kept: {self._path}: {error.strerror}",
                "name a folder of this host that all who share it can write to: limits.share_dir",
            ) from error
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = handle
        if self._share.folder is not None:
            with suppress(OSError):  # it belongs to another login, who has done it
                os.fchmod(handle, mode)

    def _check_folder(self, folder: Path) -> None:
        found = folder.lstat()
        name = self._share.name
        if not stat.S_ISDIR(found.st_mode) or (self._share.folder is None and found.st_uid != os.getuid()):
            raise StorageError(
                f"the shared rate {name!r} cannot be kept: {folder} is not ours", "remove it, or set limits.share_dir"
            )
        if (kind := file_system_of(folder)) in SHARED:
            raise StorageError(
                f"the shared rate {name!r} cannot be kept on a network file system ({kind}): {folder}",
                "hosts read different clocks; set limits.share_dir to a folder of this host",
            )

    def _is_current(self) -> bool:
        """Tell whether the file that is open is still the one that others open, and the last slot was taken of it."""
        try:
            there = self._path.stat(follow_symlinks=False)
        except OSError:
            return False
        return there.st_ino == self._from

    async def _lock(self) -> None:
        """Lock the file without holding up the other requests.

        Raises:
            StorageError: Somebody holds it for seconds.
        """
        give_up_at = self._clock() + _PATIENCE_S
        while not self._try_lock():
            if self._clock() > give_up_at:
                raise self._stuck()
            await asyncio.sleep(_RETRY_S)

    def _lock_soon(self) -> None:
        give_up_at = time.monotonic() + _PATIENCE_S
        while not self._try_lock():
            if time.monotonic() > give_up_at:
                raise self._stuck()
            time.sleep(_RETRY_S)

    def _stuck(self) -> StorageError:
        return StorageError(
            f"the shared rate {self._share.name!r} is locked for {_PATIENCE_S:.0f} s: {self._path}",
            "is a process that shares it stopped (SIGSTOP)? End it, then run the same command again",
        )

    def _try_lock(self) -> bool:
        """Lock the file if nobody has; one that was removed meanwhile is made anew."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        ours = os.fstat(self._handle)
        try:
            is_there = self._path.stat(follow_symlinks=False).st_ino == ours.st_ino
        except OSError:
            is_there = False
        if is_there:
            self._from = ours.st_ino
            return True
        fcntl.flock(self._handle, fcntl.LOCK_UN)
        self._open()
        return False

    def _unlock(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _join(self) -> None:
        now = self._clock()
        held = self._read(now)
        held["members"][self._key] = self._entry(now, self._share.rate_per_s)
        self._write(held)

    def _entry(self, now: float, rate_per_s: float) -> dict[str, Any]:
        return {"job": self._share.job, "pid": os.getpid(), "rate_per_s": rate_per_s, "seen": now}

    def _read(self, now: float) -> dict[str, Any]:
        """Return what the file holds; what is damaged, new or of another boot begins empty, after what was given.

        Raises:
            UsageError: Another job shares it with another rate.
        """
        held = decode(os.pread(self._handle, _SIZE, 0))
        if held.get("boot") != boot_id() or not is_sound(held, now):
            held = {"boot": boot_id(), "next_at": now + _SETTLE_S, "paused_until": 0.0, "members": {}}
            held["limit_per_s"] = self._share.rate_per_s
        members = held["members"] = living(held["members"], now)
        others = [one for key, one in members.items() if key != self._key]
        if held["limit_per_s"] != self._share.rate_per_s:
            if others:
                other = f"job {others[0]['job']!r} (process {others[0]['pid']})"
                raise UsageError(
                    f"limits.share {self._share.name!r}: {other} keeps {held['limit_per_s']:g} requests a second, "
                    f"and job {self._share.job!r} says {self._share.rate_per_s:g}",
                    "all jobs of a share need the same limits.rate_per_s and limits.reserve",
                )
            held["limit_per_s"] = self._share.rate_per_s
        return held

    def _write(self, held: dict[str, Any]) -> None:
        os.pwrite(self._handle, json.dumps(held).encode().ljust(_SIZE), 0)
