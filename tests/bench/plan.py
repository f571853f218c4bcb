"""What a plan takes, beside the scripts that users would write: `python -m tests.bench.plan [--rows N ...]`.

All compare a CSV of n customers × 13 text columns with a Parquet file of the same size, 5 % of the rows changed. They
run in turn, as whole processes; the ratio of their medians is what counts, on any machine. Several sizes show how the
cost of a row grows.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.figures import add_json_flag, write_figures
from tests.bench.processes import BULK_PATCH, ENVIRONMENT, ROOT, Cost, measure, median_cost

OURS = "bulk-patch"
JOB = """
name = "bench-plan"
[input]
path = "wanted.csv"
id = "customer_id"
[baseline]
kind = "file"
path = "now.parquet"
[target]
kind = "synctera"
base_url = "http://127.0.0.1:9/v0"
token = "env:NOT_NEEDED"
"""

#: Peer -> the script that it is, what it is called with besides, and what it does.
PEERS: dict[str, tuple[str, list[str], str]] = {
    "pandas.merge": ("tests.bench.merge_script", [], "read, merge, compare, JSON lines; all in memory"),
    "DuckDB, pandas": ("tests.bench.duckdb_script", [], "join within 1 GB, compared in pandas batches, JSON lines"),
    "DuckDB, SQL": ("tests.bench.duckdb_script", ["sql"], "join and comparison within 1 GB in SQL, JSON lines"),
    "polars": ("tests.bench.polars_script", [], "streaming join, as much memory as it likes, JSON lines"),
}


def write_job(folder: Path, rows: int) -> None:
    """Write input, baseline and job file, unless they are there.

    Args:
        folder: Where to.
        rows: Customers in each file.
    """
    if not (folder / "job.toml").exists():  # written last
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "wanted.csv").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.bench.customers", str(folder), str(rows), "corrected"]
        subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True)
        (folder / "job.toml").write_text(JOB)


def measure_all(folder: Path, out: Path, runs: int, peers: Sequence[str]) -> dict[str, list[Cost]]:
    """Run all in turn, so often.

    Args:
        folder: What `write_job` wrote.
        out: A folder for what they write; emptied after each turn.
        runs: How often.
        peers: Those of `PEERS` that take part.
    """
    costs: dict[str, list[Cost]] = {}
    for _ in range(runs):
        plan = [*BULK_PATCH, "plan", "job.toml", "--output", str(out), "--quiet"]
        costs.setdefault(OURS, []).append(measure(plan, folder))
        for peer in peers:
            script, more, _ = PEERS[peer]
            words = ["-m", script, "wanted.csv", "now.parquet", str(out / "changes.jsonl"), *more]
            costs.setdefault(peer, []).append(measure([sys.executable, *words], folder))
        shutil.rmtree(out)
    return costs


def print_table(rows: int, runs: int, medians: dict[str, Cost]) -> None:
    """Print medians, and how many times a peer's time we take."""
    print(f"{rows:,} rows × 13 columns, 5 % changed, medians of {runs} whole processes, in turn")
    for name, cost in medians.items():
        ratio = f"{medians[OURS].wall_s / cost.wall_s:5.2f}x its time" if name != OURS else " " * 14
        about = "strict reading, rules, diff, bodies, durable sealed ledger" if name == OURS else PEERS[name][2]
        print(f"  {name:<14}{cost.wall_s:8.1f} s{cost.cpu_s:8.1f} s CPU{cost.peak_mib:8.0f} MiB  {ratio}   {about}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--runs", type=int, nargs="+", default=[5], help="for all sizes, or one for each")
    parser.add_argument(
        "--folder", type=Path, help="keep the files there, a folder a size, and use those that are there"
    )
    parser.add_argument("--without", action="append", default=[], choices=list(PEERS), help="leave a peer out")
    add_json_flag(parser)
    asked = parser.parse_args()
    peers = [peer for peer in PEERS if peer not in asked.without]
    for peer in asked.without:
        print(f"  {peer}: left out, as asked")
    if len(asked.runs) not in (1, len(asked.rows)):
        parser.error("--runs: one number, or one for each of --rows")
    sizes = []
    for rows, runs in zip(asked.rows, asked.runs * len(asked.rows), strict=False):
        with tempfile.TemporaryDirectory() as name:
            folder = (asked.folder or Path(name)).resolve() / str(rows)
            write_job(folder, rows)
            costs = measure_all(folder, Path(name) / "out", runs, peers)
        medians = {program: median_cost(found) for program, found in costs.items()}
        print_table(rows, runs, medians)
        sizes.append(
            {"rows": rows, "runs": runs, "programs": {program: asdict(cost) for program, cost in medians.items()}}
        )
    write_figures(asked.json, {"sizes": sizes})


if __name__ == "__main__":
    main()
