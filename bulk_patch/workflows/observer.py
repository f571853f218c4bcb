"""What watches a run happen: a screen, a log, a test. Receives frozen records and counts, never customers' values."""

from dataclasses import dataclass
from typing import Protocol

from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class SendProgress:
    """How far a session of sending is.

    Attributes:
        done: Rows whose outcome is recorded.
        ok: Of these, applied.
        refused: Of these, rejected or mismatched.
        throttled: 429s received by the session.
        limit_per_s: Requests a second at the moment; infinity: unlimited.
        paused_s: Seconds until the next request may be sent; 0: not paused.
        pause_reason: Why it is paused, "" when it is not.
    """

    done: int
    ok: int
    refused: int
    throttled: int
    limit_per_s: float
    paused_s: float
    pause_reason: str


class Observer(Protocol):
    """Watches a run. Its methods must return at once: the run waits for them."""

    def planned(self, run: Run, counts: Counts) -> None:
        """See a plan that has just been sealed."""

    def reading(self, customers: int, requests: int) -> None:
        """Learn what a live baseline is going to read."""

    def read(self, customers: int) -> None:
        """Learn that so many more customers have been read."""

    def sending(self, run: Run, rows: int) -> None:
        """Learn that sending starts, with so many rows to do."""

    def progress(self, progress: SendProgress) -> None:
        """See how far sending is, after each recording and at least twice a second."""

    def sent(self) -> None:
        """Learn that sending or reading has ended."""


class NullObserver:
    """An observer that does nothing: the default of library calls."""

    def planned(self, run: Run, counts: Counts) -> None:
        """Do nothing."""

    def reading(self, customers: int, requests: int) -> None:
        """Do nothing."""

    def read(self, customers: int) -> None:
        """Do nothing."""

    def sending(self, run: Run, rows: int) -> None:
        """Do nothing."""

    def progress(self, progress: SendProgress) -> None:
        """Do nothing."""

    def sent(self) -> None:
        """Do nothing."""
