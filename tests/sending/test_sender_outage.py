"""An API that is down: the brake over all rows, its probes, and the end of patience."""

import asyncio
import time

from bulk_patch.client.permits import Permit
from bulk_patch.errors import Exit
from bulk_patch.model import State
from bulk_patch.sandbox import Fault, Seen
from tests.support.limiters import fail_with
from tests.support.sending import Bench, again, faults, make_id, make_row, on_bench, page

APPLIED, UNKNOWN, PENDING = State.APPLIED, State.UNKNOWN, State.PENDING


def test_an_outage_of_several_rows_ends_the_run_when_nothing_succeeds_for_long() -> None:
    async def scenario(bench: Bench) -> None:
        begun = time.monotonic()
        tasks = [asyncio.create_task(bench.send_one(make_row(row))) for row in range(1, 13)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        stop = next(iter(done)).result().stop
        assert stop is not None
        assert stop.exit_code is Exit.INCOMPLETE
        assert "no success" in stop.reason
        assert 1.5 < time.monotonic() - begun < 8
        assert len(bench.seen()) < 35  # far from twelve rows with a thousand attempts each
        bench.session.stop()
        outcomes = await asyncio.gather(*tasks)
        assert {outcome.state for outcome in outcomes} == {UNKNOWN}
        assert not any(outcome.spent for outcome in outcomes)

    options = {"attempts": 1000, "longest_delay_s": 0.1, "give_up_after_s": 1.5}
    on_bench(scenario, faults(then=Fault(status=503)), rows=12, rate_per_s=200, retry=options)


def test_when_the_outage_ends_the_first_probe_lets_all_go_on_under_their_keys() -> None:
    async def scenario(bench: Bench) -> None:
        outcomes = await asyncio.wait_for(bench.send(*(make_row(row) for row in range(1, 13))), 20)
        assert {outcome.state for outcome in outcomes} == {APPLIED}
        assert len(bench.keys()) == 12
        assert bench.count()[2] == 12
        statuses = [line["status"] for line in bench.seen()]
        assert statuses[-12:] == [200] * 12
        probes = [
            later["t"] - earlier["t"] for earlier, later in zip(bench.seen()[-14:], bench.seen()[-13:], strict=False)
        ]
        assert max(probes) > 0.9  # while the brake held

    def down(seen: Seen) -> Fault | None:
        return Fault(status=503) if seen.n <= 14 else None

    on_bench(scenario, down, rows=12, rate_per_s=200, retry={"attempts": 20, "longest_delay_s": 0.05})


def test_an_outage_in_which_no_one_can_be_reached_leaves_all_rows_pending() -> None:
    async def scenario(bench: Bench) -> None:
        tasks = [asyncio.create_task(bench.send_one(make_row(row))) for row in range(1, 13)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        bench.session.stop()
        assert {outcome.state for outcome in await asyncio.gather(*tasks)} == {PENDING}

    options = {"attempts": 1000, "give_up_after_s": 0.2}
    on_bench(scenario, base_url="http://127.0.0.1:9/v0", rows=12, rate_per_s=200, retry=options)


def test_one_poisoned_row_among_healthy_ones_stops_no_other() -> None:
    async def scenario(bench: Bench) -> None:
        outcomes = await bench.send(*(make_row(row) for row in range(1, 31)))
        states = {outcome.row: outcome.state for outcome in outcomes}
        assert states == {row: UNKNOWN if row == 7 else APPLIED for row in range(1, 31)}
        assert not any(outcome.stop for outcome in outcomes)

    def poison(seen: Seen) -> Fault | None:
        return Fault(status=500) if seen.method == "PATCH" and seen.customer_id == make_id(7) else None

    on_bench(scenario, poison, rows=30)


def test_a_page_that_is_not_the_apis_ends_no_outage() -> None:
    async def scenario(bench: Bench) -> None:
        for row in range(12):
            fail_with(bench.limiter, row, Permit(0.0))
        await asyncio.sleep(0.01)
        await bench.send_one()
        assert bench.limiter.outage_s > 0

    on_bench(scenario, faults(then=page(200), reads=[page(200)]))


def test_a_row_handed_out_again_after_an_outage_ends_applied_once() -> None:
    async def scenario(bench: Bench) -> None:
        patch = make_row()
        first = await bench.send_one(patch)
        assert (first.state, first.spent) == (UNKNOWN, True)
        assert (await bench.send_one(again(patch, first))).state is APPLIED
        assert len(bench.keys()) == 1

    on_bench(scenario, faults(*[Fault(status=502, execute=True, gateway=True)] * 2), retry={"attempts": 2})
