"""What `run` does when the input or the job is not what it was: before anything was sent, and after."""

import os
import re
import shutil

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import (
    FILE,
    NAME,
    NOTHING_TO_COMPARE,
    TOKEN,
    aimed_at,
    baseline_flags,
    id_of,
    input_path,
    new_emails,
    patches,
    people,
    planned_at,
    sent_ids,
    write_input,
    write_job,
)


@pytest.mark.parametrize("kind", ["live", "none", "file"])
def test_an_input_that_changed_before_anything_was_sent_replaces_the_plan_and_run_says_so(
    office: Workspace, api: Sandbox, kind: str
) -> None:
    write_job(office, new_emails(1, 2))
    flags = baseline_flags(office, kind)
    assert office.run("plan", FILE, *planned_at(api), *flags).code == 0
    (old,) = office.runs(NAME)
    write_input(office, new_emails(3, 4, 5))
    ended = office.run("run", FILE, *aimed_at(api), *flags)
    assert ended.code == 0, ended.err
    assert re.search(rf"plan_replaced.*{old['id']}", ended.err)
    assert sent_ids(api) == [id_of(n) for n in (3, 4, 5)]
    replaced, new = office.runs(NAME)
    assert (replaced["state"], replaced["stop_reason"]) == ("closed", f"replaced by run {new['id']}")
    assert new["id"] != old["id"]


def test_with_a_live_baseline_a_changed_input_first_lets_the_open_run_end_and_then_is_planned_and_sent(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, new_emails(1, 2, 3))
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    write_input(office, new_emails(3, 4, domain="example.net"))
    ended = office.run("run", FILE, *aimed_at(api))
    assert ended.code == 0, ended.err
    first, second = office.runs(NAME)
    assert office.summary(NAME, first["id"])["counts"]["applied"] == 3
    assert office.summary(NAME, second["id"])["counts"]["applied"] == 2
    assert sent_ids(api) == [id_of(n) for n in (1, 2, 3, 3, 4)]
    assert api.customer(id_of(3))["email"] == "new3@example.net"


def test_of_two_runs_in_one_call_the_graver_exit_code_counts(office: Workspace) -> None:
    def refuse_the_second(seen: Seen) -> Fault | None:
        return Fault(status=400) if seen.customer_id == id_of(2) else None

    with Sandbox(people(12), token=TOKEN, fault=refuse_the_second) as api:
        write_job(office, new_emails(1, 2))
        assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
        write_input(office, new_emails(5))
        ended = office.run("run", FILE, *aimed_at(api))
        assert ended.code == 3, ended.err
        first, second = office.runs(NAME)
        assert (first["exit_code"], second["exit_code"]) == (3, 0)
        assert "exit code 3" in ended.err
        assert api.customer(id_of(5))["email"] == "new5@example.org"


@pytest.mark.parametrize("kind", ["none", "file"])
def test_without_a_live_baseline_an_input_that_changed_after_a_part_was_sent_is_refused_with_9(
    office: Workspace, api: Sandbox, kind: str
) -> None:
    write_job(office, new_emails(1, 2, 3))
    flags = baseline_flags(office, kind)
    assert office.run("run", FILE, *aimed_at(api), *flags, "--limit", "1").code == 4
    old_input = input_path(office).read_bytes()
    write_input(office, new_emails(7))
    refused = office.run("run", FILE, *aimed_at(api), *flags)
    assert refused.code == 9
    assert "changed" in refused.err
    assert "--new" in refused.err
    assert len(patches(api)) == 1
    input_path(office).write_bytes(old_input)
    assert office.run("run", FILE, *aimed_at(api), *flags).code == 0
    assert sent_ids(api) == [id_of(n) for n in (1, 2, 3)]


@pytest.mark.parametrize("change", ['input.blank="reject"', 'guards.fields=["email"]', 'baseline.kind="none"'])
def test_a_job_whose_input_baseline_or_fields_changed_before_sending_is_planned_again(
    office: Workspace, api: Sandbox, change: str
) -> None:
    write_job(office, new_emails(1))
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    (old,) = office.runs(NAME)
    ended = office.run("run", FILE, *aimed_at(api), "--set", change)
    assert ended.code == 0, ended.err
    assert [run["id"] for run in office.runs(NAME)] != [old["id"]]


def test_limits_may_be_tuned_between_plan_and_run(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    (old,) = office.runs(NAME)
    tuned = ("--set", "limits.rate_per_s=30", "--set", "retry.attempts=2", "--set", "guards.canary=1")
    assert office.run("run", FILE, *aimed_at(api), *tuned).code == 0
    assert [run["id"] for run in office.runs(NAME)] == [old["id"]]


def test_a_job_that_changed_after_a_part_was_sent_without_a_live_baseline_is_refused(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api), *NOTHING_TO_COMPARE, "--limit", "1").code == 4
    refused = office.run("run", FILE, *aimed_at(api), *NOTHING_TO_COMPARE, "--set", "input.blank=reject")
    assert refused.code == 9
    assert len(patches(api)) == 1


def test_an_input_that_was_only_touched_has_not_changed(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api), *NOTHING_TO_COMPARE, "--limit", "1").code == 4
    os.utime(input_path(office), (0, 0))
    ended = office.run("run", FILE, *aimed_at(api), *NOTHING_TO_COMPARE)
    assert ended.code == 0, ended.err
    assert len(office.runs(NAME)) == 1


def test_an_input_that_is_gone_is_not_needed_to_go_on(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    shutil.rmtree(office.root / "sample_inputs")
    ended = office.run("run", FILE, *aimed_at(api))
    assert ended.code == 0, ended.err
    assert api.customer(id_of(2))["email"] == "new2@example.org"
