"""What overrides a job file, what makes it another plan, and what names its target."""

import json
import os
from pathlib import Path

import pytest

from bulk_patch.job.load import load_job
from bulk_patch.job.settings import Guards
from tests.job.test_settings import SECRET, look_up, refused
from tests.support.job_files import JOB, make_job

# --- overrides


@pytest.mark.parametrize(
    ("override", "name", "expected"),
    [
        ("limits.rate_per_s=5", "limits.rate_per_s", 5),
        ("limits.rate_per_s = 5", "limits.rate_per_s", 5),
        ("description=two words", "description", "two words"),
        ('description="a = b"', "description", "a = b"),
        ("description=a=b", "description", "a=b"),
        ("description=", "description", ""),
        ("description='it''s'", "description", "'it''s'"),
        ('guards.fields=["email", "dob"]', "guards.fields", ("email", "dob")),
        ("input.rename.ZIP=legal_address.postal_code", "input.rename", {"ZIP": "legal_address.postal_code"}),
        ('input.rename={"a.b" = "email"}', "input.rename", {"a.b": "email"}),
        ('guards={canary = 3, drift = "off"}', "guards", Guards(canary=3, drift="off")),
        ("guards.watch.kyc_status=['ACCEPTED']", "guards.watch", {"kyc_status": ["ACCEPTED"]}),
    ],
)
def test_a_setting_is_overridden_by_its_dotted_name(tmp_path: Path, override: str, name: str, expected: object) -> None:
    assert look_up(make_job(tmp_path, override), name) == expected


def test_the_last_of_two_overrides_holds(tmp_path: Path) -> None:
    job = make_job(tmp_path, "limits.rate_per_s=5", "limits.rate_per_s=7")
    assert job.limits.rate_per_s == 7
    assert job.overrides == ("limits.rate_per_s=7",)


def test_an_override_that_is_replaced_leaves_the_others_their_meaning(tmp_path: Path) -> None:
    rename = ("input.rename={}", "input.rename.ZIP=email", "input.rename={}", "name=other")
    job = make_job(tmp_path, *rename)
    assert job.overrides == rename[1:]
    assert load_job(job.file, job.overrides).input == job.input


@pytest.mark.parametrize("override", ["limits.rate_per_s", "", "=5", "limits.=5", ".x=5", "a..b=5"])
def test_an_override_that_is_no_key_and_value_is_refused(tmp_path: Path, override: str) -> None:
    assert "must be KEY=VALUE" in refused(tmp_path, override)


def test_an_override_cannot_make_a_table_of_a_setting(tmp_path: Path) -> None:
    assert "name is a setting, not a table" in refused(tmp_path, "name.first=x")


def test_an_override_does_not_hide_a_fault_of_the_file(tmp_path: Path) -> None:
    assert "retry.attempts" in refused(tmp_path, "retry.attempts=3", text=JOB + "[retry]\nattempts = 0\n")


def test_paths_in_overrides_are_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    job = make_job(
        tmp_path,
        "input.path=../moves.csv",
        "baseline.kind=file",
        "baseline.path=all.csv",
        'sandbox={customers = "world.csv"}',
        "target.ca_file=~/ca.pem",
    )
    assert job.input.path == tmp_path / "moves.csv"
    assert job.baseline.file() == tmp_path / "here" / "all.csv"
    assert job.sandbox.customers == tmp_path / "here" / "world.csv"
    assert job.target.ca_file == tmp_path / "home" / "ca.pem"


def test_overrides_that_a_run_remembers_mean_the_same_from_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = make_job(tmp_path, "input.path=moves.csv", "limits.rate_per_s=5")
    monkeypatch.chdir("/")
    again = load_job(job.file, job.overrides)
    assert again.input.path == tmp_path / "moves.csv"
    assert again.limits.rate_per_s == 5
    assert again.identity == job.identity


