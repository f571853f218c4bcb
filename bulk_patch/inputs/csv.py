"""CSV by RFC 4180: every cell exactly as written, in bounded memory.

The fast path reads a block of whole records, checks what pyarrow cannot see (alone it reads `"z"q` as `zq` and lets
an unclosed quote swallow the file), and has pyarrow cut it into cells. It only knows *that* something is wrong. The
slow path, `find_faults`, then walks the file line by line and says what is wrong and where.

A quote may stand only around a cell, or doubled inside a quoted cell: on any other quote pyarrow, the csv module and
spreadsheets disagree. So a line feed with an even number of quotes before it ends a record, and nothing else does.
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from bulk_patch.errors import InputError

BLOCK_BYTES = 4 << 20
LONGEST_RECORD_BYTES = BLOCK_BYTES
FAULTS_SHOWN = 20
FAULTS_COUNTED = 1000  # a file with more is not read further

_BOM = b"\xef\xbb\xbf"
_NOT_CSV = {
    b"PK\x03\x04": ("is a zip or Excel file", "save it as CSV UTF-8"),
    b"\x1f\x8b": ("is compressed", "unpack it first"),
    b"PAR1": ("is a Parquet file", "give it the suffix .parquet"),
    b"\xff\xfe": ("is UTF-16 or UTF-32", "save it as UTF-8"),
    b"\xfe\xff": ("is UTF-16", "save it as UTF-8"),
}


def _table_of(*allowed: bytes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    table = np.zeros(256, dtype=np.bool_)
    table[list(b"".join(allowed))] = True
    return table


_BEFORE_OPENING = _table_of(b",", b"\n", b'"')  # a quote before: the two are one quote inside a cell
_AFTER_CLOSING = _table_of(b",", b"\r", b"\n", b'"')


class CsvFile:
    """One CSV file: the header is read at once, the cells on demand.

    Args:
        path: A regular file.

    Raises:
        InputError: When the file has no readable header.
    """

    checks_all = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: Sequence[Path] = (path,)
        self.hashes: list[str] = []  # of the bytes that `tables` read, once it has ended
        self.header: tuple[str, ...]
        with path.open("rb") as file:
            start = file.read(LONGEST_RECORD_BYTES)
        for magic, (what, hint) in _NOT_CSV.items():
            if start.startswith(magic):
                raise InputError(f"{path.name} {what}", hint)
        record = start[: _end_of_header(start)]
        self._header_bytes = len(record)
        text = record.removeprefix(_BOM)
        if not _is_sound(text):
            raise self._refusal()
        if not text.strip(b"\r\n"):
            raise InputError(f"{path.name} has no header", "the first line must name the columns")
        try:
            (self.header,) = map(tuple, csv.reader([text.decode().strip("\r\n")], strict=True))
        except csv.Error:  # a cell beyond the csv module's limit
            raise InputError(f"{path.name}: the first line is too long to be a header") from None
        self._check_delimiter()
        self._positions = {name: str(position) for position, name in enumerate(self.header)}

    def kind(self, column: str) -> str:
        """Return the kind of a column: in CSV everything is text."""
        return "text"

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read the file once, from its first byte to its last.

        Args:
            columns: What to return; no header name may repeat.

        Yields:
            Tables of `large_string` columns without nulls, each of about `BLOCK_BYTES` of the file.

        Raises:
            InputError: With the lines at fault.
        """
        self.hashes = []
        digest = hashlib.sha256()
        with self.path.open("rb") as file, ThreadPoolExecutor(1) as hasher:
            hashing = hasher.submit(digest.update, file.read(self._header_bytes))
            rest, more = b"", b"-"
            while more:
                more = file.read(BLOCK_BYTES)
                hashing.result()
                hashing = hasher.submit(digest.update, more)  # these very bytes, not another reading of the file
                data = rest + more
                end = _end_of_records(data) if more else len(data)
                block, rest = data[:end], data[end:]
                if len(rest) > LONGEST_RECORD_BYTES or not _is_sound(block):
                    raise self._refusal()
                if block:
                    yield self._parse(block, columns)
            hashing.result()
        self.hashes = [digest.hexdigest()]

    def _parse(self, block: bytes, columns: Sequence[str]) -> pa.Table:
        # pyarrow takes a byte order mark off every block; it belongs to the data of all but the first.
        data = b"\n" + block if block.startswith(_BOM) else block
        names = list(self._positions.values())
        wanted = [self._positions[column] for column in columns]
        try:
            table = pyarrow.csv.read_csv(
                io.BytesIO(data),
                read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    check_utf8=False,  # `_is_sound` did
                    column_types={name: pa.large_string() for name in wanted},
                    include_columns=wanted,
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:  # its text quotes the row
            raise self._refusal() from None
        return table.rename_columns(list(columns))

    def _check_delimiter(self) -> None:
        if len(self.header) > 1:
            return
        for delimiter, name in ((";", "semicolons"), ("\t", "tabs")):
            if delimiter in self.header[0]:
                raise InputError(
                    f"{self.path.name}: the header is one cell with {name} in it",
                    f"the columns are separated by {name}; export the file with commas",
                )

    def _refusal(self) -> InputError:
        """Name the lines at fault, up to `FAULTS_SHOWN` of them."""
        with self.path.open("rb") as file:
            faults = list(islice(find_faults(file), FAULTS_COUNTED))
        if not faults:
            return InputError(
                f"{self.path.name} is not a valid CSV file, or changed while it was read", "export it again"
            )
        shown = [f"line {line}: {what}" for line, what in faults[:FAULTS_SHOWN]]
        if len(faults) == FAULTS_COUNTED:
            shown.append(f"and at least {FAULTS_COUNTED - FAULTS_SHOWN} more")
        elif len(faults) > FAULTS_SHOWN:
            shown.append(f"and {len(faults) - FAULTS_SHOWN} more")
        return InputError(
            f"{self.path.name} cannot be read without guessing: " + "; ".join(shown),
            "correct these lines, or export the file again as CSV in UTF-8 with commas",
        )


def find_faults(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """Walk a CSV file line by line and report what is wrong with it; slow, for files known to be faulty.

    A line with a broken quote ends its record, so that one fault does not make all that follows look wrong.

    Args:
        file: Open at the first byte.

    Yields:
        The number of a physical line (the first is 1) and what is wrong with it, without any cell's text.
    """
    width = cells = 0  # of the header, once it is known; of this record so far
    offset = length = 0  # bytes of the file before this line; of this record so far
    inside, opened = False, 0  # in a quoted cell that started on an earlier line; that line
    started = 0  # line on which this record started
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_RECORD_BYTES + 1), b""), 1):
        text = line.removeprefix(_BOM) if number == 1 else line
        if not inside:
            started, cells, length = number, 1, 0
        length += len(line)
        if length > LONGEST_RECORD_BYTES:
            what = f"longer than {LONGEST_RECORD_BYTES >> 20} MiB"
            yield (opened, f"a quoted cell starts that is {what}, or never closed") if inside else (number, what)
            return
        fault = _find_bad_character(text, offset + len(line) - len(text))
        offset += len(line)
        quoted, more, still_inside = _walk(text, inside)
        if quoted and inside:
            quoted += f" (this line starts inside a quoted cell of line {opened})"
        if still_inside and (not inside or b'"' in text):
            opened = number
        if fault := fault or quoted:
            yield number, fault
        inside = still_inside
        cells += more
        if inside or not text.strip(b"\r\n") or quoted:
            continue
        width = width or cells
        if cells != width and not fault:
            yield started, f"{cells} cells, and the header has {width}"
    if inside:
        yield opened, "a quoted cell starts and is never closed"


