"""Numbers, times and durations in words. Pure."""

import math
from datetime import UTC, datetime
from functools import lru_cache


def amount(number: float, noun: str) -> str:
    """Return a number with its noun: `1 row`, `2,000 rows`."""
    return f"{number:,.0f} {noun}" + ("" if number == 1 else "s")


def time_words(time_s: float | None) -> str:
    """Return Unix seconds as a readable time, to the second."""
    return "?" if time_s is None else f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def milliseconds_words(value: float) -> str:
    """Return whole milliseconds in words, at least one."""
    return f"{max(value, 1.0):.0f} ms"


def duration_words(seconds: float) -> str:
    """Return a rounded duration in words: `about 12 s`, `about 2 h 5 min`."""
    if seconds < 1:
        return "under 1 s"
    if round(seconds) < 60:
        return f"about {round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"about {hours} h {minutes} min"
    return f"about {hours // 24} d {hours % 24} h"


def utc_text(time_s: float | None) -> str | None:
    """Return Unix seconds as RFC 3339 text in UTC."""
    if time_s is None:
        return None
    second = math.floor(time_s)
    micros = round(
        (time_s - second) * 1e6
    )  # of the fraction, as `datetime` does it: the product of the whole has no room
    second, thousandths = divmod(second * 1000 + micros // 1000, 1000)
    return f"{_second_text(second)}.{thousandths:03d}Z"


@lru_cache(maxsize=1024)  # a report names the same seconds over and over
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
