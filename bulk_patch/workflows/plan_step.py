"""Plan: the input, or the reverse of a run, as a new sealed run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bulk_patch.baselines import Baseline
from bulk_patch.baselines.index import SPILL
from bulk_patch.errors import BulkPatchError, IncompleteError, LedgerError
from bulk_patch.files.atomic import emptied
from bulk_patch.inputs.source import Source
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts, State, Stop
from bulk_patch.observe import get_logger
from bulk_patch.planning.build import FRAME_ROWS, LIVE_FRAME_ROWS, write_plan
from bulk_patch.planning.undo import columns_of, write_undo
from bulk_patch.sending.guards import INPUT_GUARDS, InputSize, check_input, check_plan, check_undone
from bulk_patch.workflows.new_run import input_facts, new_run, scan_both, sealed_runs
from bulk_patch.workflows.observer import ReadEstimate
from bulk_patch.workflows.open_job import OpenJob
from bulk_patch.workflows.report_step import plain_counts

log = get_logger()


async def plan_input(opened: OpenJob) -> Run:
    """Plan the input as a new run, and show it to the observer."""
    job = opened.job
    opened.aim_at(None)
    found, baseline = await scan_both(job, opened.target, opened.session)
    rows = LIVE_FRAME_ROWS if job.baseline.capabilities.needs_session else FRAME_ROWS
    with emptied(opened.folder / SPILL):
        await baseline.expect(found, rows=rows, folder=opened.folder, ledger=opened.ledger)
        return await _plan(opened, found, baseline, frame_rows=rows)


async def _plan(opened: OpenJob, found: Source, baseline: Baseline, *, frame_rows: int) -> Run:
    job, options = opened.job, opened.options
    facts = {**input_facts(found), "waived": _waived_before(opened, found)}
    run = new_run(job, options, opened.target, baseline=job.baseline.kind, baseline_sha256=baseline.sha256, **facts)
    _begin(opened, run, rows=found.rows, reads=baseline.reads(found.rows))
    with _keeping_wait(opened, run), _keeping_failure(opened, run):
        run = await write_plan(
            job,
            run,
            found=found,
            target=opened.target,
            baseline=baseline,
            ledger=opened.ledger,
            frame_rows=frame_rows,
        )
    return _planned(opened, run)


@contextmanager
def _keeping_failure(opened: OpenJob, run: Run) -> Iterator[None]:
    """Record with which exit code and why a plan was not finished."""
    try:
        yield
    except LedgerError:
        raise
    except BulkPatchError as error:
        if any(begun.id == run.id for begun in opened.ledger.runs(run.target)):
            code = int(error.exit_code)
            opened.ledger.finish(run.id, code, now=time.time(), reason=error.message, hint=error.hint)
        raise


async def plan_undo(opened: OpenJob, undone: Run) -> Run:
    """Plan the undo of a run as a new run, and show it to the observer."""
    job, ledger, session = opened.job, opened.ledger, opened.session
    assert session is not None  # to undo is to send
    ledger.check_seal(undone.id)
    columns = columns_of(ledger, undone, job)
    run = new_run(job, opened.options, opened.target, kind="undo", baseline="live", columns=columns, undoes=undone.id)
    rows = ledger.counts(undone.id)[State.APPLIED]
    _begin(opened, run, rows=rows, reads=-(-rows // opened.target.ids_per_read))
    with _keeping_wait(opened, run), _keeping_failure(opened, run):
        run = await write_undo(job, run, undone=undone, session=session, ledger=ledger)
    return _planned(opened, run)


@contextmanager
def _keeping_wait(opened: OpenJob, run: Run) -> Iterator[None]:
    try:
        yield
    except IncompleteError:
        opened.keep_wait(run.id)
        raise


def _begin(opened: OpenJob, run: Run, *, rows: int, reads: int) -> None:
    opened.log_to(run.id)
    log.info("planning", run=run.id, job=run.job, target=run.target, rows=rows)
    opened.options.observer.reading(ReadEstimate(rows, reads, opened.target.noun))
    if opened.session is not None:
        opened.session.on_read = opened.options.observer.read


def _planned(opened: OpenJob, run: Run) -> Run:
    counts = opened.ledger.counts(run.id)
    log.info(
        "planned", run=run.id, plan_sha256=run.plan_sha256, counts=plain_counts(counts), seconds=round(run.plan_s, 2)
    )
    for warning in run.summary.warnings:
        log.warning("unusual", run=run.id, reason=warning)
    if (guarded := tripped_guard(opened, run, counts)) is not None:
        guard, stop = guarded
        code = int(stop.exit_code)
        log.warning("guard_will_stop", run=run.id, guard=guard, exit_code=code, reason=stop.reason, hint=stop.hint)
        run = replace(run, stopped_by=guard, stop_reason=stop.reason, stop_hint=stop.hint)
    opened.options.observer.planned(run, counts)
    opened.shown.add(run.id)
    return opened.ledger.run(run.id)


def _waived_before(opened: OpenJob, found: Source) -> tuple[str, ...]:
    """Return the guards on the input that a person waived for these very bytes, if no other input has come since."""
    last = next((run for run in sealed_runs(opened.job, opened.ledger) if run.kind == "run"), None)
    if last is None or last.input_sha256 != found.sha256:
        return ()
    return tuple(guard for guard in last.waived if guard in INPUT_GUARDS)


def tripped_guard(opened: OpenJob, run: Run, counts: Counts) -> tuple[str, Stop] | None:
    """Return the guard that a sealed plan trips before anything is sent, with the stop; None if it trips none."""
    guards = opened.job.guards
    if run.kind == "run":
        tripped = check_input(guards, _size_of(opened, run), max_age_h=opened.job.input.max_age_h, waived=run.waived)
        if tripped is not None:
            return tripped
    # Rows that cannot be undone say nothing about a wrong file, which max_invalid is for.
    waived = run.waived if run.kind == "run" else (*run.waived, "max_invalid")
    if (tripped := check_undone(run.summary, run.waived)) is not None:
        return tripped
    changes, noun = run.summary.changes, opened.target.noun
    return check_plan(guards, counts, changes=changes, input_rows=run.input_rows, waived=waived, noun=noun)


def _size_of(opened: OpenJob, run: Run) -> InputSize:
    """Return how large and how old the input of a run was, beside that of the last complete run before it."""
    earlier = (
        past
        for past in sealed_runs(opened.job, opened.ledger)
        if past.kind == "run" and past.created_at < run.created_at and not past.stopped_by
    )
    last = next((past for past in earlier if not opened.ledger.to_do(past.id)), None)
    age_h = (run.created_at - run.input_mtime_ns / 1e9) / 3600
    return InputSize(run.input_rows, None if last is None else last.input_rows, age_h)
