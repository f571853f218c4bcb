"""One rate for several processes of a host: slots, pauses, and what becomes of a file that others share."""

import asyncio
import bisect
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from bulk_patch.client.permits import LimiterClosed
from bulk_patch.client.rate_limiter import LATE_S, RateLimiter
from bulk_patch.client.share_file import Share, members_of, share_file
from bulk_patch.client.shared_rate import FileRate
from bulk_patch.errors import StorageError, UsageError

#: Takes permits until it is told to end, and writes when it got each: `python -c … FOLDER RATE SECONDS LOG`.
SENDER = """
import asyncio, sys, time
from pathlib import Path
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.client.share_file import Share
from bulk_patch.client.shared_rate import FileRate
folder, rate, seconds, log = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), open(sys.argv[4], "w", 1)
async def main():
    share = FileRate(Share("api", folder, rate, "job"))
    limiter = RateLimiter(rate)
    limiter.share_with(share)
    print("ready", flush=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await limiter.acquire()
        log.write(f"{time.monotonic()}\\n")
    share.close()
asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def joined(folder: Path) -> Iterator[Callable[..., FileRate]]:
    """Return what joins a share; all are closed at the end."""
    made: list[FileRate] = []

    def join(job: str = "one", *, rate_per_s: float = 200.0, clock: Callable[[], float] = time.monotonic) -> FileRate:
        made.append(FileRate(Share("api", folder, rate_per_s, job), clock=clock))
        return made[-1]

    yield join
    for one in made:
        one.close()


def fullest(times: Sequence[float], window_s: float) -> int:
    """Return the most instants that any window of this length holds, both ends included."""
    return max(bisect.bisect_right(times, start + window_s) - at for at, start in enumerate(times))


def assert_kept(times: Sequence[float], rate_per_s: float) -> None:
    """Assert that no window holds more than the promise allows."""
    for window_s in (0.005, 0.1, 1.0, 10.0):
        assert fullest(times, window_s) <= math.floor(rate_per_s * (window_s + LATE_S) + 1 + 1e-6), window_s


def limiter_of(share: FileRate, rate_per_s: float) -> RateLimiter:
    """Return a limiter that keeps its rate with others."""
    limiter = RateLimiter(rate_per_s)
    limiter.share_with(share)
    return limiter


async def permits_of(limiter: RateLimiter, seconds: float, times: list[float]) -> None:
    """Take permits one after the other for some time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        permit = await limiter.acquire()
        times.append(permit.granted_at)


def test_slots_are_one_interval_apart_whoever_takes_them(joined: Callable[..., FileRate]) -> None:
    now = [100.0]
    one, other = joined("one", clock=lambda: now[0]), joined("other", clock=lambda: now[0])

    async def take() -> list[float]:
        now[0] += 1.0  # what a new file may have given away has lapsed
        return [await share.take(200.0) for share in (one, other, one, one, other)]

    slots = asyncio.run(take())
    assert [round(later - earlier, 9) for earlier, later in pairwise(slots)] == [0.005] * 4
    assert slots[0] == pytest.approx(now[0] - 0.008)  # lateness is made up for only so far


def test_two_limiters_keep_one_rate_and_take_turns(joined: Callable[..., FileRate]) -> None:
    times: tuple[list[float], list[float]] = ([], [])

    async def run() -> None:
        limiters = [limiter_of(joined(name), 200.0) for name in ("one", "other")]
        await asyncio.gather(*(permits_of(limiter, 0.8, found) for limiter, found in zip(limiters, times, strict=True)))

    asyncio.run(run())
    together = sorted(times[0] + times[1])
    assert_kept(together, 200.0)
    assert abs(len(times[0]) - len(times[1])) <= 3 + len(together) // 10


def test_a_pause_of_one_holds_for_all(joined: Callable[..., FileRate]) -> None:
    async def run() -> float:
        one, other = (limiter_of(joined(name, rate_per_s=1000.0), 1000.0) for name in ("one", "other"))
        await other.acquire()
        one.pause(0.3, "rate limited")
        begun = time.monotonic()
        await asyncio.sleep(0.02)
        await other.acquire()  # its slot may have been taken before it heard
        await other.acquire()
        return time.monotonic() - begun

    assert asyncio.run(run()) >= 0.3


def test_the_lowest_rate_that_the_api_leaves_one_of_them_holds_for_all(joined: Callable[..., FileRate]) -> None:
    async def run() -> tuple[float, float]:
        one, other = joined("one"), joined("other")
        await one.take(50.0)
        await other.take(200.0)
        lowered = other.rate_per_s
        one.close()
        await other.take(200.0)
        return lowered, other.rate_per_s

    assert asyncio.run(run()) == (50.0, 200.0)


