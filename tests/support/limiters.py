"""Limiters on the virtual clock, and what their tests ask of them."""

import math
import time

from bulk_patch.client.permits import NOTHING, Permit, Signal, SignalKind
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.model import Stop
from bulk_patch.testing.virtual_time import TICK_S, virtual_loop

ALLOWED_LATE_S = 0.01
ROUNDING = 1e-6


def make_limiter(rate_per_s: float | None = 10.0, *, longest_delay_s: float = 60.0, draw: float = 0.5) -> RateLimiter:
    """Return a limiter on the virtual clock, with a fixed draw for jitter."""
    return RateLimiter(rate_per_s, longest_delay_s=longest_delay_s, clock=virtual_loop().time, draw=lambda: draw)


def fresh_permit() -> Permit:
    """Return a permit that was granted just now, for what the limiter is not asked for."""
    return Permit(time.monotonic())


def now() -> float:
    """Return the virtual time."""
    return virtual_loop().time()


async def take(limiter: RateLimiter, count: int) -> list[Permit]:
    """Take permits one after another."""
    return [await limiter.acquire() for _ in range(count)]


async def next_at(limiter: RateLimiter, *, probe: bool = False) -> float:
    """Take a permit; return when it was granted."""
    return (await limiter.acquire(probe=probe)).granted_at


def count_beyond_rate(times: list[float], rate_per_s: float) -> float:
    """Return by how many sends the worst window of all is beyond rate × (length + 0.01 s) + 1; above 0: too many."""
    moments = sorted(times)
    return max(
        (
            (later - first + 1) - (rate_per_s * (moments[later] - moments[first] + ALLOWED_LATE_S) + 1)
            for first in range(len(moments))
            for later in range(first, len(moments))
        ),
        default=0.0,
    )


def succeed(limiter: RateLimiter, permit: Permit | None = None) -> None:
    """Settle a request that the API itself answered; without a permit, one that left before any other."""
    limiter.settle(permit or Permit(-math.inf), Signal(kind=SignalKind.OK))


def fail_with(limiter: RateLimiter, row: int, permit: Permit) -> Stop | None:
    """Settle a request of a row that met an outage."""
    return limiter.settle(permit, Signal(kind=SignalKind.OUTAGE, row=row, reason="server error (HTTP 500)"))


def end(limiter: RateLimiter, permit: Permit) -> None:
    """Settle a request that says nothing to others."""
    limiter.settle(permit, NOTHING)


def throttle(limiter: RateLimiter, permit: Permit, asked_s: float | None = None) -> Stop | None:
    """Settle a request that was answered 429."""
    signal = Signal(kind=SignalKind.THROTTLED, reason="throttled (HTTP 429)", asked_s=asked_s)
    return limiter.settle(permit, signal)


async def fail(limiter: RateLimiter, row: int) -> Permit:
    """Send a request of a row and let it fail; return its permit."""
    permit = await limiter.acquire()
    fail_with(limiter, row, permit)
    return permit


async def draw_brake(limiter: RateLimiter) -> None:
    """Let ten requests of five rows fail at once, each having been sent before the first failed."""
    for number, permit in enumerate(await take(limiter, 10)):
        fail_with(limiter, number % 5 + 1, permit)


def is_drawn(limiter: RateLimiter) -> bool:
    """Tell whether the outage brake holds: only then an outage has a length, once any time has passed."""
    virtual_loop().pass_time(TICK_S)
    return limiter.outage_s > 0
