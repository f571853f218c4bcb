"""Which rows may be claimed next, how many of them, and what has to happen to each before it is sent."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bulk_patch.client.session import ApiSession
from bulk_patch.job.settings import Job
from bulk_patch.model import Answer, Patch, Precheck
from bulk_patch.sending.drift_check import DriftCheck, is_stale
from bulk_patch.sending.run_ledger import RunLedger
from bulk_patch.targets import KeyRetention

UNLIMITED_CLAIM = 1024


@dataclass(frozen=True, slots=True)
class SendScope:
    """What a session may send of its run.

    Attributes:
        canary: How many rows still have to be sent one by one.
        limit: At most so many rows; None: all.
        only_requested: Only rows that `retry` asked for.
        only_rows: Only these rows, of those that are still to be tried; None: all.
        clock_went_back: See `precheck`.
        read_first: Every row is read before it is sent: the ledger was older than its folder.
    """

    canary: int = 0
    limit: int | None = None
    only_requested: bool = False
    only_rows: Sequence[int] | None = None
    clock_went_back: bool = False
    read_first: bool = False


def precheck(patch: Patch, keys: KeyRetention | None, *, now: float, clock_went_back: bool) -> Precheck:
    """Say what has to happen to a claimed row before it is sent: doubt is looked at before it is repeated. Pure.

    The API does not keep a 5xx under a key, so the same key may execute again, over what somebody edited meanwhile.

    Args:
        patch: The row; `intent_at` is the first intent under its key.
        keys: For how long the API knows a key again; None: it knows none.
        now: Unix seconds.
        clock_went_back: The ledger knows a later time than now, so no age can be trusted.
    """
    if not patch.ambiguous:
        return Precheck.SEND
    age_s = now - patch.intent_at
    if keys is None or clock_went_back or not 0 <= age_s <= keys.safe_age_s:
        return Precheck.READ_EXPIRED
    return Precheck.READ


def most_out(rate_per_s: float, concurrency: int) -> int:
    """Return how many rows may be handed out and not yet recorded; the rate may be infinite."""
    return concurrency + (UNLIMITED_CLAIM if rate_per_s > UNLIMITED_CLAIM else int(rate_per_s))


def fewest_claimed(rate_per_s: float, concurrency: int) -> int:
    """Return how many rows have to be free before more are claimed, and read again together where they have to be."""
    return max(1, most_out(rate_per_s, concurrency) // 4)


class Claims:
    """Claims the rows of one session, those that drifted left out.

    Args:
        job: Limits and guards.
        ledger: Of the run.
        session: For the rate, and the reads of the drift check.
        scope: What may be sent.
    """

    def __init__(self, job: Job, ledger: RunLedger, *, session: ApiSession, scope: SendScope) -> None:
        self._job = job
        self._ledger = ledger
        self._limiter = session.limiter
        self._keys = session.target.keys
        self._scope = scope
        self._only_rows = deque(scope.only_rows) if scope.only_rows is not None else None
        self._may_recheck = job.guards.drift == "auto" and ledger.run.summary.recheck > 0
        self._drift = DriftCheck(ledger, session, only_requested=scope.only_requested)

    def abort(self) -> None:
        """Do not wait for a read any longer."""
        self._drift.abort()

    def take_answers(self) -> list[Answer]:
        """Return how the requests of the drift check ended since this was asked last."""
        taken, self._drift.answers[:] = list(self._drift.answers), []
        return taken

    def is_limit_reached(self, handed_out: int) -> bool:
        """Tell whether the session has handed out as many rows as it may."""
        return self._scope.limit is not None and handed_out >= self._scope.limit

    def room(self, out: int, handed_out: int, *, in_canary: bool) -> int:
        """Return how many rows to claim now; 0 until a quarter of what may be out is free again.

        Args:
            out: Rows that are handed out and not yet recorded.
            handed_out: Rows of the session so far.
            in_canary: The next row goes alone.
        """
        if in_canary:
            n = 1 - out
        else:
            rate_per_s, concurrency = self._limiter.limit_per_s, self._job.limits.concurrency
            n = most_out(rate_per_s, concurrency) - out
            n = n if n >= fewest_claimed(rate_per_s, concurrency) else 0
        return n if self._scope.limit is None else min(n, self._scope.limit - handed_out)

    async def claim(self, n: int, *, canary: bool) -> list[Patch]:
        """Claim rows and say for each what has to happen before it is sent.

        Raises:
            Unreadable, RunHalted, LimiterClosed: Rows could not be read again before sending; none was claimed.
        """
        stale = self._scope.read_first or is_stale(self._job, self._ledger.run, time.time())
        rows: list[int] | None = None
        if self._only_rows is not None:
            rows = [self._only_rows.popleft() for _ in range(min(n, len(self._only_rows)))]
        elif stale or self._may_recheck:
            rows = await self._drift.find_unchanged(n, stale=stale)
        if rows == []:
            return []
        now = time.time()  # of the intent: reading may have taken minutes
        patches = await self._ledger.claim(n, now=now, only_requested=self._scope.only_requested, rows=rows)
        return [self._with_precheck(patch, now, canary=canary) for patch in patches]

    def _with_precheck(self, patch: Patch, now: float, *, canary: bool) -> Patch:
        first = precheck(patch, self._keys, now=now, clock_went_back=self._scope.clock_went_back)
        if patch.intent_at > now:  # a clock that was wrong: nothing is known to be older than it
            patch = replace(patch, intent_at=0.0)
        if first is Precheck.SEND and not canary:
            return patch  # almost every row is as the ledger gave it
        return replace(patch, first=first, canary=canary, read_back=patch.read_back or canary)
