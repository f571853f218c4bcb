"""The summary of a run: what became of it, its exit code, and what comes next."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bulk_patch.errors import Exit, LedgerError
from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import Note, Run, SessionRecord
from bulk_patch.ledgers.undos import undos_of
from bulk_patch.model import REACHED, REPORTED, Counts, State
from bulk_patch.observe.totals import Totals
from bulk_patch.reports.next_command import NOTHING_NEXT, NextCommand
from bulk_patch.review.approvals import REPLACED, approvals_of
from bulk_patch.words import utc_text

VERIFIED = "verified"  # action of the note of a completed `verify`


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
        exit_code: Of the last session, see `Exit`; None while a session is running.
        input_rows: Rows of the input, the sum of all counts.
        counts: Rows for every status, zeros included.
        timings: `plan_s`, `send_s`, `requests`, `requests_per_s`, and latencies `p50_ms`, `p99_ms` of a PATCH.
        rate: `limit_per_s` (None: unlimited), `achieved_per_s`, `throttled` (429s, and 503s with Retry-After).
        plan_sha256: Hash of the sealed plan.
        input_sha256: Hash of the input.
        started_at: First change sent.
        finished_at: End of the last session.
        next: The command to type next, "" when nothing is left to do.
        before_next: What has to be done or waited for before `next`, "" when nothing.
        approvals: Who approved the plan: `operator`, `login`, `host`, `at`, `expires_at`, and `signed_by` ("" when it
            is not signed: recorded, not cryptographically proven).
        verified: Found by the last completed `verify`: `operator`, `at`, `rows`, `drifted`, `fields`
            (drifted fields, how often) and `in_part` (fields that the API masks or never shows, how many rows).
        undone_by: Undos of the run: `run`, undone `rows` so far, and `of` how many applied rows.
        held_back_by: What kept the rate from being higher, "" where that is not known; for screens and pages only.
        chain_head: The hash of the ledger's last event; kept elsewhere, it shows later that none was changed.
        killed: Sessions that were killed; the requests of their last second are not counted: "at least".
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
    before_next: str = ""
    approvals: Sequence[Mapping[str, Any]] = ()
    verified: Mapping[str, Any] = field(default_factory=dict)
    undone_by: Sequence[Mapping[str, Any]] = ()
    held_back_by: str = ""
    killed: int = 0
    chain_head: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON values; the keys after `next` only where they are not empty."""
        optional = {"before_next", "approvals", "verified", "undone_by", "killed", "chain_head"}
        shown = {name: value for name, value in asdict(self).items() if value or name not in optional}
        del shown["held_back_by"]
        return shown


def summarise(
    ledger: RunReader, run: Run, *, running: bool = False, next_command: NextCommand = NOTHING_NEXT
) -> RunSummary:
    """Summarise a run as it is now.

    Args:
        ledger: Holds the run.
        run: The run; it is read again, since some of it changes while it is sent.
        running: A process is sending it now.
        next_command: What to type next.

    Raises:
        LedgerError: When the rows of a sealed run do not sum up to its input's.
    """
    run = ledger.run(run.id)
    counts = fold_counts(ledger.counts(run.id))
    to_do = ledger.to_do(run.id)
    if run.state != "planning" and sum(counts.values()) != run.input_rows:
        raise unbalanced(run, sum(counts.values()))
    state = _state_of(run, to_do=to_do, running=running)
    stats = Totals.from_json(run.stats)
    notes = ledger.notes(run.id)
    killed = count_killed(ledger.sessions(run.id), running=running)
    undos = undos_of(ledger, run)
    if undos and not to_do:  # its failures.csv asks for what was undone
        next_command = NOTHING_NEXT
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
        next=next_command.command,
        before_next=next_command.before,
        approvals=[approval.as_json(run, notes) for approval in approvals_of(notes)],
        verified=_last_check(notes),
        undone_by=[asdict(undo) for undo in undos],
        held_back_by=stats.held_back_by,
        killed=killed,
        chain_head=ledger.head(),
    )


def count_killed(sessions: Sequence[SessionRecord], *, running: bool) -> int:
    """Return how many sessions have no recorded end; while a process sends, the last one does not count."""
    return sum(session.ended_at is None for session in (sessions[:-1] if running else sessions))


def _last_check(notes: Sequence[Note]) -> dict[str, Any]:
    """Return what the last completed `verify` found; nothing where there is none."""
    for note in reversed(notes):
        if note.action == VERIFIED:
            names = ("rows", "drifted", "fields", "in_part")
            found = {name: note.detail[name] for name in names if name in note.detail}
            return {"operator": note.actor.operator, "at": utc_text(note.at), **found}
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


def _state_of(run: Run, *, to_do: int, running: bool) -> str:
    if running:
        return "running"
    if run.stop_reason.startswith(REPLACED):
        return "replaced"
    if run.stopped_by:
        return "stopped"
    if run.state == "planning":
        return "incomplete"
    if not to_do:
        return "complete"
    return "planned" if run.started_at is None else "incomplete"


def _exit_code_of_run(run: Run, state: str, from_rows: Exit) -> Exit | None:
    """Return what the last session ended with, as far as it still holds; None: of a plan that nobody ended."""
    code = run.exit_code
    if code is None and run.state == "planning":
        return None
    if code is None:
        return {"stopped": Exit.STOPPED, "planned": Exit.OK}.get(state, from_rows)
    # A session killed since then has left other rows but no code, and its `--continue` waived the stop.
    outdated = code in _FROM_ROWS or (code == Exit.STOPPED and not run.stopped_by)
    return from_rows if outdated and run.started_at is not None else Exit(code)


def unbalanced(run: Run, rows: int) -> LedgerError:
    what = f"the report does not balance: run {run.id} accounts for {rows} rows, its input has {run.input_rows}"
    return LedgerError(what, "Keep the ledger as it is and report this.")
