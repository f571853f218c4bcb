"""A run over time, in few numbers: requests, status classes and latencies of each slice, and the pauses.

The clock is seconds of sending, over all sessions of the run: the hours between a kill and the next start do not count.
A run of any length fits into `SLICES` slices: when they are full, each two are joined, and slices are twice as wide.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SLICES = 240
FIRST_WIDTH_S = 0.25
MOST_PAUSES = 100
MOST_SESSIONS = 200
#: What is counted of each slice, in this order.
CLASSES = ("no answer", "1xx", "2xx", "3xx", "4xx", "5xx", "429")
THROTTLED = 6

_STEP = 1.1  # a latency is right to 10 %
_SAME_PAUSE_S = 5.0  # pauses for one reason with less between them are joined


@dataclass(slots=True)
class Slice:
    """What happened in one slice of time."""

    classes: list[int] = field(default_factory=lambda: [0] * len(CLASSES))  # requests by how they were answered
    latency: Counter[int] = field(default_factory=Counter)  # bin -> answered PATCHes

    @property
    def requests(self) -> int:
        """Return how many requests ended in it, reads included."""
        return sum(self.classes)

    def absorb(self, other: "Slice") -> None:
        """Add what happened in another slice."""
        self.classes = [mine + theirs for mine, theirs in zip(self.classes, other.classes, strict=True)]
        self.latency.update(other.latency)

    def percentile_ms(self, share: float) -> float | None:
        """Return the latency that this share of PATCHes stayed under, milliseconds; None without any."""
        rest = share * self.latency.total()
        for bin_ in sorted(self.latency):
            rest -= self.latency[bin_]
            if rest <= 0:
                return round(_STEP**bin_, 1)
        return None


@dataclass(slots=True)
class Pause:
    """A time in which all requests waited."""

    at_s: float  # seconds of sending
    time_s: float  # Unix seconds
    seconds: float
    reason: str
    times: int = 1


@dataclass(slots=True)
class Timeline:
    """A run over time; see the module."""

    width_s: float = FIRST_WIDTH_S
    slices: dict[int, Slice] = field(default_factory=dict)  # number -> slice; empty ones are left out
    sessions: list[tuple[float, float]] = field(default_factory=list)  # seconds of sending, Unix seconds
    pauses: list[Pause] = field(default_factory=list)
    _clock: Callable[[], float] = field(
        default=lambda: time.monotonic(), repr=False, compare=False
    )  # as it is when it is asked
    _started_at: float = field(default=0.0, repr=False, compare=False)  # on the clock: second 0 of sending
    _until: float = field(default=-math.inf, repr=False, compare=False)  # on the clock: end of the present slice
    _classes: list[int] = field(default_factory=list, repr=False, compare=False)  # of the present slice
    _fresh: list[float] = field(
        default_factory=list, repr=False, compare=False
    )  # latencies of the present slice, seconds
    _number: int = field(default=0, repr=False, compare=False)  # of the present slice

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Timeline":
        """Rebuild what `to_json` gave; an empty mapping gives an empty timeline."""
        slices = {
            number: Slice(classes, Counter({int(bin_): count for bin_, count in latency.items()}))
            for number, classes, latency in stored.get("slices", ())
        }
        return cls(
            stored.get("width_s", FIRST_WIDTH_S),
            slices,
            [(at_s, time_s) for at_s, time_s in stored.get("sessions", ())],
            [Pause(*pause) for pause in stored.get("pauses", ())],
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for the ledger."""
        self._fold()
        return {
            "width_s": self.width_s,
            "slices": [
                [number, slice_.classes, {str(bin_): count for bin_, count in slice_.latency.items()}]
                for number, slice_ in sorted(self.slices.items())
            ],
            "sessions": self.sessions,
            "pauses": [[pause.at_s, pause.time_s, pause.seconds, pause.reason, pause.times] for pause in self.pauses],
        }

    # --- while it is sent

    def start(self, sent_for_s: float, *, now: float) -> None:
        """Start a session.

        Args:
            sent_for_s: Seconds of sending before it.
            now: Unix seconds.
        """
        self._started_at, self._until = self._clock() - sent_for_s, -math.inf
        self.sessions = [*self.sessions, (round(sent_for_s, 3), now)][-MOST_SESSIONS:]

    def answered(self, status: int, patch_s: float | None, *, at: float | None = None) -> None:
        """Count one request that ended. This is the hot path: under half a microsecond.

        Args:
            status: HTTP status; 0: there was no answer.
            patch_s: How long a PATCH took to be answered; None: a read, or no answer.
            at: When that was, on the clock; None: now. What is older than the present slice belongs to its own.
        """
        now = self._clock() if at is None else at
        if now >= self._until or now < self._until - self.width_s:
            self._turn(now)
        if patch_s is not None:
            self._fresh.append(patch_s)
        self._classes[THROTTLED if status == 429 else status // 100 if 100 <= status < 600 else 0] += 1

    def paused(self, seconds: float, reason: str, *, now: float) -> None:
        """Note that all requests wait from now on.

        Args:
            seconds: How long.
            reason: Why.
            now: Unix seconds.
        """
        at_s = self._clock() - self._started_at
        last = self.pauses[-1] if self.pauses else None
        if last is not None and last.reason == reason and at_s <= last.at_s + last.seconds + _SAME_PAUSE_S:
            last.seconds = round(max(last.seconds, at_s + seconds - last.at_s), 3)
            last.times += 1
        elif last is not None and len(self.pauses) >= MOST_PAUSES:
            last.seconds, last.times = round(last.seconds + seconds, 3), last.times + 1
        else:
            self.pauses.append(Pause(round(at_s, 3), now, round(seconds, 3), reason))

    def _turn(self, now: float) -> None:
        """Turn to the present slice; make all slices wider when it would be one too many."""
        self._fold()
        at_s = max(0.0, now - self._started_at)  # an earlier session's answer belongs to the start of this one
        while at_s >= self.width_s * SLICES:
            self._widen()
        self._number = int(at_s / self.width_s)
        self._until = self._started_at + (self._number + 1) * self.width_s
        self._classes = self.slices.setdefault(self._number, Slice()).classes

    def _fold(self) -> None:
        """Count the latencies of the present slice; kept apart until now, because a logarithm takes its time."""
        if self._fresh:
            latency = self.slices[self._number].latency
            latency.update(math.ceil(math.log(max(elapsed_s, 1e-6) * 1000, _STEP)) for elapsed_s in self._fresh)
            self._fresh.clear()

    def _widen(self) -> None:
        wider: dict[int, Slice] = {}
        for number, slice_ in self.slices.items():
            wider.setdefault(number // 2, Slice()).absorb(slice_)
        self.slices, self.width_s = wider, self.width_s * 2

    # --- afterwards

    def points(self, most: int = SLICES) -> list[tuple[float, float, Slice]]:
        """Return (start, end, what happened) from the first slice to the last, seconds of sending, none left out.

        Args:
            most: How many at most; slices are joined for it.
        """
        self._fold()
        if not self.slices:
            return []
        last = max(self.slices) + 1
        step = -(-last // most)
        joined = [Slice() for _ in range(-(-last // step))]
        for number, slice_ in self.slices.items():
            joined[number // step].absorb(slice_)
        width_s = self.width_s * step
        return [(at * width_s, (at + 1) * width_s, slice_) for at, slice_ in enumerate(joined)]
