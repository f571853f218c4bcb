"""How a process of a trial ends: it is waited for, killed at its instant, and what it leaves is copied."""

import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_LINE_BYTES = 330  # of the API's log, about
LONGEST_S = 45.0  # no process of a trial takes so long, unless something is wrong


def count_to(log: Path, requests: int | None) -> Callable[[], bool]:
    """Return a question: has the API's log grown by so many lines since now?"""

    def size() -> int:
        return log.stat().st_size if log.exists() else 0

    goal = size() + (requests or 0) * _LINE_BYTES
    return lambda: size() >= goal


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended."""

    exit_code: int | None  # None: killed
    overdue: bool


def shepherd(
    pid: int, signals: Sequence[tuple[float, int]], kill_after_s: float | None, is_due: Callable[[], bool]
) -> End:
    """Wait for a process; send what it is to get, and SIGKILL when it takes too long.

    Args:
        pid: The process.
        signals: When it gets which signals.
        kill_after_s: How long after `is_due` it gets SIGKILL.
        is_due: Asked every millisecond until it says yes.
    """
    begun = time.monotonic()
    plan = [(begun + LONGEST_S, signal.SIGKILL), *((begun + at_s, number) for at_s, number in signals)]
    handle = os.pidfd_open(pid)
    end = select.poll()
    end.register(handle, select.POLLIN)
    try:
        if kill_after_s is not None:
            while not is_due() and not end.poll(1) and time.monotonic() < begun + LONGEST_S:
                pass
            plan.append((time.monotonic() + kill_after_s, signal.SIGKILL))
        for at, number in sorted(plan):
            if end.poll(max(0.0, (at - time.monotonic()) * 1000)):
                break
            os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(handle)
    code = os.waitstatus_to_exitcode(status)
    killed = code == -signal.SIGKILL
    overdue = killed and time.monotonic() - begun >= LONGEST_S
    return End(None if killed else code, overdue=overdue)


def take_what_is_left(output: Path, left: Path, *, since: float) -> None:
    """Copy the ledger and the files that this process wrote; behind the names of an older run's stands its id."""
    for name in ("ledger.db", "ledger.db-wal"):
        if (output / name).exists():
            shutil.copyfile(output / name, left / name)
    logs = sorted(output.glob("[0-9]*/run.log"), key=lambda log: log.stat().st_mtime_ns)
    for log in logs:
        older = "" if log is logs[-1] else f".{log.parent.name}"
        for file in log.parent.iterdir():
            if file.name == "run.log":
                shutil.copyfile(file, left / f"{log.parent.name}.log")
            elif file.stat().st_mtime >= since - 0.01 and not file.name.startswith("."):
                shutil.copyfile(file, left / f"{file.name}{older}")
