"""What ends a row before its answer: cancels, stops, outages, and answers that mean that the whole run is wrong."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest

from bulk_patch.client import session
from bulk_patch.client.reads import read_one
from bulk_patch.errors import Exit
from bulk_patch.model import Outcome, Precheck, State
from bulk_patch.sandbox import Fault, Seen
from tests.support.patches import BEN
from tests.support.sending import Bench, faults, make_id, make_row, new, on_bench, page, refusal

APPLIED, REJECTED, UNKNOWN, PENDING = State.APPLIED, State.REJECTED, State.UNKNOWN, State.PENDING
HANG = Fault(wire="hang", execute=True)
DIFFERENT = Fault(status=200, body=b'{"id":"%s"}' % make_id(1).encode(), execute=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something has happened on the other side."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def close(bench: Bench, task: "asyncio.Task[Outcome]") -> None:
    """Stop the run: what is out may finish."""
    bench.session.stop()


def cancel(bench: Bench, task: "asyncio.Task[Outcome]") -> None:
    """Cut off what is out, as the end of the drain does."""
    task.cancel()


both = pytest.mark.parametrize("end", [close, cancel])


# --- cancel and stop


def test_a_row_that_is_cut_off_while_its_request_is_out_is_unknown_and_its_attempt_counts() -> None:
    async def scenario(bench: Bench) -> None:
        task = asyncio.create_task(bench.send_one())
        await until(lambda: bool(bench.seen()))
        cancel(bench, task)
        outcome = await task
        assert (outcome.state, outcome.ambiguous, outcome.spent, outcome.attempts) == (UNKNOWN, True, False, 1)

    on_bench(scenario, faults(HANG))


def test_a_request_that_is_out_may_finish_when_the_run_stops() -> None:
    async def scenario(bench: Bench) -> None:
        task = asyncio.create_task(bench.send_one())
        await until(lambda: bool(bench.seen()))
        bench.session.stop()
        assert (await task).state is APPLIED

    on_bench(scenario, faults(Fault(execute=True, lag_s=0.3)))


@both
@pytest.mark.parametrize(("ambiguous", "state"), [(False, PENDING), (True, UNKNOWN)])
def test_a_row_that_waits_for_its_turn_is_pending_unless_it_was_ambiguous_before(
    end: Callable[..., None], ambiguous: bool, state: State
) -> None:
    async def scenario(bench: Bench) -> None:
        bench.limiter.pause(60, "asked")
        task = asyncio.create_task(bench.send_one(make_row(ambiguous=ambiguous)))
        await asyncio.sleep(0.05)
        end(bench, task)
        outcome = await asyncio.wait_for(task, 1)
        assert (outcome.state, outcome.attempts, outcome.spent, outcome.ambiguous) == (state, 0, False, ambiguous)
        assert bench.count() == (0, 0, 0)

    on_bench(scenario)


@both
def test_a_row_between_two_attempts_is_unknown_when_the_first_may_have_executed(end: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        task = asyncio.create_task(bench.send_one())
        await until(lambda: bool(bench.seen()))
        bench.limiter.pause(60, "asked")
        await asyncio.sleep(0.2)
        end(bench, task)
        outcome = await asyncio.wait_for(task, 1)
        assert (outcome.state, outcome.ambiguous, outcome.attempts) == (UNKNOWN, True, 1)

    on_bench(scenario, faults(Fault(status=500, lag_s=0.1)))


@both
def test_a_row_between_two_attempts_is_pending_when_no_one_could_be_reached(end: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        task = asyncio.create_task(bench.send_one())
        await asyncio.sleep(0.2)
        end(bench, task)
        outcome = await asyncio.wait_for(task, 1)
        assert (outcome.state, outcome.attempts) == (PENDING, 0)

    on_bench(scenario, base_url="http://127.0.0.1:9/v0", retry={"attempts": 1000, "longest_delay_s": 60})


@both
def test_a_long_backoff_ends_when_the_run_stops(end: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        task = asyncio.create_task(bench.send_one())
        await until(lambda: len(bench.seen()) >= 2)
        await asyncio.sleep(0.05)
        end(bench, task)
        assert (await asyncio.wait_for(task, 1)).state is UNKNOWN

    on_bench(scenario, faults(then=refusal(422, "IDEMPOTENCY_CONCURRENT_USE")), retry={"longest_delay_s": 0.5})


@both
@pytest.mark.parametrize("slow", [True, False], ids=["the read is out", "the read waits for its turn"])
def test_an_answer_that_shows_another_value_is_never_called_pending(end: Callable[..., None], slow: bool) -> None:
    async def scenario(bench: Bench) -> None:
        task = asyncio.create_task(bench.send_one())
        if slow:
            await until(lambda: bool(bench.seen("GET")))
        else:
            await until(lambda: bool(bench.seen()))
            bench.limiter.pause(60, "asked")
            await asyncio.sleep(0.2)
        end(bench, task)
        outcome = await asyncio.wait_for(task, 5)
        if slow and end is close:
            assert outcome.state is APPLIED  # what is out may finish
        else:
            assert (outcome.state, outcome.ambiguous) == (UNKNOWN, True)  # the PATCH was answered: it did execute

    lag = Fault(status=200, body=DIFFERENT.body, execute=True, lag_s=0.1)
    on_bench(scenario, faults(lag, reads=[Fault(execute=True, lag_s=0.5)]))


@both
def test_a_row_that_the_api_confirmed_is_never_called_pending_though_its_read_back_was_cut_off(
    end: Callable[..., None],
) -> None:
    async def scenario(bench: Bench) -> None:
        task = asyncio.create_task(bench.send_one(make_row(read_back=True)))
        await until(lambda: bool(bench.seen()))
        bench.limiter.pause(60, "asked")
        await asyncio.sleep(0.2)
        end(bench, task)
        outcome = await asyncio.wait_for(task, 1)
        assert outcome.state is APPLIED if end is close else (outcome.state, outcome.ambiguous) == (UNKNOWN, True)

    on_bench(scenario, faults(Fault(execute=True, lag_s=0.1)))


@both
@pytest.mark.parametrize("first", [Precheck.READ, Precheck.READ_EXPIRED])
def test_a_row_that_was_only_looked_at_stays_unknown(end: Callable[..., None], first: Precheck) -> None:
    async def scenario(bench: Bench) -> None:
        bench.limiter.pause(60, "asked")
        task = asyncio.create_task(bench.send_one(make_row(first=first, ambiguous=True)))
        await asyncio.sleep(0.05)
        end(bench, task)
        outcome = await asyncio.wait_for(task, 1)
        assert (outcome.state, outcome.ambiguous, outcome.final) == (UNKNOWN, True, False)

    on_bench(scenario)


def test_nothing_is_sent_after_a_stop() -> None:
    async def scenario(bench: Bench) -> None:
        bench.session.stop()
        outcomes = await bench.send(*(make_row(row) for row in range(1, 20)))
        assert {outcome.state for outcome in outcomes} == {PENDING}
        assert bench.count() == (0, 0, 0)

    on_bench(scenario, rows=20)


# --- what the API asks for


def test_a_wish_to_wait_longer_than_a_quarter_of_an_hour_stops_the_run_and_is_told_with_its_day() -> None:
    async def scenario(bench: Bench) -> None:
        expected = datetime.now(UTC) + timedelta(hours=30)
        outcome = await bench.send_one()
        assert outcome.stop is not None
        assert outcome.stop.exit_code is Exit.INCOMPLETE
        found = re.search(r"until (\d{4}-\d\d-\d\d \d\d:\d\d):\d\d UTC", outcome.stop.reason)
        assert found is not None
        told = datetime.strptime(found[1], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        assert abs((told - expected).total_seconds()) < 120

    body = b'{"code":"TOO_MANY_REQUESTS","retry_after":%d}' % (30 * 3600)
    on_bench(scenario, faults(Fault(status=429, body=body)))


@pytest.mark.parametrize("seconds", [10**10, 10**400])
def test_an_absurd_wish_stops_the_run_too(seconds: int) -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one()
        assert outcome.stop is not None
        assert outcome.stop.exit_code is Exit.INCOMPLETE

    on_bench(scenario, faults(Fault(status=429, body=b'{"code":"X","retry_after":%d}' % seconds)))


def test_all_wait_when_one_is_asked_to() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.send(*(make_row(row) for row in range(1, 21)))
        times = {line["n"]: line["t"] for line in bench.sandbox.requests}
        refused = next(line["n"] for line in bench.sandbox.requests if line["status"] == 429)
        later = [at for number, at in times.items() if number > refused]
        assert min(later) - times[refused] > 0.9

    def once(seen: Seen) -> Fault | None:
        return Fault(status=429, headers={"Retry-After": "1"}) if seen.n == 5 else None

    on_bench(scenario, once, rows=20, rate_per_s=40)


def test_a_wish_to_wait_that_cannot_be_read_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Mock()
    monkeypatch.setattr(session, "log", log)

    async def scenario(bench: Bench) -> None:
        assert [outcome.state for outcome in await bench.send(make_row(1), make_row(2))] == [APPLIED, APPLIED]
        log.warning.assert_called_once()
        assert log.warning.call_args.args == ("retry_after_unreadable",)
        assert "a while" not in str(log.warning.call_args)

    vague = Fault(status=429, headers={"Retry-After": "a while"})
    on_bench(scenario, faults(vague, vague), rows=2, rate_per_s=100)


def test_an_api_that_throttles_for_ever_is_given_up() -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await asyncio.wait_for(bench.send_one(), 8)
        assert outcome.state is UNKNOWN
        assert outcome.stop is not None
        assert outcome.stop.exit_code is Exit.INCOMPLETE

    on_bench(scenario, faults(then=Fault(status=429)), rate_per_s=100, retry={"give_up_after_s": 0.5})


# --- answers that mean that the whole run is wrong


async def send_in_turn(bench: Bench, *, canary: bool = False) -> list[Outcome]:
    """Send rows one by one up to the first stop."""
    outcomes: list[Outcome] = []
    while not (outcomes and outcomes[-1].stop) and len(outcomes) < 10:
        outcomes.append(await bench.send_one(make_row(len(outcomes) + 1, canary=canary, read_back=canary)))
    return outcomes


@pytest.mark.parametrize(
    ("status", "canary", "rows", "exit_code"),
    [
        (403, False, 3, Exit.CREDENTIAL),
        (403, True, 1, Exit.CREDENTIAL),
        (404, False, 5, Exit.STOPPED),
        (404, True, 1, Exit.STOPPED),
        (422, False, 10, None),
        (422, True, 10, None),
    ],
)
def test_so_many_refusals_of_a_kind_in_a_row_stop_the_run(
    status: int, canary: bool, rows: int, exit_code: Exit | None
) -> None:
    async def scenario(bench: Bench) -> None:
        outcomes = await send_in_turn(bench, canary=canary)
        assert len(outcomes) == rows
        assert {outcome.state for outcome in outcomes} == {REJECTED}
        assert (outcomes[-1].stop and outcomes[-1].stop.exit_code) is exit_code

    on_bench(scenario, faults(refusal(status, "SOME_CODE")), rows=10)


def test_another_answer_in_between_starts_the_count_again() -> None:
    async def scenario(bench: Bench) -> None:
        assert not any(outcome.stop for outcome in await send_in_turn(bench))

    def two_of_three(seen: Seen) -> Fault | None:
        assert seen.customer_id is not None
        return refusal(403, "FORBIDDEN") if int(seen.customer_id[-12:], 16) % 3 else None

    on_bench(scenario, two_of_three, rows=10)


def test_foreign_pages_are_counted_over_all_rows_and_leave_them_open() -> None:
    async def scenario(bench: Bench) -> None:
        tasks = [asyncio.create_task(bench.send_one(make_row(row))) for row in range(1, 6)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        bench.session.stop()
        outcomes = await asyncio.gather(*tasks)
        stops = [outcome.stop.exit_code for outcome in outcomes if outcome.stop]
        assert set(stops) == {Exit.STOPPED}
        assert {outcome.state for outcome in outcomes} <= {UNKNOWN, PENDING}
        assert len(bench.seen()) == 5

    on_bench(scenario, faults(then=page(403)), rows=5)


def test_the_answer_for_another_customer_is_never_mistaken_for_this_ones_though_the_values_agree() -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one()
        assert outcome.state is UNKNOWN
        assert outcome.stop is not None
        assert outcome.stop.exit_code is Exit.STOPPED
        assert BEN not in outcome.reason

    body = b'{"id":"%s","email":"%s"}' % (BEN.encode(), new(1)["email"].encode())
    on_bench(scenario, faults(Fault(status=200, body=body, execute=True)))


def test_a_read_in_between_does_not_hide_that_every_patch_is_forbidden() -> None:
    async def scenario(bench: Bench) -> None:
        for row in (1, 2):
            assert (await bench.send_one(make_row(row))).stop is None
            await read_one(bench.session, make_id(row))
        stop = (await bench.send_one(make_row(3))).stop
        assert stop is not None
        assert stop.exit_code is Exit.CREDENTIAL

    on_bench(scenario, faults(refusal(403, "FORBIDDEN")), rows=3)
