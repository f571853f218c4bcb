"""The commands of the pages for users, run in bash as they are written there."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.acceptance.commands import Workspace, read_log
from tests.support.pages import EVENING, PROOF, README, code_blocks

PORT = "8080"
PATIENCE_S = 280
SHIM = """#!/bin/sh
case $1 in sandbox) exec {python} -m bulk_patch "$@" ;; esac
{python} -m bulk_patch "$@"
code=$?
echo "$code $*" >> {log}
exit $code
"""

pytestmark = pytest.mark.timeout(PATIENCE_S + 20)
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")


class Played(NamedTuple):
    """What a script did: the exit code and the words of each `bulk-patch` that ended in it, and what it printed."""

    commands: list[tuple[int, str]]
    out: str


Play = Callable[[str], Played]


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def play(workspace: Workspace) -> Play:
    """Return what runs a script in the workspace, with `bulk-patch` on its path."""
    programs, log = workspace.root / "programs", workspace.root / "commands.log"
    programs.mkdir()
    shim = programs / "bulk-patch"
    shim.write_text(SHIM.format(python=sys.executable, log=log), encoding="utf-8")
    shim.chmod(0o755)
    path = f"{programs}:{workspace.environment['PATH']}"
    port = str(free_port())

    def run(script: str) -> Played:
        done = subprocess.run(
            ["bash", "-c", script.replace(PORT, port)],
            cwd=workspace.root,
            env=workspace.environment | {"PATH": path, "no_proxy": "127.0.0.1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        ended = [(int(code), words) for code, _, words in (line.partition(" ") for line in lines)]
        assert ended, done.stderr
        return Played(ended, done.stdout)

    return run


def executed(log: list[dict[str, Any]]) -> list[Any]:
    """Return the customers whose PATCH the sandbox executed, once for each time."""
    return [entry["customer_id"] for entry in log if entry["method"] == "PATCH" and entry["executed"]]


@pytest.mark.chaos
@needs_curl
def test_the_evening_ends_in_every_step_with_the_code_that_the_page_gives(workspace: Workspace, play: Play) -> None:
    script = "".join(code_blocks(EVENING, "sh"))
    said = re.findall(r"^bulk-patch (\w+) .*# (\d+)(?::|$)", script, re.MULTILINE)
    assert len(said) == len(re.findall(r"^bulk-patch (?!sandbox)", script, re.MULTILINE))
    assert [(words.partition(" ")[0], str(code)) for code, words in play(script).commands] == said

    name = "returned-mail"
    runs = [str(run["id"]) for run in workspace.runs(name)]
    counts = [workspace.summary(name, run)["counts"] for run in runs]
    assert [(each["applied"], each["invalid"], each["kept"]) for each in counts] == [(19, 1, 0), (1, 0, 0), (17, 1, 1)]
    assert all(workspace.summary(name, run)["approvals"][0]["operator"] == "Alex" for run in runs)


@pytest.mark.chaos
def test_the_readmes_killed_run_is_finished_and_each_row_is_applied_once(workspace: Workspace, play: Play) -> None:
    (script,) = [block for block in code_blocks(README, "sh", heading="60 seconds") if "kill -9" in block]
    script = script.replace(". .venv/bin/activate\n", "")
    # `$!` has to be the program itself, as in a reader's shell, and not the script that stands for it here.
    script = re.sub(r"^bulk-patch (.*) &", rf"{sys.executable} -m bulk_patch \1 &", script, flags=re.MULTILINE)
    assert play(script).commands[-1][0] == 0
    (run,) = workspace.runs("killed")
    counts = workspace.summary("killed", str(run["id"]))["counts"]
    assert (counts["applied"], counts["unchanged"]) == (209, 31)
    customers = executed(workspace.sandbox_log("killed"))
    assert len(customers) == len(set(customers)) == 209


def test_the_readmes_first_job_can_be_rehearsed_and_its_plan_asks_for_a_token(play: Play) -> None:
    (script,) = code_blocks(README, "sh", heading="Your first job")
    ended = play(script).commands
    assert [words.partition(" ")[0] for _, words in ended] == ["init", "run", "plan", "run"]
    # Without a token the API is not asked; without a terminal and without --yes nothing is sent.
    assert [code for code, _ in ended] == [0, 0, 6, 2]


@pytest.mark.chaos
def test_the_faults_of_the_proof_change_each_customer_once(workspace: Workspace, play: Play) -> None:
    (script,) = code_blocks(PROOF, "sh", heading="Try it yourself")
    # Quicker here: without the 429s, which lower the rate for a while.
    script = script.replace("429=0.05,", "").replace("--yes", "--yes --set limits.rate_per_s=unlimited")
    played = play(script)
    assert [code for code, _ in played.commands] == [0]
    customers = executed(read_log(workspace.root / "requests.jsonl"))
    assert len(customers) == len(set(customers)) == 209
    assert played.out.splitlines()[-1] == "209"
