"""How requests fare on their way to the simulated API and back: drawn from dice, until the weather clears."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bulk_patch.model import FailureKind, Request
from bulk_patch.sandbox import Fault, Seen
from tests.chaos.mishaps import MISHAPS, Mishap
from tests.chaos.universe import Universe

#: What never reaches the API; with it go failures that the sandbox cannot play.
NEVER_LEFT = (FailureKind.DNS, FailureKind.REFUSED, FailureKind.CONNECT, FailureKind.TLS)
#: Lines of the fault table that stop a run at once: rare, or nothing else would be seen.
STOPPING = ("wrong customer", "switched", "redirected", "reused", "foreign", "throttled: 429 for an hour")
LATE = "late: after the client gave up"
TWICE = "late: delivered twice"
SLOW = "late: carried out, answered too late"
_KEPT_LINES = ("refused", "unauthenticated", "unsettled")
_OUTAGE = ("failing: 500 own", "failing: 502 gateway after", "failing: 599 empty", "no answer: reset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """How one request fares."""

    name: str = ""
    connect_s: float = 0.0  # 0: the connection is there
    lost: FailureKind | None = None  # it never leaves
    there_s: float = 0.0  # until it arrives
    again_s: float | None = None  # until it arrives a second time, after the first
    work_s: float = 0.0  # what the API takes
    back_s: float = 0.0  # until the answer arrives
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Climate:
    """What weather a universe has."""

    share: float = 0.05  # of requests that something happens to
    outage_share: float = 0.0  # of processes that meet an outage
    cursed: Mapping[str, str] = field(default_factory=dict)  # customer -> what happens to all its requests
    unlucky: Mapping[str, str] = field(default_factory=dict)  # customer -> what happens to its first PATCH
    latency_s: float = 0.1


def _as_the_api_keeps_it(mishap: Mishap, seen: Seen) -> Fault:
    """Return the fault; the API keeps its own refusals under the key, which late arrivals then get too."""
    fault = mishap.of(seen)
    line, _, rest = mishap.name.partition(":")
    kept = line in _KEPT_LINES and "own" in rest.split() and not fault.execute
    name = mishap.name.replace("pause=", "waits ")  # pauses are judged by what the client got, not by arrivals
    name = name.removesuffix(" own") if line in ("processing", "reused") else name  # they leave everything open
    return replace(fault, name=name, cached=fault.cached or kept)


class Weather:
    """Draws how each request fares.

    Args:
        universe: Gives dice and time.
        climate: What to expect.
    """

    def __init__(self, universe: Universe, climate: Climate) -> None:
        self._universe = universe
        self._climate = climate
        self._names = [*MISHAPS, LATE, TWICE, SLOW, *NEVER_LEFT]
        self._weights = [0.08 if str(name).startswith(STOPPING) else 1.0 for name in self._names]
        self._outage: tuple[float, float, Sequence[str]] = (0.0, 0.0, ())
        self._met: set[str] = set()  # the unlucky ones that had their bad luck
        self.is_clear = False

    def begin_process(self) -> None:
        """Draw whether and when the API is down while the next process lives."""
        dice, now_s = self._universe.dice, self._universe.now_s
        if dice.random() < self._climate.outage_share:
            begins_s = now_s + dice.random() * 3
            what = [FailureKind.REFUSED] if dice.random() < 0.3 else [dice.choice(_OUTAGE)]
            self._outage = (begins_s, begins_s + dice.choice([20.0, 300.0, 4000.0]), [str(name) for name in what])

    def trip(self, request: Request, seen: Seen) -> Trip:
        """Draw how a request fares."""
        dice, climate = self._universe.dice, self._climate
        fair = self._fair(dice)
        if self.is_clear:
            return fair
        name = self._what_happens(dice, seen)
        if name is None:
            return fair
        for lost in NEVER_LEFT:
            if name == str(lost):
                return replace(fair, name=f"never left: {lost.value}", connect_s=dice.random() * 10, lost=lost)
        if name == LATE:
            late_s = dice.choice([80.0, 100.0, 400.0, 1500.0]) * (1 + dice.random())
            return replace(fair, name=name, there_s=late_s, fault=Fault(execute=True, name=name))
        if name == TWICE:
            again_s = dice.choice([0.01, 1.0, 90.0])
            return replace(fair, name=name, again_s=again_s, fault=Fault(execute=True, name=name))
        if name == SLOW:
            return replace(fair, name=name, fault=Fault(execute=True, lag_s=76.0 + 200 * dice.random(), name=name))
        fault = _as_the_api_keeps_it(MISHAPS[name], seen)
        return replace(fair, name=name, fault=fault, work_s=dice.random() * climate.latency_s)

    def _fair(self, dice: random.Random) -> Trip:
        """Return a trip on which nothing happens."""
        usual_s = self._climate.latency_s
        connect_s = dice.random() * 0.3 if dice.random() < 0.2 else 0.0
        return Trip(
            connect_s=connect_s,
            there_s=dice.random() * usual_s / 2,
            work_s=dice.random() * usual_s,
            back_s=dice.random() * usual_s / 2,
        )

    def _what_happens(self, dice: random.Random, seen: Seen) -> str | None:
        climate, (begins_s, ends_s, what) = self._climate, self._outage
        customer_id = seen.customer_id or ""
        if customer_id in climate.unlucky and seen.key is not None and customer_id not in self._met:
            self._met.add(customer_id)
            return climate.unlucky[customer_id]
        if begins_s <= self._universe.now_s < ends_s:
            return dice.choice(what)
        if customer_id in climate.cursed:
            return climate.cursed[customer_id]
        if dice.random() < climate.share:
            return str(dice.choices(self._names, self._weights)[0])
        return None
