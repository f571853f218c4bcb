"""The rows that did not reach their goal, as they were read: a file to correct and to feed back."""

import json
from collections.abc import Iterator
from pathlib import Path

from bulk_patch.errors import UsageError
from bulk_patch.files.atomic import replacing
from bulk_patch.files.rows import Cell
from bulk_patch.files.workbooks import is_available, write_sheet
from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import LedgerRow, Run
from bulk_patch.model import REACHED
from bulk_patch.observe import get_logger
from bulk_patch.reports.rows import NOTES, notes_on

log = get_logger()

FAILURES = "failures.csv"
FAILURES_SHEET = "failures.xlsx"


def is_from_workbook(run: Run) -> bool:
    """Tell whether the input of a run is a workbook."""
    return ".xlsx" in (suffix.lower() for suffix in Path(run.input_path).suffixes)


def failures_name(run: Run) -> str:
    """Return the file to correct and to feed back: a workbook where the input was one, and one can be written."""
    return FAILURES_SHEET if is_from_workbook(run) and is_available() else FAILURES


def failure_columns(run: Run) -> list[str]:
    """Return the input's own columns and those of the notes; one of that name may be mapped to a field."""
    return [*run.columns, *(name for name in NOTES if name not in run.columns)]


def failure_cells(row: LedgerRow, run: Run) -> list[Cell]:
    """Return the cells of a row as they were read, and what is to be said of it."""
    notes = [note for name, note in zip(NOTES, notes_on(row, run), strict=True) if name not in run.columns]
    return [*json.loads(row.cells.decode()), *notes]


def write_failures_sheet(ledger: RunReader, run: Run, folder: Path) -> None:
    """Write failures.xlsx beside failures.csv where the input was a workbook: Excel keeps its zeros.

    Where that cannot be, failures.csv has to do, and the log says why.
    """
    path = folder / FAILURES_SHEET
    if not is_from_workbook(run):
        return

    def lines() -> Iterator[list[Cell]]:
        for row in ledger.rows(run.id):
            if row.state not in REACHED:
                yield failure_cells(row, run)

    try:
        with replacing(path) as file:
            write_sheet(file, failure_columns(run), lines())
    except UsageError as error:
        path.unlink(missing_ok=True)  # of an earlier report
        log.warning("not_written", file=FAILURES_SHEET, reason=error.message, hint=error.hint)
