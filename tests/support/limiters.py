"""Paces on the virtual clock, and what their tests ask of them."""

from bulk_patch.client.rate_limiter import RateLimiter
from tests.support.virtual_time import TICK_S, virtual_loop

ALLOWED_LATE_S = 0.01
ROUNDING = 1e-6


def make_pace(rate_per_s: float | None = 10.0, *, longest_delay_s: float = 60.0, draw: float = 0.5) -> RateLimiter:
    """Return a pace on the virtual clock, with a fixed draw for jitter."""
    return RateLimiter(rate_per_s, longest_delay_s=longest_delay_s, clock=virtual_loop().time, draw=lambda: draw)


def now() -> float:
    """Return the virtual time."""
    return virtual_loop().time()


async def take(limiter: RateLimiter, count: int) -> list[float]:
    """Take permits one after another."""
    return [await limiter.permit() for _ in range(count)]


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


async def fail(limiter: RateLimiter, row: int) -> float:
    """Send a request of a row and let it fail; return when it was sent."""
    sent_at = await limiter.permit()
    limiter.failed(row, sent_at)
    return sent_at


async def draw_brake(limiter: RateLimiter) -> None:
    """Let ten requests of five rows fail at once, each having been sent before the first failed."""
    for number, sent_at in enumerate(await take(limiter, 10)):
        limiter.failed(number % 5 + 1, sent_at)


def is_drawn(limiter: RateLimiter) -> bool:
    """Tell whether the outage brake holds: only then an outage has a length, once any time has passed."""
    virtual_loop().pass_time(TICK_S)
    return limiter.outage_s > 0
