"""Who else uses a token now: known by locked files, without the token in any of them."""

import os
from pathlib import Path

import pytest

from bulk_patch.client import token_users
from bulk_patch.client.token_users import TokenUser, using_token

TOKEN, HOST = "a-very-secret-token", "api.example.com"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(token_users, "share_file", lambda name, _: tmp_path / "host" / f"{name}.share")
    return tmp_path / "host"


@pytest.mark.parametrize(
    ("token", "host", "share", "is_told"),
    [
        (TOKEN, HOST, None, True),
        (TOKEN, HOST, "api", True),  # the other shares with nobody
        ("another", HOST, None, False),
        (TOKEN, "api.example.org", None, False),
    ],
    ids=["same", "one shares", "another token", "another host"],
)
def test_another_process_with_the_same_token_is_named(token: str, host: str, share: str | None, is_told: bool) -> None:
    with (
        using_token(TOKEN, HOST, job="nightly", share=None) as none,
        using_token(token, host, job="migration", share=share) as others,
    ):
        assert none == ()
        assert others == ((TokenUser("nightly", os.getpid()),) if is_told else ())


def test_those_who_share_are_not_told() -> None:
    with (
        using_token(TOKEN, HOST, job="nightly", share="api"),
        using_token(TOKEN, HOST, job="migration", share="api") as others,
    ):
        assert others == ()


def test_a_file_of_a_process_that_has_ended_is_removed_and_none_holds_the_token(folder: Path) -> None:
    with using_token(TOKEN, HOST, job="nightly", share=None):
        left = b"".join(path.read_bytes() for path in folder.iterdir())
        assert TOKEN.encode() not in left
        (path,) = folder.glob("*.sender")
        content = path.read_bytes()
    (folder / "1-dead.sender").write_bytes(content)
    with using_token(TOKEN, HOST, job="nightly", share=None) as others:
        assert others == ()
    assert [path.name for path in folder.iterdir()] == ["key"]


def test_where_no_file_can_be_kept_nobody_is_known(folder: Path) -> None:
    folder.write_text("not a folder", encoding="utf-8")
    with using_token(TOKEN, HOST, job="nightly", share=None) as others:
        assert others == ()
