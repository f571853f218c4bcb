"""status, show and export: what a person sees of a run, while it goes on and afterwards."""

import csv
import fcntl
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Workspace, read_csv, wait_until
from tests.acceptance.small_job import FILE, NAME, TOKEN, aimed_at, id_of, new_emails, patches, people, write_job


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Run the small job once, with a row of each common end."""
    place = Workspace(tmp_path_factory.mktemp("done"), token=TOKEN)
    with Sandbox(people(12), token=TOKEN) as api:
        rows = [
            *new_emails(1, 2),
            {"customer_id": id_of(3), "email": "ann3@example.com"},
            {"customer_id": id_of(4), "email": "no address"},
            {"customer_id": id_of(1), "email": "new1@example.org"},
        ]
        write_job(place, rows)
        ended = place.run("run", FILE, *aimed_at(api), "--operator", "Robin", "--reason", "why", "--ticket", "OPS-1")
    assert ended.code == 3, ended.err
    return place


# --- status


def test_status_without_a_run_lists_all_runs(done: Workspace) -> None:
    ended = done.run("status")
    assert ended.code == 0, ended.err
    header, line = ended.out.splitlines()
    assert header.split()[:3] == ["run", "job", "rows"]
    assert line.startswith(done.runs(NAME)[0]["id"])


def test_status_of_a_run_is_one_screen_with_counts_and_what_to_do_next(done: Workspace) -> None:
    run = done.runs(NAME)[0]["id"]
    for name in (run, run[:-2], FILE):
        ended = done.run("status", name)
        assert ended.code == 0, ended.err
        assert f"run {run}: complete" in ended.out
        assert "no process is sending it" in ended.out
        counts = dict(re.findall(r"^  ([a-z ]+?) +(\d+)$", ended.out, re.MULTILINE))
        assert counts == {"applied": "2", "unchanged": "1", "duplicate": "1", "invalid": "1", "input rows": "5"}
        assert "exit code 3" in ended.out
        assert "first: correct output/small/" in ended.out
        assert len(ended.out.splitlines()) < 24


def test_status_of_a_run_that_is_not_there_says_so(done: Workspace) -> None:
    ended = done.run("status", "19990101")
    assert ended.code == 2
    assert "no run 19990101" in ended.err
    assert "hint: " in ended.err


def test_status_where_no_run_was_ever_made_says_so(office: Workspace) -> None:
    ended = office.run("status")
    assert ended.code == 0
    assert ended.out == "no runs yet\n"


def test_status_works_while_another_process_sends(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, 101)))
    with (
        Sandbox(people(100), token=TOKEN, latency_ms=300) as api,
        office.start("run", FILE, *aimed_at(api), "--set", "limits.concurrency=2") as process,
    ):
        wait_until(lambda: len(patches(api)) >= 4)
        ended = office.run("status", FILE)
        assert process.poll() is None
        process.kill()
    assert ended.code == 0, ended.err
    assert ": running" in ended.out
    assert f"sent by process {process.pid} on " in ended.out
    assert re.search(r"in flight +\d", ended.out)
    assert re.search(r"\d+ of 100 changes done", ended.out)
    after = office.run("status", FILE)
    assert ": incomplete" in after.out
    assert "no process is sending it" in after.out
    assert re.search(r"unknown +\d", after.out)
    assert "next: bulk-patch run jobs/small.toml" in after.out


# --- show


def test_show_masks_before_and_after(done: Workspace) -> None:
    ended = done.run("show", FILE)
    assert ended.code == 0, ended.err
    assert re.search(rf"row 1  {id_of(1)}  applied\n.*\n +email +a•••@example\.com → n•••@example\.org", ended.out)
    assert "ann1" not in ended.out
    assert [line.split()[1] for line in ended.out.splitlines() if line.startswith("row ")] == ["1", "2", "4", "5"]


def test_show_can_be_asked_for_one_customer_or_one_status(done: Workspace) -> None:
    one = done.run("show", FILE, "--id", id_of(2).upper())
    assert [line.split()[1] for line in one.out.splitlines() if line.startswith("row ")] == ["2"]
    invalid = done.run("show", FILE, "--status", "invalid")
    assert [line.split()[1] for line in invalid.out.splitlines() if line.startswith("row ")] == ["4"]
    assert "email" in invalid.out
    none = done.run("show", FILE, "--status", "drifted")
    assert (none.code, none.out) == (0, "no such rows; unchanged rows are only counted, not kept\n")
    wrong = done.run("show", FILE, "--status", "fine")
    assert wrong.code == 2
    assert "applied" in wrong.err


def test_a_terminal_that_has_no_dots_for_masks_still_shows_the_rest(done: Workspace) -> None:
    ended = done.run("show", FILE, "--id", id_of(2), env={"PYTHONIOENCODING": "latin-1"})
    assert ended.code == 0, ended.err
    assert "a???@example.com ? n???@example.org" in ended.out


def test_show_reveals_only_on_the_record(done: Workspace) -> None:
    before = len(done.notes(NAME))
    ended = done.run("show", FILE, "--reveal", "--operator", "Alex")
    assert ended.code == 0, ended.err
    assert "ann1@example.com → new1@example.org" in ended.out
    note = done.notes(NAME)[before]
    assert (note["action"], note["actor"]["operator"]) == ("revealed", "Alex")
    assert note["actor"]["login"]
    assert note["actor"]["host"]


# --- export


def read_exported(path: Path) -> list[dict[str, str | int | None]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, str | int | None]] = pq.read_table(path).to_pylist()
        return rows
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [dict(row) for row in csv.DictReader(file)]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_export_has_the_columns_of_results_and_masked_before_and_after(done: Workspace, suffix: str) -> None:
    target = done.root / f"evidence.{suffix}"
    ended = done.run("export", FILE, "--to", target)
    assert ended.code == 0, ended.err
    assert f"4 rows written to {target}" in ended.out
    rows = read_exported(target)
    results = read_csv(done.job_folder(NAME) / str(done.runs(NAME)[0]["id"]) / "results.csv")
    assert list(rows[0]) == [*results[0], "before.email", "after.email"]
    assert [str(row["row"]) for row in rows] == [line["row"] for line in results]
    assert [row["idempotency_key"] for row in rows] == [line["idempotency_key"] for line in results]
    assert (rows[0]["before.email"], rows[0]["after.email"]) == ("a•••@example.com", "n•••@example.org")
    assert target.stat().st_mode & 0o777 == 0o600
    target.write_text("mine")
    again = done.run("export", FILE, "--to", target)
    assert (again.code, target.read_text()) == (2, "mine")
    assert "--force" in again.err
    assert done.run("export", FILE, "--to", target, "--force", "--operator", "Alex").code == 0
    noted = [note for note in done.notes(NAME) if note["action"] == "exported"]
    assert noted[-1]["detail"] == {"rows": 4, "form": f".{suffix}"}
    assert noted[-1]["actor"]["operator"] == "Alex"


def test_an_export_beside_a_process_that_holds_the_ledger_says_that_it_is_not_on_record(done: Workspace) -> None:
    target = done.root / "held.csv"
    noted = len(done.notes(NAME))
    with (done.job_folder(NAME) / "ledger.lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = done.run("export", FILE, "--to", target)
    assert ended.code == 0, ended.err
    assert "export_not_recorded" in ended.err
    assert (target.is_file(), len(done.notes(NAME))) == (True, noted)


def test_export_to_an_unknown_format_is_refused(done: Workspace) -> None:
    ended = done.run("export", FILE, "--to", done.root / "evidence.ods")
    assert ended.code == 2
    assert ".parquet" in ended.err


# --- who and why


def test_the_ledger_keeps_who_ran_it_and_why(done: Workspace) -> None:
    (run,) = done.runs(NAME)
    assert (json.loads(run["actor"])["operator"], run["reason"], run["ticket"]) == ("Robin", "why", "OPS-1")
    actor = json.loads(run["actor"])
    assert actor["login"]
    assert actor["host"]
    assert actor["pid"] > 0


def test_the_operator_can_come_from_the_environment_and_is_the_login_otherwise(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    office.run("plan", FILE, *aimed_at(api)[:-1], env={"BULK_PATCH_OPERATOR": "Kim"})
    assert json.loads(office.runs(NAME)[-1]["actor"])["operator"] == "Kim"
    office.run("plan", FILE, *aimed_at(api)[:-1])
    actor = json.loads(office.runs(NAME)[-1]["actor"])
    assert actor["operator"] == actor["login"]


def test_output_can_be_elsewhere_by_flag_or_environment(office: Workspace) -> None:
    write_job(office, new_emails(1))
    assert office.run("plan", FILE, "--sandbox", "--output", "there").code == 0
    assert office.run("plan", FILE, "--sandbox", env={"BULK_PATCH_OUTPUT": "elsewhere"}).code == 0
    assert not office.job_folder(NAME).exists()
    for folder in ("there", "elsewhere"):
        listed = office.run("status", "--output", folder)
        assert len(listed.out.splitlines()) == 2
