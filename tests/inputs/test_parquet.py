import gzip
import re
import uuid
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk_patch.inputs import parquet
from bulk_patch.inputs.parts import sha256_of
from bulk_patch.inputs.source import frames
from tests.support.source_calls import ANN, BOB, cells, inspect, refuse, write_parquet


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "changes.parquet"


def test_parquet_values_become_text_and_null_stays_missing(part: Path) -> None:
    days = pa.array([0, None], pa.int32()).cast(pa.date32())
    write_parquet(
        part,
        first_name=pa.array(["00123", None]),
        last_name=pa.array(["", "NULL"]).dictionary_encode(),
        **{
            "metadata.day": days,
            "metadata.count": pa.array([2**64 - 1, None], pa.uint64()),
            "metadata.small": pa.array([-5, 7], pa.int8()).dictionary_encode(),
            "metadata.flag": pa.array([True, False]),
            "metadata.none": pa.nulls(2),
            "metadata.large": pa.array(["é", None], pa.large_string()),
            "metadata.view": pa.array(["view", None], pa.string_view()),
        },
    )
    (frame,) = frames(inspect(part))
    assert (frame.dtypes == "str").all()
    assert list(frame.index) == [1, 2]
    assert frame.index.name == "row"
    first, second = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    assert first == [ANN, "00123", "", "1970-01-01", str(2**64 - 1), "-5", "true", None, "é", "view"]
    assert second == [BOB, None, "NULL", None, None, "7", "false", None, None, None]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([1.0, None]), "double"),
        (pa.array([1, 2]).cast(pa.decimal128(30, 2)), "decimal128(30, 2)"),
        (pa.array([0, 1], pa.timestamp("ms")), "timestamp[ms]"),
        (pa.array([0, 1], pa.time32("s")), "time32"),
        (pa.array([b"a", b"b"]), "binary"),
        (pa.array([["a"], []]), "list<"),
        (pa.array([{"a": 1}, None]), "struct<"),
        (pa.array([b"a" * 16, b"b" * 16], pa.binary(16)), "fixed_size_binary"),
    ],
)
def test_a_type_without_one_spelling_is_refused_where_it_is_used(part: Path, values: Any, kind: str) -> None:
    write_parquet(part, first_name=values)
    message = refuse(part).message
    assert "column 'first_name' is " + kind in message
    pq.write_table(pa.table({"customer_id": values}), part)
    assert "column 'customer_id' is " + kind in refuse(part).message


def test_an_ignored_column_is_kept_if_it_can_be_text_and_else_left_out(part: Path) -> None:
    write_parquet(part, price=[1.5, 2.5], note=["x", "y"], _level=[1.0, 2.0])
    rename = {"price": "", "note": ""}
    assert inspect(part, rename=rename).columns == ("customer_id", "note")
    assert cells(part, rename=rename) == [[ANN, "x"], [BOB, "y"]]


def test_a_flat_dotted_column_is_not_mixed_up_with_a_struct(part: Path) -> None:
    write_parquet(part, legal_address=[{"city": "no"}, None], **{"legal_address.city": ["yes", "so"]})
    assert cells(part, rename={"legal_address": ""}) == [[ANN, "yes"], [BOB, "so"]]


