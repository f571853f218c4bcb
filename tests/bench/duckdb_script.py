"""The join that DuckDB makes in bounded memory, handed over in pandas batches: the peer of large plans."""

import json
import sys

import duckdb


def main(input_path: str, baseline_path: str, out_path: str) -> None:
    """Write one JSON line for each customer whose fields differ.

    Args:
        input_path: CSV with the wanted values.
        baseline_path: Parquet with the values now.
        out_path: JSON lines to write.
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
        f"SELECT w.*, {olds} FROM {wanted} w LEFT JOIN '{baseline_path}' n USING (customer_id) WHERE {differs}"
    )
    changes = 0
    with open(out_path, "w", encoding="utf-8") as out:
        while len(frame := joined.fetch_df_chunk(25)):
            for row in frame.to_dict("records"):
                body = {name: row[name] for name in fields if row[name] != row[f"{name}_now"]}
                out.write(json.dumps({"id": row["customer_id"], "body": body}) + "\n")
            changes += len(frame)
    print(f"{changes} changes")


if __name__ == "__main__":
    main(*sys.argv[1:4])
