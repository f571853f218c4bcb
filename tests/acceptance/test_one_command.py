"""One command for the first start, a restart and the nightly cron line: every paragraph of the interface about it."""

import re

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Workspace, read_log, wait_until
from tests.acceptance.small_job import (
    FILE,
    NAME,
    NOTHING_TO_COMPARE,
    TOKEN,
    aimed_at,
    baseline_flags,
    id_of,
    new_emails,
    patches,
    people,
    planned_at,
    sent_ids,
    with_export,
    write_input,
    write_job,
)

ONE_AT_A_TIME = ("--set", "limits.concurrency=1")


# --- an open run is picked up


def test_run_goes_on_with_the_open_run_until_nothing_is_left(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2, 3, 4, 5))
    first = office.run("run", FILE, *aimed_at(api), "--limit", "2")
    assert first.code == 4, first.err
    assert "2 applied" in first.err
    assert "3 pending" in first.err
    second = office.run("run", FILE, *aimed_at(api))
    assert second.code == 0, second.err
    assert len(office.runs(NAME)) == 1
    assert sent_ids(api) == [id_of(n) for n in (1, 2, 3, 4, 5)]
    assert office.summary(NAME)["counts"]["applied"] == 5


def test_a_plan_that_was_looked_at_is_the_one_that_is_sent(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    planned = office.run("plan", FILE, *planned_at(api))
    assert planned.code == 0, planned.err
    assert office.summary(NAME)["state"] == "planned"
    assert patches(api) == []
    (run,) = office.runs(NAME)
    assert run["plan_sha256"][:12] in planned.out
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    assert [(one["id"], one["plan_sha256"]) for one in office.runs(NAME)] == [(run["id"], run["plan_sha256"])]


def test_a_second_plan_replaces_one_that_has_sent_nothing(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    (first,) = office.runs(NAME)
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    replaced, second = office.runs(NAME)
    assert (replaced["id"], replaced["state"]) == (first["id"], "closed")
    assert replaced["stop_reason"] == f"replaced by run {second['id']}"
    assert second["id"] != first["id"]


def test_a_plan_is_refused_while_a_part_of_the_open_run_is_sent_and_new_closes_it(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, new_emails(1, 2, 3))
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    refused = office.run("plan", FILE, *planned_at(api))
    assert refused.code == 9
    assert office.runs(NAME)[0]["id"] in refused.err
    assert "hint: " in refused.err
    assert office.run("plan", FILE, *planned_at(api), "--new").code == 0
    assert [run["state"] for run in office.runs(NAME)] == ["closed", "sealed"]
    assert len(patches(api)) == 1


# --- --new


def test_new_settles_what_is_ambiguous_then_closes_the_old_run_whose_rest_is_never_sent(office: Workspace) -> None:
    down = [True]

    def lose_the_second(seen: Seen) -> Fault | None:
        return Fault(execute=True, wire="close") if down and seen.customer_id == id_of(2) else None

    with Sandbox(people(12), token=TOKEN, fault=lose_the_second) as api:
        write_job(office, new_emails(1, 2, 3, 4))
        begun = office.run("run", FILE, *aimed_at(api), *ONE_AT_A_TIME, "--limit", "3", "--set", "retry.attempts=1")
        assert begun.code == 4, begun.err
        assert office.states(NAME) == {1: "applied", 2: "unknown", 3: "applied", 4: "pending"}
        down.clear()
        write_input(office, new_emails(9))
        ended = office.run("run", FILE, *aimed_at(api), "--new")
        assert ended.code == 0, ended.err
        old, new = office.runs(NAME)
        assert (old["state"], new["state"]) == ("closed", "sealed")
        assert office.states(NAME, old["id"]) == {1: "applied", 2: "applied", 3: "applied", 4: "pending"}
        assert id_of(4) not in sent_ids(api)
        assert api.customer(id_of(4))["email"] == "ann4@example.com"
        keys = {entry["key"] for entry in patches(api) if entry["customer_id"] == id_of(2)}
        assert len(keys) == 1
        (failure,) = office.failures(NAME, old["id"])
        assert (failure["_status"], failure["_row"]) == ("pending", "4")
        assert "--new closed this run" in failure["_hint"]


def test_new_on_a_plan_that_has_sent_nothing_plans_again(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    ended = office.run("run", FILE, *aimed_at(api), "--new")
    assert ended.code == 0, ended.err
    assert sent_ids(api) == [id_of(1), id_of(2)]
    assert [run["state"] for run in office.runs(NAME)] == ["closed", "sealed"]


def test_a_plan_whose_values_somebody_saw_stays_on_record_when_it_is_replaced(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    assert office.run("show", FILE, "--reveal", "--operator", "Robin").code == 0
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    assert [run["state"] for run in office.runs(NAME)] == ["closed", "sealed"]
    assert "revealed" in {note["action"] for note in office.notes(NAME)}
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    assert sent_ids(api) == [id_of(1), id_of(2)]


# --- sent already


@pytest.mark.parametrize("kind", ["none", "file"])
def test_an_input_that_was_sent_whole_is_refused_with_9_and_the_date_and_only_new_sends_it_again(
    office: Workspace, api: Sandbox, kind: str
) -> None:
    write_job(office, new_emails(1, 2))
    flags = baseline_flags(office, kind)
    assert office.run("run", FILE, *aimed_at(api), *flags).code == 0
    finished = office.summary(NAME)["finished_at"]
    for command in (["run", FILE, *aimed_at(api)], ["plan", FILE, *planned_at(api)]):
        refused = office.run(*command, *flags)
        assert refused.code == 9
        assert f"{finished[:10]} {finished[11:16]} UTC" in refused.err
        assert "--new" in refused.err
    assert len(patches(api)) == 2
    assert office.run("run", FILE, *aimed_at(api), *flags, "--new").code == 0
    assert sent_ids(api) == [id_of(n) for n in (1, 1, 2, 2)]
    assert len({entry["key"] for entry in patches(api)}) == 4


def test_a_baseline_file_that_changed_makes_an_input_worth_planning_again(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api), *with_export(office)).code == 0
    ended = office.run("run", FILE, *aimed_at(api), *with_export(office, domain="example.org"))
    assert ended.code == 0, ended.err
    assert len(office.runs(NAME)) == 2


def test_a_live_baseline_plans_a_complete_input_again_and_finds_what_came_undone(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    api.edit(id_of(2), email="somebody@example.com")
    ended = office.run("run", FILE, *aimed_at(api))
    assert ended.code == 0, ended.err
    assert "1 applied, 1 unchanged" in ended.err
    assert api.customer(id_of(2))["email"] == "new2@example.org"


# --- each target has its own runs


def test_a_rehearsal_neither_blocks_nor_feeds_production(office: Workspace) -> None:
    write_job(office, new_emails(1, 2, 3))
    log = office.root / "production.jsonl"
    world = office.root / "sample_inputs" / "small_world.csv"
    options = ("--customers", world, "--token", TOKEN, "--log", log)
    with office.start("sandbox", *options) as server:
        assert server.stdout is not None
        base_url = server.stdout.readline().strip()
        production = ("--set", f"target.base_url={base_url}", "--yes")
        try:
            rehearsed = office.run("run", FILE, "--sandbox", *NOTHING_TO_COMPARE)
            assert rehearsed.code == 0, rehearsed.err
            assert read_log(log) == []
            partly = office.run("run", FILE, *production, *NOTHING_TO_COMPARE, "--limit", "1")
            assert partly.code == 4, partly.err
            assert [entry["status"] for entry in read_log(log)] == [200]
            again = office.run("run", FILE, "--sandbox", *NOTHING_TO_COMPARE, "--new")
            assert again.code == 0, again.err
            assert len(read_log(log)) == 1
            whole = office.run("run", FILE, *production, *NOTHING_TO_COMPARE)
            assert whole.code == 0, whole.err
            assert len(read_log(log)) == 3
        finally:
            server.terminate()
    assert server.returncode == 0
    targets = [run["target"] for run in office.runs(NAME)]
    assert targets == ["synctera sandbox customers", f"synctera {base_url} customers", "synctera sandbox customers"]
    assert {entry["key"] for entry in read_log(log)}.isdisjoint(entry["key"] for entry in office.sandbox_log(NAME))
    for ended, target in ((rehearsed, targets[0]), (whole, targets[1])):
        assert f"target  {target}" in ended.out
    listed = office.run("status").out
    lines = listed.splitlines()[1:]
    assert all(re.split(" {2,}", line)[-2] == target for line, target in zip(lines, targets[::-1], strict=True)), listed


def test_a_sandbox_ends_with_the_command_that_started_it_even_when_that_is_killed(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, 13)))
    with office.start("run", FILE, "--sandbox", "--set", "limits.rate_per_s=5") as process:
        wait_until(lambda: len(office.sandbox_log(NAME)) > 3)
        process.kill()
    with Sandbox(state=office.job_folder(NAME) / "sandbox", wait_s=5) as world:  # its lock is free
        assert world.customer(id_of(1))["email"] == "new1@example.org"


# --- for scripts


def test_plan_with_a_detailed_exit_code_tells_whether_anything_would_change(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("plan", FILE, *planned_at(api), "--detailed-exitcode").code == 10
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    assert office.run("plan", FILE, *planned_at(api), "--detailed-exitcode").code == 0
    missing = office.run("plan", "jobs/other.toml", "--detailed-exitcode")
    assert missing.code == 2
