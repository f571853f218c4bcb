"""Rows in files for people: CSV, JSON lines, Parquet."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import BinaryIO

from bulk_patch.files.workbooks import write_sheet

Cell = str | int | None

_NUMBERS = frozenset({"row", "attempts", "http_status"})  # columns; all others hold text
_BATCH_ROWS = 10_000
#: At the start of CSV for people: without it a spreadsheet reads UTF-8 as Windows-1252.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_INTO_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def csv_line_writer(file: BinaryIO) -> Callable[[Iterable[Cell]], object]:
    """Return a function that writes one line of CSV: UTF-8, LF, quoted where needed, null as an empty cell."""
    return csv.writer(_Lines(file)).writerow


def escape(cell: Cell) -> Cell:
    """Prefix text that a spreadsheet would run as a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_INTO_FORMULAS) else cell


def _write_csv(file: BinaryIO, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> int:
    file.write(BYTE_ORDER_MARK)
    write_line = csv_line_writer(file)
    write_line(map(escape, columns))
    count = 0
    for row in rows:
        write_line(map(escape, row))
        count += 1
    return count


def _write_jsonl(file: BinaryIO, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def _write_parquet(file: BinaryIO, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> int:
    import pyarrow as pa  # heavy, and only this format needs it
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.int64() if name in _NUMBERS else pa.string()) for name in columns])
    count = 0
    rest = iter(rows)
    with pq.ParquetWriter(file, schema) as writer:
        while batch := list(islice(rest, _BATCH_ROWS)):
            arrays = [pa.array(cells, kind) for cells, kind in zip(zip(*batch, strict=True), schema.types, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(batch)
    return count


#: Suffix -> function that writes column names and rows for people, one row at a time, and returns the number of rows.
ROW_WRITERS: Mapping[str, Callable[[BinaryIO, Sequence[str], Iterable[Sequence[Cell]]], int]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
    ".xlsx": write_sheet,
}


class _Lines:
    """Takes lines from a csv writer, which ends them with CR LF, and ends them with LF alone.

    If told to end lines with LF, csv before Python 3.13 does not quote a cell with a CR: strict readers refuse it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, line: str) -> None:
        """Write one line."""
        self._file.write(line.removesuffix("\r\n").encode() + b"\n")
