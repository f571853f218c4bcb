"""The input file as pandas frames: text-exact, in bounded memory, refused rather than guessed.

`scan` reads the file once and decides whether it can be used at all; `frames` reads it again and yields the cells.
Both hash the very bytes that they parse, and a file that changes meanwhile is refused. Cells are not interpreted here:
`00123`, `NULL`, `1E5` and a space are text.
"""

import dataclasses
import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bulk_patch.errors import InputError
from bulk_patch.inputs.columns import TEXT, hash_ids, joined
from bulk_patch.inputs.csv import CsvFile
from bulk_patch.inputs.parquet import TEXT_KINDS, ParquetParts
from bulk_patch.job.settings import InputSettings

_NO_ID = hash("")
_SHOWN = 20  # faults or columns in one message
_LONGEST = 300  # characters of each
_DATA = re.compile(r"@|\d.*\d.*\d")  # in a header: more likely personal data than a column name
_MANGLED = re.compile(r"[+-]?\d+([.,]\d*(e[+-]?\d+)?|e[+-]?\d+)")  # an id that a spreadsheet took for a number
_REMOTE = re.compile(r"\b(https?|ftp|s3|gs|abfss?):/")
_HINTS = dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".7z"), "unpack it first") | {
    ".xlsx": "save the sheet as CSV UTF-8",
    ".xls": "save the sheet as CSV UTF-8",
    ".ods": "save the sheet as CSV UTF-8",
}


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
    repeated_ids: frozenset[str]  # in lower case; an empty cell is not an id
    id_hashes: NDArray[np.int64] = dataclasses.field(repr=False, compare=False)  # `hash_ids` of all rows in order


class Reader(Protocol):
    """A file format: `header` is read at once, `tables` as often as needed.

    `tables` reads from the first row to the last, checks what it reads, yields tables of `large_string`, and leaves
    the SHA-256 of each part in `hashes`. Both raise `InputError`, never with a cell's text in the message.
    """

    parts: Sequence[Path]
    header: tuple[str, ...]
    hashes: list[str]
    checks_all: bool  # whether `tables` also checks the columns that it is not asked for

    def kind(self, column: str) -> str: ...
    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]: ...


def scan(
    settings: InputSettings,
    *,
    knows: Callable[[str], bool],
    id_pattern: re.Pattern[str],
    known: Iterable[str] = (),
    every_cell: bool = True,
) -> Source:
    """Read the whole input once: describe it, or refuse it.

    Args:
        settings: The job's [input].
        knows: Tells whether a field exists.
        id_pattern: Matches a lower-cased id.
        known: Fields to suggest instead of an unknown one.
        every_cell: Check all cells that will be used, so that `frames` finds no new fault; else reading the ids may be
            enough, for a caller that reads the rest before anything depends on it.

    Raises:
        InputError: With every fault of the header, or the first lines at fault.
    """
    path = settings.path
    stamp = fingerprint(path)
    with _guarding(path, stamp):
        reader = _open(path)
    if settings.id not in reader.header:
        raise _missing_id(settings, reader.header, id_pattern)
    fields = {name: field for name in reader.header if (field := _field_of(name, settings))}
    if faults := _find_header_faults(fields, settings, reader, knows=knows, known=tuple(known)):
        raise InputError(
            f"{path.name}: {_listed(faults)}",
            'correct the header, or map columns in [input.rename]; one mapped to "" is ignored',
        )
    columns = tuple(name for name in reader.header if _stays(name, settings, reader))

    def read_ids(columns: Sequence[str]) -> Iterator[pa.LargeStringArray]:
        """Read these columns from the start, and yield the ids in lower case, missing ones as ""."""
        for table in _read(reader, path, columns, stamp):
            yield joined(pc.utf8_lower(joined(table.column(settings.id)))).fill_null("")

    to_read = columns if every_cell and not reader.checks_all else [settings.id]
    rows, hashes = _check_ids(read_ids(to_read), settings, id_pattern)
    sha256 = _hash_of(path, reader)
    repeated = _find_repeated(hashes, lambda: read_ids([settings.id]))
    if _hash_of(path, reader) != sha256:
        raise _changed(path)
    return Source(path, columns, fields, settings.id, rows, sha256, *stamp, repeated, hashes)


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
    with _guarding(source.path, stamp):
        reader = _open(source.path)
    if not set(source.columns) <= set(reader.header):
        raise _changed(source.path)
    first = 1
    for table in _in_portions(_read(reader, source.path, source.columns, stamp), rows):
        # The one type of all columns; pandas takes the buffers as they are.
        frame = table.combine_chunks().to_pandas(types_mapper=lambda _: TEXT, ignore_metadata=True)
        frame.index = pd.RangeIndex(first, first + len(frame), name="row")
        first += len(frame)
        yield frame
    if _hash_of(source.path, reader) != source.sha256:
        raise _changed(source.path)


