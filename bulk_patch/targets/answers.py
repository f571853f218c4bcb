"""Read HTTP answers tolerantly, for every target."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from bulk_patch.model import NetworkFailure, Reply

_TELLING = 6  # characters of a value that say something wherever they stand
UNKNOWN_CODE = "unknown code"  # in place of one that is not shaped as the API's are, or that repeats what was sent
_DEEPEST = 64  # levels of an answer; the API's own have five
_LONGEST_S = 1e9  # 31 years: longer waits are cut, so that they can be added to a date
_NUMBER = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)\s*([a-z]*)", re.IGNORECASE)
_UNITS_S = {
    "ms": 0.001,
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}
_WEEKDAY = re.compile(r"\s*[\"']?(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\s*", re.IGNORECASE)


def json_object(reply: Reply) -> dict[str, Any] | None:
    """Return the JSON object of a complete answer; None for everything else that a server can send."""
    if not reply.whole:
        return None
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) and _is_shallow(reply.body, answer) else None


def _is_shallow(body: bytes, answer: Any) -> bool:
    """Tell whether an answer can be walked within Python's recursion limit."""
    if body.count(b"{") + body.count(b"[") <= _DEEPEST:  # almost every answer
        return True
    level = [answer]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
        level = [inner for inner in level if isinstance(inner, (dict, list))]
        if not level:
            return True
    return False


def repeats_a_value(text: str, body: bytes | None) -> bool:
    """Tell whether a text is a value of the body that was sent, or contains one of six characters or more."""
    if body is None:
        return False
    said = _plain(text)
    values = [_plain(str(value)) for value in _leaves(json.loads(body)) if not isinstance(value, bool)]
    return any(value and (value == said or (len(value) >= _TELLING and value in said)) for value in values)


def _plain(text: str) -> str:
    """Leave letters and digits: a code writes a blank as `_`."""
    return "".join(character for character in text.casefold() if character.isalnum())


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif value is not None:
        yield value


def status_words(reply: Reply | NetworkFailure) -> str:
    """Describe how an exchange ended, to follow the name of the kind: ` (HTTP 502)`."""
    return f" (HTTP {reply.status})" if isinstance(reply, Reply) else f" ({reply.detail or reply.lost.value})"


def http_date(text: str | None) -> datetime | None:
    """Parse any of the three date forms of RFC 9110 §5.6.7; None for anything else."""
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text.partition("\n")[0])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def asks_to_wait(reply: Reply) -> bool:
    """Tell whether an answer says in any form that its request should be repeated later."""
    return "retry-after" in reply.headers or (json_object(reply) or {}).get("retry_after") is not None


def retry_after_s(reply: Reply | NetworkFailure) -> float | None:
    """Return the longest wait that an answer asks for, in seconds; None where it asks for none that can be read.

    Read are all Retry-After headers and a `retry_after` of a JSON body: numbers, also with decimals or a unit, dates
    (measured against the `Date` of the same answer, so that our clock does not matter), and lists of these, as proxies
    make them.
    """
    if not isinstance(reply, Reply):
        return None
    now = http_date(reply.headers.get("date"))
    waits = [_wait_s(wish, now) for wish in _wishes(reply.headers.get("retry-after", ""))]
    in_body = (json_object(reply) or {}).get("retry_after")
    if isinstance(in_body, (int, float)) and not isinstance(in_body, bool) and in_body >= 0:
        waits.append(float(min(in_body, _LONGEST_S)))
    elif isinstance(in_body, str):
        waits += [_wait_s(wish, now) for wish in _wishes(in_body)]
    return max((wait for wait in waits if wait is not None), default=None)


def _wishes(text: str) -> Iterator[str]:
    """Split a list of waits; the comma within a date divides nothing."""
    for line in text.split("\n"):
        day = ""
        for part in line.split(","):
            if _WEEKDAY.fullmatch(part):
                day = part
                continue
            yield f"{day},{part}" if day else part
            day = ""


def _wait_s(wish: str, now: datetime | None) -> float | None:
    """Return one wait in seconds, None if it cannot be read.

    Args:
        wish: A number of seconds, or a date.
        now: The clock of who wrote it.
    """
    wish = re.split(r"[;(]", wish, maxsplit=1)[0].strip(" \t\r\"'")  # what follows is a remark
    if (number := _NUMBER.fullmatch(wish)) is not None and (unit_s := _UNITS_S.get(number[2].lower())) is not None:
        return min(float(number[1]) * unit_s, _LONGEST_S)
    until = http_date(wish) or _iso_date(wish)
    if until is None or now is None:
        return None
    return min(max(0.0, (until - now).total_seconds()), _LONGEST_S)


def _iso_date(text: str) -> datetime | None:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
