"""What stands in a cell reaches the API as it is written, from CSV and from Parquet."""

import datetime as dt
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, aimed_at, id_of, input_path, patches, write_job

TEXTS = (
    "00123",
    "NULL",
    "NA",
    "nan",
    "None",
    "nil",
    "1E5",
    "1e400",
    "0x1F",
    "+5",
    "-0",
    "TRUE",
    "O'Neil",
    'Anna "Anni"',
    "a, b; c",
    "12345678901234567890",
    "0.10",
    "=1+1",
    "  leading",
    "trailing  ",
    "#5",
    "Jos\u00e9",
    "Jose\u0301",
    "\u5c71\u7530",
    "\U0001f33b",
    "{}",
    "<CLEAR/>",
)


def write_cells(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in rows[0]}
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_cells_reach_the_api_as_they_are_written_with_accents_as_one_code_point(
    office: Workspace, api: Sandbox, kind: str
) -> None:
    fields = ("first_name", "middle_name", "last_name")
    cells = [dict(zip(fields, TEXTS[at : at + 3], strict=True)) for at in range(0, len(TEXTS), 3)]
    rows = [{"customer_id": id_of(number), **texts} for number, texts in enumerate(cells, start=1)]
    write_job(office, rows)
    path = input_path(office)
    if kind == "parquet":
        path = path.with_suffix(".parquet")
        write_cells(path, rows)
    ended = office.run("run", FILE, *aimed_at(api), "--set", f"input.path={path}")
    assert ended.code == 0, ended.err
    for row in rows:
        customer = api.customer(row["customer_id"])
        assert [customer[name] for name in fields] == [unicodedata.normalize("NFC", row[name]) for name in fields]
    again = office.run("run", FILE, *aimed_at(api), "--set", f"input.path={path}")
    assert again.code == 0
    assert f"{len(rows)} unchanged" in again.err
    assert len(patches(api)) == len(rows)


def test_integers_of_a_parquet_file_are_digits_and_dates_are_iso(office: Workspace, api: Sandbox) -> None:
    write_job(office, [])
    path = input_path(office).with_suffix(".parquet")
    table = pa.table(
        {
            "customer_id": pa.array([id_of(1), id_of(2)]),
            "last_name": pa.array([9007199254740993, None], pa.int64()),
            "dob": pa.array([dt.date(1984, 2, 29), dt.date(1970, 1, 1)]),
            "first_name": pa.array([None, "nan"]).dictionary_encode(),
        }
    )
    pq.write_table(table, path)
    ended = office.run("run", FILE, *aimed_at(api), "--set", f"input.path={path}")
    assert ended.code == 0, ended.err
    one, two = api.customer(id_of(1)), api.customer(id_of(2))
    assert (one["last_name"], one["dob"], one["first_name"]) == ("9007199254740993", "1984-02-29", "Ann")
    assert (two["last_name"], two["dob"], two["first_name"]) == ("Example", "1970-01-01", "nan")


def test_floats_of_a_parquet_file_are_refused_because_they_have_no_single_spelling(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, [])
    path = input_path(office).with_suffix(".parquet")
    pq.write_table(pa.table({"customer_id": [id_of(1)], "last_name": [1.5]}), path)
    ended = office.run("run", FILE, *aimed_at(api), "--set", f"input.path={path}")
    assert ended.code == 2
    assert "last_name" in ended.err
    assert api.requests == []


def test_a_folder_of_parquet_parts_is_one_input_in_the_order_of_their_names(office: Workspace, api: Sandbox) -> None:
    write_job(office, [])
    folder = input_path(office).with_name("parts")
    folder.mkdir()
    for number in (2, 1):
        write_cells(folder / f"part-{number}.parquet", [{"customer_id": id_of(number), "last_name": f"0{number}"}])
    ended = office.run("run", FILE, *aimed_at(api), "--set", f"input.path={folder}", "--set", "limits.concurrency=1")
    assert ended.code == 0, ended.err
    assert [entry["customer_id"] for entry in patches(api)] == [id_of(1), id_of(2)]
    assert [line["row"] for line in office.results(NAME)] == ["1", "2"]
    assert api.customer(id_of(2))["last_name"] == "02"
