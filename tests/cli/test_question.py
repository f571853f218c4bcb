"""The question before sending: what it is aimed at in words, and the job's name where much would change."""

import io
from pathlib import Path

import pytest

from bulk_patch.cli import terminal
from bulk_patch.cli.terminal import PRODUCTION, ask_to_send, place_of
from bulk_patch.model import State
from bulk_patch.testing.ledger_plans import make_run
from tests.support.job_files import make_job

RUN = make_run()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is asked."""
    said: list[str] = []
    monkeypatch.setattr(terminal, "say", lambda text, **_: said.append(text))
    return said


def answer(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{typed}\n"))


@pytest.mark.parametrize(
    ("base_url", "place"),
    [
        ("https://api.synctera.com/v0", PRODUCTION),
        ("https://API-Sandbox.synctera.com/v0", "Synctera's sandbox"),
        ("https://api-sandbox.synctera.com.example.org/v0", PRODUCTION),
        ("http://127.0.0.1:8080/v0", "this machine"),
    ],
)
def test_what_a_job_is_aimed_at_is_said_in_words(tmp_path: Path, base_url: str, place: str) -> None:
    job = make_job(tmp_path, f"target.base_url={base_url}")
    assert place_of(job) == place
    assert place_of(job.model_copy(update={"sandbox_token": "t"})) == "the built-in sandbox"


@pytest.mark.parametrize(("typed", "sends"), [("y", False), ("yes", False), ("", False), (RUN.job, True)])
def test_many_changes_to_production_want_the_name_of_the_job(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], typed: str, sends: bool
) -> None:
    answer(monkeypatch, typed)
    assert ask_to_send(RUN, {State.PENDING: 1_001}) is sends
    assert "1,001 changes" in asked[0]
    assert PRODUCTION in asked[0]
    assert RUN.job in asked[0]


@pytest.mark.parametrize(
    ("rows", "limit", "place"), [(1_000, None, PRODUCTION), (5_000, 10, PRODUCTION), (5_000, None, "this machine")]
)
def test_a_yes_is_enough_for_few_changes_and_elsewhere(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], rows: int, limit: int | None, place: str
) -> None:
    answer(monkeypatch, "y")
    assert ask_to_send(RUN, {State.PENDING: rows}, limit=limit, place=place)
    assert f"({place})? [y/N]" in asked[0]
