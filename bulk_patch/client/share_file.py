"""The file by which processes of a host share a rate: where it is, what it holds, who is in it. Without asyncio."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FORGOTTEN_S = 5.0  # a process that was not heard of for so long shares no more, unless it is known to live
_LONGEST_SILENCE_S = 3600.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Share:
    """What a job says of the rate that it shares.

    Attributes:
        name: All that say it share one rate.
        folder: Where the file is; None: that of this user on this host.
        rate_per_s: The limit, the same for all.
        job: Named to others.
    """

    name: str
    folder: Path | None
    rate_per_s: float
    job: str


@dataclass(frozen=True, slots=True)
class Member:
    """One process that shares a rate."""

    job: str
    pid: int


def share_file(name: str, folder: Path | None) -> Path:
    """Return the file of a share: in memory of the host, so that it ends with the clock that it counts by."""
    if folder is not None:
        return folder / f"{name}.share"
    memory = Path("/dev/shm")
    root = memory if memory.is_dir() else Path("/tmp")  # the folder in it is ours alone
    return root / f"bulk-patch-{os.getuid()}" / f"{name}.share"


def members_of(name: str, folder: Path | None) -> tuple[Member, ...]:
    """Return who shares a rate now; nobody where that cannot be read."""
    try:
        held = decode(share_file(name, folder).read_bytes())
    except OSError:
        return ()
    now = time.monotonic()
    members = living(held["members"], now) if held.get("boot") == boot_id() and is_sound(held, now) else {}
    return tuple(Member(str(one["job"]), int(one["pid"])) for one in members.values())


def decode(text: bytes) -> dict[str, Any]:
    """Return what the file holds; nothing where it is not whole."""
    try:
        held = json.loads(text)
    except ValueError:  # empty, or a process was killed while it wrote
        return {}
    return held if isinstance(held, dict) else {}


def is_sound(held: dict[str, Any], now: float) -> bool:
    """Tell whether the file is one of ours, and holds no slot further ahead than its members can have taken."""
    try:
        limit, next_at = float(held["limit_per_s"]), float(held["next_at"])
        members = [(float(one["rate_per_s"]), float(one["seen"]), int(one["pid"])) for one in held["members"].values()]
        lowest = min([limit, *(rate for rate, *_ in members)])
        float(held["paused_until"])
        return lowest > 0 and next_at - now <= (len(members) + 2) / lowest + 1.0
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def living(members: dict[str, Any], now: float) -> dict[str, Any]:
    """Return who was heard of lately, or is known to live: in a long pause nobody takes a slot."""
    return {
        key: one
        for key, one in members.items()
        if 0 <= (silent_s := now - float(one["seen"])) <= _FORGOTTEN_S
        or (0 <= silent_s <= _LONGEST_SILENCE_S and _lives(int(one["pid"])))
    }


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another login
        return True
    return True


def boot_id() -> str:
    """Return which boot of the host this is, "" where that is not known."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
