"""Write report.html: one file for people, which loads nothing, runs only its own script, and can be printed.

page.py       what the page says, and writing it
rows.py       rows, grouped by cause, as text and as data
events.py     the timeline
template.py   the template with its style and script, and the policy that allows nothing else
plots.py      the run over time
templates/    report.html.j2 with report.css and report.js, both put into the page
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bulk_patch.errors import Exit
from bulk_patch.files.atomic import REVEALED_PAGE, explaining, remove_draft, replacing
from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import MOST_SESSIONS, Note, Run
from bulk_patch.ledgers.undos import Undone
from bulk_patch.model import State
from bulk_patch.observe.totals import Totals
from bulk_patch.reports.files import PAGE, is_reported, write_reports, write_summary
from bulk_patch.reports.html.events import list_events, verified_words, who_words, why_words
from bulk_patch.reports.html.plots import draw
from bulk_patch.reports.html.rows import (
    FEWEST_PRINTED,
    MOST_PRINTED,
    MOST_ROWS,
    Drifted,
    PageContext,
    data,
    gather,
    gather_drifted,
)
from bulk_patch.reports.html.template import policy, style_and_script, template
from bulk_patch.reports.next_command import NextCommand
from bulk_patch.reports.summary import VERIFIED, RunSummary, summarise
from bulk_patch.review.approvals import (
    REPLACED,
    Approval,
    approval_words,
    approvals_of,
    find_objection,
    key_of_plan,
    waits_for_approval,
    worth_words,
)
from bulk_patch.targets import Target
from bulk_patch.words import amount, duration_words, milliseconds_words, time_words

_COLUMNS = (
    *(("row", "Row"), ("customer", "{noun}"), ("status", "Status"), ("changes", "Changes")),
    *(("reason", "Why, and what to do"), ("sent", "Sent")),
)
_MEANINGS: Mapping[State, str] = {
    State.APPLIED: "the API holds the planned values",
    State.UNCHANGED: "nothing to change: the {noun} already has these values",
    State.DUPLICATE: "another row carries the same change",
    State.PENDING: "not sent",
    State.UNKNOWN: "sent, and not yet known whether it was applied",
    State.REJECTED: "the API refused it",
    State.MISMATCH: "accepted, but a read shows another value",
    State.DRIFTED: "someone has changed the {noun} since the plan; not sent",
    State.INVALID: "the row breaks a rule; not sent",
    State.KEPT: "an undo took this value back; not sent",
}
_MEANINGS_OF_UNDO: Mapping[State, str] = {
    State.KEPT: "someone has changed the {noun} since; not undone",
    State.APPLIED: "undone: the API holds the previous values",
    State.UNCHANGED: "nothing to undo: the {noun} already has the previous values",
    State.DRIFTED: "someone has changed the {noun} since the undo was planned; not undone",
    State.INVALID: (
        "cannot be undone: the old value is masked or not known, or the field was absent and input.may_clear does not "
        "name it; nothing was sent"
    ),
}
_ALWAYS_TOLD = frozenset({State.APPLIED, State.UNCHANGED})


def write_files(
    ledger: RunReader, run: Run, folder: Path, *, target: Target, next_command: NextCommand, running: bool = False
) -> RunSummary:
    """Write all files of a sealed run, summary.json last.

    Args:
        ledger: Holds the run.
        run: The run.
        folder: Where to, usually `output/<job>/<run>`.
        target: Knows the fields and their masks.
        next_command: What to type next.
        running: A process is sending it now.

    Raises:
        LedgerError: When the disk fails, or the report does not balance.
    """
    page = partial(write_page, ledger, run, folder, target=target)
    return write_reports(ledger, run, folder, next_command=next_command, running=running, page=page)


def write_page(
    ledger: RunReader,
    run: Run,
    folder: Path,
    summary: RunSummary,
    *,
    target: Target,
    revealed_by: str = "",
    most_rows: int = MOST_ROWS,
) -> Path:
    """Write report.html, which is always masked; with whole values report-revealed.html, for its owner alone.

    report-revealed.html shows one moment: it is removed whenever report.html is written again.

    Args:
        ledger: Holds the run.
        run: The run.
        folder: Of the run.
        summary: The summary, as in summary.json.
        target: Knows the fields and their masks.
        revealed_by: Who asked for whole values, as recorded in the ledger; "": they are masked.
        most_rows: Rows in its table at most.

    Returns:
        The file.

    Raises:
        LedgerError: When the disk fails.
    """
    view = PageContext(ledger, ledger.run(run.id), target, reveal=bool(revealed_by))
    path = folder / (REVEALED_PAGE if view.reveal else PAGE)
    with replacing(path, for_team=not view.reveal) as file:
        for piece in _render(view, summary, revealed_by=revealed_by, most_rows=most_rows):
            file.write(piece.encode())
    if not view.reveal:
        with explaining(folder / REVEALED_PAGE):
            (folder / REVEALED_PAGE).unlink(missing_ok=True)
            remove_draft(folder / REVEALED_PAGE)
    return path


def retell(ledger: RunReader, undone: Run, job_folder: Path, *, target: Target) -> None:
    """Update the page and summary.json of an undone run; its failures.csv stays, since someone may be correcting it.

    Args:
        ledger: Holds the run.
        undone: The run.
        job_folder: Holds the folder of the run.
        target: Knows the fields and their masks.

    Raises:
        LedgerError: When the disk fails.
    """
    folder = job_folder / undone.id
    summary = summarise(ledger, undone)
    if summary.undone_by and is_reported(ledger, undone, folder):  # else its files have to be written anyway
        write_page(ledger, undone, folder, summary, target=target)
        write_summary(summary, folder)


def _render(view: PageContext, summary: RunSummary, *, revealed_by: str, most_rows: int) -> Iterator[str]:
    from markupsafe import Markup

    css, script = style_and_script()
    run, notes = view.run, view.ledger.notes(view.run.id)
    stats = Totals.from_json(run.stats)
    gathered = gather(view)
    plots = draw(stats.series, sent_for_s=stats.send_s, limit_per_s=stats.limit_per_s)
    listed = summary.input_rows - summary.counts[State.UNCHANGED]
    words: dict[str, Any] = {
        "policy": policy(css, script),
        "css": Markup(css),
        "script": Markup(script),
        "summary": summary,
        "title": f"{run.job} {run.id}: {summary.state}",
        "heading": _heading(run),
        "lead": _lead(run, summary),
        "revealed_by": revealed_by,
        "undone": [Undone(**undo).words for undo in summary.undone_by],
        "stop": (_stop_words(run), run.stop_hint) if run.stop_reason else None,
        "warnings": run.summary.warnings,
        "facts": list(_facts(view, summary, notes)),
        "approvals": [_approval(approval, run, notes) for approval in approvals_of(notes)],
        "no_approval": _no_approval(run),
        "balance": _balance(view, summary),
        "balance_bar": _balance_bar(summary),
        "fields": _fields(run),
        "plots": [
            {"title": plot.title, "svg": Markup(plot.svg), "words": plot.words, "legend": plot.legend} for plot in plots
        ],
        "speed_words": _speed_words(summary),
        "gathered": gathered,
        "noun": view.target.noun,
        "columns": [(name, words.format(noun=view.target.noun.capitalize())) for name, words in _COLUMNS],
        "about_rows": list(_about_rows(view, summary, listed, most_rows)),
        "printed_words": _printed_words(listed, len(gathered.printed)),
        "events": list_events(view.ledger, run, notes, stats.series.pauses, running=summary.state == "running"),
        "more_events": _more_events(view),
        "hashes": list(_hashes(run, head=summary.chain_head)),
        "verified": [
            f"{time_words(note.at)}, {who_words(note.actor)}: {verified_words(note.detail)}"
            for note in notes
            if note.action == VERIFIED
        ],
        "drifted": gather_drifted(view),
        "drifted_words": _drifted_words,
        "written_at": time_words(time.time()),
        "data": map(Markup, data(view, most=most_rows)),
    }  # fmt: skip
    return template().generate(words)


# --- what was asked


def _heading(run: Run) -> str:
    if run.kind == "undo":
        return f"Undo {run.id} of run {run.summary.undoes}"
    return f"{'Plan' if run.started_at is None else 'Run'} {run.id}"


def _lead(run: Run, summary: RunSummary) -> str:
    pending = summary.counts[State.PENDING]
    if run.stop_reason.startswith(REPLACED):
        return f"This plan was {run.stop_reason}. Nothing of it was sent, and nothing will be."
    if run.started_at is None:
        return f"Nothing has been sent yet. {amount(pending, 'change')} would go to {run.target}."
    if summary.state == "running":
        return f"This run was being sent to {run.target} when this page was written."
    ended = "" if summary.exit_code is None else f" Exit code {summary.exit_code:d}: {Exit(summary.exit_code).words}."
    applied = summary.counts[State.APPLIED]
    return f"{amount(applied, 'change')} of {amount(summary.input_rows, 'row')} applied at {run.target}.{ended}"


def _stop_words(run: Run) -> str:
    if run.stop_reason.startswith(REPLACED):
        return f"It was {run.stop_reason}."
    if waits_for_approval(run):
        return f"It is {approval_words(run)}: {run.stop_reason}"
    return f"Stopped by {run.stopped_by}: {run.stop_reason}" if run.stopped_by else f"It ended early: {run.stop_reason}"


def _facts(view: PageContext, summary: RunSummary, notes: Sequence[Note]) -> Iterator[tuple[str, str]]:
    run, sessions, noun = view.run, view.ledger.sessions(view.run.id), view.target.noun
    reason, ticket = why_words(run, notes)
    yield "Job", run.job
    yield "Target", run.target
    if run.kind == "undo":
        yield "Undoes", f"the applied rows of run {run.summary.undoes}"
    if run.input_path:
        yield "Input", f"{Path(run.input_path).name}, {amount(run.input_rows, 'row')}"
        if run.summary.reading:
            yield "Input format", run.summary.reading
        for one in run.summary.conversions:
            failed = f"; {one.failed:,} cannot be converted" if one.failed else ""
            samples = "".join(f"; {count:,} × {old} → {new}" for old, new, count in one.samples)
            yield f"Converted: {one.column}", f"{one.rule}, {amount(one.rows, 'row')}{failed}{samples}"
    known = _BASELINES.get(run.baseline)
    yield "Compared with", known.format(noun=noun) if known else run.baseline
    yield "Planned", f"{time_words(run.created_at)}, {who_words(run.actor)}"
    yield "Reason", reason or "none given"
    yield "Ticket", ticket or "none given"
    if run.started_at is not None:
        yield "First sent", time_words(run.started_at)
        yield "Sent by", "; ".join(dict.fromkeys(who_words(session.actor) for session in sessions))
    if run.finished_at is not None and summary.state != "planned":
        yield "Last ended", time_words(run.finished_at)


_BASELINES = {
    "live": "the {noun}s as the API showed them",
    "file": "a file of {noun}s",
    "last-run": "what this job sent before",
    "none": "nothing: every row is a change",
}


def _approval(approval: Approval, run: Run, notes: Sequence[Note]) -> dict[str, str]:
    """Return an approval in words, with the objection against it, if any."""
    now = time.time() if run.started_at is None else approval.at  # once a run was sent, expiry no longer matters
    return {
        "who": who_words(approval.actor),
        "time": time_words(approval.at),
        "expires": time_words(approval.expires_at) if approval.expires_at else "",
        "rows": amount(approval.rows, "change"),
        "target": approval.target,
        "plan": approval.plan_sha256,
        "worth": "none: this approval is recorded, not cryptographically proven"
        if (worth := worth_words(approval, run, notes)).startswith("not signed")
        else worth,
        "lack": find_objection(
            approval, run, now=now, fault=lambda statement, approval: "", plan_key=key_of_plan(notes)
        ),
    }


def _no_approval(run: Run) -> str:
    if run.summary.needs_approval or waits_for_approval(run):
        return f"The job asks for approval, and no one other than {run.actor.operator} has approved this plan."
    return "The job does not ask for approval, and none was given."


# --- numbers


def _balance(view: PageContext, summary: RunSummary) -> list[tuple[str, int, str]]:
    meanings = {**_MEANINGS, **(_MEANINGS_OF_UNDO if view.run.kind == "undo" else {})}
    return [
        (str(state), summary.counts[state], meaning.format(noun=view.target.noun))
        for state, meaning in meanings.items()
        if summary.counts[state] or state in _ALWAYS_TOLD
    ]


def _balance_bar(summary: RunSummary) -> list[dict[str, str]]:
    """Return the shares of the rows, percent, each at least wide enough to be seen."""
    counted = [(str(state), summary.counts[state]) for state in _MEANINGS]
    shares = [(status, max(rows / summary.input_rows, 0.006)) for status, rows in counted if rows]
    scale, x, bars = 100 / sum(share for _, share in shares) if shares else 1.0, 0.0, []
    for status, share in shares:
        bars.append({"status": status, "x": f"{x:.2f}", "width": f"{share * scale:.2f}"})
        x += share * scale
    return bars


def _fields(run: Run) -> list[tuple[str, int, int, Sequence[Any]]]:
    """Return each field, the rows that change it and clear it, and its most frequent (before, after, rows)."""
    cleared, moves = run.summary.cleared, run.summary.transitions
    fields = run.summary.fields
    return [(name, rows, cleared.get(name, 0), moves.get(name, ())) for name, rows in fields.items()]


def _speed_words(summary: RunSummary) -> str:
    timings, rate = summary.timings, summary.rate
    words = "At least " if summary.killed else ""
    words += f"{amount(timings['requests'] or 0, 'request')} in {duration_words(timings['send_s'] or 0)} of sending"
    if rate["achieved_per_s"] is not None:
        words += f", {rate['achieved_per_s']:.1f} a second"
    words += f" of at most {rate['limit_per_s']:g}" if rate["limit_per_s"] is not None else ", without a limit"
    if timings["p50_ms"] is not None and timings["p99_ms"] is not None:
        half, most = milliseconds_words(timings["p50_ms"]), milliseconds_words(timings["p99_ms"])
        words += f". Half of the changes within {half}, 99 % within {most}"
    words += f". Throttled {amount(rate['throttled'] or 0, 'time')}."
    return f"{words} Held back by {summary.held_back_by}." if summary.held_back_by else words


def _about_rows(view: PageContext, summary: RunSummary, listed: int, most_rows: int) -> Iterator[str]:
    if unchanged := summary.counts[State.UNCHANGED]:
        yield f"{amount(unchanged, 'row')} unchanged: only counted, not listed."
    if listed > most_rows:
        yield (
            f"The table holds {most_rows:,} of {listed:,} rows, those that need a person first; "
            f"{listed - most_rows:,} are left out. results.csv has them all."
        )
    yield (
        "Whole values are shown."
        if view.reveal
        else ("Values are masked by each field's rule; report --reveal shows them, and the ledger records who asked.")
    )


def _drifted_words(drifted: Drifted) -> str:
    check = drifted.check
    so_far = "" if check.ended_at is not None else ", and the verify was not completed"
    words = f"Read back {time_words(check.started_at)} by {who_words(check.actor)}: {amount(check.drifted, 'row')}"
    more = f" The first {len(drifted.listed):,} of them are listed; verify lists all." if drifted.more else ""
    return f"{words} of {check.rows:,} had changed{so_far}.{more} Values are masked: they are stored that way."


def _printed_words(listed: int, printed: int) -> str:
    if not listed:
        return "There are no rows to list."
    if printed == listed:
        return f"All {amount(listed, 'row')}."
    if printed >= MOST_PRINTED:
        return f"The first {printed:,} rows that need a person; the others are in results.csv and failures.csv."
    return (
        f"Printed, or without a script, the page shows the rows that need a person, and others up to {FEWEST_PRINTED}: "
        f"{printed:,} of {listed:,}. results.csv has them all."
    )


def _more_events(view: PageContext) -> str:
    full = len(view.ledger.sessions(view.run.id)) >= MOST_SESSIONS
    return f"Only the last {MOST_SESSIONS} sessions are listed." if full else ""


def _hashes(run: Run, *, head: str) -> Iterator[tuple[str, str]]:
    for name, text in (
        ("Plan, SHA-256", run.plan_sha256),
        ("Input, SHA-256", run.input_sha256),
        ("Baseline, SHA-256", run.baseline_sha256),
        ("Head of the ledger when this page was written", head),
    ):
        if text:
            yield name, text
