"""One command for the first start, a restart and the nightly cron line: which of them is it now? Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from bulk_patch.errors import RefusedError
from bulk_patch.ledgers.records import Run


class NextStep(Enum):
    """What `run` or `plan` has to do about the runs that are there."""

    PLAN = "plan"  # no run is open: plan a new one
    RESUME = "resume"  # go on with the open run, from the ledger alone
    REPLACE = "replace"  # the open run has sent nothing: discard it and plan anew
    FINISH = "finish"  # bring the open run to its end from the ledger, then plan the new input
    CLOSE = "close"  # --new: settle what is ambiguous, close the open run, plan anew


@dataclass(frozen=True, slots=True)
class Situation:
    """What the decision depends on.

    Args:
        open_run: The run of this job and target that has rows still to be tried.
        last_run: The newest sealed run of the job's input to this target; an undo is none.
        sent: The open run has sent something.
        changed: The input, or the job's [input], [baseline] or guards.fields, are not those of the run in question: the
            open one, else the last.
        new: `--new` was given.
        approved: Somebody approved the open run; whether that still counts is not asked here.
        go_on: `--continue` was given.
    """

    open_run: Run | None
    last_run: Run | None
    sent: bool
    changed: bool
    new: bool
    approved: bool = False
    go_on: bool = False


def decide_run(situation: Situation) -> NextStep:
    """Choose the next step of `run`.

    Raises:
        RefusedError: Nothing may be sent without `--new`, or with a `--continue` that has no stop to waive.
    """
    step = _decide_run(situation)
    run = situation.open_run or situation.last_run
    if situation.go_on and step is not NextStep.RESUME and not (run is not None and run.stopped_by):
        hint = "to plan and send the input as it is: run, without --continue"
        raise RefusedError("--continue goes on after a stop, and no run that could go on is stopped", hint)
    return step


def _decide_run(situation: Situation) -> NextStep:
    run = situation.open_run
    if run is None:
        _refuse_twice(situation)
        return NextStep.PLAN
    if situation.new:
        return (
            NextStep.CLOSE if situation.sent or situation.approved else NextStep.REPLACE
        )  # an approval stays on record
    if not situation.changed:
        return NextStep.RESUME
    if not situation.sent and situation.approved:
        raise RefusedError(
            f"the input or the job changed since run {run.id} of {_when(run.created_at)} was approved",
            "put them back to send what was approved, or plan anew, to be approved again: plan",
        )
    if not situation.sent:
        return NextStep.REPLACE
    if run.baseline in ("none", "file"):
        raise RefusedError(
            f"the input or the job changed, and run {run.id} of {_when(run.created_at)} has sent a part of the old one",
            "put the old input and job back to finish that run, or drop its rest: run --new",
        )
    return NextStep.FINISH


def decide_plan(situation: Situation) -> NextStep:
    """Choose the next step of `plan`, which sends nothing.

    Raises:
        RefusedError: There is a run that it may not replace.
    """
    run = situation.open_run
    if run is None:
        _refuse_twice(situation)
        return NextStep.PLAN
    if not situation.sent:
        return NextStep.CLOSE if situation.approved else NextStep.REPLACE
    if situation.new:
        return NextStep.CLOSE
    raise RefusedError(
        f"run {run.id} of {_when(run.created_at)} is open and has sent a part of its rows",
        "finish it with run, or drop its rest with --new",
    )


def decide_undo(open_run: Run | None, undone: Run) -> Run | None:
    """Return the open run that takes this one back already; None: plan a new one.

    Raises:
        RefusedError: Another run of this job and target is open, or there is no sealed plan to take back.
    """
    if undone.state == "planning":
        raise RefusedError(f"the plan of run {undone.id} was never finished: nothing of it was sent", "nothing to undo")
    if open_run is None or open_run.summary.undoes == undone.id:
        return open_run
    if open_run.id == undone.id:
        hint = "bring it to its end first: run; or drop its rest: run --new after a change of the input"
        raise RefusedError(f"run {undone.id} has rows that are still to be sent", hint)
    raise RefusedError(f"run {open_run.id} of this job is open", "finish it first: run")


def _refuse_twice(situation: Situation) -> None:
    """Refuse to send what was sent already, where no baseline would notice."""
    last = situation.last_run
    if (
        last is None
        or situation.new
        or situation.changed
        or last.baseline not in ("none", "file")
        or last.started_at is None
    ):
        return
    raise RefusedError(
        f"this input was sent already: run {last.id} ended {_when(last.finished_at or last.created_at)}",
        "to send it once more, on purpose: --new",
    )


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
