import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_patch.inputs import blank_rows, csv
from bulk_patch.inputs.source import frames
from tests.support.source_calls import ANN, BOB, HEADER, cells, inspect, refuse


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "changes.csv"


# --- what is read, and how exactly


def test_cells_arrive_exactly_as_written(file: Path) -> None:
    odd = ["00123", "NULL", "NA", "1E5", "12345678901234567890", " a ", "", "true", "2024-01-01", "=1+1", "é", "nan"]
    file.write_text(HEADER + "".join(f"{ANN},{text},x\n" for text in odd), encoding="utf-8")
    assert [row[1] for row in cells(file)] == odd


def test_a_frame_has_the_columns_of_the_file_as_str_and_is_indexed_by_data_row(file: Path) -> None:
    file.write_text(HEADER + f"{ANN},a,b\n" * 5)
    source = inspect(file)
    first, second = frames(source, rows=3)
    assert list(first.columns) == list(source.columns) == ["customer_id", "first_name", "last_name"]
    assert (first.dtypes == "str").all()
    assert first.index.name == second.index.name == "row"
    assert [*first.index, *second.index] == [1, 2, 3, 4, 5]


def test_frames_are_full_whatever_the_blocks_of_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 150)
    file.write_text(HEADER + "".join(f"{ANN},{at},b\n" for at in range(50)))
    portions = list(frames(inspect(file), rows=7))
    assert [len(frame) for frame in portions] == [7] * 7 + [1]
    assert pd.concat(portions)["first_name"].tolist() == [str(at) for at in range(50)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_either_line_end_and_a_byte_order_mark_are_fine(file: Path, end: str) -> None:
    text = end.join(["customer_id,first_name", f"{ANN},a", f"{BOB},b", ""])
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert cells(file) == [[ANN, "a"], [BOB, "b"]]


def test_a_byte_order_mark_inside_the_data_stays_in_its_cell(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1)  # so that the mark begins a block
    file.write_text(f"first_name,customer_id\na,{ANN}\n\ufeffb,{BOB}\n", encoding="utf-8")
    assert [row[0] for row in cells(file)] == ["a", "\ufeffb"]


def test_quoted_cells_hold_commas_quotes_and_line_ends(file: Path) -> None:
    file.write_bytes(HEADER.encode() + f'{ANN},"a, b","say ""hi"""\n"{BOB}","two\nlines","and\r\nmore"\r\n'.encode())
    assert cells(file) == [[ANN, "a, b", 'say "hi"'], [BOB, "two\nlines", "and\r\nmore"]]


def test_blank_lines_and_lines_of_commas_are_no_rows(file: Path) -> None:
    file.write_bytes(f"\n\r\n{HEADER}\n{ANN},a,b\r\n\r\n\n,,\n{BOB},c,d\n\n".encode())
    assert inspect(file).rows == 2
    assert cells(file) == [[ANN, "a", "b"], [BOB, "c", "d"]]


@pytest.mark.parametrize("text", [HEADER, HEADER.strip()])
def test_a_header_alone_is_an_input_of_no_rows(file: Path, text: str) -> None:
    file.write_text(text)
    source = inspect(file)
    assert source.rows == 0
    assert list(frames(source)) == []


def test_one_row_with_an_unusable_id_is_left_to_the_row_rules(file: Path) -> None:
    file.write_text(HEADER + "not-an-id,a,b\n")
    assert inspect(file).rows == 1


def test_a_suffix_in_capitals_is_the_same_suffix(tmp_path: Path) -> None:
    file = tmp_path / "CHANGES.CSV"
    file.write_text(HEADER + f"{ANN},a,b\n")
    assert inspect(file).rows == 1


# --- rows that are refused


def fault_lines(message: str) -> list[int]:
    return [int(line) for line in re.findall(r"line (\d+): ", message)]


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        (b"%b,a,b\n%b,a\n", 3, "2 cells, and the header has 3"),
        (b"%b,a,b\n%b,a,b,c\n", 3, "4 cells, and the header has 3"),
        (b'%b,"a\na",b\n\n%b,a\n', 5, "2 cells"),  # physical lines, not records
        (b'%b,"a,\nb",c,d\n%b,a,b\n', 2, "4 cells"),  # where the record begins
        (b'%b,a,b\n%b,"a,b\n', 3, "a quoted cell starts and is never closed"),
        (b'%b,a,b\n%b,"z"q,b\n', 3, "text after a closing quote"),
        (b'%b,a,b\n%b,"z" ,b\n', 3, "text after a closing quote"),
        (b'%b,"a,b\n\n%b,"a",b\n', 4, "this line starts inside a quoted cell of line 2"),
        (b'%b,a,b\n%b,5" disk,b\n', 3, "a quote inside a cell without quotes"),
        (b'%b,a,b\n%b, "a",b\n', 3, "a quote inside a cell without quotes"),
        (b'%b,a,b\n%b,Bill "B" Lee,b\n', 3, "a quote inside a cell without quotes"),
        (b"%b,a,b\n%b,a\rx,b\n", 3, "a carriage return without a line feed"),
        (b'%b,a,b\n%b,"a\rx",b\n', 3, "a carriage return without a line feed"),
        (b"%b,a,b\n%b,a,b\r\r\n", 3, "a carriage return without a line feed"),
        (b"%b,a,b\r\n%b,a,b\r", 3, "a carriage return without a line feed"),
        (b"%b,a,b\n%b,a\0,b\n", 3, "a NUL character"),
        (b"%b,a,b\n%b,M\xfcller,b\n", 3, "not UTF-8, at byte 112 of the file"),
        (b"%b,a,b\n%b,\xed\xa0\x80,b\n", 3, "not UTF-8"),  # a lone surrogate
    ],
)
@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
def test_a_faulty_row_refuses_the_file_with_its_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, body: bytes, line: int, what: str, block_bytes: int
) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", block_bytes)
    file.write_bytes(HEADER.encode() + body.replace(b"%b", ANN.encode()))
    message = refuse(file).message
    assert fault_lines(message) == [line]
    assert what in message


