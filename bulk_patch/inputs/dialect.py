"""How a text file is written: packing, encoding, delimiter, title lines. Taken only where there is one reading.

The header names the job's id column, so of all ways to cut the first lines into cells only those count in which one of
them is a header with that name. What `auto` cannot know this way is refused with the setting to write.
"""

import codecs
import csv
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from bulk_patch.errors import InputError
from bulk_patch.inputs.streams import Packing, opened, packing_of
from bulk_patch.job.input_settings import AUTO, InputSettings

#: The last columns of a failures file of ours: it is read as we wrote it, whatever the settings say of the first input.
OUR_NOTES = ("_status", "_reason", "_hint", "_row", "_run")

BOM = b"\xef\xbb\xbf"
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"} | {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SEPARATOR_LINE = re.compile(rb"sep=(.)\r?\n", re.IGNORECASE)  # Excel's own way to say it
_TITLE_LINES = 20  # so far down a header is looked for
_START_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a text file is read."""

    packed: Packing | None = None
    encoding: str = "utf-8"
    delimiter: str = ","
    skip_bytes: int = 0  # of the UTF-8 before the header
    skipped_lines: int = 0
    declared_encoding: bool = False

    @property
    def words(self) -> str:
        """Return what is unusual about it, for people; "" for UTF-8 with commas."""
        said = [f"{NAMES.get(self.delimiter, repr(self.delimiter))}"] if self.delimiter != "," else []
        if self.encoding != "utf-8":
            said.append(encoding_name(self.encoding))
        if self.skipped_lines:
            said.append(f"{self.skipped_lines} title line{'s' * (self.skipped_lines > 1)} skipped")
        if self.packed:
            said.append(f"unpacked ({self.packed})")
        return f"read as {', '.join(said)}" if said else ""


PLAIN = Dialect()


def encoding_name(encoding: str) -> str:
    """Return an encoding as people write it: Python calls windows-1252 cp1252."""
    return re.sub(r"^cp(125\d)$", r"windows-\1", encoding)


def dialect_of(path: Path, settings: InputSettings, *, ids: Collection[str]) -> tuple[Dialect, bytes]:
    """Decide how a file is read.

    Args:
        path: A regular file.
        settings: The job's [input].
        ids: Names of which the header has one.

    Returns:
        The dialect, and the first bytes of the file as UTF-8.

    Raises:
        InputError: When there are several readings, or it cannot be unpacked or decoded.
    """
    packed = packing_of(path)
    start = _read_start(path, packed, "utf-8")
    encoding = _encoding_of(start, settings)
    raw = start
    if encoding != "utf-8":
        start = _read_start(path, packed, encoding)
    if _is_ours(raw):
        return Dialect(packed), raw
    delimiters = _delimiters(start, settings)
    skip, delimiter = _find_header(path.name, start, delimiters, settings, ids)
    lines = start.count(b"\n", 0, skip)
    declared = settings.encoding != AUTO
    return Dialect(packed, encoding, delimiter, skip, lines, declared_encoding=declared), start


def _read_start(path: Path, packed: Packing | None, encoding: str) -> bytes:
    with opened(path, packed=packed, encoding=encoding) as stream:
        return stream.read(_START_BYTES)


def _encoding_of(start: bytes, settings: InputSettings) -> str:
    """Return the encoding: a byte order mark proves which it is, whatever the job says of other files."""
    marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), "")
    if start.startswith(BOM):
        return "utf-8"
    return marked or (settings.encoding if settings.encoding != AUTO else "utf-8")


def _is_ours(start: bytes) -> bool:
    """Tell whether a file has the header of our failures files: UTF-8 with commas."""
    end = _end_of_record(start.removeprefix(BOM), 0)
    cells = _cut(start.removeprefix(BOM)[:end], ",")
    return tuple(cells[-len(OUR_NOTES) :]) == OUR_NOTES


def _delimiters(start: bytes, settings: InputSettings) -> list[str]:
    if settings.delimiter != AUTO:
        return [settings.delimiter]
    if separator := _SEPARATOR_LINE.match(start.removeprefix(BOM)):
        return [separator[1].decode("latin-1")]
    first = "\t" if settings.format == "tsv" or _is_tsv(settings.path) else ","
    return [first, *(other for other in NAMES if other != first)]


def _is_tsv(path: Path) -> bool:
    return settings_suffix(path) in (".tsv", ".tab")


def settings_suffix(path: Path) -> str:
    """Return the suffix that tells a file's format, in lower case: that of `a.csv.gz` is `.csv`."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in (".gz", ".zst") else suffix


