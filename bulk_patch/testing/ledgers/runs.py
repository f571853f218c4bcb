"""The contract of every ledger, on real storage: opening, runs, notes, reading."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from bulk_patch.errors import LedgerError, LockedError
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import Actor, Note, PlanSummary, Run
from bulk_patch.model import Outcome, State
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import (
    ACTOR,
    START,
    TARGET,
    claim_one,
    claim_rows,
    find_states,
    make_customer,
    make_row,
    make_run,
    record,
    seal_plan,
    start,
)

OpenLedger = Callable[[], Ledger]


# --- opening


def test_what_was_written_is_there_when_it_is_opened_again(open_ledger: OpenLedger) -> None:
    with open_ledger() as ledger:
        run_id = start(ledger)
        claim_one(ledger, run_id)
        record(ledger, run_id, 1, State.APPLIED)
        before = list(ledger.rows(run_id)), ledger.counts(run_id), ledger.runs()
    with open_ledger() as ledger:
        assert (list(ledger.rows(run_id)), ledger.counts(run_id), ledger.runs()) == before


def test_a_second_writer_is_locked_out_until_the_first_one_closes(open_ledger: OpenLedger) -> None:
    with open_ledger(), pytest.raises(LockedError):
        open_ledger()
    open_ledger().close()


def test_closing_twice_does_no_harm(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    ledger.close()
    ledger.close()


# --- runs


def test_every_fact_of_a_run_comes_back(ledger: Ledger) -> None:
    run = make_run(
        kind="undo",
        reason="returned mail",
        ticket="OPS-7",
        input_path="/data/in.csv",
        input_size=123,
        input_mtime_ns=1_795_360_000_123_456_789,
        baseline_sha256="3" * 64,
        stopped_by="canary",
        stop_reason="row 3 was rejected",
        stop_hint="look at it",
        waived=("drift",),
        exit_code=5,
        finished_at=START + 9,
        stats={"requests": 17, "p99_ms": 12.5},
    )
    calls.begin(ledger, run)
    assert ledger.run(run.id) == run
    assert all(getattr(run, fact.name) != fact.default for fact in fields(Run) if fact.name in {"kind", "waived"})


def test_the_seal_adds_its_facts_to_the_run(ledger: Ledger) -> None:
    run = make_run()
    calls.begin(ledger, run)
    calls.add(ledger, run.id, [make_row(2)])
    summary = PlanSummary(fields={"email": 1}, transitions={"email": (("a", "b", 1),)}, needs_approval=True)
    facts: dict[str, Any] = {"input_rows": 4, "unchanged": 3, "plan_s": 2.5, "summary": summary}
    plan_sha256 = calls.seal(ledger, run.id, **facts, now=START + 1)
    sealed = replace(run, **facts, state="sealed", sealed_at=START + 1, plan_sha256=plan_sha256)
    assert ledger.run(run.id) == sealed


def test_a_run_that_does_not_exist_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="no run 20261122-151203-ffff"):
        ledger.run("20261122-151203-ffff")


def test_a_run_is_found_by_its_whole_id_only(ledger: Ledger) -> None:
    seal_plan(ledger, 1)
    with pytest.raises(LedgerError):
        ledger.run("20261122-151203")


def test_an_id_is_given_to_one_run_only(ledger: Ledger) -> None:
    seal_plan(ledger, 1)
    with pytest.raises(LedgerError):
        calls.begin(ledger, make_run())
    assert len(ledger.runs()) == 1


def test_runs_come_newest_first_of_all_targets_or_of_one(ledger: Ledger) -> None:
    for run_id, target in (("a", TARGET), ("b", "sandbox"), ("c", TARGET)):
        seal_plan(ledger, 1, make_run(run_id, target=target))
    assert [run.id for run in ledger.runs()] == ["c", "b", "a"]
    assert [run.id for run in ledger.runs(TARGET)] == ["c", "a"]


def test_an_open_run_is_sealed_and_has_something_to_do(ledger: Ledger) -> None:
    assert ledger.open_run(TARGET) is None
    run = make_run()
    calls.begin(ledger, run)
    calls.add(ledger, run.id, [make_row(1)])
    assert ledger.open_run(TARGET) is None
    calls.seal(ledger, run.id, input_rows=1, unchanged=0, plan_s=0.0, summary=PlanSummary(), now=START)
    assert ledger.open_run(TARGET) == ledger.run(run.id)
    assert ledger.open_run("sandbox") is None
    calls.start_session(ledger, run.id, ACTOR, START)
    claim_one(ledger, run.id)
    assert ledger.open_run(TARGET) == ledger.run(run.id)
    record(ledger, run.id, 1, State.REJECTED)
    assert ledger.open_run(TARGET) is None


def test_the_newest_open_run_comes_first(ledger: Ledger) -> None:
    for run_id in ("a", "b"):
        seal_plan(ledger, 1, make_run(run_id))
    found = ledger.open_run(TARGET)
    assert found is not None
    assert found.id == "b"


def test_a_closed_run_is_not_open_and_its_pending_rows_are_never_sent(ledger: Ledger) -> None:
    run_id = start(ledger)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, State.REJECTED)
    ledger.close_run(run_id)
    assert ledger.open_run(TARGET) is None
    assert ledger.run(run_id).state == "closed"
    assert find_states(ledger, run_id) == {1: State.REJECTED, 2: State.PENDING, 3: State.PENDING}
    assert ledger.to_do(run_id) == 0
    assert claim_rows(ledger, run_id) == []
    assert ledger.request_retry(run_id, now=START) == 1
    assert ledger.to_do(run_id) == 1
    assert claim_rows(ledger, run_id) == [1]


def test_only_a_sealed_run_can_be_closed(ledger: Ledger) -> None:
    calls.begin(ledger, make_run())
    with pytest.raises(LedgerError):
        ledger.close_run(make_run().id)


def test_a_run_that_sent_nothing_is_discarded_without_a_trace(ledger: Ledger) -> None:
    run_id = seal_plan(ledger, 30)
    calls.note(ledger, run_id, ACTOR, "stopped", {}, now=START)
    ledger.discard(run_id)
    assert ledger.runs() == []
    again = seal_plan(ledger, 1)
    assert [row.row for row in ledger.rows(again)] == [1]
    assert [row.row for row in ledger.rows(again, customer_id=make_customer(2))] == []
    assert ledger.notes(again) == []


def test_a_run_that_sent_something_cannot_be_discarded(ledger: Ledger) -> None:
    run_id = start(ledger)
    assert not (ledger.run(run_id).started_at is not None)
    claim_one(ledger, run_id)
    assert ledger.run(run_id).started_at is not None
    with pytest.raises(LedgerError):
        ledger.discard(run_id)
    assert len(list(ledger.rows(run_id))) == 3


def test_the_first_claim_and_the_end_of_the_last_session_are_facts_of_the_run(ledger: Ledger) -> None:
    run_id = start(ledger)
    assert (ledger.run(run_id).started_at, ledger.run(run_id).finished_at) == (None, None)
    claim_one(ledger, run_id, now=START + 20)
    claim_one(ledger, run_id, now=START + 30)
    calls.end_session(ledger, run_id, now=START + 40, by_itself=False)
    assert (ledger.run(run_id).started_at, ledger.run(run_id).finished_at) == (START + 20, START + 40)


def test_facts_of_a_run_that_its_plan_does_not_fix_are_set_one_by_one(ledger: Ledger) -> None:
    run_id = seal_plan(ledger, 1)
    known = ledger.run(run_id)

    def expect(**facts: Any) -> None:
        nonlocal known
        known = replace(known, **facts)
        assert ledger.run(run_id) == known

    ledger.set_stop(run_id, "canary", reason="row 1 was rejected", hint="look at it")
    expect(stopped_by="canary", stop_reason="row 1 was rejected", stop_hint="look at it")
    ledger.finish(run_id, 5, now=START + 9, reason=None)
    expect(exit_code=5, finished_at=START + 9)
    ledger.waive(run_id)
    expect(stopped_by="", stop_reason="", stop_hint="", waived=("canary",))
    ledger.waive(run_id)  # nothing stops it
    expect()
    ledger.finish(run_id, 9, now=START + 10, reason="not approved", hint="ask")
    expect(exit_code=9, finished_at=START + 10, stop_reason="not approved", stop_hint="ask")
    ledger.reopen(run_id)
    expect(exit_code=None, stop_reason="", stop_hint="")
    ledger.save_metrics(run_id, {"requests": 3})
    ledger.keep_input_stamp(run_id, size=7, mtime_ns=8)
    expect(stats={"requests": 3}, input_size=7, input_mtime_ns=8)


# --- notes, time, reading


def test_notes_come_back_in_order_and_by_run(ledger: Ledger) -> None:
    seal_plan(ledger, 1, make_run("a"))
    seal_plan(ledger, 1, make_run("b"))
    other = Actor("sam", "svc", "batch-1", 12)
    calls.note(ledger, "a", ACTOR, "stopped", {"guard": "canary", "rows": [1, 2]}, now=START + 2)
    calls.note(ledger, "b", ACTOR, "paused", {}, now=START + 1)
    calls.note(ledger, "a", other, "continued", {"waived": "canary"}, now=START + 1)
    assert ledger.notes("a") == [
        Note(START + 2, ACTOR, "stopped", {"guard": "canary", "rows": [1, 2]}),
        Note(START + 1, other, "continued", {"waived": "canary"}),
    ]


def test_the_latest_time_ever_written_is_kept(ledger: Ledger) -> None:
    assert ledger.last_time() == 0.0
    calls.begin(ledger, make_run(created_at=10.0))
    assert ledger.last_time() == 10.0
    calls.seal(ledger, make_run().id, input_rows=0, unchanged=0, plan_s=0.0, summary=PlanSummary(), now=20.0)
    assert ledger.last_time() == 20.0
    run_id = seal_plan(ledger, 1, make_run("second"))
    steps: list[Callable[[float], object]] = [
        lambda now: calls.start_session(ledger, run_id, ACTOR, now),
        lambda now: calls.claim(ledger, run_id, 1, now=now),
        lambda now: calls.record(ledger, run_id, [Outcome(1, State.REJECTED)], now=now),
        lambda now: ledger.request_retry(run_id, now=now),
        lambda now: calls.end_session(ledger, run_id, now=now, by_itself=True),
        lambda now: calls.note(ledger, run_id, ACTOR, "stopped", {}, now=now),
    ]
    for later, step in enumerate(steps, 100):
        step(START + later)
        assert ledger.last_time() == START + later
    calls.note(ledger, run_id, ACTOR, "stopped", {}, now=START)
    assert ledger.last_time() == START + 105


def test_rows_can_be_chosen_by_state_and_by_customer(ledger: Ledger) -> None:
    text = {"customer_id": "not-a-uuid"}
    upper = {"customer_id": make_customer(1).upper()}
    rows = [
        make_row(1),
        make_row(2),
        make_row(3, state=State.INVALID, **text),
        make_row(4, **text),
        make_row(5, **upper),
    ]
    run_id = seal_plan(ledger, rows)
    seal_plan(ledger, 2, make_run("other"))

    def find(**how: Any) -> list[int]:
        return [row.row for row in ledger.rows(run_id, **how)]

    assert find() == [1, 2, 3, 4, 5]
    assert find(states=[State.INVALID, State.APPLIED]) == [3]
    assert find(states=[]) == []
    assert find(customer_id=make_customer(1)) == [1]
    assert find(customer_id=make_customer(1).upper()) == [5]
    assert find(customer_id="not-a-uuid") == [3, 4]
    assert find(customer_id="not-a-uuid", states=[State.PENDING]) == [4]
    assert find(customer_id="nobody") == []


def test_rows_are_streamed_in_order_while_the_run_goes_on(ledger: Ledger) -> None:
    run_id = start(ledger, 2_500)
    streamed: list[int] = []
    for row in ledger.rows(run_id):
        streamed.append(row.row)
        if row.row % 500 == 0:
            claim_rows(ledger, run_id, 500)
    assert streamed == list(range(1, 2_501))
    assert ledger.counts(run_id)[State.SENDING] == 2_500


def test_rows_of_a_run_that_does_not_exist_are_refused_at_once(ledger: Ledger) -> None:
    with pytest.raises(LedgerError):
        ledger.rows("none")


def test_applied_bodies_are_those_that_reached_the_target_oldest_first(ledger: Ledger) -> None:
    plans = {"a": (TARGET, b'{"n":1}'), "b": ("sandbox", b'{"n":2}'), "c": (TARGET, b'{"n":3}')}
    for run_id, (target, body) in plans.items():
        rows = [make_row(1, body=body), make_row(2, body=body), make_row(3, body=body)]
        seal_plan(ledger, rows, make_run(run_id, target=target))
        calls.start_session(ledger, run_id, ACTOR, START)
        claim_rows(ledger, run_id, 3)
        outcomes = [Outcome(1, State.APPLIED), Outcome(2, State.REJECTED), Outcome(3, State.MISMATCH)]
        calls.record(ledger, run_id, outcomes, now=START)
    found = list(ledger.applied_bodies(TARGET, [make_customer(3), make_customer(2), make_customer(1), "nobody"]))
    assert found == [
        (make_customer(3), b'{"n":1}'),
        (make_customer(3), b'{"n":3}'),
        (make_customer(1), b'{"n":1}'),
        (make_customer(1), b'{"n":3}'),
    ]


# --- events


def test_every_change_is_an_event_with_the_hash_of_the_one_before(ledger: Ledger) -> None:
    run_id = start(ledger)
    claim_rows(ledger, run_id)
    record(ledger, run_id, 1, State.APPLIED)
    calls.note(ledger, run_id, ACTOR, "revealed", {}, now=START + 5)
    ledger.set_stop(run_id, "canary", reason="why", hint="")
    ledger.waive(run_id)
    ledger.finish(run_id, 4, now=START + 6, reason=None)
    ledger.save_metrics(run_id, {"requests": 1})
    calls.end_session(ledger, run_id, now=START + 7, by_itself=True)
    ledger.request_retry(run_id, now=START + 8)
    check = calls.start_check(ledger, run_id, ACTOR, now=START + 9)
    calls.record_check(ledger, run_id, check.number, [], upto=1, rows=1)
    calls.end_check(ledger, run_id, check.number, now=START + 10)
    ledger.close_run(run_id)
    events = list(ledger.events(run_id))
    assert [event.kind for event in events] == [
        *("begun", "sealed", "session", "claimed", "outcomes", "revealed", "guard", "waived", "ended", "metrics"),
        *("session ended", "retry", "check", "checked", "check ended", "closed"),
    ]
    assert ledger.head() == events[-1].sha256
    assert len({event.sha256 for event in events}) == len(events)
    assert [event.number for event in ledger.events()] == list(range(1, 2 + len(events)))


def test_a_run_that_was_discarded_is_still_told_in_the_events(ledger: Ledger) -> None:
    run_id = seal_plan(ledger, 2)
    head = ledger.head()
    ledger.discard(run_id)
    assert [(event.kind, event.run) for event in ledger.events()][-1] == ("discarded", run_id)
    assert ledger.head() != head


def test_the_settings_of_a_session_are_in_its_event(ledger: Ledger) -> None:
    run_id = seal_plan(ledger, 1)
    ledger.send(run_id, ACTOR, now=START, settings={"limits": {"rate_per_s": 5}})
    (session,) = [event for event in ledger.events(run_id) if event.kind == "session"]
    assert session.detail["settings"] == {"limits": {"rate_per_s": 5}}
    assert session.detail["actor"]["operator"] == ACTOR.operator
