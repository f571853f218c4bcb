"""A sealed plan that someone edited in the database: whatever relies on it refuses with 7, and sends nothing."""

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, id_of, new_emails, write_job
from tests.ledgers.test_sqlite_edits import literal, other_value

EDITS = {
    "the number of changes": "UPDATE runs SET details = json_set(details, '$.changes', 2)",
    "a sample": "UPDATE runs SET details = json_set(details, '$.samples[0].changes[0][2]', 'n•••')",
    "a warning": "UPDATE runs SET details = json_set(details, '$.warnings', json('[\"all is well\"]'))",
    "who planned it": "UPDATE runs SET actor = json_set(actor, '$.operator', 'another')",
    "a guard": "UPDATE runs SET terms = json_set(terms, '$.guards.max_changes', 1)",
    "a body": "UPDATE rows SET body = CAST(replace(body, 'new1', 'own1') AS BLOB) WHERE row = 1",
    "a before-image": "UPDATE rows SET before = NULL WHERE row = 1",
    "the cells of a row": 'UPDATE rows SET cells = CAST(\'["",""]\' AS BLOB) WHERE row = 1',
    "the reason of an invalid row": "UPDATE rows SET reason = 'fine' WHERE state = 'invalid'",
    "a row less": "DELETE FROM rows WHERE state = 'invalid'",
}
#: Those that touch neither the run nor the first row.
ELSEWHERE = {"the reason of an invalid row", "a row less"}


def edit(root: Path, statement: str) -> None:
    with closing(sqlite3.connect(root / "output" / NAME / "ledger.db")) as database, database:
        database.execute("DROP TRIGGER IF EXISTS rows_stay")
        assert database.execute(statement).rowcount == 1


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a plan that was not sent."""
    return begun(tmp_path_factory.mktemp("planned"), "plan", code=0)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run that has ended."""
    return begun(tmp_path_factory.mktemp("ended"), "run", code=3)


def begun(root: Path, command: str, *, code: int) -> Path:
    workspace = Workspace(root)
    for name in ("jobs", "sample_inputs"):
        (root / name).mkdir()
    write_job(workspace, [*new_emails(1, 2, 3), {"customer_id": id_of(4), "email": "not an address"}])
    assert workspace.run(command, FILE, "--sandbox").code == code
    return root


def copied(root: Path, to: Path) -> Workspace:
    shutil.copytree(root, to, dirs_exist_ok=True)
    return Workspace(to)


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_plan_cannot_be_approved(planned: Path, tmp_path: Path, name: str) -> None:
    office = copied(planned, tmp_path)
    edit(office.root, EDITS[name])
    approved = office.run("approve", office.runs(NAME)[-1]["id"], "--operator", "another person")
    assert approved.code == 7, approved.err
    assert "not as it was" in approved.err  # sealed, or recorded


@pytest.mark.parametrize("name", ["a warning", "a body"])
def test_an_edited_plan_is_not_sent(planned: Path, tmp_path: Path, name: str) -> None:
    office = copied(planned, tmp_path)
    edit(office.root, EDITS[name])
    ran = office.run("run", FILE, "--sandbox")
    assert ran.code == 7, ran.err
    log = office.root / "output" / NAME / "sandbox" / "requests.jsonl"
    assert '"PATCH"' not in log.read_text()


@pytest.mark.parametrize("name", EDITS)
def test_nothing_is_told_of_an_edited_plan_as_if_it_were_whole(ended: Path, tmp_path: Path, name: str) -> None:
    office = copied(ended, tmp_path)
    edit(office.root, EDITS[name])
    commands = [["report", FILE], ["export", FILE, "--to", "rows.csv"]]
    if name not in ELSEWHERE:
        commands += [["show", FILE, "--id", id_of(1)], ["lookup", id_of(1), "--output", "output"]]
    for words in commands:
        told = office.run(*words)
        assert told.code == 7, (words, told.out, told.err)


