"""How long a plan takes, beside the pandas.merge script that users would write: `python -m tests.bench.plan`.

Both compare a CSV of n customers × 13 text columns with a Parquet file of the same size, 5 % of the rows changed. They
run in turn, as whole processes; the ratio of their medians is what counts, on any machine.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
SLICE = 500_000
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


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command; return its wall seconds and the peak memory of all children so far, MB."""
    begun = time.perf_counter()
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": paths})
    return time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, asked.rows)
        script = [sys.executable, "-m", "tests.bench.merge_script", "wanted.csv", "now.parquet", "changes.jsonl"]
        plans, merges = [], []
        for number in range(asked.runs):
            out = str(folder / f"out{number}")
            plan = [sys.executable, "-m", "bulk_patch", "plan", "job.toml", "--output", out, "--quiet"]
            plans.append(measure(plan, folder)[0])
            merges.append(measure(script, folder)[0])
    plan_s, merge_s = statistics.median(plans), statistics.median(merges)
    print(f"{asked.rows:,} rows × 13 columns, 5 % changed, medians of {asked.runs} whole processes")
    print(f"  bulk-patch plan      {plan_s:7.1f} s   strict reading, rules, diff, bodies, durable sealed ledger")
    print(f"  pandas.merge script  {merge_s:7.1f} s   read, merge, compare, JSON lines")
    print(f"  ratio                {plan_s / merge_s:7.2f}")


if __name__ == "__main__":
    main()
