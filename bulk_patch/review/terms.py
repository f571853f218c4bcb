"""The terms that a plan is made and approved under, and which later settings would loosen them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bulk_patch.job.settings import Job

Looser = Callable[[Any, Any], bool]


def terms_of(job: Job) -> dict[str, Any]:
    """Return under what a plan is made and approved: guards, limits, and the file of allowed signers by its hash."""
    guards, signers = job.guards.model_dump(mode="json"), job.guards.allowed_signers
    guards["allowed_signers"] = "" if signers is None else sha256_of_signers(signers)
    return {"guards": guards, "limits": job.limits.model_dump(mode="json")}


def sha256_of_signers(path: Path) -> str:
    """Return the hash of a file of allowed signers; "" when it cannot be read: `approve --sign` says why."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def find_loosened(approved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what is looser than it was when a plan was approved, each as `guards.canary: 10 then, 0 now`.

    Args:
        approved: The sealed terms of the plan, from `terms_of`.
        now: The terms of the job as it is.
    """
    return [
        f"{section}.{name}: {_shown(then)} then, {_shown(today)} now"
        for section, name, then, today in _compared(approved, now)
        if then != today and _RULES.get(f"{section}.{name}", _any_change)(then, today)
    ]


def _compared(approved: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    for section in ("guards", "limits"):
        then, today = approved.get(section, {}), now.get(section, {})
        yield from ((section, name, value, today.get(name)) for name, value in then.items())


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)


def _any_change(then: Any, now: Any) -> bool:
    return True


def _never(then: Any, now: Any) -> bool:
    return False


def _more(then: Any, now: Any) -> bool:
    """Tell whether a maximum was raised, or taken away: none, or the word `unlimited`, is the highest."""
    if not isinstance(then, int | float):
        return False
    return not isinstance(now, int | float) or now > then


def _more_or_other_kind(then: Any, now: Any) -> bool:
    """Tell whether a number or share was raised; between a number and a share nobody can tell."""
    one, other = str(then), str(now)
    if one.endswith("%") != other.endswith("%"):
        return True
    return float(other.rstrip("%")) > float(one.rstrip("%"))


def _fewer(then: Any, now: Any) -> bool:
    return isinstance(then, int | float) and (not isinstance(now, int | float) or now < then)


def _shorter_input(then: Any, now: Any) -> bool:
    """Tell whether `min_rows` lets a shorter input pass; not set, it is one row."""
    one, other = (1 if value is None else value for value in (then, now))
    return _more_or_other_kind(other, one)


def _watches_less(then: Mapping[str, list[str]], now: Mapping[str, list[str]] | None) -> bool:
    watched = now or {}
    return any(name not in watched or not set(watched[name]) <= set(fine) for name, fine in then.items())


def _drifts_more(then: str, now: str) -> bool:
    order = ("off", "auto", "check")
    return now not in order or order.index(now) < order.index(then)


def _left(then: Any, now: Any) -> bool:
    return then is not None


_RULES: Mapping[str, Looser] = {
    "guards.fields": _never,  # the plan fixes them
    "guards.taken_back": _never,
    "guards.approval_valid_h": _never,  # the approval says until when it counts
    "guards.max_changes": _more,
    "guards.max_invalid": _more_or_other_kind,
    "guards.max_failures": _more_or_other_kind,
    "guards.min_rows": _shorter_input,
    "guards.canary": _fewer,
    "guards.watch": _watches_less,
    "guards.drift": _drifts_more,
    "guards.approval": lambda then, now: bool(then),
    "guards.allowed_signers": lambda then, now: bool(then),
    "limits.rate_per_s": _more,
    "limits.concurrency": _more,
    "limits.timeout_s": _never,
    "limits.share": _left,  # what all who share it may send together no longer holds
    "limits.reserve": _fewer,
}
