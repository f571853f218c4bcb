"""A job with its ledger, target and session open: everything that `run.py` tells is done here.

One thread owns the ledger while rows are sent; signals drain what is out.
"""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bulk_patch import plugins
from bulk_patch.baselines import Baseline
from bulk_patch.baselines.index import SPILL
from bulk_patch.client.session import ApiSession, open_session
from bulk_patch.errors import Exit, InputError, RefusedError, StoppedError, gravest
from bulk_patch.files.atomic import emptied, file_mode, make_private_folder
from bulk_patch.files.team import share_folder
from bulk_patch.inputs.source import Source
from bulk_patch.job.settings import Job, output_root
from bulk_patch.ledgers import Ledger, Run
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.model import Counts, State, Stop
from bulk_patch.observe import attach_log_file, get_logger
from bulk_patch.observe.totals import Totals
from bulk_patch.planning.build import FRAME_ROWS, write_plan
from bulk_patch.planning.undo import UNDOES, columns_of, write_undo
from bulk_patch.reports.files import is_reported
from bulk_patch.reports.html.events import REASON_GIVEN
from bulk_patch.reports.html.page import retell, write_files
from bulk_patch.reports.summary import RunSummary, exit_code_of, summarise
from bulk_patch.review.approvals import Validity, ending, find_lack, find_validity, missing_yes, record_expiry
from bulk_patch.sending.dispatcher import Dispatcher, SessionResult
from bulk_patch.sending.guards import check_plan
from bulk_patch.sending.sender import Sender
from bulk_patch.targets import Target
from bulk_patch.workflows.new_run import gather_situation, input_facts, new_run, scan_both, sealed_runs
from bulk_patch.workflows.options import RunOptions
from bulk_patch.workflows.resume_policy import Situation
from bulk_patch.workflows.signals import draining

_TICK_S = 0.5
_CAUSES_TOLD = 3

log = get_logger()


@asynccontextmanager
async def open_job(job: Job, options: RunOptions, *, sends: bool) -> "AsyncIterator[OpenJob]":
    """Open ledger, wire and signals, and close them in reverse whatever happens."""
    folder = output_root(job.file, given=options.output) / job.name
    target: Target = plugins.find("target", job.target.kind)(
        job.target.resource, today=dt.datetime.now(tz=dt.UTC).date()
    )
    async with AsyncExitStack() as stack:
        group = share_folder(folder, job.ledger.group)
        ledger: Ledger = plugins.find("ledger", job.ledger.kind).open(folder / "ledger.db", job=job.name, group=group)
        stack.callback(ledger.close)
        session: ApiSession | None = None
        if sends:
            session = await stack.enter_async_context(open_session(job, target))
        thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="ledger"))
        opened = OpenJob(job, options, folder, target, ledger, session, thread)
        stack.enter_context(draining(opened.on_signal))
        yield opened


