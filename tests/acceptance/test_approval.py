"""approve: nothing of a plan is sent before another person said yes to exactly this plan."""

import json
import re
import shlex
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.approvals import (
    PLANNER,
    REVIEWER,
    ask_for_approval,
    change_approval,
    change_ledger,
    plan_and_wait,
)
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import (
    FILE,
    NAME,
    TOKEN,
    aimed_at,
    new_emails,
    patches,
    people,
    planned_at,
    write_input,
    write_job,
)


@pytest.fixture
def planned(office: Workspace, api: Sandbox) -> Workspace:
    """Return a place with a plan of three rows that waits for an approval."""
    plan_and_wait(office, api)
    return office


def test_a_run_sends_nothing_before_somebody_else_said_yes(planned: Workspace, api: Sandbox) -> None:
    run = planned.runs(NAME)[-1]["id"]
    ended = planned.run("run", FILE, *aimed_at(api), *PLANNER)
    assert ended.code == 9
    assert ended.next == f"bulk-patch approve {run}"
    assert "stopped: not approved" in ended.out
    assert patches(api) == []
    assert planned.summary(NAME)["exit_code"] == 9
    status = planned.run("status", run)
    assert f"bulk-patch approve {run}" in status.out
    assert [its["id"] for its in planned.runs(NAME)] == [run]


def test_who_planned_a_run_cannot_approve_it_however_the_name_is_written(planned: Workspace) -> None:
    run = planned.runs(NAME)[-1]["id"]
    for name in ("Robin", "robin", " ROBIN "):
        ended = planned.run("approve", run, "--operator", name)
        assert ended.code == 9
        assert "cannot approve" in ended.err
    assert planned.notes(NAME) == []


def test_an_approved_run_is_sent_and_says_who_approved_it(planned: Workspace, api: Sandbox) -> None:
    run = planned.runs(NAME)[-1]["id"]
    approved = planned.run("approve", run, *REVIEWER)
    assert approved.code == 0, approved.err
    assert "not cryptographically proven" in approved.out
    assert approved.next.startswith("bulk-patch run ")
    status = planned.run("status", run).out
    assert "bulk-patch approve" not in status
    assert re.search(
        r"^  approved by Alex until \S+Z, not signed: recorded, not cryptographically proven$", status, re.MULTILINE
    )
    ended = planned.run("run", FILE, *aimed_at(api), *PLANNER)
    assert ended.code == 0, ended.err
    assert len(patches(api)) == 3
    (told,) = planned.summary(NAME)["approvals"]
    assert (told["operator"], told["signed_by"]) == ("Alex", "")
    assert told["login"]
    assert told["host"]
    assert told["at"] < told["expires_at"]


