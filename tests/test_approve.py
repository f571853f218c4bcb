"""When a second person's yes counts: pure rules."""

from dataclasses import replace
from typing import Any

import pytest

from bulk_patch.approve import Approval, approvals_of, find_objection, prepare, rows_of, waits_for_approval
from bulk_patch.errors import BulkPatchError, Exit
from bulk_patch.job import Guards, Job
from bulk_patch.ledgers import Actor, Run
from tests.ledger_plans import START, make_run

ALEX = Actor("Alex", "alex", "desk", 7)
RUN: Run = make_run(state="sealed", plan_sha256="a" * 64, details={"changes": 3})  # planned by pat


def approve(run: Run = RUN, actor: Actor = ALEX, **guards: Any) -> Approval:
    """Return what approving a run leaves in the ledger."""
    job = Job.model_construct(name="moves", guards=Guards(approval=True, **guards))  # nothing else matters here
    (approval,) = approvals_of([(START, actor, "approved", prepare(job, run, actor, key=None))])
    return approval


def objection(approval: Approval, run: Run = RUN, *, now: float = START, fault: str = "") -> str:
    return find_objection(approval, run, now=now, fault=lambda statement, its: fault)


def test_an_approval_of_this_plan_by_somebody_else_counts_until_it_expires() -> None:
    approval = approve()
    assert rows_of(RUN) == 3
    assert objection(approval, now=approval.expires_at - 1) == ""
    assert "expired" in objection(approval, now=approval.expires_at)


@pytest.mark.parametrize("valid_h", [1, 72, 0.5])
def test_an_approval_lasts_as_long_as_the_job_says(valid_h: float) -> None:
    short, long = approve(approval_valid_h=valid_h), approve(approval_valid_h=valid_h + 1)
    assert long.expires_at - short.expires_at == pytest.approx(3600, abs=2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plan_sha256": "a" * 63 + "b"}, "not the one"),
        ({"target": "synctera sandbox customers"}, "approved it for"),
        ({"details": {"changes": 4}}, "approved 3 changes, these are 4"),
        ({"id": "20261122-151203-4f2b"}, "not as it was given"),
        ({"actor": ALEX}, "planned it"),
    ],
    ids=["plan", "target", "rows", "run", "planner"],
)
def test_an_approval_is_of_one_plan_for_one_target_by_another_person(changes: dict[str, Any], words: str) -> None:
    assert words in objection(approve(), replace(RUN, **changes))


@pytest.mark.parametrize("changes", [{"expires_at": 2_000_000_000}, {"actor": Actor("Kim", "kim", "desk", 8)}])
def test_an_approval_that_was_changed_afterwards_does_not_count(changes: dict[str, Any]) -> None:
    assert "not as it was given" in objection(replace(approve(), **changes))


def test_a_signature_that_is_not_valid_is_told_as_it_is() -> None:
    assert objection(approve(), fault="not signed") == "not signed"


@pytest.mark.parametrize(
    ("run", "actor", "code"),
    [
        (RUN, RUN.actor, Exit.REFUSED),
        (RUN, replace(ALEX, operator=" PAT "), Exit.REFUSED),
        (replace(RUN, state="planning"), ALEX, Exit.REFUSED),
    ],
    ids=["the planner", "the planner, spelt otherwise", "no plan yet"],
)
def test_what_cannot_be_approved_is_refused(run: Run, actor: Actor, code: Exit) -> None:
    with pytest.raises(BulkPatchError) as caught:
        approve(run, actor)
    assert caught.value.exit_code is code


def test_a_run_waits_only_as_long_as_its_last_stop_says_so() -> None:
    waiting = replace(RUN, stop_reason="not approved: a person other than pat has to say yes")
    assert waits_for_approval(waiting)
    assert not waits_for_approval(replace(waiting, stopped_by="canary"))
    assert not waits_for_approval(RUN)
