import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bulk_patch.errors import InputError
from bulk_patch.inputs import csv, dialect
from bulk_patch.inputs.source import frames, scan
from bulk_patch.job.settings import InputSettings
from tests.support.source_calls import ANN, BOB, KNOWN, UUID, knows

HEADER = ["customer_id", "first_name", "last_name"]
ROWS = [[ANN, "00123", "Müller, Łukasz"], [BOB, "a;b|c\td", 'say "hi"'], [ANN[:-1] + "2", "", " x "]]


def write(rows: list[list[str]], delimiter: str = ",", end: str = "\n") -> str:
    """Return CSV with every cell in quotes."""
    return "".join(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) + end for row in rows)


def read(path: Path, **settings: Any) -> tuple[list[list[Any]], str]:
    """Return the cells, and what is said of how they were read."""
    given = InputSettings(path=path, id="customer_id", **settings)
    source = scan(given, knows=knows, ids=UUID, known=KNOWN)
    return [row for frame in frames(source) for row in frame.astype(object).to_numpy().tolist()], source.reading


def refusal(path: Path, **settings: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        read(path, **settings)
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "changes.csv"


# --- what has one reading


@pytest.mark.parametrize(
    ("delimiter", "words"),
    [(",", ""), (";", "semicolons"), ("\t", "tabs"), ("|", "bars")],
    ids="comma semi tab bar".split(),
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("titles", [0, 2])
def test_a_table_is_the_same_in_every_dialect(
    file: Path, delimiter: str, words: str, end: str, encoding: str, titles: int
) -> None:
    title = ["Returned mail, November" + delimiter * 2, ""][:titles]
    text = end.join([*title, ""]) * bool(titles) + write([HEADER, *ROWS], delimiter, end)
    file.write_bytes(text.encode(encoding))
    found, reading = read(file)
    assert found == ROWS
    wanted = [word for word in (words, encoding[:6] if encoding not in ("utf-8", "utf-8-sig") else "") if word]
    wanted += ["2 title lines skipped"] * bool(titles)
    assert reading == (f"read as {', '.join(wanted)}" if wanted else "")


@pytest.mark.parametrize("packed", ["gz", "zst"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_packed_file_is_unpacked_and_hashed_as_it_is(tmp_path: Path, packed: str, suffix: str) -> None:
    file = tmp_path / f"changes.{suffix}.{packed}"
    plain = write([HEADER, *ROWS], "\t" if suffix == "tsv" else ",").encode()
    half = len(plain) // 2
    pack = gzip.compress if packed == "gz" else lambda data: pa.compress(data, "zstd", asbytes=True)
    file.write_bytes(pack(plain[:half]) + pack(plain[half:]))
    found, reading = read(file)
    assert found == ROWS
    assert "unpacked (" in reading
    for damaged in (file.read_bytes()[:-5], file.read_bytes() + b"more"):
        file.write_bytes(damaged)
        assert "damaged or cut off" in refusal(file).message


def test_blocks_of_any_size_give_the_same_cells(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(("Title\n" + write([HEADER, *ROWS * 20], ";")).encode("utf-16"))
    whole = read(file)
    for size in (7, 64, 1000):
        monkeypatch.setattr(csv, "BLOCK_BYTES", size)
        assert read(file) == whole


def test_excels_own_line_says_the_separator(file: Path) -> None:
    file.write_text("sep=;\r\n" + write([HEADER, *ROWS], ";", "\r\n"), encoding="utf-8", newline="")
    assert read(file) == (ROWS, "read as semicolons, 1 title line skipped")


def test_a_title_with_a_quote_in_it_is_a_title(file: Path) -> None:
    file.write_text('5" disks, returned\n' + write([HEADER, *ROWS]), encoding="utf-8")
    assert read(file) == (ROWS, "read as 1 title line skipped")


def test_blank_lines_above_the_header_are_no_title(file: Path) -> None:
    file.write_text("\n\r\n" + write([HEADER, *ROWS]), encoding="utf-8")
    assert read(file) == (ROWS, "")


def test_a_semicolon_in_the_name_of_a_column_of_a_comma_file_separates_nothing(file: Path) -> None:
    file.write_text(f"customer_id,a;b\n{ANN},x;y\n")
    assert read(file, rename={"a;b": "first_name"}) == ([[ANN, "x;y"]], "")


def test_our_failures_are_read_as_we_wrote_them_whatever_the_first_input_was(file: Path) -> None:
    notes = list(dialect.OUR_NOTES)
    file.write_bytes(b"\xef\xbb\xbf" + write([[*HEADER, *notes], [*ROWS[0], *notes]]).encode())
    asked = {"delimiter": "semicolon", "encoding": "windows-1252", "skip_rows": 3, "header_row": 2}
    assert read(file, **asked) == (ROWS[:1], "")


# --- what the job says


def test_a_job_says_how_its_file_is_written(tmp_path: Path) -> None:
    file = tmp_path / "changes.txt"
    lines = ["Returned mail", "von Hand", *(";".join(row) for row in (["a", "b", "c"], HEADER, [ANN, "Jürgen", "–"]))]
    file.write_bytes("\r\n".join([*lines, ""]).encode("cp1252"))
    asked = {"format": "csv", "delimiter": "semicolon", "encoding": "windows-1252"}
    found, reading = read(file, skip_rows=2, header_row=2, **asked)
    assert found == [[ANN, "Jürgen", "–"]]
    assert reading == "read as semicolons, windows-1252, 3 title lines skipped"
    assert read(file, skip_rows=3, **asked)[0] == found
    assert "line 4, 5" not in refusal(file, skip_rows=0, **asked).message
    assert "no column 'customer_id'" in refusal(file, skip_rows=0, **asked).message


def test_a_mark_proves_the_encoding_whatever_the_job_says(file: Path) -> None:
    file.write_bytes(write([HEADER, *ROWS]).encode("utf-8-sig"))
    assert read(file, encoding="windows-1252")[0] == ROWS


def test_utf_16_without_its_mark_needs_the_setting(file: Path) -> None:
    file.write_bytes(write([HEADER, *ROWS]).encode("utf-16-le"))
    assert "UTF-16" in refusal(file).message
    assert read(file, encoding="utf-16-le")[0] == ROWS


def test_what_is_not_in_the_encoding_that_the_job_names_is_refused_with_its_line(file: Path) -> None:
    file.write_bytes(f"customer_id,first_name\n{ANN},a\n{BOB},\x81\n".encode("latin-1"))
    assert "line 3 is not cp1252" in refusal(file, encoding="windows-1252").message


# --- what has several readings


def test_an_8_bit_file_is_refused_with_three_cells_as_each_candidate_reads_them(file: Path) -> None:
    names = ["Müller", "Zoë", "Wächter", "Ångström"]
    rows = [[f"{ANN[:-1]}{at}", name, "x"] for at, name in enumerate(names)]
    file.write_bytes(write([HEADER, *rows], ";").encode("cp1252"))
    error = refusal(file)
    assert "line 2: not UTF-8" in error.message
    assert "Müller" not in error.message  # which is logged and kept
    assert "\"windows-1252\" reads line 2 'Müller', line 3 'Zoë', line 4 'Wächter'" in error.hint
    assert '"mac-roman" reads line 2' in error.hint
    assert "Ångström" not in error.hint
    assert error.hint.startswith("set input.encoding to ")
    assert read(file, encoding="windows-1252")[0] == rows


def test_two_lines_that_could_be_the_header_are_refused_with_the_setting(file: Path) -> None:
    file.write_text("Title\n" + write([HEADER, *ROWS, HEADER, *ROWS]), encoding="utf-8")
    error = refusal(file)
    assert "which line is the header? lines 2, 6 could be" in error.message
    assert "input.skip_rows" in error.hint
    assert read(file, skip_rows=1)[0][:3] == ROWS


def test_a_full_line_above_the_header_may_be_the_header_or_a_row(file: Path) -> None:
    file.write_text(write([["Id", "First", "Last"], HEADER, *ROWS]), encoding="utf-8")
    error = refusal(file)
    assert "which line is the header? lines 1, 2 could be" in error.message
    assert read(file, header_row=2) == (ROWS, "read as 1 title line skipped")
    assert read(file, skip_rows=1)[0] == ROWS


def test_rows_at_fault_have_the_lines_of_the_file(file: Path) -> None:
    file.write_text(f"Title\n\nSecond title\ncustomer_id;first_name\n{ANN};a\n{BOB};a;b\n")
    assert "line 6: 3 cells, and the header has 2" in refusal(file).message


@pytest.mark.parametrize("setting", [{"delimiter": ",,"}, {"delimiter": '"'}, {"encoding": "rot13"}, {"encoding": "x"}])
def test_a_setting_that_says_nothing_is_refused(file: Path, setting: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        InputSettings(path=file, id="customer_id", **setting)  # type: ignore[arg-type]


def test_a_file_that_unpacks_to_many_times_its_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulk_patch.inputs.streams._LARGE_BYTES", 1 << 20)
    file = tmp_path / "changes.csv.gz"
    file.write_bytes(gzip.compress(write([HEADER]).encode() + b"\n" * (8 << 20)))
    assert "unpacks to more than 200 times its size" in refusal(file).message
