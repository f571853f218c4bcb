"""The same jobs from Python, in the caller's own process."""

import pkgutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import bulk_patch
from bulk_patch import BulkPatchError, RunSummary, load_job, plan_job, run_job
from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import REPOSITORY, Workspace
from tests.acceptance.small_job import FILE, NAME, TOKEN, id_of, new_emails, patches, people, write_job


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("SYNCTERA_API_KEY", TOKEN)
    workspace = Workspace(tmp_path)
    write_job(workspace, new_emails(1, 2, 3))
    return workspace


@pytest.fixture
def overrides(api: Sandbox) -> list[str]:
    return [f"target.base_url={api.base_url}"]


def test_a_job_is_planned_and_run_and_says_what_became_of_it(
    place: Workspace, api: Sandbox, overrides: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    job = load_job(place.root / FILE, overrides)
    planned = plan_job(job)
    assert isinstance(planned, RunSummary)
    assert (planned.state, planned.exit_code, planned.counts["pending"]) == ("planned", 0, 3)
    assert patches(api) == []
    summary = run_job(job)
    assert (summary.run, summary.state, summary.exit_code) == (planned.run, "complete", 0)
    assert summary.counts["applied"] == 3
    assert api.customer(id_of(2))["email"] == "new2@example.org"
    assert place.summary(NAME) == summary.as_json()
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")  # a library says nothing by itself


def test_it_runs_in_a_thread_where_signals_are_the_callers_business(
    place: Workspace, api: Sandbox, overrides: list[str]
) -> None:
    job = load_job(place.root / FILE, overrides)
    ended: list[RunSummary] = []
    thread = threading.Thread(target=lambda: ended.append(run_job(job)))
    thread.start()
    thread.join(timeout=20)
    assert [summary.exit_code for summary in ended] == [0]
    assert len(patches(api)) == 3


def test_what_fails_raises_one_kind_of_error_with_a_hint_and_a_code(place: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BulkPatchError, match="no job file") as caught:
        load_job(tmp_path / "nowhere.toml")
    assert caught.value.exit_code == 2
    assert caught.value.hint
    with Sandbox(people(1), token="another") as api:
        job = load_job(place.root / FILE, [f"target.base_url={api.base_url}"])
        with pytest.raises(BulkPatchError, match="401") as refused:
            run_job(job)
    assert refused.value.exit_code == 6
    assert TOKEN not in repr(refused.value) + repr(job)


def test_runs_of_the_library_and_of_the_command_line_are_the_same_runs(
    place: Workspace, api: Sandbox, overrides: list[str]
) -> None:
    planned = plan_job(load_job(place.root / FILE, overrides))
    place.environment["SYNCTERA_API_KEY"] = TOKEN
    ended = place.run("run", FILE, "--yes", "--set", overrides[0])
    assert ended.code == 0, ended.err
    assert [run["id"] for run in place.runs(NAME)] == [planned.run]


def test_no_public_name_is_a_modules_and_importing_loads_nothing_heavy() -> None:
    modules = {module.name for module in pkgutil.iter_modules(bulk_patch.__path__)}
    assert {"job", "planning", "workflows"} <= modules
    assert modules.isdisjoint(bulk_patch.__all__)
    program = (
        "import sys; from bulk_patch import load_job, BulkPatchError; "
        "print({'pandas', 'aiohttp', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
