"""Read HTTP answers tolerantly, for every target."""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from bulk_patch.model import NetworkFailure, Reply

_DEEPEST = 64  # levels of an answer; the API's own have five
_LONGEST_S = 1e9  # 31 years: longer waits are cut, so that they can be added to a date


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


def status_words(reply: Reply | NetworkFailure) -> str:
    """Describe how an exchange ended, to follow the name of the kind: ` (HTTP 502)`."""
    return f" (HTTP {reply.status})" if isinstance(reply, Reply) else f" ({reply.lost.value})"


def http_date(text: str | None) -> datetime | None:
    """Parse any of the three date forms of RFC 9110 §5.6.7; None for anything else."""
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text.partition("\n")[0])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def retry_after_s(reply: Reply | NetworkFailure) -> float | None:
    """Return the longest wait that an answer asks for, in seconds.

    Three forms are read: Retry-After in seconds, Retry-After as a date (measured against the `Date` of the same answer,
    so that our clock does not matter), and `retry_after` in a JSON body. What cannot be parsed is ignored.
    """
    if not isinstance(reply, Reply):
        return None
    waits: list[float] = []
    now = http_date(reply.headers.get("date"))
    for header in map(str.strip, reply.headers.get("retry-after", "").split("\n")):
        if header.isascii() and header.isdigit():
            waits.append(float(header[:20]))
        elif (until := http_date(header)) is not None and now is not None:
            waits.append(max(0.0, (until - now).total_seconds()))
    in_body = (json_object(reply) or {}).get("retry_after")
    if isinstance(in_body, (int, float)) and not isinstance(in_body, bool) and in_body >= 0:
        waits.append(min(in_body, _LONGEST_S))
    return min(max(waits), _LONGEST_S) if waits else None
