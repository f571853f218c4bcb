"""What a number of a cell is to the person who sees it: digits, digits with zeros, a date, or what Excel made of it."""

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import lru_cache


class Mark(Enum):
    """What is wrong with a cell, or has to fit its field."""

    ERROR = "error"
    NUMBER = "number"
    DIGITS = "digits"
    DATE = "date"
    TIME = "time"
    BOOLEAN = "boolean"
    NO_VALUE = "no value"


class Look(Enum):
    """How a number format shows a number."""

    DIGITS = "digits"  # General, 0, @
    ZEROS = "zeros"  # 00000, 000-00-0000
    DATE = "date"
    TIME = "time"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Format:
    """A number format."""

    look: Look
    pattern: tuple[str, ...] = ()  # of ZEROS: "0" for a digit, anything else as it is


#: The formats that have a number and no code in the file.
_BUILT_IN = {
    **dict.fromkeys((0, 1, 49), Look.DIGITS),
    **dict.fromkeys((*range(14, 18), 22, *range(27, 32), 34, 35, 36, *range(50, 59)), Look.DATE),
    **dict.fromkeys((*range(18, 22), 32, 33, *range(45, 48)), Look.TIME),
}
_SIGNIFICANT_DIGITS = 15
_TOKEN = re.compile(r'"([^"]*)"|\\(.)|([_*].)|(\[[^\]]*\])|(.)', re.DOTALL)
_ZERO_LITERALS = frozenset("-() /+:")
_ELAPSED = re.compile(r"\[(h+|m+|s+)\]", re.IGNORECASE)
_LEAP_DAY_OF_1900 = 60  # a day that Excel believes in
_LAST_SERIAL = 2_958_465  # 9999-12-31


@lru_cache(maxsize=4096)
def format_of(number: int, code: str | None) -> Format:
    """Return what a number format does.

    Args:
        number: Its number in the file.
        code: Its code; None for one that every Excel knows.
    """
    if code is None:
        return Format(_BUILT_IN.get(number, Look.OTHER))
    if code.strip().lower() in ("general", "@", "0", "#", ""):
        return Format(Look.DIGITS)
    tokens = [match.groups() for match in _TOKEN.finditer(code)]
    plain = "".join(bare or "" for *_, bare in tokens).split(";")[0].lower()
    if "general" in plain:
        return Format(Look.OTHER)
    letters = re.sub(r"e[+-]", "", plain)
    if re.search("[dy]", letters) or ("m" in letters and not re.search("[hs]", letters)):
        return Format(Look.DATE)
    if re.search("[hs]", letters) or _ELAPSED.search(code):
        return Format(Look.TIME)
    pattern: list[str] = []
    for quoted, escaped, padded, bracketed, bare in tokens:
        if padded or bracketed or (bare is not None and bare != "0" and bare not in _ZERO_LITERALS):
            return Format(Look.OTHER)
        pattern.append("0" if bare == "0" else f"\0{quoted or escaped or bare or ''}")
    return Format(Look.ZEROS, tuple(pattern)) if "0" in pattern else Format(Look.OTHER)


def read_number(literal: str, shown: Format, *, since_1904: bool) -> tuple[str, Mark | None]:
    """Return a number as the person sees it, and what has to be said of it.

    Args:
        literal: The number as the file has it.
        shown: Its format.
        since_1904: Whether days are counted from 1904.
    """
    if literal.isdigit() and literal.isascii():
        if literal[0] == "0" and len(literal) > 1:
            literal = literal.lstrip("0") or "0"
        value = None
        digits = literal
    else:
        try:
            value = Decimal(literal)
        except InvalidOperation:
            return literal, Mark.NUMBER
        if not value.is_finite():
            return literal, Mark.NUMBER
        whole = value == value.to_integral_value() and value.adjusted() < 40
        digits = f"{value.to_integral_value():f}" if whole else ""
    if shown.look in (Look.DATE, Look.TIME):
        if shown.look is Look.TIME or not digits:
            return literal, Mark.TIME
        return _date(int(digits), literal, since_1904=since_1904)
    if not digits or shown.look is Look.OTHER:
        return literal, Mark.NUMBER
    if len(digits.lstrip("-")) > _SIGNIFICANT_DIGITS:
        return digits, Mark.DIGITS
    if shown.look is Look.ZEROS:
        return (literal, Mark.NUMBER) if digits.startswith("-") else (_with_zeros(digits, shown.pattern), None)
    return digits, None


def _with_zeros(digits: str, pattern: tuple[str, ...]) -> str:
    places = pattern.count("0")
    digits = digits.rjust(places, "0")
    shown: list[str] = []
    more = len(digits) - places  # they stand before the first place
    at = 0
    for piece in pattern:
        if piece != "0":
            shown.append(piece[1:])
            continue
        taken = 1 + (more if at == 0 else 0)
        shown.append(digits[at : at + taken])
        at += taken
    return "".join(shown)


def _date(serial: int, literal: str, *, since_1904: bool) -> tuple[str, Mark | None]:
    if since_1904:
        if not 0 <= serial <= _LAST_SERIAL - 1462:
            return literal, Mark.NUMBER
        return (dt.date(1904, 1, 1) + dt.timedelta(serial)).isoformat(), Mark.DATE
    if not 1 <= serial <= _LAST_SERIAL or serial == _LEAP_DAY_OF_1900:
        return literal, Mark.NUMBER
    first = dt.date(1899, 12, 31 if serial < _LEAP_DAY_OF_1900 else 30)
    return (first + dt.timedelta(serial)).isoformat(), Mark.DATE
