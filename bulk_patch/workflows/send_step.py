"""Send: the rest of a sealed run, behind its guards, its approval and the question."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from bulk_patch import plugins
from bulk_patch.errors import Exit, InputError
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.ledgers.records import Run
from bulk_patch.model import State
from bulk_patch.observe import SendProgress, get_logger
from bulk_patch.reports.html.events import REASON_GIVEN
from bulk_patch.reports.summary import RunSummary
from bulk_patch.review.approvals import missing_approval
from bulk_patch.review.expiry import Validity, ending, find_lack, find_validity, record_expiry, record_signature_checks
from bulk_patch.review.terms import terms_of
from bulk_patch.sending.claims import SendScope
from bulk_patch.sending.dispatcher import Dispatcher, SessionResult
from bulk_patch.sending.run_ledger import RunLedger
from bulk_patch.sending.sender import Sender
from bulk_patch.workflows.open_job import OpenJob, hand_over
from bulk_patch.workflows.options import always
from bulk_patch.workflows.plan_step import tripped_guard
from bulk_patch.workflows.report_step import (
    exit_code_from_rows,
    finish,
    report_run,
    stop_by_guard,
)

_TICK_S = 0.5

OTHER_HOST = "continued on another host"  # the action of a note

log = get_logger()


async def settle(opened: OpenJob, run: Run) -> RunSummary | None:
    """Settle the ambiguous rows of a run; None when all that can be settled is."""
    rows = opened.ambiguous_rows(run)
    if not rows:
        return None
    ended = await _dispatch(opened, run, rows)
    is_done = not (ended.limited and opened.ambiguous_rows(run))
    return None if is_done and ended.by_itself and not ended.stops else finish(opened, run, ended)


async def send_run(opened: OpenJob, run: Run, *, only_requested: bool = False) -> RunSummary:
    """Send what is left of a run, or what `retry` asked for, and report."""
    ledger, options = opened.ledger, opened.options
    run = ledger.run(run.id)
    counts, to_do = ledger.counts(run.id), ledger.to_do(run.id)
    refuse_invalid(opened, run)
    if (to_do or run.started_at is None) and (guarded := tripped_guard(opened, run, counts)) is not None:
        return stop_by_guard(opened, run, *guarded)
    if not to_do:
        return report_run(opened, run, exit_code_from_rows(opened, run))
    record_signature_checks(opened.job, run, ledger, current_actor(options.operator))
    if lack := find_lack(opened.job, run, ledger):
        log.error("not_approved", run=run.id, reason=lack[0].reason)
        record_expiry(ledger, run, current_actor(options.operator))
        return report_run(opened, run, Exit.REFUSED, lack)
    if options.confirm is not always and run.id not in opened.shown:
        options.observer.planned(run, counts)  # it was planned by another command
    if not options.confirm(run, counts):
        log.info("declined", run=run.id)
        if run.kind == "undo" and run.started_at is None:
            opened.ledger.close_run(run.id)  # a later `run --yes` of the job must not send what a person declined
        return report_run(opened, run, Exit.INCOMPLETE)
    if (options.reason, options.ticket) not in (("", ""), (run.reason, run.ticket)) and not only_requested:
        opened.note(run, REASON_GIVEN)  # the plan was made before
    validity = find_validity(opened.job, run, ledger)
    # Without an approval each ambiguous row is settled once, and gets no new key.
    rows = None if validity else opened.ambiguous_rows(run)
    ended = await _dispatch(opened, run, rows, only_requested=only_requested, validity=validity)
    record_expiry(
        ledger,
        run,
        current_actor(options.operator),
        at=validity.until if validity is not None and validity.is_over else 0.0,
    )
    lack = find_lack(opened.job, run, ledger) if ledger.to_do(run.id) else []
    ended.stops = [*lack, *(stop for stop in ended.stops if stop.exit_code is not Exit.REFUSED)]
    return finish(opened, run, ended)


def refuse_invalid(opened: OpenJob, run: Run) -> None:
    """Refuse the whole input for its invalid rows, when asked to.

    Raises:
        InputError: With `--no-skip-invalid`.
    """
    invalid = opened.ledger.counts(run.id).get(State.INVALID, 0)
    if invalid and not opened.options.skip_invalid:
        report_run(opened, run, Exit.USAGE)
        hint = "failures.csv names each row and how to fix it; without --no-skip-invalid they are set aside"
        raise InputError(f"{invalid:,} rows are invalid, and --no-skip-invalid refuses the input for them", hint)


async def _dispatch(
    opened: OpenJob,
    run: Run,
    only_rows: Sequence[int] | None,
    *,
    only_requested: bool = False,
    validity: Validity | None = None,
) -> SessionResult:
    ledger, job, session = opened.ledger, opened.job, opened.session
    assert session is not None  # open_job opened it
    opened.aim_at(run)
    opened.log_to(run.id)
    now = time.time()
    call = opened.thread.call  # the ledger has one thread from here to the end of the session
    clock_went_back = now < await call(ledger.last_time) - 1
    await call(_note_other_host, opened, run)
    opened.begins_session = True  # cancelled from here on, it would never be recorded as ended
    sending = await call(ledger.send, run.id, current_actor(opened.options.operator), now=now, settings=terms_of(job))
    if sending.recovered:
        log.warning("recovered", run=run.id, rows=sending.recovered, reason="left in flight by a kill")
    counts, to_do = await call(ledger.counts, run.id), await call(ledger.to_do, run.id)
    waived = "canary" in run.waived or only_requested or only_rows is not None
    canary = 0 if waived else max(0, job.guards.canary - counts.get(State.APPLIED, 0))
    engine = plugins.find("engine", job.engine.kind)(
        Sender(session, watch=tuple(job.guards.watch)).send, job.engine, concurrency=job.limits.concurrency
    )
    scope = SendScope(
        canary=canary,
        limit=opened.left,
        only_requested=only_requested,
        only_rows=only_rows,
        clock_went_back=clock_went_back,
        read_first=await call(ledger.must_read_first, run.id),
    )
    run_ledger = RunLedger(ledger, sending, run, thread=opened.thread)
    dispatcher = Dispatcher(job, run_ledger, engine=engine, session=session, scope=scope)
    hand_over(opened, dispatcher)
    rate_per_s = dispatcher.stats.limit_per_s
    log.info("sending", run=run.id, target=run.target, rows=to_do, rate_per_s=rate_per_s)
    opened.options.observer.sending(run, to_do)
    ticks = asyncio.create_task(_tick(opened, dispatcher), name="ticks")
    try:
        with ending(validity, partial(dispatcher.stop, missing_approval(run, "the approval expired"))):
            ended = await dispatcher.dispatch(
                lambda dispatcher: opened.options.observer.progress(_progress(dispatcher))
            )
    finally:
        ticks.cancel()
        opened.options.observer.sent()
    await run_ledger.end(now=time.time(), by_itself=ended.by_itself)
    remember = plugins.find("baseline", job.baseline.kind).remember
    await call(remember, run.target, opened.target, folder=opened.folder, ledger=ledger)
    opened.handed_out += dispatcher.progress.handed_out
    opened.dispatcher = None  # only now: until all is recorded, a signal has to find it
    return ended


def _note_other_host(opened: OpenJob, run: Run) -> None:
    """Record that a run goes on on another host than before: two copies of a ledger would double the rate."""
    sessions = opened.ledger.sessions(run.id)
    before, here = (sessions[-1].actor.host if sessions else run.actor.host), current_actor("").host
    if before != here:
        log.warning("other_host", run=run.id, before=before, now=here)
        opened.note(run, OTHER_HOST, before=before, now=here)


async def _tick(opened: OpenJob, dispatcher: Dispatcher) -> None:
    """Show progress also while nothing moves."""
    while True:
        await asyncio.sleep(_TICK_S)
        opened.options.observer.progress(_progress(dispatcher))


def _progress(dispatcher: Dispatcher) -> SendProgress:
    limiter, progress = dispatcher.limiter, dispatcher.progress
    return SendProgress(
        done=progress.done,
        ok=progress.ok,
        refused=progress.refused,
        throttled=limiter.throttled,
        limit_per_s=limiter.rate_per_s,
        paused_s=limiter.paused_s,
        pause_reason=limiter.pause_reason if limiter.paused_s else "",
    )
