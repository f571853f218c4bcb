"""Taking a run back: every row ends in the class that its customer's past gives it."""

import shlex
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from typing import Any

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.approvals import PLANNER, REVIEWER, ask_for_approval
from tests.acceptance.commands import Workspace, wait_until
from tests.acceptance.small_job import (
    FILE,
    HOME,
    NAME,
    NOTHING_TO_COMPARE,
    TOKEN,
    aimed_at,
    id_of,
    input_path,
    new_emails,
    patches,
    people,
    planned_at,
    write_input,
    write_job,
)

Row = dict[str, str]
MANY = 2_000


def is_edited(number: int) -> bool:
    """Tell whether somebody edits this customer between the run and the undo: 20 of 2,000."""
    return number % 100 == 1


#: What the input does to a customer, by the number's last digit, and what becomes of the row when it is undone.
KINDS: list[tuple[Row, str]] = [
    ({"email": "new@example.org"}, "applied"),
    ({"legal_address.city": "Waco"}, "applied"),  # completed from the baseline, and sent whole
    ({"legal_address.address_line_2": "Unit 7"}, "invalid"),  # absent before, and may_clear does not name it
    ({"phone_number": "+14155550123"}, "invalid"),  # the same of a plain field
    ({"middle_name": "Lee"}, "applied"),  # absent before too, but may be cleared
    ({"ssn": "123-45-6789"}, "invalid"),  # masked
    ({"first_name": "Anna", "legal_address.postal_code": "78702"}, "applied"),
    ({"note": "called back"}, "invalid"),  # never shown
    ({"metadata.branch": "north"}, "applied"),
    ({"last_name": "Sample"}, "applied"),
]
MAY_CLEAR = ("--set", 'input.may_clear=["middle_name"]')


def population(count: int) -> list[dict[str, Any]]:
    """Return so many customers, all with metadata and a social security number."""
    more = {"metadata": {"branch": "south", "tier": "2"}, "ssn": "987-65-4321"}
    return [person | more for person in people(count)]


def visible(customer: dict[str, Any]) -> dict[str, Any]:
    """Return what the API shows of a customer, without what it keeps by itself."""
    return {name: value for name, value in customer.items() if name not in ("last_updated_time", "creation_time")}


def change(office: Workspace, api: Sandbox, numbers: range) -> str:
    """Run the job over these customers, and return the run's id."""
    rows = [{"customer_id": id_of(number)} | KINDS[number % 10][0] for number in numbers]
    write_job(office, rows)
    ended = office.run("run", FILE, *aimed_at(api), *MAY_CLEAR)
    assert ended.code == 0, ended.err
    return str(office.runs(NAME)[-1]["id"])


@pytest.mark.chaos
def test_each_row_of_2000_ends_in_its_class_and_the_server_is_as_a_model_says(office: Workspace) -> None:
    with Sandbox(population(MANY), token=TOKEN) as api:
        numbers = range(1, MANY + 1)
        before = {number: visible(api.customer(id_of(number))) for number in numbers}
        undone = change(office, api, numbers)
        for number in filter(is_edited, numbers):
            address = api.customer(id_of(number))["legal_address"]
            api.edit(id_of(number), legal_address={**address, "address_line_1": "2 Side Street"})
        changed = {number: visible(api.customer(id_of(number))) for number in numbers}

        ended = office.run("undo", undone, *planned_at(api), *MAY_CLEAR, "--yes", "--reason", "wrong file")

        assert ended.code == 3, ended.err
        expected = {number: "kept" if is_edited(number) else KINDS[number % 10][1] for number in numbers}
        assert office.states(NAME) == expected
        assert Counter(expected.values())["kept"] == 20
        model = {number: (before if expected[number] == "applied" else changed)[number] for number in numbers}
        for number in numbers:
            if expected[number] == "applied" and "shipping_address" in changed[number]:  # the API copied it: it stays
                model[number] = model[number] | {"shipping_address": changed[number]["shipping_address"]}
            assert visible(api.customer(id_of(number))) == model[number]
        assert "shipping_address is the same in 380 rows" in ended.out
        kept = next(line for line in office.results(NAME) if line["status"] == "kept")
        assert (kept["reason"], kept["attempts"]) == ("legal_address changed since", "0")
        reasons = {line["_reason"] for line in office.failures(NAME) if line["_status"] == "invalid"}
        assert reasons == {
            "legal_address.address_line_2 was absent before, and is not named in input.may_clear",
            "phone_number was absent before, and is not named in input.may_clear",
            "ssn has a masked before-image",
            "note is never shown by the API, so the old value is not known",
        }
        counts = office.summary(NAME)["counts"]
        assert sum(counts.values()) == MANY == office.summary(NAME)["input_rows"]


