import asyncio
import tracemalloc
from itertools import pairwise

import pytest

from bulk_patch.client.outage import Outage
from bulk_patch.client.rate_limiter import Closed
from tests.paces import draw_brake, fail, is_drawn, make_pace, now, take
from tests.virtual_time import virtual_loop, virtually


@virtually
async def test_ten_failures_in_a_row_of_three_rows_draw_the_brake() -> None:
    pace = make_pace(10)
    out = await take(pace, 10)
    for number, sent_at in enumerate(out):
        assert not is_drawn(pace)
        pace.failed(number % 3, sent_at)
    begun = now()
    assert is_drawn(pace)
    assert await pace.permit() >= begun + 1


@pytest.mark.parametrize("interval_s", [0.1, 9.0, 75.0])
@virtually
async def test_ten_in_a_row_count_however_slowly_they_come(interval_s: float) -> None:
    pace = make_pace(10)
    for number in range(9):
        await fail(pace, number // 4)
        await asyncio.sleep(interval_s)
    assert not is_drawn(pace)
    await fail(pace, 9)
    assert is_drawn(pace)


@virtually
async def test_failures_of_two_rows_never_draw_it() -> None:
    pace = make_pace(10)
    for number in range(100):
        await fail(pace, number % 2)
    assert not is_drawn(pace)
    await fail(pace, 7)
    assert is_drawn(pace)


@virtually
async def test_nine_in_a_row_and_a_success_do_not_draw_it_again_and_again() -> None:
    pace = make_pace(1000)
    for _ in range(3):
        for row in range(9):
            await fail(pace, row)
        for _ in range(10):  # so that failures stay below half
            await pace.permit()
            pace.succeeded()
    assert not is_drawn(pace)


@virtually
async def test_rows_that_failed_before_a_success_do_not_make_one_stubborn_row_an_outage() -> None:
    pace = make_pace(1000)
    for row in range(5):
        await fail(pace, row)
    for _ in range(100):  # so that failures stay below half
        await pace.permit()
        pace.succeeded()
    for _ in range(20):
        await fail(pace, 9)
    assert not is_drawn(pace)


@virtually
async def test_half_of_the_answers_in_thirty_seconds_draw_it() -> None:
    pace = make_pace(1000)
    for row in range(9):
        await pace.permit()
        pace.succeeded()
        await fail(pace, row)
    assert not is_drawn(pace)
    await pace.permit()
    pace.succeeded()
    await fail(pace, 9)
    assert is_drawn(pace)


@virtually
async def test_a_share_below_half_does_not_draw_it_even_among_thousands() -> None:
    pace = make_pace(None)
    for _ in range(3000):
        await pace.permit()
        pace.succeeded()
    await asyncio.sleep(20)
    for row in range(1000):  # alone they would be half of the last two thousand
        await fail(pace, row)
        await pace.permit()
        pace.succeeded()
    assert not is_drawn(pace)


@virtually
async def test_what_is_older_than_thirty_seconds_counts_for_no_share() -> None:
    pace = make_pace(1000)
    for row in range(9):
        await pace.permit()
        pace.succeeded()
        await fail(pace, row)
    await asyncio.sleep(31)
    await pace.permit()
    pace.succeeded()
    await fail(pace, 9)
    assert not is_drawn(pace)


@virtually
async def test_old_successes_do_not_hide_that_half_of_the_last_thirty_seconds_failed() -> None:
    pace = make_pace(1000)
    for _ in range(500):
        await pace.permit()
        pace.succeeded()
    await asyncio.sleep(31)
    for row in range(10):
        await pace.permit()
        pace.succeeded()
        await fail(pace, row)
    assert is_drawn(pace)


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
    pace = make_pace(100)
    await draw_brake(pace)
    waiting = [asyncio.create_task(pace.permit()) for _ in range(5)]
    for _ in range(3):
        await asyncio.sleep(300)
        (sent,) = [task for task in waiting if task.done()]
        waiting.remove(sent)
        pace.failed(9, sent.result())
    assert len(waiting) == 2
    pace.close()
    await asyncio.gather(*waiting, return_exceptions=True)


@virtually
async def test_a_late_failure_from_before_the_outage_is_no_answer_of_the_probe() -> None:
    pace = make_pace(100)
    stuck = await take(pace, 6)
    await draw_brake(pace)
    probe = await pace.permit()
    second = asyncio.create_task(pace.permit())
    for sent_at in stuck:
        pace.failed(3, sent_at)
    await asyncio.sleep(600)
    assert not second.done()  # the probe is still out
    pace.failed(1, probe)
    await second


@virtually
async def test_late_failures_from_before_the_outage_do_not_put_the_probe_off() -> None:
    pace = make_pace(1000, draw=1.0)
    stuck = await take(pace, 30)
    await draw_brake(pace)
    drawn = now()
    for sent_at in stuck:
        virtual_loop().pass_time(0.02)
        pace.failed(3, sent_at)
    assert await pace.permit() - drawn <= 1.1


@virtually
async def test_a_late_429_from_before_the_outage_lets_no_second_probe_out() -> None:
    pace = make_pace(100)
    (stuck,) = await take(pace, 1)
    await draw_brake(pace)
    await pace.permit()
    second = asyncio.create_task(pace.permit())
    pace.passed(stuck)
    await asyncio.sleep(600)
    assert not second.done()
    pace.close()
    with pytest.raises(Closed):
        await second


@virtually
async def test_probes_come_at_growing_pauses_up_to_the_longest_delay() -> None:
    pace = make_pace(100, longest_delay_s=20, draw=1.0)
    await draw_brake(pace)
    at = [now()]
    for _ in range(8):
        at.append(await fail(pace, 1))
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert gaps == pytest.approx([1, 2, 4, 8, 16, 20, 20, 20], abs=0.05)


@virtually
async def test_between_two_probes_there_is_at_least_a_second_however_the_dice_fall() -> None:
    pace = make_pace(100, draw=0.0)
    await draw_brake(pace)
    at = [await fail(pace, 1) for _ in range(5)]
    assert all(later - earlier >= 1 for earlier, later in pairwise(at))


@virtually
async def test_a_success_releases_the_brake_and_all_who_wait() -> None:
    pace = make_pace(100)
    await draw_brake(pace)
    waiting = [asyncio.create_task(pace.permit()) for _ in range(20)]
    await asyncio.sleep(1.5)
    assert sum(task.done() for task in waiting) == 1
    released = now()
    pace.succeeded()
    assert not is_drawn(pace)
    await asyncio.gather(*waiting)
    assert now() - released < 0.25


@virtually
async def test_a_success_of_a_request_from_before_the_outage_releases_it_too() -> None:
    pace = make_pace(100)
    await draw_brake(pace)
    waiting = asyncio.create_task(pace.permit())
    await asyncio.sleep(0.1)
    released = now()
    pace.succeeded()
    assert await waiting - released < 0.1


@virtually
async def test_after_an_outage_one_failure_does_not_draw_the_brake_again() -> None:
    pace = make_pace(100)
    await draw_brake(pace)
    await pace.permit()
    pace.succeeded()
    for row in range(9):
        await fail(pace, row)
        await asyncio.sleep(0.001)
        assert not is_drawn(pace)


@virtually
async def test_the_length_of_an_outage_counts_from_the_first_failure_after_the_last_success() -> None:
    pace = make_pace(100)
    await fail(pace, 1)
    await asyncio.sleep(100)
    await pace.permit()
    pace.succeeded()
    await asyncio.sleep(100)
    await fail(pace, 1)
    begun = now()
    await asyncio.sleep(50)
    assert pace.outage_s == 0  # not drawn: budgets of rows end this
    await draw_brake(pace)
    assert pace.outage_s == pytest.approx(now() - begun, abs=0.01)
    await asyncio.sleep(1000)
    assert pace.outage_s == pytest.approx(now() - begun, abs=0.01)
    pace.succeeded()
    assert pace.outage_s == 0


@pytest.mark.parametrize("end", ["passed", "throttled"])
@virtually
async def test_a_probe_that_says_nothing_about_the_outage_lets_the_next_one_go(end: str) -> None:
    pace = make_pace(100)
    await draw_brake(pace)
    probe = await pace.permit()
    waiting = asyncio.create_task(pace.permit())
    await asyncio.sleep(1)
    pace.passed(probe)
    if end == "throttled":
        pace.throttle(probe, 2.0)
    second = await waiting
    assert second - probe < 4
    assert is_drawn(pace)
    third = asyncio.create_task(pace.permit())
    await asyncio.sleep(600)
    assert not third.done()
    pace.succeeded()
    await third


@virtually
async def test_a_probe_that_connects_slowly_is_not_kept_waiting_by_itself() -> None:
    pace = make_pace(10)
    await draw_brake(pace)
    probe = await pace.permit()
    await pace.retake()
    assert now() - probe < 0.2
    pace.succeeded()


@virtually
async def test_a_second_turn_makes_no_request_a_probe() -> None:
    pace = make_pace(10)
    await draw_brake(pace)
    await pace.retake()  # its permit is from before the brake
    probe = await pace.permit()
    assert probe - 1000 < 10
    pace.succeeded()


@virtually
async def test_the_probe_of_a_credential_waits_for_the_probe_of_an_outage() -> None:
    pace = make_pace(10)
    await draw_brake(pace)
    probe = await pace.permit()
    pace.hold()
    mine = asyncio.create_task(pace.permit(probe=True))
    await asyncio.sleep(100)
    assert not mine.done()
    pace.failed(1, probe)
    pace.failed(1, await mine)
    pace.release()
    await pace.permit()
