"""What is handed to those who send: it can be pickled, and no secret is in it."""

import dataclasses
import pickle
from pathlib import Path

import pytest

from bulk_patch.client.send_spec import SendSpec
from bulk_patch.job.load import load_job
from bulk_patch.targets.from_spec import target_from_spec, target_of_job

TOKEN, LOGIN = "sk_live_planted_token", "user:planted-password"
JOB = """
name = "handed-on"
[input]
path = "in.csv"
id = "customer_id"
[target]
kind = "synctera"
base_url = "https://api.example.com/v0"
token = "env:PLANTED_TOKEN"
proxy = "http://proxy.example.com:3128"
proxy_auth = "file:login"
[guards.watch]
kyc_status = ["ACCEPTED"]
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SendSpec:
    monkeypatch.setenv("PLANTED_TOKEN", TOKEN)
    (tmp_path / "login").write_text(LOGIN, encoding="utf-8")
    (tmp_path / "job.toml").write_text(JOB, encoding="utf-8")
    job = load_job(tmp_path / "job.toml")
    return SendSpec.of(job, target_of_job(job))


def test_a_spec_comes_back_from_another_process_as_it_was(spec: SendSpec) -> None:
    again: SendSpec = pickle.loads(pickle.dumps(spec))
    assert again == spec
    assert again.watch == ("kyc_status",)
    assert target_from_spec(again.target).spec == target_from_spec(spec.target).spec


def test_no_secret_is_in_it(spec: SendSpec) -> None:
    pickled = pickle.dumps(spec)
    assert TOKEN.encode() not in pickled
    assert b"planted-password" not in pickled
    assert b"env:PLANTED_TOKEN" in pickled  # the reference, which says nothing
    assert TOKEN not in repr(spec)


def test_nobody_changes_it_on_the_way(spec: SendSpec) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.base_url = "https://elsewhere.example.com"  # type: ignore[misc]
