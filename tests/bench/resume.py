"""How fast a big run goes on: `python -m tests.bench.resume [--rows N] [--runs N] [--keep FOLDER]`.

A ledger with N planned rows, half of them applied, is picked up by `run`. Measured are, in real processes: from when
its libraries are imported to when its first request arrives; and, while it sends, `status JOB` and `status`. Then it
is killed: what a drained run writes about N rows is another question. What it left in flight is taken back by the next
one, as after a crash. A ledger that is kept (`--keep`) has fewer rows to do after each resume, by those that were sent.

The input is a file of the size that the ledger names, and holds nothing: who reads it makes the run fail.
"""

import argparse
import json
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bulk_patch import load_job
from bulk_patch.job.load import output_root
from bulk_patch.job.settings import Job
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.ledgers.records import PlanRow
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import Outcome, State
from bulk_patch.targets.from_spec import target_of_job
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.workflows.new_run import new_run
from bulk_patch.workflows.options import RunOptions
from tests.bench.figures import add_json_flag, write_figures
from tests.bench.processes import BULK_PATCH, Cost, is_first_to_speak, measure, median_cost, read_line, started

BATCH_ROWS = 20_000
JOB = """
name = "bench-resume"
[input]
path = "input.csv"
id = "customer_id"
[baseline]
kind = "none"
[target]
kind = "synctera"
base_url = "http://127.0.0.1:{port}/v0"
token = "env:BENCH_TOKEN"
[limits]
rate_per_s = {rate_per_s}
concurrency = 32
[guards]
canary = 0
max_changes = 1000000000
"""
RUN = [sys.executable, "-m", "tests.bench.command", "run", "job.toml", "--yes", "--quiet", "--no-progress"]


@dataclass(frozen=True, slots=True)
class Resumed:
    """One resume."""

    first_request_s: float  # since the libraries were imported
    status_job: Cost
    status: Cost


def make_rows(count: int) -> Iterator[PlanRow]:
    """Yield changes of two fields; the customers are in no order."""
    for row in range(1, count + 1):
        digits = f"{row * 0x9E3779B97F4A7C15F39CC0605CEDC834 % (1 << 128):032x}"
        email, name = f"user{row}@example.com", f"First{row}"
        customer_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        yield PlanRow(
            row=row,
            customer_id=customer_id,
            state=State.PENDING,
            cells=f'["{customer_id}","{email}","{name}"]'.encode(),
            fields=("email", "first_name"),
            body=f'{{"email":"{email}","first_name":"{name}"}}'.encode(),
            before=f'{{"email":"old{row}@example.com","first_name":"{name}y"}}'.encode(),
        )


def write_job(folder: Path, port: int, rate_per_s: int) -> Job:
    """Write the job file and return the job; port and rate are no part of what a plan depends on."""
    (folder / "job.toml").write_text(JOB.format(port=port, rate_per_s=rate_per_s))
    return load_job(folder / "job.toml")


