"""The first commands that a newcomer types: the jobs of the repository against their sandbox."""

import hashlib
import json
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.commands import REPOSITORY, Ended, Workspace, read_csv
from tests.support.samples import MESSY_ROWS, MessyRow

FIRST_RUN = ("run", "jobs/address_corrections.toml", "--sandbox", "--yes")
JOB = "address-corrections"
RESULT_COLUMNS = (
    "row,customer_id,status,reason,fields,attempts,http_status,api_code,idempotency_key,sent_at,done_at".split(",")
)
STATUSES = "applied unchanged duplicate invalid drifted mismatch rejected unknown pending kept".split()
UUID = r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.copied(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def ended(place: Workspace) -> Ended:
    """Run the README's first command, with the most careless umask there is."""
    return place.run(*FIRST_RUN, umask=0)


@pytest.fixture
def folder(place: Workspace, ended: Ended) -> Path:
    assert ended.code == 0, ended.err
    return place.job_folder(JOB) / str(place.runs(JOB)[0]["id"])


def test_the_first_command_is_the_one_that_the_readme_gives() -> None:
    lines = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    assert any(f"bulk-patch {' '.join(FIRST_RUN)}" in line for line in lines)


def test_the_first_run_ends_with_0_and_says_how_many_rows_were_applied_and_unchanged(ended: Ended) -> None:
    assert ended.code == 0, ended.err
    applied, unchanged, rows = map(int, re.findall(r"(\d+) (?:applied|unchanged|input rows)", ended.err))
    assert applied > 100
    assert unchanged > 10
    assert applied + unchanged == rows
    assert ended.err.splitlines()[-1] == "exit code 0: done"
    assert re.search(rf"applied +{applied}\b", ended.out)
    assert "Traceback" not in ended.err


def test_it_leaves_the_five_files(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"results.csv", "failures.csv", "summary.json", "report.html", "run.log"}


def test_every_file_is_its_owners_alone_whatever_the_umask(folder: Path, place: Workspace) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (place.root / "output").rglob("*")}
    assert {path.name for path, mode in modes.items() if path.is_file() and mode != 0o600} == set()
    assert {path.name for path, mode in modes.items() if path.is_dir() and mode != 0o700} == set()
    assert {folder / "run.log", place.job_folder(JOB) / "ledger.db"} < set(modes)


def test_results_have_a_line_for_every_row_that_was_not_unchanged(folder: Path, place: Workspace) -> None:
    lines = read_csv(folder / "results.csv")
    assert list(lines[0]) == RESULT_COLUMNS
    assert len(lines) == place.summary(JOB)["counts"]["applied"]
    rows = [int(line["row"]) for line in lines]
    assert rows == sorted(set(rows))
    inputs = read_csv(place.root / "sample_inputs" / "address_corrections.csv")
    for line in lines:
        assert line["customer_id"] == inputs[int(line["row"]) - 1]["customer_id"].lower()
        assert (line["status"], line["attempts"], line["http_status"], line["api_code"]) == ("applied", "1", "200", "")
        assert all(name.startswith("legal_address.") for name in line["fields"].split(";"))
        assert re.fullmatch(UUID, line["idempotency_key"])
        assert re.fullmatch(TIME, line["sent_at"])
        assert line["sent_at"] <= line["done_at"]
    assert len({line["idempotency_key"] for line in lines}) == len(lines)


def test_nothing_failed_so_failures_are_a_header_of_the_inputs_columns_and_the_notes(
    folder: Path, place: Workspace
) -> None:
    header = (place.root / "sample_inputs" / "address_corrections.csv").read_text(encoding="utf-8").partition("\n")[0]
    assert (folder / "failures.csv").read_text(encoding="utf-8") == f"\ufeff{header},_status,_reason,_hint,_row,_run\n"


def test_the_summary_says_what_the_interface_promises(folder: Path, place: Workspace) -> None:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert set(summary) == set(
        "run job target state exit_code input_rows counts timings rate plan_sha256 input_sha256 started_at "
        "finished_at next chain_head".split()
    )
    assert (summary["run"], summary["job"], summary["target"]) == (folder.name, JOB, "synctera sandbox customers")
    assert (summary["state"], summary["exit_code"], summary["next"]) == ("complete", 0, "")
    counts = summary["counts"]
    assert set(counts) == set(STATUSES)
    assert {status for status, rows in counts.items() if rows} == {"applied", "unchanged"}
    assert sum(counts.values()) == summary["input_rows"]
    log = place.sandbox_log(JOB)
    assert counts["applied"] == sum(entry["executed"] and entry["method"] == "PATCH" for entry in log)
    timings, rate = summary["timings"], summary["rate"]
    assert set(timings) == set("plan_s send_s requests requests_per_s p50_ms p99_ms".split())
    assert set(rate) == set("limit_per_s achieved_per_s throttled".split())
    assert 0 < timings["plan_s"] < timings["send_s"]
    assert timings["requests"] == counts["applied"] + 10  # the canary is read back
    assert 0 < timings["p50_ms"] <= timings["p99_ms"]
    assert (rate["limit_per_s"], rate["throttled"]) == (20, 0)
    assert 17 < rate["achieved_per_s"] == timings["requests_per_s"]
    assert timings["requests"] <= 20 * (timings["send_s"] + 0.01) + 1  # the bound that holds for every window
    source = (place.root / "sample_inputs" / "address_corrections.csv").read_bytes()
    assert summary["input_sha256"] == hashlib.sha256(source).hexdigest()
    assert re.fullmatch("[0-9a-f]{64}", summary["plan_sha256"])
    assert re.fullmatch(TIME, summary["started_at"])
    assert summary["started_at"] < summary["finished_at"]


