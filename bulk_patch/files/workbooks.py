"""Rows for people as an Excel workbook: every cell is text and stays text, so that a corrected one loses no zero."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import BinaryIO

from bulk_patch.errors import UsageError

MOST_ROWS = 1_048_576  # of a sheet, the header among them
MOST_CHARACTERS = 32_767  # of a cell
_NOT_TEXT = {"strings_to_numbers": False, "strings_to_formulas": False, "strings_to_urls": False}
_WIDTH = 18

Cell = str | int | None


class TooLargeError(Exception):
    """The rows do not fit into a sheet."""


def is_available() -> bool:
    """Tell whether workbooks can be written."""
    return find_spec("xlsxwriter") is not None


@contextmanager
def sheet_writer(file: BinaryIO, columns: Sequence[str]) -> Iterator[Callable[[Iterable[Cell]], None]]:
    """Write the header of a sheet, frozen, and give a function that writes the next row.

    Args:
        file: Gets the workbook when the block has ended.
        columns: The header.

    Raises:
        UsageError: The package for it is not installed.
        TooLargeError: There are more rows than a sheet has, or a text is longer than a cell.
    """
    if not is_available():
        raise UsageError("a workbook needs a package that is not installed", "pip install 'bulk-patch[excel]'")
    import xlsxwriter

    with xlsxwriter.Workbook(file, {"constant_memory": True, **_NOT_TEXT}) as book:
        as_text = book.add_format({"num_format": "@"})
        sheet = book.add_worksheet("rows")
        sheet.set_column(0, max(len(columns) - 1, 0), _WIDTH, as_text)
        sheet.freeze_panes(1, 0)
        at = 0

        def write(cells: Iterable[Cell]) -> None:
            nonlocal at
            if at == MOST_ROWS:
                raise TooLargeError(f"a sheet has no more than {MOST_ROWS:,} rows")
            for column, cell in enumerate(cells):
                if cell is None or cell == "":
                    sheet.write_blank(at, column, None, as_text)
                elif len(text := str(cell)) > MOST_CHARACTERS:
                    raise TooLargeError(f"a cell has no more than {MOST_CHARACTERS:,} characters")
                else:
                    sheet.write_string(at, column, text, as_text)
            at += 1

        write(columns)
        yield write


def write_sheet(file: BinaryIO, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> int:
    """Write rows as a workbook, and return how many they are.

    Raises:
        UsageError: They do not fit into a sheet, or the package for it is not installed.
    """
    count = 0
    try:
        with sheet_writer(file, columns) as write:
            for row in rows:
                write(row)
                count += 1
    except TooLargeError as error:
        raise UsageError(f"these rows do not fit into a workbook: {error}", "export them to .csv or .parquet") from None
    return count
