"""The permit to send one request, and the limiter as those who send see it."""

from dataclasses import dataclass
from typing import Protocol


class LimiterClosed(Exception):  # noqa: N818 - not an error, a way out
    """The run stops: what waited for a permit was not sent."""


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to send one request now; it is passed on with the request, never read off the limiter."""

    granted_at: float  # monotonic seconds; also tells the outage brake which request an answer belongs to


class Permits(Protocol):
    """The limiter of a run, shared by all of its requests: PATCHes, retries, reads, probes.

    * `acquire` comes before every request. It gives one permit at a time, in the order in which they were asked for,
      and never more of them than the rate allows in any window of time.
    * Each permit is settled exactly once, by what became of its request: `succeeded`, `failed`, `throttle` or `passed`.
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

    def succeeded(self) -> None:
        """Settle a request that the API itself answered."""
        ...

    def failed(self, row: int, permit: Permit) -> None:
        """Settle a request that met an outage: 5xx, no answer, unreachable."""
        ...

    def passed(self, permit: Permit) -> None:
        """Settle a request that ended without saying anything about an outage."""
        ...

    def throttle(self, permit: Permit, asked_s: float | None) -> float:
        """Settle a request that was answered 429; return the pause that all make now, seconds."""
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

    def close(self) -> None:
        """Grant nothing any more."""
        ...
