"""Customers for the benchmarks of large jobs: `python -m tests.bench.customers FOLDER ROWS corrected|moved`.

Writes `wanted.csv` and `now.parquet`, n customers × 13 text columns each, in another order. `corrected`: 5 % have
another first line of their address. `moved`: all have another address, every part of it. It is a process of its own,
since its memory would count towards that of what is measured afterwards (`processes.measure`).
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

SLICE = 500_000
_NEW_ADDRESS = {
    "address_line_2": "Suite 1200",
    "city": "Montreal",
    "state": "QC",
    "postal_code": "H2X 1Y4",
    "country_code": "CA",
}


def write_files(folder: Path, rows: int, *, moved: bool) -> None:
    """Write both files, in slices: a file may be larger than the memory.

    Args:
        folder: Where to.
        rows: Customers in each file.
        moved: All of them get another address.
    """
    draw = np.random.default_rng(1)
    options = draw.permutation(rows)
    corrected = np.zeros(rows, np.bool_)
    corrected[draw.choice(rows, rows // 20, replace=False)] = True
    left_out = "status" if moved else "middle_name"
    writer: pq.ParquetWriter | None = None
    for start in range(0, rows, SLICE):
        numbers = np.arange(start, min(start + SLICE, rows))
        now = _customers(numbers).drop(columns=left_out)
        table = pa.Table.from_pandas(now, preserve_index=False)
        writer = writer or pq.ParquetWriter(folder / "now.parquet", table.schema)
        writer.write_table(table)
        numbers = options[start : start + SLICE]
        wanted = _customers(numbers).drop(columns=left_out)
        wanted.loc[moved | corrected[numbers], "legal_address.address_line_1"] += " B"
        if moved:
            wanted = wanted.assign(**{f"legal_address.{part}": text for part, text in _NEW_ADDRESS.items()})
        wanted.to_csv(folder / "wanted.csv", index=False, header=start == 0, mode="a")
    if writer is not None:
        writer.close()


def _customers(numbers: NDArray[np.int64]) -> pd.DataFrame:
    """Return the customers of these numbers; the same number is always the same customer."""
    mixed = np.stack([numbers.astype(np.uint64) * np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xBF58476D)])
    digits = [f"{one:016x}{other:016x}" for one, other in mixed.T.tolist()]
    texts = numbers.astype(str)
    return pd.DataFrame(
        {
            "customer_id": [f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}" for i in digits],
            "first_name": np.char.add("First", texts),
            "middle_name": "Quincy",
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


if __name__ == "__main__":
    write_files(Path(sys.argv[1]), int(sys.argv[2]), moved=sys.argv[3] == "moved")
