"""429s: which delay one row, which make all pause, and what becomes of the rate."""

import asyncio
import math
import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest

from bulk_patch.client.permits import Permit
from bulk_patch.client.rate_limiter import LONGEST_PAUSE_S
from bulk_patch.errors import Exit
from bulk_patch.testing.virtual_time import virtually
from tests.support.limiters import ROUNDING, count_beyond_rate, make_limiter, next_at, now, succeed, take, throttle
from tests.support.throttling_api import (
    Admit,
    Ask,
    at_random,
    fixed_window,
    never,
    sliding_window,
    token_bucket,
    travel,
    whole_seconds,
)

# --- what does not depend on our rate must not starve a run


@pytest.mark.parametrize("limit_per_s", [20.0, 100.0])
@pytest.mark.parametrize(("share", "at_least"), [(0.001, 0.95), (0.01, 0.80), (0.02, 0.70), (0.05, 0.50)])
def test_429s_at_random_leave_most_of_the_limit(limit_per_s: float, share: float, at_least: float) -> None:
    for seed in (1, 2):
        trip = travel(at_random(share, random.Random(seed)), limit_per_s=limit_per_s, seconds=100, seed=seed)
        assert trip.passed_per_s >= at_least * limit_per_s


@pytest.mark.parametrize("share", [0.001, 0.02, 0.05])
def test_429s_at_random_that_ask_to_wait_leave_what_the_waits_leave(share: float) -> None:
    trip = travel(at_random(share, random.Random(3)), ask=whole_seconds, seconds=100, seed=3)
    assert trip.passed_per_s >= 0.75 / (1 / 100 + share)


# --- a limit that is lower than the job's is found and kept


@pytest.mark.parametrize("ask", [never, whole_seconds])
@pytest.mark.parametrize(
    "make",
    [
        partial(sliding_window, 30),
        partial(fixed_window, 30),
        partial(token_bucket, 30, 30),
        partial(token_bucket, 30, 15),
    ],
)
def test_a_lower_limit_is_reached_with_few_429s(make: Callable[[], Admit], ask: Ask) -> None:
    trip = travel(make(), ask=ask, seconds=180)
    assert trip.passed_per_s >= 0.9 * 30
    assert trip.refused_share <= 0.05


def test_a_limit_that_is_raised_meanwhile_is_reached_again() -> None:
    low, begun = sliding_window(10), 1000.0
    trip = travel(lambda time: low(time) if time < begun + 40 else 0.0, seconds=240)
    assert trip.limiter.rate_per_s == 100


def test_an_api_that_refuses_everything_for_long_does_not_bring_the_rate_down_for_good() -> None:
    begun = 1000.0
    trip = travel(lambda time: 1.0 if time < begun + 300 else 0.0, seconds=420)
    assert trip.limiter.rate_per_s == 100
    assert trip.passed > 3000
    assert trip.refused < 400  # it waits longer and longer


# --- rounds


@virtually
async def test_a_lone_429_without_a_wish_neither_pauses_nor_slows_anybody() -> None:
    limiter = make_limiter(100)
    for permit in await take(limiter, 50):
        succeed(limiter, permit)
    throttle(limiter, await limiter.acquire())
    assert (limiter.rate_per_s, limiter.paused_s, limiter.throttled) == (100, 0, 1)


@virtually
async def test_several_among_the_last_answers_pause_all_and_lower_the_rate_once() -> None:
    limiter = make_limiter(100, draw=0.5)
    for permit in await take(limiter, 16):
        throttle(limiter, permit)
    assert limiter.rate_per_s == 50
    assert limiter.paused_s == pytest.approx(0.5, abs=0.01)
    assert limiter.throttled == 16


@virtually
async def test_each_new_round_halves_the_rate_of_an_overload_again_as_long_as_something_gets_through() -> None:
    limiter = make_limiter(80, draw=0.0)
    for expected in (40, 20, 10):
        for permit in await take(limiter, 6):
            throttle(limiter, permit)
        assert limiter.rate_per_s == pytest.approx(expected, rel=0.01)
        succeed(limiter)


@virtually
async def test_after_a_pause_one_more_429_is_a_round_while_nothing_gets_through() -> None:
    limiter = make_limiter(100, draw=1.0)
    for permit in await take(limiter, 16):
        throttle(limiter, permit)
    for expected_s in (2.0, 4.0, 8.0):
        throttle(limiter, await limiter.acquire())
        assert limiter.paused_s == pytest.approx(expected_s, abs=0.01)
    assert limiter.rate_per_s == 50  # nothing got through at any rate: that says nothing about the rate


@virtually
async def test_the_lowered_rate_holds_at_once() -> None:
    limiter = make_limiter(100, draw=0.0)
    for permit in await take(limiter, 6):
        throttle(limiter, permit)
    sent = await take(limiter, 30)
    assert count_beyond_rate([permit.granted_at for permit in sent[1:]], 51) <= ROUNDING


