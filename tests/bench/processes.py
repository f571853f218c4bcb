"""Whole processes, measured from outside: what a command took."""

import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What every process of a benchmark gets: a token, and this tree's packages.
ENVIRONMENT = {
    **os.environ,
    "BENCH_TOKEN": "x",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
}
BULK_PATCH = [sys.executable, "-m", "bulk_patch"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def measure(command: Sequence[str], folder: Path) -> Cost:
    """Run a command to its end; no program that is measured so starts another process.

    Linux counts what this process holds when it starts another towards that one's peak: a benchmark that measures
    memory imports nothing large and makes its files in a process of their own.

    Args:
        command: What to run.
        folder: Where.

    Raises:
        RuntimeError: It failed.
    """
    with tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=said, env=ENVIRONMENT)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said.read().decode()}")
    per_mib = 1024 * 1024 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / per_mib)


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Return the median of each."""
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__slots__))


@contextmanager
def started(command: Sequence[str], folder: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside what is measured, its stdout open; kill it at the end."""
    with subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process says, and wait for it.

    Raises:
        RuntimeError: It ended instead.
    """
    assert process.stdout is not None  # `started` opened it
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended with {process.wait()}")
    return line.strip()


def is_first_to_speak(one: subprocess.Popen[str], other: subprocess.Popen[str]) -> bool:
    """Wait until one of two processes says something or ends; tell whether it is the first of them."""
    assert one.stdout is not None  # `started` opened it
    assert other.stdout is not None
    heard, _, _ = select.select([one.stdout, other.stdout], [], [])
    return one.stdout in heard
