from io import BytesIO
from typing import Any

import pytest
from openpyxl import load_workbook

from bulk_patch.errors import UsageError
from bulk_patch.files import workbooks
from bulk_patch.files.workbooks import write_sheet

ROWS: list[list[str | int | None]] = [
    ["02139", "=1+1", "https://a.b"],
    ["a_x000D_\r\nb\x07", " é ", None],
    [7, "", "1E5"],
]


def read(file: BytesIO) -> Any:
    return load_workbook(file).active


def test_every_cell_is_text_and_the_header_is_frozen() -> None:
    file = BytesIO()
    assert write_sheet(file, ["ZIP", "b", "c"], ROWS) == 3
    sheet = read(file)
    assert sheet.freeze_panes == "A2"
    assert [cell.value for cell in sheet[2]] == ["02139", "=1+1", "https://a.b"]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row if cell.value is not None} <= {"s", "inlineStr"}
    assert {cell.number_format for row in sheet.iter_rows(min_row=1) for cell in row} == {"@"}
    assert sheet.column_dimensions["A"].width > 10


def test_what_does_not_fit_into_a_sheet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="32,767 characters"):
        write_sheet(BytesIO(), ["a"], [["x" * 32_768]])
    monkeypatch.setattr(workbooks, "MOST_ROWS", 3)
    with pytest.raises(UsageError, match="no more than 3 rows"):
        write_sheet(BytesIO(), ["a"], [["x"]] * 3)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbooks, "is_available", lambda: False)
    with pytest.raises(UsageError) as caught:
        write_sheet(BytesIO(), ["a"], [])
    assert caught.value.hint == "pip install 'bulk-patch[excel]'"
