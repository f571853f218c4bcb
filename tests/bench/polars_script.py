"""The join that polars makes, streaming, in as much memory as it likes: the fastest peer of `plan` in tests/bench."""

import json
import sys

import polars as pl


def main(input_path: str, baseline_path: str, out_path: str) -> None:
    """Write one JSON line for each customer whose fields differ.

    Args:
        input_path: CSV with the wanted values.
        baseline_path: Parquet with the values now.
        out_path: JSON lines to write.
    """
    wanted = pl.scan_csv(input_path, infer_schema=False)
    now = pl.scan_parquet(baseline_path)
    fields = [name for name in wanted.collect_schema().names() if name != "customer_id"]
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_now")) for name in fields)
    joined = wanted.join(now, on="customer_id", how="left", suffix="_now").filter(differs)
    changes = joined.collect(engine="streaming")
    with open(out_path, "w", encoding="utf-8") as out:
        for row in changes.iter_rows(named=True):
            body = {name: row[name] for name in fields if row[name] != row[f"{name}_now"]}
            out.write(json.dumps({"id": row["customer_id"], "body": body}) + "\n")
    print(f"{len(changes)} changes")


if __name__ == "__main__":
    main(*sys.argv[1:4])
