"""Settings of plug-ins of another package: judged in the words and by the rules of ours."""

from pathlib import Path

import pytest

from bulk_patch.errors import JobError
from bulk_patch.job.load import load_job
from bulk_patch.job.section import Capabilities
from bulk_patch.job.settings import Job
from tests.acceptance import other_plugins

JOB = """
name = "members"
[input]
path = "rows.csv"
id = "member"
[baseline]
kind = "cards"
cards = "cards.json"
[target]
kind = "club"
base_url = "https://api.example.com"
token = "env:TOKEN"
[ledger]
kind = "shelf"
shelf = "top"
[engine]
kind = "traced"
traces = "traces.txt"
"""


@pytest.fixture
def job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a job file that names plug-ins of another package, which is installed."""
    other_plugins.install_in(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    file = tmp_path / "jobs" / "members.toml"
    file.parent.mkdir()
    file.write_text(JOB)
    return file


def load(file: Path, *overrides: str) -> Job:
    return load_job(file, overrides)


def test_paths_of_a_plugin_are_absolute_and_its_values_are_checked(job_file: Path) -> None:
    job = load(job_file, "target.tier=silver")
    assert job.baseline.file() == job_file.parent / "cards.json"
    assert job.baseline.capabilities == Capabilities(may_be_stale=True)
    assert job.named_paths().keys() == {"baseline.cards", "engine.traces"}
    assert job.target_name == "club https://api.example.com club"
    assert load(job_file, "engine.traces=here.txt").named_paths()["engine.traces"] == Path.cwd() / "here.txt"


def test_what_a_plugin_reads_of_its_baseline_is_part_of_the_identity_of_a_job(job_file: Path) -> None:
    assert load(job_file).identity == load(job_file, "target.tier=silver").identity
    assert load(job_file).identity != load(job_file, "baseline.cards=/other.json").identity


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("ledger.shef=top", "ledger.shef is not a setting; did you mean shelf?"),
        ("target.teir=gold", "target.teir is not a setting; did you mean tier?"),
        ("target.tier=lead", "target.tier must be 'gold' or 'silver'"),
        ("target.resource=persons", 'target.resource goes with kind = "synctera"'),
        ("baseline.path=all.csv", 'baseline.path goes with kind = "file"'),
        ("engine.kind=elsewhere", "elsewhere"),
        ("ledger.kind=sqlite", "ledger.shelf is not a setting"),
    ],
)
def test_settings_of_another_package_are_judged_like_ours(job_file: Path, setting: str, said: str) -> None:
    with pytest.raises(JobError) as caught:
        load(job_file, setting)
    assert said in caught.value.message


def test_a_required_setting_of_a_plugin_is_told_and_nothing_else(job_file: Path) -> None:
    job_file.write_text(JOB.replace('shelf = "top"\n', ""))
    with pytest.raises(JobError, match=r"ledger\.shelf is required"):
        load(job_file)
