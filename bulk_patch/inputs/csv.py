"""CSV by RFC 4180: every cell exactly as written, in bounded memory.

The fast path reads a block of whole records, checks what pyarrow cannot see (alone it reads `"z"q` as `zq` and lets
an unclosed quote swallow the file), and has pyarrow cut it into cells. It only knows *that* something is wrong. The
slow path, `find_faults`, then walks the file line by line and says what is wrong and where.

A quote may stand only around a cell, or doubled inside a quoted cell: on any other quote pyarrow, the csv module and
spreadsheets disagree. So a line feed with an even number of quotes before it ends a record, and nothing else does.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bulk_patch.errors import InputError
from bulk_patch.inputs.blank_rows import is_blank_row, without_blank_rows
from bulk_patch.inputs.dialect import BOM, PLAIN, Dialect
from bulk_patch.inputs.encodings import describe_readings
from bulk_patch.inputs.streams import Stream, buffered, opened

if TYPE_CHECKING:  # imported when cells are read: a header is read in less time than numpy and pyarrow take
    import numpy as np
    import pyarrow as pa

BLOCK_BYTES = 4 << 20
LONGEST_RECORD_BYTES = BLOCK_BYTES
FAULTS_SHOWN = 20
NOT_UTF_8 = "not UTF-8"
NUL = "a NUL character"
_CUT = "the file ends inside a cell: no line break follows, so it may be cut short"
FAULTS_COUNTED = 1000  # a file with more is not read further

_NOT_CSV = {
    b"PK\x03\x04": ("is a zip or Excel file", 'give it the suffix .xlsx, or set input.format = "xlsx"'),
    b"PAR1": ("is a Parquet file", 'give it the suffix .parquet, or set input.format = "parquet"'),
    b"\xd0\xcf\x11\xe0": ("is an old or an encrypted Excel file", "save it as .xlsx without a password"),
}


@lru_cache
def _table_of(delimiter: bytes, others: bytes) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    import numpy as np

    table = np.zeros(256, dtype=np.bool_)
    table[list(delimiter + others)] = True
    return table


_BEFORE_OPENING = b'\n"'  # a quote before: the two are one quote inside a cell
_AFTER_CLOSING = b'\r\n"'


class CsvFile:
    """One CSV file: the header is read at once, the cells on demand.

    Args:
        path: A regular file.
        dialect: How it is read.
        start: Its first bytes as UTF-8; read from the file when not given.

    Raises:
        InputError: When the file has no readable header.
    """

    checks_all = True
    facts = None
    is_kept = False

    def __init__(self, path: Path, dialect: Dialect = PLAIN, *, start: bytes = b"") -> None:
        self.path = path
        self.dialect = dialect
        self.reading = dialect.words
        self._delimiter = dialect.delimiter.encode()
        self.parts: Sequence[Path] = (path,)
        self.hashes: list[str] = []  # of the bytes that `tables` read, once it has ended
        self.header: tuple[str, ...]
        start = start or self._read_start(LONGEST_RECORD_BYTES)
        for magic, (what, hint) in _NOT_CSV.items():
            if start.startswith(magic):
                raise InputError(f"{path.name} {what}", hint)
        rest = start[dialect.skip_bytes :]
        record = rest[: _end_of_header(rest)]
        if len(record) == len(rest) and len(start) < LONGEST_RECORD_BYTES:  # a long one is cut off, or never ends
            rest = self._read_start(LONGEST_RECORD_BYTES)[dialect.skip_bytes :]
            record = rest[: _end_of_header(rest)]
        self._header_bytes = dialect.skip_bytes + len(record)
        text = record.removeprefix(BOM)
        if not _is_sound(text, self._delimiter):
            raise self._refusal()
        if not text.strip(b"\r\n"):
            raise InputError(f"{path.name} has no header", "the first line must name the columns")
        try:
            (self.header,) = map(
                tuple, csv.reader([text.decode().strip("\r\n")], delimiter=dialect.delimiter, strict=True)
            )
        except csv.Error:  # a cell beyond the csv module's limit
            raise InputError(f"{path.name}: the first line is too long to be a header") from None
        self._positions = {name: str(position) for position, name in enumerate(self.header)}

    def kind(self, column: str) -> str:
        """Return the kind of a column: in CSV everything is text."""
        return "text"

    def tables(self, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Read the file once, from its first byte to its last.

        Args:
            columns: What to return; no header name may repeat.

        Yields:
            Tables of `large_string` columns without nulls, each of about `BLOCK_BYTES` of the file.

        Raises:
            InputError: With the lines at fault.
        """
        self.hashes = []
        with self._opened() as file:
            file.read(self._header_bytes)
            rest, more = b"", b"-"
            while more:
                more = file.read(BLOCK_BYTES)
                data = rest + more
                end = _end_of_records(data) if more else len(data)
                block, rest = data[:end], data[end:]
                block = without_blank_rows(block, self._delimiter)
                if len(rest) > LONGEST_RECORD_BYTES or not _is_sound(block, self._delimiter):
                    raise self._refusal()
                if not more and is_cut(block):
                    raise self._refusal()
                if block:
                    yield self._parse(block, columns)
            self.hashes = [file.sha256()]

    def _opened(self) -> AbstractContextManager[Stream]:
        return opened(self.path, packed=self.dialect.packed, encoding=self.dialect.encoding)

    def _read_start(self, size: int) -> bytes:
        with self._opened() as file:
            return file.read(size)

    def _parse(self, block: bytes, columns: Sequence[str]) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.csv

        # pyarrow takes a byte order mark off every block; it belongs to the data of all but the first.
        data = b"\n" + block if block.startswith(BOM) else block
        names = [str(position) for position in range(len(self.header))]  # columns without a name may repeat
        wanted = [self._positions[column] for column in columns]
        try:
            table = pyarrow.csv.read_csv(
                io.BytesIO(data),
                read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
                parse_options=pyarrow.csv.ParseOptions(delimiter=self.dialect.delimiter, newlines_in_values=True),
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

    def _refusal(self) -> InputError:
        """Name the lines at fault, up to `FAULTS_SHOWN` of them."""
        with self._opened() as file:
            lines = buffered(file)
            for _ in range(self.dialect.skipped_lines):
                lines.readline()
            found = find_faults(lines, self.dialect.delimiter, first_line=self.dialect.skipped_lines + 1)
            faults = list(islice(found, FAULTS_COUNTED))
        if not faults:
            return InputError(
                f"{self.path.name} is not a valid CSV file, or changed while it was read", "export it again"
            )
        shown = [f"line {line}: {what}" for line, what in faults[:FAULTS_SHOWN]]
        if len(faults) == FAULTS_COUNTED:
            shown.append(f"and at least {FAULTS_COUNTED - FAULTS_SHOWN} more")
        elif len(faults) > FAULTS_SHOWN:
            shown.append(f"and {len(faults) - FAULTS_SHOWN} more")
        hint = "correct these lines, or export the file again as CSV in UTF-8"
        if faults[-1][1] == _CUT:
            hint = "have it written again, to its end; if it is whole, add a line break after the last line"
        if any(what.startswith(NUL) for _, what in faults):
            hint = 'if it is UTF-16, set input.encoding = "utf-16-le"; else export the file again as CSV in UTF-8'
        elif any(what.startswith(NOT_UTF_8) for _, what in faults) and not self.dialect.declared_encoding:
            hint = self._readings() or hint
        return InputError(f"{self.path.name} cannot be read without guessing: " + "; ".join(shown), hint)

    def _readings(self) -> str:
        """Say how the lines that are not UTF-8 read in other encodings."""
        with self._opened() as file:
            whole = buffered(file)
            lines = enumerate(iter(lambda: whole.readline(LONGEST_RECORD_BYTES), b""), 1)
            bad = list(islice(((at, line) for at, line in lines if not is_utf_8(line)), FAULTS_COUNTED))
        return describe_readings(bad, self.dialect.delimiter)


def find_faults(file: BinaryIO, delimiter: str = ",", *, first_line: int = 1) -> Iterator[tuple[int, str]]:
    """Walk a CSV file line by line and report what is wrong with it; slow, for files known to be faulty.

    A line with a broken quote ends its record, so that one fault does not make all that follows look wrong.

    Args:
        file: Open at the first byte of its first line.
        delimiter: What separates the cells.
        first_line: The number of that line.

    Yields:
        The number of a physical line (the first is 1) and what is wrong with it, without any cell's text.
    """
    line, number, fault = b"", 0, ""
    width = cells = 0  # of the header, once it is known; of this record so far
    offset = length = 0  # bytes of the file before this line; of this record so far
    inside, opened = False, 0  # in a quoted cell that started on an earlier line; that line
    started = 0  # line on which this record started
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_RECORD_BYTES + 1), b""), first_line):
        text = line.removeprefix(BOM) if number == 1 else line
        if not inside:
            started, cells, length = number, 1, 0
        length += len(line)
        if length > LONGEST_RECORD_BYTES:
            what = f"longer than {LONGEST_RECORD_BYTES >> 20} MiB"
            yield (opened, f"a quoted cell starts that is {what}, or never closed") if inside else (number, what)
            return
        if text.strip(b"\r\n") == b"\x1a":
            yield number, "an end-of-file character (Ctrl-Z), as DOS programs write it; remove this line"
            return
        fault = _find_bad_character(text, offset + len(line) - len(text))
        offset += len(line)
        quoted, more, still_inside = _walk(text, inside, delimiter.encode())
        if quoted and inside:
            quoted += f" (this line starts inside a quoted cell of line {opened})"
        if still_inside and (not inside or b'"' in text):
            opened = number
        if fault := fault or quoted:
            yield number, fault
        inside = still_inside
        cells += more
        if inside or quoted or (number == started and is_blank_row(text, delimiter.encode())):
            continue
        width = width or cells
        if cells != width and not fault:
            yield started, f"{cells} cells, and the header has {width}"
    if inside:
        yield opened, "a quoted cell starts and is never closed"
    elif not fault and started > first_line and is_cut(line) and not is_blank_row(line, delimiter.encode()):
        yield number, _CUT


def is_cut(data: bytes) -> bool:
    """Tell whether CSV ends inside a cell: neither a line break nor a closing quote says that the last one is whole."""
    return bool(data) and not data.endswith((b"\n", b'"'))


def _find_bad_character(line: bytes, offset: int) -> str:
    if b"\0" in line:
        return f"{NUL} (is it UTF-16?)"
    if line.count(b"\r") != line.count(b"\r\n"):
        return "a carriage return without a line feed"
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"{NOT_UTF_8}, at byte {offset + error.start} of the file"
    return ""


def is_utf_8(line: bytes) -> bool:
    """Tell whether a line is UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _walk(line: bytes, inside: bool, delimiter: bytes) -> tuple[str, int, bool]:
    """Follow the quotes of one line.

    Returns:
        What is wrong, delimiters outside quotes, and whether a quoted cell is open at the end.
    """
    pieces = line.split(b'"')
    last = len(pieces) - 1
    delimiters = 0
    for at, piece in enumerate(pieces):
        if at:
            inside = not inside
        if inside:
            continue
        if at and piece and piece[:1] not in delimiter + b"\r\n":
            return "text after a closing quote", delimiters, False
        if at < last and piece and not piece.endswith(delimiter):
            return "a quote inside a cell without quotes; put the cell in quotes and double it", delimiters, False
        delimiters += piece.count(delimiter)
    return "", delimiters, inside


def _end_of_header(data: bytes) -> int:
    """Return the offset at which the first record that is not a blank line ends."""
    end = len(data) - len(data.removeprefix(BOM).lstrip(b"\r\n"))
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


def _is_sound(block: bytes, delimiter: bytes) -> bool:
    """Check whole records for everything but their number of cells."""
    if b"\0" in block or (b"\r" in block and block.count(b"\r") != block.count(b"\r\n")):
        return False
    if not block.isascii() and not is_utf_8(block):
        return False
    return b'"' not in block or _has_sound_quotes(block, delimiter)


def _has_sound_quotes(block: bytes, delimiter: bytes) -> bool:
    import numpy as np

    characters = np.frombuffer(b"\n" + block + b"\n", dtype=np.uint8)
    quotes = np.flatnonzero(characters == ord('"'))
    opening, closing = quotes[::2], quotes[1::2]
    if len(opening) != len(closing):
        return False
    before, after = characters[opening - 1], characters[closing + 1]
    fine_before, fine_after = _table_of(delimiter, _BEFORE_OPENING), _table_of(delimiter, _AFTER_CLOSING)
    return bool(fine_before[before].all() and fine_after[after].all())
