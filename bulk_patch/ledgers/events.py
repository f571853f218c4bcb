"""The chain of events: what happened in a ledger, each with the hash of the one before. Pure functions.

An event is written in the transaction of what it tells. It names the rows that it moved, with all that the ledger then
holds of them, and the hashes of everything small: the facts of its run, its counts, sessions, notes and checks. So what
a table says can be compared with the last event that wrote it, and an edit is found. Somebody who computes all hashes
again is found only by a head (the hash of the last event) that was kept elsewhere.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bulk_patch.model import encode_json

#: Of the first event: how many runs were there before, of which nothing is chained.
CHAINED = "chained"
BEGUN, SEALED, DISCARDED, CLOSED = "begun", "sealed", "discarded", "closed"
SESSION, SESSION_ENDED, CLAIMED, OUTCOMES, RETRY = "session", "session ended", "claimed", "outcomes", "retry"
GUARD, WAIVED, ENDED, REOPENED, METRICS, INPUT_SEEN = "guard", "waived", "ended", "reopened", "metrics", "input seen"
RESTORED = "restored"  # a ledger that is older than its folder was accepted by a person
CHECK, CHECKED, CHECK_ENDED = "check", "checked", "check ended"

DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a ledger."""

    number: int  # the first is 1, none is left out
    at: float  # the latest time that the ledger then knew, Unix seconds
    kind: str
    run: str  # the run's id; "" for the ledger's own
    detail: Mapping[str, Any]
    sha256: str  # over the event and the hash of the one before


class Progress(NamedTuple):
    """How far a row came: all that a ledger keeps of it besides its plan, in the order of the table's columns."""

    state: str
    lane: int | None = None
    requested: int = 0
    attempts: int = 0
    generation: int = 0
    ambiguous: int = 0
    spent_in: int | None = None
    spent_sessions: int = 0
    final: int = 0
    http_status: int | None = None
    api_code: str | None = None
    reason: str | None = None
    hint: str | None = None
    first_intent_at: float | None = None
    key_intent_at: float | None = None
    done_at: float | None = None
    left_at: float | None = None


_UNTOUCHED = Progress("")


def hash_event(before: bytes, number: int, run: int, at: float, texts: Sequence[str], state: bytes) -> bytes:
    """Return the hash of an event.

    Args:
        before: The hash of the event before; nothing for the first.
        number: The event's number.
        run: The run's number in the ledger, 0 for none.
        at: Unix seconds.
        texts: Its kind, detail and rows.
        state: The hashes that it carries.
    """
    parts = [text.encode() for text in texts]
    head = f"{number} {run} {float(at)!r} {' '.join(str(len(part)) for part in parts)} {len(state)}\n"
    return hashlib.sha256(b"".join((before, head.encode(), *parts, state))).digest()


def digest(lines: Any) -> bytes:
    """Return the digest of what one table holds of a run: lines of JSON values and bytes."""
    text = json.dumps(lines, ensure_ascii=True, separators=(",", ":"), default=bytes.hex)
    return hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES]


def pack_state(parts: Mapping[int, bytes]) -> bytes:
    """Return digests, by the number of what they cover, as bytes."""
    return b"".join(bytes((part,)) + value for part, value in parts.items())


def unpack_state(state: bytes) -> dict[int, bytes]:
    """Return the digests that an event carries."""
    size = 1 + DIGEST_BYTES
    return {state[at]: state[at + 1 : at + size] for at in range(0, len(state), size)}


# --- the rows that an event moved


Moved = list[tuple[Progress, list[int]]]


def encode_rows(moved: Iterable[tuple[Progress, Iterable[int]]]) -> str:
    """Return rows as an event keeps them: those alike together, as ranges, with what is not as in an untouched row."""
    groups = []
    for progress, rows in moved:
        facts = [
            fact
            for place, (value, usual) in enumerate(zip(progress, _UNTOUCHED, strict=True))
            if value != usual or type(value) is not type(usual)
            for fact in (place, value)
        ]
        groups.append([facts, _ranges(sorted(rows))])
    return encode_json(groups).decode()


def _ranges(rows: Sequence[int]) -> str:
    """Return ascending rows as `1-40,42`."""
    if not rows:
        return ""
    if rows[-1] - rows[0] == len(rows) - 1:
        return f"{rows[0]}-{rows[-1]}"
    ranges, first, last = [], rows[0], rows[0]
    for row in rows[1:]:
        if row != last + 1:
            ranges.append(str(first) if first == last else f"{first}-{last}")
            first = row
        last = row
    ranges.append(str(first) if first == last else f"{first}-{last}")
    return ",".join(ranges)


class MovedRows:
    """The rows that one event moved, to be compared with.

    Args:
        text: From `encode_rows`.

    Raises:
        ValueError, TypeError, IndexError: It was not written so.
    """

    def __init__(self, text: str) -> None:
        self._groups: dict[tuple[Any, ...], tuple[list[int], list[int]]] = {}
        for facts, ranges in json.loads(text) if text else ():
            values: list[Any] = list(_UNTOUCHED)
            for place, value in zip(facts[::2], facts[1::2], strict=True):
                values[place] = value
            bounds = [part.partition("-") for part in ranges.split(",")]
            firsts = [int(first) for first, _, _ in bounds]
            self._groups[Progress(*values)] = firsts, [int(last or first) for first, _, last in bounds]

    def has(self, row: int, progress: tuple[Any, ...]) -> bool:
        """Tell whether the event left this row so."""
        found = self._groups.get(progress)
        if found is None:
            return False
        firsts, lasts = found
        place = bisect_right(firsts, row) - 1
        return place >= 0 and row <= lasts[place]
