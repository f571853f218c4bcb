"""The ledger as a session that sends one run uses it: every call goes to the ledger's own thread."""

import asyncio
from collections.abc import Sequence
from typing import Any

from bulk_patch.concurrency import LedgerThread
from bulk_patch.ledgers import Candidate, Ledger, SendingSession
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Outcome, Patch


class RunLedger:
    """One session of sending one run.

    Args:
        ledger: Holds the run; this session is its only writer.
        session: Of the run.
        run: The sealed run.
        thread: The ledger's thread.
    """

    def __init__(self, ledger: Ledger, session: SendingSession, run: Run, *, thread: LedgerThread) -> None:
        self._ledger = ledger
        self._session = session
        self._thread = thread
        self.run = run

    def peek(self, n: int, *, only_requested: bool) -> asyncio.Future[list[Candidate]]:
        """Return the rows that would be claimed next, each with its state and whether it has to be read again."""
        return self._thread.call(self._session.peek, n, only_requested=only_requested)

    def claim(
        self, n: int, *, now: float, only_requested: bool, rows: Sequence[int] | None = None
    ) -> asyncio.Future[list[Patch]]:
        """Claim up to `n` rows, or these rows: the intent to send them is durable on return."""
        return self._thread.call(self._session.claim, n, now=now, only_requested=only_requested, rows=rows)

    def record(self, outcomes: Sequence[Outcome], *, now: float) -> asyncio.Future[None]:
        """Record outcomes in one transaction."""
        return self._thread.call(self._session.record, outcomes, now=now)

    def save_stats(self, stats: dict[str, Any]) -> asyncio.Future[None]:
        """Save the totals of the run."""
        return self._thread.call(self._ledger.save_metrics, self.run.id, stats)

    def end(self, *, now: float, by_itself: bool) -> asyncio.Future[None]:
        """End the session."""
        return self._thread.call(self._session.end, now=now, by_itself=by_itself)
