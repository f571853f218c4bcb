"""What reading one row back shows: pure decisions, and what the ledger knows of later runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.ledgers.records import Drift, FieldDrift, PlanSummary, Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import State
from bulk_patch.review.drift import find_drift
from bulk_patch.testing import ledger_calls as calls
from tests.support.report_runs import ACTOR, ADDRESS, NOON, SYNCTERA, applied, change, customer, moved, plan, send

CANADA = {**ADDRESS, "country_code": "CA", "postal_code": "k1a0b6"}


def drift_of(tmp_path: Path, body: dict[str, Any], record: dict[str, Any] | None, *fields: str) -> Drift | None:
    """Apply one row, and compare it with the customer as it is."""
    with SqliteLedger.open(tmp_path / "ledger.db", job="moves") as ledger:
        run = send(ledger, plan(ledger, [change(1, body, *fields, before={"last_name": "Smith"})]), applied(1))
        (row,) = ledger.rows(run.id)
        return find_drift(run, row, record, SYNCTERA, ledger)


@pytest.mark.parametrize(
    ("body", "record"),
    [
        ({"last_name": "Null"}, {"last_name": "Null", "first_name": "whoever"}),
        ({"ssn": "123-45-6789"}, {"ssn": "6789"}),
        ({"note": "never shown"}, {}),
        ({"legal_address": CANADA}, {"legal_address": {**CANADA, "postal_code": "K1A 0B6", "id": "x"}}),
        # Documented: the API copies a first legal address to the shipping address, which nobody asked for.
        ({"legal_address": ADDRESS}, {"legal_address": ADDRESS, "shipping_address": ADDRESS}),
    ],
    ids=["as sent", "masked", "write-only", "rewritten", "side effect"],
)
def test_what_is_as_it_was_sent_is_no_drift(tmp_path: Path, body: dict[str, Any], record: dict[str, Any]) -> None:
    assert drift_of(tmp_path, body, record, *body) is None


def test_a_customer_that_is_gone_is_drift(tmp_path: Path) -> None:
    assert drift_of(tmp_path, {"last_name": "Null"}, None, "last_name") == Drift(
        1, customer(1), "the customer no longer exists in the API", ()
    )


def test_a_part_that_somebody_added_to_an_object_is_drift(tmp_path: Path) -> None:
    record = {"legal_address": {**ADDRESS, "address_line_2": "Unit 7"}}
    drift = drift_of(tmp_path, {"legal_address": ADDRESS}, record, "legal_address.city")
    assert drift is not None
    assert [field.name for field in drift.fields] == ["legal_address.address_line_2"]


def test_drift_names_the_part_of_an_address_and_masks_both_sides(tmp_path: Path) -> None:
    record = {"legal_address": {**ADDRESS, "city": "Houston"}}
    drift = drift_of(tmp_path, {"legal_address": ADDRESS}, record, "legal_address.city")
    assert drift is not None
    assert drift.fields == (FieldDrift("legal_address.city", "B•••", "H•••"),)
    assert drift.counts


def send_again(ledger: SqliteLedger, run_id: str, **facts: Any) -> Run:
    """Apply another last name in a later run."""
    first = ledger.runs()[-1]
    later = Run(
        **{name: getattr(first, name) for name in ("job", "target", "secret", "actor", "identity", "baseline")}
        | {"id": run_id, "created_at": NOON + 60}
        | facts
    )
    calls.begin(ledger, later)
    calls.add(ledger, later.id, [moved(1, last_name="Void")])
    calls.seal(ledger, later.id, input_rows=1, unchanged=0, plan_s=0.1, summary=PlanSummary(), now=NOON + 61)
    calls.start_session(ledger, later.id, ACTOR, NOON + 62)
    calls.claim(ledger, later.id, 1, now=NOON + 63)
    calls.record(ledger, later.id, [applied(1)], now=NOON + 64)
    calls.end_session(ledger, later.id, now=NOON + 65, by_itself=True)
    return later


@pytest.mark.parametrize(
    ("facts", "live", "by", "counts"),
    [
        ({}, "Void", "20261122-130000-0001", False),
        ({}, "Someone", "", True),
        ({"target": "synctera https://api.example.org/v0 customers"}, "Void", "", True),
    ],
    ids=["as the later run sent it", "neither", "a run to another target"],
)
def test_a_later_run_of_the_job_explains_what_it_sent(
    tmp_path: Path, facts: dict[str, Any], live: str, by: str, counts: bool
) -> None:
    with SqliteLedger.open(tmp_path / "ledger.db", job="moves") as ledger:
        first = send(ledger, plan(ledger, [moved(1)]), applied(1))
        send_again(ledger, "20261122-130000-0001", **facts)
        (row,) = ledger.rows(first.id, states=[State.APPLIED])
        drift = find_drift(first, row, {"last_name": live}, SYNCTERA, ledger)
    assert drift is not None
    assert (drift.counts, [its.superseded_by for its in drift.fields]) == (counts, [by])
    assert "Void" not in json.dumps([its.found for its in drift.fields])