@pytest.mark.parametrize(
    "override",
    [
        "guards.allowed_signers=signers",
        'guards={approval = true, allowed_signers = "signers", canary = 0, watch = {"x" = ["a\\u007f"]}}',
    ],
)
def test_a_path_that_a_run_remembers_is_whole_also_within_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    monkeypatch.chdir(tmp_path)
    job = make_job(tmp_path, override)
    assert job.guards.allowed_signers == tmp_path / "signers"
    monkeypatch.chdir("/")
    assert load_job(job.file, job.overrides).guards == job.guards


def test_a_token_file_named_on_the_command_line_is_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for override in (
        "target.token=file:token",
        'target={kind="synctera", base_url="https://a.example", token="file:token"}',
    ):
        job = make_job(tmp_path, override)
        monkeypatch.chdir("/")
        assert load_job(job.file, job.overrides).target.token == f"file:{tmp_path / 'here' / 'token'}"
        monkeypatch.chdir(tmp_path / "here")
    assert "token" in refused(tmp_path, "target.token=file:")


def test_a_renamed_column_that_is_called_path_is_no_path(tmp_path: Path) -> None:
    assert make_job(tmp_path, 'input.rename={path = "email"}').input.rename == {"path": "email"}


# --- identity and target


@pytest.mark.parametrize(
    "setting",
    [
        "input.id=id",
        "input.blank=reject",
        "input.clear=NIL",
        'input.may_clear=["email"]',
        "input.duplicates=last",
        "input.rename.ZIP=legal_address.postal_code",
        "baseline.kind=live",
        "baseline.max_age_h=1",
        'guards.fields=["email"]',
        "guards.fields=[]",
    ],
)
def test_input_baseline_and_guarded_fields_are_what_a_plan_depends_on(tmp_path: Path, setting: str) -> None:
    assert make_job(tmp_path, setting).identity != make_job(tmp_path).identity


@pytest.mark.parametrize(
    "setting",
    [
        "description=other",
        "input.path=/other.csv",  # it is known by its bytes
        "input.max_age_h=26",  # a guard judges its age
        "limits.rate_per_s=5",
        "retry.attempts=3",
        "guards.max_changes=5",
        "guards.canary=0",
        "target.token=env:OTHER",
        "target.base_url=https://other.example.com/v0",
        "sandbox.customers=/world.csv",
    ],
)
def test_what_may_be_tuned_does_not_make_another_plan(tmp_path: Path, setting: str) -> None:
    assert make_job(tmp_path, setting).identity == make_job(tmp_path).identity


def test_the_order_of_guarded_fields_does_not_matter(tmp_path: Path) -> None:
    one, other = ('guards.fields=["email", "dob"]', 'guards.fields=["dob", "email"]')
    assert make_job(tmp_path, one).identity == make_job(tmp_path, other).identity


def test_a_folder_that_moves_with_its_job_keeps_its_plan(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    before = make_job(tmp_path / "old").identity
    os.rename(tmp_path / "old", tmp_path / "new")
    assert load_job(tmp_path / "new" / "moves.toml").identity == before


def test_runs_are_kept_per_kind_address_and_resource(tmp_path: Path) -> None:
    names = {
        make_job(tmp_path, setting).target_name
        for setting in ("target.base_url=https://b.example.com", "target.resource=persons", "description=x")
    }
    assert names == {
        "synctera https://b.example.com customers",
        "synctera https://api.example.com/v0 persons",
        "synctera https://api.example.com/v0 customers",
    }


def test_a_rehearsal_is_a_target_of_its_own_wherever_it_listens(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    one, other = (job.at_sandbox(f"http://127.0.0.1:{port}/v0", "token") for port in (1, 2))
    assert one.target_name == other.target_name == "synctera sandbox customers"
    assert one.target.base_url == "http://127.0.0.1:1/v0"
    assert one.identity == job.identity
    assert job.sandbox_token is None


def test_a_job_can_be_written_as_json_without_what_the_program_keeps_in_it(tmp_path: Path) -> None:
    written = json.loads(make_job(tmp_path).at_sandbox("http://127.0.0.1:1/v0", SECRET).model_dump_json())
    assert {"file", "overrides", "sandbox_token"}.isdisjoint(written)