def read_header(path: Path) -> tuple[str, ...]:
    """Return the column names of a file.

    Raises:
        InputError: When the file has no readable header.
    """
    with _guarding(path):
        return _open(path).header


def fingerprint(path: Path) -> tuple[int, int]:
    """Return size (bytes) and newest modification time (ns): only if one differs is the file hashed again.

    Raises:
        InputError: When there is no such input.
    """
    with _guarding(path):
        statuses = [part.stat() for part in _list_parts(path)]
    return sum(status.st_size for status in statuses), max(status.st_mtime_ns for status in statuses)


def sha256_of(path: Path) -> str:
    """Hash an input as `Source.sha256` does.

    Raises:
        InputError: When it cannot be read.
    """
    with _guarding(path):
        parts = _list_parts(path)
        hashes = []
        for part in parts:
            with part.open("rb") as file:
                hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return _combine(path, parts, hashes)


# --- files


def _open(path: Path) -> Reader:
    parts = _list_parts(path)
    return CsvFile(path) if parts[0].suffix.lower() == ".csv" else ParquetParts(parts)


def _list_parts(path: Path) -> list[Path]:
    """Return the regular files that make up an input, in reading order."""
    if not path.exists():
        where = "a path in the job file is relative to the job file, a path in --set to the current directory"
        raise InputError(f"there is no file {path}", "download it first" if _REMOTE.search(str(path)) else where)
    if not path.is_dir():
        suffix = path.suffix.lower()
        if not path.is_file():
            raise InputError(f"{path} is a pipe or device", "write it to a file: it is read more than once")
        if suffix not in (".csv", ".parquet"):
            hint = _HINTS.get(suffix, "rename it with the suffix of its format: .csv or .parquet")
            raise InputError(f"{path.name} is neither .csv nor .parquet", hint)
        return [path]
    visible = sorted(part for part in path.iterdir() if not part.name.startswith("."))
    parts = [part for part in visible if part.suffix.lower() == ".parquet"]
    for part in visible:
        if part.is_dir() and not part.name.startswith("_"):
            raise InputError(f"{path.name} holds a folder, {part.name}", "all parts must be in one folder")
    if odd := [part.name for part in parts if not part.is_file()]:
        raise InputError(f"{path.name}: {odd[0]} is not a regular file", "remove it, or write it again")
    if not parts:
        raise InputError(f"there is no .parquet file in {path}", "a folder holds the parts of one Parquet file")
    return parts


def _hash_of(path: Path, reader: Reader) -> str:
    return _combine(path, reader.parts, reader.hashes)


