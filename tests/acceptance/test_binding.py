"""A yes binds: what was shown, who planned it, and the terms; what replaces a plan says so, and nothing loosens it."""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.approvals import PLANNER, REVIEWER, ask_for_approval, plan_and_wait
from tests.acceptance.commands import Workspace, assert_told
from tests.acceptance.small_job import (
    FILE,
    NAME,
    aimed_at,
    new_emails,
    patches,
    planned_at,
    write_input,
    write_job,
)


@pytest.fixture
def planned(office: Workspace, api: Sandbox) -> Workspace:
    """Return a place with a plan of three rows that waits for an approval."""
    plan_and_wait(office, api)
    return office


def latest(place: Workspace) -> str:
    return str(place.runs(NAME)[-1]["id"])


def at_a_terminal(place: Workspace, *words: str, answer: str) -> tuple[int, str]:
    """Type a command and its answer at a terminal; return exit code and all that was shown."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "bulk_patch", *words], cwd=place.root, env=place.environment, stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        shown, _ = process.communicate(timeout=60)
    os.close(ours)
    return process.returncode, shown


# --- which plan


def test_a_job_file_is_no_name_of_a_plan_without_a_terminal(planned: Workspace) -> None:
    refused = planned.run("approve", FILE, *REVIEWER)
    plan = planned.runs(NAME)[-1]["plan_sha256"]
    assert_told(refused, 2, f"bulk-patch approve {latest(planned)} --plan {plan[:12]}")
    assert planned.notes(NAME) == []
    assert_told(planned.run("approve", FILE, *REVIEWER, "--plan", plan[:7]), 2, "8 to 64")
    assert_told(planned.run("approve", FILE, *REVIEWER, "--plan", "0" * 8), 9, plan[:12])
    approved = planned.run("approve", FILE, *REVIEWER, "--plan", plan[:8])
    assert approved.code == 0, approved.err
    assert "fields that change" in approved.out  # it was shown


def test_at_a_terminal_the_plan_is_shown_and_asked_about(office: Workspace) -> None:
    write_job(office, new_emails(1, 2, 3))
    ask_for_approval(office)
    assert office.run("plan", FILE, "--sandbox", *PLANNER).code == 0
    code, shown = at_a_terminal(office, "approve", FILE, *REVIEWER, answer="n")
    assert code == 4, shown
    assert "fields that change" in shown
    assert f"approve plan {office.runs(NAME)[-1]['plan_sha256'][:12]} of run {latest(office)}, 3 changes" in shown
    assert office.notes(NAME) == []
    code, shown = at_a_terminal(office, "approve", FILE, *REVIEWER, answer="y")
    assert code == 0, shown
    assert "rehearsed" in shown
    assert "rehearsed" in office.run("status", FILE).out
    assert office.run("run", FILE, "--sandbox", *PLANNER).code == 0


def test_a_replaced_plan_says_by_which_and_cannot_be_approved(planned: Workspace, api: Sandbox) -> None:
    old = latest(planned)
    write_input(planned, new_emails(4, 5))
    assert planned.run("plan", FILE, *planned_at(api), *PLANNER).code == 0
    new = latest(planned)
    assert_told(planned.run("approve", old, *REVIEWER), 9, f"replaced by run {new}")
    status = planned.run("status", old)
    assert f"run {old}: replaced" in status.out
    assert f"replaced by run {new}" in status.out
    assert f"replaced by run {new}" in " ".join(planned.run("status").out.split())
    assert planned.summary(NAME, old)["state"] == "replaced"
    page = (planned.job_folder(NAME) / old / "report.html").read_text(encoding="utf-8")
    assert f"replaced by run {new}" in page
    assert planned.run("approve", new, *REVIEWER).code == 0


def test_a_rejected_plan_is_not_sent_until_somebody_approves_it_after_that(planned: Workspace, api: Sandbox) -> None:
    run = latest(planned)
    assert planned.run("approve", run, *REVIEWER).code == 0
    assert_told(planned.run("approve", run, "--operator", "Kim", "--reject"), 2, "--reason")
    rejected = planned.run("approve", run, "--operator", "Kim", "--reject", "--reason", "wrong branch")
    assert rejected.code == 0, rejected.err
    ended = planned.run("run", FILE, *aimed_at(api), *PLANNER)
    assert ended.code == 9, ended.err
    assert "Kim rejected the plan: wrong branch" in ended.out
    assert patches(api) == []
    assert planned.run("approve", run, *REVIEWER).code == 0
    assert planned.run("run", FILE, *aimed_at(api), *PLANNER).code == 0


# --- who


def test_another_name_under_the_planners_login_is_no_second_person(planned: Workspace, api: Sandbox) -> None:
    login = planned.runs(NAME)[-1]["actor"]
    played = planned.run("approve", latest(planned), *REVIEWER, env={"PLAYED_LOGIN": ""})
    assert_told(played, 9, "planned by this login on this host")
    assert login
    assert planned.notes(NAME) == []


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """Make a key for each of two people whom the job allows to sign."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    made, lines = {}, []
    for name in ("robin", "alex"):
        made[name] = tmp_path / f"{name}_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made[name])], check=True)
        lines.append(f"{name} {made[name].with_suffix('.pub').read_text(encoding='utf-8')}")
    (tmp_path / "allowed_signers").write_text("".join(lines), encoding="utf-8")
    return made


