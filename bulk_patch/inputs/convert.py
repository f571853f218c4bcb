"""Conversions of cells that a job declares in [input.convert]: from what people write to what the API takes.

Each is exact or refuses: a cell with two readings is not converted. What has the target's form already stays as it is,
so that a corrected row of a failures file passes the same rule again.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from bulk_patch.errors import JobError
from bulk_patch.inputs.columns import TEXT, nfc
from bulk_patch.job.conversions import Rule, date_parts, parse_rule

Convert = Callable[[str], str | None]

_MONTHS = {
    name: f"{at:02}" for at, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)
}
_PIECES = {
    "YYYY": r"(?P<y>[0-9]{4})",
    "MMM": r"(?P<m>[A-Za-z]{3})",
    "MM": r"(?P<m>[0-9]{2})",
    "M": r"(?P<m>[0-9]{1,2})",
    "DD": r"(?P<d>[0-9]{2})",
    "D": r"(?P<d>[0-9]{1,2})",
}
_ISO = re.compile(r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})")
_UUID = re.compile(
    r"(?:urn:uuid:)?(\{|\()?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})(\}|\))?"
)
_ZIP = re.compile(r"([0-9]{3,5})(?:-([0-9]{4}))?|([0-9]{7,9})")
_NUMBER = re.compile(r"([+-]?)0*([0-9]+)(?:\.(?:0*|([0-9]*[1-9][0-9]*)))?")
_SHAPE = ((re.compile(r"[^\W\d_]", re.UNICODE), "a"), (re.compile(r"\d"), "9"), (re.compile(r"a{4,}"), "aaa…"))


@dataclass(frozen=True, slots=True)
class Converter:
    """What a rule does with one cell, and how to fix a cell that it cannot convert."""

    rule: Rule
    convert: Convert  # None: it cannot be converted
    reason: str  # to follow the name of a field
    hint: str


@lru_cache
def converter_of(text: str) -> Converter:
    """Return the converter of a rule as a job writes it.

    Raises:
        JobError: It needs a package that is not installed.
    """
    rule = parse_rule(text)
    match rule.kind:
        case "date":
            return Converter(rule, _date(rule.argument), f"is not a date {rule.argument}", "give a real date like that")
        case "phone":
            what = f"is not a telephone number ({rule.argument}, or with + and its country)"
            return Converter(
                rule, _phone(rule.argument), what, "give a number that can be called, such as +16175550142"
            )
        case "zip":
            return Converter(rule, _zip, "is not a ZIP code", "give five digits, or nine")
        case "map":
            return Converter(rule, _map(rule), "is not in its map", f"add it to the map: {rule.text}")
        case "uuid":
            return Converter(rule, _uuid, "is not a UUID", "give 32 hexadecimal digits in groups of 8-4-4-4-12")
        case "number":
            return Converter(rule, _number, "is not a number with one reading", "give digits, and at most a point")
        case "upper":
            return Converter(rule, str.upper, "", "")
        case _:
            return Converter(rule, str.strip, "", "")


def convert_column(cells: pd.Series, text: str, *, leave: str = "") -> tuple[pd.Series, list[Any]]:
    """Convert a column.

    Args:
        cells: Text; blank and missing cells stay as they are.
        text: The rule as the job writes it.
        leave: A cell with this text stays as it is too: it clears its field.

    Returns:
        The column, and the index of the cells that cannot be converted, which stay as they are.
    """
    converter = converter_of(text)
    cells = nfc(cells)
    made: dict[str, str] = {}
    failed: set[str] = set()
    for cell in cells.dropna().unique():
        if not cell.strip() or cell == leave:
            continue
        converted = converter.convert(cell)
        if converted is None:
            failed.add(cell)
        elif converted != cell:
            made[cell] = converted
    if made:
        changed = cells.isin(list(made))
        cells = cells.where(~changed, cells[changed].map(made).astype(TEXT))
    return cells, cells.index[cells.isin(list(failed))].tolist() if failed else []


def count_conversions(before: pd.Series, after: pd.Series, *, whole: bool) -> Counter[tuple[str, str]]:
    """Count what changed, as pairs of shapes: `9/99/9999` for `1/31/1980`.

    Args:
        before: The cells as read.
        after: The same, converted.
        whole: Show the cells themselves, not their shapes: they identify no one.
    """
    changed = (before.fillna("") != after.fillna("")).to_numpy()
    show: Callable[[str], str] = str if whole else shape
    pairs = zip(before[changed].tolist(), after[changed].tolist(), strict=True)
    return Counter((show(old), show(new)) for old, new in pairs)


def shape(text: str) -> str:
    """Return how a text is written, without what it says."""
    for pattern, sign in _SHAPE:
        text = pattern.sub(sign, text)
    return text


def _date(pattern: str) -> Convert:
    written = re.escape(pattern)
    for part in sorted(set(date_parts(pattern)), key=len, reverse=True):
        written = written.replace(part, f"\0{len(part)}{part[0]}")
    for part, piece in _PIECES.items():
        written = written.replace(f"\0{len(part)}{part[0]}", piece)
    form = re.compile(written)

    def convert(cell: str) -> str | None:
        found = form.fullmatch(cell.strip()) or _ISO.fullmatch(cell.strip())
        if not found:
            return None
        month = _MONTHS.get(found["m"].lower(), found["m"])
        try:
            return dt.date(int(found["y"]), int(month), int(found["d"])).isoformat()
        except ValueError:
            return None

    return convert


def _phone(country: str) -> Convert:
    try:
        import phonenumbers
    except ImportError:
        raise JobError(
            'input.convert: "phone" needs a package that is not installed', "pip install 'bulk-patch[contact]'"
        ) from None

    def convert(cell: str) -> str | None:
        if re.search(r"[^\W\d_]", cell):  # letters stand for digits, or for an extension
            return None
        try:
            number = phonenumbers.parse(cell, country)
        except phonenumbers.NumberParseException:
            return None
        if number.extension or not phonenumbers.is_valid_number(number):
            return None
        return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))

    return convert


def _zip(cell: str) -> str | None:
    found = _ZIP.fullmatch(cell.strip())
    if not found:
        return None
    if found[3]:
        digits = found[3].rjust(9, "0")
        return f"{digits[:5]}-{digits[5:]}"
    return found[1].rjust(5, "0") + (f"-{found[2]}" if found[2] else "")


def _map(rule: Rule) -> Convert:
    meanings = {new: new for _, new in rule.pairs} | dict(rule.pairs)
    return lambda cell: meanings.get(cell.strip())


def _uuid(cell: str) -> str | None:
    found = _UUID.fullmatch(cell.strip().lower())
    if not found or (found[1] or "") + (found[7] or "") not in ("", "{}", "()"):
        return None
    return "-".join(found.groups()[1:6])


def _number(cell: str) -> str | None:
    found = _NUMBER.fullmatch(re.sub(r"(?<=[0-9])[ \u00a0\u202f'](?=[0-9]{3}(?![0-9]))", "", cell.strip()))
    if not found:
        return None
    sign = "-" if found[1] == "-" and (found[2] != "0" or found[3]) else ""
    return f"{sign}{found[2]}" + (f".{found[3]}" if found[3] else "")
