"""The contract of every ledger, on real storage: budgets over sessions, kills, and retry."""

from collections.abc import Callable

import pytest

from bulk_patch.ledgers import Ledger
from bulk_patch.model import Outcome, State, idempotency_key
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import (
    ACTOR,
    SECRET,
    START,
    TARGET,
    claim_one,
    claim_rows,
    find_row,
    find_states,
    next_session,
    record,
    start,
)

OpenLedger = Callable[[], Ledger]


# --- budgets and sessions


@pytest.mark.parametrize("state", [State.PENDING, State.UNKNOWN])
def test_a_row_that_spent_its_attempts_waits_for_the_next_session(ledger: Ledger, state: State) -> None:
    run_id = start(ledger, 2)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, state, spent=True)
    assert claim_rows(ledger, run_id) == [2]
    assert claim_rows(ledger, run_id, rows=[1]) == []
    record(ledger, run_id, 2, State.APPLIED)
    assert ledger.to_do(run_id) == 1
    assert ledger.open_run(TARGET) is not None
    next_session(ledger, run_id)
    assert claim_rows(ledger, run_id) == [1]


def spend(ledger: Ledger, run_id: str, state: State = State.UNKNOWN) -> None:
    assert claim_rows(ledger, run_id, 1) == [1]
    record(ledger, run_id, 1, state, spent=True)


def test_a_row_that_spent_its_attempts_in_two_sessions_is_unknown_for_good(ledger: Ledger) -> None:
    run_id = start(ledger, 1)
    spend(ledger, run_id)
    next_session(ledger, run_id)
    assert (find_row(ledger, run_id).final, ledger.to_do(run_id)) == (False, 1)
    spend(ledger, run_id)
    next_session(ledger, run_id)
    assert (find_row(ledger, run_id).final, ledger.to_do(run_id)) == (True, 0)
    assert ledger.open_run(TARGET) is None
    assert claim_rows(ledger, run_id) == []


def test_only_sessions_that_ended_by_themselves_count(open_ledger: OpenLedger) -> None:
    with open_ledger() as ledger:
        run_id = start(ledger, 1)
        spend(ledger, run_id)
        next_session(ledger, run_id, by_itself=False)
        spend(ledger, run_id)  # and then the process is killed
    with open_ledger() as ledger:
        assert calls.start_session(ledger, run_id, ACTOR, START) == 0
        spend(ledger, run_id)
        next_session(ledger, run_id, by_itself=True)
        assert claim_rows(ledger, run_id) == [1]


def test_rows_that_never_left_may_spend_their_attempts_in_any_number_of_sessions(ledger: Ledger) -> None:
    run_id = start(ledger, 1)
    for _ in range(3):
        spend(ledger, run_id, State.PENDING)
        next_session(ledger, run_id)
    spend(ledger, run_id, State.UNKNOWN)  # the first time that it may have left
    next_session(ledger, run_id)
    assert claim_rows(ledger, run_id) == [1]


def test_a_row_that_an_outcome_calls_final_is_not_tried_again(ledger: Ledger) -> None:
    run_id = start(ledger, 1)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, State.UNKNOWN, final=True)
    assert (find_row(ledger, run_id).final, ledger.to_do(run_id)) == (True, 0)
    next_session(ledger, run_id)
    assert claim_rows(ledger, run_id) == []


def test_rows_left_in_flight_are_ambiguous_when_the_next_session_starts(open_ledger: OpenLedger) -> None:
    with open_ledger() as ledger:
        run_id = start(ledger, 3)
        (key, _) = (patch.key for patch in calls.claim(ledger, run_id, 2, now=START + 10))
    with open_ledger() as ledger:
        assert ledger.counts(run_id)[State.SENDING] == 2
        assert ledger.to_do(run_id) == 3
        assert calls.start_session(ledger, run_id, ACTOR, START + 20) == 2
        assert find_states(ledger, run_id) == {1: State.UNKNOWN, 2: State.UNKNOWN, 3: State.PENDING}
        assert (find_row(ledger, run_id).reason, find_row(ledger, run_id).done_at) == ("left_in_flight", None)
        patches = calls.claim(ledger, run_id, 3, now=START + 30)
        assert [(patch.row, patch.ambiguous, patch.intent_at) for patch in patches] == [
            (1, True, START + 10),
            (2, True, START + 10),
            (3, False, START + 30),
        ]
        assert patches[0].key == key


# --- retry


