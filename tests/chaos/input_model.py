"""What an input must become in a plan, derived from behaviour.md alone: nothing of the product.

Each text that the generator writes is labelled: fine for its field or not. A text without a label, born when bytes were
changed at random, may be taken or refused; but if it is taken it has to arrive exactly.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

Cells = Sequence[str | None]  # one row as it was read; None: null, of Parquet only
Texts = dict[str, str]

CLEAR = "<CLEAR>"
ID = "customer_id"
WHOLES = {
    "legal_address": ("address_line_1", "country_code"),
    "vendor_info": ("vendor_type", "vendor_data"),
}
CLEARABLE = frozenset({"first_name", "middle_name", "last_name", "email", "legal_address.address_line_2"})
FREE_TEXT = frozenset({"first_name", "middle_name", "last_name", "note"}) | {
    f"legal_address.{part}" for part in ("address_line_1", "address_line_2", "city")
}
BOOLEANS = frozenset({"legal_address.is_registered_agent"})
INTEGERS = frozenset({"vendor_info.vendor_data.loanpro.customer_id"})
COUNTRY = "legal_address.country_code"

#: Field -> text -> whether it is fine. What depends on the country is under "US <text>".
LABELS: Mapping[str, Mapping[str, bool]] = {
    "email": {"ann@example.com": True, "a.b+c@x.co": True, "nowhere": False, "a@b": False, "a b@c.example": False},
    "phone_number": {
        "+14155550123": True,
        "+442071838750": True,
        "4155550123": False,
        "1.4155550123E+10": False,
        "+04155550123": False,
        "+1 415 555 0123": False,
    },
    "dob": {
        "1980-02-29": True,
        "1900-01-01": True,
        "1981-02-29": False,
        "02/29/1980": False,
        "29221": False,
        "1899-12-31": False,
        "2999-01-01": False,
        "1980-2-9": False,
        "1980-02-29 00:00:00": False,
    },
    "ssn": {
        "123-45-6789": True,
        "001-01-0001": True,
        "123456789": False,
        "1-01-0001": False,
        "000-12-3456": False,
        "666-12-3456": False,
        "123-00-6789": False,
        "123-45-0000": False,
        "\uff11\uff12\uff13-45-6789": False,  # digits of another width
    },
    "status": {"ACTIVE": True, "DORMANT": True, "active": False, "ACTIVE ": False, "CLOSED": False},
    "ban_status": {"SUSPENDED": True, "BANNED": False},
    COUNTRY: {"US": True, "NA": True, "CA": True, "us": False, "USA": False, "ZZ": False},
    "legal_address.state": {
        "US TX": True,
        "US TM": False,
        "US Texas": False,
        "US tx": False,
        "CA ON": True,
        "CA TX": False,
        "NA KH": True,
    },
    "legal_address.postal_code": {
        "US 02134": True,
        "US 02134-0001": True,
        "US 2134": False,
        "US 2134.0": False,
        "US \u0660\u0662\u0661\u0663\u0664": False,  # Arabic digits
        "CA K1A 0B1": True,
        "CA k1a0b1": True,
        "CA 02134": False,
        "NA 10005": True,
    },
    "legal_address.is_registered_agent": {"true": True, "false": True, "TRUE": True, "1": False},
    "vendor_info.vendor_type": {"LOANPRO": True, "loanpro": False},
    "vendor_info.vendor_data.loanpro.customer_id": {"7": True, "00123": False, "1E5": False, "7.0": False},
}
_BY_COUNTRY = frozenset({"legal_address.state", "legal_address.postal_code"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The parts of a job that say what cells mean."""

    blank: str = "keep"
    may_clear: tuple[str, ...] = ()
    duplicates: str = "reject"
    rename: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # a baseline file: id -> field -> text
    known_fields: frozenset[str] = frozenset()  # its columns


@dataclass(frozen=True, slots=True)
class Expected:
    """What may become of one row."""

    states: frozenset[str]
    body: dict[str, Any] = field(default_factory=dict)  # what is sent if it is pending


def fields_of(header: Sequence[str], settings: Settings) -> dict[str, str]:
    """Return the field of each column that fills one."""
    named = {name: settings.rename.get(name, "" if name.startswith("_") else name) for name in header if name != ID}
    return {name: its for name, its in named.items() if its}


