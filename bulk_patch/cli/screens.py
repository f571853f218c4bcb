"""Screens: plan, end, status, runs and rows as plain text. Pure functions, no I/O.

All values are masked by the caller, and no text from a cell or an API can steer a terminal.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bulk_patch.cli.text import digits, join, must_fit, next_lines, numbered, safe, section, table, wrap
from bulk_patch.errors import Exit
from bulk_patch.ledgers.records import LedgerRow, PlanSummary, Run, Sample
from bulk_patch.ledgers.undos import Undone
from bulk_patch.model import Counts, State
from bulk_patch.observe.totals import Totals
from bulk_patch.reports.failures import FAILURES, failures_name
from bulk_patch.reports.files import PAGE, RESULTS, SUMMARY
from bulk_patch.reports.rows import FieldChange, merge_rows
from bulk_patch.reports.summary import RunSummary, fold_counts
from bulk_patch.review.approvals import REPLACED
from bulk_patch.words import amount, duration_words, milliseconds_words, time_words
from bulk_patch.workflows.status import RunStatus

#: In the order in which a person needs them.
_ORDER = (
    *(State.APPLIED, State.UNCHANGED, State.DUPLICATE, State.PENDING, State.UNKNOWN),
    *(State.REJECTED, State.MISMATCH, State.DRIFTED, State.INVALID, State.KEPT),
)
_ALWAYS = frozenset({State.APPLIED, State.UNCHANGED})
_SENT_NEVER = frozenset({State.UNCHANGED, State.DUPLICATE, State.INVALID, State.KEPT})
_FOR_A_PERSON = frozenset({State.REJECTED, State.MISMATCH, State.DRIFTED, State.INVALID, State.KEPT})
_UNSETTLED = frozenset({State.PENDING, State.SENDING, State.UNKNOWN})
_REASONS_SHOWN = 8
_CAUSES_SHOWN = 10
_TRANSITIONS_SHOWN = 3

# --- the plan


def plan_screen(run: Run, counts: Counts, *, rate_per_s: float | None, canary: int = 0, ids_per_read: int = 100) -> str:
    """Return what a person needs to decide whether to send.

    Args:
        run: The sealed run.
        counts: Rows per state.
        rate_per_s: Requests a second at most; None: unlimited.
        canary: How many of the first rows are sent one by one and read back.
        ids_per_read: Customers that are read again in one request before they are sent.
    """
    summary = run.summary
    lines = [*heading(f"plan {run.id}", run), f"  plan    {run.plan_sha256[:12]}"]
    lines += ["", *_count_lines(counts, {State.PENDING: "to send"}, shown={State.UNCHANGED, State.PENDING}), ""]
    reasons = _merge(summary.invalid)
    lines += section("invalid because", numbered(reasons, shown=_REASONS_SHOWN))
    lines += section("converted before the comparison", _conversion_lines(summary))
    lines += section("fields that change, in how many rows", _field_lines(summary))
    lines += section("fields to be cleared, in how many rows", numbered(summary.cleared.items()))
    samples = summary.samples
    lines += section("examples", [line for sample in samples for line in _sample_lines(sample)])
    lines += section("warnings", [line for warning in summary.warnings for line in wrap(warning, "  ")])
    lines += wrap(f"cost: {_cost(run, counts, rate_per_s, canary, ids_per_read)}")
    if run.stopped_by:
        lines += ["", *wrap(f"run would stop with exit code {Exit.STOPPED:d}: {run.stop_reason}")]
        lines += wrap(run.stop_hint, "  ")
    else:
        lines += _stop_lines(run)
    return join(lines)


def _field_lines(summary: PlanSummary) -> list[str]:
    """Return each field with its number of rows, and its most frequent transitions below."""
    fields = summary.fields
    places = digits(fields.values())
    lines: list[str] = []
    for name, rows in fields.items():
        lines.append(f"  {rows:>{places},}  {safe(name)}")
        moves = summary.transitions.get(name, ())[:_TRANSITIONS_SHOWN]
        lines += [f"  {'':>{places}}    {count:,} × {safe(old)} → {safe(new)}" for old, new, count in moves]
    return lines


def _conversion_lines(summary: PlanSummary) -> list[str]:
    """Return each converted column with its most frequent ways to write; letters stand as a, digits as 9."""
    lines: list[str] = []
    for one in summary.conversions:
        failed = f", {one.failed:,} cannot be converted" if one.failed else ""
        lines.append(f"  {safe(one.column)}  {safe(one.rule)}: {amount(one.rows, 'row')}{failed}")
        lines += [f"    {count:,} × {safe(old)} → {safe(new)}" for old, new, count in one.samples]
    return lines


def _sample_lines(sample: Sample) -> list[str]:
    return [f"  row {sample.row}  {safe(sample.customer_id)}", *change_lines(sample.changes)]


def _cost(run: Run, counts: Counts, rate_per_s: float | None, canary: int, ids_per_read: int) -> str:
    sends = counts.get(State.PENDING, 0)
    summary = run.summary
    recheck = summary.recheck
    alone = min(canary, recheck)  # the canary is sent row by row
    rechecks = alone - (-(recheck - alone) // ids_per_read)
    reads = rechecks + min(canary, sends) + min(sum(summary.cleared.values()), sends)
    text = f"{amount(sends, 'change')} to send"
    if reads:
        text += f" and up to {amount(reads, 'read')}"
    if not sends:
        text = "nothing to send"
    elif rate_per_s is None:
        text += ", as fast as the API answers"
    else:
        text += f", {duration_words((sends + reads) / rate_per_s)} at the limit of {rate_per_s:g} requests a second"
    made = summary.reads
    return f"{text}; planning made {amount(made, 'read')}" if made else text


# --- the end


def end_screen(
    summary: RunSummary,
    run: Run,
    *,
    folder: Path,
    causes: Sequence[tuple[str, int]] = (),
    plan_shown: bool = False,
) -> str:
    """Return how a run ended; `last_lines` come after it.

    Args:
        summary: What summary.json says.
        run: The run as the ledger has it after its session.
        folder: Where its files are, as seen from the current directory.
        causes: All of them, from `reports.rows.find_causes`.
        plan_shown: The screen of its plan stands above, and nothing has happened since: it is not said twice.
    """
    counts = {State(status): rows for status, rows in summary.counts.items()}
    lines = [*heading(f"run {run.id}: {summary.state}", run), *_approval_lines(summary), *_undo_lines(summary), ""]
    if plan_shown:
        lines = [*_approval_lines(summary), *_undo_lines(summary)]
    else:
        lines += [*_count_lines(counts, {}, shown=_ALWAYS), ""]
        lines += section("what needs a person", _cause_lines(causes))
    if summary.timings["requests"]:
        lines += wrap(_throughput(summary))
    names = ", ".join(dict.fromkeys((PAGE, RESULTS, FAILURES, failures_name(run), SUMMARY)))
    lines += [f"files: {safe(folder)}/ ({names})"]
    if not plan_shown and summary.exit_code not in (None, Exit.OK, Exit.NEEDS_PERSON):
        lines += _stop_lines(run)
    return join([*lines, ""])


def _cause_lines(causes: Sequence[tuple[str, int]]) -> list[str]:
    lines = numbered(causes[:_CAUSES_SHOWN])
    if rarer := causes[_CAUSES_SHOWN:]:
        rows = sum(count for _, count in rarer)
        lines += wrap(f"and {amount(rows, 'more row')} of {amount(len(rarer), 'rarer cause')}: see {FAILURES}", "  ")
    return lines


def last_lines(summary: RunSummary) -> str:
    """Return counts, the exit code in words, and the next command."""
    counts = {State(status): rows for status, rows in summary.counts.items()}
    lines = [f"ledger head: {summary.chain_head}"] if summary.chain_head else []
    lines.append(_one_line(counts, summary.input_rows))
    if summary.exit_code is not None:
        lines.append(f"exit code {summary.exit_code:d}: {Exit(summary.exit_code).words}")
    return join([*lines, *next_lines(summary.next, before=summary.before_next)])


def _one_line(counts: Counts, input_rows: int) -> str:
    shown = [f"{counts[state]:,} {state}" for state in _ORDER if counts.get(state) or state in _ALWAYS]
    return f"{', '.join(shown)}: {input_rows:,} input rows"


def _throughput(summary: RunSummary) -> str:
    timings, rate = summary.timings, summary.rate
    least = "at least " if summary.killed else ""
    text = f"{least}{amount(timings['requests'] or 0, 'request')} in {duration_words(timings['send_s'] or 0)}"
    text += _rate_words(summary)
    if timings["p50_ms"] is not None and timings["p99_ms"] is not None:
        half, most = milliseconds_words(timings["p50_ms"]), milliseconds_words(timings["p99_ms"])
        text += f"; half of the changes within {half}, 99 % within {most}"
    text += f"; throttled {amount(rate['throttled'] or 0, 'time')}"
    return f"{text}; held back by {summary.held_back_by}" if summary.held_back_by else text


def _rate_words(summary: RunSummary) -> str:
    achieved, limit = summary.rate["achieved_per_s"], summary.rate["limit_per_s"]
    if achieved is None:
        return ""
    return f", {achieved:.1f} a second" + (f" of at most {limit:g}" if limit is not None else ", no limit")


# --- status, runs, rows


def status_screen(status: RunStatus) -> str:
    """Return how far a run is, on one screen."""
    summary, run, holder = status.summary, status.run, status.holder
    counts, to_do = status.counts, status.to_do
    running = summary.state == "running"
    lines = [*heading(f"run {run.id}: {summary.state}", run), *_approval_lines(summary), *_undo_lines(summary)]
    if holder is not None:
        who = f"process {holder.pid} on {holder.host}" if holder.pid else "a process"
        since = f" since {time_words(holder.started_at)}" if holder.pid else ""
        lines.append(f"  {'sent' if running else 'ledger held'} by {safe(who)}{since}")
        if status.sharing:
            others = ", ".join(f"{safe(one.job)} (process {one.pid})" for one in status.sharing)
            lines += wrap(f"shares the rate {safe(run.terms['limits']['share'])!r} with {others}", "  ")
    elif run.finished_at is not None and run.started_at is not None:
        lines.append(f"  no process is sending it; the last one ended {time_words(run.finished_at)}")
    else:
        lines.append("  no process is sending it")
    shown = counts if running else fold_counts(counts)
    names = {State.SENDING: "in flight"} | ({} if run.started_at else {State.PENDING: "to send"})
    lines += ["", *_count_lines(shown, names, shown=_ALWAYS), ""]
    lines += wrap(_done(run, counts, to_do))
    if summary.timings["requests"]:
        lines += wrap(_throughput(summary))
    per_s = Totals.from_json(run.stats).lately_per_s or summary.rate["achieved_per_s"]
    if running and to_do and per_s:
        lines.append(f"{duration_words(to_do / per_s)} left")
    if run.stopped_by or summary.exit_code not in (None, Exit.OK, Exit.NEEDS_PERSON):
        lines += _stop_lines(run)
    if summary.exit_code is not None:
        lines.append(f"exit code {summary.exit_code:d}: {Exit(summary.exit_code).words}")
    return join([*lines, *next_lines(summary.next, before=summary.before_next)])


def _undo_lines(summary: RunSummary) -> list[str]:
    return [line for undo in summary.undone_by for line in wrap(Undone(**undo).words, "  ")]


def _approval_lines(summary: RunSummary) -> list[str]:
    """Return who approved the plan, and what that is worth."""
    return [
        f"  approved by {safe(approval['operator'])} until {approval['expires_at']}, {safe(approval['worth'])}"
        for approval in summary.approvals
    ]


def _done(run: Run, counts: Counts, to_do: int) -> str:
    total = sum(rows for state, rows in counts.items() if state not in _SENT_NEVER)
    if run.state == "planning":
        return "the plan is not sealed yet"
    if run.state == "closed":
        if run.stop_reason.startswith(REPLACED):
            return f"{run.stop_reason}: {amount(counts.get(State.PENDING, 0), 'change')} will never be sent"
        return f"closed by --new: {amount(counts.get(State.PENDING, 0), 'change')} will never be sent"
    if not total:
        return "nothing to send"
    done = total - to_do
    return f"{done:,} of {amount(total, 'change')} done, {1000 * done // total / 10} %"


def runs_screen(runs: Sequence[tuple[Run, Counts]]) -> str:
    """Return a table of runs, in the order given: their rows, and what became of them."""
    if not runs:
        return "no runs yet\n"
    lines: list[tuple[str, ...]] = [("run", "job", "rows", *_told({}), "state", "target", "kind")]
    for run, counts in runs:
        numbers = (f"{number:,}" for number in (run.input_rows, *_told(counts).values()))
        lines.append((run.id, run.job, *numbers, _short_state(run, counts), run.target, kind_words(run)))
    as_table = table(lines, right=range(2, 7))
    return join([line for run, counts in runs for line in _run_lines(run, counts)] if must_fit(as_table) else as_table)


def _told(counts: Counts) -> dict[str, int]:
    """Return what became of the rows of a run, in the words of the table."""
    return {
        "applied": counts.get(State.APPLIED, 0),
        "no change": counts.get(State.UNCHANGED, 0) + counts.get(State.DUPLICATE, 0),
        "unsettled": sum(counts.get(state, 0) for state in _UNSETTLED),
        "for a person": sum(counts.get(state, 0) for state in _FOR_A_PERSON),
    }


def _run_lines(run: Run, counts: Counts) -> list[str]:
    """Return a run on a narrow terminal: a line with its state, and two below it."""
    said = ", ".join(f"{number:,} {what}" for what, number in _told(counts).items() if number) or "nothing yet"
    lines = wrap(f"{run.id}  {run.job}  {_short_state(run, counts)}")
    lines += wrap(f"{amount(run.input_rows, 'row')}: {said}", "  ")
    kind = f", {kind_words(run)}" if run.kind == "undo" else ""
    return lines + wrap(f"{run.target}{kind}", "  ")


def kind_words(run: Run) -> str:
    """Say what a run is: of an input, or the undo of which run."""
    return f"undo of {run.summary.undoes}" if run.kind == "undo" else "run"


def _short_state(run: Run, counts: Counts) -> str:
    if run.state != "sealed":
        return run.stop_reason if run.stop_reason.startswith(REPLACED) else run.state
    if run.stopped_by:
        return "stopped"
    if run.started_at is None and counts.get(State.PENDING):
        return "planned"
    return "started" if run.exit_code is None else f"exit {run.exit_code}"


def show_screen(rows: Iterable[tuple[LedgerRow, Sequence[FieldChange]]]) -> Iterator[str]:
    """Yield each row with its changes, its status, and when.

    Args:
        rows: Each with its changes from `reports.rows.changes_of`, masked or not.
    """
    for row, changes in rows:
        status = "unknown, maybe in flight" if row.state is State.SENDING else str(row.state)
        status += ", final" if row.final else ""
        lines = [f"row {row.row}  {safe(row.customer_id)}  {status}"]
        lines += wrap("; ".join(filter(None, (row.reason, row.hint))), "  ")
        lines += change_lines(changes)
        if row.key:
            answer = f", HTTP {row.http_status}" if row.http_status is not None else ""
            answer += f" {row.api_code}" if row.api_code else ""
            lines.append(f"  sent {time_words(row.first_intent_at)}, {amount(row.attempts, 'attempt')}{safe(answer)}")
            lines.append(f"  key  {row.key}")
        if row.done_at is not None:
            lines.append(f"  done {time_words(row.done_at)}")
        yield join(lines)


# --- pieces


def heading(title: str, run: Run) -> list[str]:
    """Return a title, and the job, target and input of a run."""
    lines = [title, f"  job     {safe(run.job)}", f"  target  {safe(run.target)}"]
    if run.input_path:
        lines.append(f"  input   {safe(Path(run.input_path).name)}, {amount(run.input_rows, 'row')}")
        lines += wrap(safe(run.summary.reading), "          ")
    if run.kind == "undo":
        lines.append(f"  undoes  run {safe(run.summary.undoes)}, {amount(run.input_rows, 'applied row')}")
    return lines


def _count_lines(counts: Counts, names: Mapping[State, str], *, shown: Iterable[State]) -> list[str]:
    """Return the counts that are not 0 and those always shown, with their sum."""
    options = (State.SENDING, *_ORDER)
    rows = [
        (names.get(state, str(state)), counts.get(state, 0)) for state in options if counts.get(state) or state in shown
    ]
    rows.append(("input rows", sum(counts.values())))
    places = digits(count for _, count in rows)
    lines = [f"  {name:<12}{count:>{places},}" for name, count in rows]
    return [*lines[:-1], f"  {'=' * (12 + places)}", lines[-1]]


def change_lines(changes: Sequence[FieldChange]) -> list[str]:
    """Return before and after of each field, aligned."""
    width = max((len(name) for name, _, _ in changes), default=0)
    return [
        f"    {safe(name):<{width}}  {'?' if old is None else safe(old) or '(none)'} → {safe(new) or '(cleared)'}"
        for name, old, new in changes
    ]


def _merge(reasons: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    merged: dict[str, int] = {}
    for reason, rows in reasons:
        merged[merge_rows(reason)] = merged.get(merge_rows(reason), 0) + rows
    return sorted(merged.items(), key=lambda reason: -reason[1])


def _stop_lines(run: Run) -> list[str]:
    if not run.stop_reason:
        return []
    hint = wrap(run.stop_hint, "  ") if run.stop_hint else []
    return ["", *wrap(f"stopped: {run.stop_reason}"), *hint]