def _combine(path: Path, parts: Sequence[Path], hashes: Sequence[str]) -> str:
    if path not in parts:  # a folder
        lines = (f"{part.name} {sha256}\n" for part, sha256 in zip(parts, hashes, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    return hashes[0]


def _read(reader: Reader, path: Path, columns: Sequence[str], stamp: tuple[int, int]) -> Iterator[pa.Table]:
    with _guarding(path, stamp):
        yield from reader.tables(columns)


@contextmanager
def _guarding(path: Path, stamp: tuple[int, int] | None = None) -> Iterator[None]:
    """Translate failures of the disk, and refuse a file whose fingerprint is another one."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {type(error).__name__}", "check that you may read it") from None
    except InputError:
        if stamp and fingerprint(path) != stamp:  # the reason for what looked wrong
            raise _changed(path) from None
        raise
    if stamp and fingerprint(path) != stamp:
        raise _changed(path)


def _changed(path: Path) -> InputError:
    return InputError(f"{path.name} changed while it was read", "run the same command again when nothing writes to it")


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


# --- the header


def _field_of(column: str, settings: InputSettings) -> str:
    """Return the field that a column fills; "" for the id and for ignored columns."""
    if column == settings.id:
        return ""
    return settings.rename.get(column, "" if column.startswith("_") else column)


def _stays(column: str, settings: InputSettings, reader: Reader) -> bool:
    """Tell whether the cells of a column are kept; those of a column mapped to "" are, if they can be text."""
    if column == settings.id or _field_of(column, settings):
        return True
    return not column.startswith("_") and reader.kind(column) in TEXT_KINDS


def _missing_id(settings: InputSettings, header: Sequence[str], id_pattern: re.Pattern[str]) -> InputError:
    name = settings.path.name
    if any(id_pattern.fullmatch(cell.lower()) or _DATA.search(cell) for cell in header):
        # The cells are not shown: they may be personal data.
        return InputError(
            f"{name}: the first line looks like data, not a header", "the first line must name the columns"
        )
    near = [column for column in header if settings.rename.get(column) == settings.id]
    near = near or difflib.get_close_matches(settings.id, header, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "name one of its columns"
    columns = _listed([repr(cell) for cell in header], ", ")
    return InputError(f"{name} has no column {settings.id!r}; it has {columns}", f"input.id: {hint}")


def _find_header_faults(
    fields: Mapping[str, str],
    settings: InputSettings,
    reader: Reader,
    *,
    knows: Callable[[str], bool],
    known: Sequence[str],
) -> list[str]:
    """List all that is wrong with the columns and their mapping."""
    header, rename = reader.header, settings.rename
    faults = [f"column {at} has no name" for at, name in enumerate(header, 1) if not name.strip()]
    faults += [f"{count} columns are called {name!r}" for name, count in Counter(header).items() if count > 1]
    faults += [f"[input.rename] maps {name!r}, which is not a column" for name in rename if name not in header]
    if settings.id in rename:
        faults.append(f"[input.rename] maps {settings.id!r}, which is the id column")
    unknown = [name for name, field in fields.items() if name.strip() and not knows(field)]
    faults += [_describe_unknown(name, fields[name], known) for name in unknown[:_SHOWN]]
    faults += [f"column {name!r} is not a field" for name in unknown[_SHOWN:]]
    for field, count in Counter(fields.values()).items():
        if count > 1:
            names = [repr(name) for name, filled in fields.items() if filled == field]
            faults.append(f"columns {' and '.join(names)} fill the same field, {field!r}")
    for name in (settings.id, *fields):
        if (kind := reader.kind(name)) not in TEXT_KINDS:
            faults.append(f"column {name!r} is {kind}, which can be spelled as text in several ways; write it as text")
    return faults


def _describe_unknown(column: str, field: str, known: Sequence[str]) -> str:
    """Name a column that is not a field, and the fields that may have been meant."""
    wanted = field.strip().lower().replace(" ", "_")
    near = [name for name in known if name.endswith(f".{wanted}")]
    near = near or difflib.get_close_matches(wanted, known, n=2)
    question = f"; did you mean {' or '.join(near)}?" if near else ""
    mapped = f", mapped to {field!r}," if field != column else ""
    return f"column {column!r}{mapped} is not a field{question}"


def _listed(items: Sequence[str], separator: str = "; ") -> str:
    shown = [item if len(item) <= _LONGEST else f"{item[:_LONGEST]}…" for item in items[:_SHOWN]]
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return separator.join(shown + more)


# --- the ids


def _check_ids(
    portions: Iterable[pa.LargeStringArray], settings: InputSettings, id_pattern: re.Pattern[str]
) -> tuple[int, NDArray[np.int64]]:
    """Count the rows and hash the ids, 8 bytes a row; refuse a column without a single usable id."""
    rows = mangled = 0
    usable = False
    hashes = [np.empty(0, np.int64)]
    for ids in portions:
        rows += len(ids)
        hashes.append(hash_ids(ids))
        if not usable:
            texts = ids.to_pylist()
            usable = any(id_pattern.fullmatch(text or "") for text in texts)
            mangled += sum(1 for text in texts if _MANGLED.fullmatch(text or ""))
    if rows < 2 or usable:
        return rows, np.concatenate(hashes)
    name = settings.path.name
    if mangled:
        raise InputError(
            f"{name}: the ids in column {settings.id!r} are spreadsheet-mangled: none of {rows} is usable, "
            f"and {mangled} of them are numbers with a point or an exponent",
            "export the file again with that column as text; what a spreadsheet rounded cannot be recovered",
        )
    raise InputError(
        f"{name}: none of the {rows} rows has a usable id in column {settings.id!r}",
        f"an id must match {id_pattern.pattern}; check that input.id names the right column",
    )


def _find_repeated(hashes: NDArray[np.int64], read_ids: Callable[[], Iterable[pa.LargeStringArray]]) -> frozenset[str]:
    """Return the ids that occur more than once; the file is read again only if two hashes are equal."""
    hashes = hashes[hashes != _NO_ID]
    hashes.sort()
    suspects = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    once: set[str] = set()
    again: set[str] = set()
    for ids in read_ids() if len(suspects) else ():
        for text in ids.filter(pa.array(np.isin(hash_ids(ids), suspects))).to_pylist():
            if text:
                (again if text in once else once).add(text)
    return frozenset(again)
