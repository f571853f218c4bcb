"""A sealed plan that someone edited in the database: whatever relies on it refuses with 7, and sends nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, id_of, new_emails, write_job

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


@pytest.fixture
def office(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    for name in ("jobs", "sample_inputs"):
        (tmp_path / name).mkdir()
    write_job(workspace, [*new_emails(1, 2, 3), {"customer_id": id_of(4), "email": "not an address"}])
    return workspace


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_plan_is_neither_approved_nor_sent(office: Workspace, name: str) -> None:
    assert office.run("plan", FILE, "--sandbox").code == 0
    edit(office.root, EDITS[name])
    approved = office.run("approve", FILE, "--operator", "another person")
    assert approved.code == 7, approved.err
    assert "not as it was sealed" in approved.err
    ran = office.run("run", FILE, "--sandbox")
    if name not in ELSEWHERE:
        assert ran.code == 7, ran.err
    log = office.root / "output" / NAME / "sandbox" / "requests.jsonl"
    sent = [line for line in log.read_text().splitlines() if '"PATCH"' in line]
    assert not sent or name in ELSEWHERE


@pytest.mark.parametrize("name", EDITS)
def test_nothing_is_told_of_an_edited_plan_as_if_it_were_whole(office: Workspace, name: str) -> None:
    assert office.run("run", FILE, "--sandbox").code == 3
    edit(office.root, EDITS[name])
    commands = [["report", FILE], ["export", FILE, "--to", "rows.csv"], ["verify", FILE, "--sandbox"]]
    commands += [["undo", FILE, "--sandbox"]]
    if name not in ELSEWHERE:
        commands += [["show", FILE, "--id", id_of(1)], ["lookup", id_of(1), "--output", "output"]]
    for words in commands:
        ended = office.run(*words)
        assert ended.code == 7, (words, ended.out, ended.err)
