"""`check`: all that is wrong with a job is said at once, before anything is planned, written or started."""

import os
import socket
import time
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Ended, Workspace
from tests.acceptance.small_job import FILE, id_of, new_emails, planned_at, write_job, write_rows


def write(office: Workspace, *changes: tuple[str, str]) -> None:
    write_job(office, new_emails(1, 2))
    path = office.root / FILE
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")


def wrong_parts(ended: Ended) -> list[str]:
    return [line.split()[1] for line in ended.out.splitlines() if line.startswith("  wrong  ")]


def files_of(office: Workspace) -> set[Path]:
    return set(office.root.rglob("*"))


def test_a_good_job_is_said_to_be_good_by_one_read_and_nothing_is_written(office: Workspace, api: Sandbox) -> None:
    write(office)
    before = files_of(office)
    ended = office.run("check", FILE, *planned_at(api))
    assert ended.code == 0, ended.out + ended.err
    assert wrong_parts(ended) == []
    assert [(entry["method"], entry["status"]) for entry in api.requests] == [("GET", 200)]
    assert ended.next.startswith(f"bulk-patch plan {FILE}")
    assert files_of(office) == before
    assert office.environment["SYNCTERA_API_KEY"] not in ended.out + ended.err


def test_all_faults_are_told_at_once(office: Workspace, api: Sandbox) -> None:
    write(
        office,
        ("concurrency = 4", "concurency = 4"),
        ('"unlimited"', '"20"'),
        ('"env:SYNCTERA_API_KEY"', '"sk_live_1234"'),
        ("[guards]", '[guards]\nfields = ["e_mail"]'),
        ("small_world.csv", "no_world.csv"),
    )
    write_rows(office.root / "sample_inputs" / "small.csv", [{"customer_id": id_of(1), "emial": "a@example.org"}])
    ended = office.run("check", FILE, "--set", f"target.base_url={api.base_url}")
    assert ended.code == 2, ended.err
    assert wrong_parts(ended) == ["settings", "header", "guards", "files"]
    for words in ("limits.concurency", "target.token", "'emial'", "did you mean email?", "e_mail", "no_world.csv"):
        assert words in " ".join(ended.out.split())
    assert "sk_live_1234" not in ended.out + ended.err
    assert ended.out.count("limits.rate_per_s must be") == 1
    assert api.requests == []


@pytest.mark.parametrize(
    ("key", "code", "part"), [(None, 6, "token"), ("", 6, "token"), ("not-the-token", 6, "API")], ids=str
)
def test_a_token_that_is_missing_or_refused_is_6(
    office: Workspace, api: Sandbox, key: str | None, code: int, part: str
) -> None:
    write(office)
    if key is None:
        del office.environment["SYNCTERA_API_KEY"]
    else:
        office.environment["SYNCTERA_API_KEY"] = key
    ended = office.run("check", FILE, *planned_at(api))
    assert (ended.code, wrong_parts(ended)) == (code, [part]), ended.out
    assert ended.next.startswith("bulk-patch check ")


def test_an_api_that_does_not_answer_is_4_in_two_seconds(office: Workspace) -> None:
    write(office)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    started = time.monotonic()
    ended = office.run("check", FILE, "--set", f"target.base_url=http://127.0.0.1:{port}/v0")
    assert (ended.code, wrong_parts(ended)) == (4, ["API"]), ended.out
    assert time.monotonic() - started < 10  # two on a machine that does nothing else


def test_an_address_that_is_not_the_apis_is_2(office: Workspace, api: Sandbox) -> None:
    write(office)
    ended = office.run("check", FILE, "--set", f"target.base_url={api.base_url.replace('/v0', '/v9')}")
    assert (ended.code, wrong_parts(ended)) == (2, ["API"]), ended.out


def test_a_wrong_header_beside_a_missing_token_is_2_and_both_are_told(office: Workspace) -> None:
    write(office, ('id = "customer_id"', 'id = "customer"'))
    del office.environment["SYNCTERA_API_KEY"]
    ended = office.run("check", FILE)
    assert (ended.code, wrong_parts(ended)) == (2, ["header", "token"]), ended.out


def test_offline_asks_nobody(office: Workspace, api: Sandbox) -> None:
    write(office, ('"env:SYNCTERA_API_KEY"', '"cmd:touch asked"'))
    ended = office.run("check", FILE, "--offline", "--set", f"target.base_url={api.base_url}")
    assert ended.code == 0, ended.out
    assert api.requests == []
    assert not list(office.root.rglob("asked"))


def test_an_input_that_is_too_old_is_what_plan_would_say(office: Workspace) -> None:
    write(office, ('id = "customer_id"', 'id = "customer_id"\nmax_age_h = 26'))
    old = time.time() - 3 * 24 * 3600
    os.utime(office.root / "sample_inputs" / "small.csv", (old, old))
    ended = office.run("check", FILE, "--offline")
    assert (ended.code, wrong_parts(ended)) == (5, ["input"]), ended.out


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("nowhere.toml", None, "no job file at jobs/nowhere.toml"),
        ("no_toml.toml", "name = small", "not valid TOML"),
        ("reserved.toml", 'sandbox_token = "x"\nfile = "y"', "not a setting"),
        ("empty.toml", "", "input is required"),
        ("flat.toml", 'name = "x"\ninput = 3\ntarget = []', "input"),
    ],
)
def test_a_job_of_which_nothing_can_be_used_is_one_fault(
    office: Workspace, name: str, text: str | None, words: str
) -> None:
    write(office)
    if text is not None:
        (office.root / "jobs" / name).write_text(text, encoding="utf-8")
    ended = office.run("check", f"jobs/{name}")
    assert (ended.code, wrong_parts(ended)) == (2, ["settings"]), ended.out + ended.err
    assert words in ended.out


def test_quiet_says_nothing_of_a_good_job(office: Workspace) -> None:
    write(office)
    ended = office.run("check", FILE, "--offline", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_a_wrong_header_is_told_before_a_sandbox_is_started(office: Workspace) -> None:
    write(office, ("[guards]", '[guards]\nfields = ["first_name"]'))
    for command in ("plan", "run"):
        ended = office.run(command, FILE, "--sandbox")
        assert ended.code == 2
        assert "would change email, which guards.fields does not allow" in ended.err
        assert not (office.root / "output" / "small" / "sandbox").exists()
