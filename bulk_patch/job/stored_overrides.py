"""Overrides in the ledger: which are kept, which are taken from it again, and what stands in place of the others. Pure.

Whoever may write the ledger must not decide what is executed here or where anything is sent.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_TAKEN = frozenset({"description", "input", "baseline", "limits", "retry", "guards", "plan", "sandbox"})
_SIGNERS = frozenset({"guards", "guards.allowed_signers"})  # the first: a whole table may hold the second
_MAY_HOLD_A_SECRET = frozenset({"alerts", "heartbeat", "metrics", "ledger", "audit", "console"})  # such as a webhook
_COMMAND = re.compile(r"\s*cmd:", re.IGNORECASE)
_USER_IN_URL = re.compile(r"://[^/?#\s]*@|^[^/?#\s]*:[^/?#\s]*@")  # the second: an address without a scheme
_SECRET = re.compile(r"token|secret|password|auth|key")
_REFERENCE = re.compile(r"(env|file):.")
_STAND_IN = "…"


def name_of(override: str) -> str:
    """Return the dotted name that an override sets."""
    return ".".join(part.strip() for part in override.partition("=")[0].split("."))


def holds_secret(override: str) -> bool:
    """Tell whether an override holds a secret or a command, which no file, page or screen may repeat."""
    text = override.partition("=")[2]
    parts = name_of(override).split(".")
    if parts[0] in _MAY_HOLD_A_SECRET and text != _STAND_IN:
        return any("://" in value or _COMMAND.match(value) for value in _texts_in(text))
    for value in _texts_in(text):
        if _COMMAND.match(value) or _USER_IN_URL.search(value):
            return True
        if parts[0] == "target" and _SECRET.search(parts[-1]) and not _REFERENCE.match(value.strip()):
            return value != _STAND_IN
    return False


def as_stored(overrides: Iterable[str]) -> tuple[str, ...]:
    """Return overrides as the ledger keeps them: of one that holds a secret or a command only the name."""
    return tuple(f"{name_of(one)}={_STAND_IN}" if holds_secret(one) else one for one in overrides)


def is_taken_from_ledger(override: str) -> bool:
    """Tell whether an override of a run is used again by a command that names the run."""
    name = name_of(override)
    text = override.partition("=")[2]
    if name.partition(".")[0] not in _TAKEN or name in _SIGNERS or text == _STAND_IN:
        return False
    return not any(_COMMAND.match(value) for value in _texts_in(text))


def to_type_again(overrides: Iterable[str]) -> list[str]:
    """Return the words that stand for overrides which have to be typed again: `--set target.token=… as before`."""
    names = dict.fromkeys(name_of(one) for one in overrides)
    words = [word for name in names for word in ("--set", f"{name}={_STAND_IN}")]
    return [*words, "as", "before"] if words else []


def without_secrets(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a command line without `--set` words that hold secrets, and the words that stand for those."""
    shown: list[str] = []
    hidden: list[str] = []
    rest = iter(words)
    for word in rest:
        override = next(rest, "") if word == "--set" else word.removeprefix("--set=")
        if override != word and holds_secret(override):
            hidden.append(override)
        else:
            shown += [word, override] if word == "--set" else [word]
    return shown, to_type_again(hidden)


def _texts_in(text: str) -> Iterator[str]:
    """Yield every text in the value of an override, which is TOML or bare text."""
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        value = text
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            yield value
