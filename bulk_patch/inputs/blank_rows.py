"""Rows without any content, as spreadsheets save them: lines of nothing but delimiters, blanks and empty quotes."""

import re
from functools import cache

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
    if not _pattern(delimiter).search(block):
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


@cache
def _pattern(delimiter: bytes) -> re.Pattern[bytes]:
    blank = b'(?:[ \\t"' + re.escape(delimiter) + b"]|" + _NO_BREAK_SPACE + b")+"
    return re.compile(b"^" + blank + b"(?:\\r?\\n|\\Z)", re.MULTILINE)
