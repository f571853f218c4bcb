"""The contract of every ledger, on real storage: planning and sealing."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import LedgerRow, PlanRow, PlanSummary, Run
from bulk_patch.model import State
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import START, TARGET, make_customer, make_row, make_run, seal_plan

OpenLedger = Callable[[], Ledger]


# --- planning


def test_every_part_of_a_planned_row_comes_back(ledger: Ledger) -> None:
    planned = [
        make_row(3, read_back=True),
        make_row(4, customer_id="C-17 ü", fields=("email", "legal_address.city"), before=None),
        make_row(7, state=State.INVALID, reason="zip", hint="five digits", fields=("zip",)),
        make_row(8, state=State.DUPLICATE, reason="same_change"),
        make_row(9, state=State.KEPT, fields=()),
    ]
    run_id = seal_plan(ledger, planned, unchanged=4)
    found = list(ledger.rows(run_id))
    for before, after in zip(planned, found, strict=True):
        shared = {part.name for part in fields(PlanRow)} & {part.name for part in fields(LedgerRow)}
        assert {name: getattr(before, name) for name in shared} == {name: getattr(after, name) for name in shared}
    untouched = found[0]
    assert (untouched.attempts, untouched.http_status, untouched.api_code, untouched.key) == (0, None, "", "")
    assert (untouched.generation, untouched.first_intent_at, untouched.done_at, untouched.final) == (
        0,
        None,
        None,
        False,
    )


def test_counts_name_every_state_and_balance_with_the_input(ledger: Ledger) -> None:
    rows = [make_row(1), make_row(2), make_row(3, state=State.INVALID), make_row(5, state=State.DUPLICATE)]
    run_id = seal_plan(ledger, rows, unchanged=6)
    counts = ledger.counts(run_id)
    assert set(counts) == set(State)
    assert {state: n for state, n in counts.items() if n} == {
        State.PENDING: 2,
        State.INVALID: 1,
        State.DUPLICATE: 1,
        State.UNCHANGED: 6,
    }
    assert sum(counts.values()) == ledger.run(run_id).input_rows
    assert ledger.to_do(run_id) == 2


def test_a_plan_can_be_added_in_parts(ledger: Ledger) -> None:
    run = make_run()
    calls.begin(ledger, run)
    for first in (1, 1201, 1900):
        calls.add(ledger, run.id, (make_row(row) for row in range(first, first + 600)))
    calls.seal(ledger, run.id, input_rows=1800, unchanged=0, plan_s=0.0, summary=PlanSummary(), now=START)
    assert [row.row for row in ledger.rows(run.id)] == [*range(1, 601), *range(1201, 1801), *range(1900, 2500)]


def test_a_plan_may_be_empty(ledger: Ledger) -> None:
    run_id = seal_plan(ledger, [], unchanged=5)
    assert ledger.counts(run_id)[State.UNCHANGED] == 5
    assert ledger.open_run(TARGET) is None


def test_a_plan_that_does_not_balance_is_not_sealed(ledger: Ledger) -> None:
    run = make_run()
    calls.begin(ledger, run)
    calls.add(ledger, run.id, [make_row(1)])
    with pytest.raises(LedgerError):
        calls.seal(ledger, run.id, input_rows=3, unchanged=1, plan_s=0.0, summary=PlanSummary(), now=START)
    assert ledger.run(run.id).state == "planning"


@pytest.mark.parametrize(
    "rows",
    [
        [make_row(2), make_row(1)],
        [make_row(1), make_row(1)],
        [make_row(0)],
        [make_row(1, body=None)],
        [make_row(1, state=State.INVALID, body=b"{}")],
        [make_row(1, state=State.APPLIED)],
        [make_row(1, state=State.UNCHANGED)],
    ],
    ids=["backwards", "twice", "zero", "no body", "body of an invalid row", "applied", "unchanged"],
)
def test_rows_that_cannot_be_planned_are_refused_and_the_plan_with_them(ledger: Ledger, rows: list[PlanRow]) -> None:
    run = make_run()
    calls.begin(ledger, run)
    with pytest.raises(LedgerError):
        calls.add(ledger, run.id, rows)
    with pytest.raises(LedgerError):
        calls.seal(ledger, run.id, input_rows=len(rows), unchanged=0, plan_s=0.0, summary=PlanSummary(), now=START)


def test_a_plan_whose_input_failed_half_way_cannot_be_sealed(ledger: Ledger) -> None:
    def read_input() -> Iterator[PlanRow]:
        yield make_row(1)
        raise OSError("the input is gone")

    run = make_run()
    calls.begin(ledger, run)
    with pytest.raises(OSError, match="the input is gone"):
        calls.add(ledger, run.id, read_input())
    for input_rows in (0, 1):  # neither what came nor what should have come
        with pytest.raises(LedgerError):
            calls.seal(ledger, run.id, input_rows=input_rows, unchanged=0, plan_s=0.0, summary=PlanSummary(), now=START)
    assert seal_plan(ledger, 1) == run.id  # begun again, it can


def test_a_sealed_plan_takes_no_more_rows(ledger: Ledger) -> None:
    run_id = seal_plan(ledger, 1)
    with pytest.raises(LedgerError):
        calls.add(ledger, run_id, [make_row(2)])
    with pytest.raises(LedgerError):
        calls.seal(ledger, run_id, input_rows=1, unchanged=0, plan_s=0.0, summary=PlanSummary(), now=START)


def test_a_plan_left_unsealed_is_discarded_by_the_next_one_of_its_target(open_ledger: OpenLedger) -> None:
    with open_ledger() as ledger:
        for run_id, target in (("a", "sandbox"), ("b", TARGET)):
            calls.begin(ledger, make_run(run_id, target=target))
            calls.add(ledger, run_id, [make_row(1), make_row(2)])
    with open_ledger() as ledger:
        with pytest.raises(LedgerError):
            calls.add(ledger, "b", [make_row(3)])
        seal_plan(ledger, 1, make_run("c"))
        assert [run.id for run in ledger.runs()] == ["c", "a"]
        assert [row.row for row in ledger.rows("c")] == [1]


CHANGED_FACTS: list[dict[str, Any]] = [
    {"secret": make_customer(1)},
    {"identity": "9"},
    {"input_sha256": "9"},
    {"baseline_sha256": "9"},
]
CHANGED_FACTS += [{"target": "sandbox"}, {"kind": "undo"}, {"columns": ("customer_id",)}, {"run_id": "other"}]
CHANGED_FACTS += [{"reason": "another"}, {"ticket": "OPS-2"}, {"job_file": "other.toml"}, {"overrides": ("a=1",)}]
CHANGED_FACTS += [{"terms": {"limits": 5}}, {"target_spec": {"kind": "rest"}}]
CHANGED_ROWS: list[dict[str, Any]] = [{"body": b"{}"}, {"before": b"{}"}, {"before": None}, {"before": b""}]
CHANGED_ROWS += [{"cells": b"[]"}, {"fields": ("email",)}, {"reason": "x"}, {"hint": "x"}]
CHANGED_ROWS += [{"customer_id": "x"}, {"read_back": True}, {"recheck": True}]


def plan_hash(ledger: Ledger, row: PlanRow, run: Run | None = None, *, unchanged: int = 0) -> str:
    run_id = seal_plan(ledger, [row], run, unchanged=unchanged)
    found = ledger.run(run_id).plan_sha256
    ledger.discard(run_id)
    return found


def test_the_same_plan_has_the_same_hash(ledger: Ledger) -> None:
    assert plan_hash(ledger, make_row(1)) == plan_hash(ledger, make_row(1))


@pytest.mark.parametrize("facts", CHANGED_FACTS, ids=lambda facts: next(iter(facts)))
def test_the_hash_of_a_plan_covers_the_facts_of_its_run(ledger: Ledger, facts: dict[str, Any]) -> None:
    assert plan_hash(ledger, make_row(1), make_run(**facts)) != plan_hash(ledger, make_row(1))


@pytest.mark.parametrize("parts", CHANGED_ROWS, ids=str)
def test_the_hash_of_a_plan_covers_every_part_of_a_row_that_matters(ledger: Ledger, parts: dict[str, Any]) -> None:
    assert plan_hash(ledger, make_row(1, **parts)) != plan_hash(ledger, make_row(1))


def test_the_hash_of_a_plan_covers_row_numbers_and_counts(ledger: Ledger) -> None:
    usual = plan_hash(ledger, make_row(1))
    assert plan_hash(ledger, make_row(2)) != usual
    assert plan_hash(ledger, make_row(1), unchanged=1) != usual
