"""From the ledger to files: results.csv, failures.csv and summary.json.

Everything is streamed row by row, and each file takes its place whole or not at all. What is for people is escaped, so
that a spreadsheet runs nothing; failures.csv is fed back, so its cells stay as they were read.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulk_patch.errors import Exit, LedgerError
from bulk_patch.files.atomic import Cell, csv_line_writer, escape, make_private_folder, replacing
from bulk_patch.ledgers import Ledger, LedgerRow, Run, SendingSession
from bulk_patch.ledgers.undos import undos_of
from bulk_patch.model import REACHED, REPORTED, Counts, State
from bulk_patch.observe.totals import Stats
from bulk_patch.review.approvals import Note, approvals_of
from bulk_patch.targets import Target

Change = tuple[str, str | None, str]  # field, before (None: not known), after; "" is absent

RESULTS = "results.csv"
FAILURES = "failures.csv"
SUMMARY = "summary.json"
PAGE = "report.html"
VERIFIED = "verified"  # action of the note of a `verify` that came to its end

#: Columns of results.csv; exports begin with them.
COLUMNS = (
    *("row", "customer_id", "status", "reason", "fields", "attempts", "http_status", "api_code"),
    *("idempotency_key", "sent_at", "done_at"),
)
#: What failures.csv adds to the input's own columns; a re-read ignores columns that begin with `_`.
NOTES = ("_status", "_reason", "_hint", "_row", "_run")

#: What a person can do about a row that did not reach its goal.
ADVICE: Mapping[State, str] = {
    State.PENDING: "not sent yet: run the job again",
    State.UNKNOWN: "run the job again; if it is given up, look at the customer and retry the run",
    State.REJECTED: "correct the row and run this file; or retry the run once the cause is gone",
    State.MISMATCH: "the API accepted it and shows another value: look at the customer, it is not sent again",
    State.DRIFTED: "someone changed the customer since the plan: look at it, then run this file",
    State.INVALID: "correct the row and run this file",
    State.KEPT: "someone changed the customer since: look at it, nothing was undone",
}

_MOST_CAUSES = 20_000
_OTHER_ROWS = re.compile(r"\brow \d+(, \d+)*( and \d+ more)?")
_FROM_ROWS = frozenset({Exit.OK, Exit.NEEDS_PERSON, Exit.INCOMPLETE})
_ANSWERED = (State.APPLIED, State.REJECTED, State.MISMATCH)  # each of them by a PATCH at least

# --- the summary


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What became of a run: the content of summary.json. Times are RFC 3339 in UTC, None: not yet.

    Attributes:
        run: The run's id.
        job: The job's name.
        target: Kind, base URL and resource; the sandbox is a target of its own.
        state: `planned`, `running`, `complete` (nothing is left to try), `incomplete` or `stopped`.
        exit_code: Of the last session, see `Exit`; None while one is going on.
        input_rows: Rows of the input, the sum of all counts.
        counts: Rows for every status, zeros included.
        timings: `plan_s`, `send_s`, `requests`, `requests_per_s`, and latencies `p50_ms`, `p99_ms` of a PATCH.
        rate: `limit_per_s` (None: unlimited), `achieved_per_s`, `throttled` (429s received).
        plan_sha256: Hash of the sealed plan.
        input_sha256: Hash of the input.
        started_at: First change sent.
        finished_at: End of the last session.
        next: What to type next, "" when nothing is left to do.
        approvals: Who approved the plan: `operator`, `login`, `host`, `at`, `expires_at`, and `signed_by` ("" when it
            is not signed: a record, not a proof).
        verified: What the last `verify` that came to its end found: `operator`, `at`, `rows`, `drifted`, `fields`
            (drifted fields, how often) and `in_part` (fields that the API masks or never shows, in how many rows).
        undone_by: Undos that have taken rows of it back: `run`, `rows` so far, and `of` how many applied rows.
        killed: Sessions that were killed; they kept no count of their last second, so `requests` is "at least".
    """

    run: str
    job: str
    target: str
    state: str
    exit_code: int | None
    input_rows: int
    counts: Mapping[str, int]
    timings: Mapping[str, float | int | None]
    rate: Mapping[str, float | int | None]
    plan_sha256: str
    input_sha256: str
    started_at: str | None
    finished_at: str | None
    next: str = ""
    approvals: Sequence[Mapping[str, Any]] = ()
    verified: Mapping[str, Any] = field(default_factory=dict)
    undone_by: Sequence[Mapping[str, Any]] = ()
    killed: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON values; those after `next` are there when there is something to tell."""
        told = {"approvals", "verified", "undone_by", "killed"}
        return {name: value for name, value in asdict(self).items() if value or name not in told}


def summarise(ledger: Ledger, run: Run, *, running: bool = False, next_command: str = "") -> RunSummary:
    """Say what became of a run so far.

    Args:
        ledger: Holds the run.
        run: The run; its facts are read again, since some of them change while it is sent.
        running: A process is sending it now.
        next_command: What to type next.

    Raises:
        LedgerError: When the rows of a sealed run do not sum up to its input's.
    """
    run = ledger.run(run.id)
    counts = fold_counts(ledger.counts(run.id))
    to_do = ledger.to_do(run.id)
    if run.state != "planning" and sum(counts.values()) != run.input_rows:
        raise _unbalanced(run, sum(counts.values()))
    state = _state_of(run, to_do=to_do, running=running)
    stats = Stats.from_json(run.stats)
    notes = ledger.notes(run.id)
    killed = count_killed(ledger.sessions(run.id), running=running)
    undos = undos_of(ledger, run)
    return RunSummary(
        run=run.id,
        job=run.job,
        target=run.target,
        state=state,
        exit_code=None if running else _exit_code_of_run(run, state, exit_code_of(counts, to_do=to_do)),
        input_rows=run.input_rows,
        counts={str(status): number for status, number in counts.items()},
        timings={
            "plan_s": round(run.plan_s, 3),
            "send_s": round(stats.send_s, 3),
            "requests": max(stats.requests, sum(counts[state] for state in _ANSWERED)) if killed else stats.requests,
            "requests_per_s": stats.requests_per_s,
            "p50_ms": stats.percentile_ms(0.5),
            "p99_ms": stats.percentile_ms(0.99),
        },
        rate={
            "limit_per_s": stats.limit_per_s,
            "achieved_per_s": stats.requests_per_s,
            "throttled": stats.throttled,
        },
        plan_sha256=run.plan_sha256,
        input_sha256=run.input_sha256,
        started_at=utc_text(run.started_at),
        finished_at=None if running else utc_text(run.finished_at),
        next="" if undos and not to_do else next_command,  # its failures.csv asks for what was taken back
        approvals=[approval.as_json() for approval in approvals_of(notes)],
        verified=_last_check(notes),
        undone_by=[asdict(its) for its in undos],
        killed=killed,
    )


def count_killed(sessions: Sequence[SendingSession], *, running: bool) -> int:
    """Return how many sessions recorded no end; when a process sends now, the last one goes on."""
    return sum(its.ended_at is None for its in (sessions[:-1] if running else sessions))


def _last_check(notes: Sequence[Note]) -> dict[str, Any]:
    """Return what the last `verify` that came to its end found; nothing where none did."""
    for at, actor, action, detail in reversed(notes):
        if action == VERIFIED:
            found = {name: detail[name] for name in ("rows", "drifted", "fields", "in_part") if name in detail}
            return {"operator": actor.operator, "at": utc_text(at), **found}
    return {}


def exit_code_of(counts: Counts, *, to_do: int) -> Exit:
    """Return the exit code that the rows alone stand for: 0, 3 or 4.

    Args:
        counts: Rows per state.
        to_do: Rows still to be tried.
    """
    if to_do:
        return Exit.INCOMPLETE
    return Exit.NEEDS_PERSON if any(n for state, n in counts.items() if state not in REACHED) else Exit.OK


def fold_counts(counts: Counts) -> Counts:
    """Return rows for every reported status: what is in flight is `unknown` until its outcome is recorded."""
    folded: Counts = {state: counts.get(state, 0) for state in REPORTED}
    folded[State.UNKNOWN] += counts.get(State.SENDING, 0)
    return folded


def utc_text(time_s: float | None) -> str | None:
    """Return Unix seconds as RFC 3339 text in UTC."""
    if time_s is None:
        return None
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _state_of(run: Run, *, to_do: int, running: bool) -> str:
    if running:
        return "running"
    if run.stopped_by:
        return "stopped"
    if run.state == "planning":
        return "incomplete"
    if not to_do:
        return "complete"
    return "planned" if run.started_at is None else "incomplete"


def _exit_code_of_run(run: Run, state: str, from_rows: Exit) -> Exit:
    """Return what the last session ended with, as far as it still holds."""
    code = run.exit_code
    if code is None:
        return {"stopped": Exit.STOPPED, "planned": Exit.OK}.get(state, from_rows)
    # A session that was killed since left no code, but other rows, and its `--continue` lifted the stop.
    outdated = code in _FROM_ROWS or (code == Exit.STOPPED and not run.stopped_by)
    return from_rows if outdated and run.started_at is not None else Exit(code)


def _unbalanced(run: Run, rows: int) -> LedgerError:
    what = f"report does not balance: run {run.id} accounts for {rows} rows, and its input has {run.input_rows}"
    return LedgerError(what, "Keep the ledger as it is and report this.")


# --- the files of a run


def write_reports(
    ledger: Ledger,
    run: Run,
    folder: Path,
    *,
    next_command: str,
    running: bool = False,
    page: Callable[[RunSummary], object] | None = None,
) -> RunSummary:
    """Write results.csv, failures.csv and summary.json of a sealed run.

    Args:
        ledger: Holds the run.
        run: The run.
        folder: Where to, usually `output/<job>/<run>`; made when it is not there, and closed to others.
        next_command: What to type next.
        running: A process is sending it now.
        page: Writes the page for people; before summary.json, which says that all is there.

    Returns:
        What summary.json says.

    Raises:
        LedgerError: When the disk fails, or the report does not balance.
    """
    run = ledger.run(run.id)
    make_private_folder(folder)
    with replacing(folder / RESULTS) as results, replacing(folder / FAILURES) as failures:
        write_result, write_failure = csv_line_writer(results), csv_line_writer(failures)
        added = [at for at, name in enumerate(NOTES) if name not in run.columns]  # one may be mapped to a field
        write_result(COLUMNS)
        write_failure([*run.columns, *(NOTES[at] for at in added)])
        rows = run.unchanged
        for row in ledger.rows(run.id):
            rows += 1
            write_result(map(escape, result_of(row)))
            if row.state not in REACHED:
                notes = _notes_on(row, run)
                write_failure([*json.loads(row.cells.decode()), *[notes[at] for at in added]])
        if rows != run.input_rows:
            raise _unbalanced(run, rows)
    summary = summarise(ledger, run, running=running, next_command=next_command)
    if page is not None:
        page(summary)
    write_summary(summary, folder)
    return summary


def write_summary(summary: RunSummary, folder: Path) -> None:
    """Write summary.json.

    Raises:
        LedgerError: When the disk fails.
    """
    with replacing(folder / SUMMARY) as file:
        file.write(json.dumps(summary.as_json(), ensure_ascii=False, allow_nan=False, indent=2).encode() + b"\n")


def is_reported(ledger: Ledger, run: Run, folder: Path) -> bool:
    """Tell whether the files of a run say what the ledger says; a kill may have come before they were written."""
    try:
        told = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))  # written last
    except (OSError, ValueError):
        return False
    counts = {str(status): number for status, number in fold_counts(ledger.counts(run.id)).items()}
    return isinstance(told, dict) and told.get("counts") == counts


def find_causes(ledger: Ledger, run: Run, *, most: int | None = None) -> list[tuple[str, int]]:
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
        hint = f" ({row.hint})" if row.hint else ""
        causes[f"{status_of(row)}: {merge_rows(row.reason)}{hint}"] += 1
        if len(causes) > _MOST_CAUSES:  # the causes are few, but nobody promised it
            causes = Counter(dict(causes.most_common(_MOST_CAUSES // 2)))
    return causes.most_common(most)


def merge_rows(reason: str) -> str:
    """Make reasons alike that only name other rows."""
    return _OTHER_ROWS.sub("another row", reason)


def status_of(row: LedgerRow) -> State:
    """Return what a report calls a row's state: what is in flight is `unknown` until its outcome is recorded."""
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
    """Return what a person can do about a row that did not reach its goal."""
    status = status_of(row)
    if status is State.PENDING and run.state == "closed":
        return "never sent: --new closed this run"
    if status is State.INVALID and row.hint:  # says more than any general advice
        return row.hint
    return "; ".join(filter(None, (row.hint, ADVICE[status])))


def _notes_on(row: LedgerRow, run: Run) -> tuple[Cell, ...]:
    """Return what failures.csv adds to a row, in the order of `NOTES`."""
    return str(status_of(row)), row.reason, hint_on(row, run), row.row, run.id


# --- what a row changes


def changes_of(row: LedgerRow, target: Target, *, reveal: bool) -> list[Change]:
    """Return what a row changes, field by field, masked.

    Args:
        row: The row; one that was never to be sent changes nothing.
        target: Knows the fields and their masks.
        reveal: Show whole values.
    """
    if row.body is None:
        return []
    after = target.evidence.flatten(json.loads(row.body), objects=row.fields)
    image = json.loads(row.before) if row.before is not None else {}
    before = target.evidence.flatten(image, objects=row.fields)
    changes: list[Change] = []
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
