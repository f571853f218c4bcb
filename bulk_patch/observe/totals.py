"""How fast a run was: totals that survive a kill and add up over sessions."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bulk_patch.observe.timeline import Timeline

_STEP = 1.05  # a bucket is 5 % wide, so a percentile is right to 5 %


@dataclass(slots=True)
class Totals:
    """Requests, seconds and latencies of a run, over all its sessions."""

    requests: int = 0  # reads included
    send_s: float = 0.0  # wall clock of sending
    throttled: int = 0  # 429s received
    limit_per_s: float | None = None  # None: unlimited
    _latency: Counter[int] = field(default_factory=Counter)  # bucket -> answered PATCHes
    series: Timeline = field(default_factory=Timeline)  # the same over time

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
        }

    def add(self, elapsed_s: Iterable[float]) -> None:
        """Count answered PATCHes by their latency."""
        for seconds in elapsed_s:
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
