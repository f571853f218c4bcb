import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from bulk_patch.errors import InputError
from bulk_patch.inputs import csv
from bulk_patch.inputs.parts import fingerprint, sha256_of
from bulk_patch.inputs.source import frames
from tests.support.source_calls import ANN, BOB, HEADER, UUID, cells, inspect, refuse, write_parquet


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "changes.csv"


# --- columns and fields


def test_columns_that_begin_with_an_underscore_are_ignored(file: Path) -> None:
    file.write_text(f"_row,customer_id,first_name,_status\n1,{ANN},a,invalid\n")
    source = inspect(file)
    assert source.columns == ("customer_id", "first_name")
    assert cells(file) == [[ANN, "a"]]


def test_an_underscore_column_that_the_job_names_is_used(file: Path) -> None:
    file.write_text(f"_id,_name\n{ANN},a\n")
    source = inspect(file, id_column="_id", rename={"_name": "first_name"})
    assert source.columns == ("_id", "_name")
    assert source.fields == {"_name": "first_name"}


def test_renamed_columns_keep_their_names_and_those_mapped_to_nothing_their_cells(file: Path) -> None:
    file.write_text(f"ZIP,customer_id,Remark,metadata.x\n00123,{ANN},see file,7\n")
    rename = {"ZIP": "legal_address.postal_code", "Remark": ""}
    source = inspect(file, rename=rename)
    assert source.columns == ("ZIP", "customer_id", "Remark", "metadata.x")
    assert source.fields == {"ZIP": "legal_address.postal_code", "metadata.x": "metadata.x"}
    assert source.id_column == "customer_id"
    assert cells(file, rename=rename) == [["00123", ANN, "see file", "7"]]


@pytest.mark.parametrize(
    ("header", "rename", "fault"),
    [
        ("customer_id,first_name,first_name", {}, "2 columns are called 'first_name'"),
        ("customer_id,_x,_x", {}, "2 columns are called '_x'"),
        ("customer_id,,first_name", {}, "column 2 has no name"),
        ("customer_id,first_name,", {}, "column 3 has no name"),
        ("customer_id,frist_name", {}, "column 'frist_name' is not a field; did you mean first_name"),
        ("customer_id,First Name", {}, "did you mean first_name"),
        ("customer_id,city", {}, "did you mean legal_address.city or shipping_address.city?"),
        ("customer_id,colour", {}, "column 'colour' is not a field"),
        ("customer_id,A", {"A": "frist_name"}, "column 'A', mapped to 'frist_name', is not a field"),
        ("customer_id,A", {"A": "first_name", "B": ""}, "[input.rename] maps 'B', which is not a column"),
        ("customer_id,A", {"A": "first_name", "customer_id": ""}, "maps 'customer_id', which is the id column"),
        ("customer_id,A,last_name", {"A": "last_name"}, "'A' and 'last_name' fill the same field, 'last_name'"),
    ],
)
def test_a_header_that_cannot_be_mapped_is_refused(file: Path, header: str, rename: dict[str, str], fault: str) -> None:
    file.write_text(header + "\n")
    assert fault in refuse(file, rename=rename).message


def test_all_faults_of_a_header_are_told_at_once_but_no_more_than_twenty(file: Path) -> None:
    file.write_text("customer_id," + ",".join(f"x{at}" for at in range(30)) + "\n")
    message = refuse(file).message
    assert message.count("is not a field") == 20
    assert "'x19'" in message
    assert message.endswith("and 10 more")


def test_a_missing_id_column_lists_the_header(file: Path) -> None:
    file.write_text("customer,first_name\n")
    error = refuse(file)
    assert "no column 'customer_id'; it has 'customer', 'first_name'" in error.message
    assert "did you mean 'customer'" in error.hint


def test_an_id_column_named_after_its_rename_is_pointed_out(file: Path) -> None:
    file.write_text("No,first_name\n")
    assert "did you mean 'No'" in refuse(file, rename={"No": "customer_id"}).hint


@pytest.mark.parametrize("line", [f"{ANN.upper()},Ann,Lee", "1.2E+34,Ann,Lee", "Ann,Lee,ann@example.com"])
def test_a_file_without_a_header_is_recognised_and_not_quoted(file: Path, line: str) -> None:
    file.write_text(f"{line}\n{line}\n")
    message = refuse(file).message
    assert "looks like data" in message
    assert "Lee" not in message


