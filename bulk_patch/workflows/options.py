"""What was asked for besides the job, and who watches it happen."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts
from bulk_patch.sending.dispatcher import Dispatcher


class Observer(Protocol):
    """Sees a run happen: a screen, a test, nobody. Receives frozen records and counts, never customers' values."""

    def planned(self, run: Run, counts: Counts) -> None:
        """Meet a plan that was just sealed."""

    def agrees(self, run: Run, counts: Counts) -> bool:
        """Say whether to send it."""
        ...

    def reading(self, customers: int, requests: int) -> None:
        """Learn what a live baseline is going to read."""

    def read(self, customers: int) -> None:
        """Learn that so many more customers were read."""

    def sending(self, run: Run, rows: int) -> None:
        """Learn that sending begins, with so many rows to do."""

    def progress(self, dispatcher: Dispatcher) -> None:
        """Look at a driver after each recording."""

    def sent(self) -> None:
        """Learn that sending has ended."""

    def next_command(self, run: Run, counts: Counts, to_do: int) -> str:
        """Return the command that goes on from here, "" when there is none."""
        ...

    def run_command(self) -> str:
        """Return the command that plans and sends the input as it is, "" when none is known."""
        ...


class NullObserver:
    """A watcher that shows nothing and agrees to everything: the default of library calls."""

    def planned(self, run: Run, counts: Counts) -> None:
        """Show nothing."""

    def agrees(self, run: Run, counts: Counts) -> bool:
        """Agree."""
        return True

    def reading(self, customers: int, requests: int) -> None:
        """Show nothing."""

    def read(self, customers: int) -> None:
        """Show nothing."""

    def sending(self, run: Run, rows: int) -> None:
        """Show nothing."""

    def progress(self, dispatcher: Dispatcher) -> None:
        """Show nothing."""

    def sent(self) -> None:
        """Show nothing."""

    def next_command(self, run: Run, counts: Counts, to_do: int) -> str:
        """Know of no command."""
        return ""

    def run_command(self) -> str:
        """Know of no command."""
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What was asked for, besides the job."""

    output: Path | None = None
    operator: str = ""
    reason: str = ""
    ticket: str = ""
    new: bool = False
    skip_invalid: bool = True
    limit: int | None = None
    go_on: bool = False  # --continue
    observer: Observer = field(default_factory=NullObserver)
