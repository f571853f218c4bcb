"""APIs that throttle, on the virtual clock, and how far a run gets against them."""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bulk_patch.client.backoff import backoff_s
from bulk_patch.client.permits import Permit, Signal, SignalKind
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.testing.virtual_time import VirtualLoop

Admit = Callable[[float], float]  # the time; 0 or the seconds until the next may pass
Ask = Callable[[float], float | None]  # these seconds; what the API asks for


def at_random(share: float, dice: random.Random) -> Admit:
    """Refuse this share of requests, whatever their rate is."""
    return lambda now: 1.0 if dice.random() < share else 0.0


def sliding_window(rate_per_s: int) -> Admit:
    """Let through so many in any second."""
    admitted: deque[float] = deque()

    def admit(now: float) -> float:
        while admitted and admitted[0] <= now - 1:
            admitted.popleft()
        if len(admitted) < rate_per_s:
            admitted.append(now)
            return 0.0
        return admitted[0] + 1 - now

    return admit


def fixed_window(rate_per_s: int, window_s: float = 1.0) -> Admit:
    """Let through so many in each window, which begin at whole numbers of windows."""
    counts: dict[int, int] = {}

    def admit(now: float) -> float:
        window = int(now / window_s)
        counts[window] = counts.get(window, 0) + 1
        return 0.0 if counts[window] <= rate_per_s * window_s else (window + 1) * window_s - now

    return admit


def token_bucket(rate_per_s: float, burst: float) -> Admit:
    """Let through so many a second, and a burst."""
    tokens, since = burst, 0.0

    def admit(now: float) -> float:
        nonlocal tokens, since
        tokens, since = min(burst, tokens + (now - since) * rate_per_s), now
        if tokens < 1:
            return (1 - tokens) / rate_per_s
        tokens -= 1
        return 0.0

    return admit


def never(seconds: float) -> float | None:
    """Answer 429 without a wish."""
    return None


def whole_seconds(seconds: float) -> float | None:
    """Ask for whole seconds, as Retry-After is written."""
    return float(max(1, math.ceil(seconds)))


@dataclass(slots=True)
class Trip:
    """How far a run got."""

    limiter: RateLimiter
    passed: int = 0
    refused: int = 0
    seconds: float = 0.0

    @property
    def passed_per_s(self) -> float:
        """Return the rate of what got through."""
        return self.passed / self.seconds

    @property
    def refused_share(self) -> float:
        """Return the share of 429s."""
        return self.refused / (self.passed + self.refused)


def travel(
    admit: Admit,
    *,
    limit_per_s: float | None = 100.0,
    ask: Ask = never,
    seconds: float = 60.0,
    latency_s: float = 0.05,
    seed: int = 1,
) -> Trip:
    """Send through a limiter for so long, sixteen at a time, as rows are sent: a lone 429 delays its own row."""
    loop, dice = VirtualLoop(), random.Random(seed)

    async def send_rows(trip: Trip, until: float) -> None:
        times = 0
        while True:
            permit = await trip.limiter.acquire()
            await asyncio.sleep(latency_s * dice.uniform(0.25, 0.75))
            wait_s = admit(loop.time())
            await asyncio.sleep(latency_s / 2)
            if loop.time() > until:
                return
            asked_s = ask(wait_s) if wait_s else None
            times = await settle(trip, permit, is_refused=wait_s > 0, asked_s=asked_s, times=times)

    async def settle(trip: Trip, permit: Permit, *, is_refused: bool, asked_s: float | None, times: int) -> int:
        trip.passed += not is_refused
        trip.refused += is_refused
        kind = SignalKind.THROTTLED if is_refused else SignalKind.OK
        trip.limiter.settle(permit, Signal(kind=kind, asked_s=asked_s))
        if not is_refused:
            return 0
        if asked_s is None:
            await asyncio.sleep(backoff_s(times, 60.0, dice.random))
        return times + 1

    async def run() -> Trip:
        trip = Trip(RateLimiter(limit_per_s, clock=loop.time, draw=dice.random), seconds=seconds)
        await asyncio.gather(*(send_rows(trip, loop.time() + seconds) for _ in range(16)))
        return trip

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run())