def is_header_fine(header: Sequence[str], settings: Settings) -> bool:
    """Tell whether a file with these columns may be read."""
    fields = fields_of(header, settings)
    known = FREE_TEXT | LABELS.keys()
    return (
        ID in header
        and len(set(header)) == len(header)
        and all(name.strip() for name in header)
        and all(name in known for name in fields.values())
        and len(set(fields.values())) == len(fields)
        and all(name in header for name in settings.rename)
    )


def is_id(text: str | None) -> bool:
    """Tell whether this is a UUID as the API writes it, in either case."""
    try:
        return text is not None and str(UUID(text)) == text.lower()
    except ValueError:
        return False


def expect(header: Sequence[str], rows: Sequence[Cells], settings: Settings) -> list[Expected]:
    """Say what may become of each row."""
    fields = fields_of(header, settings)
    wanted, found = [], []
    for cells in rows:
        by_name = dict(zip(header, cells, strict=True))
        given, fine = _read(by_name, fields, settings)
        wanted.append(given)
        found.append(_judge(by_name[ID], given, fine, settings))
    by_id: dict[str, list[int]] = {}
    for at, cells in enumerate(rows):
        its_id = dict(zip(header, cells, strict=True))[ID]
        if its_id is not None and is_id(its_id):
            by_id.setdefault(its_id.lower(), []).append(at)
    for places in by_id.values():
        if len(places) > 1 and settings.duplicates == "last":
            by_name = _merged([dict(zip(header, rows[at], strict=True)) for at in places], fields, settings)
            given, fine = _read(by_name, fields, settings)
            found[places[-1]] = _judge(by_name[ID], given, fine, settings)
        if len(places) > 1:
            _settle(places, wanted, found, last=settings.duplicates == "last")
    return found


def _read(cells: Mapping[str, str | None], fields: Mapping[str, str], settings: Settings) -> tuple[Texts, bool | None]:
    """Return the wanted texts of a row, "" clears; and whether they are fine, None: no one knows."""
    given: Texts = {}
    verdicts: list[bool | None] = []
    for column, name in fields.items():
        cell = cells[column]
        if cell is None:
            continue
        text = unicodedata.normalize("NFC", cell)
        if text == CLEAR or (text == "" and settings.blank == "clear"):
            given[name] = ""
            verdicts.append(name in settings.may_clear and name in CLEARABLE)
        elif text:
            given[name] = text
        elif settings.blank == "reject":
            verdicts.append(False)
    country = given.get(COUNTRY, "")
    verdicts += [_is_fine(name, text, country) for name, text in given.items() if text]
    return given, False if False in verdicts else None if None in verdicts else True


def merged_cells(header: Sequence[str], rows: Sequence[Cells], settings: Settings) -> list[list[str | None]]:
    """Return the cells that are kept of each row: the last of one id carries what earlier ones alone give."""
    fields, kept = fields_of(header, settings), [list(cells) for cells in rows]
    places: dict[str, list[int]] = {}
    for at, cells in enumerate(rows if settings.duplicates == "last" else ()):
        its_id = dict(zip(header, cells, strict=True))[ID]
        if its_id is not None and is_id(its_id):
            places.setdefault(its_id.lower(), []).append(at)
    for shared in places.values():
        merged = _merged([dict(zip(header, rows[at], strict=True)) for at in shared], fields, settings)
        kept[shared[-1]] = [merged[name] for name in header]
    return kept


def _merged(rows: Sequence[dict[str, str | None]], fields: Mapping[str, str], settings: Settings) -> Any:
    """Return the last of rows of one id with what earlier ones alone say of a field."""
    merged = dict(rows[-1])
    for column in fields:
        said = [cell for row in rows if (cell := row[column]) is not None and (cell or settings.blank != "keep")]
        merged[column] = said[-1] if said else merged[column]
    return merged