def test_an_edit_of_another_field_does_not_keep_a_row_and_is_left_alone(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    api.edit(id_of(1), first_name="Joan")
    ended = office.run("undo", office.runs(NAME)[0]["id"], *aimed_at(api))
    assert ended.code == 0, ended.err
    assert (api.customer(id_of(1))["first_name"], api.customer(id_of(1))["email"]) == ("Joan", "ann1@example.com")


def test_what_was_put_back_already_is_unchanged_and_a_second_undo_sends_nothing(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    undone = office.runs(NAME)[0]["id"]
    api.edit(id_of(1), email="ann1@example.com")
    assert office.run("undo", undone, *aimed_at(api)).code == 0
    assert (office.summary(NAME)["counts"]["applied"], office.summary(NAME)["counts"]["unchanged"]) == (1, 1)
    sent = len(patches(api))
    again = office.run("undo", undone, *aimed_at(api))
    assert again.code == 0, again.err
    assert len(patches(api)) == sent
    assert office.summary(NAME)["counts"]["unchanged"] == 2


def test_an_undo_can_be_undone(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    for expected in ("ann2@example.com", "new2@example.org", "ann2@example.com"):
        ended = office.run("undo", office.runs(NAME)[-1]["id"], *aimed_at(api))
        assert ended.code == 0, ended.err
        assert f"undoes  run {office.runs(NAME)[-2]['id']}, 2 applied rows" in ended.out
        assert api.customer(id_of(2))["email"] == expected
    assert len({entry["key"] for entry in patches(api)}) == 8


@pytest.mark.parametrize("by", [pytest.param("run", marks=pytest.mark.chaos), "undo"])
def test_an_undo_that_was_killed_goes_on_with_the_same_keys(office: Workspace, by: str) -> None:
    with Sandbox(people(12), token=TOKEN, latency_ms=150) as api:
        write_job(office, new_emails(*range(1, 13)))
        assert office.run("run", FILE, *aimed_at(api)).code == 0
        undone = office.runs(NAME)[0]["id"]
        process = office.start("undo", undone, *aimed_at(api))
        wait_until(lambda: len(patches(api)) >= 16)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert office.summary(NAME, undone)["counts"]["applied"] == 12
        reverse = office.runs(NAME)[-1]["id"]
        ended = office.run(by, FILE if by == "run" else undone, *aimed_at(api))
        assert ended.code == 0, ended.err
        assert office.runs(NAME)[-1]["id"] == reverse
        assert office.summary(NAME)["counts"]["applied"] == 12
        executed = [entry["key"] for entry in patches(api) if entry["executed"]]
        assert len(executed) == len(set(executed)) == 24
        assert {api.customer(id_of(number))["email"] for number in range(1, 13)} == {
            f"ann{number}@example.com" for number in range(1, 13)
        }


def test_after_an_undo_the_same_input_is_still_sent_only_once(office: Workspace, api: Sandbox) -> None:
    write_job(office, [{"customer_id": id_of(1), "legal_address.city": "Waco"} | _home_without_city()])
    assert office.run("run", FILE, *aimed_at(api), *NOTHING_TO_COMPARE).code == 0
    refused = office.run("undo", office.runs(NAME)[0]["id"], *aimed_at(api), *NOTHING_TO_COMPARE)
    assert refused.code == 3
    assert office.failures(NAME)[0]["_reason"] == "legal_address has no before-image"
    assert office.run("run", FILE, *aimed_at(api), *NOTHING_TO_COMPARE).code == 9
    assert len(patches(api)) == 1


def test_a_run_that_is_still_open_is_not_undone(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2, 3))
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    refused = office.run("undo", office.runs(NAME)[0]["id"], *aimed_at(api))
    assert refused.code == 9
    assert "still has rows to send" in refused.err
    assert len(patches(api)) == 1


def test_what_was_kept_is_fed_back_on_purpose(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    api.edit(id_of(2), email="joan@example.net")
    ended = office.run("undo", office.runs(NAME)[0]["id"], *aimed_at(api))
    assert ended.code == 3, ended.err
    assert shlex.split(ended.next)[:2] == ["bulk-patch", "show"]
    (kept,) = office.failures(NAME)
    assert (kept["_status"], kept["customer_id"], kept["email"]) == ("kept", id_of(2), "ann2@example.com")
    write_input(office, [{"customer_id": kept["customer_id"], "email": kept["email"]}])
    assert input_path(office).exists()
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    assert api.customer(id_of(2))["email"] == "ann2@example.com"


def test_an_undo_that_is_named_by_the_job_is_never_undone_by_the_same_words(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    assert office.run("undo", FILE, *aimed_at(api)).code == 0
    sent = len(patches(api))
    again = office.run("undo", FILE, *aimed_at(api))
    assert again.code == 9, again.err
    assert "is an undo itself" in again.err
    assert len(patches(api)) == sent
    assert api.customer(id_of(1))["email"] == "ann1@example.com"


def test_an_undo_that_is_named_by_the_job_goes_on_with_the_same_words(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    waiting = (*aimed_at(api), "--set", "guards.approval=true")
    assert office.run("undo", FILE, *waiting, "--operator", "Robin").code == 9
    undo = office.runs(NAME)[-1]["id"]
    assert office.run("run", FILE, *aimed_at(api)).code == 9  # planned to need a yes, whatever the job says now
    assert office.run("approve", undo, "--operator", "Alex").code == 0
    ended = office.run("undo", FILE, *waiting)
    assert ended.code == 0, ended.err
    assert office.runs(NAME)[-1]["id"] == undo


def test_a_row_whose_old_value_nobody_knows_is_no_success_when_it_is_fed_back_as_it_is(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, [{"customer_id": id_of(1), "email": "new1@example.org", "note": "moved"}])
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    ended = office.run("undo", office.runs(NAME)[0]["id"], *aimed_at(api))
    assert ended.code == 3, ended.err
    failures = office.job_folder(NAME) / office.runs(NAME)[-1]["id"] / "failures.csv"
    assert office.run("run", FILE, *aimed_at(api), "--set", f"input.path={failures}").code == 3
    assert office.states(NAME) == {1: "invalid"}
    assert api.customer(id_of(1))["email"] == "new1@example.org"


def test_what_was_absent_is_cleared_by_the_next_command_and_what_was_kept_stays(
    office: Workspace, api: Sandbox
) -> None:
    rows = [row | {"middle_name": "Lee"} for row in new_emails(1)]
    write_job(office, [*rows, *new_emails(2, 3)])
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    api.edit(id_of(2), email="joan@example.net")
    undone = office.runs(NAME)[0]["id"]
    ended = office.run("undo", undone, *aimed_at(api))
    assert ended.code == 3, ended.err
    assert office.states(NAME) == {1: "invalid", 2: "kept", 3: "applied"}
    assert office.failures(NAME)[0]["_hint"] == (
        "if it may be cleared, add middle_name to input.may_clear and undo the run again"
    )
    assert "(input.may_clear)" in ended.before
    summary = office.summary(NAME)
    assert (summary["before_next"], summary["next"]) == (ended.before, ended.next)
    words = shlex.split(ended.next)
    assert words[1:3] == ["undo", undone]
    assert words[-2:] == ["--set", 'input.may_clear=["middle_name"]']
    again = office.run(*words[1:], "--yes")
    assert again.code == 3, again.err
    assert office.states(NAME) == {1: "applied", 2: "kept"}
    assert "middle_name" not in api.customer(id_of(1))
    assert api.customer(id_of(2))["email"] == "joan@example.net"
    assert shlex.split(again.next)[1:] == ["show", office.runs(NAME)[-1]["id"], "--status", "kept"]


def test_the_next_command_repeats_a_setting_once_and_names_the_job_as_seen_from_here(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, new_emails(1, 2, 3))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    slowly = ("--set", "limits.rate_per_s=50")
    twice = (*aimed_at(api), "--set", "limits.rate_per_s=40", *slowly, "--set", "guards.approval=true")
    ended = office.run("undo", office.runs(NAME)[0]["id"], *twice, "--operator", "Robin")
    assert ended.code == 9, ended.err
    approved = office.run("approve", office.runs(NAME)[-1]["id"], "--operator", "Alex", *planned_at(api))
    assert shlex.split(approved.next) == [
        *("bulk-patch", "undo", office.runs(NAME)[0]["id"], *slowly, "--set", "guards.approval=true", *planned_at(api)),
    ]
    assert office.run(*shlex.split(approved.next)[1:], "--yes").code == 0


def test_failures_of_an_undo_are_read_by_a_job_that_renames_columns(office: Workspace, api: Sandbox) -> None:
    write_job(
        office, [{"customer_id": id_of(number), "Mail": f"new{number}@example.org", "Branch": "7"} for number in (1, 2)]
    )
    renames = ("--set", "input.rename.Mail=email", "--set", 'input.rename.Branch=""')
    assert office.run("run", FILE, *aimed_at(api), *renames).code == 0
    api.edit(id_of(2), email="joan@example.net")
    assert office.run("undo", FILE, *aimed_at(api), *renames).code == 3
    failures = office.job_folder(NAME) / office.runs(NAME)[-1]["id"] / "failures.csv"
    assert office.run("run", FILE, *aimed_at(api), *renames, "--set", f"input.path={failures}").code == 0
    assert api.customer(id_of(2))["email"] == "ann2@example.com"


def _home_without_city() -> Row:
    return {f"legal_address.{part}": text for part, text in HOME.items() if part != "city"}


@pytest.mark.parametrize("command", ["undo", "verify"])
@pytest.mark.parametrize("column", ["before", "body"])
def test_nothing_is_taken_from_a_run_that_somebody_changed_in_the_ledger(
    office: Workspace, api: Sandbox, command: str, column: str
) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    run = office.runs(NAME)[-1]["id"]
    with closing(sqlite3.connect(office.job_folder(NAME) / "ledger.db")) as database:
        database.execute("DROP TRIGGER rows_stay")
        edited = f"UPDATE rows SET {column} = CAST(replace({column}, '1@', '9@') AS BLOB) WHERE row = 1"
        assert database.execute(edited).rowcount == 1
        database.commit()
    sent = len(api.requests)
    ended = office.run(command, run, *(aimed_at(api) if command == "undo" else planned_at(api)))
    assert ended.code == 7, ended.err
    assert f"run {run} is not as it was sealed: a row from 1 to 2 changed" in ended.err
    assert len(api.requests) == sent
    assert [its["id"] for its in office.runs(NAME)] == [run]


def test_a_later_run_that_somebody_changed_in_the_ledger_explains_no_drift(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    first = office.runs(NAME)[-1]["id"]
    write_input(office, new_emails(1, domain="example.edu"))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    api.edit(id_of(1), email="someone@example.net")
    with closing(sqlite3.connect(office.job_folder(NAME) / "ledger.db")) as database:
        database.execute("DROP TRIGGER rows_stay")
        edited = "UPDATE rows SET body = CAST(replace(body, 'new1@example.edu', 'someone@example.net') AS BLOB)"
        assert database.execute(edited).rowcount == 2
        database.commit()
    assert office.run("verify", first, *planned_at(api)).code == 7


def test_an_edit_made_while_an_undo_waits_is_not_written_over(office: Workspace, api: Sandbox) -> None:
    write_job(office, [{"customer_id": id_of(n), "legal_address.city": "Waco"} for n in (1, 2, 3)])
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    ask_for_approval(office)
    waiting = office.run("undo", office.runs(NAME)[0]["id"], *aimed_at(api), *PLANNER)
    assert waiting.code == 9
    assert "3 changes to send and up to 1 read" in waiting.out
    edited = {**HOME, "city": "Waco", "address_line_2": "Unit 9"}
    api.edit(id_of(2), legal_address=edited)
    assert office.run("approve", office.runs(NAME)[1]["id"], *REVIEWER).code == 0
    ended = office.run("run", FILE, *aimed_at(api), *PLANNER)
    assert ended.code == 3, ended.err
    assert office.states(NAME) == {1: "applied", 2: "drifted", 3: "applied"}
    assert api.customer(id_of(2))["legal_address"] == edited
    assert api.customer(id_of(1))["legal_address"]["city"] == HOME["city"]


def test_only_a_run_with_an_input_still_asks_for_what_is_taken_back(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    told = []
    for _ in range(2):
        ended = office.run("undo", office.runs(NAME)[-1]["id"], *aimed_at(api))
        assert ended.code == 0, ended.err
        told.append("still asks for what this undo reverses" in ended.out)
    assert told == [True, False]
