"""Propose what a job for a file could say: which column is the id, which fills which field, which cells need a rule.

Pure. A proposal is a guess: what it rests on is said beside it, and a person reads it before anything is sent.
"""

import datetime as dt
import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from bulk_patch.inputs.dialect import OUR_NOTES
from bulk_patch.targets import IdRule

#: How columns are often called, without blanks, signs and capitals -> how the name of their field ends.
_SYNONYMS = {
    "address_line_1": "address addressline address1 addr1 addr street street1 streetaddress streetaddr line1",
    "address_line_2": "address2 addressline2 addr2 apt apartment suite unit street2 line2",
    "city": "town municipality locality",
    "state": "st province region statecode stateprovince",
    "postal_code": "zip zipcode zip5 postcode postal postalcode",
    "country_code": "country countrycode countryiso",
    "phone_number": "phone telephone tel mobile cell cellphone phoneno mobilephone phonenumber",
    "email": "mail emailaddress emailaddr",
    "dob": "birthdate dateofbirth birthday birth born dobdate",
    "first_name": "firstname first givenname forename",
    "middle_name": "middlename middle middleinitial mi",
    "last_name": "lastname last surname familyname",
    "ssn": "socialsecuritynumber socialsecurity tin taxid",
}
_ENDINGS = {name: ending for ending, names in _SYNONYMS.items() for name in names.split()}
_ID_NAMES = frozenset("customerid id customer personid person uuid customeruuid memberid clientid partyid".split())
_FIRST_CHOICE = "legal_address"  # of two objects with the same parts
_COUNTRIES = {
    **dict.fromkeys(("USA", "U.S.A.", "U.S.", "United States", "United States of America"), "US"),
    **dict.fromkeys(("CAN", "Canada"), "CA"),
    **dict.fromkeys(("MEX", "Mexico", "México"), "MX"),
    **dict.fromkeys(("GBR", "UK", "United Kingdom", "Great Britain"), "GB"),
}
_DATE = re.compile(r"(\d{1,4})([/.-])(\d{1,2})\2(\d{1,4})")


@dataclass(slots=True)
class Proposal:
    """What a job could say about the columns of a file.

    Attributes:
        id: The column that holds the API's ids.
        rename: Column -> field, "" to ignore it; columns with the name of their field are left out.
        fields: What would change, in the order of the columns.
        convert: Column -> rule that its cells need.
        doubts: What a person should look at.
    """

    id: str
    rename: dict[str, str] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    convert: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


def bare(name: str) -> str:
    """Return a name without what people write differently: capitals, blanks, signs."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def looks_like_id(name: str) -> bool:
    """Tell whether a column's name is one that ids often have."""
    return bare(name) in _ID_NAMES


def propose(
    header: Sequence[str], cells: Mapping[str, Sequence[str]], *, known: Sequence[str], rule: IdRule
) -> Proposal | None:
    """Propose a job for a file; None where no column holds ids of the API.

    Args:
        header: The columns of the file.
        cells: Their first cells.
        known: The fields of the target.
        rule: What an id is.
    """
    chosen = _choose_id(header, cells, rule)
    if chosen is None:
        return None
    made = Proposal(chosen)
    ids = [cell for cell in cells[chosen] if cell]
    if any(not rule.accepts(cell) for cell in ids):
        if any(rule.accepts(cell.strip(" {}")) and cell != cell.strip(" {}") for cell in ids):
            made.convert[chosen] = "uuid"
        made.doubts.append(f"not every cell of {chosen!r} is an id of the API as it stands")
    for column in header:
        if column == chosen or column.startswith("_") or column in OUR_NOTES:
            continue
        _place(column, made, known)
        name = made.rename.get(column, column)
        if name:
            _look_at_cells(column, name, cells.get(column, ()), made)
    return made


def _choose_id(header: Sequence[str], cells: Mapping[str, Sequence[str]], rule: IdRule) -> str | None:
    """Return the column with the most ids; of several, the one that is called so."""

    def share(column: str) -> float:
        given = [cell.strip(" {}") for cell in cells.get(column, ()) if cell.strip()]
        return sum(1 for cell in given if rule.accepts(cell)) / len(given) if given else 0.0

    best = max(header, key=lambda column: (share(column), looks_like_id(column)), default=None)
    return best if best is not None and share(best) > 0 else None


