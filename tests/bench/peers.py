"""How true the end is, beside what users have: `python -m tests.bench.peers [--rows N] [--runs N]`.

The same rows, API, faults, kill -9 and restart for this product and for programs that people use in its place, with
and without answers 429 at random. What counts is in the API's log and its customers afterwards, and what each program
said of each row. Programs that are not installed are left out. On Debian:

    apt-get install curl parallel nodejs npm && npm install --global newman

pyarallel, which needs Python 3.12, is not among them. Each program is limited to 100 requests a second as its
manual says, is killed once at two fifths of its rows, and is started again the way its manual says.
"""

import argparse
import csv
import json
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import tests.bench.peers_script  # noqa: F401 - its lines are counted
from tests.bench.figures import add_json_flag, write_figures
from tests.bench.peers_scene import (
    RATE_PER_S,
    Row,
    Truth,
    count_lines,
    count_requests,
    find_truth,
    make_rows,
    serving,
    write_input,
)
from tests.bench.processes import BULK_PATCH, ENVIRONMENT

MOST_STARTS = 60
JOB = """
name = "peers"
[input]
path = "input.csv"
id = "customer_id"
[target]
kind = "synctera"
base_url = "{url}"
token = "env:BENCH_TOKEN"
[limits]
rate_per_s = 100
[guards]
max_invalid = "100%"
"""
Said = Callable[[list[Row], Path], dict[int, bool]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A program of the comparison.

    Attributes:
        command: Its words; `URL` stands for the API's address.
        said: Row number -> done or failed, from what it left in its folder.
        lines: What its user has to write.
        prepare: What it needs in its folder, given the folder and the address.
        again: The words for the start after the kill, where they differ.
        good: Exit codes with which it has come to its end.
    """

    command: Sequence[str]
    said: Said
    lines: int
    prepare: Callable[[Path, str], None] = lambda folder, url: None
    again: Sequence[str] = ()
    good: frozenset[int] = frozenset({0})


# --- what they said


def _said_by_us(rows: list[Row], folder: Path) -> dict[int, bool]:
    (results,) = folder.glob("output/peers/2*/results.csv")  # not those of the link to the latest
    with results.open(newline="") as file:
        told = {int(line["row"]): line["status"] in ("applied", "duplicate") for line in csv.DictReader(file)}
    return {row.number: told.get(row.number, True) for row in rows}  # unchanged rows have no line


def _said_by_script(rows: list[Row], folder: Path) -> dict[int, bool]:
    lines = (line.split(",") for line in (folder / "done.csv").read_text().split())
    return {int(number): word == "done" for number, word in lines}


def _said_by_parallel(rows: list[Row], folder: Path) -> dict[int, bool]:
    lines = [line.split("\t") for line in (folder / "job.log").read_text().splitlines()[1:]]
    return {int(line[0]): line[6] == "0" for line in lines}


def _said_by_newman(rows: list[Row], folder: Path) -> dict[int, bool]:
    runs = json.loads((folder / "report.json").read_text())["run"]["executions"]
    return {one["cursor"]["iteration"] + 1: one.get("response", {}).get("code") == 200 for one in runs}


# --- what they need


def _write_job(folder: Path, url: str) -> None:
    (folder / "job.toml").write_text(JOB.format(url=url))


CURL = (
    "curl -sS --fail --retry 5 --retry-all-errors -X PATCH -o out.{#} "
    "-H 'Authorization: Bearer x' -H 'Content-Type: application/json' -H 'Idempotency-Key: '{3} "
    "--data-raw {2} URL/customers/{1}"
)
PARALLEL = ["parallel", "-a", "rows.tsv", "--colsep", r"\t", "-j", "16", "--delay", "0.01", "--joblog", "job.log"]


def _write_collection(folder: Path, url: str) -> None:
    header = {"Authorization": "Bearer x", "Content-Type": "application/json", "Idempotency-Key": "{{key}}"}
    request = {
        "method": "PATCH",
        "url": f"{url}/customers/{{{{id}}}}",
        "header": [{"key": key, "value": value} for key, value in header.items()],
        "body": {"mode": "raw", "raw": "{{body}}"},
    }
    schema = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
    collection = {"info": {"name": "peers", "schema": schema}, "item": [{"name": "patch", "request": request}]}
    (folder / "collection.json").write_text(json.dumps(collection, indent=1))


NEWMAN = ["newman", "run", "collection.json", "-d", "rows.json", "--delay-request", "10", "--silent"]
PEERS = {
    "bulk-patch": Peer(
        [*BULK_PATCH, "run", "job.toml", "--yes", "--quiet", "--no-progress"],
        _said_by_us,
        len(JOB.strip().splitlines()),
        _write_job,
        good=frozenset({0, 3}),
    ),
    "aiohttp + tenacity + aiolimiter": Peer(
        [sys.executable, "-m", "tests.bench.peers_script", "URL", "input.csv"],
        _said_by_script,
        count_lines("tests.bench.peers_script"),
    ),
}
WHERE_INSTALLED = {
    "GNU parallel + curl": (
        "parallel",
        Peer(
            [*PARALLEL, CURL],
            _said_by_parallel,
            3,
            again=[*PARALLEL, "--resume-failed", CURL],
            good=frozenset(range(102)),  # how many jobs failed
        ),
    ),
    "newman": (
        "newman",
        Peer(
            [*NEWMAN, "--reporters", "json", "--reporter-json-export", "report.json"],
            _said_by_newman,
            28,  # the collection, and the CSV as JSON
            _write_collection,
            good=frozenset({0, 1}),  # 1: some requests failed
        ),
    ),
}


def play(peer: Peer, rows: list[Row], *, throttles: bool) -> Truth:
    """Let a program bring the rows home, kill it once, and return what came of it.

    Raises:
        RuntimeError: It did not come to its end.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_input(rows, folder)
        with serving(rows, folder, throttles=throttles) as url:
            peer.prepare(folder, url)
            wall_s, starts = _run(peer, folder, url, kill_at=len(rows) * 2 // 5)
        time.sleep(0.5)  # the API was killed: its log is whole, its state is let go of
        return find_truth(rows, folder, peer.said(rows, folder), wall_s=wall_s, starts=starts)


def _run(peer: Peer, folder: Path, url: str, *, kill_at: int) -> tuple[float, int]:
    started_at, is_killed = time.monotonic(), False
    for start in range(1, MOST_STARTS + 1):
        words = [word.replace("URL", url) for word in (peer.again if start > 1 and peer.again else peer.command)]
        with subprocess.Popen(
            words, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            while not is_killed and process.poll() is None:
                if count_requests(folder) >= kill_at:
                    process.kill()
                    is_killed = True
                time.sleep(0.05)
            _, err = process.communicate()
        if process.returncode in peer.good:
            return time.monotonic() - started_at, start
    raise RuntimeError(f"{shlex.join(peer.command)[:60]} ended with {process.returncode} each time: {err[-500:]}")


# --- the table


def take_medians(runs: Sequence[Truth]) -> dict[str, float]:
    """Return the median of each figure."""
    return {field.name: statistics.median(getattr(run, field.name) for run in runs) for field in fields(Truth)}


def print_table(figures: Mapping[str, Mapping[str, float]], lines: Mapping[str, int]) -> None:
    """Print a line for each program."""
    names = [field.name for field in fields(Truth)]
    print("| program | " + " | ".join(name.replace("_", " ") for name in names) + " | lines to write |")
    print("|---|" + "---:|" * (len(names) + 1))
    for program, found in figures.items():
        cells = [f"{found[name]:,.0f}" for name in names]
        print(f"| {program} | {' | '.join(cells)} | {lines[program]} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    add_json_flag(parser)
    asked = parser.parse_args()
    peers = dict(PEERS)
    for name, (command, peer) in WHERE_INSTALLED.items():
        if shutil.which(command):
            peers[name] = peer
        else:
            print(f"{name}: {command} is not installed, left out")
    rows = make_rows(asked.rows)
    written: dict[str, dict[str, dict[str, float]]] = {}
    for throttles in (False, True):
        found: dict[str, list[Truth]] = {name: [] for name in peers}
        for _ in range(asked.runs):
            for name, peer in peers.items():
                found[name].append(play(peer, rows, throttles=throttles))
        medians = {name: take_medians(runs) for name, runs in found.items()}
        title = "with 2 % of 429" if throttles else "without 429"
        print(
            f"\n{len(rows):,} rows, {title}, limit {RATE_PER_S} a second, medians of {asked.runs}, one kill -9 each\n"
        )
        print_table(medians, {name: peer.lines for name, peer in peers.items()})
        written[title] = {name: {**one} for name, one in medians.items()}
    write_figures(asked.json, {"rows": len(rows), "runs": asked.runs, "programs": written})


if __name__ == "__main__":
    main()
