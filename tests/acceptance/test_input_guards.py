"""Guards on the input: what is empty, cut short, stale or broken stops `plan` and `run`, until a person has looked."""

import os
import time
from collections.abc import Sequence

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Ended, Workspace
from tests.acceptance.small_job import (
    FILE,
    NAME,
    aimed_at,
    id_of,
    input_path,
    new_emails,
    patches,
    planned_at,
    sent_ids,
    write_input,
    write_job,
)

BROKEN = [{"customer_id": id_of(number), "email": "nowhere"} for number in (1, 2, 3)]
STRICT = ("--set", "guards.max_invalid=5%")


def empty(office: Workspace) -> None:
    input_path(office).write_text("customer_id,email\n", encoding="utf-8")


def assert_waits(office: Workspace, api: Sandbox, ended: Ended, guard: str) -> None:
    """Check that a guard stopped a command before anything was sent, and that `--continue` is what it says next."""
    assert ended.code == 5, ended.err
    assert f"guard {guard}: " in ended.err
    assert "--continue" in ended.err
    assert (office.summary(NAME)["state"], office.summary(NAME)["exit_code"]) == ("stopped", 5)
    assert office.runs(NAME)[-1]["stopped_by"] == guard
    assert patches(api) == []


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_extract_of_nothing_but_invalid_rows_stops_though_nothing_is_left_to_send(
    office: Workspace, api: Sandbox, command: str
) -> None:
    write_job(office, BROKEN)
    flags: Sequence[str] = (aimed_at(api) if command == "run" else planned_at(api)) + [*STRICT]
    assert_waits(office, api, office.run(command, FILE, *flags), "max_invalid")
    assert_waits(office, api, office.run("run", FILE, *aimed_at(api), *STRICT), "max_invalid")  # as cron does
    assert "exit code 5" in office.run("status", FILE).out
    looked = office.run("run", FILE, *aimed_at(api), *STRICT, "--continue")
    assert looked.code == 3, looked.err
    again = office.run("run", FILE, *aimed_at(api), *STRICT)
    assert again.code == 3, again.err  # these bytes are waived

    write_input(office, [*BROKEN[:1], *new_emails(4)])
    assert_waits(office, api, office.run("run", FILE, *aimed_at(api), *STRICT), "max_invalid")  # another input
    write_input(office, new_emails(5))
    assert office.run("run", FILE, *aimed_at(api), *STRICT).code == 0
    assert sent_ids(api) == [id_of(5)]


def test_a_plan_that_a_guard_stopped_is_sealed_and_sent_by_continue(office: Workspace, api: Sandbox) -> None:
    write_job(office, [*BROKEN, *new_emails(4)])
    planned = office.run("plan", FILE, *planned_at(api), *STRICT)
    assert_waits(office, api, planned, "max_invalid")
    assert "run would stop with exit code 5: guard max_invalid" in planned.out
    assert office.runs(NAME)[-1]["plan_sha256"]
    ended = office.run("run", FILE, *aimed_at(api), *STRICT, "--continue")
    assert ended.code == 3, ended.err
    assert sent_ids(api) == [id_of(4)]
    assert [note["action"] for note in office.notes(NAME)] == ["stopped", "continued"]


def test_a_plan_with_nothing_to_send_and_invalid_rows_ends_with_3(office: Workspace, api: Sandbox) -> None:
    write_job(office, BROKEN)
    planned = office.run("plan", FILE, *planned_at(api))
    assert planned.code == 3, planned.err
    assert office.summary(NAME)["exit_code"] == 3


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_header_without_rows_stops_unless_the_job_expects_it(office: Workspace, api: Sandbox, command: str) -> None:
    write_job(office, new_emails(1))
    empty(office)
    flags = aimed_at(api) if command == "run" else planned_at(api)
    ended = office.run(command, FILE, *flags, "--quiet")
    assert ended.out == ""
    assert_waits(office, api, ended, "min_rows")
    usual = office.run(command, FILE, *flags, "--set", "guards.min_rows=0", "--new")
    assert usual.code == 0, usual.err
    assert "the input has a header and no rows" in usual.err


def test_an_extract_cut_at_a_line_end_stops_by_the_last_complete_run(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(*range(1, 11)))
    flags = [*aimed_at(api), "--set", "guards.min_rows=80%"]
    assert office.run("run", FILE, *flags).code == 0
    write_input(office, new_emails(*range(1, 8), domain="next.example"))
    sent = len(patches(api))
    ended = office.run("run", FILE, *flags)
    assert ended.code == 5, ended.err
    assert "the input has 7 rows, at least 80% are expected of the 10 of the last complete run" in ended.err
    assert len(patches(api)) == sent
    assert office.run("run", FILE, *flags).code == 5  # what was stopped is no measure of the next
    write_input(office, new_emails(*range(1, 9), domain="next.example"))
    assert office.run("run", FILE, *flags).code == 0


def test_yesterdays_extract_stops_until_it_is_delivered_again(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    three_days_ago = time.time() - 3 * 86400
    os.utime(input_path(office), (three_days_ago, three_days_ago))
    flags = [*aimed_at(api), "--set", "input.max_age_h=26"]
    ended = office.run("run", FILE, *flags)
    assert_waits(office, api, ended, "max_age_h")
    assert "last modified about 3 d 0 h before it was planned, 26 h are allowed" in ended.err
    assert office.run("run", FILE, *flags).code == 5
    input_path(office).touch()  # the same bytes, new
    fresh = office.run("run", FILE, *flags)
    assert fresh.code == 0, fresh.err
    assert sent_ids(api) == [id_of(1)]
