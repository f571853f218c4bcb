"""When a second person's yes counts: pure rules."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import BulkPatchError, Exit, LedgerError
from bulk_patch.job.settings import Guards, Job
from bulk_patch.ledgers.records import Actor, Note, PlanSummary, Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.review.approvals import (
    Approval,
    approvals_of,
    find_objection,
    is_same_person,
    prepare,
    record_approval,
    rows_of,
    waits_for_approval,
)
from bulk_patch.review.expiry import Validity, ending, find_lack, find_time, find_validity, record_expiry
from bulk_patch.testing.ledger_plans import START, make_run, seal_plan

ALEX = Actor("Alex", "alex", "desk", 7)
RUN: Run = make_run(state="sealed", plan_sha256="a" * 64, summary=PlanSummary(changes=3))  # planned by pat


def approve(run: Run = RUN, actor: Actor = ALEX, **guards: Any) -> Approval:
    """Return what approving a run leaves in the ledger."""
    job = Job.model_construct(name="moves", guards=Guards(approval=True, **guards))  # nothing else matters here
    (approval,) = approvals_of([Note(START, actor, "approved", prepare(job, run, actor, key=None))])
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
        ({"summary": PlanSummary(changes=4)}, "approved 3 changes, these are 4"),
        ({"id": "20261122-151203-4f2b"}, "has been altered"),
        ({"actor": ALEX}, "planned it"),
    ],
    ids=["plan", "target", "rows", "run", "planner"],
)
def test_an_approval_is_of_one_plan_for_one_target_by_another_person(changes: dict[str, Any], words: str) -> None:
    assert words in objection(approve(), replace(RUN, **changes))


@pytest.mark.parametrize("changes", [{"expires_at": 2_000_000_000}, {"actor": Actor("Kim", "kim", "desk", 8)}])
def test_an_approval_that_was_changed_afterwards_does_not_count(changes: dict[str, Any]) -> None:
    assert "has been altered" in objection(replace(approve(), **changes))


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


@pytest.mark.parametrize(
    "other",
    [
        "Jose\u0301 Ruiz",
        " JOS\u00c9  RUIZ ",
        "Jos\u00e9\u200b Ruiz",
        "\uff2aos\u00e9\u00a0Ruiz",
        "Jos\u00e9\tRu\u00adiz",
    ],
    ids=["two code points", "case and blanks", "zero width", "full width and no-break", "tab and soft hyphen"],
)
def test_a_name_that_only_looks_like_another_is_the_same_person(other: str) -> None:
    assert is_same_person("Jos\u00e9 Ruiz", other)
    assert not is_same_person("Jose Ruiz", other)


def test_an_approval_whose_record_is_damaged_is_a_fault_of_the_ledger() -> None:
    with pytest.raises(LedgerError, match="record of an approval"):
        approvals_of([Note(START, ALEX, "approved", {"plan_sha256": "a", "rowz": 3})])


# --- clocks


def test_what_the_ledger_knew_before_an_approval_says_nothing_of_its_age() -> None:
    approval = replace(approve(), at=START, ledger_time=START + 9e6)
    assert find_time(approval, [], last_time=START + 9e6) == START
    assert find_time(approval, [], last_time=START + 9e6 + 1) == START + 9e6 + 1


def test_what_was_recorded_after_an_approval_says_how_old_it_is() -> None:
    approval = replace(approve(), at=START, ledger_time=START + 9e6)
    later: list[Note] = [Note(START + 80, ALEX, "revealed"), Note(START + 50, ALEX, "revealed")]
    assert find_time(approval, later, last_time=START + 9e6) == START + 80


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger.open(tmp_path / "ledger.db", job="moves") as ledger:
        yield ledger


class Clock:
    """A clock that somebody sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        monkeypatch.setattr(time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


JOB = Job.model_construct(name="moves", guards=Guards(approval=True, approval_valid_h=1))


def lack(ledger: SqliteLedger, run: Run) -> str:
    return " ".join(stop.reason for stop in find_lack(JOB, run, ledger))


def give(ledger: SqliteLedger, run: Run) -> None:
    record_approval(ledger, run, ALEX, prepare(JOB, run, ALEX, key=None))


def test_an_approval_counts_after_a_clock_was_ahead_once(ledger: SqliteLedger, clock: Clock) -> None:
    seal_plan(ledger, 1, make_run("ahead", job="moves", created_at=START + 30 * 86400))
    run = ledger.run(seal_plan(ledger, 1, make_run(job="moves")))
    give(ledger, run)
    clock.now += 3500
    assert lack(ledger, run) == ""
    assert find_validity(JOB, run, ledger) == Validity(START + 3600, 100)
    clock.now += 100
    assert "expired" in lack(ledger, run)


@pytest.mark.parametrize("was_ahead", [False, True])
def test_an_approval_that_was_met_expired_stays_so_when_the_clock_goes_back(
    ledger: SqliteLedger, clock: Clock, was_ahead: bool
) -> None:
    if was_ahead:
        seal_plan(ledger, 1, make_run("ahead", job="moves", created_at=START + 30 * 86400))
    run = ledger.run(seal_plan(ledger, 1, make_run(job="moves")))
    give(ledger, run)
    clock.now += 3601
    for _ in range(2):
        record_expiry(ledger, run, ALEX)
    clock.now -= 3000
    assert "expired" in lack(ledger, run)
    assert [note.action for note in ledger.notes(run.id)] == ["approved", "approval expired"]
    give(ledger, run)
    assert lack(ledger, run) == ""


def test_an_approval_that_was_given_by_a_clock_ahead_does_not_last_longer_for_it(
    ledger: SqliteLedger, clock: Clock
) -> None:
    run = ledger.run(seal_plan(ledger, 1, make_run(job="moves")))
    clock.now += 30 * 86400
    give(ledger, run)
    clock.now -= 30 * 86400
    assert "in the future" in lack(ledger, run)
    give(ledger, run)
    assert lack(ledger, run) == ""


def test_a_clock_that_is_set_back_while_rows_are_sent_prolongs_nothing(ledger: SqliteLedger, clock: Clock) -> None:
    run = ledger.run(seal_plan(ledger, 1, make_run(job="moves")))
    give(ledger, run)
    clock.now += 3599.8
    validity = find_validity(JOB, run, ledger)
    assert validity is not None

    async def send() -> float:
        begun, over = time.monotonic(), asyncio.Event()
        with ending(validity, over.set):
            clock.now -= 1800
            await asyncio.wait_for(over.wait(), timeout=5)
        return time.monotonic() - begun

    assert 0.19 < asyncio.run(send()) < 0.5
    assert lack(ledger, run) == ""  # by that clock
    record_expiry(ledger, run, ALEX, at=validity.until if validity.is_over else 0.0)
    assert "expired" in lack(ledger, run)


def test_a_clock_that_jumps_ahead_while_rows_are_sent_ends_an_approval_too(clock: Clock) -> None:
    async def send() -> None:
        over = asyncio.Event()
        with ending(Validity(START + 1800, 1800), over.set):
            await asyncio.sleep(0.01)
            assert not over.is_set()
            clock.now += 1800
            await asyncio.wait_for(over.wait(), timeout=5)

    asyncio.run(send())
