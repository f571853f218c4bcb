"""What a field is: the rule (checked on whole columns), how values compare, and what a person may see of them."""

from __future__ import annotations  # pandas is loaded when values are checked: those who only show rows check none

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: values (text, none missing or empty), row context (desired over baseline, same index) -> True where valid.
ValueRule = Callable[["pd.Series", "pd.DataFrame"], "pd.Series"]
#: The same arguments -> the values as the server will hold them.
Rewrite = Callable[["pd.Series", "pd.DataFrame"], "pd.Series"]
Mask = Callable[[str], str]


class Kind(Enum):
    """How the text of a cell becomes JSON."""

    TEXT = "text"
    BOOLEAN = "boolean"
    INTEGER = "integer"


class Visibility(Enum):
    """How much of a field answers show."""

    WHOLE = "whole"
    MASKED = "masked"  # the last four characters: cannot be compared, so it is sent when given
    NEVER = "never"  # write-only: sent once


# --- masks: what a screen, a log or a report may show; an empty value always shows as empty


def first_letter(text: str) -> str:
    """Show the first letter: `Smith` -> `S•••`."""
    return text[:1] + "•••" if text else ""


def last_four(text: str) -> str:
    """Show the last four characters: `123-45-6789` -> `•••6789`."""
    return "•••" + text[-4:] if len(text) >= 4 else hidden(text)


def last_two(text: str) -> str:
    """Show the last two characters: `+14155550123` -> `•••23`."""
    return "•••" + text[-2:] if len(text) >= 4 else hidden(text)


def mailbox(text: str) -> str:
    """Show first letter and domain: `ann@example.com` -> `a•••@example.com`."""
    name, at, domain = text.rpartition("@")
    return f"{name[:1]}•••@{domain}" if at else first_letter(text)


def year(text: str) -> str:
    """Show the year of a date: `1980-02-29` -> `1980-••-••`."""
    return text[:4] + "-••-••" if len(text) == 10 else hidden(text)


def plain(text: str) -> str:
    """Show everything: for codes with few values, which identify no one."""
    return text


def hidden(text: str) -> str:
    """Show only that there is a value."""
    return "•••" if text else ""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a target, by its dotted name."""

    name: str
    rule: str  # in words, to follow "must be"
    check: ValueRule
    mask: Mask
    kind: Kind = Kind.TEXT
    visibility: Visibility = Visibility.WHOLE
    required: bool = False  # within its object
    clearable: bool = True
    rewrite: Rewrite | None = None
    depends_on: tuple[str, ...] = ()  # fields whose values `check` and `rewrite` find in the context
    holds_date: bool = False  # a cell that a spreadsheet holds as a date may fill it
    instead: Mapping[str, str] = field(default_factory=dict)  # what is often written -> what to write, in words


@dataclass(frozen=True, slots=True)
class AtomicObject:
    """An object that the API accepts only as a whole: a change of one part sends all of it."""

    name: str
    required: tuple[str, ...] = ()  # parts, by name within the object
    read_only: frozenset[str] = field(default_factory=frozenset)  # parts that answers have and requests must not have
    open: bool = False  # free-form: any part is allowed, and single keys are patched


# --- checks


def anything(values: pd.Series, context: pd.DataFrame) -> pd.Series:
    """Accept every text; control characters have already been refused for all fields."""
    import pandas as pd

    return pd.Series(True, index=values.index)


def matches(pattern: str) -> ValueRule:
    """Make a check: the whole text matches a regular expression, with `[0-9]` for ASCII digits."""
    return lambda values, context: values.str.fullmatch(pattern)


def one_of(choices: Sequence[str]) -> ValueRule:
    """Make a check: the text is one of these choices."""
    allowed = list(choices)
    return lambda values, context: values.isin(allowed)


def date_between(first: dt.date, before: dt.date) -> ValueRule:
    """Make a check: a real ISO date on or after `first` and before `before`."""

    def check(values: pd.Series, context: pd.DataFrame) -> pd.Series:
        import pandas as pd

        distinct = pd.Series(values.unique(), dtype="str")  # there are few, and parsing is slow
        shaped = distinct[distinct.str.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}")]
        real = pd.to_datetime(shaped, format="%Y-%m-%d", errors="coerce")
        return values.isin(shaped[(real >= pd.Timestamp(first)) & (real < pd.Timestamp(before))])

    return check


def by_country(object_name: str, patterns: dict[str, str], other: str) -> ValueRule:
    """Make a check whose pattern depends on the country code of the same address."""

    def check(values: pd.Series, context: pd.DataFrame) -> pd.Series:
        import pandas as pd

        countries = country_of(object_name, values, context)
        fine = pd.Series(False, index=values.index)
        left = pd.Series(True, index=values.index)
        for country, pattern in patterns.items():
            here = countries == country
            if here.any():
                fine[here] = values[here].str.fullmatch(pattern)
                left &= ~here
        if left.any():
            fine[left] = values[left].str.fullmatch(other)
        return fine

    return check


def country_of(object_name: str, values: pd.Series, context: pd.DataFrame) -> pd.Series:
    """Return the country codes that go with the values of one part of an address; empty where unknown."""
    column = f"{object_name}.country_code"
    if column not in context:
        import pandas as pd

        return pd.Series("", index=values.index, dtype="str")
    codes = context[column]
    return (codes if len(codes) == len(values) else codes.loc[values.index]).fillna("")


#: ISO 3166-1 alpha-2, officially assigned.
COUNTRIES = tuple(
    """AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO
    JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR
    MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO
    RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV
    TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW""".split()
)

#: Two-letter codes of the United States Postal Service, territories and the forces' post offices included.
US_STATES = """AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY
    NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY AS GU MP PR VI UM AA AE AP""".split()

CA_PROVINCES = "AB BC MB NB NL NS NT NU ON PE QC SK YT".split()
