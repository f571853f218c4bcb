"""Report: how a run ended, in the ledger and in its files."""

import time
from collections.abc import Sequence

from bulk_patch.errors import Exit, gravest
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts, State, Stop
from bulk_patch.observe import get_logger
from bulk_patch.reports.files import is_reported, write_summary
from bulk_patch.reports.html.page import retell, write_files, write_page
from bulk_patch.reports.summary import RunSummary, exit_code_of, summarise
from bulk_patch.review.approvals import REPLACED
from bulk_patch.sending.dispatcher import SessionResult
from bulk_patch.workflows.new_run import sealed_runs
from bulk_patch.workflows.open_job import OpenJob

_CAUSES_TOLD = 3

log = get_logger()


def drop_plan(opened: OpenJob, run: Run) -> None:
    """Close a run that has sent nothing, before another plan replaces it: it stays on record and is never sent."""
    log.info("plan_replaced", run=run.id, reason="nothing of it was sent")
    opened.ledger.close_run(run.id)


def mark_replaced(opened: OpenJob, run: Run, by: Run) -> None:
    """Record which plan has replaced one that has sent nothing, and say so in its page and its summary."""
    if not any(note.action == "closed" for note in opened.ledger.notes(run.id)):
        opened.note(run, "replaced", by=by.id)
    opened.ledger.finish(run.id, run.exit_code or 0, now=time.time(), reason=f"{REPLACED}{by.id}")
    run, folder = opened.ledger.run(run.id), opened.folder / run.id
    command = opened.options.commands.next_command(run, opened.ledger.counts(run.id), 0)
    summary = summarise(opened.ledger, run, next_command=command)
    if folder.is_dir():
        write_page(opened.ledger, run, folder, summary, target=opened.target)
        write_summary(summary, folder)


def close_run(opened: OpenJob, run: Run) -> RunSummary:
    """Close a run: its pending rows are never sent."""
    opened.ledger.close_run(run.id)
    log.info("closed", run=run.id, reason="--new: its pending rows are never sent")
    opened.note(run, "closed", rows=opened.ledger.counts(run.id).get(State.PENDING, 0))
    return report_run(opened, run, exit_code_from_rows(opened, run))


def finish(opened: OpenJob, run: Run, ended: SessionResult) -> RunSummary:
    """Say why rows are left and why the run stopped, and report it with the gravest exit code."""
    for reason, rows in ended.gave_up.most_common(_CAUSES_TOLD):
        log.warning("left_open", run=run.id, rows=rows, reason=reason)
    codes: list[int] = [stop.exit_code for stop in ended.stops]
    if ended.signal is not None:
        codes.append(ended.signal)
    if ended.stopped_by:
        stop = next(stop for stop in ended.stops if stop.exit_code is Exit.STOPPED)
        return stop_by_guard(opened, run, ended.stopped_by, stop, *codes)
    for stop in ended.stops:
        log.error("stopped", run=run.id, reason=stop.reason, hint=stop.hint)
    return report_run(opened, run, gravest(*codes, exit_code_from_rows(opened, run)), ended.stops)


def stop_by_guard(opened: OpenJob, run: Run, guard: str, stop: Stop, *codes: int) -> RunSummary:
    """Record a stop that only a person may waive."""
    opened.ledger.set_stop(run.id, guard, reason=stop.reason, hint=stop.hint)
    opened.note(run, "stopped", guard=guard, reason=stop.reason)
    log.error("stopped", run=run.id, guard=guard, reason=stop.reason, hint=stop.hint)
    return report_run(opened, run, gravest(stop.exit_code, *codes))


def exit_code_from_rows(opened: OpenJob, run: Run) -> Exit:
    """Return the exit code that the rows alone stand for."""
    to_do = opened.ledger.to_do(run.id) if opened.ledger.run(run.id).state != "closed" else 0
    return exit_code_of(opened.ledger.counts(run.id), to_do=to_do)


def report_run(opened: OpenJob, run: Run, code: Exit, stops: Sequence[Stop] = ()) -> RunSummary:
    """Write the files of a run, and return its summary."""
    reason, hint = (stops[0].reason, stops[0].hint) if stops else ("", "")
    is_stopped = bool(run.stopped_by) or code is Exit.STOPPED
    opened.ledger.finish(run.id, int(code), now=time.time(), reason=None if is_stopped else reason, hint=hint)
    run = opened.ledger.run(run.id)
    counts, to_do = opened.ledger.counts(run.id), opened.ledger.to_do(run.id)
    command = opened.options.commands.next_command(run, counts, to_do)
    folder = opened.folder / run.id
    summary = write_files(opened.ledger, run, folder, target=opened.target, next_command=command)
    if run.kind == "undo":
        retell(opened.ledger, opened.ledger.run(run.summary.undoes), opened.folder, target=opened.target)
    log.info("reported", run=run.id, state=summary.state, counts=plain_counts(counts), exit_code=int(code))
    return summary


def catch_up(opened: OpenJob) -> None:
    """Write the files of a run whose last process was killed after all was recorded, before it was reported."""
    run = next(sealed_runs(opened.job, opened.ledger), None)
    if run is not None:
        as_reported(opened, run)


def as_reported(opened: OpenJob, run: Run) -> RunSummary:
    """Return the summary of a run; its files are written only when they do not say what the ledger says."""
    if not is_reported(opened.ledger, run, opened.folder / run.id):
        opened.log_to(run.id)
        return report_run(opened, run, Exit.STOPPED if run.stopped_by else exit_code_from_rows(opened, run))
    command = opened.options.commands.next_command(run, opened.ledger.counts(run.id), opened.ledger.to_do(run.id))
    return summarise(opened.ledger, run, next_command=command)


def plain_counts(counts: Counts) -> dict[str, int]:
    """Return the counts that are not 0, by the names of their states, for a log line."""
    return {str(state): count for state, count in counts.items() if count}
