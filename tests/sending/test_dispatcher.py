"""Rows handed out, recorded, guarded and stopped; drift checks are in `test_drive_drift.py`."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from bulk_patch.errors import Exit, LedgerError
from bulk_patch.model import Outcome, Patch, Precheck, State
from bulk_patch.sandbox import Fault, Seen
from bulk_patch.sending.claims import precheck
from bulk_patch.sending.dispatcher import Dispatcher
from bulk_patch.targets.synctera.target import Synctera
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import ACTOR, find_row
from tests.support.driving import Patient, Rig, on_rig, plan_row
from tests.support.patches import make_patch
from tests.support.sending import make_id, new, old, refusal

NOW = 1_795_360_000.0
DAY_S = 24 * 3600.0
KEYS = Synctera.keys


# --- what has to happen first


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (0.0, Precheck.READ),
        (5.9 * DAY_S, Precheck.READ),
        (6 * DAY_S, Precheck.READ),
        (6 * DAY_S + 1, Precheck.READ_EXPIRED),
        (8 * DAY_S, Precheck.READ_EXPIRED),
        (-1.0, Precheck.READ_EXPIRED),  # the intent lies in the future
    ],
)
def test_an_ambiguous_row_is_read_first_and_keeps_its_key_for_six_days(age_s: float, expected: Precheck) -> None:
    patch = make_patch(ambiguous=True, intent_at=NOW - age_s)
    assert precheck(patch, KEYS, now=NOW, clock_went_back=False) is expected
    assert KEYS.safe_age_s == 6 * DAY_S


def test_no_age_is_trusted_when_the_clock_went_back() -> None:
    for age_s in (60.0, 7 * DAY_S):
        patch = make_patch(ambiguous=True, intent_at=NOW - age_s)
        assert precheck(patch, KEYS, now=NOW, clock_went_back=True) is Precheck.READ_EXPIRED


@pytest.mark.parametrize("clock_went_back", [False, True])
@pytest.mark.parametrize("age_s", [0.0, 30 * DAY_S, -DAY_S])
def test_a_row_of_which_nothing_can_have_executed_is_just_sent(clock_went_back: bool, age_s: float) -> None:
    patch = make_patch(ambiguous=False, intent_at=NOW - age_s)
    assert precheck(patch, KEYS, now=NOW, clock_went_back=clock_went_back) is Precheck.SEND


# --- handing out


def test_every_row_is_sent_once_and_recorded(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive()
        assert rig.counts == {State.APPLIED: 40}
        assert set(rig.executed.values()) == {1}
        assert len(rig.bench.keys()) == 40
        assert (
            dispatcher.progress.done,
            dispatcher.progress.ok,
            dispatcher.progress.refused,
            dispatcher.progress.handed_out,
        ) == (40, 40, 0, 40)
        assert dispatcher.ended.by_itself
        assert not dispatcher.ended.limited
        assert rig.ledger.run(rig.run_id).stats["requests"] == 40 == len(rig.bench.sandbox.requests)

    on_rig(scenario, tmp_path, 40)


@pytest.mark.parametrize(
    ("rate_per_s", "concurrency", "at_most"), [(0.5, 1, 1), (5.0, 4, 9), (20.0, 16, 36), (100.0, 3, 103)]
)
def test_never_more_is_out_than_a_second_of_the_rate_and_the_concurrency(
    tmp_path: Path, rate_per_s: float, concurrency: int, at_most: int
) -> None:
    async def scenario(rig: Rig) -> None:
        engine = Patient()
        await rig.drive(engine)
        assert max(engine.held_at_once) == at_most
        assert rig.counts == {State.APPLIED: sum(engine.held_at_once)} == {State.APPLIED: rows}

    rows = 150 if at_most > 1 else 5
    on_rig(scenario, tmp_path, rows, f"limits.concurrency={concurrency}", rate_per_s=rate_per_s)


def test_without_a_limit_there_is_one_all_the_same(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        engine = Patient()
        await rig.drive(engine)
        assert max(engine.held_at_once) == 1024 + 16
        assert sum(engine.held_at_once) == 1300

    on_rig(scenario, tmp_path, 1300)


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_a_limit_sends_so_many_and_leaves_the_rest_pending(tmp_path: Path, limit: int) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive(limit=limit)
        assert dispatcher.ended.limited
        assert rig.counts == {State.APPLIED: limit, State.PENDING: 10 - limit}
        assert [row for row, state in rig.states.items() if state is State.APPLIED] == list(range(1, limit + 1))
        assert rig.bench.count()[0] == limit

    on_rig(scenario, tmp_path, 10)


def test_a_limit_that_is_not_reached_does_not_count(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive(limit=11)
        assert not dispatcher.ended.limited
        assert rig.counts == {State.APPLIED: 10}

    on_rig(scenario, tmp_path, 10)


def test_a_row_that_needs_a_new_key_is_handed_out_again_under_it(tmp_path: Path) -> None:
    def refuse_once(seen: Seen) -> Fault | None:
        if seen.method == "GET" or seen.customer_id != make_id(1):
            return None
        keys.add(seen.key)
        return Fault(status=401, cached=True) if len(keys) == 1 else None

    keys: set[str | None] = set()

    async def scenario(rig: Rig) -> None:
        await rig.drive()
        assert rig.counts == {State.APPLIED: 3}
        row = find_row(rig.ledger, rig.run_id, 1)
        assert row.generation == 1
        assert rig.executed == Counter({make_id(row): 1 for row in (1, 2, 3)})

    on_rig(scenario, tmp_path, 3, fault=refuse_once)


def test_only_the_rows_that_were_asked_for_are_sent(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.drive(only_rows=[2, 5, 6])
        assert [row for row, state in rig.states.items() if state is State.APPLIED] == [2, 5, 6]
        assert rig.counts[State.PENDING] == 5

    on_rig(scenario, tmp_path, 8)


# --- the canary


def test_the_first_rows_go_one_by_one_and_each_is_read_back(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.drive(canary=3)
        assert rig.counts == {State.APPLIED: 12}
        lines = [(line["method"], line["customer_id"]) for line in rig.bench.sandbox.requests]
        expected = [(method, make_id(row)) for row in (1, 2, 3) for method in ("PATCH", "GET")]
        assert lines[:6] == expected
        assert {method for method, _ in lines[6:]} == {"PATCH"}

    on_rig(scenario, tmp_path, 12, "guards.canary=3", sandbox={"latency_ms": 5})


def test_a_canary_larger_than_the_plan_is_all_of_it(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.drive(canary=10)
        assert rig.counts == {State.APPLIED: 2}
        assert rig.bench.count() == (2, 2, 2)

    on_rig(scenario, tmp_path, 2)


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        pytest.param(refusal(400), State.REJECTED, id="refused"),
        pytest.param(
            Fault(status=200, body=json.dumps({"id": make_id(2), **old(2)}).encode()), State.MISMATCH, id="not kept"
        ),
    ],
)
def test_a_canary_row_that_does_not_end_applied_stops_the_run(tmp_path: Path, fault: Fault, state: State) -> None:
    def spoil_the_second(seen: Seen) -> Fault | None:
        return fault if seen.method == "PATCH" and seen.customer_id == make_id(2) else None

    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive(canary=5)
        assert dispatcher.ended.stopped_by == "canary"
        assert dispatcher.ended.stops[0].exit_code is Exit.STOPPED
        assert f"row 2, number 2 of the first 5, ended {state}" in dispatcher.ended.stops[0].reason
        assert rig.counts == {State.APPLIED: 1, state: 1, State.PENDING: 18}
        assert rig.bench.count()[0] == 2 + (state is State.REJECTED)  # a refusal is confirmed over a new connection

    on_rig(scenario, tmp_path, 20, "guards.canary=5", fault=spoil_the_second)


def test_a_canary_that_reaches_no_one_is_incomplete_and_no_guard(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive(canary=5)
        assert [stop.exit_code for stop in dispatcher.ended.stops] == [Exit.INCOMPLETE]
        assert dispatcher.ended.stopped_by == ""
        assert not dispatcher.ended.by_itself
        assert rig.counts == {State.PENDING: 4}

    on_rig(scenario, tmp_path, 4, base_url="http://127.0.0.1:1/v0", retry={"attempts": 1})


def test_the_limit_counts_the_canary(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive(canary=5, limit=3)
        assert dispatcher.ended.limited
        assert rig.counts == {State.APPLIED: 3, State.PENDING: 7}

    on_rig(scenario, tmp_path, 10)


# --- guards and stops


def test_too_many_refusals_stop_the_run(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive()
        assert dispatcher.ended.stopped_by == "max_failures"
        assert dispatcher.ended.by_itself  # a guard is no outage
        assert 10 <= rig.counts[State.REJECTED] < 60
        left = rig.counts.get(State.PENDING, 0) + rig.counts.get(State.UNKNOWN, 0)  # unknown: a refusal not confirmed
        assert rig.counts[State.REJECTED] + left == 60
        assert dispatcher.progress.refused == rig.counts[State.REJECTED]

    on_rig(scenario, tmp_path, 60, "limits.concurrency=2", rate_per_s=50.0, fault=lambda seen: refusal(400))


def test_an_integrity_fault_stops_the_run_and_leaves_no_row_in_flight(tmp_path: Path) -> None:
    def redirect_the_fifth(seen: Seen) -> Fault | None:
        return Fault(status=307, headers={"Location": "/elsewhere"}) if seen.customer_id == make_id(5) else None

    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive()
        assert dispatcher.ended.stopped_by == "integrity"
        assert rig.states[5] is State.UNKNOWN
        assert set(rig.counts) <= {State.APPLIED, State.UNKNOWN, State.PENDING}
        assert rig.counts[State.APPLIED] == rig.executed.total() < 40

    on_rig(scenario, tmp_path, 40, "limits.concurrency=2", rate_per_s=40.0, fault=redirect_the_fifth)


def test_a_signal_finishes_what_is_out_and_hands_out_no_more(tmp_path: Path) -> None:
    def interrupt(dispatcher: Dispatcher) -> None:
        if dispatcher.ended.signal is None:
            dispatcher.signalled(Exit.INTERRUPTED)

    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive(watch=interrupt)
        assert dispatcher.ended.signal is Exit.INTERRUPTED
        assert not dispatcher.ended.by_itself
        assert set(rig.counts) == {State.APPLIED, State.PENDING}
        assert rig.counts[State.APPLIED] == rig.executed.total() < 60

    on_rig(scenario, tmp_path, 60, "limits.concurrency=4", rate_per_s=20.0, sandbox={"latency_ms": 100})


def test_a_second_signal_does_not_wait_for_what_hangs(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive_and_press_twice(Exit.TERMINATED)
        assert dispatcher.ended.signal is Exit.TERMINATED
        assert State.SENDING not in rig.counts
        assert rig.counts[State.UNKNOWN] >= 1
        assert rig.counts[State.UNKNOWN] + rig.counts[State.PENDING] == 10

    hang = Fault(execute=True, wire="hang")
    on_rig(scenario, tmp_path, 10, "limits.concurrency=4", rate_per_s=20.0, timeout_s=60, fault=lambda seen: hang)


def test_an_outcome_that_cannot_be_recorded_stops_all_sending(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        with pytest.raises(LedgerError, match="row 999 is not in the plan"):
            await rig.drive(Patient(lambda patch: Outcome(999, State.APPLIED)))
        assert rig.bench.session.stopping.is_set()
        assert rig.counts[State.APPLIED] == 0

    on_rig(scenario, tmp_path, 3)


def test_customers_that_leave_the_values_to_be_kept_stop_the_run(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive(canary=3)
        assert dispatcher.ended.stopped_by == "watch"
        assert "kyc_status left the values to be kept, rows 1" in dispatcher.ended.stops[0].reason
        assert rig.counts == {State.APPLIED: 1, State.PENDING: 4}

    rows = [plan_row(row, before={**old(row), "kyc_status": "ACCEPTED"}) for row in range(1, 6)]
    settings = ("guards.watch.kyc_status=['ACCEPTED']", "guards.canary=3")
    on_rig(scenario, tmp_path, rows, *settings, watch=("kyc_status",), sandbox={"kyc_rerun": lambda _: "REVIEW"})


# --- what a kill leaves


def left_in_flight(rig: Rig, rows: int, *, days_ago: float = 0.0) -> list[Patch]:
    """Claim rows as a process does that is killed before any of them was sent."""
    now = time.time() - days_ago * DAY_S
    calls.start_session(rig.ledger, rig.run_id, ACTOR, now)
    return calls.claim(rig.ledger, rig.run_id, rows, now=now)


def test_rows_left_in_flight_are_sent_under_their_old_key(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        keys = {patch.key for patch in left_in_flight(rig, 3)}
        await rig.drive()
        assert rig.counts == {State.APPLIED: 5}
        assert keys <= rig.bench.keys()
        assert rig.bench.count() == (5, 3, 5)  # each is read before it is sent again

    on_rig(scenario, tmp_path, 5)


def test_rows_left_in_flight_for_longer_than_six_days_are_read_and_get_a_new_key(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        (patch,) = left_in_flight(rig, 1, days_ago=6.5)
        await rig.drive()
        assert rig.counts == {State.APPLIED: 1}
        assert [line["key"] == patch.key for line in rig.bench.seen()] == [False]
        assert rig.bench.count() == (1, 1, 1)

    on_rig(scenario, tmp_path, 1, age_h=7 * 24, details={"picture_at": time.time()})


def test_a_row_that_someone_changed_in_those_days_is_unknown_for_good(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        left_in_flight(rig, 1, days_ago=6.5)
        rig.edit(1, email="someone@else.example")
        await rig.drive()
        assert find_row(rig.ledger, rig.run_id).final
        assert rig.counts == {State.UNKNOWN: 1}
        assert rig.bench.count() == (0, 1, 0)
        assert rig.bench.sandbox.customer(make_id(1))["email"] == "someone@else.example"

    on_rig(scenario, tmp_path, 1, age_h=7 * 24, details={"picture_at": time.time()})


def test_when_the_clock_went_back_what_executed_is_found_by_reading(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        left_in_flight(rig, 1)
        rig.edit(1, **new(1))
        await rig.drive(clock_went_back=True)
        assert rig.counts == {State.APPLIED: 1}
        assert rig.bench.count() == (0, 1, 0)

    on_rig(scenario, tmp_path, 1)


def test_no_new_key_is_given_while_the_last_attempt_may_still_be_under_way(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        left_in_flight(rig, 1, days_ago=6.5)
        timed_out = Outcome(1, State.UNKNOWN, "timeout", attempts=1)
        calls.record(rig.ledger, rig.run_id, [timed_out], now=time.time() - KEYS.quiet_s + 60)
        dispatcher = await rig.drive()
        assert [(stop.exit_code, stop.hint) for stop in dispatcher.ended.stops] == [
            (Exit.INCOMPLETE, "run the same command again in about 5 min")
        ]
        row = find_row(rig.ledger, rig.run_id)
        assert (row.state, row.generation, row.final) == (State.UNKNOWN, 0, False)
        assert rig.bench.count() == (0, 1, 0)  # it was read, and nothing was sent

    on_rig(scenario, tmp_path, 1, age_h=7 * 24, details={"picture_at": time.time()})


def test_what_was_not_sent_again_does_not_make_its_last_attempt_any_later(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        left_in_flight(rig, 1, days_ago=6.5)
        timed_out = Outcome(1, State.UNKNOWN, "timeout", attempts=1)
        calls.record(rig.ledger, rig.run_id, [timed_out], now=time.time() - KEYS.quiet_s - 60)
        calls.claim(rig.ledger, rig.run_id, 1, now=time.time())
        calls.record(rig.ledger, rig.run_id, [Outcome(1, State.UNKNOWN, "not sent")], now=time.time())
        await rig.drive()
        assert rig.counts == {State.APPLIED: 1}
        assert rig.bench.count() == (1, 1, 1)

    on_rig(scenario, tmp_path, 1, age_h=7 * 24, details={"picture_at": time.time()})


def test_a_look_that_sends_nothing_does_not_forget_when_the_last_attempt_was(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        left_in_flight(rig, 1, days_ago=6.5)
        calls.record(rig.ledger, rig.run_id, [Outcome(1, State.UNKNOWN, "timeout", attempts=1)], now=time.time() - 30)
        calls.claim(rig.ledger, rig.run_id, 1, now=time.time())
        calls.record(rig.ledger, rig.run_id, [Outcome(1, State.UNKNOWN, "not found", final=True)], now=time.time())
        assert rig.ledger.request_retry(rig.run_id, now=time.time()) == 1
        dispatcher = await rig.drive()
        assert [stop.exit_code for stop in dispatcher.ended.stops] == [Exit.INCOMPLETE]
        assert rig.bench.count() == (0, 1, 0)

    on_rig(scenario, tmp_path, 1, age_h=7 * 24, details={"picture_at": time.time()})


def test_an_intent_of_a_wrong_clock_proves_nothing_to_be_older_than_it(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        left_in_flight(rig, 1, days_ago=-30)
        await rig.drive()
        # The old values are there, but no one knows since when: it may not be sent under a new key.
        assert find_row(rig.ledger, rig.run_id).final
        assert rig.bench.count() == (0, 1, 0)

    on_rig(scenario, tmp_path, 1)


def test_outcomes_of_any_kind_are_counted(tmp_path: Path) -> None:
    kinds = [State.APPLIED, State.REJECTED, State.MISMATCH, State.UNKNOWN, State.PENDING]

    def answer(patch: Patch) -> Outcome:
        state = kinds[patch.row - 1]
        return Outcome(
            patch.row, state, ambiguous=state is State.UNKNOWN, spent=state in (State.UNKNOWN, State.PENDING)
        )

    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive(Patient(answer))
        assert (dispatcher.progress.done, dispatcher.progress.ok, dispatcher.progress.refused) == (4, 1, 2)
        assert list(rig.states.values()) == kinds

    on_rig(scenario, tmp_path, [plan_row(row) for row in range(1, 6)])
