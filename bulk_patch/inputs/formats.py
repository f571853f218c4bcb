"""Which reader an input gets: by its suffix, or by `input.format`."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bulk_patch.errors import InputError
from bulk_patch.inputs.dialect import dialect_of, settings_suffix
from bulk_patch.inputs.header import Columns
from bulk_patch.inputs.parts import list_parts
from bulk_patch.job.input_settings import AUTO, FORMATS, InputSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from bulk_patch.inputs.marks import SheetFacts

_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
}
_HINTS = dict.fromkeys((".bz2", ".xz", ".zip", ".7z", ".lz4"), "unpack it, or pack it as .gz or .zst") | dict.fromkeys(
    (".xls", ".xlsb", ".xlsm", ".ods", ".numbers"), "save it as .xlsx, or as CSV UTF-8"
)


class Reader(Columns, Protocol):
    """A file format: `header` is read at once, `tables` as often as needed.

    `tables` reads from the first row to the last, checks what it reads, yields tables of `large_string`, and leaves
    the SHA-256 of each part in `hashes`. Both raise `InputError`, never with a cell's text in the message.
    """

    parts: Sequence[Path]
    hashes: list[str]
    is_kept: bool  # whether it is as good for a second reading: its cells are in memory
    checks_all: bool  # whether `tables` also checks the columns that it is not asked for
    reading: str  # how the file is read, for people; "" when there is nothing to say

    @property
    def facts(self) -> "SheetFacts | None":
        """Of a workbook: what it says of single cells."""
        ...

    def tables(self, columns: Sequence[str]) -> "Iterator[pa.Table]": ...


def open_reader(settings: InputSettings, *, ids: Collection[str] = ()) -> Reader:
    """Open an input and read its header.

    Args:
        settings: The job's [input].
        ids: Names of which the header has one; the job's own when not given.

    Raises:
        InputError: It cannot be read, or not in one way only.
    """
    path = settings.path
    parts = list_parts(path)
    kind = format_of(settings)
    if path not in parts and kind != "parquet":
        raise InputError(f"{path} is a folder", "only Parquet is read from a folder of parts")
    match kind:
        case "parquet":
            from bulk_patch.inputs.parquet import ParquetParts

            return ParquetParts(parts, root=path)
        case "jsonl":
            from bulk_patch.inputs.jsonl import JsonLines

            return JsonLines(path)
        case "xlsx":
            from bulk_patch.inputs.xlsx.reader import XlsxFile

            return XlsxFile(path, settings, ids=ids or (settings.id,))
        case _:
            from bulk_patch.inputs.csv import CsvFile

            dialect, start = dialect_of(path, settings, ids=ids or (settings.id,))
            return CsvFile(path, dialect, start=start)


def format_of(settings: InputSettings) -> str:
    """Return the format of an input.

    Raises:
        InputError: Neither its suffix nor the job tells it.
    """
    if settings.format != AUTO:
        return settings.format
    path = settings.path
    if path.is_dir():
        return "parquet"
    suffix = settings_suffix(path)
    if suffix not in _BY_SUFFIX:
        choices = ", ".join(FORMATS)
        raise InputError(
            f"{path.name}: its suffix does not tell its format",
            _HINTS.get(suffix) or _HINTS.get(path.suffix.lower()) or f"set input.format to one of {choices}",
        )
    return _BY_SUFFIX[suffix]
