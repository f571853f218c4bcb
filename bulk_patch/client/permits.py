"""The permit to send one request, and the limiter as those who send see it."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from bulk_patch.model import Meaning, Stop


class LimiterClosed(Exception):  # noqa: N818 - not an error, a way out
    """The run stops: what waited for a permit was not sent."""


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to send one request now; it is passed on with the request, never read off the limiter."""

    granted_at: float  # monotonic seconds; also tells the outage brake which request an answer belongs to


class SignalKind(Enum):
    """What the end of one request means to all others."""

    OK = "ok"  # the API itself answered
    THROTTLED = "throttled"  # too many requests
    OUTAGE = "outage"  # 5xx, no answer, unreachable
    FOREIGN = "foreign"  # something else than the API refused: all wait
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What became of one request, as far as the others depend on it.

    Attributes:
        kind: What it means.
        row: Whose request it was; 0: of none in particular.
        reason: Why the run stops, where it has to.
        asked_s: How long the answer asks to wait; None: it does not say.
        streak: Meaning of answers of which several in a row stop the run; None ends a streak.
        counts: It counts for or against a streak.
        canary: It belongs to one of the first rows.
    """

    kind: SignalKind
    row: int = 0
    reason: str = ""
    asked_s: float | None = None
    streak: Meaning | None = None
    counts: bool = False
    canary: bool = False


NOTHING = Signal(kind=SignalKind.NOTHING)


class Permits(Protocol):
    """The limiter of a run, shared by all of its requests: PATCHes, retries, reads, probes.

    * `acquire` comes before every request. It gives one permit at a time, in the order in which they were asked for,
      and never more of them than the rate allows in any window of time.
    * Each permit is settled exactly once, with what became of its request. Rate, pauses, the outage brake and the
      streaks are decided there and nowhere else.
    * A request whose permit is stale takes another one with `retake` before its first byte leaves. It stays one
      request, and is settled with the permit that it got first.
    """

    async def acquire(self, *, probe: bool = False) -> Permit:
        """Wait for the turn to send one request.

        Args:
            probe: Pass those whom `hold` stops: this is the request that decides whether they may go on.

        Raises:
            LimiterClosed: The run stops; nothing was sent.
        """
        ...

    async def retake(self, permit: Permit) -> Permit:
        """Wait for another turn for a request whose permit is stale.

        Raises:
            LimiterClosed: The run stops; nothing was sent.
        """
        ...

    def is_stale(self, permit: Permit) -> bool:
        """Tell whether a request is too late for its permit and has to take another turn."""
        ...

    def leaves(self, permit: Permit) -> None:
        """Note that the first byte of a request leaves now."""
        ...

    def settle(self, permit: Permit, signal: Signal) -> Stop | None:
        """Settle a request; return the stop of the run that its end makes due."""
        ...

    def pause(self, seconds: float, reason: str) -> None:
        """Make all requests wait."""
        ...

    def hold(self) -> None:
        """Make all requests but probes wait until `release`."""
        ...

    def release(self) -> None:
        """End one `hold`."""
        ...

    def set_limit(self, rate_per_s: float) -> None:
        """Change the rate that is never exceeded; infinite: none."""
        ...

    def close(self) -> None:
        """Grant nothing any more."""
        ...
