"""`prune JOB --keep TIME`: files of old runs go, rows of the ledger never."""

import os
import time
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from bulk_patch.workflows.prune import PRUNED, find_prunable, prune
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, aimed_at, id_of, new_emails, write_input, write_job

DAY_S = 86_400.0


@pytest.fixture
def nights(office: Workspace, api: Sandbox) -> list[str]:
    """Send three nights; return their runs, oldest first."""
    write_job(office, new_emails(1))
    for number in (1, 2, 3):
        write_input(office, new_emails(number))
        assert office.run("run", FILE, *aimed_at(api)).code == 0
    return [str(run["id"]) for run in office.runs(NAME)]


def prunable(office: Workspace, *, later_s: float) -> list[str]:
    """Return the runs whose files may go, some time later."""
    found = find_prunable(office.job_folder(NAME), keep_s=DAY_S, now=time.time() + later_s)
    return [one.run.id for one in found]


def test_files_of_old_runs_go_and_what_the_ledger_knows_stays(office: Workspace, nights: list[str]) -> None:
    folder = office.job_folder(NAME)
    assert prunable(office, later_s=0) == []
    assert prunable(office, later_s=2 * DAY_S) == nights[:-1]
    assert "nothing is removed" in office.run("prune", FILE, "--keep", "1d").out
    assert all((folder / run).is_dir() for run in nights)


def test_open_runs_and_the_newest_keep_their_files(office: Workspace, api: Sandbox, nights: list[str]) -> None:
    write_input(office, new_emails(4, 5))
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    open_run = str(office.runs(NAME)[-1]["id"])
    assert open_run not in prunable(office, later_s=9 * DAY_S)
    assert prunable(office, later_s=9 * DAY_S) == nights


def test_a_link_in_the_place_of_a_run_is_left_alone(office: Workspace, nights: list[str], tmp_path: Path) -> None:
    folder = office.job_folder(NAME)
    (folder / nights[0]).rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", folder / nights[0])
    assert nights[0] not in prunable(office, later_s=9 * DAY_S)


@pytest.mark.parametrize("keep", ["", "90", "0d", "long"])
def test_what_is_no_time_removes_nothing(office: Workspace, keep: str) -> None:
    write_job(office, new_emails(1))
    assert office.run("prune", FILE, "--keep", keep, "--yes").code == 2


def test_pruned_runs_are_listed_shown_and_reported_again(office: Workspace, nights: list[str]) -> None:
    folder = office.job_folder(NAME)
    prune(folder, find_prunable(folder, keep_s=DAY_S, now=time.time() + 2 * DAY_S), operator="Robin")
    assert sorted(path.name for path in folder.glob("2*")) == nights[-1:]
    said = [note for note in office.notes(NAME) if note["action"] == PRUNED]
    assert len(said) == len(nights) - 1
    assert {note["actor"]["operator"] for note in said} == {"Robin"}
    for words in (("status",), ("show", nights[0]), ("lookup", id_of(1)), ("report", nights[0])):
        ended = office.run(*words)
        assert ended.code == 0, ended.err
    assert (folder / nights[0] / "report.html").is_file()
    assert office.run("lookup", " ").code == 2
