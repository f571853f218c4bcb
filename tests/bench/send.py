"""How fast a planned job is sent, beside what users have: `python -m tests.bench.send [--rows N] [--runs N] [--all]`.

All send the same rows to the same echoing server, without a rate limit, in turn; the ratios of the medians are what
counts, on any machine. Peers: an aiohttp script as most would write it, the same loop tuned and with nothing checked or
kept, and with `--all` `curl --parallel`, GNU parallel and newman, where they are installed.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONCURRENCY = 32
SLOW_ROWS = 500  # for peers that start a process or a sandbox a request
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
ENVIRONMENT = {
    **os.environ,
    "BENCH_TOKEN": "x",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
}


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
    command = [sys.executable, "-m", "tests.bench.fast_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/v0"
        finally:
            server.kill()


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
    (folder / "input.csv").write_text("\n".join(["customer_id,email,first_name", *cells]))
    (folder / "job.toml").write_text(JOB.format(url=url, concurrency=CONCURRENCY))
    plan = [sys.executable, "-m", "bulk_patch", "plan", "job.toml", "--output", "planned", "--quiet"]
    subprocess.run(plan, cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
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
    """Send with one `curl --parallel`, all requests in its config file."""
    requests = [
        f'url = "{scene.url}/customers/{customer_id}"\nrequest = "PATCH"\noutput = "/dev/null"\n'
        f'header = "Content-Type: application/json"\nheader = "Authorization: Bearer x"\n'
        f'header = "Idempotency-Key: {uuid.uuid4()}"\ndata = {json.dumps(json.dumps(body))}\n'
        for customer_id, body in scene.rows
    ]
    config = scene.folder / "curl.conf"
    config.write_text("next\n".join(requests))
    return _time(
        ["curl", "-sS", "--parallel", "--parallel-max", str(CONCURRENCY), "--config", str(config)], len(requests)
    )


def gnu_parallel(scene: Scene) -> Figures:
    """Send with GNU parallel, one curl a request."""
    rows = scene.rows[:SLOW_ROWS]
    lines = [f"{customer_id}\t{json.dumps(body)}" for customer_id, body in rows]
    (scene.folder / "rows.tsv").write_text("\n".join(lines))
    one = f"curl -sS -o /dev/null -X PATCH -H 'Content-Type: application/json' -d {{2}} {scene.url}/customers/{{1}}"
    command = ["parallel", "--colsep", "\t", "-j", str(CONCURRENCY), "-a", str(scene.folder / "rows.tsv"), one]
    return _time(command, len(rows))


def newman(scene: Scene) -> Figures:
    """Send with Postman's runner, one iteration a row."""
    rows = scene.rows[:SLOW_ROWS]
    data = [{"id": customer_id, "body": json.dumps(body)} for customer_id, body in rows]
    (scene.folder / "rows.json").write_text(json.dumps(data))
    request = {
        "method": "PATCH",
        "url": f"{scene.url}/customers/{{{{id}}}}",
        "header": [{"key": "Content-Type", "value": "application/json"}],
        "body": {"mode": "raw", "raw": "{{body}}"},
    }
    schema = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
    collection = {"info": {"name": "bench", "schema": schema}, "item": [{"name": "patch", "request": request}]}
    (scene.folder / "collection.json").write_text(json.dumps(collection))
    paths = str(scene.folder / "collection.json"), str(scene.folder / "rows.json")
    return _time(["newman", "run", paths[0], "-d", paths[1], "--silent"], len(rows))


OURS, PLAIN, TUNED = "bulk-patch", "aiohttp script", "aiohttp, tuned and bare"
ALWAYS: dict[str, Program] = {OURS: bulk_patch, PLAIN: plain_script, TUNED: tuned_script}
WHERE_INSTALLED: dict[str, tuple[str, Program]] = {
    "curl --parallel": ("curl", curl),
    f"GNU parallel + curl ({SLOW_ROWS} rows)": ("parallel", gnu_parallel),
    f"newman ({SLOW_ROWS} rows)": ("newman", newman),
}


def _ask(module: list[str]) -> Figures:
    """Run one of our modules, which measures itself."""
    command = [sys.executable, "-m", *module]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def _time(command: list[str], requests: int) -> Figures:
    """Run another program and measure it from outside, start-up included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall_s = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(requests / wall_s, 1e6 * cpu_s / requests)


# --- the table


def measure(rows: int, runs: int, *, with_all: bool) -> dict[str, list[Figures]]:
    """Run all programs in turn, so often; say which are not installed."""
    programs = dict(ALWAYS)
    for name, (command, program) in WHERE_INSTALLED.items() if with_all else ():
        if shutil.which(command):
            programs[name] = program
        else:
            print(f"  {name}: {command} is not installed, left out")
    figures: dict[str, list[Figures]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder, fast_server() as url:
        scene = write_scene(Path(folder), url, rows)
        for _ in range(runs):
            for name, program in programs.items():
                figures[name].append(program(scene))
    return figures


def print_table(figures: dict[str, list[Figures]]) -> None:
    """Print medians, and ratios to the two scripts."""
    rates = {name: statistics.median(one.requests_per_s for one in its) for name, its in figures.items()}
    cpus = {name: statistics.median(one.cpu_us for one in its) for name, its in figures.items()}
    print(f"  {'':32} {'requests/s':>10} {'× script':>9} {'CPU µs':>8} {'× bare':>7}")
    for name in figures:
        ratios = rates[name] / rates[PLAIN], cpus[name] / cpus[TUNED]
        print(f"  {name:32} {rates[name]:10,.0f} {ratios[0]:9.2f} {cpus[name]:8.0f} {ratios[1]:7.2f}")
    whole_us = statistics.median(one.whole_cpu_us or 0.0 for one in figures[OURS])
    print(f"  {OURS}'s CPU with all reports written: {whole_us:.0f} µs")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="also curl, GNU parallel and newman")
    asked = parser.parse_args()
    print(f"{asked.rows:,} PATCHes of two fields, {CONCURRENCY} at once, no rate limit, medians of {asked.runs} runs")
    print_table(measure(asked.rows, asked.runs, with_all=asked.all))


if __name__ == "__main__":
    main()
