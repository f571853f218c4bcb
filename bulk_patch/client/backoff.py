"""Delays before the next attempt of a request. Pure."""

import random
from collections.abc import Callable

STEPS_CAP_S = 30.0


def backoff_s(attempt: int, longest_s: float, draw: Callable[[], float] = random.random) -> float:
    """Return a full-jitter delay: uniform in 0 … min(longest, 2^attempt) seconds.

    Args:
        attempt: 0 for the first retry.
        longest_s: Cap of the delay.
        draw: Uniform in [0, 1).
    """
    return draw() * min(longest_s, 2.0 ** min(attempt, 30))


def steps_s(attempt: int) -> float:
    """Return 1, 2, 4 … 30 s: the wait for an API that is still busy with this key."""
    return min(STEPS_CAP_S, 2.0 ** min(attempt, 30))
