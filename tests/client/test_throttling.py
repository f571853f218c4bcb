import asyncio
import math
from itertools import pairwise

import pytest

from bulk_patch.client.permits import Permit
from tests.support.limiters import ROUNDING, count_beyond_rate, make_limiter, next_at, now, take
from tests.support.virtual_time import virtually


@virtually
async def test_a_round_of_429s_halves_the_rate_once_successes_in_between_or_not() -> None:
    limiter = make_limiter(100)
    out = await take(limiter, 16)
    for number, permit in enumerate(out):
        limiter.throttle(permit, None)
        if number % 2:
            limiter.succeeded()
    assert limiter.rate_per_s == 50
    assert limiter.throttled == 16


@virtually
async def test_each_new_round_of_429s_halves_the_rate_again() -> None:
    limiter = make_limiter(80, draw=0.0)
    for expected in (40, 20, 10):
        (permit,) = await take(limiter, 1)
        limiter.throttle(permit, None)
        assert limiter.rate_per_s == pytest.approx(expected, rel=0.01)


@virtually
async def test_a_429_to_a_request_sent_after_the_halving_counts_though_the_rate_has_grown_meanwhile() -> None:
    limiter = make_limiter(10, draw=0.0)
    limiter.throttle(await limiter.acquire(), None)
    slow = await limiter.acquire()
    await asyncio.sleep(3)
    await limiter.acquire()
    grown = limiter.rate_per_s
    assert grown > 5
    limiter.throttle(slow, None)
    assert limiter.rate_per_s == pytest.approx(grown / 2)


@virtually
async def test_the_halved_rate_holds_at_once() -> None:
    limiter = make_limiter(100, draw=0.0)
    (permit,) = await take(limiter, 1)
    limiter.throttle(permit, 0)
    sent = await take(limiter, 30)
    assert count_beyond_rate([permit.granted_at for permit in sent[1:]], 51) <= ROUNDING


@virtually
async def test_the_rate_grows_back_to_the_limit_fast_at_first_then_slowly_and_never_above() -> None:
    limiter = make_limiter(20, draw=0.0)
    limiter.throttle(await limiter.acquire(), None)
    begun = now()
    rates: list[tuple[float, float]] = []
    while now() < begun + 120:
        await limiter.acquire()
        rates.append((now() - begun, limiter.rate_per_s))
    assert all(later >= earlier for (_, earlier), (_, later) in pairwise(rates))
    assert max(rate for _, rate in rates) == 20
    at_18 = next(at for at, rate in rates if rate >= 18)
    at_20 = next(at for at, rate in rates if rate == 20)
    assert 5 < at_18 < 15
    assert at_20 - at_18 > 10
    assert all(rate <= 18 for at, rate in rates if at < at_18)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.15, 1])
@virtually
async def test_a_429_never_makes_a_slow_job_faster_than_its_limit(rate: float) -> None:
    limiter = make_limiter(rate, draw=0.0)
    for _ in range(8):
        limiter.throttle(await limiter.acquire(), 0)
        assert limiter.rate_per_s <= rate


@virtually
async def test_many_429s_slow_down_but_never_stop_the_run() -> None:
    limiter = make_limiter(20, draw=0.0)
    for _ in range(40):
        limiter.throttle(await limiter.acquire(), 0)
    assert limiter.rate_per_s == pytest.approx(0.1, rel=0.1)


@virtually
async def test_the_pause_of_a_429_is_the_longest_of_what_was_asked_and_our_own_backoff() -> None:
    limiter = make_limiter(10, draw=0.9)
    begun = now()
    assert limiter.throttle(Permit(begun), 7.0) == 7.0
    assert limiter.throttle(Permit(begun), None) == pytest.approx(0.9)
    assert limiter.throttle(Permit(begun), 0.5) == pytest.approx(0.9)
    assert limiter.paused_s == pytest.approx(7.0, abs=0.01)
    assert await next_at(limiter) >= begun + 7


@virtually
async def test_backoff_grows_with_the_rounds_of_429s_and_not_with_their_number() -> None:
    limiter = make_limiter(10, draw=1.0)
    out = await take(limiter, 10)
    assert {limiter.throttle(permit, None) for permit in out} == {1.0}
    assert limiter.throttle(await limiter.acquire(), None) == 2.0
    assert limiter.throttle(await limiter.acquire(), None) == 4.0
    limiter.succeeded()
    assert limiter.throttle(await limiter.acquire(), None) == 1.0


@virtually
async def test_without_a_limit_a_429_halves_the_rate_that_was_measured() -> None:
    limiter = make_limiter(None, draw=0.0)
    for _ in range(200):
        permit = await limiter.acquire()
        await asyncio.sleep(0.01)
    limiter.throttle(permit, None)
    assert limiter.rate_per_s == pytest.approx(50, rel=0.05)
    sent = await take(limiter, 40)
    assert count_beyond_rate([permit.granted_at for permit in sent[1:]], 53) <= ROUNDING


@virtually
async def test_without_a_limit_a_429_to_the_very_first_request_gives_a_rate_too() -> None:
    limiter = make_limiter(None, draw=0.0)
    limiter.throttle(await limiter.acquire(), None)
    assert 0 < limiter.rate_per_s <= 1
    before = limiter.rate_per_s
    await take(limiter, 30)
    assert before < limiter.rate_per_s < math.inf


@virtually
async def test_without_a_limit_a_429_before_any_permit_gives_a_rate_too() -> None:
    limiter = make_limiter(None, draw=0.0)
    limiter.throttle(Permit(now()), None)
    assert 0 < limiter.rate_per_s < 1


@virtually
async def test_the_rate_does_not_grow_by_much_while_nothing_is_sent() -> None:
    limiter = make_limiter(100, draw=0.0)
    limiter.throttle(await limiter.acquire(), 600.0)
    await take(limiter, 2)
    assert limiter.rate_per_s <= 60
