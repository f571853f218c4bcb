"""An undo holds: what it took back is not sent again by the next night, whatever else is in the file."""

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Ended, Workspace, assert_told
from tests.acceptance.small_job import (
    FILE,
    NAME,
    aimed_at,
    id_of,
    new_emails,
    patches,
    planned_at,
    write_input,
    write_job,
)

KEEP = ("--set", 'guards.taken_back="keep"')


@pytest.fixture
def undone(office: Workspace, api: Sandbox) -> Workspace:
    """Return an office whose last run, of customers 1 and 2, was undone."""
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    assert office.run("undo", FILE, *aimed_at(api)).code == 0
    return office


def emails(api: Sandbox, *numbers: int) -> list[str]:
    return [api.customer(id_of(number))["email"] for number in numbers]


def assert_stopped(office: Workspace, api: Sandbox, ended: Ended, rows: str) -> None:
    assert ended.code == 5, ended.err
    assert f"guard taken_back: {rows}" in ended.err
    assert emails(api, 1, 2) == ["ann1@example.com", "ann2@example.com"]
    assert office.runs(NAME)[-1]["stopped_by"] == "taken_back"


@pytest.mark.parametrize("more", [[], new_emails(3)])
def test_the_next_night_stops_until_a_person_says_continue(
    undone: Workspace, api: Sandbox, more: list[dict[str, str]]
) -> None:
    office = undone
    write_input(office, [*more, *new_emails(1, 2)])
    assert_stopped(office, api, office.run("run", FILE, *aimed_at(api)), "2 rows ask again")
    assert office.run("run", FILE, *aimed_at(api)).code == 5  # --yes does not waive it
    assert len(patches(api)) == 4
    meant = office.run("run", FILE, *aimed_at(api), "--continue")
    assert meant.code == 0, meant.err
    assert emails(api, 1, 2) == ["new1@example.org", "new2@example.org"]

    api.edit(id_of(1), email="other@example.net")  # forgotten: a run applied this value since
    write_input(office, [*more, *new_emails(1, 2), *new_emails(5)])
    assert office.run("run", FILE, *aimed_at(api)).code == 0


def test_a_plan_says_that_it_would_stop(undone: Workspace, api: Sandbox) -> None:
    planned = undone.run("plan", FILE, *planned_at(api))
    assert_stopped(undone, api, planned, "2 rows ask again")
    assert "run would stop with exit code 5: guard taken_back" in planned.out


def test_another_value_is_sent_and_what_was_taken_back_is_forgotten_then(undone: Workspace, api: Sandbox) -> None:
    office = undone
    write_input(office, new_emails(1, 2, domain="right.example"))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    write_input(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    assert emails(api, 1, 2) == ["new1@example.org", "new2@example.org"]


def test_another_field_of_the_customer_is_sent(undone: Workspace, api: Sandbox) -> None:
    office = undone
    write_input(office, [{"customer_id": id_of(1), "last_name": "Other"}])
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    write_input(office, [{**new_emails(1)[0], "last_name": "More"}])
    assert_stopped(office, api, office.run("run", FILE, *aimed_at(api)), "1 row asks again")


def test_what_was_taken_back_is_kept_and_the_rest_is_sent(undone: Workspace, api: Sandbox) -> None:
    office = undone
    undo = office.runs(NAME)[-1]["id"]
    write_input(office, [*new_emails(3), *new_emails(1, 2), *new_emails(1)])
    ended = office.run("run", FILE, *aimed_at(api), *KEEP)
    assert ended.code == 3, ended.err
    assert office.states(NAME) == {1: "applied", 2: "kept", 3: "kept", 4: "kept"}
    assert emails(api, 1, 2, 3) == ["ann1@example.com", "ann2@example.com", "new3@example.org"]
    kept = [line for line in office.failures(NAME) if line["_status"] == "kept"]
    assert {line["_reason"] for line in kept} == {f"email taken back by undo {undo}"}
    assert "guards.taken_back" in kept[0]["_hint"]
    assert ended.next.startswith("bulk-patch show ")
    assert office.run("run", FILE, *aimed_at(api), *KEEP).code == 3  # every night


def test_what_somebody_had_put_back_before_the_undo_is_taken_back_too(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    api.edit(id_of(1), email="ann1@example.com")
    assert office.run("undo", FILE, *aimed_at(api)).code == 0
    write_input(office, new_emails(1))
    assert_stopped(office, api, office.run("run", FILE, *aimed_at(api)), "1 row asks again")


def test_undo_of_a_job_takes_the_last_run_that_applied_something(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    assert_told(office.run("undo", FILE, *aimed_at(api)), 9, "applied nothing")
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    wrong = office.runs(NAME)[-1]["id"]
    write_input(office, [*new_emails(1), {"customer_id": id_of(2), "email": "ann2@example.com"}])
    assert office.run("run", FILE, *aimed_at(api)).code == 0  # a night without changes
    idle = office.runs(NAME)[-1]["id"]
    refused = office.run("undo", idle, *aimed_at(api))
    assert_told(refused, 9, f"run {idle} applied nothing", wrong)
    ended = office.run("undo", FILE, *aimed_at(api))
    assert ended.code == 0, ended.err
    assert f"undoes  run {wrong}" in ended.out
    assert emails(api, 1) == ["ann1@example.com"]


def test_an_empty_run_is_a_usage_error(office: Workspace) -> None:
    for command in ("status", "show", "report", "approve", "verify", "retry --yes", "undo --yes", "export --to x.csv"):
        verb, *flags = command.split()
        assert_told(office.run(verb, "", *flags), 2, "RUN is empty")
    assert_told(office.run("undo", " ", "--yes"), 2, "RUN is empty")
