"""A run, its plan and its summary, as screens get them."""

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulk_patch.errors import Exit
from bulk_patch.ledgers.records import Actor, Run
from bulk_patch.model import Counts, State
from bulk_patch.reports.summary import RunSummary, fold_counts

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC).timestamp()
TARGET = "synctera https://api.example.com/v0 customers"
FOLDER = Path("output/moves/20261122-120000-4f2a")
CUSTOMER = "7b0c0d3e-0000-4000-8000-000000000001"

RUN = Run(
    id="20261122-120000-4f2a",
    job="moves",
    target=TARGET,
    state="sealed",
    secret="00000000-0000-0000-0000-000000000007",
    created_at=NOON,
    actor=Actor("operator", "login", "host", 42),
    identity="",
    baseline="live",
    input_path="/somewhere/moves.csv",
    input_rows=1234,
    unchanged=200,
    plan_sha256="0123456789abcdef" * 4,
)
SENT = replace(RUN, started_at=NOON, finished_at=NOON + 60, exit_code=Exit.INCOMPLETE)
DETAILS: dict[str, Any] = {
    "changes": 1000,
    "invalid": [
        ["legal_address.postal_code breaks the rule: US: 5 or 5+4 digits", 20],
        ["row disagrees with row 7 of the same id", 1],
        ["row disagrees with row 6 of the same id", 1],
    ],
    "fields": {"legal_address.city": 900, "middle_name": 150},
    "cleared": {"middle_name": 4},
    "transitions": {
        "legal_address.city": [["B•••", "C•••", 300], ["?", "D•••", 20], ["(none)", "E•••", 5], ["F•••", "G•••", 1]],
        "middle_name": [["L•••", "(cleared)", 4]],
    },
    "samples": [
        {
            "row": 3,
            "customer_id": CUSTOMER,
            "changes": [["legal_address.city", "B•••", "C•••"], ["middle_name", None, ""], ["email", "", "a•••@b.com"]],
        }
    ],
    "warnings": ["4 values would be cleared: clearing is not documented by the API, each is read back"],
    "reads": 13,
    "recheck": 250,
}
PLANNED: Counts = {State.PENDING: 1000, State.UNCHANGED: 200, State.DUPLICATE: 4, State.INVALID: 30}
COUNTS: Counts = {
    State.APPLIED: 900,
    State.PENDING: 80,
    State.SENDING: 12,
    State.UNKNOWN: 3,
    State.REJECTED: 5,
    State.UNCHANGED: 200,
    State.DUPLICATE: 4,
    State.INVALID: 30,
}


def summary(counts: Counts = COUNTS, **changes: Any) -> RunSummary:
    """Return the summary of a run with these counts, its other facts as given or usual."""
    facts: dict[str, Any] = {
        "run": RUN.id,
        "job": RUN.job,
        "target": TARGET,
        "state": "incomplete",
        "exit_code": Exit.INCOMPLETE,
        "input_rows": sum(counts.values()),
        "counts": {str(status): rows for status, rows in fold_counts(counts).items()},
        "timings": {
            "plan_s": 1.5,
            "send_s": 52.0,
            "requests": 1030,
            "requests_per_s": 19.81,
            "p50_ms": 85.2,
            "p99_ms": 240.9,
        },
        "rate": {"limit_per_s": 20.0, "achieved_per_s": 19.81, "throttled": 3},
        "plan_sha256": RUN.plan_sha256,
        "input_sha256": "",
        "started_at": None,
        "finished_at": None,
    }
    return RunSummary(**facts | changes)


def squeeze(screen: str) -> list[str]:
    """Return the lines without their alignment."""
    return [" ".join(line.split()) for line in screen.splitlines()]
