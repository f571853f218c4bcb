import asyncio
import tracemalloc
from itertools import pairwise

import pytest

from bulk_patch.client.outage import Outage
from bulk_patch.client.permits import LimiterClosed
from bulk_patch.testing.virtual_time import virtual_loop, virtually
from tests.support.limiters import (
    draw_brake,
    end,
    fail,
    fail_with,
    is_drawn,
    make_limiter,
    next_at,
    now,
    succeed,
    take,
    throttle,
)


@virtually
async def test_ten_failures_in_a_row_of_three_rows_draw_the_brake() -> None:
    limiter = make_limiter(10)
    out = await take(limiter, 10)
    for number, permit in enumerate(out):
        assert not is_drawn(limiter)
        fail_with(limiter, number % 3, permit)
    begun = now()
    assert is_drawn(limiter)
    assert await next_at(limiter) >= begun + 1


@pytest.mark.parametrize("interval_s", [0.1, 9.0, 75.0])
@virtually
async def test_ten_in_a_row_count_however_slowly_they_come(interval_s: float) -> None:
    limiter = make_limiter(10)
    for number in range(9):
        await fail(limiter, number // 4)
        await asyncio.sleep(interval_s)
    assert not is_drawn(limiter)
    await fail(limiter, 9)
    assert is_drawn(limiter)


@virtually
async def test_failures_of_two_rows_never_draw_it() -> None:
    limiter = make_limiter(10)
    for number in range(100):
        await fail(limiter, number % 2)
    assert not is_drawn(limiter)
    await fail(limiter, 7)
    assert is_drawn(limiter)


@virtually
async def test_nine_in_a_row_and_a_success_do_not_draw_it_again_and_again() -> None:
    limiter = make_limiter(1000)
    for _ in range(3):
        for row in range(9):
            await fail(limiter, row)
        for _ in range(10):  # so that failures stay below half
            await limiter.acquire()
            succeed(limiter)
    assert not is_drawn(limiter)


@virtually
async def test_rows_that_failed_before_a_success_do_not_make_one_stubborn_row_an_outage() -> None:
    limiter = make_limiter(1000)
    for row in range(5):
        await fail(limiter, row)
    for _ in range(100):  # so that failures stay below half
        await limiter.acquire()
        succeed(limiter)
    for _ in range(20):
        await fail(limiter, 9)
    assert not is_drawn(limiter)


@virtually
async def test_half_of_the_answers_in_thirty_seconds_draw_it() -> None:
    limiter = make_limiter(1000)
    for row in range(9):
        await limiter.acquire()
        succeed(limiter)
        await fail(limiter, row)
    assert not is_drawn(limiter)
    await limiter.acquire()
    succeed(limiter)
    await fail(limiter, 9)
    assert is_drawn(limiter)


@virtually
async def test_a_share_below_half_does_not_draw_it_even_among_thousands() -> None:
    limiter = make_limiter(None)
    for _ in range(3000):
        await limiter.acquire()
        succeed(limiter)
    await asyncio.sleep(20)
    for row in range(1000):  # alone they would be half of the last two thousand
        await fail(limiter, row)
        await limiter.acquire()
        succeed(limiter)
    assert not is_drawn(limiter)


@virtually
async def test_what_is_older_than_thirty_seconds_counts_for_no_share() -> None:
    limiter = make_limiter(1000)
    for row in range(9):
        await limiter.acquire()
        succeed(limiter)
        await fail(limiter, row)
    await asyncio.sleep(31)
    await limiter.acquire()
    succeed(limiter)
    await fail(limiter, 9)
    assert not is_drawn(limiter)


@virtually
async def test_old_successes_do_not_hide_that_half_of_the_last_thirty_seconds_failed() -> None:
    limiter = make_limiter(1000)
    for _ in range(500):
        await limiter.acquire()
        succeed(limiter)
    await asyncio.sleep(31)
    for row in range(10):
        await limiter.acquire()
        succeed(limiter)
        await fail(limiter, row)
    assert is_drawn(limiter)


def test_what_is_kept_of_successes_does_not_grow_with_the_rate() -> None:
    outage = Outage()
    tracemalloc.start()
    try:
        for number in range(200_000):
            outage.succeeded(number / 10_000)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 200_000


@virtually
async def test_while_it_is_drawn_one_probe_at_a_time_goes_out() -> None:
    limiter = make_limiter(100)
    await draw_brake(limiter)
    waiting = [asyncio.create_task(limiter.acquire()) for _ in range(5)]
    for _ in range(3):
        await asyncio.sleep(300)
        (sent,) = [task for task in waiting if task.done()]
        waiting.remove(sent)
        fail_with(limiter, 9, sent.result())
    assert len(waiting) == 2
    limiter.close()
    await asyncio.gather(*waiting, return_exceptions=True)


@virtually
async def test_a_late_failure_from_before_the_outage_is_no_answer_of_the_probe() -> None:
    limiter = make_limiter(100)
    stuck = await take(limiter, 6)
    await draw_brake(limiter)
    probe = await limiter.acquire()
    second = asyncio.create_task(limiter.acquire())
    for permit in stuck:
        fail_with(limiter, 3, permit)
    await asyncio.sleep(600)
    assert not second.done()  # the probe is still out
    fail_with(limiter, 1, probe)
    await second


@virtually
async def test_late_failures_from_before_the_outage_do_not_put_the_probe_off() -> None:
    limiter = make_limiter(1000, draw=1.0)
    stuck = await take(limiter, 30)
    await draw_brake(limiter)
    drawn = now()
    for permit in stuck:
        virtual_loop().pass_time(0.02)
        fail_with(limiter, 3, permit)
    assert await next_at(limiter) - drawn <= 1.1


@virtually
async def test_a_late_429_from_before_the_outage_lets_no_second_probe_out() -> None:
    limiter = make_limiter(100)
    (stuck,) = await take(limiter, 1)
    await draw_brake(limiter)
    await limiter.acquire()
    second = asyncio.create_task(limiter.acquire())
    end(limiter, stuck)
    await asyncio.sleep(600)
    assert not second.done()
    limiter.close()
    with pytest.raises(LimiterClosed):
        await second


@virtually
async def test_probes_come_at_growing_pauses_up_to_the_longest_delay() -> None:
    limiter = make_limiter(100, longest_delay_s=20, draw=1.0)
    await draw_brake(limiter)
    at = [now()]
    for _ in range(8):
        at.append((await fail(limiter, 1)).granted_at)
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert gaps == pytest.approx([1, 2, 4, 8, 16, 20, 20, 20], abs=0.05)


@virtually
async def test_between_two_probes_there_is_at_least_a_second_however_the_dice_fall() -> None:
    limiter = make_limiter(100, draw=0.0)
    await draw_brake(limiter)
    at = [(await fail(limiter, 1)).granted_at for _ in range(5)]
    assert all(later - earlier >= 1 for earlier, later in pairwise(at))


@virtually
async def test_a_success_releases_the_brake_and_all_who_wait() -> None:
    limiter = make_limiter(100)
    await draw_brake(limiter)
    waiting = [asyncio.create_task(limiter.acquire()) for _ in range(20)]
    await asyncio.sleep(1.5)
    assert sum(task.done() for task in waiting) == 1
    released = now()
    succeed(limiter)
    assert not is_drawn(limiter)
    await asyncio.gather(*waiting)
    assert now() - released < 0.25


@virtually
async def test_a_success_of_a_request_from_before_the_outage_releases_it_too() -> None:
    limiter = make_limiter(100)
    await draw_brake(limiter)
    waiting = asyncio.create_task(next_at(limiter))
    await asyncio.sleep(0.1)
    released = now()
    succeed(limiter)
    assert await waiting - released < 0.1


@virtually
async def test_after_an_outage_one_failure_does_not_draw_the_brake_again() -> None:
    limiter = make_limiter(100)
    await draw_brake(limiter)
    await limiter.acquire()
    succeed(limiter)
    for row in range(9):
        await fail(limiter, row)
        await asyncio.sleep(0.001)
        assert not is_drawn(limiter)


@virtually
async def test_the_length_of_an_outage_counts_from_the_first_failure_after_the_last_success() -> None:
    limiter = make_limiter(100)
    await fail(limiter, 1)
    await asyncio.sleep(100)
    await limiter.acquire()
    succeed(limiter)
    await asyncio.sleep(100)
    await fail(limiter, 1)
    begun = now()
    await asyncio.sleep(50)
    assert limiter.outage_s == 0  # not drawn: budgets of rows end this
    await draw_brake(limiter)
    assert limiter.outage_s == pytest.approx(now() - begun, abs=0.01)
    await asyncio.sleep(1000)
    assert limiter.outage_s == pytest.approx(now() - begun, abs=0.01)
    succeed(limiter)
    assert limiter.outage_s == 0


@pytest.mark.parametrize("how", ["passed", "throttled"])
@virtually
async def test_a_probe_that_says_nothing_about_the_outage_lets_the_next_one_go(how: str) -> None:
    limiter = make_limiter(100)
    await draw_brake(limiter)
    probe = await limiter.acquire()
    waiting = asyncio.create_task(next_at(limiter))
    await asyncio.sleep(1)
    end(limiter, probe)
    if how == "throttled":
        throttle(limiter, probe, 2.0)
    second = await waiting
    assert second - probe.granted_at < 4
    assert is_drawn(limiter)
    third = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(600)
    assert not third.done()
    succeed(limiter)
    await third


@virtually
async def test_a_probe_that_connects_slowly_is_not_kept_waiting_by_itself() -> None:
    limiter = make_limiter(10)
    await draw_brake(limiter)
    probe = await limiter.acquire()
    await limiter.retake(probe)
    assert now() - probe.granted_at < 0.2
    succeed(limiter)


@virtually
async def test_a_second_turn_makes_no_request_a_probe() -> None:
    limiter = make_limiter(10)
    (stuck,) = await take(limiter, 1)
    await draw_brake(limiter)
    await limiter.retake(stuck)
    probe = await next_at(limiter)
    assert probe - 1000 < 10
    succeed(limiter)


@virtually
async def test_the_probe_of_a_credential_waits_for_the_probe_of_an_outage() -> None:
    limiter = make_limiter(10)
    await draw_brake(limiter)
    probe = await limiter.acquire()
    limiter.hold()
    mine = asyncio.create_task(limiter.acquire(probe=True))
    await asyncio.sleep(100)
    assert not mine.done()
    fail_with(limiter, 1, probe)
    fail_with(limiter, 1, await mine)
    limiter.release()
    await limiter.acquire()
