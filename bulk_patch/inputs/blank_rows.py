"""Rows without any content, as spreadsheets save them: lines of nothing but delimiters, blanks and empty quotes."""

from __future__ import annotations  # numpy is loaded when blocks are read: the start of an input is read without it

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NO_BREAK_SPACE = b"\xc2\xa0"


def is_blank_row(line: bytes, delimiter: bytes) -> bool:
    """Tell whether a line that starts a record holds nothing.

    Args:
        line: With or without its line break.
        delimiter: One byte.
    """
    cells = line.replace(_NO_BREAK_SPACE, b"").strip(b"\r\n").split(delimiter)
    return all(
        not text or (text[:1] == text[-1:] == b'"' and len(text) > 1 and not text[1:-1].strip(b" \t"))
        for text in (cell.strip(b" \t") for cell in cells)
    )


def without_blank_rows(block: bytes, delimiter: bytes) -> bytes:
    """Return whole records of CSV without those that hold nothing; most blocks have none, and are not copied.

    Args:
        block: Whole records.
        delimiter: One byte.
    """
    if not (_may_have_any(block, delimiter) and _pattern(delimiter).search(block)):
        return block
    if b'"' not in block:
        return _pattern(delimiter).sub(b"", block)
    kept: list[bytes] = []
    inside = False  # a quoted cell that started on an earlier line: what looks blank belongs to it
    for line in block.splitlines(keepends=True):
        if inside or not is_blank_row(line, delimiter):
            kept.append(line)
        inside ^= line.count(b'"') % 2 == 1
    return b"".join(kept)


def _may_have_any(block: bytes, delimiter: bytes) -> bool:
    """Tell, fast, whether a line begins as a blank row does: the pattern has to look at each byte."""
    import numpy as np

    found = np.frombuffer(block, np.uint8)
    starts = found[np.flatnonzero(found[:-1] == ord("\n")) + 1]
    return bool(_begins_blank(delimiter)[starts].any() or _begins_blank(delimiter)[found[:1]].any())


@cache
def _begins_blank(delimiter: bytes) -> NDArray[np.bool_]:
    """Return for each byte whether a blank row can begin with it."""
    import numpy as np

    found = np.zeros(256, np.bool_)
    found[list(b' \t"' + delimiter + _NO_BREAK_SPACE[:1])] = True
    return found


@cache
def _pattern(delimiter: bytes) -> re.Pattern[bytes]:
    blank = b'(?:[ \\t"' + re.escape(delimiter) + b"]|" + _NO_BREAK_SPACE + b")+"
    return re.compile(b"^" + blank + b"(?:\\r?\\n|\\Z)", re.MULTILINE)
