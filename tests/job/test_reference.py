"""The reference of settings: what is found by which name, and a schema that judges job files as the program does."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator

from bulk_patch.errors import Exit, UsageError
from bulk_patch.job.overrides import apply_override
from bulk_patch.job.reference import find_settings, json_schema, list_settings
from tests.support.job_files import JOB
from tests.support.pages import ROOT

JOBS = [*sorted((ROOT / "jobs").glob("*.toml")), Path(str(files("bulk_patch.cli") / "templates" / "first_job.toml"))]


def faults(settings: dict[str, Any]) -> list[str]:
    return [error.message for error in OAS31Validator(json_schema()).iter_errors(settings)]


def names(key: str) -> list[str]:
    return [setting.name for setting in find_settings(key)]


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("limits.rate_per_s", ["limits.rate_per_s"]),
        ("rate_per_s", ["limits.rate_per_s"]),
        ("limits", ["limits.rate_per_s", "limits.concurrency", "limits.timeout_s"]),
        ("[limits]", ["limits.rate_per_s", "limits.concurrency", "limits.timeout_s"]),
        ("kind", ["baseline.kind", "target.kind", "ledger.kind", "engine.kind"]),
        ("approv", ["guards.approval", "guards.approval_valid_h"]),
        ("name", ["name"]),
    ],
)
def test_a_setting_is_found_by_the_name_that_a_person_has(key: str, found: list[str]) -> None:
    assert set(found) <= set(names(key))
    assert found[0] == names(key)[0]


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("limits.rate", ""),
        ("limits.rat_per_s", "limits.rate_per_s"),
        ("max_change", ""),
        ("max_chnages", "guards.max_changes"),
        ("concurency", "limits.concurrency"),
        ("zzz", "bulk-patch settings"),
        ("", "bulk-patch settings"),
        ("file", "bulk-patch settings"),
    ],
)
def test_what_is_not_a_setting_is_told_with_the_nearest(key: str, nearest: str) -> None:
    if not nearest or key == "file":  # a part of a name is a name
        assert names(key)
        assert "file" not in names(key)
        return
    with pytest.raises(UsageError) as caught:
        find_settings(key)
    assert caught.value.exit_code is Exit.USAGE
    assert nearest in caught.value.hint


def test_types_and_defaults_are_those_of_the_model() -> None:
    known = {setting.name: (setting.kind, setting.default) for setting in list_settings()}
    assert known["description"] == ("text", "none")
    assert known["target.base_url"] == ("text", "required")
    assert known["input.blank"] == ("`keep`, `clear` or `reject`", '"keep"')
    assert known["limits.rate_per_s"] == ('number, or `"unlimited"`', "20")
    assert known["limits.concurrency"] == ("whole number, 1 to 1000", "16")
    assert known["guards.approval"] == ("true or false", "false")
    assert known["guards.watch"] == ("table of lists", "none")
    assert known["baseline.path"] == ("path", "none")
    assert not {"file", "overrides", "sandbox_token"} & known.keys()


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.stem)
def test_the_schema_accepts_every_job_that_we_write(file: Path) -> None:
    assert faults(tomllib.loads(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("setting", list_settings(), ids=lambda setting: setting.name)
def test_the_schema_accepts_every_example(setting: Any) -> None:
    job = tomllib.loads(JOB)
    if setting.example:
        key, _, value = setting.example.partition(" = ")
        apply_override(job, f"{setting.section}.{key}={value}".removeprefix("."))
    assert faults(job) == []


@pytest.mark.parametrize(
    "override",
    [
        "limits.rate_per_s='fast'",
        "limits.concurrency=0",
        "limits.concurrency=16.5",
        "guards.max_invalid='5 %'",
        "guards.approval='yes'",
        "guards.fields='email'",
        "baseline.kind='yesterday'",
        "input.blank='ignore'",
        "guards.wacth={}",
        "file='x'",
        "sandbox_token='x'",
        "name='Moves'",
    ],
)
def test_the_schema_refuses_what_the_program_refuses(override: str) -> None:
    job = tomllib.loads(JOB)
    apply_override(job, override)
    assert faults(job)


def test_the_schema_asks_for_what_is_required() -> None:
    assert {message.split("'")[1] for message in faults({})} == {"name", "input", "target"}
