"""The contract of every ledger, on real storage: claims, outcomes and the moves they make."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers import Ledger
from bulk_patch.model import MOVES, Outcome, Precheck, State, idempotency_key
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import (
    ACTOR,
    SECRET,
    START,
    claim_one,
    claim_rows,
    find_row,
    find_states,
    make_row,
    make_run,
    record,
    seal_plan,
    start,
)

OpenLedger = Callable[[], Ledger]


# --- sending


def test_nothing_is_sent_without_a_session(ledger: Ledger) -> None:
    run_id = seal_plan(ledger, 1)
    with pytest.raises(LedgerError):
        calls.claim(ledger, run_id, 1, now=START)
    with pytest.raises(LedgerError):
        calls.peek(ledger, run_id, 1)
    with pytest.raises(LedgerError):
        record(ledger, run_id, 1, State.DRIFTED)
    calls.start_session(ledger, run_id, ACTOR, START)
    calls.end_session(ledger, run_id, now=START, by_itself=True)
    with pytest.raises(LedgerError):
        calls.claim(ledger, run_id, 1, now=START)


def test_a_plan_that_is_not_sealed_is_not_sent(ledger: Ledger) -> None:
    calls.begin(ledger, make_run())
    calls.add(ledger, make_run().id, [make_row(1)])
    with pytest.raises(LedgerError):
        calls.start_session(ledger, make_run().id, ACTOR, START)


def test_a_claimed_row_is_the_planned_one_byte_for_byte(ledger: Ledger) -> None:
    planned = make_row(5, read_back=True)
    run_id = start(ledger, [planned])
    patch = claim_one(ledger, run_id, now=START + 9)
    assert (patch.row, patch.customer_id, patch.body, patch.before) == (
        planned.row,
        planned.customer_id,
        planned.body,
        planned.before,
    )
    assert (patch.key, patch.generation, patch.first) == (idempotency_key(SECRET, 5, 0), 0, Precheck.SEND)
    assert (patch.ambiguous, patch.intent_at, patch.read_back) == (False, START + 9, True)
    found = find_row(ledger, run_id, 5)
    assert (found.state, found.key, found.first_intent_at) == (State.SENDING, patch.key, START + 9)


def test_rows_are_claimed_in_order_so_many_at_a_time_and_once(ledger: Ledger) -> None:
    run_id = start(ledger, 2_300)
    claimed: list[int] = []
    while rows := claim_rows(ledger, run_id, 700):
        assert len(rows) <= 700
        claimed += rows
    assert claimed == list(range(1, 2_301))
    assert ledger.counts(run_id)[State.SENDING] == 2_300


def test_only_pending_rows_of_a_plan_are_claimed(ledger: Ledger) -> None:
    rows = [make_row(row, state=state) for row, state in enumerate([State.INVALID, State.DUPLICATE, State.KEPT], 1)]
    assert claim_rows(ledger, start(ledger, [*rows, make_row(4)])) == [4]


def test_rows_of_one_run_are_not_claimed_for_another(ledger: Ledger) -> None:
    seal_plan(ledger, 2, make_run("a"))
    seal_plan(ledger, 3, make_run("b", target="sandbox"))
    calls.start_session(ledger, "a", ACTOR, START)
    assert claim_rows(ledger, "a") == [1, 2]
    with pytest.raises(LedgerError):
        calls.claim(ledger, "b", 1, now=START)


def test_a_peek_shows_what_the_next_claim_hands_out_and_changes_nothing(ledger: Ledger) -> None:
    run_id = start(ledger, [make_row(1), make_row(2, recheck=True), make_row(3)])
    peeked = calls.peek(ledger, run_id, 2)
    assert calls.peek(ledger, run_id, 2) == peeked
    assert [(patch.row, state, recheck) for patch, state, recheck in peeked] == [
        (1, State.PENDING, False),
        (2, State.PENDING, True),
    ]
    assert [patch.intent_at for patch, *_ in peeked] == [0.0, 0.0]
    assert ledger.counts(run_id)[State.PENDING] == 3
    claimed = calls.claim(ledger, run_id, 2, now=START)
    assert [replace(patch, intent_at=START) for patch, *_ in peeked] == claimed


def test_a_claim_can_be_restricted_to_peeked_rows(ledger: Ledger) -> None:
    run_id = start(ledger, 5)
    assert claim_rows(ledger, run_id, rows=[4, 2]) == [2, 4]
    assert claim_rows(ledger, run_id, rows=[2, 3, 9]) == [3]
    assert claim_rows(ledger, run_id, rows=[]) == []
    assert claim_rows(ledger, run_id, 1, rows=[1, 5]) == [1]


def bring(ledger: Ledger, run_id: str, state: State) -> None:
    """Bring row 1, planned as pending, to a state by legal moves."""
    if state is State.DRIFTED:
        record(ledger, run_id, 1, State.DRIFTED)
    elif state is not State.PENDING:
        claim_one(ledger, run_id)
        if state is not State.SENDING:
            record(ledger, run_id, 1, state)


PLANNED = {State.INVALID, State.DUPLICATE, State.KEPT}
CAN_BE = [state for state in State if state is not State.UNCHANGED]  # unchanged rows are only counted


@pytest.mark.parametrize(("before", "after"), list(product(CAN_BE, State)), ids=str)
def test_an_outcome_makes_the_moves_of_the_table_and_no_other(ledger: Ledger, before: State, after: State) -> None:
    first = make_row(1, state=before) if before in PLANNED else make_row(1)
    run_id = start(ledger, [first, make_row(2), make_row(3)])
    if before not in PLANNED:
        bring(ledger, run_id, before)
    untouched = list(ledger.rows(run_id)), ledger.counts(run_id), ledger.to_do(run_id)
    outcomes = [Outcome(2, State.DRIFTED), Outcome(1, after)]
    if (before, after) in MOVES and after is not State.SENDING:  # that move is a claim's
        calls.record(ledger, run_id, outcomes, now=START)
        assert find_states(ledger, run_id) == {1: after, 2: State.DRIFTED, 3: State.PENDING}
    else:
        with pytest.raises(LedgerError, match=f"row 1 may not go from {before} to {after}"):
            calls.record(ledger, run_id, outcomes, now=START)
        assert (list(ledger.rows(run_id)), ledger.counts(run_id), ledger.to_do(run_id)) == untouched


@pytest.mark.parametrize("state", CAN_BE, ids=str)
def test_a_claim_makes_the_moves_of_the_table_and_no_other(ledger: Ledger, state: State) -> None:
    run_id = start(ledger, [make_row(1, state=state) if state in PLANNED else make_row(1)])
    if state not in PLANNED:
        bring(ledger, run_id, state)
    if state is State.REJECTED:
        assert claim_rows(ledger, run_id) == []  # not before an operator asked
        ledger.request_retry(run_id, now=START)
    assert claim_rows(ledger, run_id) == ([1] if (state, State.SENDING) in MOVES else [])


@pytest.mark.parametrize(
    "outcomes", [[Outcome(9, State.DRIFTED)], [Outcome(1, State.DRIFTED)] * 2], ids=["none", "two"]
)
def test_an_outcome_of_no_row_and_two_of_one_are_refused(ledger: Ledger, outcomes: list[Outcome]) -> None:
    run_id = start(ledger)
    with pytest.raises(LedgerError):
        calls.record(ledger, run_id, outcomes, now=START)
    assert ledger.counts(run_id)[State.PENDING] == 3


def test_no_outcomes_are_no_change(ledger: Ledger) -> None:
    run_id = start(ledger)
    calls.record(ledger, run_id, [], now=START)
    assert ledger.counts(run_id)[State.PENDING] == 3


def test_every_part_of_an_outcome_comes_back(ledger: Ledger) -> None:
    run_id = start(ledger)
    claim_one(ledger, run_id)
    outcome = Outcome(
        1,
        State.REJECTED,
        reason="BAD_REQUEST_BODY",
        fields=("legal_address.city", "email"),
        attempts=2,
        http_status=400,
        api_code="BAD_REQUEST_BODY",
    )
    calls.record(ledger, run_id, [outcome], now=START + 8)
    found = find_row(ledger, run_id)
    assert (found.state, found.reason, found.attempts) == (State.REJECTED, "BAD_REQUEST_BODY", 2)
    assert (found.http_status, found.api_code, found.done_at) == (400, "BAD_REQUEST_BODY", START + 8)
    assert found.fields == ("legal_address",)  # what would change
    assert all(name in found.hint for name in outcome.fields)


def test_attempts_add_up_and_the_last_answer_stays_until_there_is_another(ledger: Ledger) -> None:
    run_id = start(ledger)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, State.UNKNOWN, attempts=3, http_status=502, api_code="X", now=START + 4)
    assert find_row(ledger, run_id).done_at == START + 4
    claim_one(ledger, run_id)
    assert find_row(ledger, run_id).done_at is None
    record(ledger, run_id, 1, State.UNKNOWN, attempts=2)
    found = find_row(ledger, run_id)
    assert (found.attempts, found.http_status, found.api_code) == (5, 502, "X")


def test_the_first_intent_stays_and_so_does_the_key(ledger: Ledger) -> None:
    run_id = start(ledger)
    first = claim_one(ledger, run_id, now=START + 10)
    record(ledger, run_id, 1, State.UNKNOWN)
    again = claim_one(ledger, run_id, now=START + 20)
    assert (again.key, again.intent_at, again.generation) == (first.key, START + 10, 0)
    record(ledger, run_id, 1, State.UNKNOWN)
    assert claim_one(ledger, run_id, now=START + 30).intent_at == START + 10
    assert find_row(ledger, run_id).first_intent_at == START + 10


def test_what_is_unknown_is_handed_out_as_ambiguous(ledger: Ledger) -> None:
    run_id = start(ledger)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, State.UNKNOWN, ambiguous=False)
    assert claim_one(ledger, run_id).ambiguous


def test_what_was_proven_not_executed_is_handed_out_as_new(ledger: Ledger) -> None:
    run_id = start(ledger)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, State.PENDING, reason="refused", attempts=0)
    assert find_row(ledger, run_id).done_at is None
    assert claim_one(ledger, run_id).ambiguous is False


@pytest.mark.parametrize("says_ambiguous", [True, False])
def test_an_ambiguous_row_that_comes_back_unsent_is_unknown_still(ledger: Ledger, says_ambiguous: bool) -> None:
    run_id = start(ledger)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, State.UNKNOWN, ambiguous=True)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, State.PENDING, ambiguous=says_ambiguous)
    assert find_row(ledger, run_id).state is State.UNKNOWN
    assert claim_one(ledger, run_id).ambiguous


def test_a_pending_outcome_that_calls_itself_ambiguous_is_unknown(ledger: Ledger) -> None:
    run_id = start(ledger)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, State.PENDING, ambiguous=True)
    assert find_row(ledger, run_id).state is State.UNKNOWN


def test_the_age_of_a_key_under_which_nothing_has_left_begins_anew(ledger: Ledger) -> None:
    run_id = start(ledger)
    first = claim_one(ledger, run_id, now=START + 10)
    record(ledger, run_id, 1, State.PENDING)
    assert calls.peek(ledger, run_id, 1)[0][0].intent_at == 0.0
    second = claim_one(ledger, run_id, now=START + 20)
    assert (second.key, second.intent_at) == (first.key, START + 20)
    record(ledger, run_id, 1, State.UNKNOWN)
    assert claim_one(ledger, run_id, now=START + 30).intent_at == START + 20
    assert find_row(ledger, run_id).first_intent_at == START + 10


def test_a_new_generation_has_a_new_key_and_a_new_age_and_nothing_ambiguous(ledger: Ledger) -> None:
    run_id = start(ledger)
    first = claim_one(ledger, run_id, now=START + 10)
    record(ledger, run_id, 1, State.PENDING, new_generation=True, ambiguous=True, reason="cached_401")
    waiting = find_row(ledger, run_id)
    assert (waiting.state, waiting.generation, waiting.key) == (State.PENDING, 1, first.key)
    second = claim_one(ledger, run_id, now=START + 20)
    assert (second.row, second.generation, second.key) == (1, 1, idempotency_key(SECRET, 1, 1))
    assert (second.ambiguous, second.intent_at) == (False, START + 20)
    sending = find_row(ledger, run_id)
    assert (sending.key, sending.first_intent_at) == (second.key, START + 10)


def test_a_row_that_comes_back_is_handed_out_again_in_the_same_session(ledger: Ledger) -> None:
    run_id = start(ledger, 3)
    claim_rows(ledger, run_id, 2)
    calls.record(ledger, run_id, [Outcome(1, State.PENDING, new_generation=True), Outcome(2, State.UNKNOWN)], now=START)
    assert claim_rows(ledger, run_id) == [1, 2, 3]
