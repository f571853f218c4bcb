"""Whole processes, as somebody at a terminal waits for them: `python -m tests.bench.whole [--rows N] [--runs N]`.

The same rows go to the same echoing server without a rate limit: by the aiohttp script that most would write, and by
`plan` and then `run`, imports, durability and reports included. Wall time and CPU are the medians of the runs, made in
turn; the ratios to the script are what counts. Last, a plan is made from what the API holds, for its peak of memory.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench.commands import id_of
from tests.bench.figures import add_json_flag, write_figures
from tests.bench.processes import BULK_PATCH, Cost, measure, median_cost, read_line, started
from tests.bench.send import CONCURRENCY, JOB, fast_server, write_scene

SCRIPT, PLAN, RUN, BOTH = "aiohttp script", "plan", "run", "plan + run"
ALLOWED = {RUN: 0.9, BOTH: 1.2}  # of the script's wall time
LIVE_MIB = 500  # allowed for 400,000 rows


def measure_processes(rows: int, runs: int) -> dict[str, Cost]:
    """Run script, plan and run in turn, so often; return medians."""
    costs: dict[str, list[Cost]] = {SCRIPT: [], PLAN: [], RUN: [], BOTH: []}
    with tempfile.TemporaryDirectory() as name, fast_server() as url:
        folder = Path(name)
        write_scene(folder, url, rows)
        script = [sys.executable, "-m", "tests.bench.aiohttp_script", url, "rows.jsonl", str(CONCURRENCY)]
        for _ in range(runs):
            costs[SCRIPT].append(measure(script, folder))
            shutil.rmtree(folder / "output", ignore_errors=True)
            planned = measure([*BULK_PATCH, "plan", "job.toml"], folder)
            sent = measure([*BULK_PATCH, "run", "job.toml", "--yes"], folder)
            both = Cost(planned.wall_s + sent.wall_s, planned.cpu_s + sent.cpu_s, max(planned.peak_mib, sent.peak_mib))
            for what, cost in ((PLAN, planned), (RUN, sent), (BOTH, both)):
                costs[what].append(cost)
    return {what: median_cost(found) for what, found in costs.items()}


def measure_live_plan(rows: int) -> Cost:
    """Plan rows of which each is read from an API that holds something else."""
    server = [sys.executable, "-m", "tests.bench.live_server"]
    with tempfile.TemporaryDirectory() as name, started(server) as answering:
        folder = Path(name)
        url = f"http://127.0.0.1:{int(read_line(answering))}/v0"
        job = JOB.format(url=url, concurrency=CONCURRENCY).replace('kind = "none"', 'kind = "live"')
        (folder / "job.toml").write_text(job)
        with (folder / "input.csv").open("w") as file:
            file.write("customer_id,email,first_name\n")
            for number in range(rows):
                file.write(f"{id_of(number)},user{number}@example.com,First{number}\n")
        return measure([*BULK_PATCH, "plan", "job.toml"], folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--live", type=int, default=400_000, help="rows that are planned live; 0: none")
    add_json_flag(parser)
    asked = parser.parse_args()
    print(f"{asked.rows:,} PATCHes of two fields, {CONCURRENCY} at once, no rate limit, medians of {asked.runs} runs")
    medians = measure_processes(asked.rows, asked.runs)
    print(f"  {'':16} {'wall s':>8} {'× script':>9} {'CPU s':>8} {'MiB':>6}")
    for what, cost in medians.items():
        allowed = f"  {ALLOWED[what]:.1f} allowed" if what in ALLOWED else ""
        ratio = cost.wall_s / medians[SCRIPT].wall_s
        print(f"  {what:16} {cost.wall_s:8.2f} {ratio:9.2f} {cost.cpu_s:8.2f} {cost.peak_mib:6.0f}{allowed}")
    figures = {what: asdict(cost) for what, cost in medians.items()}
    if asked.live:
        live = measure_live_plan(asked.live)
        allowed = f", {LIVE_MIB} allowed for 400,000"
        print(f"  {asked.live:,} rows planned live: {live.peak_mib:.0f} MiB{allowed}, {live.wall_s:.1f} s")
        figures["live plan"] = asdict(live)
    write_figures(asked.json, {"rows": asked.rows, "runs": asked.runs, "programs": figures})


if __name__ == "__main__":
    main()