def test_a_folder_is_read_as_its_parts_in_name_order(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for name in ("part-1", "part-0", "part-2"):
        write_parquet(folder / f"{name}.parquet", first_name=[name, None])
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet").write_text("a leftover")
    source = inspect(folder)
    assert source.rows == 6
    assert source.repeated_ids == {ANN, BOB}
    (frame,) = frames(source)
    assert list(frame.index) == [1, 2, 3, 4, 5, 6]
    assert frame["first_name"].dropna().tolist() == ["part-0", "part-1", "part-2"]
    sizes = [one.stat().st_size for one in folder.glob("part*.parquet")]
    assert (source.size, source.sha256) == (sum(sizes), sha256_of(folder))
    (folder / "part-1.parquet").rename(folder / "part-3.parquet")
    assert sha256_of(folder) != source.sha256


def test_parts_may_differ_in_nothing_but_columns_of_nulls(tmp_path: Path) -> None:
    write_parquet(tmp_path / "0.parquet", first_name=pa.nulls(2))
    write_parquet(tmp_path / "1.parquet", first_name=pa.array(["a", "b"]).dictionary_encode())
    assert [row[1] for row in cells(tmp_path)][2:] == ["a", "b"]
    write_parquet(tmp_path / "2.parquet", first_name=[1, 2])
    assert "2.parquet and 0.parquet differ in their columns: 'first_name'" in refuse(tmp_path).message
    write_parquet(tmp_path / "2.parquet", last_name=["a", "b"])
    assert "differ in their columns: 'first_name', 'last_name'" in refuse(tmp_path).message
    pq.write_table(pa.table({"first_name": ["a"], "customer_id": [ANN]}), tmp_path / "2.parquet")
    assert "their order" in refuse(tmp_path).message


def test_a_folder_that_is_not_just_parts_is_refused(tmp_path: Path) -> None:
    assert "no .parquet file" in refuse(tmp_path).message
    write_parquet(tmp_path / "0.parquet")
    (tmp_path / "state-CA").mkdir()
    assert "state-CA" in refuse(tmp_path).message
    (tmp_path / "state-CA").rename(tmp_path / "_temporary.parquet")
    assert "_temporary.parquet is not a regular file" in refuse(tmp_path).message


def test_duplicate_and_missing_columns_of_parquet_are_refused(part: Path) -> None:
    texts = [pa.array([text]) for text in (ANN, "a", "b")]
    pq.write_table(pa.Table.from_arrays(texts, names=["customer_id", "first_name", "first_name"]), part)
    assert "2 columns are called 'first_name'" in refuse(part).message
    pq.write_table(pa.table({"first_name": ["a"]}), part)
    assert "no column 'customer_id'" in refuse(part).message


def test_damaged_parquet_is_refused(part: Path) -> None:
    write_parquet(part, first_name=["a" * 1000, "b"])
    whole = part.read_bytes()
    damaged = (whole[:-1], whole[: len(whole) // 2], b"", b"PAR1", b"x" * 500, whole[:4] + bytes(40) + whole[44:])
    for content in damaged:
        part.write_bytes(content)
        assert "changes.parquet cannot be read as Parquet" in refuse(part).message


def test_row_counts_that_contradict_each_other_are_refused(part: Path) -> None:
    write_parquet(part, first_name=["a", "b"])
    whole = part.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    two_rows, three_rows = b"\x16\x04", b"\x16\x06"  # the footer's first long integer
    part.write_bytes(whole[:footer] + whole[footer:].replace(two_rows, three_rows, 1))
    assert "row counts contradict each other" in refuse(part).message


def test_parquet_text_that_is_not_utf_8_is_refused(part: Path) -> None:
    offsets = pa.py_buffer(b"\0\0\0\0\2\0\0\0\3\0\0\0")
    text = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"\xff\xfea")])
    write_parquet(part, first_name=text)
    assert "column 'first_name' holds text that is not UTF-8" in refuse(part).message


def test_a_date_that_iso_cannot_say_is_refused(part: Path) -> None:
    for day in (2_932_897, -719_163):
        write_parquet(part, first_name=pa.array([day, 0], pa.int32()).cast(pa.date32()))
        assert "column 'first_name' holds a date without an ISO spelling" in refuse(part).message
    write_parquet(part, first_name=pa.array([2_932_896, -719_162], pa.int32()).cast(pa.date32()))
    assert [row[1] for row in cells(part)] == ["9999-12-31", "0001-01-01"]


def test_a_row_group_that_unpacks_to_a_thousand_times_the_file_is_refused(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_LARGE_GROUP_BYTES", 1 << 20)
    bomb = pa.table({"customer_id": [ANN], "first_name": ["a" * (8 << 20)]})
    pq.write_table(bomb, part, compression="zstd", use_dictionary=False, write_statistics=False)
    assert re.search(r"a row group unpacks to 8 MiB, \d{4,} times the file", refuse(part).message)


def test_the_values_of_a_whole_id_column_of_numbers_are_no_ids(part: Path) -> None:
    pq.write_table(pa.table({"customer_id": [1, 2]}), part)
    assert "none of the 2 rows has a usable id" in refuse(part).message


def test_folders_of_partitions_are_columns(tmp_path: Path) -> None:
    for state, city in (("CA", "San%20Jose"), ("NY", "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / f"last_name={state}" / f"legal_address.city={city}"
        folder.mkdir(parents=True)
        write_parquet(folder / "part-0.parquet", first_name=["a", "b"])
    (tmp_path / "_SUCCESS").touch()
    source = inspect(tmp_path)
    assert source.columns == ("customer_id", "first_name", "last_name", "legal_address.city")
    found = [[None if value != value else value for value in row] for row in cells(tmp_path)]
    assert found == [
        [each, name, state, city]
        for state, city in (("CA", "San Jose"), ("NY", None))
        for each, name in ((ANN, "a"), (BOB, "b"))
    ]
    before = sha256_of(tmp_path)
    (tmp_path / "last_name=NY").rename(tmp_path / "last_name=OH")
    assert sha256_of(tmp_path) != before
    (tmp_path / "last_name=OH" / "legal_address.city=__HIVE_DEFAULT_PARTITION__").rename(
        tmp_path / "last_name=OH" / "other=1"
    )
    assert "differ in their columns" in refuse(tmp_path).message


def test_a_folder_above_a_file_is_no_partition(tmp_path: Path) -> None:
    (tmp_path / "last_name=CA").mkdir()
    file = write_parquet(tmp_path / "last_name=CA" / "changes.parquet", first_name=["a", "b"])
    assert inspect(file).columns == ("customer_id", "first_name")


def test_a_column_in_the_file_and_in_its_folders_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "first_name=x").mkdir()
    write_parquet(tmp_path / "first_name=x" / "0.parquet", first_name=["a", "b"])
    assert "column 'first_name' is in the file and in its folder's name" in refuse(tmp_path).message


def test_every_type_of_text_and_ids_as_uuids_are_text(part: Path) -> None:
    texts = pa.array(["a", None])
    ids = pa.array([uuid.UUID(ANN).bytes, uuid.UUID(BOB).bytes], pa.uuid())
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        pq.write_table(pa.table({"customer_id": ids, "first_name": texts.cast(kind)}), part)
        assert [row[0] for row in cells(part)] == [ANN, BOB]
        assert cells(part)[0][1] == "a"


def test_a_packed_parquet_file_is_unpacked(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "changes.parquet", first_name=["a", "b"])
    packed = tmp_path / "changes.parquet.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert cells(packed) == [[ANN, "a"], [BOB, "b"]]
    assert inspect(packed).sha256 == sha256_of(packed)


# --- types with one spelling, and files that stand for more than they hold


def test_a_uuid_column_is_read_as_uuids_are_written(part: Path) -> None:
    ids = pa.array([UUID(ANN).bytes, UUID(BOB).bytes], pa.uuid())
    pq.write_table(pa.table({"customer_id": ids, "first_name": ["x", "y"]}), part)
    (frame,) = frames(inspect(part))
    assert frame["customer_id"].tolist() == [ANN, BOB]


def test_decimals_without_a_fraction_are_whole_numbers(part: Path) -> None:
    write_parquet(part, **{"metadata.count": pa.array([12, None]).cast(pa.decimal128(20, 0))})
    (frame,) = frames(inspect(part))
    assert frame["metadata.count"].fillna("-").tolist() == ["12", "-"]


@pytest.mark.parametrize("column", ["first_name", "customer_id"])
@pytest.mark.parametrize("keeps_type", [True, False])
def test_a_long_value_that_a_dictionary_repeats_is_refused_before_it_is_unpacked(
    part: Path, column: str, keeps_type: bool
) -> None:
    rows = 4000
    columns: dict[str, Any] = {"customer_id": pa.array([ANN] * rows), "first_name": pa.array(["x"] * rows)}
    columns[column] = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * 1_000_000]))
    pq.write_table(pa.table(columns), part, compression="zstd", store_schema=keeps_type)
    assert part.stat().st_size < 200_000
    before = pa.total_allocated_bytes()
    assert f"column {column!r} holds a cell of 976 KiB" in refuse(part).message
    assert pa.total_allocated_bytes() - before < 64 << 20