def _is_fine(name: str, text: str, country: str) -> bool | None:
    categories = {unicodedata.category(letter) for letter in text}
    if "Cc" in categories or not text.strip() or text in NO_VALUES:
        return False
    if name not in FREE_TEXT:
        return LABELS[name].get(f"{country} {text}" if name in _BY_COUNTRY else text)
    # Letters, marks, digits, signs and plain spaces are fine; what hides or reorders text is labelled one by one.
    if all(category.startswith("M") for category in categories):  # marks that stand on no letter
        return False
    odd = {letter for letter in text if unicodedata.category(letter)[0] in "CZ" and letter != " "}
    if set(text) & HIDING:
        return False
    return None if odd else True


#: What a spreadsheet writes for a fault, and a database for no value, of what the generator writes.
NO_VALUES = frozenset({"#N/A", "#REF!", "########", "\\N"})
#: What must never get into a name or an address, of what the generator writes.
HIDING = frozenset(
    "\u00ad\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2028\u2029\u2060\u2066\u2069\ufeff"
    "\u2800\u3164\u115f\u1160\uffa0"  # letters and signs by their category, and nobody sees them
)


def _judge(its_id: str | None, given: Texts, fine: bool | None, settings: Settings) -> Expected:
    """Say what may become of a row that shares its id with no other."""
    changed = {name for name, text in given.items() if not _is_known(its_id, name, text, settings)}
    body = _body({name: text for name, text in given.items() if name in changed or "." in name})
    tops = {name.partition(".")[0] for name in changed}
    body = {name: value for name, value in body.items() if name in tops}
    lacks = any(not body[top].get(part) for top, parts in WHOLES.items() if top in body for part in parts)
    unexplained = "ban_status" in changed and "note" not in changed
    if not is_id(its_id) or fine is False:
        return Expected(frozenset({"invalid"}))
    state = "invalid" if lacks or unexplained else "pending" if changed else "unchanged"
    return Expected(frozenset({state} if fine else {state, "invalid"}), body)


def _is_known(its_id: str | None, name: str, text: str, settings: Settings) -> bool:
    """Tell whether the baseline file shows this value already."""
    customer = settings.known.get((its_id or "").lower())
    if customer is None or name not in settings.known_fields:
        return False
    return unicodedata.normalize("NFC", customer.get(name, "")) == text


def _body(given: Texts) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, text in given.items():
        *path, last = name.split(".")
        place = body
        for step in path:
            place = place.setdefault(step, {})
        if text or not path:  # a part of an object that is cleared is left out of it
            place[last] = text.lower() == "true" if name in BOOLEANS else int(text) if _is_whole(name, text) else text
    return body


def _is_whole(name: str, text: str) -> bool:
    return name in INTEGERS and text.isascii() and text.isdigit()


def _settle(places: Sequence[int], wanted: Sequence[Texts], found: list[Expected], *, last: bool) -> None:
    """Decide rows of one id."""
    agree = all(wanted[at] == wanted[places[0]] for at in places)
    stands = places[-1] if last else places[0]
    for at in places:
        if not agree and not last:
            found[at] = Expected(frozenset({"invalid"}))
        elif at != stands and last:
            found[at] = Expected(frozenset({"duplicate"}))
        elif at != stands:  # it shares what is wrong with the first, and may be wrong by itself: blank, and not null
            own, others = found[at].states, found[stands].states
            states = (own | others) & {"invalid"} | {"duplicate"}
            found[at] = Expected(frozenset({"invalid"} if {"invalid"} in (own, others) else states))


def find_silent_changes(expected: Expected, state: str, body: bytes | None) -> str:
    """Say what is wrong with what became of a row; "" when nothing is."""
    if state not in expected.states:
        return f"it is {state}, and should be {' or '.join(sorted(expected.states))}"
    if state != "pending":
        return "" if body is None else f"it is {state}, and has a body"
    if body is None:
        return "it is pending, and has no body"

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        sent = json.loads(body.decode(), parse_constant=refuse)
    except ValueError:
        return "its body is no JSON"
    return "" if _exactly(sent, expected.body) else f"its body is {body!r}, and should say {expected.body!r}"


def _exactly(sent: Any, wanted: Any) -> bool:
    """Compare without Python's own generosity: True is not 1, and null is never right."""
    if isinstance(wanted, dict) and isinstance(sent, dict):
        return sent.keys() == wanted.keys() and all(_exactly(sent[name], wanted[name]) for name in wanted)
    return type(sent) is type(wanted) and bool(sent == wanted)
