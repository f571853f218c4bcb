"""Text that no customer meant, on whole columns: marks of a loss, nothing that can be seen, words of programs.

A column of printable ASCII, as most are, costs one pass for all of it.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

#: Characters that hide or reorder text, or that no name or address can hold: controls, bidi, zero-width, fillers, tags.
HIDDEN = (
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
)
#: What stands where a program could not read or show a character: U+FFFD, U+FFFC, noncharacters.
_LOST = "[\ufdd0-\ufdef\ufffc\ufffd\ufffe\uffff" + "".join(
    f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 17)
)
_LOST += "]"
_VISIBLE = r"[\pL\pN\pP\pS]"
#: UTF-8 whose bytes were read as Windows-1252: the first byte of a letter, then one that only follows.
_AS_1252 = "[\u00c2-\u00df\u00e0-\u00f4][\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160"
_AS_1252 += "\u2039\u0152\u017d\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178]"
_ERRORS = (
    r"^\s*(?:#(?:N/A|NV|REF!|BEZUG!|VALUE!|WERT!|NAME\?|DIV/0!|NULL!|NUM!|ZAHL!|SPILL!|CALC!|FIELD!|BLOCKED!|CONNECT!"
    r"|BUSY!|UNKNOWN!|GETTING_DATA|ERROR!|#+)|\\N)\s*$"
)
_WORDS = (
    r"(?i)^\s*(?:\((?:null|none|blank|empty)\)|\[(?:null|object object)\]|<(?:null|none|empty|blank)>|undefined|nan"
)
_WORDS += r"|\{\}|\[\])"


def find_odd(texts: pa.LargeStringArray) -> Iterator[tuple[Mask, str, str]]:
    """Yield which values are odd, why, and how to fix them; missing and empty ones are not.

    Args:
        texts: One column.
    """
    plain = _is_ascii(texts)
    errors = _matching(texts, _ERRORS) if _has(texts, "#") or _has(texts, "\\") else None
    if errors is not None and errors.any():
        hint = "give the value in place of it, or leave the cell empty"
        yield errors, "is what a spreadsheet writes for a fault, or a database for no value", hint
    if plain:
        return
    if (lost := _matching(texts, _LOST)).any():
        yield lost, "holds a character that stands for one that was lost", "look up the value where it came from"
    if (mojibake := _matching(texts, _AS_1252)).any() and (mojibake := _confirmed(texts, mojibake)).any():
        hint = "export it again as UTF-8, and open it as UTF-8"
        yield mojibake, "is UTF-8 that was read as Windows-1252", hint
    unseen = ~_matching(texts, _VISIBLE) & _matching(texts, r"[^\s\pZ]") & ~_matching(texts, HIDDEN)
    if unseen.any():
        yield unseen, "contains only characters that nobody can see", "give a value, or leave the cell empty"


def count_words(texts: pa.LargeStringArray, clear: str) -> Counter[str]:
    """Count words that programs write for no value, such as `(null)`, and other spellings of the clear text.

    The clear text itself is empty here. They may be meant, so they are not refused; none says anything of a person.
    """
    pattern = f"(?i)^\\s*(?:{_WORDS}|{re.escape(clear.strip())})\\s*$"
    alike = texts.filter(pa.array(_matching(texts, pattern))).to_pylist()
    return Counter((text or "").strip() for text in alike)


def _matching(texts: pa.LargeStringArray, pattern: str) -> Mask:
    mask: Any = pc.match_substring_regex(texts, pattern).fill_null(False)
    found: Mask = mask.to_numpy(zero_copy_only=False)
    return found


def _has(texts: pa.LargeStringArray, sign: str) -> bool:
    return bool((_bytes_of(texts) == ord(sign)).any())


def _is_ascii(texts: pa.LargeStringArray) -> bool:
    return not bool((_bytes_of(texts) >= 0x80).any())


def _bytes_of(texts: pa.LargeStringArray) -> NDArray[np.uint8]:
    """Return the bytes of all values, one after another; those of missing ones may be among them."""
    buffers: Any = texts.buffers()
    _, offsets, data = buffers
    if not len(texts) or data is None:
        return np.empty(0, np.uint8)
    ends = np.frombuffer(offsets, np.int64)
    return np.frombuffer(data, np.uint8)[ends[texts.offset] : ends[texts.offset + len(texts)]]


def _confirmed(texts: pa.LargeStringArray, suspects: Mask) -> Mask:
    """Return those of the suspects that are UTF-8 once their characters are bytes of Windows-1252 again."""
    found = suspects.copy()
    for at in np.flatnonzero(suspects).tolist():
        try:
            as_bytes = b"".join(_byte_of(letter) for letter in texts[at].as_py())
            as_bytes.decode()
        except UnicodeError:
            found[at] = False
    return found


def _byte_of(letter: str) -> bytes:
    """Return the byte that Windows-1252 reads as this character; five bytes are controls in it."""
    try:
        return letter.encode("cp1252")
    except UnicodeEncodeError:
        return letter.encode("latin-1")