@pytest.mark.parametrize("command", ["verify", "undo"])
def test_an_edited_plan_is_neither_verified_nor_undone(ended: Path, tmp_path: Path, command: str) -> None:
    office = copied(ended, tmp_path)
    edit(office.root, EDITS["a before-image"])
    assert office.run(command, FILE, "--sandbox").code == 7


# --- every column, one at a time

SEALED = ("runs", "rows", "chunks", "customers")
#: The index of customers is nothing that a plan says: who looks a customer up relies on it, and nobody else.
RELY_ON_INDEX = {"lookup"}
RUN = "RUN"  # stands for the id of the run
PLANNED_COMMANDS = {
    "approve": ("approve", RUN, "--operator", "another person"),
    "run": ("run", FILE, "--sandbox"),
    "report": ("report", FILE),
    "export": ("export", FILE, "--to", "rows.csv"),
    "show": ("show", FILE),
    "lookup": ("lookup", id_of(1), "--output", "output"),
}
ENDED_COMMANDS = {
    **{name: PLANNED_COMMANDS[name] for name in ("report", "export", "show", "lookup")},
    "verify": ("verify", FILE, "--sandbox"),
    "undo": ("undo", FILE, "--sandbox"),
}


def column_edits(root: Path) -> Iterator[tuple[str, str]]:
    """Yield an edit of every column of every sealed table, and of every part of what is kept as JSON."""
    with closing(sqlite3.connect(root / "output" / NAME / "ledger.db")) as database:
        for table in SEALED:
            columns = [line[1] for line in database.execute(f"PRAGMA table_info({table})")]  # no generated ones
            line = database.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 1").fetchone()
            kept_as = zip(columns, line, strict=True)
            where = " AND ".join(f"{name} IS {literal(value)}" for name, value in kept_as)
            for name, value in zip(columns, line, strict=True):
                kept = _parts(value)
                if not kept:
                    other = literal(other_value(random.Random(0), value))
                    yield f"{table}.{name}", f"UPDATE {table} SET {name} = {other} WHERE {where}"
                for part in kept:
                    changed = f"json_set({name}, '$.\"{part}\"', 'another')"
                    yield f"{table}.{name}: {part}", f"UPDATE {table} SET {name} = {changed} WHERE {where}"


def _parts(value: object) -> list[str]:
    """Return the names of a JSON object that is kept as text."""
    if not isinstance(value, str) or not value.startswith("{"):
        return []
    return list(json.loads(value))


def find_silent(root: Path, folder: Path, words: tuple[str, ...]) -> Iterator[str]:
    """Yield the edits that a command does not refuse with 7."""
    run = Workspace(root).runs(NAME)[-1]["id"]
    words = tuple(run if word == RUN else word for word in words)
    for number, (name, statement) in enumerate(column_edits(root)):
        if name.startswith("customers.") and words[0] not in RELY_ON_INDEX:
            continue
        office = copied(root, folder / str(number))
        try:
            edit(office.root, statement)
        except sqlite3.IntegrityError:
            continue  # what SQLite itself does not take
        done = office.run(*words)
        if done.code != 7:
            yield f"{name}: {done.code}"
        shutil.rmtree(office.root)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", PLANNED_COMMANDS)
def test_an_edit_of_any_column_of_a_plan_is_refused(planned: Path, tmp_path: Path, command: str) -> None:
    assert list(find_silent(planned, tmp_path, PLANNED_COMMANDS[command])) == []


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", ENDED_COMMANDS)
def test_an_edit_of_any_column_of_a_run_that_was_sent_is_refused(ended: Path, tmp_path: Path, command: str) -> None:
    assert list(find_silent(ended, tmp_path, ENDED_COMMANDS[command])) == []


def test_a_row_that_has_moved_is_not_told_as_none(ended: Path, tmp_path: Path) -> None:
    office = copied(ended, tmp_path)
    edit(office.root, "UPDATE rows SET id = id + 7 WHERE row = 1")
    told = office.run("lookup", id_of(1), "--output", "output")
    assert told.code == 7, told.out