def test_run_alone_plans_and_waits_and_an_approval_lets_the_same_command_go_on(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    ask_for_approval(office)
    assert office.run("run", FILE, *aimed_at(api), *PLANNER).code == 9
    assert (office.job_folder(NAME) / office.runs(NAME)[-1]["id"] / "results.csv").exists()
    assert office.run("approve", office.runs(NAME)[-1]["id"], *REVIEWER).code == 0
    assert office.run("run", FILE, *aimed_at(api), *PLANNER).code == 0
    assert office.run("approve", office.runs(NAME)[-1]["id"], *REVIEWER).code == 9  # nothing is left to be sent


@pytest.mark.parametrize(
    "changes",
    [
        {"plan_sha256": "0" * 64},
        {"target": "synctera https://api.example.org/v0 customers"},
        {"rows": 2},
        {"expires_at": 2_000_000_000},
        {"expires_at": 1_000_000_000},
    ],
    ids=["plan", "target", "rows", "a longer time", "expired"],
)
def test_an_approval_counts_for_exactly_what_was_approved(
    planned: Workspace, api: Sandbox, changes: dict[str, Any]
) -> None:
    assert planned.run("approve", planned.runs(NAME)[-1]["id"], *REVIEWER).code == 0
    change_approval(planned, changes)
    ended = planned.run("run", FILE, *aimed_at(api), *PLANNER)
    assert ended.code == 9, ended.err
    assert "stopped: not approved" in ended.out
    assert patches(api) == []


def test_an_approval_expires_as_the_job_says(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    ask_for_approval(office, "approval_valid_h = 0.0003")  # a second
    assert office.run("plan", FILE, *planned_at(api), *PLANNER).code == 0
    assert office.run("approve", office.runs(NAME)[-1]["id"], *REVIEWER).code == 0
    (note,) = office.notes(NAME)
    assert note["detail"]["expires_at"] <= note["at"] + 1.1
    time.sleep(1.2)
    ended = office.run("run", FILE, *aimed_at(api), *PLANNER)
    assert ended.code == 9
    assert "expired" in ended.out
    assert patches(api) == []


def test_a_plan_of_one_byte_more_is_another_plan(planned: Workspace, api: Sandbox) -> None:
    assert planned.run("approve", planned.runs(NAME)[-1]["id"], *REVIEWER).code == 0
    with closing(sqlite3.connect(planned.job_folder(NAME) / "ledger.db")) as database:
        database.execute("DROP TRIGGER rows_stay")
        database.execute("UPDATE rows SET body = CAST(replace(body, 'new1@', 'new9@') AS BLOB) WHERE row = 1")
        database.commit()
    assert planned.run("run", FILE, *aimed_at(api), *PLANNER).code == 7
    assert patches(api) == []


def test_an_approved_plan_whose_input_changed_is_refused_until_it_is_planned_anew(
    planned: Workspace, api: Sandbox
) -> None:
    assert planned.run("approve", planned.runs(NAME)[-1]["id"], *REVIEWER).code == 0
    write_input(planned, new_emails(1, 2, 4))
    ended = planned.run("run", FILE, *aimed_at(api), *PLANNER)
    assert ended.code == 9
    assert "was approved" in ended.err
    assert planned.run("plan", FILE, *planned_at(api), *PLANNER).code == 0
    assert [note["action"] for note in planned.notes(NAME)] == ["approved", "closed"]  # the record stays
    assert planned.run("run", FILE, *aimed_at(api), *PLANNER).code == 9
    assert patches(api) == []


def test_what_an_approval_let_begin_goes_on_after_a_limit_until_it_expires(planned: Workspace, api: Sandbox) -> None:
    assert planned.run("approve", planned.runs(NAME)[-1]["id"], *REVIEWER).code == 0
    assert planned.run("run", FILE, *aimed_at(api), *PLANNER, "--limit", "1").code == 4
    assert planned.run("run", FILE, *aimed_at(api), *PLANNER, "--limit", "1").code == 4
    change_approval(planned, {"expires_at": 1_000_000_000})
    assert planned.run("run", FILE, *aimed_at(api), *PLANNER).code == 9
    assert len(patches(api)) == 2
    assert planned.run("approve", planned.runs(NAME)[-1]["id"], "--operator", "Kim").code == 0
    assert planned.run("run", FILE, *aimed_at(api), *PLANNER).code == 0
    assert [its["operator"] for its in planned.summary(NAME)["approvals"]] == ["Alex", "Kim"]


def test_two_people_who_approve_at_once_leave_one_record_each(planned: Workspace) -> None:
    both = [planned.start("approve", planned.runs(NAME)[-1]["id"], "--operator", name) for name in ("Alex", "Kim")]
    for process in both:
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, out + err
    assert sorted(note["actor"]["operator"] for note in planned.notes(NAME)) == ["Alex", "Kim"]


def test_the_command_line_cannot_do_away_with_the_second_person(planned: Workspace, api: Sandbox) -> None:
    for setting in ("guards.approval=false", "guards.approval_valid_h=9"):
        ended = planned.run("run", FILE, *aimed_at(api), *PLANNER, "--set", setting)
        assert ended.code == 2
        assert setting.partition("=")[0] in ended.err
    assert patches(api) == []


def test_an_undo_needs_an_approval_of_its_own(planned: Workspace, api: Sandbox) -> None:
    run = planned.runs(NAME)[-1]["id"]
    assert planned.run("approve", run, *REVIEWER).code == 0
    assert planned.run("run", FILE, *aimed_at(api), *PLANNER).code == 0
    ended = planned.run("undo", run, *aimed_at(api), *REVIEWER)
    undo = planned.runs(NAME)[-1]["id"]
    assert (ended.code, ended.next) == (9, f"bulk-patch approve {undo}")
    assert len(patches(api)) == 3
    approved = planned.run("approve", undo, *PLANNER)
    assert (approved.code, shlex.split(approved.next)[1:3]) == (0, ["undo", run])
    assert planned.run("undo", run, *aimed_at(api), *REVIEWER).code == 0
    assert len(patches(api)) == 6


def test_a_retry_of_what_was_refused_needs_an_approval_that_still_counts(office: Workspace) -> None:
    refused = Fault(status=400, body=b'{"code": "BAD_REQUEST_BODY"}', content_type="application/problem+json")
    with Sandbox(people(2), token=TOKEN, fault=lambda seen: refused if seen.method == "PATCH" else None) as api:
        run = plan_and_wait(office, api, rows=1)
        assert office.run("approve", run, *REVIEWER).code == 0
        assert office.run("run", FILE, *aimed_at(api), *PLANNER).code == 3
        change_approval(office, {"expires_at": 1_000_000_000})
        assert office.run("retry", run, *aimed_at(api), *PLANNER).code == 9
        assert office.run("run", FILE, *aimed_at(api), *PLANNER).code == 9
        assert len(patches(api)) == 1
        assert office.run("approve", run, "--operator", "Kim").code == 0
        assert office.run("retry", run, *aimed_at(api), *PLANNER).code == 3
        assert len(patches(api)) == 2


def test_a_run_that_is_being_sent_when_its_approval_expires_stops_and_waits_for_another(office: Workspace) -> None:
    rows = 60
    with Sandbox(people(rows), token=TOKEN) as api:
        slowly = ("--set", "limits.rate_per_s=5")  # twelve seconds
        run = plan_and_wait(office, api, "approval_valid_h = 0.002", rows=rows)  # seven seconds
        assert office.run("approve", run, *REVIEWER).code == 0
        ended = office.run("run", FILE, *aimed_at(api), *PLANNER, *slowly)
        assert ended.code == 9, ended.err
        assert "the approval of Alex expired" in ended.out
        assert ended.next == f"bulk-patch approve {run}"
        sent = len(patches(api))
        assert 0 < sent < rows
        counts = office.summary(NAME)["counts"]
        assert (counts["applied"], counts["pending"]) == (sent, rows - sent)


def test_without_an_approval_that_counts_what_is_unknown_is_settled_and_gets_no_new_key(office: Workspace) -> None:
    broken = True

    def swallow(seen: Seen) -> Fault | None:
        return Fault(status=500) if broken and seen.method == "PATCH" else None

    with Sandbox(people(3), token=TOKEN, fault=swallow) as api:
        run = plan_and_wait(office, api, rows=2)
        assert office.run("approve", run, *REVIEWER).code == 0
        assert office.run("run", FILE, *aimed_at(api), *PLANNER).code == 4
        assert set(office.states(NAME).values()) == {"unknown"}
        broken = False
        # A week later: the keys are forgotten, and the approval has expired. Reads prove that nothing was executed.
        old = time.time() - 7 * 24 * 3600
        change_ledger(
            office, "UPDATE progress SET first_intent_at = :old, key_intent_at = :old, left_at = :old", old=old
        )
        change_approval(office, {"expires_at": 1_000_000_000})
        sent = len(patches(api))
        ended = office.run("run", FILE, *aimed_at(api), *PLANNER)
        assert ended.code == 9, ended.err
        assert "stopped: not approved" in ended.out
        assert len(patches(api)) == sent
        assert set(office.states(NAME).values()) == {"pending"}
        assert office.run("approve", run, "--operator", "Kim").code == 0
        ended = office.run("run", FILE, *aimed_at(api), *PLANNER)
        assert ended.code == 0, ended.err
        assert len(patches(api)) == sent + 2


def test_the_page_and_the_summary_say_at_once_who_approved(planned: Workspace) -> None:
    run = planned.runs(NAME)[-1]["id"]
    page = planned.job_folder(NAME) / run / "report.html"
    results = page.with_name("results.csv").stat().st_mtime_ns
    assert "Alex" not in page.read_text(encoding="utf-8")
    approved = planned.run("approve", run, *REVIEWER)
    assert approved.code == 0, approved.err
    assert "Approved by</dt><dd>Alex (login" in page.read_text(encoding="utf-8")
    assert planned.summary(NAME)["approvals"][0]["operator"] == "Alex"
    assert page.with_name("results.csv").stat().st_mtime_ns == results


def test_an_approval_counts_also_where_the_page_cannot_be_written_anew(planned: Workspace) -> None:
    run = planned.runs(NAME)[-1]["id"]
    folder = planned.job_folder(NAME) / run
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("a file where the run's folder was", encoding="utf-8")
    approved = planned.run("approve", run, *REVIEWER)
    assert approved.code == 0, approved.err
    assert "report.html is not up to date" in approved.err
    assert f"bulk-patch report {run}" in approved.err
    assert [note["action"] for note in planned.notes(NAME)] == ["approved"]


def test_a_page_that_is_written_before_the_other_files_does_not_keep_them_from_being_written(
    planned: Workspace, api: Sandbox
) -> None:
    run = planned.runs(NAME)[-1]["id"]
    assert planned.run("approve", run, *REVIEWER).code == 0
    before = planned.summary(NAME)
    assert planned.run("run", FILE, *aimed_at(api), *PLANNER).code == 0
    folder = planned.job_folder(NAME) / run
    (folder / "summary.json").write_text(json.dumps(before), encoding="utf-8")  # as a kill before the report leaves it
    (folder / "results.csv").unlink()
    assert planned.run("verify", run, *planned_at(api)).code == 0
    assert planned.summary(NAME) == before
    assert "3 rows read back, nothing drifted" in (folder / "report.html").read_text(encoding="utf-8")
    planned.run("run", FILE, *aimed_at(api), *PLANNER)
    assert (folder / "results.csv").exists()