def build(folder: Path, job: Job, rows: int) -> None:
    """Plan the rows and apply the first half, through the ledger's own methods, in large batches."""
    with open(folder / "input.csv", "wb") as file:
        file.truncate(rows * 80)  # takes no room on the disk
    found = (folder / "input.csv").stat()
    facts: dict[str, Any] = {
        "baseline": "none",
        "columns": ("customer_id", "email", "first_name"),
        "input_path": str(folder / "input.csv"),
        "input_size": found.st_size,
        "input_mtime_ns": found.st_mtime_ns,
    }
    run = new_run(job, RunOptions(), target_of_job(job), **facts)
    with SqliteLedger.open(output_root(job.file, given=None) / job.name / "ledger.db", job=job.name) as ledger:
        calls.begin(ledger, run)
        calls.add(ledger, run.id, make_rows(rows))
        summary = replace(run.summary, changes=rows)
        calls.seal(ledger, run.id, input_rows=rows, unchanged=0, plan_s=0.0, summary=summary, now=time.time())
        calls.start_session(ledger, run.id, current_actor(""), time.time())
        for first in range(0, rows // 2, BATCH_ROWS):
            patches = calls.claim(ledger, run.id, min(BATCH_ROWS, rows // 2 - first), now=time.time())
            done = [
                Outcome(patch.row, State.APPLIED, "planned_values", attempts=1, http_status=200) for patch in patches
            ]
            calls.record(ledger, run.id, done, now=time.time())
        calls.end_session(ledger, run.id, now=time.time(), by_itself=False)


def resume(folder: Path, port: int) -> Resumed:
    """Resume the run, look at its status while it sends, kill it.

    Raises:
        RuntimeError: It ended by itself, before its first request or before it was looked at.
    """
    with started([sys.executable, "-m", "tests.bench.fast_server", str(port)]) as server:
        read_line(server)
        with started(RUN, folder) as run:
            imported_at = float(read_line(run))
            if not is_first_to_speak(server, run):  # a run says more only at its end
                raise RuntimeError(f"the run ended with {run.wait()} before its first request")
            arrived_at = float(read_line(server))
            status_job = measure([*BULK_PATCH, "status", "job.toml"], folder)
            status = measure([*BULK_PATCH, "status"], folder)
            if run.poll() is not None:
                raise RuntimeError("the run has ended, so no one wrote during `status`: more --rows or less --rate")
            run.send_signal(signal.SIGKILL)
    return Resumed(arrived_at - imported_at, status_job, status)


def find_port(job_file: Path) -> int:
    """Return the port that a ledger which is kept was planned for, else a free one: a target is its address."""
    if job_file.exists():
        return int(load_job(job_file).target.base_url.rpartition(":")[2].partition("/")[0])
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


def prepare(folder: Path, rows: int, rate_per_s: int) -> int:
    """Build the ledger unless it is there; return the server's port.

    Raises:
        RuntimeError: There is one of another size, or one that was not finished.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = find_port(folder / "job.toml")
    job = write_job(folder, port, rate_per_s)
    built = folder / "built.json"  # written last
    if not built.exists():
        if (folder / "output").exists():
            raise RuntimeError(f"{folder} has a ledger that was not finished: delete it")
        begun = time.perf_counter()
        build(folder, job, rows)
        print(f"  ledger built in {time.perf_counter() - begun:.1f} s", flush=True)
        built.write_text(json.dumps(rows))
    if json.loads(built.read_text()) != rows:
        raise RuntimeError(f"{folder} has a ledger of {built.read_text()} rows")
    return port


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rate", type=int, default=1_000, help="requests/s of the run that is resumed")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the ledger there, or use the one that is there"
    )
    add_json_flag(parser)
    asked = parser.parse_args()
    with nullcontext(asked.keep) if asked.keep else tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        port = prepare(folder, asked.rows, asked.rate)
        resumed = [resume(folder, port) for _ in range(asked.runs)]
    first_s = statistics.median(one.first_request_s for one in resumed)
    costs = {"status job.toml": [one.status_job for one in resumed], "status": [one.status for one in resumed]}
    medians = {name: median_cost(found) for name, found in costs.items()}
    print(f"{asked.rows:,} rows in the ledger, half of them done; medians of {asked.runs} resumes")
    slowest_s = max(one.first_request_s for one in resumed)
    print(f"  {'first request':<18}{first_s:6.2f} s after the libraries are imported (slowest {slowest_s:.2f} s)")
    for name, cost in medians.items():
        slowest_s = max(found.wall_s for found in costs[name])
        print(
            f"  {name:<18}{cost.wall_s:6.2f} s, {cost.cpu_s:.2f} s of CPU, while it sends (slowest {slowest_s:.2f} s)"
        )
    statuses = {name: asdict(cost) for name, cost in medians.items()}
    figures = {"rows": asked.rows, "runs": asked.runs, "first_request_s": first_s, "status": statuses}
    write_figures(asked.json, figures)


if __name__ == "__main__":
    main()
