"""CPU of commands that somebody waits for: `python -m tests.bench.commands [--rows N] [--runs N] [--json FILE]`.

One run of N changes is planned from a file baseline; then each command is started as a person does, and the CPU of its
process and children is taken, user and system, median of the runs. Beside it is what is allowed on two cores that do
nothing else. Last, a sandbox is started with as many customers as `--customers` says.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from bulk_patch.sandbox import SandboxSettings, child

_JOB = """
name = "commands"
[input]
path = "input.csv"
id = "customer_id"
[baseline]
kind = "{baseline}"
{path}
[target]
kind = "synctera"
base_url = "https://api.example.com/v0"
token = "env:BENCH_TOKEN"
[limits]
rate_per_s = "unlimited"
[guards]
max_invalid = "100%"
"""
_SHOW_S, _PLAN_S, _SANDBOX_S = 0.35, 1.0, 10.0  # allowed


def id_of(number: int) -> str:
    """Return the id of a customer, spread as random ids are."""
    high = number * 0x9E37_79B9_7F4A_7C15 % 2**64
    return str(uuid.UUID(int=high << 64 | number, version=4))


def write_job(folder: Path, rows: int) -> Path:
    """Write a job, its input and the file that it is compared with; return the job file."""
    with (folder / "input.csv").open("w", newline="") as new, (folder / "base.csv").open("w", newline="") as old:
        first, second = csv.writer(new), csv.writer(old)
        first.writerow(["customer_id", "email"])
        second.writerow(["id", "email", "first_name", "last_name", "status"])
        for number in range(rows):
            first.writerow([id_of(number), f"new{number}@example.org"])
            second.writerow([id_of(number), f"ann{number}@example.com", "Ann", "Example", "ACTIVE"])
    job = folder / "job.toml"
    job.write_text(_JOB.format(baseline="file", path='path = "base.csv"'), encoding="utf-8")
    return job


def cpu_s(folder: Path, *words: str) -> float:
    """Run a command; return its CPU seconds, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"BENCH_TOKEN": "x"}
    done = subprocess.run(
        [sys.executable, "-m", "bulk_patch", *words], cwd=folder, env=environment, capture_output=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.decode()}")
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def sandbox_s(folder: Path) -> float:
    """Return how many seconds a sandbox takes to start with the customers of base.csv, on the wall."""
    settings = SandboxSettings(customers=folder / "base.csv", token="t", state=folder / "world")
    begun = time.monotonic()
    with child(settings):
        return time.monotonic() - begun


def main() -> None:
    """Measure, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="in the ledger")
    parser.add_argument("--customers", type=int, default=400_000, help="of the sandbox")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    figures: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = write_job(folder, asked.rows).name
        cpu_s(folder, "plan", job)
        for words in (
            ("status",),
            ("status", job),
            ("show", job, "--limit", "20"),
            ("lookup", id_of(asked.rows // 2)),
            ("settings",),
            ("check", job, "--offline"),
        ):
            taken = statistics.median(cpu_s(folder, *words) for _ in range(asked.runs))
            figures[" ".join(words)] = taken, _SHOW_S
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = write_job(folder, 240).name
        figures["plan of 240 rows"] = statistics.median(cpu_s(folder, "plan", job) for _ in range(asked.runs)), _PLAN_S
    with tempfile.TemporaryDirectory() as name:
        write_job(Path(name), asked.customers)
        figures[f"sandbox with {asked.customers:,} customers"] = sandbox_s(Path(name)), _SANDBOX_S
    for what, (taken, allowed) in figures.items():
        print(f"{what:<36}{taken:6.2f} s, {allowed:.2f} s allowed")
    if asked.json is not None:
        asked.json.write_text(json.dumps({what: taken for what, (taken, _) in figures.items()}), encoding="utf-8")


if __name__ == "__main__":
    main()
