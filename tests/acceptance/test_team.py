"""A team that shares a job's folder: one login plans, another approves, either goes on. Only root can be both."""

import grp
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.approvals import ask_for_approval
from tests.acceptance.commands import REPOSITORY, Ended, Workspace
from tests.acceptance.small_job import FILE, NAME, TOKEN, aimed_at, new_emails, patches, planned_at, write_job

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two people")
TEAM = "games"  # a group that every Linux has, and nobody is in
TEAMMATE = "nobody"
#: Loads everything first: the other login may not be allowed to read this Python. Then there is no way back.
AS_TEAMMATE = """
import asyncio.base_events, importlib, os, pkgutil, sys
import bulk_patch, encodings.idna, encodings.unicode_escape, encodings.utf_8_sig
import pandas, pyarrow.csv, pyarrow.parquet, tqdm, uvloop
for module in pkgutil.walk_packages(bulk_patch.__path__, "bulk_patch."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from bulk_patch.cli import main
user, group, team = map(int, sys.argv[1:4])
os.setgroups([team])
os.setgid(group)
os.setuid(user)
sys.argv[:] = ["bulk-patch", *sys.argv[4:]]
main()
"""


@pytest.fixture
def shared() -> Iterator[Workspace]:
    """Return a workspace that another login can reach, with a job that a group shares."""
    if TEAM not in {its.gr_name for its in grp.getgrall()} or TEAMMATE not in {its.pw_name for its in pwd.getpwall()}:
        pytest.skip(f"there is no group {TEAM} or no user {TEAMMATE} here")
    code = [REPOSITORY, Path(pytest.__file__).parent]
    if not all(folder.stat().st_mode & 0o005 == 0o005 for its in code for folder in (its, *its.parents)):
        pytest.skip("another login cannot read this tree or its packages")
    root = Path(tempfile.mkdtemp(prefix="bulk-patch-team-"))
    root.chmod(0o755)
    place = Workspace(root, token=TOKEN)
    write_job(place, new_emails(1, 2, 3))
    ask_for_approval(place)
    file = root / FILE
    file.write_text(file.read_text(encoding="utf-8") + f'[ledger]\ngroup = "{TEAM}"\n', encoding="utf-8")
    yield place
    shutil.rmtree(root)


def run_as_teammate(place: Workspace, *words: str) -> Ended:
    """Run a command under another login, which is in the group."""
    teammate = pwd.getpwnam(TEAMMATE)
    # Coverage would keep its notes in files of the first login.
    environment = {name: text for name, text in place.environment.items() if not name.startswith("COV")}
    facts = [str(teammate.pw_uid), str(teammate.pw_gid), str(grp.getgrnam(TEAM).gr_gid)]
    done = subprocess.run(
        [sys.executable, "-c", AS_TEAMMATE, *facts, *words],
        cwd=place.root,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(place.root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_teammate_approves_under_a_login_of_their_own_and_either_goes_on(shared: Workspace, api: Sandbox) -> None:
    assert shared.run("plan", FILE, *planned_at(api)).code == 0
    approved = run_as_teammate(shared, "approve", shared.runs(NAME)[-1]["id"])
    assert approved.code == 0, approved.err
    page = shared.job_folder(NAME) / shared.runs(NAME)[-1]["id"] / "report.html"
    assert (page.owner(), f"login {TEAMMATE}" in page.read_text(encoding="utf-8")) == (TEAMMATE, True)
    assert shared.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    ended = run_as_teammate(shared, "run", FILE, *aimed_at(api))
    assert ended.code == 0, ended.err
    assert len(patches(api)) == 3
    assert run_as_teammate(shared, "verify", FILE, *planned_at(api)).code == 0
    (told,) = shared.summary(NAME)["approvals"]
    assert (told["operator"], told["login"]) == (TEAMMATE, TEAMMATE)
    for path in shared.job_folder(NAME).rglob("*"):
        expected = 0o2770 if path.is_dir() else 0o660
        assert (path.name, stat.S_IMODE(path.stat().st_mode)) == (path.name, expected)
        assert path.group() == TEAM


def test_what_a_run_left_is_opened_to_the_team_afterwards_but_for_whole_values(shared: Workspace, api: Sandbox) -> None:
    file = shared.root / FILE
    with_group = file.read_text(encoding="utf-8")
    alone = with_group.replace("approval = true", "").partition("[ledger]")[0]
    file.write_text(alone, encoding="utf-8")
    last_run = ("--set", "baseline.kind=last-run")
    assert shared.run("run", FILE, "--sandbox").code == 0
    assert shared.run("run", FILE, *aimed_at(api), *last_run).code == 0
    run = shared.job_folder(NAME) / shared.runs(NAME)[-1]["id"]
    assert shared.run("export", run.name, "--to", run / "whole.csv", "--reveal").code == 0
    file.write_text(f'{alone}[ledger]\ngroup = "{TEAM}"\n', encoding="utf-8")
    assert shared.run("verify", run.name, *planned_at(api)).code == 0
    left = {path.relative_to(shared.job_folder(NAME)).as_posix(): path for path in shared.job_folder(NAME).rglob("*")}
    assert {"sandbox/state.db", f"{run.name}/run.log", "ledger.lock"} <= left.keys()
    closed = {name for name, path in left.items() if not stat.S_IMODE(path.stat().st_mode) & 0o070}
    assert closed == {f"{run.name}/whole.csv"}
