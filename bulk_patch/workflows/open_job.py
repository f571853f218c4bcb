"""Open a job: its ledger, target and API session.

One thread owns the ledger while rows are sent; a signal drains the requests that are in flight.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulk_patch.client.send_spec import SendSpec
from bulk_patch.client.session import ApiSession, open_session
from bulk_patch.concurrency import LedgerThread
from bulk_patch.errors import Exit, RefusedError, StoppedError
from bulk_patch.files.atomic import check_reachable, file_mode, make_private_folder
from bulk_patch.files.team import share_folder
from bulk_patch.job.base_urls import same_place, same_target
from bulk_patch.job.load import output_root
from bulk_patch.job.settings import Job
from bulk_patch.ledgers import Ledger, RunReader
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.ledgers.records import Note, Run
from bulk_patch.ledgers.stores import open_store
from bulk_patch.model import State
from bulk_patch.observe import attach_log_file, get_logger
from bulk_patch.observe.totals import asked_to_wait_of, with_asked_to_wait
from bulk_patch.sending.dispatcher import Dispatcher
from bulk_patch.targets import Target
from bulk_patch.targets.from_spec import target_of_job, target_of_run
from bulk_patch.workflows.new_run import gather_situation
from bulk_patch.workflows.open_files import provide_open_files
from bulk_patch.workflows.options import RunOptions
from bulk_patch.workflows.resume_policy import Situation, refuse_other_file
from bulk_patch.workflows.signals import draining

log = get_logger()


@asynccontextmanager
async def open_job(job: Job, options: RunOptions, *, sends: bool) -> "AsyncIterator[OpenJob]":
    """Open ledger, session and signal handlers, and close them in reverse whatever happens."""
    folder = output_root(job.file, given=options.output) / job.name
    target = target_of_job(job)
    if sends:
        provide_open_files(job.limits.concurrency)
    check_reachable(folder)
    async with AsyncExitStack() as stack:
        share_folder(folder, job.ledger.group)
        store = open_store(job.ledger.kind, folder.parent, job.ledger)
        takes_restored = options.new and options.reason
        ledger = store.write(job.name, restored=options.reason) if takes_restored else store.write(job.name)
        stack.callback(ledger.close)
        job = as_known(job, ledger)
        _tell_of_links(job, folder, has_runs=bool(ledger.runs(job.target_name)), given=options.output is not None)
        session: ApiSession | None = None
        if sends:
            session = await stack.enter_async_context(
                open_session(SendSpec.of(job, target), target, sandbox_token=job.sandbox_token)
            )
        thread = stack.enter_context(LedgerThread())
        opened = OpenJob(job, options, folder, target, ledger, session, thread)
        opened.take_over_wait()
        stack.enter_context(draining(opened.on_signal))
        yield opened


def as_known(job: Job, ledger: RunReader) -> Job:
    """Return the job with its target named as in this ledger: before 0.2 it held the base URL as it was typed."""
    names = [run.target for run in ledger.runs()]
    if job.target_name in names:
        return job
    known = next((name for name in names if same_target(name, job.target_name)), "")
    return job.model_copy(update={"known_as": known}) if known else job


def _tell_of_links(job: Job, folder: Path, *, has_runs: bool, given: bool) -> None:
    """Say where the ledger lies when it is reached by a link: once that leads elsewhere, another ledger begins."""
    file_by_link = not given and job.file.resolve().parent != job.file.parent.resolve()
    if not file_by_link and folder.resolve() == folder:
        return
    tell = log.info if has_runs else log.warning
    what = "it lies beside the job file as it was called, by a link" if file_by_link else "it is reached by a link"
    hint = "a ledger of an earlier place is not read here; --output names a folder that stays"
    tell("ledger_by_link", ledger=str(folder.resolve()), job_file=str(job.file.resolve()), reason=what, hint=hint)


@dataclass(slots=True)
class OpenJob:
    """A job with its ledger, target and session open."""

    job: Job
    options: RunOptions
    folder: Path
    target: Target
    ledger: Ledger
    session: ApiSession | None
    thread: LedgerThread
    dispatcher: Dispatcher | None = None  # while rows are sent, until all of their session is recorded
    task: asyncio.Task[Any] | None = field(default_factory=asyncio.current_task)
    begins_session: bool = False  # its beginning may be recorded already, and there is no dispatcher yet
    signal: Exit | None = None
    handed_out: int = 0  # rows, in all sessions of this command
    shown: set[str] = field(default_factory=set)  # runs whose plan this command has shown

    def on_signal(self, code: Exit) -> None:
        """Drain the requests in flight, or cancel what has not started sending."""
        self.signal = code
        if self.dispatcher is not None:
            log.warning("draining", reason="no new rows are sent; requests in flight are finished and recorded")
            self.dispatcher.signalled(code)
        elif self.task is not None and not self.begins_session:
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

    def situation(self) -> Situation:
        """Gather what the resume policy decides by."""
        situation = gather_situation(self.job, self.options, self.ledger)
        if situation.open_run is not None:
            folder = None if self.options.output is not None else self.folder.parent
            refuse_other_file(self.job, situation.open_run, folder=folder)
        return situation

    def run_here(self, run_id: str) -> Run:
        """Return a run of this job, and use the target that it was planned with, whatever [target] says by now.

        Raises:
            RefusedError: It was sent somewhere else than the job's base URL, or than this rehearsal.
        """
        run = self.ledger.run(run_id)
        if not same_place(run.target, self.job.target_name):
            hint = f"this is {self.job.target_name}: a run is read back, sent again and undone only where it was sent"
            raise RefusedError(f"run {run.id} was for {run.target}", hint)
        if run.target != self.job.target_name:
            log.info("target_of_run", run=run.id, target=run.target, reason="the job's [target] has changed since")
            self.job = self.job.model_copy(update={"known_as": run.target})
        self.aim_at(run)
        return run

    def tell_of_other_runs(self) -> None:
        """Say which runs for the same base URL are open that the job does not continue, as its [target] has changed."""
        name = self.job.target_name
        for other in {run.target for run in self.ledger.runs()} - {name}:
            if same_place(other, name) and (run := self.ledger.open_run(other)) is not None:
                hint = "to finish it, give [target] back what it was; to take it back, undo it by its id"
                log.warning("other_run_open", run=run.id, target=run.target, reason=f"this is {name}", hint=hint)

    def aim_at(self, run: Run | None) -> None:
        """Use the target that a run was planned with, whatever the job says by now; None: the one of the job."""
        target = target_of_job(self.job) if run is None else target_of_run(run.id, run.target_spec, run.target)
        if dict(target.spec) == dict(self.target.spec):
            return
        self.target = target
        if self.session is not None:
            self.session.aim(target)

    def refuse_stopped(self, run: Run | None) -> None:
        """Refuse to resume a stopped run, until a person waives that one stop with `--continue`.

        Raises:
            StoppedError: Without `--continue`.
        """
        if run is None or not run.stopped_by:
            return
        if not self.options.go_on:
            counts, to_do = self.ledger.counts(run.id), self.ledger.to_do(run.id)
            command = self.options.commands.next_command(run, counts, to_do).command or self.options.commands.for_job(
                "run", "--continue"
            )
            raise StoppedError(f"run {run.id} is stopped: {run.stop_reason}", f"{run.stop_hint}; to resume: {command}")
        self.lift_stop(run)

    def lift_stop(self, run: Run) -> None:
        """Waive the stop of a run, if there is one: a person has looked."""
        if run.stopped_by:
            self.ledger.waive(run.id)
            self.note(run, "continued", guard=run.stopped_by)

    def ambiguous_rows(self, run: Run) -> list[int]:
        """Return the rows whose outcome is not known and can still be settled."""
        rows = self.ledger.rows(run.id, states=(State.UNKNOWN, State.SENDING))
        return [row.row for row in rows if not row.final]

    def take_over_wait(self) -> None:
        """Wait on where the API asked an earlier process to wait."""
        if self.session is not None:
            here = (run for run in self.ledger.runs() if same_place(run.target, self.job.target_name))
            asked = [asked_to_wait_of(run.stats) for run in here]
            self.session.wait_on(*max(asked, key=lambda wait: wait[1], default=(0.0, 0.0)))

    def keep_wait(self, run_id: str) -> None:
        """Keep until when the API asks to wait: for the next process too."""
        if self.session is not None and (asked := self.session.limiter.asked_to_wait)[1] > time.time():
            self.ledger.save_metrics(run_id, with_asked_to_wait(self.ledger.run(run_id).stats, asked))

    def log_to(self, run_id: str) -> None:
        """Write the log to the run.log of a run from now on."""
        folder = self.folder / run_id
        make_private_folder(folder)
        attach_log_file(folder / "run.log", mode=file_mode(folder))

    def note(self, run: Run, action: str, **detail: Any) -> None:
        """Record a fact of the run for the auditor."""
        why = {name: text for name, text in (("why", self.options.reason), ("ticket", self.options.ticket)) if text}
        note = Note(time.time(), current_actor(self.options.operator), action, {**detail, **why})
        self.ledger.note(run.id, note)


def hand_over(opened: OpenJob, dispatcher: Dispatcher) -> None:
    """Let a dispatcher hear the signals from now on, and the one that came while its session began."""
    opened.dispatcher, opened.begins_session = dispatcher, False
    if opened.signal is not None:
        dispatcher.signalled(opened.signal)
