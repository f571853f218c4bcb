"""What `--json` prints: one document on stdout, in the words of summary.json and results.csv. Values are masked.

Keys are kept from version to version; new ones may come.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bulk_patch.cli.printing import say
from bulk_patch.errors import BulkPatchError
from bulk_patch.ledgers.records import Drift, LedgerRow, Run
from bulk_patch.reports.next_command import NextCommand
from bulk_patch.reports.rows import COLUMNS, FieldChange, result_of
from bulk_patch.words import utc_text

if TYPE_CHECKING:
    from bulk_patch.reports.customer_history import Entry
    from bulk_patch.workflows.status import RunStatus
    from bulk_patch.workflows.verify import Verification


def print_document(document: Mapping[str, Any]) -> None:
    """Print a document on stdout."""
    say(_to_json(document, indent=2))


def print_rows(head: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], *, name: str = "rows") -> None:
    """Print a document with a list, which may be long: each of its parts is printed as it comes.

    Args:
        head: What stands above the list.
        rows: The list.
        name: Its key.
    """
    say(f"{_to_json(head)[:-1]}{', ' if head else ''}{json.dumps(name)}: [", end="")
    separator = "\n  "
    for row in rows:
        say(f"{separator}{_to_json(row)}", end="")
        separator = ",\n  "
    say("\n]}")


def error_document(error: BulkPatchError, following: NextCommand) -> dict[str, Any]:
    """Return why there is nothing else to print."""
    document: dict[str, Any] = {"exit_code": int(error.exit_code), "error": error.message, "hint": error.hint}
    return document | {"next": following.command}


def status_document(status: "RunStatus") -> dict[str, Any]:
    """Return how far a run is: summary.json as of now, rows still to be tried, and who holds the ledger."""
    holder = status.holder
    return status.summary.as_json() | {
        "kind": status.run.kind,
        "to_do": status.to_do,
        "shares_rate_with": [asdict(one) for one in status.sharing],
        "holder": None if holder is None else {**asdict(holder), "started_at": utc_text(holder.started_at)},
    }


def row_document(row: LedgerRow, changes: Sequence[FieldChange]) -> dict[str, Any]:
    """Return a row as results.csv has it, with before and after of each field; null: before is not known."""
    document: dict[str, Any] = dict(zip(COLUMNS, result_of(row), strict=True))
    document["fields"] = list(row.fields)
    document["hint"] = row.hint
    document["changes"] = [{"field": name, "before": old, "after": new} for name, old, new in changes]
    return document


def entry_document(entry: "Entry", changes: Sequence[FieldChange]) -> dict[str, Any]:
    """Return what one run did, or would have done, to one customer."""
    run = entry.run
    return {
        **_run_facts(run),
        "planned_by": run.actor.operator,
        "approved_by": list(entry.approvers),
        "sent_by": list(entry.senders),
        "why": entry.reason,
        "ticket": entry.ticket,
        **row_document(entry.row, changes),
        "verified_at": utc_text(entry.checked_at),
        "drift": None if entry.drift is None else _drift(entry.drift),
    }


def verification_document(
    run: Run, done: "Verification", drifts: Iterable[Drift], *, following: NextCommand
) -> dict[str, Any]:
    """Return what reading back the applied rows of a run found."""
    return {
        **_run_facts(run),
        "exit_code": int(done.exit_code),
        "rows": done.rows,
        "left": done.left,
        "drifted": done.drifted,
        "superseded": done.superseded,
        "fields": dict(done.fields),
        "in_part": dict(done.in_part),
        "drifts": [_drift(drift) for drift in drifts],
        "stop": None if done.stop is None else {"reason": done.stop.reason, "hint": done.stop.hint},
        "next": following.command,
    }


def _run_facts(run: Run) -> dict[str, Any]:
    return {"run": run.id, "job": run.job, "target": run.target, "kind": run.kind}


def _drift(drift: Drift) -> dict[str, Any]:
    return {
        "row": drift.row,
        "customer_id": drift.customer_id,
        "reason": drift.reason,
        "fields": [
            {"field": each.name, "sent": each.planned, "found": each.found, "superseded_by": each.superseded_by}
            for each in drift.fields
        ],
    }


def _to_json(document: Mapping[str, Any], *, indent: int | None = None) -> str:
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()  # an old locale has no dots for masks
    return json.dumps(document, ensure_ascii=not encoding.startswith("utf"), allow_nan=False, indent=indent)