def test_the_byte_offset_counts_a_byte_order_mark(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfcustomer_id\xff\n")
    assert "line 1: not UTF-8, at byte 14 " in refuse(file).message


def test_the_first_twenty_faulty_lines_are_told_and_the_rest_counted(file: Path) -> None:
    file.write_text(HEADER + f"{ANN},a,b\n" + f"{ANN},a\n" * 15 + f'{ANN},5" disk,b\n' * 15)
    message = refuse(file).message
    assert fault_lines(message) == list(range(3, 23))
    assert message.endswith("and 10 more")


def test_a_file_full_of_faults_is_not_read_to_its_end(file: Path) -> None:
    file.write_text(HEADER + "x\n" * 5000)
    message = refuse(file).message
    assert len(fault_lines(message)) == 20
    assert message.endswith("and at least 980 more")


@pytest.mark.parametrize(("body", "line"), [(b'%b,a,b\n%b,"' + b"a\n" * 200, 3), (b"%b,a,b\n" + b"a" * 400 + b"\n", 3)])
def test_a_record_that_never_ends_is_refused_in_bounded_memory(
    file: Path, monkeypatch: pytest.MonkeyPatch, body: bytes, line: int
) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 64)
    monkeypatch.setattr(csv, "LONGEST_RECORD_BYTES", 128)
    file.write_bytes(HEADER.encode() + body.replace(b"%b", ANN.encode()))
    message = refuse(file).message
    assert fault_lines(message) == [line]
    assert "longer than" in message


def test_a_file_is_read_block_by_block(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1000)
    file.write_text(HEADER + f'{ANN},"a\na",b\n' * 1000)
    tables = list(csv.CsvFile(file).tables(["customer_id"]))
    assert sum(map(len, tables)) == 1000
    assert max(map(len, tables)) * len(f'{ANN},"a\na",b\n') <= 2000


@pytest.mark.parametrize(
    ("start", "what"),
    [
        ("customer_id\n".encode("utf-16-le"), "UTF-16"),
        (b"PK\x03\x04....", "zip or Excel"),
        (b"\x1f\x8b....", "cannot be unpacked"),
        (b"\xd0\xcf\x11\xe0....", "encrypted Excel"),
        (b"PAR1....", "Parquet"),
        (b"", "no header"),
        (b"\xef\xbb\xbf\n\r\n\n", "no header"),
        (b'customer_id,"first_name\n', "line 1: a quoted cell starts and is never closed"),
        (b"a" * 200_000 + b"\n", "too long to be a header"),
    ],
)
def test_what_is_no_csv_is_recognised(file: Path, start: bytes, what: str) -> None:
    file.write_bytes(start)
    assert what in refuse(file).message


def test_a_file_that_is_refused_without_a_known_reason_is_refused_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "find_faults", lambda *_, **__: iter(()))
    file.write_text(HEADER + f"{ANN},a\n")
    assert "not a valid CSV" in refuse(file).message


def test_no_message_holds_a_cell(file: Path) -> None:
    secret = "Zaphod"
    bodies = [f"{secret},{secret}\n", f'{ANN},"{secret}"x,b\n', f"{ANN},{secret}\r,b\n", f"{secret},1,2\n" * 2]
    for body in bodies:
        file.write_text(HEADER + body, newline="")
        error = refuse(file)
        assert secret not in error.message + error.hint + repr(error)
        assert error.__cause__ is None


# --- rows of nothing, and files that are cut


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("blank", [",", ' ,"" ', '"",""', "\t,  ", "\u00a0,", "   "])
def test_rows_of_nothing_but_blanks_are_no_rows(file: Path, blank: str, ending: str) -> None:
    rows = ["customer_id,first_name", blank, f"{ANN},x", blank, blank, f'{BOB},"a{ending},{ending}b"', blank]
    file.write_bytes(ending.join([*rows, ""]).encode())
    assert cells(file) == [[ANN, "x"], [BOB, f"a{ending},{ending}b"]]
    assert inspect(file).rows == 2


@pytest.mark.parametrize("last", [f"{BOB},San Anto", f"{BOB},x", f"{BOB},"])
def test_a_file_that_ends_inside_a_cell_is_refused(file: Path, last: str) -> None:
    file.write_text(f"customer_id,first_name\n{ANN},x\n{last}")
    assert "ends inside a cell" in refuse(file).message
    assert "line break" in refuse(file).hint
    file.write_text(f"customer_id,first_name\n{ANN},x\n{last}\n")
    assert inspect(file).rows == 2


def test_a_last_line_without_a_line_break_is_whole_when_its_last_cell_is_quoted(file: Path) -> None:
    file.write_text(f'customer_id,first_name\n{ANN},"San Antonio"')
    assert cells(file) == [[ANN, "San Antonio"]]
    file.write_text("customer_id,first_name")
    assert inspect(file).rows == 0


@given(
    st.lists(
        st.sampled_from([b"a,b", b",", b' ,""', b"\xc2\xa0,", b"\xc3\xa9,", b'"a', b'",', b"", b"\t"]), max_size=6
    ),
    st.sampled_from([b"\n", b"\r\n"]),
)
@settings(deadline=None)
def test_the_fast_look_for_blank_rows_overlooks_none(lines: list[bytes], end: bytes) -> None:
    block = end.join(lines) + end
    found = blank_rows._pattern(b",").search(block) is not None
    assert blank_rows._may_have_any(block, b",") or not found