def _find_header(
    name: str, start: bytes, delimiters: list[str], settings: InputSettings, ids: Collection[str]
) -> tuple[int, str]:
    """Return at which byte the header's line begins, and the delimiter."""
    data = start
    skip = len(BOM) if data.startswith(BOM) else 0
    if _SEPARATOR_LINE.match(data, skip):
        skip = data.index(b"\n", skip) + 1
    if settings.skip_rows != AUTO or settings.header_row != 1:
        skip = _after(data, skip, settings)
        hits = [delimiter for delimiter in delimiters if _has_id(data, skip, delimiter, ids)]
        return skip if skip != len(BOM) else 0, hits[0] if hits else _likeliest(data, skip, delimiters)
    found: list[tuple[int, str]] = []
    starts = list(_line_starts(data, skip))
    for at, offset in enumerate(starts):
        hits = [delimiter for delimiter in delimiters if _has_id(data, offset, delimiter, ids)]
        if hits:
            found.append((offset, hits[0]))
        if at == 0 and hits:
            break  # a header on the first line is the header, whatever the rows below it say
    if found:
        offset, delimiter = found[0]
        width = len(_cells_at(data, offset, delimiter))
        above = [start for start in starts if start < offset and _is_full(_cells_at(data, start, delimiter), width)]
        _refuse_several(name, data, [*above, *(start for start, _ in found)])
        blank = not data[skip:offset].strip(b"\r\n") and skip <= len(BOM)  # blank lines are no title
        return 0 if blank else offset, delimiter
    return skip if skip > len(BOM) else 0, _likeliest(data, skip, delimiters)


def _is_full(cells: list[str], width: int) -> bool:
    """Tell whether a line looks like a header or a row: a title has one cell, or empty ones beside it."""
    return len(cells) == width > 1 and all(cells)


def _refuse_several(name: str, data: bytes, offsets: list[int]) -> None:
    if len(offsets) > 1:
        numbers = [data.count(b"\n", 0, offset) + 1 for offset in offsets]
        raise InputError(
            f"{name}: which line is the header? lines {', '.join(map(str, numbers[:5]))} could be",
            f"set input.skip_rows to the number of lines above it, such as {numbers[-1] - 1} for line {numbers[-1]}",
        )


def _after(data: bytes, skip: int, settings: InputSettings) -> int:
    """Return where the header begins after the rows that the job says are above it."""
    for _ in range(settings.skip_rows if isinstance(settings.skip_rows, int) else 0):
        skip = data.find(b"\n", skip) + 1 or len(data)
    for _ in range(settings.header_row - 1):
        skip = _end_of_record(data, skip)
    return skip


def _line_starts(data: bytes, skip: int) -> Iterator[int]:
    """Yield where each of the first lines begins that is not blank."""
    seen = 0
    while skip < len(data) and seen < _TITLE_LINES:
        end = data.find(b"\n", skip) + 1 or len(data)
        if data[skip:end].strip():
            seen += 1
            yield skip
        skip = end


def _has_id(data: bytes, offset: int, delimiter: str, ids: Collection[str]) -> bool:
    return any(cell in ids for cell in _cells_at(data, offset, delimiter))


def _cells_at(data: bytes, offset: int, delimiter: str) -> list[str]:
    return _cut(data[offset : _end_of_record(data, offset)], delimiter)


def _likeliest(data: bytes, offset: int, delimiters: list[str]) -> str:
    """Return the delimiter that gives a header the most cells: only to say what is wrong with it."""
    return max(delimiters, key=lambda one: (len(_cells_at(data, offset, one)) > 1, -delimiters.index(one)))


def _end_of_record(data: bytes, start: int) -> int:
    """Return where the first record from here that is not blank ends; blank lines before it belong to it."""
    end = start
    while data[end : end + 1] in (b"\r", b"\n"):
        end += 1
    quotes = 0
    while end < len(data):
        begin, end = end, data.find(b"\n", end) + 1 or len(data)
        quotes += data.count(b'"', begin, end)
        if quotes % 2 == 0:
            break
    return end


def _cut(record: bytes, delimiter: str) -> list[str]:
    text = record.decode("utf-8", "replace").strip("\r\n")
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []
