"""How fast a planned job is sent, beside what users have: `python -m tests.bench.send [--rows N] [--runs N] [--all]`.

All send the same rows to the same echoing server, without a rate limit, in turn; the ratios of the medians are what
counts, on any machine. Peers: an aiohttp script as most would write it, the same loop tuned and with nothing checked or
kept, and with `--all` `curl --parallel`, GNU parallel and newman, where they are installed; each of them has to bring
every row home, or the benchmark fails. On Debian:

    apt-get install curl parallel nodejs npm && npm install --global newman
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.figures import add_json_flag, write_figures
from tests.bench.processes import BULK_PATCH, ENVIRONMENT, ROOT, read_line, started

CONCURRENCY = 32
SLOW_ROWS = 500  # for peers that are a hundred times slower
JOB = """
name = "bench-send"
[input]
path = "input.csv"
id = "customer_id"
[baseline]
kind = "none"
[target]
kind = "synctera"
base_url = "{url}"
token = "env:BENCH_TOKEN"
[limits]
rate_per_s = "unlimited"
concurrency = {concurrency}
[guards]
canary = 0
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of one program."""

    requests_per_s: float
    cpu_us: float  # per request
    whole_cpu_us: float | None = None  # ours: reports included


@dataclass(frozen=True, slots=True)
class Scene:
    """What all programs get."""

    folder: Path
    url: str
    rows: list[tuple[str, dict[str, str]]]


Program = Callable[[Scene], Figures]


@contextmanager
def fast_server() -> Iterator[str]:
    """Start the echoing server; yield its base URL."""
    with started([sys.executable, "-m", "tests.bench.fast_server"]) as server:
        yield f"http://127.0.0.1:{int(read_line(server))}/v0"


def write_scene(folder: Path, url: str, count: int) -> Scene:
    """Write the rows in the form that each program reads, and make the plan.

    Args:
        folder: Where to.
        url: The server's base URL.
        count: How many rows.
    """
    rows = [
        (str(uuid.uuid4()), {"email": f"user{number}@example.com", "first_name": f"First{number}"})
        for number in range(count)
    ]
    lines = [json.dumps({"id": customer_id, "body": body}) for customer_id, body in rows]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    cells = [f"{customer_id},{body['email']},{body['first_name']}" for customer_id, body in rows]
    (folder / "input.csv").write_text("\n".join(["customer_id,email,first_name", *cells, ""]))
    (folder / "job.toml").write_text(JOB.format(url=url, concurrency=CONCURRENCY))
    plan = [*BULK_PATCH, "plan", "job.toml", "--output", "planned", "--quiet"]
    subprocess.run(plan, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    return Scene(folder, url, rows)


# --- the programs


def bulk_patch(scene: Scene) -> Figures:
    """Send the plan with `run`, from a copy of the planned ledger."""
    output = scene.folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(scene.folder / "planned", output)
    return _ask(["tests.bench.our_run", str(scene.folder / "job.toml"), str(output)])


def plain_script(scene: Scene) -> Figures:
    """Send with the script that most would write."""
    return _ask(["tests.bench.aiohttp_script", scene.url, str(scene.folder / "rows.jsonl"), str(CONCURRENCY)])


def tuned_script(scene: Scene) -> Figures:
    """Send with the bare loop."""
    return _ask(["tests.bench.aiohttp_script", scene.url, str(scene.folder / "rows.jsonl"), str(CONCURRENCY), "tuned"])


def curl(scene: Scene) -> Figures:
    """Send with one `curl --parallel`, all requests in its config file; `next` forgets all but the global options."""
    requests = [
        f'url = "{scene.url}/customers/{customer_id}"\nrequest = "PATCH"\noutput = "/dev/null"\n'
        f'header = "Content-Type: application/json"\nheader = "Authorization: Bearer x"\n'
        f'header = "Idempotency-Key: {uuid.uuid4()}"\ndata = {json.dumps(json.dumps(body))}\n'
        f'write-out = "%{{http_code}}\\n"\n'
        for customer_id, body in scene.rows
    ]
    config = scene.folder / "curl.conf"
    config.write_text("next\n".join(requests))
    command = [
        "curl",
        "-sS",
        "--no-progress-meter",
        "--parallel",
        "--parallel-max",
        str(CONCURRENCY),
        "--config",
        str(config),
    ]
    figures, said = _time(command, len(requests))
    _demand(said.split().count("200"), len(requests))  # its exit code is that of one of the requests
    return figures


def gnu_parallel(scene: Scene) -> Figures:
    """Send with GNU parallel, one curl a request; it quotes what it puts in for the shell."""
    rows = scene.rows[:SLOW_ROWS]
    lines = [f"{customer_id}\t{json.dumps(body)}\t{uuid.uuid4()}\n" for customer_id, body in rows]
    (scene.folder / "rows.tsv").write_text("".join(lines))
    one = (
        "curl -sS -o /dev/null -w '%{http_code}\\n' -X PATCH -H 'Content-Type: application/json' "
        f"-H 'Authorization: Bearer x' -H 'Idempotency-Key: '{{3}} -d {{2}} {scene.url}/customers/{{1}}"
    )
    rows_path = str(scene.folder / "rows.tsv")
    command = ["parallel", "--will-cite", "--colsep", "\t", "-j", str(CONCURRENCY), "-a", rows_path, one]
    figures, said = _time(command, len(rows))
    _demand(said.split().count("200"), len(rows))
    return figures


def newman(scene: Scene) -> Figures:
    """Send with Postman's runner, one iteration a row, one after the other: it knows no other way."""
    rows = scene.rows[:SLOW_ROWS]
    data = [{"id": customer_id, "body": json.dumps(body), "key": str(uuid.uuid4())} for customer_id, body in rows]
    (scene.folder / "rows.json").write_text(json.dumps(data))
    headers = {"Content-Type": "application/json", "Authorization": "Bearer x", "Idempotency-Key": "{{key}}"}
    request = {
        "method": "PATCH",
        "url": f"{scene.url}/customers/{{{{id}}}}",
        "header": [{"key": name, "value": value} for name, value in headers.items()],
        "body": {"mode": "raw", "raw": "{{body}}"},
    }
    check = {"listen": "test", "script": {"exec": ["pm.test('ok', () => pm.response.to.have.status(200));"]}}
    schema = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
    items = [{"name": "patch", "request": request, "event": [check]}]
    (scene.folder / "collection.json").write_text(
        json.dumps({"info": {"name": "bench", "schema": schema}, "item": items})
    )
    paths = str(scene.folder / "collection.json"), str(scene.folder / "rows.json")
    figures, _ = _time(["newman", "run", paths[0], "-d", paths[1], "--silent"], len(rows))  # a failed check fails it
    return figures


