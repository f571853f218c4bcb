"""Bring a sealed run's rows to their end: claim, hand out, record, guard, stop.

The driver is the ledger's only writer. Rows are claimed in small numbers (a second of the rate plus the concurrency, so
that a kill leaves few of them ambiguous), and an outcome counts for nothing before it is recorded.
"""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from bulk_patch.client.rate_limiter import LimiterClosed
from bulk_patch.client.session import ApiSession, RunHalted, Unreadable
from bulk_patch.errors import Exit
from bulk_patch.job.settings import Job
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Outcome, Patch, Precheck, State, Stop
from bulk_patch.observe.totals import Totals
from bulk_patch.sending.engine import Engine
from bulk_patch.sending.guards import RunGuards
from bulk_patch.targets import Record

SAFE_KEY_AGE_S = 6 * 24 * 3600.0  # the API forgets a key after seven days
DRAIN_S = 30.0
UNLIMITED_CLAIM = 1024
_SAVE_EVERY_S = 1.0

T = TypeVar("T")


class LedgerThread(Protocol):
    """Runs one call of the ledger in the ledger's thread."""

    def __call__(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> asyncio.Future[T]: ...


@dataclass(slots=True)
class Progress:
    """What a session did so far, for the progress bar."""

    done: int = 0
    ok: int = 0
    refused: int = 0
    handed_out: int = 0


@dataclass(slots=True)
class SessionResult:
    """How a session ended."""

    stops: list[Stop] = field(default_factory=list)
    stopped_by: str = ""  # the guard or fault that a person has to waive
    signal: Exit | None = None
    limited: bool = False  # --limit was reached
    gave_up: Counter[str] = field(default_factory=Counter)  # why rows spent their attempts and stay open

    @property
    def by_itself(self) -> bool:
        """Tell whether neither an outage nor a signal, credential or ledger ended it: only then spent rows count."""
        outside = (Exit.INCOMPLETE, Exit.CREDENTIAL, Exit.LEDGER)
        return self.signal is None and not any(stop.exit_code in outside for stop in self.stops)


def precheck(patch: Patch, *, now: float, stale: bool, clock_went_back: bool) -> Precheck:
    """Say what has to happen to a claimed row before it is sent; see behaviour "resume and the seven days".

    Args:
        patch: The row; `intent_at` is the first intent under its key.
        now: Unix seconds.
        stale: Its picture of the customer is too old to overwrite what it does not show.
        clock_went_back: The ledger knows a later time than now, so no age can be trusted.
    """
    if not patch.ambiguous:
        return Precheck.SEND
    age_s = now - patch.intent_at
    if clock_went_back or not 0 <= age_s <= SAFE_KEY_AGE_S:
        return Precheck.READ_EXPIRED
    return Precheck.READ if stale else Precheck.SEND


def most_out(rate_per_s: float, concurrency: int) -> int:
    """Return how many rows may be handed out and not yet recorded; the rate may be infinite."""
    return concurrency + (UNLIMITED_CLAIM if rate_per_s > UNLIMITED_CLAIM else int(rate_per_s))


def fewest_claimed(rate_per_s: float, concurrency: int) -> int:
    """Return how many rows have to be free before more are claimed, and read again together where they have to be."""
    return max(1, most_out(rate_per_s, concurrency) // 4)


class Dispatcher:
    """Drives one session of one run.

    Args:
        job: Limits and guards.
        run: The sealed run.
        ledger: Its ledger.
        in_thread: Runs a ledger call in the ledger's thread.
        engine: Sends.
        session: The stop word, and reads for the drift check.
        stats: Of the run, continued.
        canary: How many rows still have to be sent one by one.
        limit: Send at most so many changes now.
        only_requested: Only rows that `retry` asked for.
        only_rows: Only these rows, of those that are still to be tried.
        clock_went_back: See `precheck`.
        watch: Called after each recording, for progress.
    """

    def __init__(
        self,
        job: Job,
        run: Run,
        *,
        ledger: Ledger,
        in_thread: LedgerThread,
        engine: Engine,
        session: ApiSession,
        stats: Totals,
        canary: int,
        limit: int | None,
        only_requested: bool,
        only_rows: Sequence[int] | None,
        clock_went_back: bool,
        watch: Callable[["Dispatcher"], None],
    ) -> None:
        self._job = job
        self._run = run
        self._ledger = ledger
        self._in_thread = in_thread
        self._engine = engine
        self._session = session
        self._limit = limit
        self._only_requested = only_requested
        self._only_rows = deque(only_rows) if only_rows is not None else None
        self._clock_went_back = clock_went_back
        self._watch = watch
        self._guards = RunGuards(job.guards, canary=canary)
        self._out = 0  # handed out and not yet recorded
        self._reading: asyncio.Future[list[Record]] | None = None  # before more is handed out
        self._aborted = False
        self._recorded = asyncio.Event()
        self._befores: dict[int, dict[str, str]] = {}  # watched fields of the rows that are out
        self._saved_at = 0.0
        self.stats = stats
        self.limiter = session.limiter
        self.progress = Progress()
        self.ended = SessionResult()

    async def drive(self) -> SessionResult:
        """Send until nothing is left, a stop, or the limit; every row that was handed out is recorded on return."""
        begun = time.monotonic()
        requests, throttled = self.stats.requests - self.limiter.permits, self.stats.throttled - self.limiter.throttled
        before_s = self.stats.send_s
        series = self.stats.series
        series.begin(before_s, now=time.time())
        self._session.on_answer = series.answered
        self.limiter.on_pause = lambda seconds, reason: series.paused(seconds, reason, now=time.time())

        def measure() -> None:
            self.stats.requests = requests + self.limiter.permits
            self.stats.throttled = throttled + self.limiter.throttled
            self.stats.send_s = before_s + time.monotonic() - begun

        async with aclosing(self._engine.run(self._batches())) as lists:
            try:
                async for outcomes in lists:
                    await self._in_thread(self._ledger.record, self._run.id, outcomes, now=time.time())
                    for outcome in outcomes:
                        self._note(outcome)
                    self._out -= len(outcomes)
                    self._recorded.set()
                    measure()
                    self._watch(self)
                    await self._save()
            except BaseException:
                self._session.stop()  # nothing is sent that cannot be recorded
                self._recorded.set()
                raise
        measure()  # drift checks may have read since the last outcome
        await self._save(now=True)
        return self.ended

    def stop(self, stop: Stop, *, stopped_by: str = "") -> None:
        """Hand nothing out any more, finish what is out for up to 30 s; of rows that say the same, one counts."""
        if any(stop.exit_code is its.exit_code for its in self.ended.stops):
            return
        self.ended.stops.append(stop)
        if stopped_by and not self.ended.stopped_by:
            self.ended.stopped_by = stopped_by
        self._drain()

    def signalled(self, code: Exit) -> None:
        """Drain after a signal; a second one does not wait."""
        if self.ended.signal is not None:
            self._abort()
        self.ended.signal = code
        self._drain()

    def _drain(self) -> None:
        if not self._session.stopping.is_set():
            self._session.stop()
            self._recorded.set()
            asyncio.get_running_loop().call_later(DRAIN_S, self._abort)

    def _abort(self) -> None:
        """Wait no longer: for rows that are out, nor for a read before more would be sent."""
        self._aborted = True
        self._engine.abort()
        if self._reading is not None:
            self._reading.cancel()

    async def _save(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
            self._saved_at = time.monotonic()
            await self._in_thread(self._ledger.update, self._run.id, stats=self.stats.to_json())

    def _note(self, outcome: Outcome) -> None:
        """Let a recorded outcome count."""
        self.stats.add(outcome.elapsed_s)
        if outcome.state in (State.APPLIED, State.REJECTED, State.MISMATCH, State.UNKNOWN):
            self.progress.done += 1
            self.progress.ok += outcome.state is State.APPLIED
            self.progress.refused += outcome.state in (State.REJECTED, State.MISMATCH)
        if outcome.spent:
            self.ended.gave_up[outcome.reason] += 1
        if (stop := outcome.stop) is not None and stop.exit_code is Exit.STOPPED:
            self.stop(replace(stop, reason=f"{stop.reason}; seen at row {outcome.row}"), stopped_by="integrity")
        elif stop is not None:
            self.stop(stop)
        for guard, stop in self._guards.note(outcome, self._befores.pop(outcome.row, {})):
            self.stop(stop, stopped_by=guard)

    # --- handing out

    async def _batches(self) -> AsyncIterator[list[Patch]]:
        while not self._session.stopping.is_set():
            in_canary = self._guards.in_canary
            n = 1 - self._out if in_canary else self._room()
            if self._limit is not None:
                n = min(n, self._limit - self.progress.handed_out)
                if self.progress.handed_out >= self._limit:
                    self.ended.limited = True
                    return
            patches = await self._claim(n, canary=in_canary) if n > 0 else []
            if patches:
                self._out += len(patches)
                self.progress.handed_out += len(patches)
                yield patches
            elif n > 0 and not self._out:
                return  # nothing left, and nothing out that could come back under a new key
            if in_canary or not patches:
                await self._next_recording()

    async def _next_recording(self) -> None:
        self._recorded.clear()
        if self._out and not self._session.stopping.is_set():
            await self._recorded.wait()

    def _room(self) -> int:
        """Return how many rows to claim now; 0 until a quarter of what may be out is free again."""
        free = most_out(self.limiter.limit_per_s, self._job.limits.concurrency) - self._out
        return free if free >= fewest_claimed(self.limiter.limit_per_s, self._job.limits.concurrency) else 0

    async def _claim(self, n: int, *, canary: bool) -> list[Patch]:
        """Claim rows, those that drifted left out, and say for each what has to happen first."""
        stale = self._is_stale(time.time())
        rows: list[int] | None = None
        if self._only_rows is not None:
            rows = [self._only_rows.popleft() for _ in range(min(n, len(self._only_rows)))]
        may_recheck = self._job.guards.drift == "auto" and bool(self._run.details.get("recheck"))
        if rows is None and (stale or may_recheck):
            try:
                rows = await self._without_drift(n, stale=stale)
            except (Unreadable, LimiterClosed, RunHalted) as error:
                self._stop_for(error)
                return []
        if rows == []:
            return []
        claim, now = self._ledger.claim, time.time()  # of the intent: reading may have taken minutes
        claimed = await self._in_thread(claim, self._run.id, n, now=now, only_requested=self._only_requested, rows=rows)
        if watch := self._job.guards.watch:
            for patch in claimed:
                before = json.loads(patch.before) if patch.before is not None else {}
                self._befores[patch.row] = {name: str(before[name]) for name in watch if name in before}
        return [self._with_first_step(patch, now, stale=stale or may_recheck, canary=canary) for patch in claimed]

    def _with_first_step(self, patch: Patch, now: float, *, stale: bool, canary: bool) -> Patch:
        first = precheck(patch, now=now, stale=stale, clock_went_back=self._clock_went_back)
        if patch.intent_at > now:  # a clock that was wrong: nothing is known to be older than it
            patch = replace(patch, intent_at=0.0)
        if first is Precheck.SEND and not canary:
            return patch  # almost every row is as the ledger gave it
        return replace(patch, first=first, canary=canary, read_back=patch.read_back or canary)

    def _stop_for(self, error: Unreadable | LimiterClosed | RunHalted) -> None:
        if isinstance(error, RunHalted):
            self.stop(error.stop, stopped_by="integrity" if error.stop.exit_code is Exit.STOPPED else "")
        elif isinstance(error, Unreadable):
            reason = f"rows could not be read again before sending: {error.verdict.reason}"
            self.stop(Stop(Exit.INCOMPLETE, reason, "run the same command again when the API answers"))

    def _is_stale(self, now: float) -> bool:
        if self._run.baseline == "none" or self._job.guards.drift == "off":
            return False
        taken_at = self._run.details.get("picture_at", self._run.created_at)
        too_old = now - taken_at > self._job.baseline.max_age_h * 3600
        return self._job.guards.drift == "check" or (self._run.baseline == "live" and too_old)

    async def _without_drift(self, n: int, *, stale: bool) -> list[int]:
        """Return the next rows that may be claimed; those whose customer changed since the plan are recorded so.

        Ambiguous rows are looked at one by one when their turn comes: for them the question is another.
        """
        while True:
            peek = self._ledger.peek
            found = await self._in_thread(peek, self._run.id, n, only_requested=self._only_requested)
            to_check = [(patch, state) for patch, state, recheck in found if (stale or recheck) and not patch.ambiguous]
            if not to_check:
                return [patch.row for patch, _, _ in found]
            drifted = await self._find_drifted(to_check)
            await self._record_drifted(drifted)
            gone = {outcome.row for outcome, _ in drifted}
            left = [patch.row for patch, _, _ in found if patch.row not in gone]
            if left or not found:
                return left

    async def _find_drifted(self, rows: Sequence[tuple[Patch, State]]) -> list[tuple[Outcome, State]]:
        evidence = self._session.target.evidence
        records = await self._read([patch.customer_id for patch, _ in rows])
        live = {str(record["id"]).lower(): record for record in records}
        drifted = []
        for patch, state in rows:
            record = live.get(patch.customer_id)
            names: tuple[str, ...] = ()
            reason = "the API does not know this customer any more"
            if record is not None:
                names = evidence.differences(patch, record, ignore_unknown=True)
                if not names:
                    continue
                reason = f"changed by someone since the plan: {', '.join(names)}"
            drifted.append((Outcome(row=patch.row, state=State.DRIFTED, reason=reason, fields=names), state))
        return drifted

    async def _read(self, ids: Sequence[str]) -> list[Record]:
        """Read customers; an abort cuts it off."""
        self._reading = asyncio.ensure_future(self._session.read_many(ids))
        try:
            return await self._reading
        except asyncio.CancelledError:
            if self._aborted:
                raise LimiterClosed from None
            raise
        finally:
            self._reading = None

    async def _record_drifted(self, drifted: Sequence[tuple[Outcome, State]]) -> None:
        record, run_id = self._ledger.record, self._run.id
        now = time.time()
        back = [outcome.row for outcome, state in drifted if state is State.REJECTED]
        if back:  # a retry that is not sent after all: the legal way back is through sending and pending
            await self._in_thread(self._ledger.claim, run_id, len(back), now=now, rows=back, only_requested=True)
            unsent = [Outcome(row=row, state=State.PENDING, reason="not sent") for row in back]
            await self._in_thread(record, run_id, unsent, now=now)
        if drifted:
            await self._in_thread(record, run_id, [outcome for outcome, _ in drifted], now=now)
