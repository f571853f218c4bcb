"""What a log event may hold. Redacted by construction: only known keys, only plain values, of exceptions only classes.

A second net masks what looks like a token or a person's data inside a text.
"""

import math
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from enum import Enum
from numbers import Integral, Real
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.tracebacks import Trace
    from structlog.typing import EventDict

#: The only keys that reach any output. A new one is added here, after asking: can it ever hold a customer's value?
ALLOWED_KEYS = (
    *("timestamp", "level", "event", "logger", "origin", "category", "error", "exception"),
    *("run", "job", "target", "operator", "ticket", "engine", "ledger", "baseline", "phase", "note", "version"),
    *("row", "rows", "line", "lines", "field", "fields", "column", "columns", "rule", "status", "state", "generation"),
    *("reason", "hint", "next", "code", "kind", "guard", "exit_code", "http_status", "signal", "pid", "host"),
    *("attempts", "count", "counts", "requests", "done", "total", "ok", "refused", "throttled", "remaining", "chunks"),
    *("limit", "share", "limit_per_s", "rate_per_s", "concurrency", "size_bytes"),
    *("seconds", "elapsed_s", "eta_s", "paused_s", "delay_s", "age_h", "p50_ms", "p99_ms", "started_at", "finished_at"),
    *("path", "plan_sha256", "input_sha256"),
)

LONGEST_TEXT = 500
LONGEST_LIST = 100

_HEAD = ("timestamp", "level", "event")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WORD = r"""[^\s@"'<>(),;:=/]"""
_MASKS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}|\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "<token>"),
    (re.compile(f"(?<!{_WORD}){_WORD}+@{_WORD}+[.]{_WORD}+"), "<email>"),
    (re.compile(r"\+[1-9]\d{7,14}(?!\d)"), "<phone>"),
    (re.compile(r"(?<![\w-])\d{3}[- ]\d{2}[- ]\d{4}(?![\w-])|(?<![\w.-])\d{9}(?![\w-])"), "<ssn>"),
    (re.compile(r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<id>"),
)


def mask(text: str) -> str:
    """Replace what looks like a token or a person's data, and what could steer a terminal or forge a line."""
    text = _CONTROL.sub(" ", text)
    for pattern, label in _MASKS:
        text = pattern.sub(label, text)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def keep_allowed(_logger: object, _method: str, event: "EventDict") -> "EventDict":
    """Let only known keys and plain values pass, and name what was dropped. A structlog processor."""
    kept = {key: _clean(event[key]) for key in (*_HEAD, *event) if key in event and key in ALLOWED_KEYS}
    if "error" in kept:
        kept["error"] = _name_class(event["error"])
    if dropped := [mask(key) for key in event if key not in ALLOWED_KEYS]:
        kept["dropped"] = dropped
    return kept


def outline_exception(_logger: object, _method: str, event: "EventDict") -> "EventDict":
    """Turn `exc_info`, in any of its forms, into `error` and `exception`. A structlog processor."""
    event.pop("exception", None)  # ours to say
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        from structlog.tracebacks import extract

        event["error"] = error
        event["exception"] = list(_outline(extract(type(error), error, error.__traceback__, show_locals=False)))
    return event


def _outline(trace: "Trace") -> Iterator[str]:
    """List classes and places of an exception and its causes; messages, locals and source lines may hold values."""
    for stack in trace.stacks:
        yield stack.exc_type
        for frame in stack.frames:
            yield f"  {PurePath(frame.filename).name}:{frame.lineno} {frame.name}"
        for part in stack.exceptions:
            yield from (f"  {line}" for line in _outline(part))


def _clean(value: object) -> Any:
    """Return a JSON value without anything private; an object of any other kind is only named by its class."""
    match value:
        case None | bool():
            return value
        case Enum():
            return _clean(value.value)
        case Integral():
            return int(value)
        case Real():
            number = float(value)
            return number if math.isfinite(number) else str(number)
        case str() | PurePath():
            return mask(str(value))
        case date():
            return value.isoformat()
        case Mapping():
            return {mask(str(key)): _clean(each) for key, each in value.items()}
        case list() | tuple():
            return [_clean(each) for each in value[:LONGEST_LIST]]
        case set() | frozenset():
            return sorted(str(_clean(each)) for each in value)[:LONGEST_LIST]
        case _:
            return f"<{_name_class(value)}>"


def _name_class(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__