# --- ids


@pytest.mark.parametrize("mangled", ["1.23457E+15", "123.0", "1,2E+10", "1e34"])
def test_a_column_of_mangled_ids_refuses_the_file(file: Path, mangled: str) -> None:
    file.write_text(HEADER + f'"{mangled}",a,b\n' * 3)
    message = refuse(file).message
    assert "'customer_id' are spreadsheet-mangled: none of 3 is usable, and 3 of them" in message
    assert mangled not in message


@pytest.mark.parametrize("text", ["12345", "", "Smith"])
def test_a_column_without_any_id_refuses_the_file_and_says_what_an_id_is(file: Path, text: str) -> None:
    file.write_text(HEADER + f"{text},a,b\n" * 2)
    error = refuse(file)
    assert "none of the 2 rows has a usable id in column 'customer_id'" in error.message
    assert UUID.pattern.pattern in error.hint


def test_one_usable_id_is_enough_for_the_file(file: Path) -> None:
    file.write_text(HEADER + f"1.2E+34,a,b\n{ANN.upper()},a,b\n")
    assert inspect(file).rows == 2


def test_repeated_ids_are_found_in_lower_case_and_across_blocks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 64)
    ids = [ANN, BOB, "x", ANN.upper(), "", "", "x", f" {BOB}"]
    file.write_text(HEADER + "".join(f"{one},a,b\n" for one in ids))
    assert inspect(file).repeated_ids == {ANN, "x"}


def test_two_ids_with_one_hash_are_still_two_ids(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulk_patch.inputs.source.hash", lambda _: 7, raising=False)
    file.write_text(HEADER + f"{ANN},a,b\n{BOB},a,b\nx,a,b\nx,a,b\n")
    assert inspect(file).repeated_ids == {"x"}


# --- files


def test_hash_size_and_time_are_those_of_the_bytes(file: Path) -> None:
    file.write_text(HEADER + f"{ANN},a,b\n")
    source = inspect(file)
    assert source.sha256 == hashlib.sha256(file.read_bytes()).hexdigest() == sha256_of(file)
    assert (source.size, source.mtime_ns) == fingerprint(file) == (len(file.read_bytes()), file.stat().st_mtime_ns)


@pytest.mark.parametrize(
    ("name", "word"),
    [("a.zip", "unpack"), ("a.csv.bz2", "unpack"), ("a.xls", ".xlsx"), ("a.ods", ".xlsx"), ("a.txt", "input.format")],
)
def test_another_kind_of_file_is_refused_with_a_hint(tmp_path: Path, name: str, word: str) -> None:
    (tmp_path / name).write_text(HEADER)
    assert word in refuse(tmp_path / name).hint


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    error = refuse(tmp_path / "gone.csv")
    assert str(tmp_path / "gone.csv") in error.message
    assert error.hint == "a path in the job file is relative to the job file, a path in --set to the current directory"
    assert "download" in refuse(tmp_path / "s3:/bucket/gone.csv").hint
    for function in (fingerprint, sha256_of):
        with pytest.raises(InputError, match="no file"):
            function(tmp_path / "gone.csv")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "pipe or device" in refuse(tmp_path / "pipe.csv").message
    assert "pipe or device" in refuse(Path("/dev/null")).message


def test_what_the_disk_says_is_translated(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(HEADER)

    def deny(*_: object) -> None:
        raise PermissionError("a text with a path")

    monkeypatch.setattr(Path, "open", deny)
    assert refuse(file).message == "changes.csv cannot be read: PermissionError"
    with pytest.raises(InputError, match="PermissionError"):
        sha256_of(file)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_that_changes_between_the_passes_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"changes{suffix}"

    def write(name: str) -> None:
        if suffix == ".csv":
            path.write_text(HEADER + f"{ANN},{name},b\n")
        else:
            write_parquet(path, first_name=[name, name])

    write("Ann")
    source = inspect(path)
    write("Bob")
    os.utime(path, ns=(source.mtime_ns, source.mtime_ns))
    assert fingerprint(path) == (source.size, source.mtime_ns)  # so only the bytes can tell
    with pytest.raises(InputError, match="changed"):
        list(frames(source))
    os.utime(path, ns=(0, source.mtime_ns + 1))
    with pytest.raises(InputError, match="changed"):
        next(frames(source))


def test_other_columns_of_the_same_size_and_time_are_a_change_too(file: Path) -> None:
    file.write_text("customer_id,first_name\n")
    source = inspect(file)
    file.write_text("customer_id,other_name\n")
    os.utime(file, ns=(source.mtime_ns, source.mtime_ns))
    with pytest.raises(InputError, match="changed"):
        next(frames(source))


@pytest.mark.parametrize("tail", [f"{ANN},a,b\n", f"{ANN},a"])  # the second looks like a faulty row
def test_a_file_that_grows_while_it_is_scanned_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch, tail: str
) -> None:
    file.write_text(HEADER + f"{ANN},a,b\n" * 10)
    tables = csv.CsvFile.tables

    def grow_and_read(self: csv.CsvFile, columns: list[str]) -> Iterator[pa.Table]:
        with file.open("a") as writer:
            writer.write(tail)
        return tables(self, columns)

    monkeypatch.setattr(csv.CsvFile, "tables", grow_and_read)
    assert "changed while it was read" in refuse(file).message


def test_a_file_that_changes_before_the_ids_are_read_again_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(HEADER + f"{ANN},a,b\n" * 2)
    before = file.stat()
    tables = csv.CsvFile.tables

    def read_and_change(self: csv.CsvFile, columns: list[str]) -> Iterator[pa.Table]:
        yield from tables(self, columns)
        file.write_text(HEADER + f"{BOB},a,b\n" * 2)
        os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))

    monkeypatch.setattr(csv.CsvFile, "tables", read_and_change)
    assert "changed while it was read" in refuse(file).message


