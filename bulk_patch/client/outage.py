"""The outage brake: stop sending to an API that is down, and probe it. Pure."""

import math
from collections import Counter, deque
from collections.abc import Callable

from bulk_patch.client.backoff import backoff_s

OUTAGE_FAILURES = 10
OUTAGE_ROWS = 3
OUTAGE_WINDOW_S = 30.0
SLOT_S = 0.1  # successes within so long are counted together: one by one, 7,000/s took 20 MiB


class Outage:
    """The outage brake, fed with what happened to each request.

    Ten failures in a row draw it, or ten that are half of the answers within 30 s, of at least three rows. While it is
    drawn, one waiting request at a time is let out as a probe, after growing pauses; the first success releases it. A
    request is identified by the time of its permit: one that left before the brake was drawn is not a probe.
    """

    def __init__(self) -> None:
        self.drawn = False
        self.probe_at = -math.inf
        self._probe: float | None = None  # time of the permit of the probe that is out
        self._probes = 0  # failed ones
        self._since: float | None = None  # first failure after the last success
        self._in_a_row = 0
        self._rows_in_a_row: set[int] = set()
        self._failures: deque[tuple[float, int]] = deque()  # in the window: when, and of which row
        self._failing: Counter[int] = Counter()  # the same by row
        self._successes: deque[tuple[float, int]] = deque()  # in the window: start of a slot, and how many in it
        self._successful = 0  # their sum

    @property
    def probing(self) -> bool:
        """Tell whether a probe is out."""
        return self._probe is not None

    def sent(self, now: float) -> None:
        """Note that a request goes out; while the brake holds it is the probe."""
        if self.drawn:
            self._probe = now

    def ended(self, sent_at: float) -> None:
        """Note that a request ended without saying anything about an outage."""
        if sent_at == self._probe:
            self._probe = None

    def succeeded(self, now: float) -> None:
        """Note a success."""
        if self.drawn:
            self._failures.clear()
            self._failing.clear()
            self._successes.clear()
            self._successful = 0
        self._successful += 1
        if self._successes and now - self._successes[-1][0] < SLOT_S:
            since, count = self._successes[-1]
            self._successes[-1] = (since, count + 1)
        else:
            self._successes.append((now, 1))
            self._forget(now)
        self.drawn, self.probe_at, self._probe, self._probes = False, -math.inf, None, 0
        self._since, self._in_a_row = None, 0
        self._rows_in_a_row.clear()

    def failed(self, row: int, sent_at: float, now: float, longest_s: float, draw: Callable[[], float]) -> None:
        """Note a failure of a row."""
        self._since = now if self._since is None else self._since
        self._in_a_row += 1
        if len(self._rows_in_a_row) < OUTAGE_ROWS:
            self._rows_in_a_row.add(row)
        self._failures.append((now, row))
        self._failing[row] += 1
        self._forget(now)
        was_probe = sent_at == self._probe
        if was_probe:
            self._probe = None
            self._probes += 1
        is_new = not self.drawn and self._is_one()
        if is_new or was_probe:
            self.drawn = True
            self.probe_at = now + max(1.0, backoff_s(self._probes, longest_s, draw))

    def lasting_s(self, now: float) -> float:
        """Return how long nothing has succeeded, seconds; 0 while the brake is not drawn."""
        return now - self._since if self.drawn and self._since is not None else 0.0

    def _forget(self, now: float) -> None:
        """Forget what is older than the window."""
        start = now - OUTAGE_WINDOW_S
        while self._successes and self._successes[0][0] < start:
            self._successful -= self._successes.popleft()[1]
        while self._failures and self._failures[0][0] < start:
            _, row = self._failures.popleft()
            self._failing[row] -= 1
            if not self._failing[row]:
                del self._failing[row]

    def _is_one(self) -> bool:
        if self._in_a_row >= OUTAGE_FAILURES and len(self._rows_in_a_row) >= OUTAGE_ROWS:
            return True
        is_half = len(self._failures) >= max(OUTAGE_FAILURES, self._successful)
        return is_half and len(self._failing) >= OUTAGE_ROWS
