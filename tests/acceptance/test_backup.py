"""Backups of a ledger, what happens with an older one, and places where none may lie."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME
from tests.acceptance.test_tampering import begun
from tests.support.ledger_edits import rechain


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run that has ended."""
    return begun(tmp_path_factory.mktemp("ended"), "run", code=3)


@pytest.fixture
def office(ended: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(ended, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path)


def patched(office: Workspace) -> int:
    return (office.root / "output" / NAME / "sandbox" / "requests.jsonl").read_text().count('"PATCH"')


def test_a_backup_is_one_file_that_can_take_the_ledgers_place(office: Workspace) -> None:
    done = office.run("backup", FILE, "--to", "copy.db")
    assert done.code == 0, done.err
    copy = office.root / "copy.db"
    assert oct(copy.stat().st_mode & 0o777) == "0o600"
    assert not list(office.root.glob("copy.db?*"))
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    shutil.copy(copy, office.root / "output" / NAME / "ledger.db")
    assert office.run("status", FILE).code == 0
    assert office.run("report", FILE).code == 0


def test_a_backup_replaces_no_file_unless_it_is_told_to(office: Workspace) -> None:
    assert office.run("backup", FILE, "--to", "copy.db").code == 0
    refused = office.run("backup", FILE, "--to", "copy.db")
    assert refused.code == 2
    assert "--force" in refused.err
    assert office.run("backup", FILE, "--to", "copy.db", "--force").code == 0
    own = office.run("backup", FILE, "--to", f"output/{NAME}/ledger.db", "--force")
    assert own.code == 2
    assert office.run("status", FILE).code == 0


def test_a_ledger_that_was_restored_is_refused_until_a_person_takes_it(office: Workspace) -> None:
    assert office.run("backup", FILE, "--to", "copy.db").code == 0
    assert office.run("run", FILE, "--sandbox", "--new", "--reason", "again").code in (0, 3)
    sent = patched(office)
    shutil.copy(office.root / "copy.db", office.root / "output" / NAME / "ledger.db")
    for words in (["run", FILE, "--sandbox"], ["status", FILE], ["report", FILE], ["run", FILE, "--sandbox", "--new"]):
        refused = office.run(*words)
        assert refused.code == 7, (words, refused.out, refused.err)
        assert "older than its folder" in refused.err
    assert patched(office) == sent
    taken = office.run("run", FILE, "--sandbox", "--new", "--reason", "the newer ledger is lost")
    assert taken.code in (0, 3), taken.err
    assert office.run("status", FILE).code == 0


def test_a_ledger_that_was_deleted_is_missed(office: Workspace) -> None:
    (office.root / "output" / NAME / "ledger.db").unlink()
    for command in ("run", "plan"):
        refused = office.run(command, FILE, "--sandbox")
        assert refused.code == 7, refused.err
        assert "older than its folder" in refused.err


def test_a_run_that_goes_on_on_another_host_says_so(tmp_path: Path) -> None:
    office = Workspace(begun(tmp_path, "plan", code=0))
    path = office.root / "output" / NAME / "ledger.db"
    assert office.run("run", FILE, "--sandbox", "--limit", "1").code == 4
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE sessions SET actor = json_set(actor, '$.host', 'old-desk')")
        database.commit()
    rechain(path, NAME)
    ended = office.run("run", FILE, "--sandbox")
    assert ended.code == 3, ended.err
    assert "other_host" in ended.err
    (note,) = [note for note in office.notes(NAME) if note["action"] == "continued on another host"]
    assert note["detail"]["before"] == "old-desk"
