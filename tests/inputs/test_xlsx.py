import datetime as dt
import gzip
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import InputError
from bulk_patch.inputs.source import frames, scan
from bulk_patch.inputs.xlsx import package
from bulk_patch.inputs.xlsx.numbers import Mark, format_of, read_number
from bulk_patch.job.settings import InputSettings
from tests.support.source_calls import ANN, BOB, KNOWN, UUID, knows
from tests.support.workbooks import SHEET, edit_part, write_shared, write_xlsx

HEADER = ["customer_id", "first_name", "last_name"]
ROWS = [[ANN, "00123", "Müller"], [BOB, "=1+1", " x\ny "]]


def read(path: Path, **settings: Any) -> tuple[list[list[Any]], str]:
    given = InputSettings(path=path, id="customer_id", **settings)
    source = scan(given, knows=knows, ids=UUID, known=KNOWN)
    return [row for frame in frames(source, rows=1) for row in frame.astype(object).to_numpy().tolist()], source.reading


def refusal(path: Path, **settings: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        read(path, **settings)
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "changes.xlsx"


# --- what is read


def test_text_cells_are_as_written(file: Path) -> None:
    write_xlsx(file, [HEADER, *ROWS])
    assert read(file) == (ROWS, "read as Excel, sheet 'Sheet'")


def test_titles_blank_rows_and_cells_with_only_formats_are_no_rows(file: Path) -> None:
    def format_cells(_: Any, sheet: Any) -> None:
        sheet["C9"].number_format = "0.00"
        sheet["H2"].number_format = "0.00"

    write_xlsx(file, [["Returned mail, November"], [], HEADER, ROWS[0], [], ROWS[1]], change=format_cells)
    assert read(file) == (ROWS, "read as Excel, sheet 'Sheet', 1 title row skipped")
    assert read(file, skip_rows=2)[0] == ROWS
    assert read(file, header_row=2)[0] == ROWS


def test_two_rows_that_could_be_the_header_are_refused(file: Path) -> None:
    write_xlsx(file, [["Id", "First", "Last"], HEADER, *ROWS])
    error = refusal(file)
    assert "which row is the header? rows 1, 2 could be" in error.message
    assert "input.skip_rows" in error.hint
    assert read(file, header_row=2)[0] == ROWS


def test_inline_and_rich_text_without_its_phonetic_spelling(file: Path) -> None:
    write_shared(file, [HEADER, [ANN, "a", "b"]])
    rich = '<is><r><t>Ja</t></r><r><t xml:space="preserve">ne </t></r><rPh sb="0" eb="1"><t>x</t></rPh></is>'
    edit_part(file, SHEET, '<c r="B2" t="s"><v>4</v></c>', f'<c r="B2" t="inlineStr">{rich}</c>')
    edit_part(file, "xl/sharedStrings.xml", "<t>b</t>", "<t>b_x000D_c_x005F_x000D_</t>")
    assert read(file)[0] == [[ANN, "Jane ", "b\rc_x000D_"]]


def test_packed_workbooks_are_unpacked(file: Path, tmp_path: Path) -> None:
    packed = tmp_path / "changes.xlsx.gz"
    packed.write_bytes(gzip.compress(write_xlsx(file, [HEADER, *ROWS]).read_bytes()))
    assert read(packed)[0] == ROWS


def test_columns_beside_the_table_need_a_name(file: Path) -> None:
    write_xlsx(file, [[None, *HEADER], [None, *ROWS[0], "note"]])
    assert "column 4 has no name" in refusal(file).message
    write_xlsx(file, [[None, *HEADER, None], [None, *ROWS[0]]])
    assert read(file)[0] == ROWS[:1]


# --- numbers


@pytest.mark.parametrize(
    ("literal", "code", "text", "mark"),
    [
        ("2139", None, "2139", None),
        ("2139", "00000", "02139", None),
        ("123456", "00000", "123456", None),
        ("123456789", "000-00-0000", "123-45-6789", None),
        ("21390001", r"00000\-0000", "02139-0001", None),
        ("5", '"No. "000', "No. 005", None),
        ("16175550142", None, "16175550142", None),
        ("1.6175550142E+10", None, "16175550142", None),
        ("999999999999999", None, "999999999999999", None),
        ("1234567890123456", None, "1234567890123456", Mark.DIGITS),
        ("1.2345678901234499E+18", None, "1234567890123449900", Mark.DIGITS),
        ("2139.5", None, "2139.5", Mark.NUMBER),
        ("2139", "#,##0", "2139", Mark.NUMBER),
        ("0.5", "0%", "0.5", Mark.NUMBER),
        ("21", '"$"#,##0.00', "21", Mark.NUMBER),
        ("2139", "0.00E+00", "2139", Mark.NUMBER),
        ("6175550000", r"[<=9999999]###\-####;\(###\)\ ###\-####", "6175550000", Mark.NUMBER),
        ("-5", "00000", "-5", Mark.NUMBER),
        ("29251", "m/d/yyyy", "1980-01-31", Mark.DATE),
        ("29251", "yyyy\\-mm\\-dd", "1980-01-31", Mark.DATE),
        ("29251", "[$-407]d. mmmm yyyy", "1980-01-31", Mark.DATE),
        ("29251.5", "m/d/yyyy", "29251.5", Mark.TIME),
        ("0.5", "h:mm", "0.5", Mark.TIME),
        ("29251", "yyyy\\-mm\\-dd\\ h:mm:ss", "1980-01-31", Mark.DATE),
        ("1", "m/d/yyyy", "1900-01-01", Mark.DATE),
        ("59", "m/d/yyyy", "1900-02-28", Mark.DATE),
        ("60", "m/d/yyyy", "60", Mark.NUMBER),
        ("61", "m/d/yyyy", "1900-03-01", Mark.DATE),
        ("0", "m/d/yyyy", "0", Mark.NUMBER),
        ("2958465", "m/d/yyyy", "9999-12-31", Mark.DATE),
        ("2958466", "m/d/yyyy", "2958466", Mark.NUMBER),
        ("NaN", None, "NaN", Mark.NUMBER),
        ("1E+400", None, "1E+400", Mark.NUMBER),
    ],
)
def test_a_number_is_what_the_person_sees_or_is_marked(
    literal: str, code: str | None, text: str, mark: Mark | None
) -> None:
    assert read_number(literal, format_of(0, code), since_1904=False) == (text, mark)


def test_days_may_be_counted_from_1904() -> None:
    shown = format_of(14, None)
    assert read_number("0", shown, since_1904=True) == ("1904-01-01", Mark.DATE)
    assert read_number("27789", shown, since_1904=True) == ("1980-01-31", Mark.DATE)


def test_marks_come_with_the_rows_that_they_stand_in(file: Path) -> None:
    rows: list[list[Any]] = [HEADER, [ANN, 2139.5, True], [BOB, dt.date(1980, 1, 31), "x"], [], [ANN, 7, "#N/A"]]

    def mark_error(_: Any, sheet: Any) -> None:
        sheet["C5"].data_type = "e"

    write_xlsx(file, rows, change=mark_error)
    settings = InputSettings(path=file, id="customer_id")
    found = scan(settings, knows=knows, ids=UUID, known=KNOWN)
    assert found.facts is not None
    marked = {(cells.column, cells.mark): cells.rows.tolist() for cells in found.facts.marked}
    assert marked == {
        ("first_name", Mark.NUMBER): [1],
        ("first_name", Mark.DATE): [2],
        ("last_name", Mark.BOOLEAN): [1],
        ("last_name", Mark.ERROR): [3],
    }
    assert [found.facts.line(row) for row in (1, 2, 3)] == [2, 3, 5]
    assert [cell[1:] for cell in read(file)[0]] == [["2139.5", "true"], ["1980-01-31", "x"], ["7", "#N/A"]]


# --- what a person has to decide


def hide(_: Any, sheet: Any) -> None:
    sheet.row_dimensions[2].hidden = True
    sheet.column_dimensions["C"].hidden = True


def test_hidden_rows_are_refused_until_the_job_says_what_they_mean(file: Path) -> None:
    write_xlsx(file, [HEADER, *ROWS], change=hide)
    error = refusal(file)
    assert "1 row with values that are hidden or filtered out: 2" in error.message
    assert "input.hidden" in error.hint
    assert read(file, hidden="skip") == (
        ROWS[1:],
        "read as Excel, sheet 'Sheet', 1 hidden row skipped, hidden column C read",
    )
    assert read(file, hidden="send")[0] == ROWS


def test_formulas_are_refused_until_the_job_takes_their_values(file: Path) -> None:
    write_shared(file, [HEADER, *ROWS])
    edit_part(file, SHEET, '<c r="B2" t="s"><v>4</v></c>', '<c r="B2" t="str"><f>A2</f><v>x</v></c>')
    edit_part(file, SHEET, '<c r="C2" t="s"><v>5</v></c>', '<c r="C2"><f>A2</f></c>')
    error = refusal(file)
    assert "2 formulas where values are expected: B2, C2" in error.message
    assert "input.formulas" in error.hint
    settings = InputSettings(path=file, id="customer_id", formulas="values")
    found = scan(settings, knows=knows, ids=UUID, known=KNOWN)
    assert found.facts is not None
    assert [(cells.column, cells.mark) for cells in found.facts.marked] == [("last_name", Mark.NO_VALUE)]
    assert read(file, rename={"first_name": "", "last_name": ""})[0][0][1] == "x"  # ignored columns may hold formulas


def test_merged_cells_in_the_table_are_refused_and_above_it_are_not(file: Path) -> None:
    write_xlsx(file, [["Title"], HEADER, *ROWS], change=lambda _, sheet: sheet.merge_cells("A1:C1"))
    assert read(file)[0] == ROWS
    write_xlsx(file, [HEADER, *ROWS], change=lambda _, sheet: sheet.merge_cells("C2:C3"))
    assert "merged cells in its table: C2:C3" in refusal(file).message


def test_of_several_sheets_the_job_names_one(file: Path) -> None:
    def add(book: Any, _: Any) -> None:
        book.create_sheet("Empty")
        secret = book.create_sheet("Secret")
        secret.append(["a"])
        secret.sheet_state = "hidden"

    write_xlsx(file, [HEADER, *ROWS], change=add)
    assert read(file)[0] == ROWS

    def add_visible(book: Any, sheet: Any) -> None:
        other = book.create_sheet("Other")
        other.append(HEADER)
        other.append(ROWS[0])

    write_xlsx(file, [HEADER, *ROWS], change=add_visible)
    assert "2 sheets with cells: 'Sheet', 'Other'" in refusal(file).message
    assert read(file, sheet="Other") == (ROWS[:1], "read as Excel, sheet 'Other'")
    assert "no sheet 'other'" in refusal(file, sheet="other").message


def test_a_table_is_read_without_what_is_beside_it(file: Path) -> None:
    from openpyxl.worksheet.table import Table

    def add(_: Any, sheet: Any) -> None:
        sheet.add_table(Table(displayName="Moves", ref="B3:D5"))
        sheet["F4"] = "beside"

    write_xlsx(file, [["x"], [], [None, *HEADER], [None, *ROWS[0]], [None, *ROWS[1]], [None, "total"]], change=add)
    assert read(file, table="Moves")[0] == ROWS
    assert "no table 'Other'" in refusal(file, table="Other").message


def test_a_failures_workbook_of_ours_is_read_as_we_wrote_it(file: Path) -> None:
    notes = ["_status", "_reason", "_hint", "_row", "_run"]
    write_xlsx(file, [[*HEADER, *notes], [*ROWS[0], *notes]])
    assert read(file, sheet="Corrections", skip_rows=2, header_row=3)[0] == ROWS[:1]


# --- what is no workbook


def test_what_cannot_be_read_without_guessing_is_refused_as_a_whole(file: Path) -> None:
    for part, what in (
        ("xl/vbaProject.bin", "macros"),
        ("xl/externalLinks/externalLink1.xml", "links to other workbooks"),
        ("xl/workbook.bin", "binary"),
        ("xl/../../x", "parts that no Excel writes"),
    ):
        write_xlsx(file, [HEADER, *ROWS])
        edit_part(file, part, "", "x")
        assert what in refusal(file).message
    file.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    assert "encrypted" in refusal(file).message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<sheetData>", "<sheetData"),
        ('r="B2"', 'r="A2"'),
        ('r="B2"', 'r="B9"'),
        ('<row r="3"', '<row r="2"'),
        ("<v>4</v>", "<v>99</v>"),
        ("<v>4</v>", "<v>-1</v>"),
    ],
)
def test_a_damaged_sheet_is_refused(file: Path, old: str, new: str) -> None:
    write_shared(file, [HEADER, *ROWS])
    edit_part(file, SHEET, old, new)
    assert "changes.xlsx" in refusal(file).message


def test_entities_and_bombs_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shared(file, [HEADER, *ROWS])
    edit_part(file, "xl/sharedStrings.xml", "<sst", '<!DOCTYPE a [<!ENTITY b "c">]><sst')
    assert "declares entities" in refusal(file).message
    monkeypatch.setattr(package, "_SMALL_BYTES", 1 << 16)
    write_xlsx(file, [HEADER, *ROWS])
    edit_part(file, "xl/media.xml", "", "a" * (1 << 20))
    assert "unpacks to 1 MiB" in refusal(file).message


@pytest.mark.parametrize("cut", [10, 200, 2000])
def test_a_cut_off_workbook_is_refused(file: Path, cut: int) -> None:
    whole = write_xlsx(file, [HEADER, *ROWS]).read_bytes()
    file.write_bytes(whole[:-cut])
    assert "cannot be read as an Excel workbook" in refusal(file).message
