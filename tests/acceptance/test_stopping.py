"""Signals, closed pipes and questions: how a command stops, and when it does not."""

import os
import re
import select
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Workspace, wait_until
from tests.acceptance.small_job import (
    FILE,
    NAME,
    TOKEN,
    aimed_at,
    new_emails,
    patches,
    people,
    planned_at,
    write_job,
)

ROWS = 60
SLOWLY = ("--no-progress", "--set", "limits.concurrency=8", "--set", "limits.rate_per_s=40")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@contextmanager
def slow_api() -> Iterator[Sandbox]:
    """Serve with answers that take a while, so that some are always under way."""
    with Sandbox(people(ROWS), token=TOKEN, latency_ms=250) as api:
        yield api


def executed(api: Sandbox) -> set[str]:
    return {entry["customer_id"] for entry in patches(api) if entry["executed"]}


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.chaos)])
def test_a_signal_drains_what_is_out_and_tells_the_command_that_goes_on(
    office: Workspace, number: signal.Signals
) -> None:
    write_job(office, new_emails(*range(1, ROWS + 1)))
    with slow_api() as api:
        with office.start("run", FILE, *aimed_at(api), *SLOWLY) as process:
            wait_until(lambda: len(patches(api)) >= 10)
            process.send_signal(number)
            begun = time.monotonic()
            _, err = process.communicate(timeout=20)
        assert time.monotonic() - begun < 5
        assert process.returncode == CODES[number], err
        states = office.states(NAME)
        assert set(states.values()) == {"applied", "pending"}
        # Whatever had left was waited for: what the API did is what the ledger says.
        assert len(executed(api)) == sum(state == "applied" for state in states.values()) < ROWS
        summary = office.summary(NAME)
        assert (summary["state"], summary["exit_code"]) == ("incomplete", CODES[number])
        assert re.search(rf"^exit code {CODES[number]}: ", err, re.MULTILINE)
        command = shlex.split(err.rpartition("next: ")[2])
        assert command[0] == "bulk-patch"
        assert summary["next"] == shlex.join(command)
        ended = office.run(*command[1:], "--yes", "--set", "limits.rate_per_s=unlimited")
        assert ended.code == 0, ended.err
        assert len(executed(api)) == ROWS
        assert all(entry["executed"] for entry in patches(api))


def test_a_second_ctrl_c_does_not_wait_and_leaves_nothing_in_flight(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, 13)))
    stuck = [True]

    def hang(seen: Seen) -> Fault | None:
        return Fault(execute=True, wire="hang") if stuck and seen.method == "PATCH" else None

    with Sandbox(people(12), token=TOKEN, fault=hang) as api:
        with office.start("run", FILE, *aimed_at(api), "--set", "limits.timeout_s=60") as process:
            wait_until(lambda: len(patches(api)) >= 4)
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1)  # it waits for the answers
            process.send_signal(signal.SIGINT)
            begun = time.monotonic()
            _, err = process.communicate(timeout=10)
        assert time.monotonic() - begun < 5
        assert process.returncode == 130, err
        states = list(office.states(NAME).values())
        assert sorted(set(states)) == ["pending", "unknown"]
        assert states.count("unknown") == 4
        stuck.clear()
        ended = office.run("run", FILE, *aimed_at(api))
        assert ended.code == 0, ended.err
        assert len(executed(api)) == 12
        assert len({(entry["customer_id"], entry["key"]) for entry in patches(api)}) == 12


def test_ctrl_c_while_the_baseline_is_read_sends_nothing_and_leaves_no_plan(office: Workspace) -> None:
    write_job(office, new_emails(1, 2, 3))
    reading = threading.Event()

    def hang(seen: Seen) -> Fault | None:
        if reading.is_set():
            return None
        reading.set()
        return Fault(execute=True, wire="hang")

    with Sandbox(people(12), token=TOKEN, fault=hang) as api:
        with office.start("run", FILE, *aimed_at(api)) as process:
            assert reading.wait(timeout=10)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=10)
        assert process.returncode == 130, err
        assert "exit code 130" in err
        assert "Traceback" not in err
        assert patches(api) == []
        ended = office.run("run", FILE, *aimed_at(api))
        assert ended.code == 0, ended.err
        assert [run["state"] for run in office.runs(NAME)] == ["sealed"]
        assert len(executed(api)) == 3


def test_ctrl_c_while_a_file_is_compared_with_a_file_sends_nothing(office: Workspace, api: Sandbox) -> None:
    rows = new_emails(*range(1, 200_001))
    write_job(office, rows)
    export = office.root / "sample_inputs" / "small.csv"
    flags = ("--set", "baseline.kind=file", "--set", f"baseline.path={export}", "--set", "input.blank=reject")
    with office.start("run", FILE, *aimed_at(api), *flags) as process:
        assert process.stderr is not None
        assert "planning" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert api.requests == []


def test_a_reader_that_leaves_stops_no_run(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, ROWS + 1)))
    with slow_api() as api, office.start("run", FILE, *aimed_at(api), *SLOWLY) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("plan ")  # as `| head -1` does
        process.stdout.close()
        process.stderr.close()
        assert process.wait(timeout=20) == 0
        assert len(executed(api)) == ROWS
    assert office.summary(NAME)["state"] == "complete"


