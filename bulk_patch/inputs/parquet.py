"""Parquet as text: types with one obvious spelling are written out, others are refused.

Dates become ISO, whole numbers their digits, booleans `true` and `false`. A float has lost zeros and digits
before it gets here, a decimal or a time has several spellings, so their columns are refused where they are used.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bulk_patch.errors import InputError

BATCH_ROWS = 50_000

#: Kinds of columns that can be text; any other kind is named after the Arrow type.
TEXT_KINDS = frozenset({"text", "date", "whole number", "boolean", "nothing"})

# A row group that claims to unpack to more than this, and to so many times the file's size, is taken for an attack.
_LARGE_GROUP_BYTES = 1 << 30
_LARGE_GROWTH = 1000

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31 as days of 1970: all that ISO dates can express


class ParquetParts:
    """One Parquet file, or the parts of one: the columns are read at once, the cells on demand.

    Args:
        parts: Regular files in reading order, at least one.

    Raises:
        InputError: When a part cannot be read, or its columns are not those of the first part.
    """

    checks_all = False

    def __init__(self, parts: Sequence[Path]) -> None:
        self.parts = parts
        self.hashes: list[str] = []  # of each part that `tables` read
        self.header: tuple[str, ...] = ()
        self._kinds: dict[str, str] = {}
        for part in parts:
            with _translating(part), part.open("rb") as file:
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
            with _translating(part), part.open("rb") as file:
                self.hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
                opened = _open(file, part)
                self._compare(part, opened.schema_arrow)
                rows = 0
                for batch in opened.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
                    rows += len(batch)
                    # By name once more: asking the reader for `a.b` also brings the `b` of a struct `a`.
                    cells = [_to_text(batch.column(column), part, column) for column in columns]
                    yield pa.table(cells, names=list(columns))
                if rows != opened.metadata.num_rows:  # pyarrow does not report a missing page
                    raise InputError(f"{part.name} is damaged: it holds fewer rows than it says", "write it again")

    def _compare(self, part: Path, schema: pa.Schema) -> None:
        """Refuse a part whose columns are not those of the first; a column of nulls matches any type."""
        names = tuple(schema.names)
        kinds = {field.name: _kind(field.type) for field in schema}
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
    growth = unpacked // os.fstat(file.fileno()).st_size
    if unpacked > _LARGE_GROUP_BYTES and growth > _LARGE_GROWTH:
        raise InputError(
            f"{part.name}: a row group unpacks to {unpacked >> 20} MiB, {growth} times the file's size",
            "write it again with smaller row groups",
        )
    return opened


def _kind(column_type: pa.DataType) -> str:
    if isinstance(column_type, pa.DictionaryType):
        return _kind(column_type.value_type)
    of_type = pa.types
    if of_type.is_string(column_type) or of_type.is_large_string(column_type) or of_type.is_string_view(column_type):
        return "text"
    if of_type.is_date(column_type):
        return "date"
    if of_type.is_integer(column_type):
        return "whole number"
    if of_type.is_boolean(column_type):
        return "boolean"
    return "nothing" if of_type.is_null(column_type) else str(column_type)


def _to_text(cells: "pa.Array[Any]", part: Path, column: str) -> "pa.Array[Any]":  # a generic in the stubs only
    if isinstance(cells.type, pa.DictionaryType):
        cells = cells.cast(cells.type.value_type)
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
    return text


@contextmanager
def _translating(part: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a column's name
        raise InputError(
            f"{part.name} cannot be read as Parquet: {type(error).__name__}",
            "check that it is complete and that you may read it, or write it again",
        ) from None
