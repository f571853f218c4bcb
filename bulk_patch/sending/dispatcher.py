"""Send the rows of a sealed run: claim, hand out, record, guard, stop.

The dispatcher is the ledger's only writer. Rows are claimed in small numbers (a second of the rate plus the
concurrency, so that a kill leaves few of them ambiguous), and an outcome counts for nothing before it is recorded.
"""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from bulk_patch.client.permits import LimiterClosed
from bulk_patch.client.reads import Unreadable
from bulk_patch.client.session import ApiSession, RunHalted
from bulk_patch.errors import Exit
from bulk_patch.job.settings import Job
from bulk_patch.model import Answer, Outcome, Patch, State, Stop
from bulk_patch.observe.totals import Totals
from bulk_patch.sending.claims import Claims, SendScope
from bulk_patch.sending.engine import Engine
from bulk_patch.sending.guards import RunGuards
from bulk_patch.sending.run_ledger import RunLedger

DRAIN_S = 30.0
_SAVE_EVERY_S = 1.0


@dataclass(slots=True)
class Progress:
    """What a session has done so far, for the progress bar."""

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
        """Tell whether no outage, signal, credential or ledger fault ended it: only then do spent rows count."""
        outside = (Exit.INCOMPLETE, Exit.CREDENTIAL, Exit.LEDGER)
        return self.signal is None and not any(stop.exit_code in outside for stop in self.stops)


class Dispatcher:
    """Sends one session of one run.

    Args:
        job: Limits and guards.
        ledger: Of the sealed run.
        engine: Sends.
        session: Is stopped, and reads for the drift check.
        scope: What may be sent.
    """

    def __init__(self, job: Job, ledger: RunLedger, *, engine: Engine, session: ApiSession, scope: SendScope) -> None:
        self._watched = tuple(job.guards.watch)
        self._ledger = ledger
        self._engine = engine
        self._session = session
        self._guards = RunGuards(job.guards, canary=scope.canary)
        self._claims = Claims(job, ledger, session=session, scope=scope)
        self._out = 0  # handed out and not yet recorded
        self._recorded = asyncio.Event()
        self._befores: dict[int, dict[str, str]] = {}  # watched fields of the rows that are out
        self._saved_at = 0.0
        self._saving: asyncio.Future[None] | None = None
        self.stats = Totals.from_json(ledger.run.stats)
        self.stats.limit_per_s = job.limits.kept_per_s
        self.stats.concurrency = job.limits.concurrency
        self.limiter = session.limiter
        self.progress = Progress()
        self.ended = SessionResult()

    async def dispatch(self, watch: Callable[["Dispatcher"], None] = lambda dispatcher: None) -> SessionResult:
        """Send until nothing is left, a stop, or the limit; every row that was handed out is recorded on return.

        Args:
            watch: Called after each recording, for progress.
        """
        started_at = time.monotonic()
        requests, throttled = self.stats.requests - self.limiter.permits, self.stats.throttled - self.limiter.throttled
        before_s, slowed_s, cpu_s = self.stats.send_s, self.stats.slowed_s, self.stats.cpu_s - time.process_time()
        series = self.stats.series
        series.start(before_s, now=time.time())

        def paused(seconds: float, reason: str) -> None:
            series.paused(seconds, reason, now=time.time())
            if self.limiter.asked_to_wait != self.stats.asked_to_wait:  # it holds for the next process too
                self.stats.asked_to_wait = self.limiter.asked_to_wait
                self._saved_at = -math.inf
                self._saving = self._ledger.save_stats(self.stats.to_json())
                self._saving.add_done_callback(lambda saved: saved.cancelled() or saved.exception())  # told by `_save`

        self.limiter.on_pause = paused

        def measure() -> None:
            self.stats.requests = requests + self.limiter.permits
            self.stats.throttled = throttled + self.limiter.throttled
            self.stats.send_s = before_s + time.monotonic() - started_at
            self.stats.slowed_s = slowed_s + self.limiter.slowed_s
            self.stats.cpu_s = cpu_s + time.process_time()
            self._count(self._claims.take_answers())

        async with aclosing(self._engine.run(self._batches())) as lists:
            try:
                async for outcomes in lists:
                    await self._ledger.record(outcomes, now=time.time())
                    for outcome in outcomes:
                        self._note(outcome)
                    self._out -= len(outcomes)
                    self._recorded.set()
                    measure()
                    watch(self)
                    await self._save()
            except BaseException:
                self._session.stop()  # nothing is sent that cannot be recorded
                self._recorded.set()
                raise
        measure()  # drift checks may have read since the last outcome
        await self._save(now=True)
        return self.ended

    # --- stopping

    def stop(self, stop: Stop, *, stopped_by: str = "") -> None:
        """Hand out nothing more and finish what is out, for up to 30 s; the first stop of each exit code counts."""
        if any(stop.exit_code is earlier.exit_code for earlier in self.ended.stops):
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
        """Wait no longer: neither for rows that are out, nor for a read before more would be sent."""
        self._engine.abort()
        self._claims.abort()

    def _stop_for(self, error: Unreadable | LimiterClosed | RunHalted) -> None:
        if isinstance(error, RunHalted):
            self.stop(error.stop, stopped_by="integrity" if error.stop.exit_code is Exit.STOPPED else "")
        elif isinstance(error, Unreadable):
            reason = f"rows could not be read again before sending: {error.verdict.reason}"
            self.stop(Stop(Exit.INCOMPLETE, reason, "run the same command again when the API answers"))

    # --- recording

    async def _save(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
            if self._saving is not None:
                await self._saving
            self._saved_at, self._saving = time.monotonic(), None
            await self._ledger.save_stats(self.stats.to_json())

    def _count(self, answers: Sequence[Answer]) -> None:
        """Let answers count in the figures of the run."""
        for answer in answers:
            self.stats.series.answered(answer.status, answer.patch_s, at=answer.at)
        self.stats.add(answer.patch_s for answer in answers if answer.patch_s is not None)

    def _note(self, outcome: Outcome) -> None:
        """Let a recorded outcome count."""
        self._count(outcome.answers)
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
            if self._claims.is_limit_reached(self.progress.handed_out):
                self.ended.limited = True
                return
            n = self._claims.room(self._out, self.progress.handed_out, in_canary=in_canary)
            patches = await self._claim(n, canary=in_canary) if n > 0 else []
            if patches:
                self._out += len(patches)
                self.progress.handed_out += len(patches)
                yield patches
            elif n > 0 and not self._out:
                return  # nothing left, and nothing out that could come back under a new key
            if in_canary or not patches:
                await self._next_recording()

    async def _claim(self, n: int, *, canary: bool) -> list[Patch]:
        try:
            patches = await self._claims.claim(n, canary=canary)
        except (Unreadable, LimiterClosed, RunHalted) as error:
            self._stop_for(error)
            return []
        if self._watched:
            self._befores.update((patch.row, self._watched_before(patch)) for patch in patches)
        return patches

    def _watched_before(self, patch: Patch) -> dict[str, str]:
        before = json.loads(patch.before) if patch.before is not None else {}
        return {name: str(before[name]) for name in self._watched if name in before}

    async def _next_recording(self) -> None:
        self._recorded.clear()
        if self._out and not self._session.stopping.is_set():
            await self._recorded.wait()