def test_the_log_is_json_lines_that_tell_the_story(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "run.log").read_text(encoding="utf-8").splitlines()]
    told = [line["event"] for line in lines]
    assert [event for event in told if event != "progress"] == ["planning", "planned", "sending", "reported"]
    assert all(re.fullmatch(TIME, line["timestamp"]) and line["level"] == "info" for line in lines)


def test_the_same_command_plans_anew_and_finds_nothing_to_change(place: Workspace, ended: Ended) -> None:
    sent = len([entry for entry in place.sandbox_log(JOB) if entry["method"] == "PATCH"])
    again = place.run(*FIRST_RUN)
    assert again.code == 0, again.err
    assert [run["exit_code"] for run in place.runs(JOB)] == [0, 0]
    summary = place.summary(JOB)
    assert summary["counts"]["unchanged"] == summary["input_rows"]
    assert summary["started_at"] is None
    assert f"0 applied, {summary['input_rows']} unchanged" in again.err
    assert len([entry for entry in place.sandbox_log(JOB) if entry["method"] == "PATCH"]) == sent


def test_the_contact_migration_asks_the_api_nothing_for_its_plan_and_ends_with_0(workspace: Workspace) -> None:
    ended = workspace.run(
        "run", "jobs/contact_migration.toml", "--sandbox", "--set", "limits.rate_per_s=unlimited", "--no-progress"
    )
    assert ended.code == 0, ended.err
    counts = Counter(workspace.summary("contact-migration")["counts"])
    assert (counts["applied"], counts["unchanged"]) == (1140, 60)
    first = workspace.sandbox_log("contact-migration")[0]
    assert (first["method"], first["executed"]) == ("PATCH", True)


def test_the_nightly_reconciliation_sends_only_the_differences_and_is_quiet(workspace: Workspace) -> None:
    ended = workspace.run("run", "jobs/nightly_reconciliation.toml", "--sandbox", "--yes", "--quiet")
    assert ended.code == 0, ended.err
    counts = workspace.summary("nightly-reconciliation")["counts"]
    assert 0 < counts["applied"] < 50
    assert counts["applied"] + counts["unchanged"] == sum(counts.values())
    assert ended.out == ""
    assert "exit code" not in ended.err  # a good night sends no mail


# --- the messy file


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Ended]:
    place = Workspace.copied(tmp_path_factory.mktemp("messy"))
    return place, place.run("run", "jobs/messy_corrections.toml", "--sandbox", "--set", "limits.rate_per_s=200")


def test_the_messy_file_is_complete_and_needs_a_person(messy: tuple[Workspace, Ended]) -> None:
    place, ended = messy
    assert ended.code == 3, ended.err
    counts = place.summary("messy-corrections")["counts"]
    expected = Counter[str](row.status for row in MESSY_ROWS)
    assert counts == {status: expected[status] for status in STATUSES}
    assert "correct output/messy-corrections/" in ended.before


@pytest.mark.parametrize("row", MESSY_ROWS, ids=lambda row: f"{row.row}-{row.what.replace(' ', '-')}")
def test_each_oddity_of_the_messy_file_ends_as_it_should(messy: tuple[Workspace, Ended], row: MessyRow) -> None:
    place, _ = messy
    found: dict[str, Any] | None = next(
        (line for line in place.results("messy-corrections") if line["row"] == str(row.row)), None
    )
    if row.status == "unchanged":
        assert found is None
        return
    assert found is not None
    assert found["status"] == row.status
    assert row.reason_contains.lower() in found["reason"].lower()


def test_rows_of_the_messy_file_that_failed_are_given_back_as_they_were_read(messy: tuple[Workspace, Ended]) -> None:
    place, _ = messy
    inputs = [
        row for row in read_csv(place.root / "sample_inputs" / "messy_corrections.csv") if row["customer_id"].strip()
    ]
    failures = place.failures("messy-corrections")
    assert [int(line["_row"]) for line in failures] == [row.row for row in MESSY_ROWS if row.status == "invalid"]
    for line in failures:
        cells = {name: text for name, text in line.items() if not name.startswith("_")}
        assert cells == inputs[int(line["_row"]) - 1]
        assert line["_status"] == "invalid"
        assert line["_reason"]
        assert line["_hint"]
