"""Read rows again before they are sent: those that someone changed since the plan are recorded, not overwritten."""

import asyncio
import time
from collections.abc import Sequence

from bulk_patch.client.permits import LimiterClosed
from bulk_patch.client.reads import Found, read_many
from bulk_patch.client.session import ApiSession
from bulk_patch.job.settings import Job
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Answer, Outcome, Patch, State
from bulk_patch.sending.run_ledger import RunLedger


def is_stale(job: Job, run: Run, now: float) -> bool:
    """Tell whether the plan's view of every customer is too old to overwrite what it does not show. Pure."""
    if not run.baseline_can.compares or job.guards.drift == "off":
        return False
    taken_at = run.created_at if run.summary.snapshot_at is None else run.summary.snapshot_at
    too_old = now - taken_at > job.baseline.max_age_h * 3600
    return job.guards.drift == "check" or (run.baseline_can.is_live and too_old)


class DriftCheck:
    """Checks the rows of one session.

    Args:
        ledger: Of the run.
        session: For the reads.
        only_requested: Only rows that `retry` asked for.
    """

    def __init__(self, ledger: RunLedger, session: ApiSession, *, only_requested: bool) -> None:
        self._ledger = ledger
        self._session = session
        self._only_requested = only_requested
        self._reading: asyncio.Future[Found] | None = None
        self._aborted = False
        self.answers: list[Answer] = []  # of its reads, until somebody takes them

    def abort(self) -> None:
        """Cut off a read that is under way."""
        self._aborted = True
        if self._reading is not None:
            self._reading.cancel()

    async def find_unchanged(self, n: int, *, stale: bool) -> list[int]:
        """Return the next rows that may be claimed, at most `n`; those that drifted are recorded.

        Ambiguous rows are not read here: for them the question is another, and each is read when its turn comes.

        Args:
            n: How many rows to look at together.
            stale: All rows have to be read, not only those for which a recheck is noted.

        Raises:
            Unreadable, RunHalted, LimiterClosed: They cannot be read.
        """
        while True:
            found = await self._ledger.peek(n, only_requested=self._only_requested)
            to_check = [(patch, state) for patch, state, recheck in found if (stale or recheck) and not patch.ambiguous]
            if not to_check:
                return [patch.row for patch, _, _ in found]
            drifted = await self._find_drifted(to_check)
            await self._record(drifted)
            gone = {outcome.row for outcome, _ in drifted}
            left = [patch.row for patch, _, _ in found if patch.row not in gone]
            if left or not found:
                return left

    async def _find_drifted(self, rows: Sequence[tuple[Patch, State]]) -> list[tuple[Outcome, State]]:
        evidence, noun = self._session.target.evidence, self._session.target.noun
        read = await self._read([patch.customer_id for patch, _ in rows])
        live = read.by_id
        drifted = []
        for patch, state in rows:
            record = live.get(patch.customer_id)
            names: tuple[str, ...] = ()
            reason = f"the {noun} no longer exists in the API"
            if (why := read.unreadable.get(patch.customer_id)) is not None:
                reason = f"not sent: the {noun}'s record in the API cannot be used: {why}"
            elif record is not None:
                names = evidence.differences(patch, record, ignore_unknown=True)
                if not names:
                    continue
                reason = f"changed by someone since the plan: {', '.join(names)}"
            drifted.append((Outcome(row=patch.row, state=State.DRIFTED, reason=reason, fields=names), state))
        return drifted

    async def _read(self, ids: Sequence[str]) -> Found:
        self._reading = asyncio.ensure_future(read_many(self._session, ids, answers=self.answers))
        try:
            return await self._reading
        except asyncio.CancelledError:
            if self._aborted:
                raise LimiterClosed from None
            raise
        finally:
            self._reading = None

    async def _record(self, drifted: Sequence[tuple[Outcome, State]]) -> None:
        now = time.time()
        back = [outcome.row for outcome, state in drifted if state is State.REJECTED]
        if back:  # a retry that is not sent after all: the legal way back is through sending and pending
            await self._ledger.claim(len(back), now=now, rows=back, only_requested=True)
            unsent = [Outcome(row=row, state=State.PENDING, reason="not sent") for row in back]
            await self._ledger.record(unsent, now=now)
        if drifted:
            await self._ledger.record([outcome for outcome, _ in drifted], now=now)