def test_many_rows_of_a_value_that_is_just_short_enough_are_refused_by_their_sum(part: Path) -> None:
    rows = 50_000
    value = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * (60 << 10)]))
    ids = pa.array([ANN] * rows)
    pq.write_table(pa.table({"customer_id": ids, "first_name": value, "last_name": value}), part, compression="zstd")
    assert "MiB of text" in refuse(part).message


def test_a_cell_of_64_kib_is_the_longest(part: Path) -> None:
    write_parquet(part, first_name=pa.array(["a" * (64 << 10), None]))
    (frame,) = frames(inspect(part))
    assert len(frame["first_name"].iloc[0]) == 64 << 10
    write_parquet(part, first_name=pa.array(["a" * ((64 << 10) + 1), None]))
    assert "holds a cell of 64 KiB" in refuse(part).message


def test_an_encrypted_file_is_called_so(part: Path) -> None:
    part.write_bytes(b"PARE" + bytes(40) + b"PARE")
    assert refuse(part).message == "changes.parquet is encrypted"


@pytest.mark.parametrize(
    ("marks", "word"),
    [
        (("_delta_log/00000000000000000000.json",), "is a Delta table"),
        (("_delta_log/00000000000000000000.json", "_SUCCESS"), "is a Delta table"),
        (("metadata/v1.metadata.json",), "is an Iceberg table"),
        ((".hoodie/hoodie.properties",), "is a Hudi table"),
        (("_temporary/0/x", "_SUCCESS"), "not written to its end"),
        (("_temporary/0/x",), "not written to its end"),
        (("_started_123",), "not written to its end"),
        ((".part-0.parquet.crc",), "no _SUCCESS"),
        (("part-00001-6f1c1d2e-8a54-4f0b-9c39-0f2b7a0c1a01-c000.snappy.parquet",), "no _SUCCESS"),
    ],
)
def test_a_folder_of_which_not_every_file_belongs_to_the_data_is_refused_by_name(
    tmp_path: Path, marks: tuple[str, ...], word: str
) -> None:
    folder = tmp_path / "changes"
    folder.mkdir()
    write_parquet(folder / "part-0.parquet", first_name=pa.array(["x", "y"]))
    for mark in marks:
        (folder / mark).parent.mkdir(parents=True, exist_ok=True)
        (folder / mark).write_bytes((folder / "part-0.parquet").read_bytes())
    assert word in refuse(folder).message


def test_a_folder_that_spark_wrote_to_its_end_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "changes"
    folder.mkdir()
    write_parquet(folder / "part-00000-6f1c1d2e-8a54-4f0b-9c39-0f2b7a0c1a01-c000.parquet", first_name=["x", "y"])
    (folder / "_SUCCESS").touch()
    (folder / ".part-00000.crc").touch()
    assert inspect(folder).rows == 2