def test_another_rate_under_one_name_is_refused_and_both_are_named(joined: Callable[..., FileRate]) -> None:
    first = joined("nightly")
    with pytest.raises(UsageError, match=r"'nightly'.*200.*'migration'.*100") as refused:
        joined("migration", rate_per_s=100.0)
    assert refused.value.exit_code == 2
    first.close()
    joined("migration", rate_per_s=100.0)


def test_who_shares_can_be_read(joined: Callable[..., FileRate], folder: Path) -> None:
    first = joined("nightly")
    joined("migration")
    assert {(one.job, one.pid) for one in members_of("api", folder)} == {
        ("nightly", os.getpid()),
        ("migration", os.getpid()),
    }
    first.close()
    assert [one.job for one in members_of("api", folder)] == ["migration"]
    assert members_of("other", folder) == ()


@pytest.mark.parametrize(
    "left",
    [
        b"",
        b"{",
        b"[]",
        b'{"boot": "another", "next_at": 1e12, "paused_until": 1e12, "limit_per_s": 5, "members": {}}',
        None,
    ],
    ids=["empty", "cut", "no table", "of another boot", "far ahead"],
)
def test_a_file_that_says_nothing_of_now_begins_empty(
    joined: Callable[..., FileRate], folder: Path, left: bytes | None
) -> None:
    now = 1000.0
    path = share_file("api", folder)
    if left is None:
        joined(clock=lambda: now).close()
        left = json.dumps(json.loads(path.read_bytes()) | {"next_at": now + 60}).encode()
    path.write_bytes(left)
    share = joined(clock=lambda: now)
    slot = asyncio.run(share.take(200.0))
    assert 0.15 < slot - now < 0.2  # what may have been given away has lapsed by then
    assert share.paused_until <= now


def test_a_slot_of_a_file_that_was_removed_is_void_and_the_next_one_is_of_the_new_file(
    joined: Callable[..., FileRate], folder: Path
) -> None:
    one = joined("one")

    async def run() -> tuple[bool, bool, bool]:
        slot = await one.take(200.0)
        share_file("api", folder).unlink()
        is_void = one.is_void(slot)
        other = joined("other")
        slots = sorted([await one.take(200.0), await other.take(200.0)])
        return is_void, one.is_void(await one.take(200.0)), slots[1] - slots[0] > 0.0049

    assert asyncio.run(run()) == (True, False, True)


def test_a_link_in_the_place_of_the_file_is_refused(joined: Callable[..., FileRate], folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.write_text("precious", encoding="utf-8")
    share_file("api", folder).symlink_to(elsewhere)
    with pytest.raises(StorageError, match="cannot be kept"):
        joined()
    assert elsewhere.read_text(encoding="utf-8") == "precious"


def test_a_closed_limiter_lets_nobody_wait_for_a_slot(joined: Callable[..., FileRate]) -> None:
    async def run() -> None:
        limiter = limiter_of(joined(rate_per_s=0.1), 0.1)
        waiting = [asyncio.ensure_future(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0.05)
        limiter.close()
        for one in waiting:
            with pytest.raises(LimiterClosed):
                await one

    asyncio.run(asyncio.wait_for(run(), 5))


@pytest.mark.chaos
@pytest.mark.timeout(120)
def test_four_processes_keep_one_rate_and_the_others_have_the_share_of_one_that_is_killed(tmp_path: Path) -> None:
    rate, seconds = 200.0, 12.0
    folder = tmp_path / "share"
    folder.mkdir()
    logs = [tmp_path / f"{number}.log" for number in range(4)]
    senders = [
        subprocess.Popen(
            [sys.executable, "-c", SENDER, str(folder), str(rate), str(seconds), str(log)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for log in logs
    ]
    for sender in senders:
        assert sender.stdout is not None
        assert sender.stdout.readline() == "ready\n"
    begun = time.monotonic()
    time.sleep(seconds / 2)
    senders[0].send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    for sender in senders:
        sender.communicate()
    each = [[float(line) for line in log.read_text().splitlines() if line.count(".") == 1] for log in logs]
    together = sorted(instant for times in each for instant in times)
    assert_kept(together, rate)
    whole = [instant for instant in together if begun + 0.5 < instant < begun + seconds - 0.5]
    assert len(whole) >= 0.9 * rate * (seconds - 1.0)  # 98 % on a machine that does nothing else
    before = [sum(begun + 0.5 < instant < killed_at for instant in times) for times in each]
    assert max(before) - min(before) <= 0.05 * max(before) + 2
    after = [instant for instant in together if killed_at + 0.2 < instant < killed_at + 3.2]
    assert len(after) >= 0.9 * rate * 3
