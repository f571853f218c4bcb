"""Parquet as text: types with one obvious spelling are written out, others are refused.

Dates become ISO, whole numbers their digits, booleans `true` and `false`, UUIDs their usual form. A float has lost
zeros and digits before it gets here, a fraction or a time has several spellings, so their columns are refused where
they are used.
"""

import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bulk_patch.errors import InputError
from bulk_patch.inputs.parts import PARTITION
from bulk_patch.inputs.streams import opened_whole

BATCH_ROWS = 50_000

# A row group that claims to unpack to more than this, and to so many times the file's size, is taken for an attack.
_LARGE_GROUP_BYTES = 1 << 30
_LARGE_GROWTH = 1000
LONGEST_CELL_BYTES = 64 << 10
_LARGE_BATCH_BYTES = 256 << 20  # of rows that are unpacked at a time
_SMALL_BYTES = 32 << 20  # that many rows may hold whatever they are like
_LARGE_ROW_BYTES = 8 << 10  # on average

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31 as days of 1970: all that ISO dates can express


class ParquetParts:
    """One Parquet file, or the parts of one: the columns are read at once, the cells on demand.

    Args:
        parts: Regular files in reading order, at least one.
        root: The folder that they were found in, those below it included; it may also be the one file.

    Raises:
        InputError: When a part cannot be read, or its columns are not those of the first part.
    """

    checks_all = False
    facts = None
    is_kept = False
    reading = ""

    def __init__(self, parts: Sequence[Path], *, root: Path | None = None) -> None:
        self.parts = parts
        self._partitions = {part: _partitions_of(part.relative_to(root or part.parent)) for part in parts}
        self.hashes: list[str] = []  # of each part that `tables` read
        self.header: tuple[str, ...] = ()
        self._kinds: dict[str, str] = {}
        for part in parts:
            with _translating(part), opened_whole(part) as file:
                self._compare(part, _open(file, part).schema_arrow)

    def kind(self, column: str) -> str:
        """Return the kind of a column: one of `TEXT_KINDS`, or the name of the type."""
        return self._kinds[column]

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read every part once.

        Args:
            columns: What to return, all of `TEXT_KINDS`.

        Yields:
            Tables of `large_string` columns in which a null stays null, each at most `BATCH_ROWS` rows.

        Raises:
            InputError: When a part is damaged or holds a value that cannot be written as text.
        """
        self.hashes = []
        for part in self.parts:
            with part.open("rb") as raw:
                self.hashes.append(hashlib.file_digest(raw, "sha256").hexdigest())
            with _translating(part), opened_whole(part) as file:
                opened = _open(file, part)
                self._compare(part, opened.schema_arrow)
                rows, partitions = 0, self._partitions[part]
                stored = [column for column in columns if column not in partitions]
                texts = [name for name in stored if self._kinds[name] == "text"]
                safe_rows = min(BATCH_ROWS, _rows_that_fit(opened), _rows_of_dictionaries(file, texts, opened, part))
                for batch in opened.iter_batches(safe_rows, columns=stored, use_threads=False):
                    rows += len(batch)
                    # By name once more: asking the reader for `a.b` also brings the `b` of a struct `a`.
                    cells = [
                        _repeated(partitions[column], len(batch))
                        if column in partitions
                        else _to_text(batch.column(column), part, column)
                        for column in columns
                    ]
                    table = pa.table(cells, names=list(columns))
                    if table.nbytes > _SMALL_BYTES + len(table) * _LARGE_ROW_BYTES:
                        raise InputError(
                            f"{part.name}: {len(table):,} rows unpack to {table.nbytes >> 20} MiB of text",
                            "rows of changes are not that long: check which columns it holds",
                        )
                    yield table
                if rows != opened.metadata.num_rows:  # pyarrow does not report a missing page
                    raise InputError(f"{part.name} is damaged: it holds fewer rows than it says", "write it again")

    def _compare(self, part: Path, schema: pa.Schema) -> None:
        """Refuse a part whose columns are not those of the first; a column of nulls matches any type."""
        partitions = self._partitions[part]
        kinds = {field.name: _kind(field.type) for field in schema}
        if both := sorted(partitions.keys() & kinds.keys()):
            raise InputError(f"{part.name}: column {both[0]!r} is in the file and in its folder's name", "drop one")
        names = (*schema.names, *partitions)
        kinds |= dict.fromkeys(partitions, "text")
        self.header = self.header or names
        self._kinds = self._kinds or kinds
        differing = sorted(self._kinds.keys() ^ kinds.keys())
        for name in self._kinds.keys() & kinds.keys():
            if self._kinds[name] == "nothing":
                self._kinds[name] = kinds[name]
            elif kinds[name] not in (self._kinds[name], "nothing"):
                differing.append(name)
        if differing or names != self.header:
            which = ", ".join(map(repr, differing[:20])) or "their order"
            raise InputError(
                f"{part.name} and {self.parts[0].name} differ in their columns: {which}",
                "all parts of a folder need the same columns of the same types",
            )


def _open(file: BinaryIO, part: Path) -> pq.ParquetFile:
    """Read the footer, and refuse what would not fit into memory before it is unpacked."""
    # Without `pre_buffer`: it keeps all that it has read until the file is closed.
    opened = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)
    # Not their columns' metadata: pyarrow aborts the whole process when those are damaged.
    groups = [opened.metadata.row_group(at) for at in range(opened.metadata.num_row_groups)]
    if opened.metadata.num_rows != sum(group.num_rows for group in groups):
        raise InputError(f"{part.name} is damaged: its row counts contradict each other", "write it again")
    unpacked = max((group.total_byte_size for group in groups), default=0)
    growth = unpacked // max(os.fstat(file.fileno()).st_size, 1)
    if unpacked > _LARGE_GROUP_BYTES and growth > _LARGE_GROWTH:
        raise InputError(
            f"{part.name}: a row group unpacks to {unpacked >> 20} MiB, {growth} times the file's size",
            "write it again with smaller row groups",
        )
    return opened


def _partitions_of(part: Path) -> dict[str, str | None]:
    """Return the columns that the folders of a part stand for: of `state=CA/part-0.parquet`, state is CA."""
    columns: dict[str, str | None] = {}
    for folder in part.parts[:-1]:
        if found := PARTITION.fullmatch(folder):
            columns[unquote(found[1])] = None if found[2] == _NO_VALUE else unquote(found[2], errors="strict")
    return columns


def _repeated(text: str | None, times: int) -> "pa.Array[Any]":
    return pa.array([text], pa.large_string()).take(pa.array([0] * times, pa.int64()))


def _rows_that_fit(opened: pq.ParquetFile) -> int:
    """Return how many rows may be unpacked at a time, by what the row groups say of their size."""
    groups = [opened.metadata.row_group(at) for at in range(opened.metadata.num_row_groups)]
    fitting = [_LARGE_BATCH_BYTES * group.num_rows // max(1, group.total_byte_size) for group in groups]
    return max(1, min(fitting, default=1))


def _rows_of_dictionaries(file: BinaryIO, texts: Sequence[str], opened: pq.ParquetFile, part: Path) -> int:
    """Return how many rows may be unpacked at a time if each has the longest value of its column's dictionary.

    A dictionary holds a value once, however many rows have it: a file of 80 KB can stand for gigabytes.

    Raises:
        InputError: A value is longer than any cell may be.
    """
    if not texts:
        return BATCH_ROWS
    packed = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False, read_dictionary=list(texts))
    fewest = BATCH_ROWS
    for group in range(opened.metadata.num_row_groups):
        for batch in packed.iter_batches(1, row_groups=[group], columns=list(texts), use_threads=False):
            longest_row = 1
            for name in texts:
                cells: Any = batch.column(name)
                if isinstance(cells.type, pa.DictionaryType):
                    longest = _longest(cells.dictionary)
                    _refuse_long_cell(longest, part, name)
                    longest_row += longest
            fewest = min(fewest, max(1, _LARGE_BATCH_BYTES // longest_row))
            break  # one row is enough: it brings the whole dictionary
    return fewest


def _refuse_long_cell(longest: int, part: Path, column: str) -> None:
    if longest > LONGEST_CELL_BYTES:
        most = LONGEST_CELL_BYTES >> 10
        raise InputError(
            f"{part.name}: column {column!r} holds a cell of {longest >> 10:,} KiB; {most} are the most",
            "check that it is the right column, or leave it out of the file",
        )


def _kind(column_type: pa.DataType) -> str:
    if isinstance(column_type, pa.DictionaryType):
        return _kind(column_type.value_type)
    if isinstance(column_type, pa.UuidType):
        return "text"  # it has one spelling
    of_type = pa.types
    if of_type.is_string(column_type) or of_type.is_large_string(column_type) or of_type.is_string_view(column_type):
        return "text"
    if of_type.is_date(column_type):
        return "date"
    if of_type.is_integer(column_type) or (of_type.is_decimal(column_type) and column_type.scale == 0):
        return "whole number"
    if of_type.is_boolean(column_type):
        return "boolean"
    return "nothing" if of_type.is_null(column_type) else str(column_type)


def _to_text(cells: "pa.Array[Any]", part: Path, column: str) -> "pa.Array[Any]":  # a generic in the stubs only
    if isinstance(cells.type, pa.DictionaryType):
        cells = cells.cast(cells.type.value_type)
    if isinstance(cells.type, pa.UuidType):
        each_uuid: list[Any] = cells.cast(pa.binary(16)).to_pylist()
        texts = [None if each is None else str(uuid.UUID(bytes=each)) for each in each_uuid]
        return pa.array(texts, pa.large_string())
    if pa.types.is_date(cells.type):
        days = pc.min_max(cells.cast(pa.date32()).cast(pa.int32()))
        first, last = days["min"].as_py(), days["max"].as_py()
        if first is not None and (first < _FIRST_DAY or last > _LAST_DAY):
            raise InputError(f"{part.name}: column {column!r} holds a date without an ISO spelling", "correct it")
    text = cells.cast(pa.large_string())
    try:
        text.validate(full=True)  # the reader takes any bytes for text
    except pa.ArrowInvalid:
        fault = f"{part.name}: column {column!r} holds text that is not UTF-8"
        raise InputError(fault, "write it again") from None
    _refuse_long_cell(_longest(text), part, column)
    return text


@contextmanager
def _translating(part: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a column's name
        if _is_encrypted(part, error):
            raise InputError(f"{part.name} is encrypted", "write it without encryption, on an encrypted disk") from None
        if what := _other_than_parquet(part):
            raise InputError(
                f"{part.name} cannot be read as Parquet: it {what}", "give it the suffix of its format"
            ) from None
        raise InputError(
            f"{part.name} cannot be read as Parquet: {type(error).__name__}",
            "check that it is complete and that you may read it, or write it again",
        ) from None


def _is_encrypted(part: Path, error: Exception) -> bool:
    """Tell whether a file cannot be read since it is encrypted: its footer (PARE), or some of its columns."""
    if "crypt" in str(error).lower():
        return True
    try:
        with part.open("rb") as file:
            return file.read(4) == b"PARE"
    except OSError:
        return False


def _longest(texts: Any) -> int:  # the stubs know no array of any text
    """Return the bytes of the longest text."""
    longest: int | None = pc.max(pc.binary_length(texts)).as_py()
    return longest or 0


def _other_than_parquet(part: Path) -> str:
    """Say what a file is that is called .parquet and is none; "" when it begins as Parquet does, or is not known."""
    try:
        with part.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return ""
    if not start:
        return "is empty"
    if start.startswith(b"PAR1"):
        return ""
    if start.startswith(b"PK"):
        return "is a zip or Excel file, not Parquet"
    try:
        text = start.decode("utf-8", "strict" if len(start) < 4096 else "ignore")
    except UnicodeDecodeError:
        return ""
    return (
        "is text, such as CSV, not Parquet"
        if text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
        else ""
    )
