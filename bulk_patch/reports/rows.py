"""What a report says about a row: its status, reason, hint and changes. Pure, except that it reads rows."""

import json
import re
from collections import Counter
from collections.abc import Mapping

from bulk_patch.files.rows import Cell
from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import LedgerRow, Run
from bulk_patch.model import REACHED, State
from bulk_patch.targets import Target
from bulk_patch.words import utc_text

FieldChange = tuple[str, str | None, str]  # field, before (None: not known), after; "" is absent


#: Columns of results.csv; exports start with them.
COLUMNS = (
    *("row", "customer_id", "status", "reason", "fields", "attempts", "http_status", "api_code"),
    *("idempotency_key", "sent_at", "done_at"),
)


#: What failures.csv adds to the input's own columns; as an input, columns that start with `_` are ignored.
NOTES = ("_status", "_reason", "_hint", "_row", "_run")


#: What a person can do about a row that has failed.
ADVICE: Mapping[State, str] = {
    State.PENDING: "not sent yet: run the job again",
    State.UNKNOWN: "run the job again; once it is given up, look at the record and retry the run",
    State.REJECTED: "correct the row and run this file, or retry the run once the cause is fixed",
    State.MISMATCH: "the API accepted it but shows another value: look at the record; the row is not sent again",
    State.DRIFTED: "someone has changed the record since the plan: look at it, then run this file",
    State.INVALID: "correct the row and run this file",
    State.KEPT: "someone has changed the record since: look at it, nothing was undone",
}


_MOST_CAUSES = 20_000


_PLACES = re.compile(r" \((cell [A-Z]+|Excel row )\d+\)")
_OTHER_ROWS = re.compile(r"\brow \d+(, \d+)*( and \d+ more)?")


def find_causes(ledger: RunReader, run: Run, *, most: int | None = None) -> list[tuple[str, int]]:
    """Group the rows that need a person by what happened to them; rows still to be sent are left out.

    Args:
        ledger: Holds the run.
        run: The run.
        most: How many groups to return; None: all.

    Returns:
        Status with reason and hint, and how many rows, the most frequent first.
    """
    causes: Counter[str] = Counter()
    for row in ledger.rows(run.id, states=[state for state in State if state not in REACHED | {State.PENDING}]):
        hint = f" ({merge_rows(row.hint)})" if row.hint else ""
        causes[f"{status_of(row)}: {merge_rows(row.reason)}{hint}"] += 1
        if len(causes) > _MOST_CAUSES:  # usually the causes are few
            causes = Counter(dict(causes.most_common(_MOST_CAUSES // 2)))
    return causes.most_common(most)


def merge_rows(reason: str) -> str:
    """Make reasons and hints equal that differ only in the rows or cells they name."""
    return _OTHER_ROWS.sub("another row", _PLACES.sub("", reason))


def status_of(row: LedgerRow) -> State:
    """Return a row's status in reports: a row in flight is `unknown` until its outcome is recorded."""
    return State.UNKNOWN if row.state is State.SENDING else row.state


def result_of(row: LedgerRow) -> tuple[Cell, ...]:
    """Return the cells of results.csv, in the order of `COLUMNS`."""
    return (
        row.row,
        row.customer_id,
        str(status_of(row)),
        row.reason,
        ";".join(row.fields),
        row.attempts,
        row.http_status,
        row.api_code,
        row.key,
        utc_text(row.first_intent_at),
        utc_text(row.done_at),
    )


def hint_on(row: LedgerRow, run: Run) -> str:
    """Return what a person can do about a row that has failed."""
    status = status_of(row)
    if status is State.PENDING and run.state == "closed":
        return "never sent: --new closed this run"
    if status in (State.INVALID, State.KEPT) and row.hint:  # more specific than the general advice
        return row.hint
    return "; ".join(filter(None, (row.hint, ADVICE[status])))


def notes_on(row: LedgerRow, run: Run) -> tuple[Cell, ...]:
    """Return what failures.csv adds to a row, in the order of `NOTES`."""
    return str(status_of(row)), reason_on(row, run), hint_on(row, run), row.row, run.id


def reason_on(row: LedgerRow, run: Run) -> str:
    """Return why a row did not reach its goal, also where nothing was met on the way there."""
    if row.reason:
        return row.reason
    if row.state is State.SENDING:
        return "it was being sent when this was written: its outcome is not recorded"
    if row.state is State.PENDING:
        return f"not sent: {run.stop_reason}" if run.stop_reason else "not sent"
    return f"it ended {status_of(row)}"


def changes_of(row: LedgerRow, target: Target, *, reveal: bool) -> list[FieldChange]:
    """Return what a row changes, field by field, masked.

    Args:
        row: The row; one that is not to be sent changes nothing.
        target: Knows the fields and their masks.
        reveal: Show whole values.
    """
    if row.body is None:
        return []
    after = target.evidence.flatten(json.loads(row.body), objects=row.fields)
    image = json.loads(row.before) if row.before is not None else {}
    before = target.evidence.flatten(image, objects=row.fields)
    changes: list[FieldChange] = []
    for name in row.fields:
        field = target.field(name)
        known = name.partition(".")[0] in image
        old, new = (before.get(name, "") if known else None), after.get(name, "")
        if not reveal:
            mask = field.mask if field is not None else _hide
            old, new = (mask(old) if old is not None else None), mask(new)
        changes.append((name, old, new))
    return changes


def _hide(text: str) -> str:
    return "•••" if text else ""
