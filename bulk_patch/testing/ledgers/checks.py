"""What `verify` keeps, and the history of one customer, in every ledger."""

from collections.abc import Callable

import pytest

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import Check, Drift, FieldDrift
from bulk_patch.model import State
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import (
    ACTOR,
    START,
    claim_rows,
    make_customer,
    make_row,
    make_run,
    record,
    seal_plan,
    start,
)

LATER = "20261122-151204-4f2b"


def drift(row: int, *, by: str = "") -> Drift:
    """Return a drift of one field, explained by a later run or not."""
    return Drift(row, make_customer(row), "", (FieldDrift("email", "a•••", "b•••", by),), counts=not by)


@pytest.fixture
def run_id(ledger: Ledger) -> str:
    run = start(ledger, 5)
    for row in claim_rows(ledger, run):
        record(ledger, run, row, State.APPLIED)
    calls.end_session(ledger, run, now=START + 5, by_itself=True)
    return run


def test_a_check_that_did_not_end_goes_on_where_it_was(
    open_ledger: Callable[[], Ledger], ledger: Ledger, run_id: str
) -> None:
    check = calls.start_check(ledger, run_id, ACTOR, now=START + 10)
    assert (check.upto, check.rows, check.drifted, check.ended_at) == (0, 0, 0, None)
    calls.record_check(ledger, run_id, check.number, [drift(2), drift(3, by=LATER)], upto=3, rows=3)
    ledger.close()
    with open_ledger() as opened:
        again = calls.start_check(opened, run_id, ACTOR, now=START + 20)
        assert again == Check(check.number, ACTOR, START + 10, None, 3, 3, 1)
        assert [row.row for row in opened.rows(run_id, after=again.upto)] == [4, 5]
        assert list(opened.drifts(check.number)) == [drift(2), drift(3, by=LATER)]


def test_a_check_that_ended_is_kept_and_the_next_begins_anew(ledger: Ledger, run_id: str) -> None:
    first = calls.start_check(ledger, run_id, ACTOR, now=START + 10)
    calls.record_check(ledger, run_id, first.number, [drift(1)], upto=5, rows=5)
    calls.end_check(ledger, run_id, first.number, now=START + 11)
    second = calls.start_check(ledger, run_id, ACTOR, now=START + 12)
    assert second.number != first.number
    assert list(ledger.drifts(second.number)) == []
    assert [its.number for its in ledger.checks(run_id)] == [second.number, first.number]
    assert ledger.checks(run_id)[1].ended_at == START + 11


def test_a_check_does_not_go_on_when_rows_were_sent_since(ledger: Ledger, run_id: str) -> None:
    first = calls.start_check(ledger, run_id, ACTOR, now=START + 5.5)
    calls.record_check(ledger, run_id, first.number, [], upto=2, rows=2)
    calls.start_session(ledger, run_id, ACTOR, START + 6)
    assert calls.start_check(ledger, run_id, ACTOR, now=START + 7).number != first.number


def test_a_check_never_goes_back_and_nothing_is_added_once_it_ended(ledger: Ledger, run_id: str) -> None:
    check = calls.start_check(ledger, run_id, ACTOR, now=START + 10)
    calls.record_check(ledger, run_id, check.number, [], upto=3, rows=3)
    with pytest.raises(LedgerError):
        calls.record_check(ledger, run_id, check.number, [drift(2)], upto=3, rows=3)
    calls.end_check(ledger, run_id, check.number, now=START + 11)
    with pytest.raises(LedgerError):
        calls.record_check(ledger, run_id, check.number, [drift(4)], upto=5, rows=2)
    assert list(ledger.drifts(check.number)) == []
    assert ledger.checks(run_id)[0].rows == 3


def test_a_discarded_run_takes_its_checks_along(ledger: Ledger) -> None:
    run = seal_plan(ledger, 2)
    check = calls.start_check(ledger, run, ACTOR, now=START + 10)
    calls.record_check(ledger, run, check.number, [drift(1)], upto=2, rows=2)
    ledger.discard(run)
    assert list(ledger.drifts(check.number)) == []


def test_the_history_of_a_customer_spans_all_runs_and_targets_oldest_first(ledger: Ledger, run_id: str) -> None:
    elsewhere = make_run(LATER, target="synctera sandbox customers", created_at=START + 60)
    seal_plan(ledger, [make_row(7, customer_id=make_customer(2)), make_row(8)], elsewhere)
    found = ledger.history(make_customer(2))
    assert [(run, row.row, row.state) for run, row in found] == [
        (run_id, 2, State.APPLIED),
        (LATER, 7, State.PENDING),
    ]
    assert ledger.history(make_customer(99)) == []
