"""Small plans for the tests of ledgers."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid5

from bulk_patch.ledgers import Ledger, RunReader
from bulk_patch.ledgers.records import Actor, LedgerRow, PlanRow, PlanSummary, Run
from bulk_patch.model import Outcome, Patch, State
from bulk_patch.testing import ledger_calls as calls

JOB = "address-corrections"
ACTOR = Actor(operator="pat", login="pat", host="desk", pid=4711)
SECRET = "6f1c1c9e-3a43-4d0f-9a3f-5f4b1f6d7a10"
START = 1_795_360_000.0  # Unix seconds; later moments of a test are START + something
TARGET = "synctera https://api.example.com/v0 customers"


def make_customer(row: int) -> str:
    """Return the customer id of a row."""
    return str(uuid5(UUID(SECRET), f"customer {row}"))


def make_run(run_id: str = "20261122-151203-4f2a", **facts: Any) -> Run:
    """Return the facts of a run about to be planned."""
    usual: dict[str, Any] = {
        "id": run_id,
        "job": JOB,
        "target": TARGET,
        "secret": SECRET,
        "created_at": START,
        "actor": ACTOR,
        "identity": "1" * 64,
        "baseline": "live",
        "input_sha256": "2" * 64,
        "columns": ("customer_id", "city"),
    }
    return Run(**usual | facts)


def make_row(row: int, **facts: Any) -> PlanRow:
    """Return a pending row; with another `state`, a row without a body."""
    usual: dict[str, Any] = {
        "row": row,
        "customer_id": make_customer(row),
        "state": State.PENDING,
        "cells": b'["%d","Springfield"]' % row,
        "fields": ("legal_address",),
    }
    if facts.get("state", State.PENDING) is State.PENDING:
        usual |= {
            "body": b'{"legal_address":{"city":"Springfield %d"}}' % row,
            "before": b'{"legal_address":{"city":"Shelbyville %d"}}' % row,
        }
    return PlanRow(**usual | facts)


def seal_plan(ledger: Ledger, rows: Iterable[PlanRow] | int, run: Run | None = None, *, unchanged: int = 0) -> str:
    """Plan and seal a run of these rows, or of so many pending ones; return its id."""
    run = run or make_run()
    planned = [make_row(row) for row in range(1, rows + 1)] if isinstance(rows, int) else list(rows)
    calls.begin(ledger, run)
    calls.add(ledger, run.id, planned)
    input_rows = len(planned) + unchanged
    calls.seal(
        ledger, run.id, input_rows=input_rows, unchanged=unchanged, plan_s=1.5, summary=PlanSummary(), now=START + 1
    )
    return run.id


def start(ledger: Ledger, rows: Iterable[PlanRow] | int = 3) -> str:
    """Plan a run and start a session of it; return its id."""
    run_id = seal_plan(ledger, rows)
    calls.start_session(ledger, run_id, ACTOR, START + 2)
    return run_id


def claim_rows(ledger: Ledger, run_id: str, n: int = 100, *, now: float = START + 3, **how: Any) -> list[int]:
    """Claim rows and return their numbers."""
    return [patch.row for patch in calls.claim(ledger, run_id, n, now=now, **how)]


def claim_one(ledger: Ledger, run_id: str, *, now: float = START + 3, **how: Any) -> Patch:
    """Claim the next row."""
    (patch,) = calls.claim(ledger, run_id, 1, now=now, **how)
    return patch


def record(ledger: Ledger, run_id: str, row: int, state: State, *, now: float = START + 4, **facts: Any) -> None:
    """Record the outcome of one row."""
    calls.record(ledger, run_id, [Outcome(row, state, **facts)], now=now)


def next_session(ledger: Ledger, run_id: str, *, by_itself: bool = True) -> int:
    """End the session and start another one."""
    calls.end_session(ledger, run_id, now=START + 5, by_itself=by_itself)
    return calls.start_session(ledger, run_id, ACTOR, START + 6)


def find_states(ledger: RunReader, run_id: str) -> dict[int, State]:
    """Return the state of every row."""
    return {row.row: row.state for row in ledger.rows(run_id)}


def find_row(ledger: RunReader, run_id: str, row: int = 1) -> LedgerRow:
    """Return one row of a run."""
    return next(found for found in ledger.rows(run_id) if found.row == row)
