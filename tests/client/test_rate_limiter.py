import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_patch.client.backoff import backoff_s, steps_s
from bulk_patch.client.permits import LimiterClosed, Permit
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.concurrency import wait_or
from bulk_patch.testing.virtual_time import Deadlock, run_virtually, virtual_loop, virtually
from tests.support.examples import examples
from tests.support.limiters import (
    ROUNDING,
    count_beyond_rate,
    draw_brake,
    make_limiter,
    next_at,
    now,
    succeed,
    take,
    throttle,
)

STALE = Permit(0.0)

# --- the rate


steps = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 12)),
        st.tuples(st.just("probe"), st.just(1)),
        st.tuples(st.just("retake"), st.integers(1, 3)),
        st.tuples(st.just("sleep"), st.floats(0, 2)),
        st.tuples(st.just("stall"), st.floats(0, 0.03)),
        st.tuples(st.just("stall"), st.floats(0, 3)),
        st.tuples(st.just("throttle"), st.floats(0, 2)),
        st.tuples(st.just("pause"), st.floats(0, 2)),
        st.tuples(st.just("succeed"), st.just(0)),
    ),
    max_size=40,
)


async def follow(limiter: RateLimiter, script: list[tuple[str, float]]) -> list[float]:
    """Do what a script says, wait for all who asked, and return when each was let through."""
    sent: list[float] = []

    async def ask(permit: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        await permit()
        sent.append(now())

    tasks: list[asyncio.Task[None]] = []
    for what, size in script:
        match what:
            case "arrive":
                tasks += [asyncio.create_task(ask(limiter.acquire)) for _ in range(int(size))]
            case "probe":
                tasks.append(asyncio.create_task(ask(lambda: limiter.acquire(probe=True))))
            case "retake":
                tasks += [asyncio.create_task(ask(lambda: limiter.retake(STALE))) for _ in range(int(size))]
            case "sleep":
                await asyncio.sleep(size)
            case "stall":
                virtual_loop().pass_time(size)
            case "throttle":
                throttle(limiter, Permit(now()), size)
            case "pause":
                limiter.pause(size, "asked")
            case "succeed":
                succeed(limiter)
    await asyncio.gather(*tasks)
    return sent


@given(rate=st.floats(0.02, 2000), script=steps)
@settings(max_examples=examples(250), deadline=None)
@virtually
async def test_no_window_holds_more_than_the_rate_whatever_arrives_stalls_and_comes_late(
    rate: float, script: list[tuple[str, float]]
) -> None:
    limiter = make_limiter(rate)
    begun = now()
    sent = await follow(limiter, script)
    assert limiter.rate_per_s <= limiter.limit_per_s == rate
    if sent:
        assert min(sent) >= begun + 1 / rate - ROUNDING  # it starts empty
        assert count_beyond_rate(sent, rate) <= ROUNDING


@given(rate=st.floats(0.5, 500), lives=st.lists(steps, min_size=2, max_size=5))
@settings(max_examples=examples(60), deadline=None)
@virtually
async def test_no_window_holds_more_than_the_rate_across_restarts_either(
    rate: float, lives: list[list[tuple[str, float]]]
) -> None:
    sent: list[float] = []
    for life in lives:
        sent += await follow(make_limiter(rate), life)
    if sent:
        assert count_beyond_rate(sent, rate) <= ROUNDING


@virtually
async def test_a_crash_loop_that_sends_one_request_a_life_stays_below_the_rate() -> None:
    sent = [await next_at(make_limiter(10)) for _ in range(50)]
    assert count_beyond_rate(sent, 10) <= ROUNDING
    assert sent[-1] - sent[0] == pytest.approx(4.9, abs=0.01)


@pytest.mark.parametrize("rate", [0.5, 20, 200, 1500])
@virtually
async def test_the_rate_is_reached_where_there_is_always_a_request_waiting(rate: float) -> None:
    limiter = make_limiter(rate)
    begun = now()

    async def work() -> int:
        count = 0
        while now() < begun + 1000 / rate:
            await limiter.acquire()
            count += 1
        return count

    assert sum(await asyncio.gather(*(work() for _ in range(16)))) >= 985


@virtually
async def test_lateness_of_up_to_ten_milliseconds_is_made_up_for() -> None:
    limiter = make_limiter(100)
    begun = now()
    for _ in range(100):
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        virtual_loop().pass_time(0.018)  # its turn came 8 ms ago
        await waiting
        await limiter.acquire()
    assert now() - begun == pytest.approx(2.0, abs=0.05)


@virtually
async def test_what_was_missed_in_a_long_stall_is_not_made_up_for() -> None:
    limiter = make_limiter(100)
    await take(limiter, 5)
    virtual_loop().pass_time(5.0)
    resumed = now()
    sent = await take(limiter, 20)
    assert sum(permit.granted_at < resumed + 0.1 for permit in sent) <= 12  # 100 × (0.1 + 0.01) + 1


@virtually
async def test_the_first_permit_comes_one_interval_after_the_start() -> None:
    limiter = make_limiter(2)
    begun = now()
    assert await next_at(limiter) - begun == pytest.approx(0.5, abs=0.001)


@virtually
async def test_permits_are_given_in_the_order_of_asking() -> None:
    limiter = make_limiter(50)
    options: list[int] = []

    async def ask(number: int) -> None:
        await limiter.acquire()
        options.append(number)

    await asyncio.gather(*(ask(number) for number in range(30)))
    assert options == list(range(30))


@virtually
async def test_without_a_limit_no_one_waits() -> None:
    limiter = make_limiter(None)
    begun = now()
    await take(limiter, 1000)
    assert now() - begun < 0.01
    assert limiter.limit_per_s == math.inf
    assert limiter.rate_per_s == math.inf


@virtually
async def test_permits_count_requests_and_a_second_turn_for_one_request_does_not_count() -> None:
    limiter = make_limiter(10)
    first = await next_at(limiter)
    await limiter.retake(STALE)
    assert now() - first == pytest.approx(0.1, abs=0.001)
    assert await next_at(limiter) - first == pytest.approx(0.2, abs=0.001)
    assert limiter.permits == 2


# --- pauses


@virtually
async def test_a_pause_is_obeyed_by_all_who_wait_and_all_who_come() -> None:
    limiter = make_limiter(10)
    waiting = [asyncio.create_task(next_at(limiter)) for _ in range(5)]
    await asyncio.sleep(0.25)  # two are through
    paused = now()
    limiter.pause(30, "rate limited")
    waiting += [asyncio.create_task(next_at(limiter)), asyncio.create_task(next_at(limiter, probe=True))]
    retaking = asyncio.create_task(limiter.retake(STALE))
    sent = await asyncio.gather(*waiting)
    await retaking
    assert sorted(sent)[1] < paused
    assert sorted(sent)[2] >= paused + 30
    assert count_beyond_rate(sent, 10) <= ROUNDING


@virtually
async def test_a_pause_that_begins_in_the_short_wait_before_a_turn_is_obeyed() -> None:
    limiter = make_limiter(100)
    waiting = asyncio.create_task(next_at(limiter))
    await asyncio.sleep(0.005)
    limiter.pause(3, "asked")
    assert await waiting >= 1003.0


@virtually
async def test_a_shorter_pause_does_not_shorten_a_longer_one() -> None:
    limiter = make_limiter(10)
    begun = now()
    limiter.pause(60, "the long one")
    limiter.pause(1, "the short one")
    assert limiter.paused_s == pytest.approx(60, abs=0.01)
    assert limiter.pause_reason == "the long one"
    assert await next_at(limiter) >= begun + 60
    assert limiter.paused_s == 0


@virtually
async def test_while_it_is_held_only_the_probe_passes() -> None:
    limiter = make_limiter(10)
    limiter.hold()
    waiting = asyncio.create_task(next_at(limiter))
    await asyncio.sleep(100)
    probed = await next_at(limiter, probe=True)
    await asyncio.sleep(100)
    assert not waiting.done()
    limiter.release()
    assert await waiting >= probed + 100


@virtually
async def test_two_holds_need_two_releases() -> None:
    limiter = make_limiter(10)
    limiter.hold()
    limiter.hold()
    waiting = asyncio.create_task(limiter.acquire())
    limiter.release()
    await asyncio.sleep(10)
    assert not waiting.done()
    limiter.release()
    await waiting


def test_a_hold_that_no_one_ends_stops_everything_for_ever() -> None:
    async def scenario() -> None:
        limiter = make_limiter(10)
        limiter.hold()
        await limiter.acquire()

    with pytest.raises(Deadlock):  # shows that the loop of these tests would find one
        run_virtually(scenario())


@virtually
async def test_a_request_that_connects_slowly_takes_its_second_turn_while_others_are_held() -> None:
    limiter = make_limiter(10)
    limiter.hold()
    await limiter.retake(STALE)


@virtually
async def test_one_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    limiter = make_limiter(10)
    begun = now()
    waiting = [asyncio.create_task(next_at(limiter)) for _ in range(10)]
    await asyncio.sleep(0.01)
    for task in waiting[:9]:
        task.cancel()
    assert await waiting[9] - begun == pytest.approx(0.1, abs=0.02)
    assert limiter.permits == 1


# --- the end


async def wait_for_rate(limiter: RateLimiter) -> None:
    await limiter.acquire()


async def wait_for_pause(limiter: RateLimiter) -> None:
    limiter.pause(600, "asked")
    await limiter.acquire()


async def wait_for_hold(limiter: RateLimiter) -> None:
    limiter.hold()
    await limiter.acquire()


async def wait_for_brake(limiter: RateLimiter) -> None:
    await draw_brake(limiter)
    await limiter.acquire()


async def wait_for_another_probe(limiter: RateLimiter) -> None:
    await draw_brake(limiter)
    await limiter.acquire()  # the probe, never answered
    await limiter.acquire()


async def wait_for_second_turn(limiter: RateLimiter) -> None:
    limiter.pause(600, "asked")
    await limiter.retake(STALE)


@pytest.mark.parametrize("rate", [0.01, 10])
@pytest.mark.parametrize(
    "wait",
    [wait_for_rate, wait_for_pause, wait_for_hold, wait_for_brake, wait_for_another_probe, wait_for_second_turn],
)
@virtually
async def test_closing_wakes_all_whatever_they_wait_for(
    wait: Callable[[RateLimiter], Coroutine[Any, Any, None]], rate: float
) -> None:
    limiter = make_limiter(rate)
    first = asyncio.create_task(wait(limiter))
    await asyncio.sleep(0.01 if wait is wait_for_rate else 2500)  # more than 20 permits at the lower rate
    others = [asyncio.create_task(limiter.acquire()) for _ in range(20)]
    others.append(asyncio.create_task(limiter.acquire(probe=True)))
    await asyncio.sleep(0.01)
    asked = [task for task in (first, *others) if not task.done()]
    assert len(asked) >= 20
    closed = now()
    limiter.close()
    assert all(isinstance(end, LimiterClosed) for end in await asyncio.gather(*asked, return_exceptions=True))
    assert now() - closed < 0.1


@virtually
async def test_no_one_passes_after_the_end() -> None:
    limiter = make_limiter(None)
    limiter.close()
    for late in (limiter.acquire(), limiter.acquire(probe=True), limiter.retake(STALE)):
        with pytest.raises(LimiterClosed):
            await late
    assert limiter.permits == 0


# --- delays


@given(attempt=st.integers(0, 10_000), longest=st.floats(0.1, 3600), draw=st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter_below_a_doubling_bound_and_a_cap(attempt: int, longest: float, draw: float) -> None:
    assert backoff_s(attempt, longest, lambda: draw) == pytest.approx(draw * min(longest, 2 ** min(attempt, 60)))
    assert 0 <= backoff_s(attempt, longest) <= longest


def test_an_api_that_is_busy_with_a_key_is_asked_after_1_2_4_and_then_30_seconds() -> None:
    assert [steps_s(attempt) for attempt in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert steps_s(100_000) == 30


@virtually
async def test_a_sleep_ends_early_when_the_event_comes() -> None:
    event = asyncio.Event()
    virtual_loop().call_later(3, event.set)
    begun = now()
    assert not await wait_or(event, 2)
    assert await wait_or(event, 100)
    assert now() - begun == pytest.approx(3, abs=0.01)
    assert await wait_or(event, 100)


held_up = st.one_of(st.just(0.0), st.floats(0, 0.003), st.floats(0, 0.05))


@given(rate=st.floats(5, 500), requests=st.lists(st.tuples(held_up, held_up), min_size=2, max_size=40))
@settings(max_examples=examples(100), deadline=None)
@virtually
async def test_what_the_machine_holds_up_between_permit_and_first_byte_brings_no_window_beyond_the_rate(
    rate: float, requests: list[tuple[float, float]]
) -> None:
    limiter = make_limiter(rate)
    left: list[float] = []

    async def send(connecting_s: float, stalled_s: float) -> None:
        permit = await limiter.acquire()
        await asyncio.sleep(connecting_s)  # others get their permits meanwhile
        if limiter.is_stale(permit):
            permit = await limiter.retake(permit)
        virtual_loop().pass_time(stalled_s)  # no one does
        limiter.leaves(permit)
        left.append(now())

    await asyncio.gather(*(send(*request) for request in requests))
    assert count_beyond_rate(left, rate) <= ROUNDING
