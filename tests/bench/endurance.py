"""What a long send holds in memory and on disk: `python -m tests.bench.endurance [--rows N]`.

The whole address of N customers changes: an input of 13 columns is planned against a baseline file, so that
before-images are kept, and sent without a limit through the local engine to the echoing server. Meanwhile the process
is watched from outside: its resident memory, and in the ledger how many rows are done. Prints the memory after the
first 50,000 rows (or 5 % of them where that is less) and at the last one with their ratio, the peak with the reports
written, and the bytes that the ledger takes for a row, indexes included. Needs Linux.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.model import State
from tests.bench.figures import add_json_flag, write_figures
from tests.bench.processes import BULK_PATCH, ENVIRONMENT, ROOT
from tests.bench.send import fast_server

NAME = "bench-endurance"
FIRST_ROWS = 50_000
SAMPLES = 2_000  # at most so many are kept
JOB = """
name = "{name}"
[input]
path = "wanted.csv"
id = "customer_id"
[baseline]
kind = "file"
path = "now.parquet"
[target]
kind = "synctera"
base_url = "{url}"
token = "env:BENCH_TOKEN"
[limits]
rate_per_s = "unlimited"
concurrency = 32
[guards]
canary = 0
max_changes = 1000000000
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The sending process at one moment."""

    at_s: float  # since it was started
    done: int  # rows
    rss_mib: float


@dataclass(frozen=True, slots=True)
class Watched:
    """One whole send."""

    samples: list[Sample]  # from the first row that is done to the last
    wall_s: float
    peak_mib: float  # reports included


def read_mib(pid: int, name: str) -> float:
    """Return a figure of /proc/PID/status in MiB, 0.0 when the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), 0.0)


def plan(folder: Path, rows: int, url: str) -> None:
    """Write the files and plan them."""
    command = [sys.executable, "-m", "tests.bench.customers", str(folder), str(rows), "moved"]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True)
    (folder / "job.toml").write_text(JOB.format(name=NAME, url=url))
    command = [*BULK_PATCH, "plan", "job.toml", "--quiet"]
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)


def send(folder: Path, ledger_path: Path, rows: int) -> Watched:
    """Send the plan and watch the process.

    Args:
        folder: Of the job.
        ledger_path: Its ledger.
        rows: How many there are, so that none is thought to be done when all are.

    Raises:
        RuntimeError: Not all were sent, or it was not seen when they were.
    """
    samples: list[Sample] = []
    peak_mib, pause_s = 0.0, 0.05
    command = [*BULK_PATCH, "run", "job.toml", "--yes", "--quiet", "--no-progress"]
    with tempfile.TemporaryFile() as said, SqliteReader.read(ledger_path, job=NAME) as ledger:
        (run,) = ledger.runs()
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            done = ledger.counts(run.id)[State.APPLIED]
            rss_mib = read_mib(process.pid, "VmRSS")
            peak_mib = max(peak_mib, read_mib(process.pid, "VmHWM"))
            if rss_mib and done and (not samples or samples[-1].done < rows):
                samples.append(Sample(time.perf_counter() - begun, done, rss_mib))
            if len(samples) > SAMPLES:
                samples, pause_s = samples[::2], pause_s * 2
            time.sleep(pause_s)
        wall_s = time.perf_counter() - begun
        if process.returncode or not samples or samples[-1].done < rows:
            said.seek(0)
            raise RuntimeError(f"ended with {process.returncode}, {len(samples)} samples: {said.read().decode()}")
    return Watched(samples, wall_s, peak_mib)


def size_of(ledger_path: Path) -> int:
    """Return the bytes of all files of a ledger that no one uses."""
    SqliteLedger.open(ledger_path, job=NAME).close()  # a reader that was the last to close leaves the log behind
    return sum(file.stat().st_size for file in ledger_path.parent.glob(f"{ledger_path.name}*"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    add_json_flag(parser)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, fast_server() as url:
        folder = Path(name)
        ledger_path = folder / "output" / NAME / "ledger.db"
        plan(folder, asked.rows, url)
        planned_bytes = size_of(ledger_path) / asked.rows
        watched = send(folder, ledger_path, asked.rows)
        row_bytes = size_of(ledger_path) / asked.rows
    early = next(one for one in watched.samples if one.done >= min(FIRST_ROWS, asked.rows // 20))
    last = watched.samples[-1]
    print(f"{asked.rows:,} whole addresses of 13 columns sent without a limit in {watched.wall_s:.0f} s, one run")
    print(f"  memory after {early.done:,} rows {early.rss_mib:.0f} MiB, after all {last.rss_mib:.0f} MiB: ", end="")
    print(f"{last.rss_mib / early.rss_mib:.2f} times; peak, reports included, {watched.peak_mib:.0f} MiB")
    print(f"  ledger {row_bytes:.0f} bytes a row, {planned_bytes:.0f} of them before anything was sent")
    figures = {
        "rows": asked.rows,
        "early_rows": early.done,
        "early_mib": early.rss_mib,
        "end_mib": last.rss_mib,
        "peak_mib": watched.peak_mib,
        "ledger_bytes_per_row": row_bytes,
        "rss_mib_by_rows": [[one.done, one.rss_mib] for one in watched.samples],
    }
    write_figures(asked.json, figures)


if __name__ == "__main__":
    main()
