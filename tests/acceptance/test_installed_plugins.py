"""A ledger of another package: an entry point, and every command finds its runs."""

import os
from pathlib import Path

import pytest

from tests.acceptance.commands import REPOSITORY, Ended, Workspace
from tests.acceptance.small_job import FILE, NAME, new_emails, write_job

MODULE = """
from bulk_patch.ledgers.sqlite.store import SqliteStore


class OtherStore(SqliteStore):
    file_name = "records.db"
"""


@pytest.fixture
def office(tmp_path: Path) -> Workspace:
    package = tmp_path / "site"
    facts = package / "other_ledger-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: other-ledger\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[bulk_patch.ledgers]\nother = other_ledger:OtherStore\n")
    (package / "other_ledger.py").write_text(MODULE)
    workspace = Workspace(tmp_path / "work")
    for name in ("jobs", "sample_inputs"):
        (workspace.root / name).mkdir(parents=True)
    write_job(workspace, new_emails(1, 2, 3))
    workspace.environment["PYTHONPATH"] = os.pathsep.join([str(package), str(REPOSITORY)])
    return workspace


def play(office: Workspace, *words: str) -> Ended:
    """Run a command in a process of its own: what is installed is looked up when it starts."""
    return office.run(*words, env={"PYTHONPATH": office.environment["PYTHONPATH"]})


def test_every_command_finds_the_runs_in_a_ledger_of_another_package(office: Workspace) -> None:
    other = ("--set", "ledger.kind=other")
    ended = play(office, "run", FILE, "--sandbox", *other)
    assert ended.code == 0, ended.err
    folder = office.root / "output" / NAME
    assert (folder / "records.db").exists()
    assert not (folder / "ledger.db").exists()
    (run,) = [path.name for path in folder.glob("2*")]
    assert run in play(office, "status", "--output", str(office.root / "output")).out
    for words in (["status", run], ["show", run], ["report", run], ["export", run, "--to", "rows.csv"]):
        ended = play(office, *words, "--output", str(office.root / "output"))
        assert ended.code == 0, (words, ended.err)
    ended = play(office, "verify", FILE, "--sandbox", *other)
    assert ended.code == 0, ended.err
    ended = play(office, "undo", run, "--sandbox", *other, "--output", str(office.root / "output"))
    assert ended.code == 0, ended.err


def test_a_kind_that_is_not_installed_is_refused_by_name(office: Workspace) -> None:
    ended = office.run("run", FILE, "--sandbox", "--set", "ledger.kind=elsewhere")
    assert ended.code == 2
    assert "elsewhere" in ended.err
