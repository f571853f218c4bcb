"""The ledger as a session that sends one run uses it: every call goes to the ledger's own thread."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Outcome, Patch, State

T = TypeVar("T")


class LedgerThread(Protocol):
    """Runs one call of the ledger in the ledger's thread."""

    def __call__(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> asyncio.Future[T]: ...


class RunLedger:
    """One run of a ledger.

    Args:
        ledger: Holds the run; this session is its only writer.
        run: The sealed run.
        in_thread: Runs a call in the ledger's thread.
    """

    def __init__(self, ledger: Ledger, run: Run, *, in_thread: LedgerThread) -> None:
        self._ledger = ledger
        self._in_thread = in_thread
        self.run = run

    def peek(self, n: int, *, only_requested: bool) -> asyncio.Future[list[tuple[Patch, State, bool]]]:
        """Return the rows that would be claimed next, each with its state and whether it has to be read again."""
        return self._in_thread(self._ledger.peek, self.run.id, n, only_requested=only_requested)

    def claim(
        self, n: int, *, now: float, only_requested: bool, rows: Sequence[int] | None = None
    ) -> asyncio.Future[list[Patch]]:
        """Claim up to `n` rows, or these rows: the intent to send them is durable on return."""
        return self._in_thread(self._ledger.claim, self.run.id, n, now=now, only_requested=only_requested, rows=rows)

    def record(self, outcomes: Sequence[Outcome], *, now: float) -> asyncio.Future[None]:
        """Record outcomes in one transaction."""
        return self._in_thread(self._ledger.record, self.run.id, outcomes, now=now)

    def save_stats(self, stats: dict[str, Any]) -> asyncio.Future[None]:
        """Save the totals of the run."""
        return self._in_thread(self._ledger.update, self.run.id, stats=stats)