# --- hints that lead somewhere, and no person in a message


@pytest.mark.parametrize(
    "line", ["Doe,Jonathan", "Doe,Jonathan,Austin,Elm Street", "Waechter,Anna-Lena", "O'Neil,Mc Donald", "Doe,,"]
)
def test_the_first_line_of_a_file_without_a_header_is_never_echoed(file: Path, line: str) -> None:
    file.write_text(f"{line}\n{line}\n")
    error = refuse(file)
    for name in filter(None, line.split(",")):
        assert name not in error.message + error.hint
    assert "customer_id" in error.message


@pytest.mark.parametrize("column", ["Zip", "zip", "ZIP Code", "Postal_Code", "POSTAL CODE"])
def test_names_near_a_field_are_offered_whatever_their_case(file: Path, column: str) -> None:
    file.write_text(f"customer_id,{column}\n")
    assert "did you mean" in refuse(file).message
    assert "legal_address.postal_code" in refuse(file).message


def test_a_mapped_column_in_another_case_is_pointed_out(file: Path) -> None:
    file.write_text("customer_id,Zip\n")
    message = refuse(file, rename={"ZIP": "legal_address.postal_code"}).message
    assert "[input.rename] maps 'ZIP', which is not a column; the file has 'Zip'" in message
    assert "column 'Zip' is not a field; [input.rename] maps 'ZIP'" in message


@pytest.mark.parametrize("header", [",customer_id,first_name", "customer_id,first_name,,"])
def test_columns_without_a_name_are_ignored_where_the_job_says_so(file: Path, header: str) -> None:
    row = {"": "0", "customer_id": ANN, "first_name": "x"}
    file.write_text(f"{header}\n" + ",".join(row[name] for name in header.split(",")) + "\n")
    assert '"" = ""' in refuse(file).hint
    assert inspect(file, rename={"": ""}).columns == ("customer_id", "first_name")
    assert cells(file, rename={"": ""}) == [[ANN, "x"]]


def test_padded_ids_and_a_dos_end_of_file_are_named(file: Path) -> None:
    file.write_text(f"customer_id,first_name\n {ANN},x\n{BOB} ,y\n")
    assert "have blanks around them" in refuse(file).message
    file.write_text(f"customer_id,first_name\n{ANN},x\n\x1a")
    assert "Ctrl-Z" in refuse(file).message
