"""Files as other programs write them: every cell exact, or refused with the setting to write."""

import gzip
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bulk_patch.errors import InputError
from bulk_patch.inputs.source import frames, scan
from bulk_patch.job.settings import InputSettings
from tests.support.source_calls import ANN, BOB, UUID
from tests.support.workbooks import write_shared, write_xlsx

HEADER = ["customer_id", "zip", "name", "note"]
ROWS = [[ANN, "02139", "Müller, Zoë", 'say "hi"'], [BOB, "00501", "O'Neil", "two\nlines"]]
PLAIN = [[ANN, "02139", "Ann", "a b"], [BOB, "00501", "Bob", "c-d"]]  # for writers that put nothing in quotes
FRAME = pd.DataFrame(ROWS, columns=HEADER, dtype="str")


def lines(rows: list[list[str]], delimiter: str, end: str = "\r\n", *, quotes: bool = False) -> str:
    """Return CSV as programs write it: quotes where they are needed, or everywhere."""

    def cell(text: str) -> str:
        needed = quotes or any(sign in text for sign in (delimiter, '"', "\n"))
        return '"' + text.replace('"', '""') + '"' if needed else text

    return "".join(delimiter.join(map(cell, row)) + end for row in [HEADER, *rows])


def text(encoding: str, *given: Any, before: str = "", **more: Any) -> Callable[[Path], object]:
    return lambda path: path.write_bytes((before + lines(*given, **more)).encode(encoding))


def json_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in ROWS))


def read(path: Path, **settings: Any) -> list[list[Any]]:
    given = InputSettings(path=path, id="customer_id", **settings)
    source = scan(given, knows=lambda _: True, ids=UUID)
    return [row for frame in frames(source) for row in frame.astype(object).to_numpy().tolist()]


EXACT: dict[str, tuple[str, Callable[[Path], object]]] = {
    "Excel: CSV UTF-8": ("a.csv", text("utf-8-sig", ROWS, ",")),
    "Excel: CSV UTF-8, German": ("a.csv", text("utf-8-sig", ROWS, ";")),
    "Excel: Unicode text": ("a.csv", text("utf-16", ROWS, "\t")),
    "Excel: with its own line": ("a.csv", text("utf-8", ROWS, "|", before="sep=|\r\n")),
    "Excel: workbook": ("a.xlsx", lambda path: write_shared(path, [HEADER, *ROWS])),
    "Google Sheets: CSV": ("a.csv", text("utf-8", ROWS, ",")),
    "Google Sheets: TSV": ("a.tsv", text("utf-8", PLAIN, "\t")),
    "PowerShell 7: Export-Csv": ("a.csv", text("utf-8", ROWS, ",", quotes=True)),
    "PowerShell 5: Export-Csv -Encoding Unicode": (
        "a.csv",
        text("utf-16", ROWS, ",", before="#TYPE System.Management.Automation.PSCustomObject\r\n", quotes=True),
    ),
    "PostgreSQL: COPY ... CSV HEADER": ("a.csv", text("utf-8", ROWS, ",", "\n")),
    "SQLite: .mode csv": ("a.csv", text("utf-8", ROWS, ",", "\r\n")),
    "MySQL: tabs": ("a.tsv", text("utf-8", PLAIN, "\t", "\n")),
    "a report with a title": ("a.csv", text("utf-8", ROWS, ";", before="Returned mail;;;\r\n\r\n")),
    "gzip of a CSV": ("a.csv.gz", lambda path: path.write_bytes(gzip.compress(lines(ROWS, ",").encode()))),
    "jq: JSON lines": ("a.jsonl", json_lines),
    "pandas: to_csv": ("a.csv", lambda path: FRAME.to_csv(path, index=False)),
    "pandas: to_csv, semicolons, mark": (
        "a.csv",
        lambda path: FRAME.to_csv(path, index=False, sep=";", encoding="utf-8-sig"),
    ),
    "pandas: to_csv, gzip": ("a.csv.gz", lambda path: FRAME.to_csv(path, index=False)),
    "pandas: to_csv, UTF-16": ("a.csv", lambda path: FRAME.to_csv(path, index=False, encoding="utf-16")),
    "pandas: to_json, lines": ("a.jsonl", lambda path: FRAME.to_json(path, orient="records", lines=True)),
    "pandas: to_parquet": ("a.parquet", lambda path: FRAME.to_parquet(path, index=False)),
    "pandas: to_excel": ("a.xlsx", lambda path: FRAME.to_excel(path, index=False)),
    "pandas: to_excel, XlsxWriter": ("a.xlsx", lambda path: FRAME.to_excel(path, index=False, engine="xlsxwriter")),
}
REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "Excel: CSV": ("a.csv", text("cp1252", ROWS, ";"), "input.encoding"),
    "Excel for Mac: CSV": ("a.csv", text("mac-roman", ROWS, ","), "input.encoding"),
    "Excel: CSV (MS-DOS)": ("a.csv", text("cp850", ROWS, ";"), "input.encoding"),
    "UTF-16 without its mark": ("a.csv", text("utf-16-le", ROWS, ","), "input.encoding"),
    "a name that tells no format": ("a.dat", text("utf-8", ROWS, ","), "input.format"),
    "an old workbook": ("a.xls", lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0"), ".xlsx"),
    "a workbook called .csv": ("a.csv", lambda path: write_xlsx(path, [HEADER, *ROWS]), "input.format"),
    "a Parquet file called .csv": ("a.csv", lambda path: FRAME.to_parquet(path), "input.format"),
    "pandas: to_csv with its index": ("a.csv", lambda path: FRAME.to_csv(path), "index=False"),
}


