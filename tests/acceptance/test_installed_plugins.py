"""A ledger, a target, an engine and a baseline of another package: entry points, their settings, and every command."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance import other_plugins
from tests.acceptance.commands import REPOSITORY, Ended, Workspace
from tests.acceptance.small_job import FILE, NAME, id_of, new_emails, write_job

OURS = {
    '[baseline]\nkind = "live"': '[baseline]\nkind = "cards"\ncards = "../sample_inputs/cards.json"',
    'kind = "synctera"': 'kind = "club"\ntier = "silver"',
    "[guards]": '[ledger]\nkind = "shelf"\nshelf = "top"\nmarks = "marks"\n'
    '[engine]\nkind = "traced"\ntraces = "../traces.txt"\n[guards]',
}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace with the other package installed, its job planned, sent and looked at."""
    root = tmp_path_factory.mktemp("plugins")
    workspace = Workspace(root / "work")
    for name in ("jobs", "sample_inputs"):
        (workspace.root / name).mkdir(parents=True)
    rows = [*new_emails(1, 2), {"customer_id": id_of(3), "email": "ann3@example.com"}]
    write_job(workspace, [*rows, {"customer_id": id_of(4)[:-1] + "C", "email": "x@example.org"}])
    cards = {id_of(number): {"email": f"ann{number}@example.com"} for number in range(1, 13)}
    (workspace.root / "sample_inputs" / "cards.json").write_text(json.dumps(cards))
    other_plugins.install(workspace, root / "site")
    write_ours(workspace)
    return workspace


def write_ours(workspace: Workspace, **changes: str) -> None:
    """Write the job with the other package's plug-ins."""
    file = workspace.root / FILE
    text = file.read_text()
    for theirs, ours in OURS.items():
        text = text.replace(theirs, ours)
    for old, new in changes.items():
        text = text.replace(old, new)
    file.write_text(text)


def play(office: Workspace, *words: str) -> Ended:
    """Run a command in a process of its own: what is installed is looked up when it starts."""
    return office.run(*words, env={"PYTHONPATH": office.environment["PYTHONPATH"]})


def test_plan_run_status_show_verify_and_undo_with_four_plugins_of_another_package(office: Workspace) -> None:
    planned = play(office, "plan", FILE, "--sandbox")
    assert planned.code == 0, planned.err
    ended = play(office, "run", FILE, "--sandbox")
    assert ended.code == 3, ended.err  # the id in capitals is none of this API's
    folder = office.root / "output" / NAME
    assert (folder / "shelf.txt").read_text() == f"top {office.root / 'jobs' / 'marks'}"
    assert not (folder / "ledger.db").exists()
    assert sorted((office.root / "traces.txt").read_text().splitlines()) == ["1 applied", "2 applied"]
    (run,) = [path.name for path in folder.glob("2*")]
    assert json.loads((folder / run / "summary.json").read_text())["counts"] == {
        **dict.fromkeys(json.loads((folder / run / "summary.json").read_text())["counts"], 0),
        "applied": 2,
        "unchanged": 1,
        "invalid": 1,
    }
    page = (folder / run / "report.html").read_text()
    assert '<th scope="col">Member</th>' in page
    assert not re.search(r"\b(the|a) customers?\b", page), "what a record is called is for the target to say"
    assert "is not a member number" in (folder / run / "failures.csv").read_text()
    assert run in play(office, "status", "--output", str(office.root / "output")).out
    for words in (["status", run], ["show", run], ["report", run], ["export", run, "--to", "rows.csv"]):
        looked = play(office, *words, "--output", str(office.root / "output"))
        assert looked.code == 0, (words, looked.err)
    found = play(office, "lookup", id_of(1), "--output", str(office.root / "output"))
    assert (found.code, run in found.out) == (0, True), found.err
    verified = play(office, "verify", FILE, "--sandbox")
    assert verified.code == 0, verified.err
    again = play(office, "run", FILE, "--sandbox")
    assert again.code == 9, again.err  # this baseline does not notice that the input was sent
    # The job says something else by now: the run is read, and taken back, as what it was.
    file = office.root / FILE
    file.write_text(file.read_text().replace('tier = "silver"', 'tier = "gold"'))
    shown = play(office, "show", run, "--output", str(office.root / "output"))
    assert shown.code == 0, shown.err
    undone = play(office, "undo", run, "--sandbox", "--output", str(office.root / "output"))
    assert undone.code == 0, undone.err
    with closing(sqlite3.connect(folder / "shelf.db")) as kept:
        specs = [json.loads(spec) for (spec,) in kept.execute("SELECT target_spec FROM runs")]
    assert specs == [{"kind": "club", "tier": "silver"}] * 2


@pytest.mark.chaos
def test_the_shipped_suites_pass_over_the_four_plugins_of_another_package(tmp_path: Path) -> None:
    site, tests = tmp_path / "site", tmp_path / "tests"
    other_plugins.install_in(site)
    other_plugins.install_tests(tests)
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(tests), str(tests)]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(REPOSITORY)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout
