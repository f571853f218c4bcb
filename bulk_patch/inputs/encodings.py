"""Which 8-bit encoding a file may be in: only shown here, so that a person can say which one reads right.

Almost every byte is a letter in each of them. This is the one place that shows cells: no one can choose without them.
"""

import re
from collections.abc import Iterable

from bulk_patch.inputs.dialect import encoding_name

CELLS_SHOWN = 3
_CELL_CHARACTERS = 24
_CANDIDATES = ("cp1252", "mac-roman", "cp850", "cp1250", "iso-8859-15", "cp1251", "cp1254", "shift_jis")
_READINGS_SHOWN = 4
_ODD = re.compile(rb"[\x80-\xff]")


def describe_readings(lines: Iterable[tuple[int, bytes]], delimiter: str) -> str:
    """Say how the first cells read in each encoding that they can be in; "" when there is none.

    Args:
        lines: Numbers and bytes of lines that are not UTF-8.
        delimiter: What separates their cells.
    """
    bad = list(lines)
    cells = [(number, _odd_cell(line, delimiter.encode())) for number, line in bad[:CELLS_SHOWN]]
    readings: dict[tuple[str, ...], str] = {}
    for encoding in _CANDIDATES:
        try:
            texts = [line.decode(encoding) for _, line in bad]
        except UnicodeDecodeError:
            continue
        if any("\x80" <= character <= "\x9f" for text in texts for character in text):
            continue  # control characters, which no one types
        shown = tuple(f"line {number} {_shorten(cell.decode(encoding, 'replace'))!r}" for number, cell in cells)
        readings.setdefault(shown, encoding)
    if not readings:
        return ""
    ways = [f'"{encoding_name(encoding)}" reads {", ".join(shown)}' for shown, encoding in readings.items()]
    return f"set input.encoding to the one that reads right: {'; '.join(ways[:_READINGS_SHOWN])}"


def _odd_cell(line: bytes, delimiter: bytes) -> bytes:
    """Return the cell around the first byte that is not ASCII; quotes are not looked at."""
    odd = _ODD.search(line)
    at = odd.start() if odd else 0
    start = line.rfind(delimiter, 0, at) + 1
    end = line.find(delimiter, at)
    cell = line[start : end if end >= 0 else len(line)].strip(b'"\r\n')
    if len(cell) > _CELL_CHARACTERS:
        first = max(at - start - _CELL_CHARACTERS // 2, 0)
        cell = cell[first : first + _CELL_CHARACTERS]
    return cell


def _shorten(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