def _find_bad_character(line: bytes, offset: int) -> str:
    if b"\0" in line:
        return "a NUL character (is it UTF-16?)"
    if line.count(b"\r") != line.count(b"\r\n"):
        return "a carriage return without a line feed"
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8, at byte {offset + error.start} of the file"
    return ""


def _walk(line: bytes, inside: bool) -> tuple[str, int, bool]:
    """Follow the quotes of one line.

    Returns:
        What is wrong, commas outside quotes, and whether a quoted cell is open at the end.
    """
    pieces = line.split(b'"')
    last = len(pieces) - 1
    commas = 0
    for at, piece in enumerate(pieces):
        if at:
            inside = not inside
        if inside:
            continue
        if at and piece and piece[:1] not in b",\r\n":
            return "text after a closing quote", commas, False
        if at < last and piece and not piece.endswith(b","):
            return "a quote inside a cell without quotes; put the cell in quotes and double it", commas, False
        commas += piece.count(b",")
    return "", commas, inside


def _end_of_header(data: bytes) -> int:
    """Return the offset at which the first record that is not a blank line ends."""
    end = len(data) - len(data.removeprefix(_BOM).lstrip(b"\r\n"))
    quotes = 0
    while end < len(data):
        start, end = end, data.find(b"\n", end) + 1 or len(data)
        quotes += data.count(b'"', start, end)
        if quotes % 2 == 0:
            break
    return end


def _end_of_records(data: bytes) -> int:
    """Return the end of the last complete record: after a line feed with an even number of quotes before it."""
    end = data.rfind(b"\n") + 1
    inside = data.count(b'"', 0, end) % 2 if b'"' in data else 0  # to count takes several times as long
    while inside:
        before = data.rfind(b"\n", 0, end - 1) + 1
        inside ^= data.count(b'"', before, end) % 2
        end = before
    return end


def _is_sound(block: bytes) -> bool:
    """Check whole records for everything but their number of cells."""
    if b"\0" in block or (b"\r" in block and block.count(b"\r") != block.count(b"\r\n")):
        return False
    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError:
            return False
    return b'"' not in block or _has_sound_quotes(block)


def _has_sound_quotes(block: bytes) -> bool:
    characters = np.frombuffer(b"\n" + block + b"\n", dtype=np.uint8)
    quotes = np.flatnonzero(characters == ord('"'))
    opening, closing = quotes[::2], quotes[1::2]
    if len(opening) != len(closing):
        return False
    before, after = characters[opening - 1], characters[closing + 1]
    return bool(_BEFORE_OPENING[before].all() and _AFTER_CLOSING[after].all())
