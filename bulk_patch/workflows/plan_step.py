"""Plan: the input, or the reverse of a run, as a new sealed run."""

from bulk_patch.baselines import Baseline
from bulk_patch.baselines.index import SPILL
from bulk_patch.files.atomic import emptied
from bulk_patch.inputs.source import Source
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts, State, Stop
from bulk_patch.observe import get_logger
from bulk_patch.planning.build import FRAME_ROWS, write_plan
from bulk_patch.planning.undo import columns_of, write_undo
from bulk_patch.sending.guards import check_plan
from bulk_patch.workflows.new_run import input_facts, new_run, scan_both
from bulk_patch.workflows.open_job import OpenJob
from bulk_patch.workflows.report_step import plain_counts

log = get_logger()


async def plan_input(opened: OpenJob) -> Run:
    """Plan the input as a new run, and show it to the observer."""
    job = opened.job
    found, baseline = await scan_both(job, opened.target, opened.session)
    with emptied(opened.folder / SPILL):
        await baseline.expect(found, rows=FRAME_ROWS, folder=opened.folder, ledger=opened.ledger)
        return await _plan(opened, found, baseline)


async def _plan(opened: OpenJob, found: Source, baseline: Baseline) -> Run:
    job, options = opened.job, opened.options
    run = new_run(job, options, baseline=job.baseline.kind, baseline_sha256=baseline.sha256, **input_facts(found))
    _begin(opened, run, rows=found.rows, reads=baseline.reads(found.rows))
    run = await write_plan(job, run, found=found, target=opened.target, baseline=baseline, ledger=opened.ledger)
    return _planned(opened, run)


async def plan_undo(opened: OpenJob, undone: Run) -> Run:
    """Plan the undo of a run as a new run, and show it to the observer."""
    job, ledger, session = opened.job, opened.ledger, opened.session
    assert session is not None  # to undo is to send
    ledger.check_seal(undone.id)
    columns = columns_of(ledger, undone, job)
    run = new_run(job, opened.options, kind="undo", baseline="live", columns=columns, undoes=undone.id)
    rows = ledger.counts(undone.id)[State.APPLIED]
    _begin(opened, run, rows=rows, reads=-(-rows // opened.target.ids_per_read))
    run = await write_undo(job, run, undone=undone, target=opened.target, session=session, ledger=ledger)
    return _planned(opened, run)


def _begin(opened: OpenJob, run: Run, *, rows: int, reads: int) -> None:
    opened.log_to(run.id)
    log.info("planning", run=run.id, job=run.job, target=run.target, rows=rows)
    opened.options.observer.reading(rows, reads)
    if opened.session is not None:
        opened.session.on_read = opened.options.observer.read


def _planned(opened: OpenJob, run: Run) -> Run:
    counts = opened.ledger.counts(run.id)
    log.info(
        "planned", run=run.id, plan_sha256=run.plan_sha256, counts=plain_counts(counts), seconds=round(run.plan_s, 2)
    )
    for warning in run.summary.warnings:
        log.warning("unusual", run=run.id, reason=warning)
    opened.options.observer.planned(run, counts)
    if (guarded := tripped_guard(opened, run, counts)) is not None:
        log.warning("guard_will_stop", run=run.id, guard=guarded[0], reason=guarded[1].reason, hint=guarded[1].hint)
    return run


def tripped_guard(opened: OpenJob, run: Run, counts: Counts) -> tuple[str, Stop] | None:
    # Rows that cannot be undone say nothing about a wrong file, which max_invalid is for.
    waived = run.waived if run.kind == "run" else (*run.waived, "max_invalid")
    return check_plan(opened.job.guards, counts, changes=run.summary.changes, input_rows=run.input_rows, waived=waived)
