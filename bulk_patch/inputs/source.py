"""The input file as pandas frames: text-exact, in bounded memory, refused rather than guessed.

`scan` reads the file once and decides whether it can be used at all; `frames` reads it again and yields the cells.
Both hash the very bytes that they parse, and a file that changes meanwhile is refused. Cells are not interpreted here:
`00123`, `NULL`, `1E5` and a space are text.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bulk_patch.inputs.columns import TEXT, joined
from bulk_patch.inputs.formats import Reader, open_reader
from bulk_patch.inputs.header import check_conversions, fields_of, stays
from bulk_patch.inputs.ids import check_ids, find_repeated, normalised_ids
from bulk_patch.inputs.marks import SheetFacts
from bulk_patch.inputs.parts import changed, combine, fingerprint, guarding
from bulk_patch.job.settings import InputSettings
from bulk_patch.targets import IdRule


@dataclass(frozen=True, slots=True)
class Source:
    """An input file that was scanned and can be used."""

    path: Path
    columns: tuple[str, ...]  # the header in file order, without names that start with `_`; columns mapped to "" stay
    fields: Mapping[str, str]  # column -> field; without the id column and columns mapped to ""
    id_column: str
    rows: int  # data rows; blank lines do not count
    sha256: str  # of the bytes; of a folder: over the names and hashes of its parts
    size: int  # bytes
    mtime_ns: int  # of the newest part
    repeated_ids: frozenset[str]  # normalised; an empty cell is not an id
    id_hashes: NDArray[np.int64] = dataclasses.field(repr=False, compare=False)  # `hash_ids` of all rows in order
    settings: InputSettings = dataclasses.field(repr=False, compare=False)  # how to read it once more
    ids: IdRule  # by which its ids are normalised
    reading: str = ""  # what is unusual about how it is read, for people
    kept: Reader | None = dataclasses.field(default=None, repr=False, compare=False)  # one that is used again

    @property
    def facts(self) -> SheetFacts | None:
        """Return what a workbook says of single cells."""
        return self.kept.facts if self.kept is not None else None


def scan(
    settings: InputSettings,
    *,
    knows: Callable[[str], bool],
    ids: IdRule,
    known: Iterable[str] = (),
    every_cell: bool = True,
) -> Source:
    """Read the whole input once: describe it, or refuse it.

    Args:
        settings: The job's [input].
        knows: Tells whether a field exists.
        ids: What an id is, and how it is normalised.
        known: Fields to suggest instead of an unknown one.
        every_cell: Check all cells that will be used, so that `frames` finds no new fault; else reading the ids may be
            enough, for a caller that reads the rest before anything depends on it.

    Raises:
        InputError: With every fault of the header, or the first lines at fault.
    """
    path = settings.path
    stamp = fingerprint(path)
    with guarding(path, stamp):
        reader = open_reader(settings)
    fields = fields_of(reader, settings, knows=knows, ids=ids, known=tuple(known))
    check_conversions(settings, reader.header, fields)
    columns = tuple(name for name in reader.header if stays(name, settings, reader))

    def read_ids(columns: Sequence[str]) -> Iterator[pa.LargeStringArray]:
        """Read these columns from the start, and yield the normalised ids, missing ones as ""."""
        for table in _read(reader, path, columns, stamp):
            yield joined(normalised_ids(joined(table.column(settings.id)), settings, ids)).fill_null("")

    to_read = columns if every_cell and not reader.checks_all else [settings.id]
    rows, hashes = check_ids(read_ids(to_read), settings, ids)
    sha256 = _hash_of(path, reader)
    repeated = find_repeated(hashes, lambda: read_ids([settings.id]))
    if _hash_of(path, reader) != sha256:
        raise changed(path)
    return Source(
        path,
        columns,
        fields,
        settings.id,
        rows,
        sha256,
        *stamp,
        repeated,
        hashes,
        settings,
        ids,
        reading=reader.reading,
        kept=reader if reader.is_kept else None,
    )


def frames(source: Source, *, rows: int = 50_000) -> Iterator[pd.DataFrame]:
    """Read the input again.

    Args:
        source: What `scan` returned.
        rows: Rows per frame; the last frame may have fewer.

    Yields:
        Frames of dtype `str` with the columns of `source` and an index `row`: the data row, the first is 1. An empty
        cell of a CSV file is `""`, a null of a Parquet file is missing. Without rows there is no frame.

    Raises:
        InputError: When the file is not the one that was scanned; at the latest after the last frame.
    """
    stamp = source.size, source.mtime_ns
    with guarding(source.path, stamp):
        reader = source.kept or open_reader(source.settings)
    if not set(source.columns) <= set(reader.header):
        raise changed(source.path)
    first = 1
    for table in _in_portions(_read(reader, source.path, source.columns, stamp), rows):
        # The one type of all columns; pandas takes the buffers as they are.
        frame = table.combine_chunks().to_pandas(types_mapper=lambda _: TEXT, ignore_metadata=True)
        frame.index = pd.RangeIndex(first, first + len(frame), name="row")
        first += len(frame)
        yield frame
    if _hash_of(source.path, reader) != source.sha256:
        raise changed(source.path)


def read_header(path: Path, ids: Sequence[str]) -> tuple[str, ...]:
    """Return the column names of a file.

    Args:
        path: A file, or a folder of parts.
        ids: Names of which the header should have one.

    Raises:
        InputError: When the file has no readable header.
    """
    with guarding(path):
        return open_reader(InputSettings(path=path, id=ids[0]), ids=ids).header


def _hash_of(path: Path, reader: Reader) -> str:
    return combine(path, reader.parts, reader.hashes)


def _read(reader: Reader, path: Path, columns: Sequence[str], stamp: tuple[int, int]) -> Iterator[pa.Table]:
    with guarding(path, stamp):
        yield from reader.tables(columns)


def _in_portions(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Cut tables of any length into tables of `rows` rows; the last has the rest."""
    waiting: list[pa.Table] = []
    waiting_rows = 0
    for table in tables:
        waiting.append(table)
        waiting_rows += len(table)
        if waiting_rows >= rows:
            joined = pa.concat_tables(waiting)
            waiting_rows %= rows
            whole = len(joined) - waiting_rows
            for start in range(0, whole, rows):
                yield joined.slice(start, rows)
            waiting = [joined.slice(whole)]
    if waiting_rows:
        yield pa.concat_tables(waiting)