def test_a_command_whose_standard_streams_are_all_closed_does_its_work(office: Workspace) -> None:
    write_job(office, new_emails(1, 2))

    def close_streams() -> None:
        os.closerange(0, 3)

    nobody = {"stdin": None, "stdout": None, "stderr": None}
    with office.start("run", FILE, "--sandbox", preexec_fn=close_streams, **nobody) as process:
        assert process.wait(timeout=20) == 0
    assert office.summary(NAME)["counts"]["applied"] == 2


def test_a_terminal_that_hangs_up_stops_no_run(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, ROWS + 1)))
    with slow_api() as api:
        with office.start("run", FILE, *aimed_at(api), *SLOWLY) as process:
            wait_until(lambda: len(patches(api)) >= 5)
            process.send_signal(signal.SIGHUP)
            _, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert len(executed(api)) == ROWS


# --- the question


def test_without_a_terminal_and_without_yes_it_refuses_before_it_plans(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    ended = office.run("run", FILE, *planned_at(api))
    assert ended.code == 2
    assert "--yes" in ended.err
    assert api.requests == []
    assert not office.job_folder(NAME).exists()


def test_with_a_closed_stdin_it_refuses_alike(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    with office.start("run", FILE, *planned_at(api), preexec_fn=lambda: os.close(0)) as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 2, err
    assert "--yes" in err
    assert api.requests == []


class Terminal:
    """A person's terminal: what a command says on it, and what is typed."""

    def __init__(self) -> None:
        self._ours, self.theirs = os.openpty()
        self.said = ""

    def wait_for(self, text: str) -> None:
        """Read until this is said."""
        ends_at = time.monotonic() + 20
        while text not in self.said:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, ends_at - time.monotonic()))
            assert ready, self.said
            self.said += os.read(self._ours, 4096).decode()

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._ours, text.encode())

    def close(self) -> None:
        """Let go of it."""
        os.close(self._ours)


@contextmanager
def at_a_terminal(office: Workspace, *words: str) -> Iterator[tuple[Terminal, Callable[[], int]]]:
    """Start a command on a terminal of its own; yields it, and what waits for the command's end."""
    terminal = Terminal()
    fd = terminal.theirs
    try:
        with office.start(
            *words, stdin=fd, stdout=fd, stderr=fd, start_new_session=True, preexec_fn=_take_terminal
        ) as process:
            os.close(fd)

            def ended() -> int:
                while process.poll() is None:
                    if select.select([terminal._ours], [], [], 0.1)[0]:
                        try:
                            terminal.said += os.read(terminal._ours, 4096).decode(errors="replace")
                        except OSError:  # Linux says so when nobody holds the other end any more
                            break
                return process.wait(timeout=10)

            yield terminal, ended
    finally:
        terminal.close()


def _take_terminal() -> None:
    """Make the terminal on stdin the controlling one, so that Ctrl-C reaches the command."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_on_a_terminal_no_is_an_answer_that_sends_nothing_and_the_plan_is_kept(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    with at_a_terminal(office, "run", FILE, *planned_at(api)) as (terminal, ended):
        terminal.wait_for("[y/N]")
        assert f"send 2 changes to synctera {api.base_url} customers (this machine)?" in terminal.said
        assert "to send" in terminal.said.partition("[y/N]")[0]  # the plan comes first
        terminal.type("n\n")
        assert ended() == 4
    assert patches(api) == []
    assert office.summary(NAME)["state"] == "planned"


def test_an_undo_that_was_refused_on_a_terminal_is_not_sent_by_the_next_run(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    with at_a_terminal(office, "undo", FILE, *planned_at(api)) as (terminal, ended):
        terminal.wait_for("[y/N]")
        terminal.type("n\n")
        assert ended() == 4
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    assert len(patches(api)) == 2
    assert office.runs(NAME)[1]["state"] == "closed"


def test_on_a_terminal_yes_sends_the_plan(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    with at_a_terminal(office, "run", FILE, *planned_at(api)) as (terminal, ended):
        terminal.wait_for("[y/N]")
        terminal.type("y\n")
        assert ended() == 0
    assert len(executed(api)) == 2


def test_on_a_terminal_an_answer_that_is_no_word_for_yes_is_a_no(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    with at_a_terminal(office, "run", FILE, *planned_at(api)) as (terminal, ended):
        terminal.wait_for("[y/N]")
        terminal.type("\n")
        assert ended() == 4
    assert patches(api) == []


def test_ctrl_c_at_the_question_is_heard_at_once(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    with at_a_terminal(office, "run", FILE, *planned_at(api)) as (terminal, ended):
        terminal.wait_for("[y/N]")
        terminal.type("\x03")
        begun = time.monotonic()
        assert ended() == 130
        assert time.monotonic() - begun < 5
    assert patches(api) == []
    assert "Traceback" not in terminal.said


def test_ctrl_c_at_a_terminal_leaves_a_rehearsal_its_sandbox_until_what_is_out_is_recorded(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, 13)))
    with at_a_terminal(office, "run", FILE, "--sandbox", "--set", "limits.rate_per_s=4") as (terminal, ended):
        wait_until(lambda: len(office.sandbox_log(NAME)) > 3)
        terminal.type("\x03")
        assert ended() == 130
    assert set(office.states(NAME).values()) == {"applied", "pending"}
    assert "draining" in terminal.said
    assert "/12" in terminal.said  # the bar


def test_on_a_terminal_the_sandbox_is_not_asked_about(office: Workspace) -> None:
    write_job(office, new_emails(1))
    with at_a_terminal(office, "run", FILE, "--sandbox") as (terminal, ended):
        assert ended() == 0
    assert "[y/N]" not in terminal.said
