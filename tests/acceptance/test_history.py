"""lookup: everything that any run of any job did to one customer, or was to do."""

import re

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, TOKEN, aimed_at, id_of, new_emails, people, planned_at, write_job

OTHER = "jobs/other.toml"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Change one customer by two jobs, and plan another change that is not sent."""
    place = Workspace(tmp_path_factory.mktemp("told"), token=TOKEN)
    with Sandbox(people(12), token=TOKEN) as api:
        write_job(place, new_emails(1, 2))
        text = (place.root / FILE).read_text(encoding="utf-8")
        (place.root / OTHER).write_text(text.replace('name = "small"', 'name = "other"'), encoding="utf-8")
        assert place.run("run", FILE, *aimed_at(api), "--operator", "Robin").code == 0
        write_job(place, new_emails(1, 3, domain="example.edu"))
        assert place.run("run", OTHER, *aimed_at(api), "--operator", "Kim").code == 0
        write_job(place, new_emails(1, domain="example.net"))
        assert place.run("plan", FILE, *planned_at(api), "--operator", "Robin").code == 0
    return place


def test_lookup_tells_all_that_happened_to_a_customer_in_order(told: Workspace) -> None:
    ended = told.run("lookup", id_of(1).upper())
    assert ended.code == 0, ended.err
    heads = re.findall(r"^\d{4}-.* UTC  (\w+)  run (\S+)", ended.out, re.MULTILINE)
    runs = told.runs(NAME)
    assert heads == [("small", runs[0]["id"]), ("other", told.runs("other")[0]["id"]), ("small", runs[1]["id"])]
    assert re.findall(rf"row \d+  {id_of(1)}  (\w+)", ended.out) == ["applied", "applied", "pending"]
    assert "planned by Robin; sent by Robin" in ended.out
    assert "planned by Kim; sent by Kim" in ended.out
    assert "planned by Robin; not sent" in ended.out
    assert "a•••@example.com → n•••@example.org" in ended.out
    assert "new1@" not in ended.out
    assert id_of(2) not in ended.out


def test_lookup_reveals_only_on_the_record_of_every_ledger_it_shows(told: Workspace) -> None:
    ended = told.run("lookup", id_of(1), "--reveal", "--operator", "Alex")
    assert ended.code == 0, ended.err
    assert "ann1@example.com → new1@example.org" in ended.out
    for job, runs in ((NAME, 2), ("other", 1)):
        noted = [note for note in told.notes(job) if note["action"] == "revealed"]
        assert [(note["actor"]["operator"], note["detail"]) for note in noted] == [
            ("Alex", {"command": "lookup"})
        ] * runs


def test_lookup_of_a_customer_that_no_run_touched_says_so(told: Workspace) -> None:
    ended = told.run("lookup", id_of(9))
    assert ended.code == 0
    assert f"searched {told.root / 'output'}: 2 jobs, 3 runs\n" in ended.out
    assert "no run of any job there has a row for this id" in ended.out
    assert "does not look like" not in ended.out


def test_lookup_of_what_is_no_id_says_so(told: Workspace) -> None:
    ended = told.run("lookup", "ann1@example.com")
    assert ended.code == 0
    assert "does not look like an id" in ended.out
    assert "ann1@example.com" not in ended.out


def test_lookup_where_no_run_was_ever_made_says_where_that_is(office: Workspace) -> None:
    ended = office.run("lookup", id_of(1), "--output", "elsewhere")
    assert ended.code == 0
    assert f"searched {office.root / 'elsewhere'}: 0 jobs, 0 runs\n" in ended.out
    assert "there are no runs in it" in ended.out


def test_lookup_and_status_name_an_undo_as_what_it_is(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    assert office.run("undo", FILE, *aimed_at(api)).code == 0
    undone, undo = (run["id"] for run in office.runs(NAME))
    listed = office.run("status").out.splitlines()[1:]
    assert listed[0].startswith(undo)
    assert listed[0].endswith(f"undo of {undone}")
    assert listed[1].startswith(undone)
    assert "undo" not in listed[1]
    told = office.run("lookup", id_of(1)).out
    assert re.findall(r"  run (\S+  (?:undo of \S+)?)", told) == [f"{undone}  ", f"{undo}  undo of {undone}"]


def test_lookup_says_that_a_row_was_refused_by_a_rule(office: Workspace, api: Sandbox) -> None:
    write_job(office, [*new_emails(1), {"customer_id": id_of(2), "email": "no address"}])
    assert office.run("run", FILE, *aimed_at(api)).code == 3
    told = office.run("lookup", id_of(2)).out
    assert "refused by a rule" in told
    assert "not sent" not in told
