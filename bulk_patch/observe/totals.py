"""How fast a run was: totals that survive a kill and add up over sessions."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bulk_patch.observe.timeline import Timeline
from bulk_patch.words import milliseconds_words

_ASKED = "asked_to_wait"
_LATELY_S = 30.0
_JUDGED_AFTER_S, _JUDGED_AFTER = 3.0, 50  # seconds and requests: less says nothing about the rate
_STEP = 1.05  # a bucket is 5 % wide, so a percentile is right to 5 %


def asked_to_wait_of(stored: Mapping[str, Any]) -> tuple[float, float]:
    """Return when the API asked for a wait last, and until when, of totals as they are kept; zeros: it did not."""
    asked_at, until = stored.get(_ASKED, (0.0, 0.0))
    return asked_at, until


def with_asked_to_wait(stored: Mapping[str, Any], asked: tuple[float, float]) -> dict[str, Any]:
    """Return totals as they are kept, with another wait."""
    return {**stored, _ASKED: list(asked)}


@dataclass(slots=True)
class Totals:
    """Requests, seconds and latencies of a run, over all its sessions."""

    requests: int = 0  # reads included
    send_s: float = 0.0  # wall clock of sending
    throttled: int = 0  # 429s received, and 503s with Retry-After
    limit_per_s: float | None = None  # None: unlimited
    _latency: Counter[int] = field(default_factory=Counter)  # bucket -> answered PATCHes
    series: Timeline = field(default_factory=Timeline)  # the same over time
    concurrency: int = 0  # requests that may be under way; 0: not known
    slowed_s: float = 0.0  # seconds in which throttling kept the rate down
    busy_s: float = field(default=0.0, compare=False)  # of all answered PATCHes together
    cpu_s: float = 0.0  # of this program while it sent
    asked_to_wait: tuple[float, float] = (0.0, 0.0)  # when the API asked for a wait last, and until when; Unix seconds

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Totals":
        """Rebuild what `to_json` gave; an empty mapping gives empty totals."""
        latency = Counter({int(bucket): count for bucket, count in stored.get("latency", {}).items()})
        return cls(
            stored.get("requests", 0),
            stored.get("send_s", 0.0),
            stored.get("throttled", 0),
            stored.get("limit_per_s"),
            latency,
            Timeline.from_json(stored.get("series", {})),
            stored.get("concurrency", 0),
            stored.get("slowed_s", 0.0),
            stored.get("busy_s", 0.0),
            stored.get("cpu_s", 0.0),
            asked_to_wait=asked_to_wait_of(stored),
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for the ledger."""
        return {
            "requests": self.requests,
            "send_s": round(self.send_s, 3),
            "throttled": self.throttled,
            "limit_per_s": self.limit_per_s,
            "latency": {str(bucket): count for bucket, count in self._latency.items()},
            "series": self.series.to_json(),
            "concurrency": self.concurrency,
            "slowed_s": round(self.slowed_s, 3),
            "busy_s": round(self.busy_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            _ASKED: list(self.asked_to_wait),
        }

    def add(self, elapsed_s: Iterable[float]) -> None:
        """Count answered PATCHes by their latency."""
        for seconds in elapsed_s:
            self.busy_s += seconds
            self._latency[math.ceil(math.log(max(seconds, 1e-6) * 1000, _STEP))] += 1

    def percentile_ms(self, share: float) -> float | None:
        """Return the latency that this share of PATCHes stayed under, milliseconds; None without any."""
        rest = share * self._latency.total()
        for bucket in sorted(self._latency):
            rest -= self._latency[bucket]
            if rest <= 0:
                return round(_STEP**bucket, 1)
        return None

    @property
    def requests_per_s(self) -> float | None:
        """Return the achieved rate over all sessions; None before the first.

        Between n requests lie n - 1 intervals: counted so, a run that keeps its limit never seems to exceed it.
        """
        return round(max(0, self.requests - 1) / self.send_s, 2) if self.send_s else None

    @property
    def lately_per_s(self) -> float | None:
        """Return the changes answered a second over the last half minute of sending, pauses included; None: unknown."""
        width_s = self.series.width_s
        first = max(0, int((self.send_s - max(_LATELY_S, 2 * width_s)) / width_s))
        answered = sum(
            slice_.classes[2] + slice_.classes[4] for number, slice_ in self.series.slices.items() if number >= first
        )
        since_s = self.send_s - first * width_s
        return answered / since_s if answered and since_s >= 1 else None

    @property
    def held_back_by(self) -> str:
        """Name what kept the rate from being higher, "" where that is not known."""
        achieved = self.requests_per_s
        if achieved is None or self.send_s < _JUDGED_AFTER_S or self.requests < _JUDGED_AFTER:
            return ""
        if self.limit_per_s is not None and achieved >= 0.9 * self.limit_per_s:
            return "the limit"
        if self.slowed_s >= 0.2 * self.send_s:
            return "throttling by the API"
        if self.concurrency and self.busy_s >= 0.7 * self.send_s * self.concurrency:
            each = milliseconds_words(1000 * self.busy_s / max(1, self._latency.total()))
            return f"latency and concurrency ({self.concurrency} at a time, {each} each)"
        return "this machine" if self.cpu_s >= 0.7 * self.send_s else ""
