"""Commands that end one run and begin another: whatever ends them between the two, they say so and send no more."""

import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.approvals import PLANNER, REVIEWER, ask_for_approval
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import (
    FILE,
    NAME,
    TOKEN,
    aimed_at,
    id_of,
    new_emails,
    patches,
    people,
    planned_at,
    sent_ids,
    write_input,
    write_job,
)

#: Runs the job, and gets a signal at the instant when the last row of a session is recorded, but not yet the session.
_SIGNALLED_AT_THE_END = """
import json, os, signal, sys
from bulk_patch import load_job, run_job
from bulk_patch.workflows.observer import NullObserver
from bulk_patch import RunOptions

class Killer(NullObserver):
    def sent(self):
        os.kill(os.getpid(), signal.SIGTERM)

summary = run_job(load_job(sys.argv[1], sys.argv[2:]), RunOptions(observer=Killer()))
print(json.dumps(summary.as_json()))
"""


def begin(office: Workspace, api: Sandbox, *flags: str, rows: int = 6, limit: int = 2) -> None:
    """Send a part of a first input, then put another in its place."""
    write_job(office, new_emails(*range(1, rows + 1)))
    assert office.run("run", FILE, *aimed_at(api), *flags, "--limit", str(limit)).code == 4
    write_input(office, new_emails(10, 11, 12))


# --- signals


def test_a_signal_while_the_end_of_the_old_run_is_recorded_lets_no_new_input_be_planned(
    office: Workspace, api: Sandbox
) -> None:
    begin(office, api)
    overrides = [f"target.base_url={api.base_url}"]
    done = subprocess.run(
        [sys.executable, "-c", _SIGNALLED_AT_THE_END, FILE, *overrides],
        cwd=office.root,
        env=office.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    summary = json.loads(done.stdout)
    (old,) = office.runs(NAME)
    assert (summary["run"], summary["state"], summary["exit_code"]) == (old["id"], "complete", 143)
    assert sent_ids(api) == [id_of(n) for n in range(1, 7)]


def test_a_signal_while_the_new_input_is_planned_tells_what_was_sent_and_what_goes_on(office: Workspace) -> None:
    reading = threading.Event()
    stuck: list[bool] = []

    def hang(seen: Seen) -> Fault | None:
        if seen.method != "GET" or not stuck:
            return None
        reading.set()
        return Fault(execute=True, wire="hang")

    with Sandbox(people(12), token=TOKEN, fault=hang) as api:
        begin(office, api)
        stuck.append(True)
        with office.start("run", FILE, *aimed_at(api)) as process:
            assert reading.wait(timeout=20)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)
        assert process.returncode == 143, err
        assert "nothing" not in err
        assert "6 applied, 0 unchanged: 6 input rows" in err
        assert len(patches(api)) == 6
        stuck.clear()
        command = shlex.split(err.rpartition("next: ")[2])
        assert command[:3] == ["bulk-patch", "run", FILE]
        ended = office.run(*command[1:], "--yes")
        assert ended.code == 0, ended.err
        assert sent_ids(api)[-3:] == [id_of(n) for n in (10, 11, 12)]


# --- an approval that expires


@pytest.mark.chaos  # it waits for an approval to expire
def test_an_approval_that_expires_over_the_last_rows_ends_the_command_before_the_new_input(office: Workspace) -> None:
    expires_at: list[float] = []

    def outlast(seen: Seen) -> Fault | None:
        late = seen.method == "PATCH" and bool(expires_at)
        return Fault(execute=True, lag_s=max(0.0, expires_at[0] + 1 - time.time())) if late else None

    with Sandbox(people(12), token=TOKEN, fault=outlast) as api:
        write_job(office, new_emails(1, 2, 3))
        ask_for_approval(office, "approval_valid_h = 0.002")
        assert office.run("plan", FILE, *planned_at(api), *PLANNER).code == 0
        assert office.run("approve", office.runs(NAME)[-1]["id"], *REVIEWER).code == 0
        assert office.run("run", FILE, *aimed_at(api), *PLANNER, "--limit", "1").code == 4
        (approval,) = (note["detail"] for note in office.notes(NAME) if note["action"] == "approved")
        expires_at.append(approval["expires_at"])
        write_input(office, new_emails(9))
        ended = office.run("run", FILE, *aimed_at(api), *PLANNER)
        assert ended.code == 4, ended.err
        assert "Traceback" not in ended.err
        assert office.states(NAME) == dict.fromkeys((1, 2, 3), "applied")
        assert ended.next.startswith(f"bulk-patch run {FILE} ")
        planned = office.run(*shlex.split(ended.next)[1:], "--yes", *PLANNER)
        assert planned.code == 9, planned.err  # the new input wants a yes of its own
        assert len(office.runs(NAME)) == 2


# --- --limit


@pytest.mark.parametrize(("limit", "runs"), [(4, 1), (5, 2)])
def test_a_limit_holds_for_all_that_a_command_sends(office: Workspace, api: Sandbox, limit: int, runs: int) -> None:
    begin(office, api)
    ended = office.run("run", FILE, *aimed_at(api), "--limit", str(limit))
    assert ended.code == 4, ended.err
    assert len(patches(api)) == 2 + limit
    assert len(office.runs(NAME)) == runs
    again = office.run(*shlex.split(ended.next)[1:], "--yes")
    assert again.code == 0, again.err
    assert len(patches(api)) == 9


@pytest.fixture
def dropped(office: Workspace) -> Iterator[Sandbox]:
    """Yield an API that carried three changes of a run out and answered none; now it answers."""
    broken = True

    def drop(seen: Seen) -> Fault | None:
        return Fault(execute=True, wire="close") if broken and seen.method == "PATCH" else None

    with Sandbox(people(12), token=TOKEN, fault=drop) as api:
        begin(office, api, "--set", "retry.attempts=1", rows=4, limit=3)
        broken = False
        yield api


def test_a_limit_counts_what_new_settles_and_a_run_with_rows_to_settle_is_not_closed(
    office: Workspace, dropped: Sandbox
) -> None:
    first = office.run("run", FILE, *aimed_at(dropped), "--new", "--limit", "2")
    assert first.code == 4, first.err
    assert sorted(office.states(NAME).values()) == ["applied", "applied", "pending", "unknown"]
    assert office.runs(NAME)[0]["state"] == "sealed"
    second = office.run("run", FILE, *aimed_at(dropped), "--new", "--limit", "2")
    assert second.code == 4, second.err
    assert [run["state"] for run in office.runs(NAME)] == ["closed", "sealed"]
    assert sorted(office.states(NAME).values()) == ["applied", "pending", "pending"]
    assert len(patches(dropped)) == 3 + 1  # what was in doubt was settled by reading


def test_a_limit_that_settling_spends_leaves_the_new_input_for_the_next_command(
    office: Workspace, dropped: Sandbox
) -> None:
    ended = office.run("run", FILE, *aimed_at(dropped), "--new", "--limit", "3")
    assert ended.code == 4, ended.err
    assert [run["state"] for run in office.runs(NAME)] == ["closed"]
    assert len(patches(dropped)) == 3  # what was in doubt was settled by reading
    assert "--new" not in ended.next
    again = office.run(*shlex.split(ended.next)[1:], "--yes")
    assert again.code == 0, again.err
    assert sent_ids(dropped)[-3:] == [id_of(n) for n in (10, 11, 12)]
