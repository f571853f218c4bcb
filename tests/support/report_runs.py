"""Small runs in a ledger, for the tests of reports."""

import csv
import datetime as dt
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bulk_patch.ledgers.records import Actor, PlanRow, PlanSummary, Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import Outcome, State, encode_json
from bulk_patch.targets.synctera.target import Synctera
from bulk_patch.testing import ledger_calls as calls

ACTOR = Actor("operator", "login", "host", 42)
NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC).timestamp()
SYNCTERA = Synctera("customers", today=dt.date(2026, 11, 22))
ADDRESS = {"address_line_1": "12 Elm Street", "city": "Boston", "country_code": "US"}


def customer(number: int) -> str:
    """Return the id of an invented customer."""
    return str(uuid.UUID(int=number))


def change(row: int, body: dict[str, Any], *fields: str, before: dict[str, Any] | None = None) -> PlanRow:
    """Return a row that would send `body`."""
    return PlanRow(
        row=row,
        customer_id=customer(row),
        state=State.PENDING,
        cells=encode_json([customer(row), "x"]),
        fields=fields,
        body=encode_json(body),
        before=encode_json(before) if before is not None else None,
    )


def set_aside(row: int, state: State, *cells: str | None, reason: str = "why", hint: str = "") -> PlanRow:
    """Return a row that is never sent; without cells, of one customer."""
    customer_id = cells[0] if cells else customer(row)
    return PlanRow(
        row=row,
        customer_id=customer_id or "",
        state=state,
        cells=json.dumps(cells or [customer_id, "x"], ensure_ascii=False).encode(),
        reason=reason,
        hint=hint,
    )


def moved(row: int, *, last_name: str = "Null") -> PlanRow:
    """Return a row that changes the last name."""
    return change(row, {"last_name": last_name}, "last_name", before={"last_name": "Smith"})


def plan(
    ledger: SqliteLedger,
    rows: Iterable[PlanRow],
    *,
    unchanged: int = 0,
    columns: Sequence[str] = ("id", "last_name"),
    kind: str = "run",
    details: Mapping[str, Any] | None = None,
) -> Run:
    """Seal a plan of these rows; return its run."""
    planned = list(rows)
    run = Run(
        id="20261122-120000-4f2a",
        job="moves",
        target="synctera https://api.example.com/v0 customers",
        secret=str(uuid.UUID(int=7)),
        created_at=NOON,
        actor=ACTOR,
        identity="",
        baseline="live",
        input_sha256="ab" * 32,
        columns=tuple(columns),
        kind=kind,
    )
    calls.begin(ledger, run)
    calls.add(ledger, run.id, planned)
    total = len(planned) + unchanged
    calls.seal(
        ledger,
        run.id,
        input_rows=total,
        unchanged=unchanged,
        plan_s=1.5,
        summary=PlanSummary.from_json(details or {}),
        now=NOON,
    )
    return ledger.run(run.id)


def send(ledger: SqliteLedger, run: Run, *outcomes: Outcome, also_claim: int = 0, ends: bool = True) -> Run:
    """Claim a row for each outcome, and some more that stay in flight."""
    calls.start_session(ledger, run.id, ACTOR, NOON)
    if outcomes or also_claim:
        calls.claim(ledger, run.id, len(outcomes) + also_claim, now=NOON + 1)
    calls.record(ledger, run.id, outcomes, now=NOON + 2.5)
    if ends:
        calls.end_session(ledger, run.id, now=NOON + 3, by_itself=True)
    return ledger.run(run.id)


def applied(row: int) -> Outcome:
    """Return the outcome of a row that went through."""
    return Outcome(row=row, state=State.APPLIED, attempts=1, http_status=200)


def rejected(row: int, *fields: str) -> Outcome:
    """Return the outcome of a row that the API refused."""
    code = "BAD_REQUEST_BODY"
    return Outcome(
        row=row, state=State.REJECTED, reason=code, api_code=code, http_status=422, attempts=1, fields=fields
    )


def read_csv(path: Path) -> list[list[str]]:
    """Read a CSV file strictly, the header first; files for people begin with a byte order mark."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, strict=True))


def read_dicts(path: Path) -> list[dict[str, str]]:
    """Read a CSV file strictly, each row by column."""
    header, *lines = read_csv(path)
    return [dict(zip(header, line, strict=True)) for line in lines]
