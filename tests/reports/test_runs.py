"""From what a user names to a run: an id, a prefix of one, a job file."""

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import Exit, LedgerError, LockedError, OutdatedLedgerError, UsageError
from bulk_patch.ledgers.records import PlanSummary, Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger, holder_of
from bulk_patch.observe import start_logging
from bulk_patch.reports.customer_history import find_history, look_where
from bulk_patch.reports.runs import job_of, list_runs, locate_run
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import START, make_customer, make_run, seal_plan
from tests.support.job_files import JOB, make_job
from tests.support.ledger_edits import rechain

FIRST, SECOND, THIRD = "20261122-151203-4f2a", "20261122-151204-4f2b", "20261123-020000-9c01"


def keep(output: Path, job: str, *runs: Run) -> Path:
    """Seal runs in the ledger of a job; return its folder."""
    folder = output / job
    with SqliteLedger.open(folder / "ledger.db", job=job) as ledger:
        for run in runs:
            seal_plan(ledger, 1, run)
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Make an output folder with two jobs and three runs."""
    folder = tmp_path / "output"
    keep(folder, "moves", make_run(FIRST, job="moves"), make_run(THIRD, job="moves", created_at=START + 9))
    keep(folder, "nightly", make_run(SECOND, job="nightly", created_at=START + 5))
    (folder / "README.md").write_text("not a job")
    (folder / "empty").mkdir()
    return folder


def refused(name: str, output: Path | None) -> str:
    with pytest.raises(UsageError) as caught:
        locate_run(name, output=output)
    assert caught.value.exit_code is Exit.USAGE
    return f"{caught.value.message} ({caught.value.hint})"


@pytest.mark.parametrize(
    ("name", "job", "run"),
    [
        (FIRST, "moves", FIRST),
        (SECOND, "nightly", SECOND),
        ("20261123", "moves", THIRD),
        ("20261122-151204", "nightly", SECOND),
        ("20261122-151203-4", "moves", FIRST),
    ],
)
def test_a_run_is_found_by_its_id_or_any_unique_prefix_among_all_jobs(
    output: Path, name: str, job: str, run: str
) -> None:
    found = locate_run(name, output=output)
    assert (found.run.id, found.run.job, found.folder) == (run, job, output / job)
    assert found.run_folder == output / job / run


def test_a_prefix_of_several_runs_is_refused_with_their_number(output: Path) -> None:
    assert "2 runs start with 20261122" in refused("20261122", output)
    assert "3 runs start with 2026" in refused("2026", output)


def test_an_id_that_is_also_the_beginning_of_another_is_that_run(tmp_path: Path) -> None:
    keep(tmp_path, "moves", make_run("20261122-1", job="moves"), make_run("20261122-12", job="moves"))
    assert locate_run("20261122-1", output=tmp_path).run.id == "20261122-1"


def test_what_is_no_run_is_refused_with_where_it_was_looked_for(output: Path) -> None:
    assert f"no run 2025 in {output}" in refused("2025", output)
    assert "no run 2025 in" in refused("2025", output / "nowhere")


def test_without_a_folder_it_is_looked_for_in_the_current_directory(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(output.parent)
    assert locate_run(FIRST, output=None).run.id == FIRST
    assert [found.run.id for found in list_runs(None)] == [THIRD, SECOND, FIRST]


# --- by job file


def test_a_job_file_stands_for_its_latest_run(output: Path) -> None:
    job = make_job(output.parent)
    assert locate_run(str(job.file), output=None).run.id == THIRD
    assert locate_run(str(job.file), output=output).run.id == THIRD


def test_a_job_file_looks_beside_its_jobs_folder(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    job = make_job(tmp_path / "jobs")
    keep(tmp_path / "output", "moves", make_run(job="moves"))
    assert locate_run(str(job.file), output=None).folder == tmp_path / "output" / "moves"


def test_a_job_file_by_another_suffix_is_one_too(output: Path) -> None:
    file = output.parent / "moves.job"
    file.write_text(JOB)
    assert locate_run(str(file), output=output).run.id == THIRD


def test_a_job_without_a_run_is_refused_with_how_to_begin_one(tmp_path: Path) -> None:
    words = refused(str(make_job(tmp_path).file), None)
    assert "no run of moves in" in words
    assert "bulk-patch plan" in words


def test_a_job_file_that_is_not_there_is_a_fault_of_the_job(tmp_path: Path) -> None:
    assert "no job file at" in refused(str(tmp_path / "gone.toml"), None)


# --- lists


def test_runs_of_all_jobs_are_listed_newest_first(output: Path) -> None:
    assert [(found.run.job, found.run.id) for found in list_runs(output)] == [
        ("moves", THIRD),
        ("nightly", SECOND),
        ("moves", FIRST),
    ]


def test_a_folder_that_is_not_there_holds_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []


# --- ledgers


def damage(ledger: Path) -> None:
    ledger.write_bytes(b"no database, and not an empty file either" * 100)


def make_newer(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute("INSERT INTO migrations (version, name, applied_at) VALUES (99, 'of tomorrow', 0)")


@pytest.mark.parametrize("spoil", [damage, make_newer])
def test_a_ledger_that_cannot_be_read_stops_no_question_about_another_job(
    output: Path, spoil: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(output / "nightly" / "ledger.db")
    with start_logging(console="console", quiet=True, verbose=False):
        assert locate_run(FIRST, output=output).run.id == FIRST
        assert [found.run.id for found in list_runs(output)] == [THIRD, FIRST]
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2
    assert all(re.search(r"warning ledger_passed_over .*nightly: ", line) for line in warnings)


@pytest.mark.parametrize("name", [SECOND, "2025"])
def test_a_run_that_was_not_found_may_be_in_the_ledger_that_could_not_be_read(output: Path, name: str) -> None:
    damage(output / "nightly" / "ledger.db")
    with pytest.raises(LedgerError, match=rf"no run {name} in the ledgers that can be read: nightly: ") as caught:
        locate_run(name, output=output)
    assert caught.value.exit_code is Exit.LEDGER


def test_a_ledger_of_another_job_is_refused_when_nothing_else_is_there(output: Path) -> None:
    os.rename(output / "moves", output / "removals")
    assert [found.run.job for found in list_runs(output)] == ["nightly"]
    shutil.rmtree(output / "nightly")
    with pytest.raises(LedgerError, match=r"^removals: ") as caught:
        list_runs(output)
    assert caught.value.exit_code is Exit.LEDGER


def test_a_damaged_ledger_of_the_job_that_was_named_is_refused(output: Path) -> None:
    damage(output / "moves" / "ledger.db")
    with pytest.raises(LedgerError, match=r"^moves: "):
        locate_run(str(make_job(output.parent).file), output=output)


def test_a_history_leaves_out_a_ledger_that_cannot_be_read(output: Path) -> None:
    assert len(find_history(make_customer(1), output=output)) == 3
    damage(output / "nightly" / "ledger.db")
    assert [its.run.id for its in find_history(make_customer(1), output=output)] == [FIRST, THIRD]
    with pytest.raises(LedgerError, match=r"^nightly: "):
        find_history(make_customer(2), output=output)


def test_a_run_can_be_read_while_another_process_writes(output: Path) -> None:
    found = locate_run(FIRST, output=output)
    assert found.holder() is None
    with SqliteLedger.open(found.folder / "ledger.db", job="moves"):
        holder = found.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
        with found.read() as ledger:
            assert ledger.run(FIRST).id == FIRST
    assert found.holder() is None


def test_a_reveal_is_recorded_with_who_and_why(output: Path) -> None:
    found = locate_run(FIRST, output=output)
    found.note_reveal("pat", command="show")
    with found.read() as ledger:
        (note,) = ledger.notes(FIRST)
    assert (note.actor.operator, note.action, note.detail) == ("pat", "revealed", {"command": "show"})


def test_a_reveal_that_cannot_be_recorded_is_refused(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulk_patch.reports.runs.RECORD_WAIT_S", 0.1)
    found = locate_run(FIRST, output=output)
    with SqliteLedger.open(found.folder / "ledger.db", job="moves"), pytest.raises(LockedError):
        found.note_reveal("pat", command="show")


def test_the_target_of_a_run_knows_its_fields(tmp_path: Path) -> None:
    for number, resource in enumerate(("customers", "persons")):
        run = make_run(f"2026-{number}", job="moves", target=f"synctera https://api.example.com/v0 {resource}")
        keep(tmp_path, "moves", run)
        target = locate_run(run.id, output=tmp_path).target()
        assert (target.field("chosen_name") is not None) == (resource == "persons")


# --- back to the job


def planned(output: Path, **facts: Any) -> Run:
    """Return a run that remembers its job file and overrides."""
    run = replace(make_run("20261124-000000-0001", job="moves"), **facts)
    with SqliteLedger.open(output / "moves" / "ledger.db", job="moves") as ledger:
        calls.begin(ledger, run)
        calls.seal(ledger, run.id, input_rows=0, unchanged=0, plan_s=0.1, summary=PlanSummary(), now=START)
    return run


def test_the_job_of_a_run_has_the_overrides_that_it_was_planned_with_and_new_ones(tmp_path: Path) -> None:
    file = make_job(tmp_path).file
    overrides = ("limits.rate_per_s=5", "retry.attempts=3")
    run = planned(tmp_path / "output", job_file=str(file), overrides=overrides)
    job = job_of(locate_run(run.id, output=tmp_path / "output"), ("limits.rate_per_s=7",))
    assert (job.limits.rate_per_s, job.retry.attempts) == (7, 3)


@pytest.mark.parametrize(
    "evil", ["target.token=cmd:/tmp/evil.sh", "target.base_url=https://evil.example", "ledger.kind=x"]
)
def test_nothing_that_decides_where_anything_is_sent_is_taken_from_the_ledger(tmp_path: Path, evil: str) -> None:
    file = make_job(tmp_path).file
    run = planned(tmp_path / "output", job_file=str(file), overrides=("retry.attempts=3", evil))
    found = locate_run(run.id, output=tmp_path / "output")
    with pytest.raises(UsageError, match="not taken from the ledger") as refusal:
        job_of(found, ())
    assert "name the job file" in refusal.value.hint
    assert evil.partition("=")[2] not in str(refusal.value) + refusal.value.hint
    name = evil.partition("=")[0]
    if name.startswith("target"):  # a command that sends nothing does without
        assert job_of(found, (), sends=False).target == make_job(tmp_path).target
    if name == "target.base_url":  # typed again, it is the person's own
        job = job_of(found, (f"{name}=https://api.example.com/v0",))
        assert (job.target.base_url, job.retry.attempts) == ("https://api.example.com/v0", 3)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_a_job_file_of_another_user_is_asked_for_by_name(tmp_path: Path) -> None:
    file = make_job(tmp_path).file
    run = planned(tmp_path / "output", job_file=str(file))
    os.chown(file, 4711, 4711)
    with pytest.raises(UsageError, match="belongs to another user"):
        job_of(locate_run(run.id, output=tmp_path / "output"), ())


def test_a_job_file_that_is_gone_is_asked_for(tmp_path: Path) -> None:
    run = planned(tmp_path / "output", job_file=str(tmp_path / "gone.toml"))
    with pytest.raises(UsageError, match=r"the job file of run .* no longer exists"):
        job_of(locate_run(run.id, output=tmp_path / "output"), ())


def test_a_job_file_that_is_another_job_by_now_is_refused(tmp_path: Path) -> None:
    file = make_job(tmp_path, text=JOB.replace('"moves"', '"others"')).file
    run = planned(tmp_path / "output", job_file=str(file))
    with pytest.raises(UsageError, match="is now the job others, but the run is of moves"):
        job_of(locate_run(run.id, output=tmp_path / "output"), ())


@pytest.mark.parametrize(
    "damage",
    [
        "details = '{'",
        "details = '[]'",
        "actor = '{}'",
        "actor = '{\"operator\": 5}'",
        "columns = '[1]'",
        "waived = '\"'",
        "stats = ''",
        "created_at = 'soon'",
        "input_rows = 'many'",
    ],
)
def test_one_damaged_fact_of_a_run_stops_no_question_about_another_job(output: Path, damage: str) -> None:
    with closing(sqlite3.connect(output / "nightly" / "ledger.db")) as database:
        database.execute(f"UPDATE runs SET {damage}")
        database.commit()
    assert locate_run(THIRD, output=output).run.id == THIRD
    assert len(list_runs(output)) == 2
    assert len(find_history(make_customer(1), output=output)) == 2
    with pytest.raises(LedgerError, match="nightly: the ledger is damaged: run"):
        locate_run(SECOND, output=output)


def test_a_pipe_in_the_place_of_a_ledger_keeps_nobody_waiting(output: Path) -> None:
    (output / "pipe").mkdir()
    os.mkfifo(output / "pipe" / "ledger.db")
    os.mkfifo(output / "pipe" / "ledger.lock")
    assert len(list_runs(output)) == 3
    assert holder_of(output / "pipe" / "ledger.db") is None
    for open_it in (SqliteLedger.read, SqliteLedger.open):
        with pytest.raises(LedgerError):
            open_it(output / "pipe" / "ledger.db", job="pipe")


def test_a_damaged_target_of_one_run_hides_no_other(output: Path) -> None:
    with closing(sqlite3.connect(output / "nightly" / "ledger.db")) as database:
        database.execute("UPDATE runs SET target = 'zz'")
        database.commit()
    rechain(output / "nightly" / "ledger.db", "nightly")
    assert look_where(make_customer(1), output=output).is_id
    with pytest.raises(LedgerError, match="its target is 'zz'"):
        locate_run(SECOND, output=output).target()


def make_older(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM migrations WHERE version > 2")


def test_a_run_that_nobody_knows_is_a_wrong_name_also_beside_an_outdated_ledger(output: Path) -> None:
    make_older(output / "nightly" / "ledger.db")
    with pytest.raises(UsageError, match="no run 2025"):
        locate_run("2025", output=output)
    (output / "nightly" / SECOND).mkdir(exist_ok=True)
    with pytest.raises(OutdatedLedgerError, match=f"no run {SECOND} in the ledgers"):
        locate_run(SECOND, output=output)