OURS, PLAIN, TUNED = "bulk-patch", "aiohttp script", "aiohttp, tuned and bare"
ALWAYS: dict[str, Program] = {OURS: bulk_patch, PLAIN: plain_script, TUNED: tuned_script}
#: Name -> what has to be installed for it.
WHERE_INSTALLED: dict[str, tuple[str, Program]] = {
    "curl --parallel": ("curl", curl),
    "GNU parallel + curl": ("parallel", gnu_parallel),
    "newman": ("newman", newman),
}
SLOW = (gnu_parallel, newman)


def _ask(module: list[str]) -> Figures:
    """Run one of our modules, which measures itself."""
    command = [sys.executable, "-m", *module]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def _time(command: list[str], requests: int) -> tuple[Figures, str]:
    """Run another program and measure it from outside, start-up included; return also what it said."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    wall_s = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(requests / wall_s, 1e6 * cpu_s / requests), done.stdout


def _demand(good: int, requests: int) -> None:
    """Refuse figures of a program that did not do the work.

    Raises:
        RuntimeError: Not all requests were answered with 200.
    """
    if good != requests:
        raise RuntimeError(f"{good} of {requests} requests were answered with 200")


# --- the table


def measure(rows: int, runs: int, *, with_all: bool) -> dict[str, list[Figures]]:
    """Run all programs in turn, so often; say which are not installed."""
    programs = dict(ALWAYS)
    for name, (command, program) in WHERE_INSTALLED.items() if with_all else ():
        if shutil.which(command):
            has_fewer = program in SLOW and rows > SLOW_ROWS
            programs[f"{name} ({SLOW_ROWS} rows)" if has_fewer else name] = program
        else:
            print(f"  {name}: {command} is not installed, left out")
    figures: dict[str, list[Figures]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder, fast_server() as url:
        scene = write_scene(Path(folder), url, rows)
        for _ in range(runs):
            for name, program in programs.items():
                figures[name].append(program(scene))
    return figures


def take_medians(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    whole_us = [one.whole_cpu_us for one in runs if one.whole_cpu_us is not None]
    return Figures(
        statistics.median(one.requests_per_s for one in runs),
        statistics.median(one.cpu_us for one in runs),
        statistics.median(whole_us) if whole_us else None,
    )


def print_table(medians: Mapping[str, Figures]) -> None:
    """Print medians, and ratios to the two scripts."""
    print(f"  {'':32} {'requests/s':>10} {'× script':>9} {'CPU µs':>8} {'× bare':>7}")
    for name, one in medians.items():
        ratios = one.requests_per_s / medians[PLAIN].requests_per_s, one.cpu_us / medians[TUNED].cpu_us
        print(f"  {name:32} {one.requests_per_s:10,.0f} {ratios[0]:9.2f} {one.cpu_us:8.0f} {ratios[1]:7.2f}")
    print(f"  {OURS}'s CPU with all reports written: {medians[OURS].whole_cpu_us:.0f} µs")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="also curl, GNU parallel and newman")
    add_json_flag(parser)
    asked = parser.parse_args()
    print(f"{asked.rows:,} PATCHes of two fields, {CONCURRENCY} at once, no rate limit, medians of {asked.runs} runs")
    figures = measure(asked.rows, asked.runs, with_all=asked.all)
    medians = {name: take_medians(found) for name, found in figures.items()}
    print_table(medians)
    programs = {name: asdict(one) for name, one in medians.items()}
    write_figures(asked.json, {"rows": asked.rows, "runs": asked.runs, "programs": programs})


if __name__ == "__main__":
    main()