@virtually
async def test_the_rate_grows_back_to_the_limit_and_never_above() -> None:
    limiter = make_limiter(20, draw=0.0)
    for permit in await take(limiter, 6):
        throttle(limiter, permit)
    begun = now()
    rates: list[tuple[float, float]] = []
    while now() < begun + 60:
        succeed(limiter, await limiter.acquire())
        rates.append((now() - begun, limiter.rate_per_s))
    assert all(later >= earlier for (_, earlier), (_, later) in pairwise(rates))
    assert max(rate for _, rate in rates) == 20
    assert 5 < next(at for at, rate in rates if rate == 20) < 30


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.15, 1])
@virtually
async def test_a_429_never_makes_a_slow_job_faster_than_its_limit(rate: float) -> None:
    limiter = make_limiter(rate, draw=0.0)
    for _ in range(20):
        throttle(limiter, await limiter.acquire())
        succeed(limiter)
        assert limiter.rate_per_s <= rate


@virtually
async def test_a_limit_that_is_set_anew_holds_at_once() -> None:
    limiter = make_limiter(100)
    await take(limiter, 5)
    limiter.set_limit(10)
    sent = await take(limiter, 10)
    assert limiter.rate_per_s == limiter.limit_per_s == 10
    assert count_beyond_rate([permit.granted_at for permit in sent], 10) <= ROUNDING
    limiter.set_limit(math.inf)
    begun = now()
    await take(limiter, 100)
    assert now() - begun < 0.3


# --- pauses


@virtually
async def test_everybody_waits_as_long_as_the_api_asks_and_not_shorter_than_anyone_was_asked() -> None:
    limiter = make_limiter(10, draw=0.9)
    begun = now()
    for asked_s in (7.0, 0.5, None):
        throttle(limiter, Permit(begun), asked_s)
    assert limiter.paused_s == pytest.approx(7.0, abs=0.01)
    assert await next_at(limiter) >= begun + 7


@virtually
async def test_for_how_long_throttling_kept_the_rate_down_is_known() -> None:
    limiter = make_limiter(100, draw=0.0)
    throttle(limiter, await limiter.acquire(), 3.0)
    await limiter.acquire()
    assert limiter.slowed_s == pytest.approx(3.0, abs=0.05)
    await asyncio.sleep(5)
    throttle(limiter, await limiter.acquire())
    assert limiter.slowed_s == pytest.approx(3.0, abs=0.05)
    for permit in await take(limiter, 6):
        throttle(limiter, permit)
    await asyncio.sleep(5)
    assert limiter.slowed_s == pytest.approx(8.0, abs=0.1)


@virtually
async def test_a_wish_of_no_time_is_none() -> None:
    limiter = make_limiter(100)
    succeed(limiter, await limiter.acquire())
    throttle(limiter, await limiter.acquire(), 0.0)
    assert limiter.paused_s == 0


@virtually
async def test_a_wish_for_longer_than_a_process_should_sleep_stops_the_run_and_says_until_when() -> None:
    limiter = make_limiter(100)
    assert throttle(limiter, await limiter.acquire(), LONGEST_PAUSE_S) is None
    stop = throttle(limiter, await limiter.acquire(), LONGEST_PAUSE_S + 1)
    assert stop is not None
    assert stop.exit_code is Exit.INCOMPLETE
    assert stop.reason.startswith("the API asks to wait until 20")
    assert limiter.throttled == 2


# --- without a limit


@virtually
async def test_without_a_limit_several_429s_halve_the_rate_that_was_measured() -> None:
    limiter = make_limiter(None, draw=0.0)
    for _ in range(200):
        await limiter.acquire()
        await asyncio.sleep(0.01)
    for permit in await take(limiter, 6):
        throttle(limiter, permit)
    assert limiter.rate_per_s == pytest.approx(50, rel=0.15)
    sent = await take(limiter, 40)
    assert count_beyond_rate([permit.granted_at for permit in sent[1:]], 60) <= ROUNDING


@virtually
async def test_without_a_limit_429s_to_the_very_first_requests_give_a_rate_too() -> None:
    limiter = make_limiter(None, draw=0.0)
    for permit in await take(limiter, 6):
        throttle(limiter, permit)
    before = limiter.rate_per_s
    assert 0 < before < math.inf
    for _ in range(100):
        succeed(limiter, await limiter.acquire())
    assert before < limiter.rate_per_s


@virtually
async def test_the_rate_does_not_grow_by_much_while_nothing_is_sent() -> None:
    limiter = make_limiter(100, draw=0.0)
    for permit in await take(limiter, 6):
        throttle(limiter, permit)
    succeed(limiter)
    await asyncio.sleep(600)
    await take(limiter, 2)
    assert limiter.rate_per_s <= 60
