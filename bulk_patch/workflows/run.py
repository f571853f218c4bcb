"""Open the job, find or make its run, send it, report.

    run_job ── open_job ── resume_policy ─┬─ plan_step ─┬─ send_step ── report_step
                                          └── resume ───┘

Which of the steps happens is decided in `resume_policy.py`.
"""

import asyncio
import time
from dataclasses import replace

from bulk_patch.errors import Exit, RefusedError, UsageError, gravest
from bulk_patch.job.settings import Job
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.model import State
from bulk_patch.observe import get_logger
from bulk_patch.reports.runs import nothing_to_undo
from bulk_patch.reports.summary import RunSummary
from bulk_patch.review.approvals import sign_plan
from bulk_patch.review.expiry import find_lack
from bulk_patch.sending.guards import INPUT_GUARDS
from bulk_patch.workflows.event_loop import run_in_event_loop
from bulk_patch.workflows.open_job import OpenJob, open_job
from bulk_patch.workflows.options import RunOptions
from bulk_patch.workflows.plan_step import plan_input, plan_undo, tripped_guard
from bulk_patch.workflows.report_step import (
    as_reported,
    catch_up,
    close_run,
    drop_plan,
    exit_code_from_rows,
    mark_replaced,
    report_run,
    stop_by_guard,
)
from bulk_patch.workflows.resume_policy import (
    NextStep,
    decide_plan,
    decide_run,
    decide_undo,
    no_plan_error,
    open_run_error,
)
from bulk_patch.workflows.send_step import refuse_invalid, send_run, settle
from bulk_patch.workflows.signals import SignalledError

log = get_logger()


def run_job(job: Job, options: RunOptions | None = None) -> RunSummary:
    """Complete a job: resume its open run or plan a new one, send, report.

    Args:
        job: From `load_job`.
        options: What else is asked for; the default sends without asking.

    Returns:
        The summary of the run, as in summary.json.

    Raises:
        BulkPatchError: Nothing (more) was sent; the message says what happened, the hint what to do.
    """
    return run_in_event_loop(_run(job, options or RunOptions()))


def plan_job(job: Job, options: RunOptions | None = None) -> RunSummary:
    """Read, validate, compare and seal a plan; send nothing.

    Args:
        job: From `load_job`.
        options: What else is asked for.

    Returns:
        The summary of the planned run.

    Raises:
        BulkPatchError: There is no plan; the message says what happened, the hint what to do.
    """
    return run_in_event_loop(_plan(job, options or RunOptions()))


def retry_run(job: Job, run_id: str, options: RunOptions | None = None) -> RunSummary:
    """Send rows again that were rejected (new key) or are unknown (same key, or a read).

    Args:
        job: The job of the run.
        run_id: The run's id.
        options: What else is asked for.

    Returns:
        The summary of the run.

    Raises:
        BulkPatchError: As `run_job`.
    """
    return run_in_event_loop(_retry(job, run_id, options or RunOptions()))


def undo_run(job: Job, run_id: str, options: RunOptions | None = None) -> RunSummary:
    """Undo a run: plan the reverse of its applied rows as a new run of the job, and send that.

    Args:
        job: The job of the run.
        run_id: The id of the run to undo.
        options: What else is asked for.

    Returns:
        The summary of the undo, which is a run too.

    Raises:
        BulkPatchError: As `run_job`.
    """
    return run_in_event_loop(_undo(job, run_id, options or RunOptions()))


# --- the steps


async def _run(job: Job, options: RunOptions) -> RunSummary:
    async with open_job(job, options, sends=True) as opened:
        situation = opened.situation()
        if situation.open_run is None:
            opened.tell_of_other_runs()
            catch_up(opened)
            last = situation.last_run
            # A new input is judged by itself: what was wrong with the one before it stops nothing.
            judged_anew = last is not None and last.stopped_by in INPUT_GUARDS and situation.changed
            if not options.new and not judged_anew:
                opened.refuse_stopped(last)
        step = decide_run(situation, options.commands)
        if situation.open_run is None:
            return await send_run(opened, await plan_input(opened))
        if step is NextStep.REPLACE:
            drop_plan(opened, situation.open_run)
            run = await plan_input(opened)
            mark_replaced(opened, situation.open_run, run)
            return await send_run(opened, run)
        if step is NextStep.CLOSE:
            unsettled = await settle(opened, situation.open_run)
            if unsettled is not None:
                return unsettled
            return await _send_new(opened, close_run(opened, situation.open_run))
        opened.refuse_stopped(situation.open_run)
        log.info("going_on", run=situation.open_run.id, rows=opened.ledger.to_do(situation.open_run.id))
        first = await send_run(opened, situation.open_run)
        if step is NextStep.RESUME or first.state != "complete":
            return first
        second = await _send_new(opened, first)
        return replace(second, exit_code=gravest(first.exit_code or Exit.OK, second.exit_code or Exit.OK))