def _place(column: str, made: Proposal, known: Sequence[str]) -> None:
    """Find the field of a column, or ignore the column and say so."""
    wanted = column if column in known or column.startswith("metadata.") else _field_for(column, known)
    if wanted in made.fields:
        made.doubts.append(f"column {column!r} is ignored: another one fills {wanted} already")
        wanted = ""
    elif not wanted:
        made.doubts.append(f"column {column!r} is ignored: no field has a name like it")
    elif wanted != column and bare(column) not in (bare(wanted), *(bare(end) for end in _ends(wanted))):
        made.doubts.append(f"column {column!r} is taken for {wanted}")
    if wanted != column:
        made.rename[column] = wanted
    if wanted:
        made.fields.append(wanted)


def _ends(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[at:]) for at in range(len(parts))]


def _field_for(column: str, known: Sequence[str]) -> str:
    name = bare(column)
    ordered = sorted(known, key=lambda field: (not field.startswith(_FIRST_CHOICE), known.index(field)))
    ending = _ENDINGS.get(name)
    for field_name in ordered:
        if name in {bare(end) for end in _ends(field_name)} or (ending and field_name.endswith(ending)):
            return field_name
    by_name = {bare(end): field_name for field_name in reversed(ordered) for end in _ends(field_name)}
    near = difflib.get_close_matches(name, [*by_name, *_ENDINGS], n=1, cutoff=0.84)
    if not near:
        return ""
    return by_name.get(near[0]) or _field_for(near[0], known)


# --- cells


def _look_at_cells(column: str, name: str, cells: Sequence[str], made: Proposal) -> None:
    """Propose the rule that the cells of a column need, as far as it can be seen."""
    given = [cell for cell in cells if cell.strip()]
    if not given:
        made.doubts.append(f"column {column!r} has no value in the first {len(cells)} rows")
        return
    last = name.rpartition(".")[2]
    rule, doubt = _RULES[last](given) if last in _RULES else ("", "")
    if not rule and any(cell != cell.strip() for cell in given):
        rule = "trim"
    if rule:
        made.convert[column] = rule
    if doubt:
        made.doubts.append(f"column {column!r}: {doubt}")


def _dates(cells: Collection[str]) -> tuple[str, str]:
    if all(_is_iso(cell) for cell in cells):
        return "", ""
    found = [_DATE.fullmatch(cell.strip()) for cell in cells]
    shaped = [match for match in found if match]
    if len(shaped) < len(found) or len({match[2] for match in shaped}) > 1:
        return "", "not every date is written as YYYY-MM-DD"
    sign = shaped[0][2]
    first, second = ([int(match[at]) for match in shaped] for at in (1, 3))
    if max(first) > 31:
        return f"date:YYYY{sign}M{sign}D", ""
    if max(first) > 12:
        return f"date:D{sign}M{sign}YYYY", ""
    rule = f"date:M{sign}D{sign}YYYY"
    return rule, "" if max(second) > 12 else "month and day could be swapped; month first is assumed"


def _is_iso(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _phones(cells: Collection[str]) -> tuple[str, str]:
    if all(re.fullmatch(r"\+[1-9]\d{1,14}", cell) for cell in cells):
        return "", ""
    digits = [re.sub(r"\D", "", cell) for cell in cells]
    is_us = all(len(number) == 10 or (len(number) == 11 and number[0] == "1") for number in digits)
    return "phone:US", "" if is_us else "numbers without + and country code are taken for numbers of the US"


def _postal_codes(cells: Collection[str]) -> tuple[str, str]:
    short = [cell for cell in cells if re.fullmatch(r"\d{3,4}", cell.strip())]
    plus = [cell for cell in cells if re.fullmatch(r"\d{9}", cell.strip())]
    return ("zip:US", "postal codes have lost their leading zeros" if short else "") if short or plus else ("", "")


def _countries(cells: Collection[str]) -> tuple[str, str]:
    others = sorted({cell for cell in cells if not re.fullmatch("[A-Z]{2}", cell)})
    known = {cell: _COUNTRIES[cell] for cell in others if cell in _COUNTRIES}
    unknown = len(others) - len(known)
    doubt = f"{unknown} spellings of countries are not two capital letters" if unknown else ""
    pairs = ", ".join(f"{name}={code}" for name, code in known.items())
    return (f"map:{{{pairs}}}" if known else "", doubt)


def _codes(cells: Collection[str]) -> tuple[str, str]:
    if all(re.fullmatch("[A-Z0-9]{1,3}", cell) for cell in cells):
        return "", ""
    if all(re.fullmatch("[A-Za-z0-9]{1,3}", cell.strip()) for cell in cells):
        return "upper", ""
    return "", "not every value is a code such as TX"


_RULES = {
    "dob": _dates,
    "phone_number": _phones,
    "postal_code": _postal_codes,
    "country_code": _countries,
    "state": _codes,
}