def test_retry_asks_for_rejected_and_unknown_rows_and_for_nothing_else(ledger: Ledger) -> None:
    run_id = start(ledger, 7)
    claim_rows(ledger, run_id, 6)
    states = [State.REJECTED, State.UNKNOWN, State.APPLIED, State.MISMATCH]
    outcomes = [Outcome(row, state, final=True) for row, state in enumerate(states, 1)]
    calls.record(ledger, run_id, [*outcomes, Outcome(5, State.UNKNOWN, spent=True)], now=START + 10)
    assert ledger.to_do(run_id) == 3  # 5 in the next session, 6 is out, 7 waits
    assert ledger.request_retry(run_id, now=START + 11) == 4
    assert ledger.to_do(run_id) == 5
    assert [patch.row for patch, *_ in calls.peek(ledger, run_id, 9, only_requested=True)] == [1, 2, 5]
    assert [patch.row for patch, *_ in calls.peek(ledger, run_id, 9)] == [1, 2, 5, 7]
    next_session(ledger, run_id)  # 6 was left in flight
    patches = calls.claim(ledger, run_id, 9, now=START + 12, only_requested=True)
    assert [(patch.row, patch.generation, patch.ambiguous) for patch in patches] == [
        (1, 1, False),
        (2, 0, True),
        (5, 0, True),
        (6, 0, True),
    ]
    assert claim_rows(ledger, run_id, only_requested=True) == []


def test_a_claim_can_be_restricted_to_requested_and_to_peeked_rows_at_once(ledger: Ledger) -> None:
    run_id = start(ledger, 4)
    claim_rows(ledger, run_id, 2)
    calls.record(ledger, run_id, [Outcome(1, State.REJECTED), Outcome(2, State.REJECTED)], now=START)
    ledger.request_retry(run_id, now=START)
    assert claim_rows(ledger, run_id, rows=[2, 3], only_requested=True) == [2]
    assert claim_rows(ledger, run_id, rows=[2, 3]) == [3]


def test_retry_asked_twice_takes_one_new_key(ledger: Ledger) -> None:
    run_id = start(ledger, 1)
    used = claim_one(ledger, run_id).key
    record(ledger, run_id, 1, State.REJECTED)
    assert ledger.request_retry(run_id, now=START) == 1
    assert ledger.request_retry(run_id, now=START) == 1
    assert find_row(ledger, run_id).key == used
    assert claim_one(ledger, run_id).key == idempotency_key(SECRET, 1, 1)
    record(ledger, run_id, 1, State.REJECTED)
    assert claim_rows(ledger, run_id) == []  # answered: asked no more
    ledger.request_retry(run_id, now=START)
    assert claim_one(ledger, run_id).key == idempotency_key(SECRET, 1, 2)


def test_a_row_that_was_asked_for_stays_so_until_it_is_answered(ledger: Ledger) -> None:
    run_id = start(ledger, 2)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, State.REJECTED)
    ledger.request_retry(run_id, now=START)
    for outcome in (
        Outcome(1, State.PENDING, new_generation=True),
        Outcome(1, State.PENDING),
        Outcome(1, State.UNKNOWN),
        Outcome(1, State.APPLIED),
    ):
        assert claim_rows(ledger, run_id, only_requested=True) == [1]
        calls.record(ledger, run_id, [outcome], now=START)
    assert claim_rows(ledger, run_id, only_requested=True) == []


def test_retry_gives_back_what_was_unknown_for_good_and_its_two_sessions(ledger: Ledger) -> None:
    run_id = start(ledger, 1)
    for _ in range(2):
        spend(ledger, run_id)
        next_session(ledger, run_id)
    assert claim_rows(ledger, run_id) == []
    assert ledger.request_retry(run_id, now=START) == 1
    assert not find_row(ledger, run_id).final
    spend(ledger, run_id)
    next_session(ledger, run_id)
    assert claim_rows(ledger, run_id) == [1]


def test_a_row_that_spent_its_attempts_can_be_asked_for_in_the_same_session(ledger: Ledger) -> None:
    run_id = start(ledger, 1)
    spend(ledger, run_id)
    ledger.request_retry(run_id, now=START)
    assert claim_rows(ledger, run_id, only_requested=True) == [1]


def test_retry_with_nothing_to_retry_asks_for_nothing(ledger: Ledger) -> None:
    run_id = start(ledger, 2)
    assert ledger.request_retry(run_id, now=START) == 0
    assert claim_rows(ledger, run_id, only_requested=True) == []


# --- for reports


def test_sessions_tell_who_sent_from_when_to_when_and_a_kill_leaves_no_end(ledger: Ledger) -> None:
    run_id = start(ledger, 2)
    next_session(ledger, run_id)
    calls.start_session(ledger, run_id, ACTOR, START + 500)
    told = [(its.actor, its.ended_at is None) for its in ledger.sessions(run_id)]
    assert told == [(ACTOR, False), (ACTOR, True), (ACTOR, True)]
    begun = [its.started_at for its in ledger.sessions(run_id)]
    assert begun == sorted(begun)
    assert begun[-1] == START + 500