async def _send_new(opened: OpenJob, before: RunSummary) -> RunSummary:
    """Plan the current input and send it, after this command has completed another run.

    Args:
        opened: The job.
        before: How the other run ended. Where the command has to end before the plan is made, this is what it
            returns: it may have sent much.
    """
    code = opened.signal or Exit.INCOMPLETE
    if not opened.must_end:
        try:
            return await send_run(opened, await plan_input(opened))
        except asyncio.CancelledError:
            if opened.signal is None:
                raise
            code = opened.signal
        except SignalledError as signalled:  # at the question
            code = signalled.exit_code
    opened.options.observer.sent()  # an interrupted read leaves its bar open
    log.warning("not_begun", reason="this command ends here; the next one plans the current input")
    command = opened.options.commands.for_job("run")
    return replace(before, exit_code=gravest(before.exit_code or Exit.OK, code), next=command, before_next="")


async def _plan(job: Job, options: RunOptions) -> RunSummary:
    if options.sign is not None and job.guards.allowed_signers is None:
        hint = 'name a file of allowed signers in the job: guards.allowed_signers = "PATH"'
        raise UsageError("a signed plan needs a signed approval, and the job could not check one", hint)
    async with open_job(job, options, sends=job.baseline.capabilities.needs_session) as opened:
        situation = opened.situation()
        if situation.open_run is None:
            opened.tell_of_other_runs()
            catch_up(opened)
        step = decide_plan(situation, options.commands)
        if situation.open_run is not None and step is NextStep.REPLACE:
            drop_plan(opened, situation.open_run)
        if situation.open_run is not None and step is NextStep.CLOSE:
            if opened.ambiguous_rows(situation.open_run):
                raise RefusedError(
                    f"run {situation.open_run.id} has rows whose outcome is unknown",
                    f"settle them first: {options.commands.for_job('run', '--new')}",
                )
            close_run(opened, situation.open_run)
        run = await plan_input(opened)
        if situation.open_run is not None and not situation.sent:
            mark_replaced(opened, situation.open_run, run)
        if options.sign is not None:
            sign_plan(opened.ledger, run, current_actor(options.operator), key=options.sign)
        refuse_invalid(opened, run)
        if (guarded := tripped_guard(opened, run, opened.ledger.counts(run.id))) is not None:
            return stop_by_guard(opened, run, *guarded)
        if not opened.ledger.to_do(run.id):
            return report_run(opened, run, exit_code_from_rows(opened, run))
        return report_run(opened, run, Exit.OK, find_lack(job, run, opened.ledger))


async def _retry(job: Job, run_id: str, options: RunOptions) -> RunSummary:
    async with open_job(job, options, sends=True) as opened:
        run = opened.run_here(run_id)
        if run.state == "planning":
            raise no_plan_error(run, options.commands)
        other = opened.ledger.open_run(opened.job.target_name)
        if other is not None and other.id != run.id:
            raise open_run_error(other, options.commands)
        if opened.ledger.to_do(run.id):
            opened.refuse_stopped(run)
        else:
            opened.lift_stop(run)  # it holds nothing back: a person has asked for this retry
        asked = opened.ledger.request_retry(run.id, now=time.time())
        opened.note(run, "retry", rows=asked)
        if not asked:  # the files stay as they are: someone may be correcting failures.csv in its place
            # A plan that was not sent is not done.
            return replace(as_reported(opened, run), exit_code=exit_code_from_rows(opened, run))
        return await send_run(opened, run, only_requested=True)


async def _undo(job: Job, run_id: str, options: RunOptions) -> RunSummary:
    async with open_job(job, options, sends=True) as opened:
        undone = opened.run_here(run_id)
        started = decide_undo(opened.ledger.open_run(opened.job.target_name), undone, options.commands)
        if started is None:
            if not opened.ledger.counts(undone.id)[State.APPLIED]:
                runs = opened.ledger.runs(opened.job.target_name)
                raise nothing_to_undo(
                    undone, next((run for run in runs if opened.ledger.counts(run.id)[State.APPLIED]), None)
                )
            return await send_run(opened, await plan_undo(opened, undone))
        opened.refuse_stopped(started)
        return await send_run(opened, started)
