"""The script that users would write instead: two frames, a merge, a comparison. The peer of `plan` in tests/bench."""

import json
import sys

import pandas as pd


def main(input_path: str, baseline_path: str, out_path: str) -> None:
    """Write one JSON line for each customer whose fields differ.

    Args:
        input_path: CSV with the wanted values.
        baseline_path: Parquet with the values now.
        out_path: JSON lines to write.
    """
    wanted = pd.read_csv(input_path, dtype=str, keep_default_na=False)
    now = pd.read_parquet(baseline_path).astype(str)
    both = wanted.merge(now, on="customer_id", how="left", suffixes=("", "_now"))
    fields = [name for name in wanted.columns if name != "customer_id"]
    changed = pd.DataFrame({name: both[name] != both[f"{name}_now"] for name in fields})
    rows = both[changed.any(axis=1)]
    flags = changed[changed.any(axis=1)]
    with open(out_path, "w", encoding="utf-8") as out:
        for row, flag in zip(rows[["customer_id", *fields]].to_dict("records"), flags.to_dict("records"), strict=True):
            body = {name: row[name] for name in fields if flag[name]}
            out.write(json.dumps({"id": row["customer_id"], "body": body}) + "\n")
    print(f"{len(rows)} changes")


if __name__ == "__main__":
    main(*sys.argv[1:4])
