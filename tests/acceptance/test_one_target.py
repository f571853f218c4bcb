"""One target, one input, one job: other spellings, other names and other files do not make a second of them."""

import os
import shutil
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import WITHOUT_RIGHTS, Workspace, assert_told, needs_permissions
from tests.acceptance.small_job import (
    FILE,
    NAME,
    NOTHING_TO_COMPARE,
    aimed_at,
    input_path,
    new_emails,
    patches,
    write_input,
    write_job,
)


def test_another_spelling_of_the_address_is_the_same_target(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("run", FILE, *aimed_at(api), *NOTHING_TO_COMPARE).code == 0
    port = api.base_url.rpartition(":")[2].partition("/")[0]
    for spelling in (
        api.base_url.upper().replace("/V0", "/v0"),
        api.base_url.replace(port, f"0{port}"),
        f"{api.base_url}// ",
    ):
        again = office.run("run", FILE, "--yes", "--set", f"target.base_url={spelling}", *NOTHING_TO_COMPARE)
        assert_told(again, 9, "has already been sent")
    assert len(patches(api)) == 1
    assert len({run["target"] for run in office.runs(NAME)}) == 1


def test_the_same_bytes_under_another_name_are_the_same_input_also_after_another(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, new_emails(1))
    flags = [*aimed_at(api), *NOTHING_TO_COMPARE]
    assert office.run("run", FILE, *flags).code == 0
    copy = office.root / "in (1).csv"
    shutil.copyfile(input_path(office), copy)
    assert_told(office.run("run", FILE, *flags, "--set", f"input.path={copy}"), 9, "has already been sent")
    write_input(office, new_emails(2))
    assert office.run("run", FILE, *flags).code == 0
    assert_told(office.run("run", FILE, *flags, "--set", f"input.path={copy}"), 9, "has already been sent")
    assert len(patches(api)) == 2


def test_the_open_run_of_another_job_file_with_the_same_name_is_refused(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2, 3))
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    shutil.copyfile(office.root / FILE, office.root / "jobs" / "second.toml")
    for verb in ("run", "plan"):
        flags = aimed_at(api) if verb == "run" else aimed_at(api)[:-1]
        assert_told(office.run(verb, "jobs/second.toml", *flags), 9, "another job file", str(office.root / FILE))
    assert len(patches(api)) == 1
    (office.root / "link.toml").symlink_to(office.root / FILE)
    linked = office.run("run", "link.toml", *aimed_at(api), "--output", str(office.root / "output"), "--limit", "1")
    assert linked.code == 4, linked.err
    (office.root / FILE).unlink()  # it was moved, or released anew
    moved = office.run("run", "jobs/second.toml", *aimed_at(api))
    assert moved.code == 0, moved.err
    assert len(patches(api)) == 3


def test_a_link_on_the_way_to_a_new_ledger_is_told(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    (office.root / "current").symlink_to(office.root)
    ended = office.run("run", f"current/{FILE}", *aimed_at(api), "--quiet")
    assert ended.code == 0, ended.err
    assert "ledger_by_link" in ended.err
    assert str(office.root.resolve() / "output") in ended.err
    assert "ledger_by_link" not in office.run("run", f"current/{FILE}", *aimed_at(api), "--quiet").err


@pytest.mark.parametrize("how", ["a pipe", "a folder", "nothing", "an empty parts folder"])
def test_an_input_that_cannot_be_looked_at_stops_no_open_run(office: Workspace, api: Sandbox, how: str) -> None:
    write_job(office, new_emails(1, 2, 3))
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    path = input_path(office)
    path.unlink()
    if how == "a pipe":
        os.mkfifo(path)
    elif how != "nothing":
        (path / "_temporary").mkdir(parents=True) if how == "an empty parts folder" else path.mkdir()
    ended = office.run("run", FILE, *aimed_at(api))
    assert ended.code == 0, ended.err
    assert "input_not_seen" in ended.err
    assert len(patches(api)) == 3
    assert office.run("run", FILE, *aimed_at(api)).code == 2  # the next plan needs it


@needs_permissions
@pytest.mark.parametrize("closed", ["the file", pytest.param("its folder", marks=pytest.mark.chaos)])
def test_an_input_that_may_not_be_read_stops_no_open_run(office: Workspace, api: Sandbox, closed: str) -> None:
    write_job(office, new_emails(1, 2))
    path: Path = input_path(office)
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1", under=WITHOUT_RIGHTS).code == 4
    path.touch()
    place = path if closed == "the file" else path.parent
    place.chmod(0)
    try:
        ended = office.run("run", FILE, *aimed_at(api), under=WITHOUT_RIGHTS)
        assert ended.code == 0, ended.err
        assert "input_not_seen" in ended.err
        assert office.run("run", FILE, *aimed_at(api), under=WITHOUT_RIGHTS).code == 2
    finally:
        place.chmod(0o700)
    assert len(patches(api)) == 2
