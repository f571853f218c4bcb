"""Resume policy: given the job's runs, should `run` plan, resume, replace, finish or close? Pure functions."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from bulk_patch.errors import RefusedError
from bulk_patch.job.load import output_root
from bulk_patch.job.settings import Job
from bulk_patch.ledgers.records import Run
from bulk_patch.workflows.options import Commands


class NextStep(Enum):
    """What `run` or `plan` has to do about the existing runs."""

    PLAN = "plan"  # no run is open: plan a new one
    RESUME = "resume"  # continue the open run, from the ledger alone
    REPLACE = "replace"  # the open run has sent nothing: discard it and plan again
    FINISH = "finish"  # complete the open run from the ledger, then plan the new input
    CLOSE = "close"  # --new: settle unknown rows, close the open run, plan again


@dataclass(frozen=True, slots=True)
class Situation:
    """What the decision depends on.

    Args:
        open_run: The run of this job and target that has rows still to be tried.
        last_run: The newest sealed run of the job's input to this target; undos do not count.
        sent_before: The newest run of these very bytes to this target that was sent and is complete, where no
            baseline would notice that they are sent again.
        sent: The open run has sent something.
        changed: The input, or the job's [input], [baseline] or guards.fields, are not those of the open run, or of the
            last one where none is open.
        new: `--new` was given.
        approved: The open run was approved; whether that still counts is not decided here.
        go_on: `--continue` was given.
    """

    open_run: Run | None
    last_run: Run | None
    sent: bool
    changed: bool
    new: bool
    approved: bool = False
    go_on: bool = False
    sent_before: Run | None = None


def decide_run(situation: Situation, commands: Commands) -> NextStep:
    """Choose the next step of `run`.

    Args:
        situation: What it depends on.
        commands: Names commands in hints.

    Raises:
        RefusedError: Nothing may be sent without `--new`, or with a `--continue` that has no stop to waive.
    """
    step = _decide_run(situation, commands)
    run = situation.open_run or situation.last_run
    if situation.go_on and step is not NextStep.RESUME and not (run is not None and run.stopped_by):
        hint = f"to plan and send the input as it is: {commands.for_job('run')}"
        raise RefusedError("--continue resumes a stopped run, and no run that can be resumed is stopped", hint)
    return step


def _decide_run(situation: Situation, commands: Commands) -> NextStep:
    run = situation.open_run
    if run is None:
        _refuse_twice(situation, commands)
        return NextStep.PLAN
    if situation.new:
        # An approval stays on record.
        return NextStep.CLOSE if situation.sent or situation.approved else NextStep.REPLACE
    if not situation.changed:
        return NextStep.RESUME
    if not situation.sent and situation.approved:
        raise RefusedError(
            f"the input or the job has changed since run {run.id} of {_when(run.created_at)} was approved",
            "restore the input and the job to send the approved plan, or make a new plan and have it approved: "
            + commands.for_job("plan"),
        )
    if not situation.sent:
        return NextStep.REPLACE
    if not run.baseline_can.notices_resend:
        raise RefusedError(
            f"the input or the job has changed, and run {run.id} of {_when(run.created_at)} has sent part of it",
            "restore the old input and job to finish that run, or drop the rest of it: "
            + commands.for_job("run", "--new"),
        )
    return NextStep.FINISH


def decide_plan(situation: Situation, commands: Commands) -> NextStep:
    """Choose the next step of `plan`, which sends nothing.

    Args:
        situation: What it depends on.
        commands: Names commands in hints.

    Raises:
        RefusedError: There is a run that it may not replace.
    """
    run = situation.open_run
    if run is None:
        _refuse_twice(situation, commands)
        return NextStep.PLAN
    if not situation.sent:
        return NextStep.CLOSE if situation.approved else NextStep.REPLACE
    if situation.new:
        return NextStep.CLOSE
    raise RefusedError(
        f"run {run.id} of {_when(run.created_at)} is open and has sent part of its rows",
        f"finish it: {commands.for_job('run')}; or drop the rest of it: {commands.for_job('plan', '--new')}",
    )


def decide_undo(open_run: Run | None, undone: Run, commands: Commands) -> Run | None:
    """Return the open run that already undoes this one; None: plan a new one.

    Args:
        open_run: The open run of the job and target.
        undone: The run to undo.
        commands: Names commands in hints.

    Raises:
        RefusedError: Another run of this job and target is open, or there is no sealed plan to undo.
    """
    if undone.state == "planning":
        raise RefusedError(f"run {undone.id} has no finished plan, so nothing was sent", "there is nothing to undo")
    if open_run is None or open_run.summary.undoes == undone.id:
        return open_run
    if open_run.id == undone.id:
        hint = f"finish it first: {commands.for_job('run')}; or, once the input has changed, drop the rest of it: "
        raise RefusedError(f"run {undone.id} still has rows to send", hint + commands.for_job("run", "--new"))
    raise open_run_error(open_run, commands)


def refuse_other_file(job: Job, open_run: Run, *, folder: Path | None) -> None:
    """Refuse to touch an open run that another job file of the same name has planned.

    A file that was moved or is reached by a link is the same one, and so is one that was copied with its ledger.

    Args:
        job: The job.
        open_run: Its open run.
        folder: The output folder, where the place of the job file gives it; None: it was named.

    Raises:
        RefusedError: The recorded file still exists, and it is another one, however it is reached.
    """
    recorded = Path(open_run.job_file)
    if not open_run.job_file or recorded == job.file or not recorded.is_file():
        return
    if recorded.resolve() == job.file.resolve():
        return
    if folder is not None and output_root(recorded).resolve() != folder.resolve():  # it has a ledger of its own
        return
    raise RefusedError(
        f"run {open_run.id} of {_when(open_run.created_at)} is open, and another job file with the name {job.name} has "
        f"planned it: {recorded}",
        f"give one of the two jobs another name; or bring that run to its end first, with its own file: {recorded}",
    )


def no_plan_error(run: Run, commands: Commands) -> RefusedError:
    """Return the refusal of a command about a run whose plan was never sealed."""
    return RefusedError(
        f"run {run.id} has no finished plan, so nothing was sent", f"start over: {commands.for_job('run')}"
    )


def open_run_error(run: Run, commands: Commands) -> RefusedError:
    """Return the refusal of a command about another run while this one is open."""
    return RefusedError(f"run {run.id} of this job is open", f"finish it first: {commands.for_job('run')}")


def _refuse_twice(situation: Situation, commands: Commands) -> None:
    """Refuse to send the same input again, where no baseline would notice."""
    last = situation.last_run
    if last is None or situation.changed or last.baseline_can.notices_resend or last.started_at is None:
        last = situation.sent_before
    if last is None or situation.new:
        return
    raise RefusedError(
        f"this input has already been sent (run {last.id}, finished {_when(last.finished_at or last.created_at)})",
        "to send it again on purpose: " + commands.for_job("run", "--new"),
    )


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
