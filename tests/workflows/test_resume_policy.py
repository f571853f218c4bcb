"""One command for the first start, a restart and the nightly cron line: the whole table, line by line."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest

from bulk_patch.errors import Exit, RefusedError
from bulk_patch.ledgers.records import PlanSummary, Run
from bulk_patch.testing.ledger_plans import START, make_run
from bulk_patch.workflows.options import Commands, PlainCommands
from bulk_patch.workflows.resume_policy import NextStep, Situation, decide_plan, decide_run, decide_undo

BASELINES = ("none", "file", "last-run", "live")
COMMANDS = PlainCommands()
REFUSED = None  # what the tables below say where the exit code is 9


def run_of(baseline: str, **facts: Any) -> Run:
    return make_run(baseline=baseline, state="sealed", **facts)


def decided(decide: Callable[[Situation, Commands], NextStep], facts: Situation) -> NextStep | None:
    try:
        return decide(facts, COMMANDS)
    except RefusedError:
        return REFUSED


# --- an open run

OPEN_RUN: dict[tuple[bool, bool, bool], tuple[NextStep | None, NextStep | None]] = {
    # (sent, changed, new): (baseline none or file, baseline last-run or live)
    (False, False, False): (NextStep.RESUME, NextStep.RESUME),
    (False, False, True): (NextStep.REPLACE, NextStep.REPLACE),
    (False, True, False): (NextStep.REPLACE, NextStep.REPLACE),
    (False, True, True): (NextStep.REPLACE, NextStep.REPLACE),
    (True, False, False): (NextStep.RESUME, NextStep.RESUME),
    (True, False, True): (NextStep.CLOSE, NextStep.CLOSE),
    (True, True, False): (REFUSED, NextStep.FINISH),
    (True, True, True): (NextStep.CLOSE, NextStep.CLOSE),
}


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize(("sent", "changed", "new"), OPEN_RUN)
def test_run_with_an_open_run(baseline: str, sent: bool, changed: bool, new: bool) -> None:
    facts = Situation(open_run=run_of(baseline), last_run=run_of(baseline), sent=sent, changed=changed, new=new)
    expected = OPEN_RUN[sent, changed, new][baseline in ("last-run", "live")]
    assert decided(decide_run, facts) is expected


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize(("sent", "changed", "new"), OPEN_RUN)
def test_plan_replaces_what_has_sent_nothing_and_refuses_the_rest_without_new(
    baseline: str, sent: bool, changed: bool, new: bool
) -> None:
    facts = Situation(open_run=run_of(baseline), last_run=run_of(baseline), sent=sent, changed=changed, new=new)
    expected = NextStep.REPLACE if not sent else NextStep.CLOSE if new else REFUSED
    assert decided(decide_plan, facts) is expected


def test_an_open_run_matters_more_than_what_was_sent_before_it() -> None:
    last = run_of("none", started_at=START)
    facts = Situation(open_run=run_of("none"), last_run=last, sent=False, changed=False, new=False)
    assert decided(decide_run, facts) is NextStep.RESUME
    assert decided(decide_plan, facts) is NextStep.REPLACE


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize(("changed", "new"), list(itertools.product([False, True], repeat=2)))
def test_a_plan_that_somebody_approved_is_sent_or_refused_and_its_record_is_never_discarded(
    baseline: str, changed: bool, new: bool
) -> None:
    run = run_of(baseline)
    facts = Situation(open_run=run, last_run=run, sent=False, changed=changed, new=new, approved=True)
    assert decided(decide_run, facts) is (NextStep.CLOSE if new else REFUSED if changed else NextStep.RESUME)
    assert decided(decide_plan, facts) is NextStep.CLOSE


# --- no open run


@pytest.mark.parametrize("decide", [decide_run, decide_plan])
@pytest.mark.parametrize("new", [False, True])
def test_the_first_run_of_a_job_is_planned(decide: Callable[[Situation, Commands], NextStep], new: bool) -> None:
    assert decided(decide, Situation(open_run=None, last_run=None, sent=False, changed=False, new=new)) is NextStep.PLAN


@pytest.mark.parametrize("decide", [decide_run, decide_plan])
@pytest.mark.parametrize(
    ("baseline", "started", "changed", "new"),
    list(itertools.product(BASELINES, (False, True), (False, True), (False, True))),
)
def test_what_was_sent_already_is_refused_only_where_no_baseline_would_notice(
    decide: Callable[[Situation, Commands], NextStep], baseline: str, started: bool, changed: bool, new: bool
) -> None:
    last = run_of(baseline, started_at=START if started else None)
    facts = Situation(open_run=None, last_run=last, sent=False, changed=changed, new=new)
    would_send_twice = baseline in ("none", "file") and started and not changed and not new
    assert decided(decide, facts) is (REFUSED if would_send_twice else NextStep.PLAN)


# --- --continue


@pytest.mark.parametrize("stopped_by", ["", "canary"])
@pytest.mark.parametrize(
    ("is_open", "sent", "changed", "way"),
    [(False, False, True, NextStep.PLAN), (True, False, True, NextStep.REPLACE), (True, True, True, NextStep.FINISH)],
)
def test_to_go_on_after_a_stop_plans_nothing_where_there_was_none(
    is_open: bool, sent: bool, changed: bool, way: NextStep, stopped_by: str
) -> None:
    run = run_of("live", stopped_by=stopped_by, started_at=START)
    facts = Situation(
        open_run=run if is_open else None, last_run=run, sent=sent, changed=changed, new=False, go_on=True
    )
    assert decided(decide_run, facts) is (way if stopped_by else REFUSED)


def test_to_go_on_after_a_stop_that_was_lifted_by_a_command_that_was_killed_resumes() -> None:
    run = run_of("live", started_at=START)
    facts = Situation(open_run=run, last_run=run, sent=True, changed=False, new=False, go_on=True)
    assert decided(decide_run, facts) is NextStep.RESUME


def test_the_first_command_of_a_job_has_nothing_to_go_on_after() -> None:
    facts = Situation(open_run=None, last_run=None, sent=False, changed=False, new=False, go_on=True)
    with pytest.raises(RefusedError, match="--continue resumes a stopped run") as caught:
        decide_run(facts, COMMANDS)
    assert caught.value.hint.endswith("bulk-patch run JOB")


# --- what a refusal says


def test_a_refusal_to_send_twice_says_when_it_was() -> None:
    last = run_of("none", started_at=START, finished_at=1_795_363_200.0)
    with pytest.raises(RefusedError, match=rf"already been sent \(run {last.id}, finished 2026-11-22 16:00 UTC\)"):
        decide_run(Situation(open_run=None, last_run=last, sent=False, changed=False, new=False), COMMANDS)


def test_a_run_whose_end_is_not_known_is_told_by_its_beginning() -> None:
    last = run_of("none", started_at=START, created_at=1_795_363_200.0)
    with pytest.raises(RefusedError, match="2026-11-22 16:00 UTC"):
        decide_plan(Situation(open_run=None, last_run=last, sent=False, changed=False, new=False), COMMANDS)


@pytest.mark.parametrize("decide", [decide_run, decide_plan])
def test_a_refusal_names_the_run_that_is_in_the_way(decide: Callable[[Situation, Commands], NextStep]) -> None:
    open_run = run_of("file")
    with pytest.raises(RefusedError, match=open_run.id) as caught:
        decide(Situation(open_run=open_run, last_run=open_run, sent=True, changed=True, new=False), COMMANDS)
    assert "has sent part of" in caught.value.message
    assert re.search(r"bulk-patch (run|plan) JOB --new", caught.value.hint)
    assert caught.value.exit_code is Exit.REFUSED


# --- undo


def test_an_undo_is_planned_where_nothing_is_open() -> None:
    assert decide_undo(None, run_of("live"), COMMANDS) is None


def test_an_undo_that_is_open_is_gone_on_with() -> None:
    undone = run_of("live")
    begun = run_of("live", id="20261122-160000-00ff", kind="undo", summary=PlanSummary(undoes=undone.id))
    assert decide_undo(begun, undone, COMMANDS) is begun


def test_an_undo_waits_for_the_run_that_is_open() -> None:
    undone, other = run_of("live"), run_of("live", id="20261122-160000-00ff")
    with pytest.raises(RefusedError, match="still has rows to send"):
        decide_undo(undone, undone, COMMANDS)
    with pytest.raises(RefusedError, match=f"run {other.id} of this job is open"):
        decide_undo(other, undone, COMMANDS)


def test_a_plan_that_was_never_finished_has_nothing_to_undo() -> None:
    with pytest.raises(RefusedError, match="no finished plan"):
        decide_undo(None, make_run(state="planning"), COMMANDS)
