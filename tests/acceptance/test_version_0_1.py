"""What version 0.1.0 left behind is read, finished, verified and undone by this one.

`tests/ledgers/recorded/version_0_1.tar.xz` holds jobs, inputs and `output/` as 0.1.0 wrote them against its
rehearsal: `half` was killed while it sent, `approved` waits to be sent, `stopped` met a guard, `done`, `nightly` and
`undone` ended.
"""

import csv
import json
import sqlite3
import tarfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.model import State, idempotency_key
from tests.acceptance.commands import REPOSITORY, Workspace

ARCHIVE = REPOSITORY / "tests" / "ledgers" / "recorded" / "version_0_1.tar.xz"
SENT = 40  # of the 42 input rows: one repeats another, one has no valid id


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in tmp_path.glob("output/*/ledger.db"):
        _make_recent(path)
        _move_here(path, tmp_path)
    for path in tmp_path.glob("output/*/sandbox/state.db"):
        _make_recent(path)
    return Workspace(tmp_path)


def _move_here(path: Path, root: Path) -> None:
    """Let a ledger say that its job files lie here: where they were, this machine may have others by the same names."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE runs SET details = replace(details, '/srv/example', ?)", (str(root),))


def _make_recent(path: Path) -> None:
    """Move all times of a database as far forward as it takes: keys stay young enough to be used again."""
    with closing(sqlite3.connect(path)) as database, database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = [
            (table, name)
            for table in tables
            for _, name, kind, *_ in database.execute(f"PRAGMA table_info({table})")
            if kind == "REAL" and (name == "at" or name.endswith("_at"))
        ]
        latest = max(
            database.execute(f"SELECT coalesce(max({name}), 0) FROM {table}").fetchone()[0] for table, name in columns
        )
        later = time.time() - latest - 5
        for table, name in columns:
            database.execute(f"UPDATE {table} SET {name} = {name} + ? WHERE {name} IS NOT NULL", (later,))
        if "meta" in tables:
            database.execute("UPDATE meta SET value = value + ? WHERE name IN ('last_time', 'created_at')", (later,))


def read_results(workspace: Workspace, job: str) -> list[dict[str, str]]:
    """Return the newest results.csv of a job."""
    newest = max((workspace.root / "output" / job).glob("2*/results.csv"))
    with newest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_requests(workspace: Workspace, job: str) -> list[dict[str, object]]:
    log = workspace.root / "output" / job / "sandbox" / "requests.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def test_a_run_that_was_killed_is_finished_under_the_same_keys(workspace: Workspace) -> None:
    with SqliteReader.read(workspace.root / "output" / "half" / "ledger.db", job="half") as ledger:
        (run,) = ledger.runs()
        in_flight = {row.row: row.key for row in ledger.rows(run.id, states=(State.SENDING,))}
    assert in_flight
    sent_before = [line["key"] for line in read_requests(workspace, "half") if line["method"] == "PATCH"]
    ended = workspace.run("run", "jobs/half.toml", "--sandbox")
    assert ended.code == 3, ended.err  # the row without a valid id is for a person
    results = read_results(workspace, "half")
    applied = [line for line in results if line["status"] == "applied"]
    assert len(applied) == SENT
    assert {line["idempotency_key"] for line in applied} == {
        idempotency_key(run.secret, int(line["row"]), 0) for line in applied
    }
    assert {int(line["row"]): line["idempotency_key"] for line in applied}.items() >= in_flight.items()
    copy = workspace.root / "output" / "half" / "ledger.db.version-3"  # as it was before it was brought up to date
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as before:
        assert before.execute("SELECT max(version) FROM migrations").fetchone() == (3,)
        assert before.execute("SELECT count(*) FROM progress WHERE state = 'sending'").fetchone() == (len(in_flight),)
    executed = [
        line["key"] for line in read_requests(workspace, "half") if line["method"] == "PATCH" and line["executed"]
    ]
    assert len(executed) == len(set(executed)) == SENT
    assert set(sent_before) <= set(executed)


def test_an_ended_run_is_shown_verified_and_undone(workspace: Workspace) -> None:
    assert workspace.run("status", "jobs/done.toml").code == 0
    assert not list(workspace.root.glob("output/*/ledger.db.version-3"))  # to look changes nothing
    shown = workspace.run("show", "jobs/done.toml", "--status", "applied")
    assert shown.code == 0
    assert "email" in shown.out
    assert workspace.run("verify", "jobs/done.toml", "--sandbox").code == 0
    assert workspace.run("report", "jobs/done.toml").code == 0
    undone = workspace.run("undo", "jobs/done.toml", "--sandbox")
    assert undone.code == 0, undone.err
    assert [line["status"] for line in read_results(workspace, "done")] == ["applied"] * SENT


def test_a_stop_by_a_guard_is_still_one_and_can_be_waived(workspace: Workspace) -> None:
    assert workspace.run("run", "jobs/stopped.toml", "--sandbox").code == 5
    assert workspace.run("run", "jobs/stopped.toml", "--sandbox", "--continue").code == 3
    assert sum(line["status"] == "applied" for line in read_results(workspace, "stopped")) == SENT


def test_the_next_night_sends_what_is_new_alone(workspace: Workspace) -> None:
    changes = workspace.root / "sample_inputs" / "changes.csv"
    changes.write_text(changes.read_text().replace("new7@", "newer7@"))
    assert workspace.run("run", "jobs/nightly.toml", "--sandbox").code == 3
    assert [line["status"] for line in read_results(workspace, "nightly")].count("applied") == 1


def test_a_plan_that_was_approved_and_not_sent_needs_another_approval(workspace: Workspace) -> None:
    """The old seal did not cover what the person who approved was shown."""
    refused = workspace.run("run", "jobs/approved.toml", "--sandbox", "--operator", "Robin")
    assert refused.code == 9
    assert "before the seal covered" in refused.out + refused.err
    planned = str(workspace.runs("approved")[-1]["id"])
    assert workspace.run("approve", planned, "--operator", "Alex").code == 0
    assert workspace.run("run", "jobs/approved.toml", "--sandbox", "--operator", "Robin").code == 3
    assert sum(line["status"] == "applied" for line in read_results(workspace, "approved")) == SENT


def test_an_approved_plan_and_an_undo_are_listed(workspace: Workspace) -> None:
    listed = workspace.run("status", "--output", str(workspace.root / "output"))
    assert listed.code == 0
    assert all(job in listed.out for job in ("half", "done", "approved", "stopped", "nightly", "undone"))


def test_a_run_is_read_back_as_what_it_was_though_the_job_has_changed(workspace: Workspace) -> None:
    file = workspace.root / "jobs" / "done.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("[target]", '[target]\nresource = "persons"'))
    before = len(read_requests(workspace, "done"))
    (run,) = [run["id"] for run in workspace.runs("done")]
    verified = workspace.run("verify", run, "--sandbox")
    assert verified.code == 0, verified.err
    paths = [str(request["path"]) for request in read_requests(workspace, "done")[before:]]
    assert paths
    assert all("/customers?" in path or path.endswith("/customers") for path in paths), paths