@dataclass(slots=True)
class OpenJob:
    """A job with its ledger, target and session open."""

    job: Job
    options: RunOptions
    folder: Path
    target: Target
    ledger: Ledger
    session: ApiSession | None
    thread: ThreadPoolExecutor
    dispatcher: Dispatcher | None = None  # while rows are sent, until all of their session is recorded
    task: asyncio.Task[Any] | None = field(default_factory=asyncio.current_task)
    signal: Exit | None = None
    handed_out: int = 0  # rows, in all sessions of this command

    def on_signal(self, code: Exit) -> None:
        """Drain what is out, or cancel what has not begun."""
        self.signal = code
        if self.dispatcher is not None:
            log.warning("draining", reason="no new rows; what is out is finished and recorded")
            self.dispatcher.signalled(code)
        elif self.task is not None:
            self.task.cancel()

    @property
    def left(self) -> int | None:
        """Return how many more rows `--limit` lets this command hand out; None: all."""
        return None if self.options.limit is None else self.options.limit - self.handed_out

    @property
    def must_end(self) -> bool:
        """Tell whether this command may send nothing more: a signal, a stop, or `--limit`."""
        return self.left == 0 or (self.session is not None and self.session.stopping.is_set())

    # --- before sending

    def facts(self) -> Situation:
        """Gather what decides whether to resume, replace or plan."""
        return gather_situation(self.job, self.options, self.ledger)

    def run_here(self, run_id: str) -> Run:
        """Return a run of this job and target.

        Raises:
            RefusedError: It was sent elsewhere.
        """
        run = self.ledger.run(run_id)
        if run.target != self.job.target_name:
            raise RefusedError(f"run {run.id} was for {run.target}", f"this is {self.job.target_name}")
        return run

    def refuse_stopped(self, run: Run | None) -> None:
        """Refuse to go on after a stop, until a person waives that one stop with `--continue`.

        Raises:
            StoppedError: Without `--continue`.
        """
        if run is None or not run.stopped_by:
            return
        if not self.options.go_on:
            counts, to_do = self.ledger.counts(run.id), self.ledger.to_do(run.id)
            command = self.options.observer.next_command(run, counts, to_do) or "run --continue"
            raise StoppedError(f"run {run.id} is stopped: {run.stop_reason}", f"{run.stop_hint}; to go on: {command}")
        self.lift_stop(run)

    def lift_stop(self, run: Run) -> None:
        """Waive the stop of a run, if it has one: a person has looked."""
        if run.stopped_by:
            lifted = {"stopped_by": "", "stop_reason": "", "stop_hint": ""}
            self.ledger.update(run.id, **lifted, waived=(*run.waived, run.stopped_by))
            self.note(run, "continued", guard=run.stopped_by)

    def discard(self, run: Run) -> None:
        """Drop a run that has sent nothing, or close it when somebody saw its values: that stays on record."""
        log.info("plan_replaced", run=run.id, reason="nothing of it was sent")
        revealed = any(action == "revealed" for _, _, action, _ in self.ledger.notes(run.id))
        (self.ledger.close_run if revealed else self.ledger.discard)(run.id)

    def close_run(self, run: Run) -> RunSummary:
        """Never send the rest of a run."""
        self.ledger.close_run(run.id)
        log.info("closed", run=run.id, reason="--new: its pending rows are never sent")
        self.note(run, "closed", rows=self.ledger.counts(run.id).get(State.PENDING, 0))
        return self.report(run, self.exit_code(run))

    def ambiguous_rows(self, run: Run) -> list[int]:
        """Return the rows whose outcome is not known and can still be settled."""
        rows = self.ledger.rows(run.id, states=(State.UNKNOWN, State.SENDING))
        return [row.row for row in rows if not row.final]

    async def plan(self) -> Run:
        """Plan the input as a new run, and let the watcher see it."""
        job = self.job
        found, baseline = await scan_both(job, self.target, self.session)
        with emptied(self.folder / SPILL):
            await baseline.expect(found, rows=FRAME_ROWS, folder=self.folder, ledger=self.ledger)
            return await self._plan(found, baseline)

    async def _plan(self, found: Source, baseline: Baseline) -> Run:
        job, options = self.job, self.options
        run = new_run(job, options, baseline=job.baseline.kind, baseline_sha256=baseline.sha256, **input_facts(found))
        self._begin(run, rows=found.rows, reads=baseline.reads(found.rows))
        run = await write_plan(job, run, found=found, target=self.target, baseline=baseline, ledger=self.ledger)
        return self._planned(run)

    async def plan_undo(self, undone: Run) -> Run:
        """Plan the reverse of a run as a new run, and let the watcher see it."""
        job, ledger, session = self.job, self.ledger, self.session
        assert session is not None  # to undo is to send
        ledger.check_seal(undone.id)
        columns = columns_of(ledger, undone, job)
        origin = {UNDOES: undone.id}
        run = new_run(job, self.options, kind="undo", baseline="live", columns=columns, details=origin)
        rows = ledger.counts(undone.id)[State.APPLIED]
        self._begin(run, rows=rows, reads=-(-rows // self.target.ids_per_read))
        run = await write_undo(job, run, undone=undone, target=self.target, session=session, ledger=ledger)
        return self._planned(run)

    def _begin(self, run: Run, *, rows: int, reads: int) -> None:
        self.log_to(run.id)
        log.info("planning", run=run.id, job=run.job, target=run.target, rows=rows)
        self.options.observer.reading(rows, reads)
        if self.session is not None:
            self.session.on_read = self.options.observer.read
        self.ledger.begin(run)

    def _planned(self, run: Run) -> Run:
        counts = self.ledger.counts(run.id)
        log.info(
            "planned", run=run.id, plan_sha256=run.plan_sha256, counts=_plain(counts), seconds=round(run.plan_s, 2)
        )
        for warning in run.details["warnings"]:
            log.warning("unusual", run=run.id, reason=warning)
        self.options.observer.planned(run, counts)
        if (guarded := self._tripped(run, counts)) is not None:
            log.warning("guard_will_stop", run=run.id, guard=guarded[0], reason=guarded[1].reason, hint=guarded[1].hint)
        return run

    def _tripped(self, run: Run, counts: Counts) -> tuple[str, Stop] | None:
        # What cannot be undone says nothing of a wrong file, which is what max_invalid is for.
        waived = run.waived if run.kind == "run" else (*run.waived, "max_invalid")
        changes = run.details.get("changes", 0)
        return check_plan(self.job.guards, counts, changes=changes, input_rows=run.input_rows, waived=waived)

    def log_to(self, run_id: str) -> None:
        """Let what is said from now on go to the log of a run."""
        folder = self.folder / run_id
        make_private_folder(folder)
        attach_log_file(folder / "run.log", mode=file_mode(folder))

    # --- sending

    async def settle(self, run: Run) -> RunSummary | None:
        """Bring the ambiguous rows of a run to an answer; None when that was done as far as it goes."""
        rows = self.ambiguous_rows(run)
        if not rows:
            return None
        ended = await self._drive(run, rows)
        is_done = not (ended.limited and self.ambiguous_rows(run))
        return None if is_done and ended.by_itself and not ended.stops else self._finish(run, ended)

    async def send(self, run: Run, *, only_requested: bool = False) -> RunSummary:
        """Send what is left of a run, or what `retry` asked for, and report."""
        ledger, options = self.ledger, self.options
        run = ledger.run(run.id)
        counts, to_do = ledger.counts(run.id), ledger.to_do(run.id)
        self.refuse_invalid(run)
        if not to_do:
            return self.report(run, self.exit_code(run))
        if (guarded := self._tripped(run, counts)) is not None:
            return self._stopped(run, *guarded)
        if lack := find_lack(self.job, run, ledger):
            log.error("not_approved", run=run.id)
            record_expiry(ledger, run, current_actor(options.operator))
            return self.report(run, Exit.REFUSED, lack)
        if not options.observer.agrees(run, counts):
            log.info("declined", run=run.id)
            if run.kind == "undo" and run.started_at is None:
                self.ledger.close_run(run.id)  # a later `run --yes` of the job must not send what somebody refused
            return self.report(run, Exit.INCOMPLETE)
        if (options.reason, options.ticket) not in (("", ""), (run.reason, run.ticket)) and not only_requested:
            self.note(run, REASON_GIVEN)  # the plan was made before
        yes = find_validity(self.job, run, ledger)
        rows = None if yes else self.ambiguous_rows(run)  # without a yes each is settled once, and gets no new key
        ended = await self._drive(run, rows, only_requested=only_requested, yes=yes)
        record_expiry(
            ledger, run, current_actor(options.operator), at=yes.until if yes is not None and yes.is_over else 0.0
        )
        lack = find_lack(self.job, run, ledger) if ledger.to_do(run.id) else []
        ended.stops = [*lack, *(stop for stop in ended.stops if stop.exit_code is not Exit.REFUSED)]
        return self._finish(run, ended)

    def refuse_invalid(self, run: Run) -> None:
        """Refuse the whole input for its invalid rows, when asked to.

        Raises:
            InputError: With `--no-skip-invalid`.
        """
        invalid = self.ledger.counts(run.id).get(State.INVALID, 0)
        if invalid and not self.options.skip_invalid:
            self.report(run, Exit.USAGE)
            hint = "failures.csv names each row and how to mend it; without --no-skip-invalid they are set aside"
            raise InputError(f"{invalid:,} rows are invalid, and --no-skip-invalid refuses the input for them", hint)

    async def _drive(
        self, run: Run, only_rows: Sequence[int] | None, *, only_requested: bool = False, yes: Validity | None = None
    ) -> SessionResult:
        ledger, job, session = self.ledger, self.job, self.session
        assert session is not None  # whoever sends opened one
        self.log_to(run.id)
        now = time.time()
        clock_went_back = now < ledger.last_time() - 1
        recovered = ledger.start_session(run.id, current_actor(self.options.operator), now)
        if recovered:
            log.warning("recovered", run=run.id, rows=recovered, reason="left in flight by a kill")
        counts, to_do = ledger.counts(run.id), ledger.to_do(run.id)
        stats = Totals.from_json(run.stats)
        stats.limit_per_s = None if isinstance(job.limits.rate_per_s, str) else float(job.limits.rate_per_s)
        waived = "canary" in run.waived or only_requested or only_rows is not None
        canary = 0 if waived else max(0, job.guards.canary - counts.get(State.APPLIED, 0))
        engine = plugins.find("engine", job.engine.kind)(
            Sender(session, watch=tuple(job.guards.watch)).send, concurrency=job.limits.concurrency
        )
        self.dispatcher = Dispatcher(
            job,
            run,
            ledger=ledger,
            in_thread=self._in_thread,
            engine=engine,
            session=session,
            stats=stats,
            canary=canary,
            limit=self.left,
            only_requested=only_requested,
            only_rows=only_rows,
            clock_went_back=clock_went_back,
            watch=self.options.observer.progress,
        )
        log.info("sending", run=run.id, target=run.target, rows=to_do, rate_per_s=stats.limit_per_s)
        self.options.observer.sending(run, to_do)
        ticks = asyncio.create_task(self._tick(self.dispatcher), name="ticks")
        try:
            with ending(yes, partial(self.dispatcher.stop, missing_yes(run, "the approval expired"))):
                ended = await self.dispatcher.drive()
        finally:
            ticks.cancel()
            self.options.observer.sent()
        await self._in_thread(ledger.end_session, run.id, now=time.time(), by_itself=ended.by_itself)
        remember = plugins.find("baseline", job.baseline.kind).remember
        await self._in_thread(remember, run.target, self.target, folder=self.folder, ledger=ledger)
        self.handed_out += self.dispatcher.progress.handed_out
        self.dispatcher = None  # only now: a signal has to find it as long as there is something to record
        return ended

    async def _tick(self, dispatcher: Dispatcher) -> None:
        """Let the watcher look also while nothing moves."""
        while True:
            await asyncio.sleep(_TICK_S)
            self.options.observer.progress(dispatcher)

    def _in_thread(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().run_in_executor(self.thread, lambda: call(*args, **kwargs))

    # --- afterwards

    def _finish(self, run: Run, ended: SessionResult) -> RunSummary:
        for reason, rows in ended.gave_up.most_common(_CAUSES_TOLD):
            log.warning("left_open", run=run.id, rows=rows, reason=reason)
        codes: list[int] = [stop.exit_code for stop in ended.stops]
        if ended.signal is not None:
            codes.append(ended.signal)
        if ended.stopped_by:
            stop = next(stop for stop in ended.stops if stop.exit_code is Exit.STOPPED)
            return self._stopped(run, ended.stopped_by, stop, *codes)
        for stop in ended.stops:
            log.error("stopped", run=run.id, reason=stop.reason, hint=stop.hint)
        return self.report(run, gravest(*codes, self.exit_code(run)), ended.stops)

    def _stopped(self, run: Run, guard: str, stop: Stop, *codes: int) -> RunSummary:
        """Remember a stop that only a person may lift."""
        self.ledger.update(run.id, stopped_by=guard, stop_reason=stop.reason, stop_hint=stop.hint)
        self.note(run, "stopped", guard=guard, reason=stop.reason)
        log.error("stopped", run=run.id, guard=guard, reason=stop.reason, hint=stop.hint)
        return self.report(run, gravest(stop.exit_code, *codes))

    def exit_code(self, run: Run) -> Exit:
        """Return what the rows alone say."""
        to_do = self.ledger.to_do(run.id) if self.ledger.run(run.id).state != "closed" else 0
        return exit_code_of(self.ledger.counts(run.id), to_do=to_do)

    def report(self, run: Run, code: Exit, stops: Sequence[Stop] = ()) -> RunSummary:
        """Write the files of a run, and return its summary."""
        self.ledger.update(run.id, exit_code=int(code), finished_at=time.time())
        if not run.stopped_by and code is not Exit.STOPPED:
            reason, hint = (stops[0].reason, stops[0].hint) if stops else ("", "")
            self.ledger.update(run.id, stop_reason=reason, stop_hint=hint)
        run = self.ledger.run(run.id)
        counts, to_do = self.ledger.counts(run.id), self.ledger.to_do(run.id)
        command = self.options.observer.next_command(run, counts, to_do)
        folder = self.folder / run.id
        summary = write_files(self.ledger, run, folder, target=self.target, next_command=command)
        if run.kind == "undo":
            retell(self.ledger, self.ledger.run(run.details[UNDOES]), self.folder, target=self.target)
        log.info("reported", run=run.id, state=summary.state, counts=_plain(counts), exit_code=int(code))
        return summary

    def catch_up(self) -> None:
        """Write the files of a run whose last process was killed when all was recorded, but not yet reported."""
        run = next(sealed_runs(self.job, self.ledger), None)
        if run is not None:
            self.as_reported(run)

    def as_reported(self, run: Run) -> RunSummary:
        """Return the summary of a run; its files are written only when they do not say what the ledger says."""
        if not is_reported(self.ledger, run, self.folder / run.id):
            self.log_to(run.id)
            return self.report(run, self.exit_code(run))
        command = self.options.observer.next_command(run, self.ledger.counts(run.id), self.ledger.to_do(run.id))
        return summarise(self.ledger, run, next_command=command)

    def note(self, run: Run, action: str, **detail: Any) -> None:
        """Keep a fact of the run for the auditor."""
        why = {name: text for name, text in (("why", self.options.reason), ("ticket", self.options.ticket)) if text}
        self.ledger.note(run.id, current_actor(self.options.operator), action, {**detail, **why}, now=time.time())


def _plain(counts: Counts) -> dict[str, int]:
    return {str(state): count for state, count in counts.items() if count}