def test_where_two_share_a_login_the_plan_is_signed_and_another_key_approves(
    office: Workspace, api: Sandbox, keys: dict[str, Path]
) -> None:
    plan_and_wait(office, api, 'allowed_signers = "../allowed_signers"', rows=1)
    same_login = {"PLAYED_LOGIN": ""}
    unsigned = office.run("approve", latest(office), "--operator", "alex", "--sign", keys["alex"], env=same_login)
    assert_told(unsigned, 9, "planned by this login on this host")
    signed = office.run("plan", FILE, *planned_at(api), *PLANNER, "--sign", keys["robin"])
    assert signed.code == 0, signed.err
    run = latest(office)
    own = office.run("approve", run, "--operator", "robin2", "--sign", keys["robin"], env=same_login)
    assert_told(own, 9, "signed the plan")
    assert_told(office.run("approve", run, "--operator", "alex"), 2, "--sign")
    approved = office.run("approve", run, "--operator", "alex", "--sign", keys["alex"], env=same_login)
    assert approved.code == 0, approved.err
    page = office.job_folder(NAME) / run / "report.html"
    assert "not checked since it was given" in page.read_text(encoding="utf-8")
    ended = office.run("run", FILE, *aimed_at(api), *PLANNER)
    assert ended.code == 0, ended.err
    text = page.read_text(encoding="utf-8")
    assert "before sending, against the signers&#39; file with SHA-256" in text
    assert ", verified" not in text


def test_a_name_pattern_signs_for_nobody_unless_the_job_says_so(
    office: Workspace, api: Sandbox, keys: dict[str, Path]
) -> None:
    signers = office.root / "allowed_signers"
    public = keys["alex"].with_suffix(".pub").read_text(encoding="utf-8")
    signers.write_text(f"*@corp.example,k* {public}", encoding="utf-8")
    plan_and_wait(office, api, 'allowed_signers = "../allowed_signers"', rows=1)
    words = ("--operator", "kim@corp.example", "--sign", keys["alex"])
    assert office.run("approve", latest(office), *words).code == 9
    file = office.root / FILE
    file.write_text(
        file.read_text(encoding="utf-8").replace("approval = true", "approval = true\nsigner_patterns = true")
    )
    assert office.run("plan", FILE, *planned_at(api), *PLANNER).code == 0
    assert office.run("approve", latest(office), *words).code == 0


# --- under which terms


LOOSER = (
    *("guards.canary=0", "guards.drift=off", 'guards.max_failures="100%"', "limits.rate_per_s=unlimited"),
    "limits.concurrency=900",
)


def test_nothing_that_loosens_is_accepted_after_a_yes(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    ask_for_approval(office)
    file = office.root / FILE
    text = file.read_text(encoding="utf-8").replace('max_failures = "100%"', 'max_failures = "2%"')
    text = text.replace("canary = 0", "canary = 1").replace('rate_per_s = "unlimited"', "rate_per_s = 50")
    file.write_text(text, encoding="utf-8")
    assert office.run("plan", FILE, *planned_at(api), *PLANNER).code == 0
    assert office.run("approve", latest(office), *REVIEWER).code == 0
    for setting in LOOSER:
        ended = office.run("run", FILE, *aimed_at(api), *PLANNER, "--set", setting)
        assert ended.code == 9, ended.err
        assert f"{setting.partition('=')[0]}: " in ended.out
        assert " then, " in " ".join(ended.out.split())
    assert patches(api) == []
    tighter = ("--set", "guards.drift=check", "--set", "limits.rate_per_s=15")
    assert office.run("run", FILE, *aimed_at(api), *PLANNER, *tighter).code == 0


def test_a_copy_of_the_job_without_its_approval_sends_nothing(planned: Workspace, api: Sandbox) -> None:
    assert planned.run("approve", latest(planned), *REVIEWER).code == 0
    file = planned.root / FILE
    file.write_text(file.read_text(encoding="utf-8").replace("approval = true\n", ""), encoding="utf-8")
    ended = planned.run("run", FILE, *aimed_at(api), *PLANNER)
    assert ended.code == 9, ended.err
    assert "guards.approval: True then, False now" in " ".join(ended.out.split())
    assert patches(api) == []
