"""Write results.csv, failures.csv and summary.json.

Everything is streamed row by row, and each file is replaced atomically. Files for people are escaped, so that a
spreadsheet runs no formulas; failures.csv is an input again, so its cells stay as they were read.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bulk_patch.files.atomic import explaining, make_private_folder, replacing
from bulk_patch.files.rows import BYTE_ORDER_MARK, csv_line_writer, escape
from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import Run
from bulk_patch.model import REACHED
from bulk_patch.reports.failures import FAILURES, failure_cells, failure_columns, write_failures_sheet
from bulk_patch.reports.next_command import NextCommand
from bulk_patch.reports.rows import COLUMNS, result_of
from bulk_patch.reports.summary import RunSummary, fold_counts, summarise, unbalanced

RESULTS = "results.csv"
SUMMARY = "summary.json"
PAGE = "report.html"
LATEST = "latest"  # a link to the folder of the newest run


def write_reports(
    ledger: RunReader,
    run: Run,
    folder: Path,
    *,
    next_command: NextCommand,
    running: bool = False,
    page: Callable[[RunSummary], object] | None = None,
) -> RunSummary:
    """Write results.csv, failures.csv and summary.json of a sealed run.

    Args:
        ledger: Holds the run.
        run: The run.
        folder: Where to, usually `output/<job>/<run>`; created private when it does not exist.
        next_command: What to type next.
        running: A process is sending it now.
        page: Writes report.html; before summary.json, which says that all files are there.

    Returns:
        What summary.json says.

    Raises:
        LedgerError: When the disk fails, or the report does not balance.
    """
    run = ledger.run(run.id)
    make_private_folder(folder)
    with replacing(folder / RESULTS) as results, replacing(folder / FAILURES) as failures:
        write_result, write_failure = csv_line_writer(results), csv_line_writer(failures)
        failures.write(BYTE_ORDER_MARK)  # results.csv is for programs
        write_result(COLUMNS)
        write_failure(failure_columns(run))
        rows = run.unchanged
        for row in ledger.rows(run.id):
            rows += 1
            write_result(map(escape, result_of(row)))
            if row.state not in REACHED:
                write_failure(failure_cells(row, run))
        if rows != run.input_rows:
            raise unbalanced(run, rows)
    write_failures_sheet(ledger, run, folder)
    summary = summarise(ledger, run, running=running, next_command=next_command)
    if page is not None:
        page(summary)
    write_summary(summary, folder)
    point_to_latest(folder)
    return summary


def point_to_latest(folder: Path) -> None:
    """Let `output/<job>/latest` lead to a run's folder, unless it leads to that of a later run.

    What is in its place and is no link is left alone.

    Raises:
        LedgerError: When the disk fails.
    """
    link = folder.parent / LATEST
    with explaining(link):
        if os.path.lexists(link) and (not link.is_symlink() or os.readlink(link) >= folder.name):
            return
        draft = folder.parent / f".{LATEST}-{os.getpid()}"
        with suppress(FileNotFoundError):
            draft.unlink()
        draft.symlink_to(folder.name)
        draft.replace(link)


def write_summary(summary: RunSummary, folder: Path) -> None:
    """Write summary.json.

    Raises:
        LedgerError: When the disk fails.
    """
    with replacing(folder / SUMMARY) as file:
        file.write(json.dumps(summary.as_json(), ensure_ascii=False, allow_nan=False, indent=2).encode() + b"\n")


def is_reported(ledger: RunReader, run: Run, folder: Path) -> bool:
    """Tell whether the files of a run agree with the ledger; a kill may have come before they were written."""
    try:
        recorded = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))  # written last
    except (OSError, ValueError):
        return False
    counts = {str(status): number for status, number in fold_counts(ledger.counts(run.id)).items()}
    return isinstance(recorded, dict) and recorded.get("counts") == counts
