"""Workbooks for the tests of Excel files: by openpyxl where it can say it, else with their XML changed by hand."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import xlsxwriter
from openpyxl import Workbook


def write_shared(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """Write a workbook whose texts are shared strings, as Excel does: the first text has number 0."""
    with xlsxwriter.Workbook(path, {"strings_to_formulas": False}) as book:
        sheet = book.add_worksheet()
        for at, row in enumerate(rows):
            for column, text in enumerate(row):
                sheet.write_string(at, column, text)
    return path


def write_xlsx(
    path: Path, rows: Sequence[Sequence[Any]], *, change: Callable[[Any, Any], object] | None = None
) -> Path:
    """Write a workbook of one sheet: text as text, all else as Python says it.

    Args:
        path: Where to.
        rows: The rows, the header among them.
        change: Gets workbook and sheet before they are saved.
    """
    book = Workbook()
    sheet: Any = book.active
    for row in rows:
        sheet.append(list(row))
    for cells in sheet.iter_rows():
        for cell in cells:
            if isinstance(cell.value, str):
                cell.data_type = "s"  # also what looks like a formula
    if change is not None:
        change(book, sheet)
    book.save(path)
    return path


def edit_part(path: Path, part: str, old: str, new: str) -> None:
    """Replace text in a part of a workbook, or add the part when it is not there."""
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    if part in parts:
        assert old.encode() in parts[part], parts[part][:3000]
        parts[part] = parts[part].replace(old.encode(), new.encode())
    else:
        parts[part] = new.encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in parts.items():
            package.writestr(name, data)


SHEET = "xl/worksheets/sheet1.xml"
