"""The rules of [input.convert] as a job writes them: `date:M/D/YYYY`, `phone:US`, `map:{USA=US}`, `upper`."""

import re
from dataclasses import dataclass

PLAIN_RULES = ("uuid", "upper", "trim", "number")
_COUNTRY = re.compile(r"[A-Z]{2}")
_DATE_PART = re.compile(r"YYYY|YY|MMM|MM|M|DD|D|[A-Za-z]")
_PAIRS = re.compile(r"\{(.*)\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: `date`, `phone`, `zip`, `map`, or one of `PLAIN_RULES`, and what it is told."""

    kind: str
    argument: str = ""
    pairs: tuple[tuple[str, str], ...] = ()  # of a map

    @property
    def text(self) -> str:
        """Return the rule as a job writes it."""
        return f"{self.kind}:{self.argument}" if self.argument else self.kind


def parse_rule(text: str) -> Rule:
    """Return a rule.

    Raises:
        ValueError: With what it should be.
    """
    kind, _, argument = text.partition(":")
    if text in PLAIN_RULES:
        return Rule(text)
    if kind == "date":
        return _date(argument)
    if kind == "phone":
        if not _COUNTRY.fullmatch(argument):
            raise ValueError('"phone" needs the country of numbers that do not name one, such as "phone:US"')
        return Rule(kind, argument)
    if kind == "zip":
        if argument != "US":
            raise ValueError('"zip" knows the United States only: "zip:US"')
        return Rule(kind, argument)
    if kind == "map":
        return _map(argument)
    raise ValueError(
        'must be "date:M/D/YYYY", "phone:US", "zip:US", "map:{USA=US}", "uuid", "upper", "trim" or "number"'
    )


def date_parts(pattern: str) -> list[str]:
    """Return the letters of a date pattern, in order: `M/D/YYYY` -> M, D, YYYY."""
    return _DATE_PART.findall(pattern)


def _date(pattern: str) -> Rule:
    parts = date_parts(pattern)
    if "YY" in parts:
        raise ValueError(f'"date:{pattern}": YY does not say the century, so such a column cannot be converted')
    if sorted(part[0] for part in parts) != ["D", "M", "Y"] or "YYYY" not in parts:
        raise ValueError(f'"date:{pattern}" needs YYYY, one of M, MM, MMM and one of D, DD, such as "date:M/D/YYYY"')
    return Rule("date", pattern)


def _map(argument: str) -> Rule:
    inside = _PAIRS.fullmatch(argument.strip())
    pairs = [pair.partition("=") for pair in inside[1].split(",")] if inside and inside[1].strip() else []
    if not pairs or any(not sign or not old.strip() or not new.strip() for old, sign, new in pairs):
        raise ValueError('"map" needs pairs of what a cell says and what it means, such as "map:{USA=US,Canada=CA}"')
    named = tuple((old.strip(), new.strip()) for old, _, new in pairs)
    if len({old for old, _ in named}) != len(named):
        raise ValueError('"map" gives two meanings to one text')
    return Rule("map", argument.strip(), named)
