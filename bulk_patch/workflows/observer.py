"""What watches a run happen: a screen, a log, a test. Receives frozen records and counts, never customers' values."""

from dataclasses import dataclass
from typing import Protocol

from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts
from bulk_patch.observe import SendProgress


@dataclass(frozen=True, slots=True)
class ReadEstimate:
    """What is going to be read.

    Attributes:
        records: How many at most.
        requests: About how many it takes; 0: nothing is read.
        noun: What the target calls a record.
    """

    records: int
    requests: int
    noun: str


class Observer(Protocol):
    """Watches a run. Its methods must return at once: the run waits for them."""

    def planned(self, run: Run, counts: Counts) -> None:
        """See a plan that has just been sealed."""

    def reading(self, estimate: ReadEstimate) -> None:
        """Learn what a live baseline is going to read."""

    def read(self, records: int) -> None:
        """Learn that so many more records have been read."""

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

    def reading(self, estimate: ReadEstimate) -> None:
        """Do nothing."""

    def read(self, records: int) -> None:
        """Do nothing."""

    def sending(self, run: Run, rows: int) -> None:
        """Do nothing."""

    def progress(self, progress: SendProgress) -> None:
        """Do nothing."""

    def sent(self) -> None:
        """Do nothing."""
