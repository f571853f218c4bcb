"""What a plan takes, beside the scripts that users would write: `python -m tests.bench.plan`.

All compare a CSV of n customers × 13 text columns with a Parquet file of the same size, 5 % of the rows changed. They
run in turn, as whole processes; the ratio of their medians is what counts, on any machine.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
SLICE = 500_000
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


def write_files(folder: Path, rows: int) -> None:
    """Write input, baseline and job file, in slices: a file may be larger than the memory.

    Args:
        folder: Where to.
        rows: Customers in each file.
    """
    draw = np.random.default_rng(1)
    order = draw.permutation(rows)
    moved = np.zeros(rows, np.bool_)
    moved[draw.choice(rows, rows // 20, replace=False)] = True
    writer: pq.ParquetWriter | None = None
    for start in range(0, rows, SLICE):
        numbers = np.arange(start, min(start + SLICE, rows))
        table = pa.Table.from_pandas(_customers(numbers), preserve_index=False)
        writer = writer or pq.ParquetWriter(folder / "now.parquet", table.schema)
        writer.write_table(table)
        frame = _customers(order[start : start + SLICE])
        frame.loc[moved[order[start : start + SLICE]], "legal_address.address_line_1"] += " B"
        frame.to_csv(folder / "wanted.csv", index=False, header=start == 0, mode="a")
    if writer is not None:
        writer.close()
    (folder / "job.toml").write_text(JOB)


def _customers(numbers: NDArray[np.int64]) -> pd.DataFrame:
    """Return the customers of these numbers; the same number is always the same customer."""
    mixed = np.stack([numbers.astype(np.uint64) * np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xBF58476D)])
    digits = [f"{one:016x}{other:016x}" for one, other in mixed.T.tolist()]
    texts = numbers.astype(str)
    return pd.DataFrame(
        {
            "customer_id": [f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}" for i in digits],
            "first_name": np.char.add("First", texts),
            "last_name": np.char.add("Last", texts),
            "email": np.char.add(np.char.add("user", texts), "@example.com"),
            "phone_number": np.char.add("+1415555", np.char.zfill((numbers % 10_000).astype(str), 4)),
            "dob": "1980-02-28",
            "status": "ACTIVE",
            "legal_address.address_line_1": np.char.add(texts, " Main Street"),
            "legal_address.address_line_2": "Apt 4",
            "legal_address.city": "Boston",
            "legal_address.state": "MA",
            "legal_address.postal_code": "02108",
            "legal_address.country_code": "US",
        }
    )


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def measure(command: list[str], folder: Path) -> Cost:
    """Run a command to its end; none of ours and of the peers starts another process.

    Raises:
        RuntimeError: It failed.
    """
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": paths})
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


#: Peer -> the script that it is, and what it does.
PEERS = {
    "pandas.merge": ("tests.bench.merge_script", "read, merge, compare, JSON lines; all in memory"),
    "DuckDB, 1 GB": ("tests.bench.duckdb_script", "join within memory_limit, pandas batches, JSON lines"),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the files there, and use them when they are there already")
    parser.add_argument("--without", action="append", default=[], choices=list(PEERS), help="leave a peer out")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = asked.folder or Path(name)
        folder.mkdir(exist_ok=True)
        if not (folder / "job.toml").exists():  # written last
            write_files(folder, asked.rows)
        peers = {peer: its for peer, its in PEERS.items() if peer not in asked.without}
        costs: dict[str, list[Cost]] = {}
        for number in range(asked.runs):
            out = Path(name) / f"out{number}"
            plan = [sys.executable, "-m", "bulk_patch", "plan", "job.toml", "--output", str(out), "--quiet"]
            costs.setdefault(OURS, []).append(measure(plan, folder))
            for peer, (module, _) in peers.items():
                words = ["-m", module, "wanted.csv", "now.parquet", str(Path(name) / "changes.jsonl")]
                costs.setdefault(peer, []).append(measure([sys.executable, *words], folder))
            shutil.rmtree(out)
    print(f"{asked.rows:,} rows × 13 columns, 5 % changed, medians of {asked.runs} whole processes, in turn")
    ours = _median(costs[OURS])
    for peer, its in costs.items():
        cost = _median(its)
        ratio = f"{ours.wall_s / cost.wall_s:5.2f}x its time" if peer != OURS else " " * 14
        about = "strict reading, rules, diff, bodies, durable sealed ledger" if peer == OURS else peers[peer][1]
        print(f"  {peer:<13}{cost.wall_s:8.1f} s{cost.cpu_s:8.1f} s CPU{cost.peak_mib:8.0f} MiB  {ratio}   {about}")


def _median(costs: list[Cost]) -> Cost:
    """Return the median of each."""
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__slots__))


if __name__ == "__main__":
    main()
