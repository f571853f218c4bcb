"""Export the rows of a run with their changes, as CSV, Parquet, JSON lines or an Excel workbook."""

from collections.abc import Iterator
from pathlib import Path

from bulk_patch.errors import UsageError
from bulk_patch.files.atomic import replacing
from bulk_patch.files.rows import ROW_WRITERS, Cell
from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import Run
from bulk_patch.reports.rows import COLUMNS, changes_of, result_of
from bulk_patch.targets import Target


def export(ledger: RunReader, run: Run, to: Path, *, target: Target, reveal: bool) -> int:
    """Write every row that is not `unchanged`, with what it changes.

    The columns are those of results.csv, then `before.FIELD` and `after.FIELD` for each field that the run changes:
    null where a row does not change it, "" where it is absent, `?` where it was not known.

    Args:
        ledger: Holds the run.
        run: The run.
        to: A file ending in .csv, .parquet, .jsonl or .xlsx; an existing one is replaced.
        target: Knows the fields and their masks.
        reveal: Write whole values, in a file for its owner alone.

    Returns:
        How many rows were written.

    Raises:
        UsageError: For any other file name, or where the folder does not exist.
        LedgerError: When the disk fails.
    """
    write = ROW_WRITERS.get(to.suffix.lower())
    if write is None:
        raise UsageError(
            f"cannot export to {to}: its format is not known", "use a name that ends in .csv, .parquet, .jsonl or .xlsx"
        )
    if to.is_dir() or not to.parent.is_dir():
        what = "it is a folder" if to.is_dir() else f"the folder {to.parent} does not exist"
        raise UsageError(f"cannot export to {to}: {what}", "name a file in an existing folder")
    names = sorted({name for row in ledger.rows(run.id) if row.body is not None for name in row.fields})
    columns = [*COLUMNS, *(f"{when}.{name}" for name in names for when in ("before", "after"))]

    def lines() -> Iterator[list[Cell]]:
        for row in ledger.rows(run.id):
            line = list(result_of(row))
            changes = {name: pair for name, *pair in changes_of(row, target, reveal=reveal)}
            for name in names:
                before, after = changes.get(name, (None, None))
                line += ("?" if before is None and after is not None else before, after)
            yield line

    with replacing(to, for_team=not reveal) as file:
        return write(file, columns, lines())