@pytest.mark.parametrize("name", EXACT)
def test_every_cell_is_exact(tmp_path: Path, name: str) -> None:
    file, write = EXACT[name]
    write(tmp_path / file)
    found = read(tmp_path / file)
    assert [[cell.replace("\r\n", "\n") for cell in row] for row in found] in (ROWS, PLAIN)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_certain_reading_names_what_to_do(tmp_path: Path, name: str) -> None:
    file, write, word = REFUSED[name]
    write(tmp_path / file)
    with pytest.raises(InputError) as caught:
        read(tmp_path / file)
    assert word in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("name", [name for name in REFUSED if "CSV" in name and "Excel" in name])
def test_an_8_bit_file_is_exact_once_the_job_names_its_encoding(tmp_path: Path, name: str) -> None:
    file, write, _ = REFUSED[name]
    write(tmp_path / file)
    named = {"Excel: CSV": "windows-1252", "Excel for Mac: CSV": "mac-roman", "Excel: CSV (MS-DOS)": "cp850"}
    assert read(tmp_path / file, encoding=named[name]) == ROWS


@pytest.mark.bench
@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("a.csv", "HEADER"),
        ("a.csv", "HEADER, DELIMITER ';'"),
        ("a.csv.gz", "HEADER, FORMAT CSV, COMPRESSION GZIP"),
        ("a.csv.zst", "HEADER, FORMAT CSV, COMPRESSION ZSTD"),
        ("a.jsonl", "FORMAT JSON"),
        ("a.parquet", "FORMAT PARQUET"),
        ("parts", "FORMAT PARQUET, PARTITION_BY (note)"),
    ],
)
def test_what_duckdb_writes_is_exact_also_ids_of_its_type(tmp_path: Path, file: str, how: str) -> None:
    import duckdb

    with duckdb.connect() as db:
        db.execute("CREATE TABLE t (customer_id UUID, zip VARCHAR, name VARCHAR, note VARCHAR)")
        db.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", [[uuid.UUID(row[0]), *row[1:]] for row in ROWS])
        db.execute(f"COPY t TO '{tmp_path / file}' ({how})")
    assert sorted(read(tmp_path / file)) == sorted(ROWS)


@pytest.mark.bench
@pytest.mark.parametrize("file", ["a.csv", "a.jsonl", "a.parquet"])
def test_what_polars_writes_is_exact(tmp_path: Path, file: str) -> None:
    import polars as pl

    frame = pl.DataFrame(ROWS, schema=HEADER, orient="row")
    write: dict[str, Any] = {"a.csv": frame.write_csv, "a.jsonl": frame.write_ndjson, "a.parquet": frame.write_parquet}
    write[file](tmp_path / file)
    assert read(tmp_path / file) == ROWS
