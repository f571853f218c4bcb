"""`cron`: what a scheduler is given works in the scheduler's own environment, and not only in its author's shell."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import REPOSITORY, Workspace
from tests.acceptance.small_job import FILE, TOKEN, new_emails, write_job


def printed(office: Workspace, form: str, *words: str) -> str:
    ended = office.run("cron", FILE, "--for", form, *words)
    assert ended.code == 0, ended.err
    return ended.out


def as_cron(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of a crontab with what cron gives it: a short PATH, a home, and /bin/sh."""
    command = line.split(maxsplit=5)[5].replace("\\%", "%")
    return subprocess.run(
        ["env", "-i", "PATH=/usr/bin:/bin", f"HOME={folder}", "SHELL=/bin/sh", "/bin/sh", "-c", command],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def the_line(text: str) -> str:
    (line,) = (line for line in text.splitlines() if line and not line.startswith("#"))
    return line


def aim(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    path = office.root / FILE
    path.write_text(path.read_text(encoding="utf-8").replace("https://api.example.com/v0", api.base_url), "utf-8")


def test_the_cron_line_runs_the_job_as_cron_runs_it_and_a_good_night_prints_nothing(
    tmp_path: Path, api: Sandbox
) -> None:
    office = Workspace(tmp_path / "an 100% office")
    office.root.mkdir()
    aim(office, api)
    line = the_line(printed(office, "cron", "--at", "3:05"))
    assert line.startswith("5 3 * * *  /")
    assert "%" not in line.replace("\\%", "")
    without_token = as_cron(line, tmp_path)
    assert without_token.returncode == 6, without_token.stderr
    token = office.root / "jobs" / "small.token"
    token.write_text(TOKEN + "\n", encoding="utf-8")
    token.chmod(0o600)
    done = as_cron(line, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sum(entry["method"] == "PATCH" for entry in api.requests) == 2


def test_the_readmes_cron_line_is_found_by_cron(office: Workspace, api: Sandbox) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^```cron\n(.+)\n```$", readme, re.MULTILINE)
    aim(office, api)
    program = the_line(printed(office, "cron")).split()[5]
    assert re.search(r"  /srv/reconcile/\.venv/bin/bulk-patch run /srv/reconcile/jobs/", line)
    token = office.root / "jobs" / "small.token"
    token.write_text(TOKEN, encoding="utf-8")
    token.chmod(0o600)
    job = office.root / FILE
    job.write_text(job.read_text(encoding="utf-8").replace("env:SYNCTERA_API_KEY", "file:small.token"), "utf-8")
    line = line.replace("/srv/reconcile/jobs/nightly_reconciliation.toml", str(job))
    done = as_cron(line.replace("/srv/reconcile/.venv/bin/bulk-patch", program), office.root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_takes_the_unit_and_its_timer(office: Workspace) -> None:
    write_job(office, [])
    text = printed(office, "systemd", "--output", "out 100%")
    assert "out 100%%" in text
    assert re.search(r"^ExecStart=/\S+/bulk-patch run /", text, re.MULTILINE)
    service, timer = re.split(r"^(?=# /etc/systemd/system/\S+\.timer)", text, flags=re.MULTILINE)
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("BULK_PATCH_REQUIRE_SERVICES"):
            pytest.fail("systemd-analyze is needed")
        pytest.skip("systemd-analyze is not installed")
    units = [office.root / "bulk-patch-small.service", office.root / "bulk-patch-small.timer"]
    for unit, content in zip(units, (service, timer), strict=True):
        unit.write_text(content, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60, check=False
    )
    told = [line for line in done.stderr.splitlines() if "bulk-patch-small" in line]
    assert told == []


def test_kubernetes_is_told_what_each_exit_code_asks_for(office: Workspace) -> None:
    write_job(office, [])
    document = json.loads(printed(office, "kubernetes", "--image", "registry.example/bulk-patch:0.2"))
    assert (document["apiVersion"], document["kind"]) == ("batch/v1", "CronJob")
    assert document["spec"]["concurrencyPolicy"] == "Forbid"
    job = document["spec"]["jobTemplate"]["spec"]
    rules = {rule["action"]: rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"]}
    assert rules == {"FailJob": [1, 2, 3, 5, 6, 7, 9], "Ignore": [8]}
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never", "a policy for failed pods asks for it"
    (container,) = pod["containers"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert container["args"][:2] == ["run", str(office.root / FILE)]
    assert container["image"] == "registry.example/bulk-patch:0.2"


@pytest.mark.parametrize("words", [("--at", "24:00"), ("--at", "2am"), ("--set", "limits.rate_per_s=5")])
def test_what_cannot_be_scheduled_is_refused(office: Workspace, words: tuple[str, ...]) -> None:
    write_job(office, [])
    assert office.run("cron", FILE, *words).code == 2
