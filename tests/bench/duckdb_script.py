"""The join that DuckDB makes in bounded memory, handed over in pandas batches: the peer of large plans.

By default all joined rows are handed over and pandas compares them; with `sql` DuckDB compares them too, and only rows
that differ ever become Python's.
"""

import json
import sys
from collections.abc import Iterator

import duckdb
import pandas as pd

VECTORS = 25  # of 2,048 rows, in one batch


def main(input_path: str, baseline_path: str, out_path: str, how: str = "") -> None:
    """Write one JSON line for each customer whose fields differ.

    Args:
        input_path: CSV with the wanted values.
        baseline_path: Parquet with the values now.
        out_path: JSON lines to write.
        how: `sql` to let DuckDB compare.
    """
    database = duckdb.connect()
    database.execute("SET memory_limit = '1GB'")
    database.execute(f"SET temp_directory = '{out_path}.spill'")
    database.execute("SET preserve_insertion_order = false")
    wanted = f"read_csv('{input_path}', all_varchar = true)"
    names = [row[0] for row in database.execute(f"DESCRIBE SELECT * FROM {wanted}").fetchall()]
    fields = [name for name in names if name != "customer_id"]
    differs = " OR ".join(f'w."{name}" IS DISTINCT FROM n."{name}"' for name in fields)
    olds = ", ".join(f'n."{name}" AS "{name}_now"' for name in fields)
    joined = database.execute(
        f"SELECT w.*, {olds} FROM {wanted} w LEFT JOIN '{baseline_path}' n USING (customer_id)"
        + (f" WHERE {differs}" if how == "sql" else "")
    )
    changes = 0
    with open(out_path, "w", encoding="utf-8") as out:
        for frame in changed_batches(joined, fields):
            for row in frame.to_dict("records"):
                body = {name: row[name] for name in fields if row[name] != row[f"{name}_now"]}
                out.write(json.dumps({"id": row["customer_id"], "body": body}) + "\n")
            changes += len(frame)
    print(f"{changes} changes")


def changed_batches(joined: duckdb.DuckDBPyConnection, fields: list[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows of each batch that differ."""
    while len(frame := joined.fetch_df_chunk(VECTORS)):
        now = frame[[f"{name}_now" for name in fields]].set_axis(fields, axis="columns")
        yield frame[(frame[fields] != now).any(axis="columns")]


if __name__ == "__main__":
    main(*sys.argv[1:5])
