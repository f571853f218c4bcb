"""The rate limiter of a run: one rate for all requests, pauses that all obey, the outage brake.

Pure but for an injected clock and sleep. Every request of a run acquires a permit: PATCHes, retries, reads, probes.

It works by reservation (GCRA): the next permit is due one interval after the last. Lateness is made up for only up to
10 ms, 8 before the permit and 2 between it and the first byte. So no window of length w holds more than
rate × (w + 0.01 s) + 1 sends, by construction. It starts empty, so a crash loop cannot exceed the rate either.
Libraries were measured, and overshoot or starve: see .github/DECISIONS.md.
"""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from bulk_patch.client.backoff import backoff_s
from bulk_patch.client.outage import Outage
from bulk_patch.client.permits import LimiterClosed, Permit, Signal, SignalKind
from bulk_patch.client.shared_rate import SharedRate
from bulk_patch.client.streaks import Streaks
from bulk_patch.client.throttling import FLOOR_PER_S, Throttling
from bulk_patch.concurrency import wait_or
from bulk_patch.errors import Exit
from bulk_patch.model import Meaning, Stop
from bulk_patch.targets import Streak
from bulk_patch.words import duration_words

LATE_S = 0.010  # between the instant that the rate allows and the first byte
CONNECT_LATE_S = 0.002  # of it, between the permit and the first byte
SHORT_S = 0.05
LONGEST_PAUSE_S = 15 * 60
_KEPT_S = 24 * 3600.0  # a wait that an earlier process was asked for


def _stop_until(unix_s: float) -> Stop:
    until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(math.ceil(unix_s)))
    return Stop(Exit.INCOMPLETE, f"the API asks to wait until {until}", "run the same command again then")


class RateLimiter:
    """The only limiter of a run; see `Permits` for the contract.

    Args:
        rate_per_s: Never exceeded in any window; None: unlimited, until the API throttles.
        longest_delay_s: Cap of pauses that the API did not ask for, seconds.
        give_up_after_s: The run stops when nothing succeeds for so long, seconds.
        streaks: By meaning of an answer, how many in a row stop the run.
        clock: Monotonic seconds.
        draw: Uniform in [0, 1), for jitter.
    """

    def __init__(
        self,
        rate_per_s: float | None,
        *,
        longest_delay_s: float = 60.0,
        give_up_after_s: float = math.inf,
        streaks: Mapping[Meaning, Streak] | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        limit = rate_per_s if rate_per_s is not None else math.inf
        self._longest_s = longest_delay_s
        self._give_up_after_s = give_up_after_s
        self._clock = clock
        self._draw = draw
        self._share: SharedRate | None = None
        self._telling: set[asyncio.Task[None]] = set()  # others of a pause
        self._turn = asyncio.Lock()
        self._next_at = clock() + (1 / limit)  # empty at start
        self._paused_until = -math.inf
        self._held = 0
        self._closed = False
        self._woken = asyncio.Event()
        self._throttling = Throttling(limit, clock())
        self._refused_rounds = 0  # since the last success
        self._throttled_since: float | None = None  # first 429 after the last success
        self._slow_since: float | None = None  # throttling keeps the rate down
        self._slowed_s = 0.0
        self._recent: deque[float] = deque(maxlen=64)  # times of permits, to measure the rate of a run without a limit
        self._outage = Outage()
        self._streaks = Streaks(streaks or {})
        self.permits = 0
        self.throttled = 0
        self.pause_reason = ""
        self.asked_to_wait = (0.0, 0.0)  # when the API asked for the wait that ends last, and until when; Unix seconds
        self.on_pause: Callable[[float, str], None] = lambda seconds, reason: None

    def share_with(self, share: SharedRate) -> None:
        """Keep the rate together with other processes; before the first permit."""
        self._share = share

    @property
    def limit_per_s(self) -> float:
        """Return the job's rate; infinite when there is none."""
        return self._throttling.limit_per_s

    @property
    def rate_per_s(self) -> float:
        """Return the rate that holds now, for all who share it."""
        rate = self._throttling.rate_per_s
        return rate if self._share is None else min(rate, self._share.rate_per_s)

    @property
    def slowed_s(self) -> float:
        """Return for how long throttling has kept the rate down, pauses included, seconds."""
        return self._slowed_s + (self._clock() - self._slow_since if self._slow_since is not None else 0.0)

    @property
    def streak(self) -> Meaning | None:
        """Return the meaning of the answers that came last, None for one that begins no streak."""
        return self._streaks.kind

    @property
    def paused_s(self) -> float:
        """Return how long the pause still lasts, seconds."""
        return max(0.0, self._paused_until - self._clock())

    @property
    def outage_s(self) -> float:
        """Return for how long nothing has succeeded, seconds; 0 when there is no outage."""
        return self._outage.lasting_s(self._clock())

    async def acquire(self, *, probe: bool = False) -> Permit:
        """Wait for the turn to send one request.

        Args:
            probe: Pass those whom `hold` stops: this is the request that decides whether they may go on.

        Raises:
            LimiterClosed: The run stops; nothing was sent.
        """
        if probe:
            await self._until_free(heeds_hold=False)
            return self._grant()
        async with self._turn:  # first come, first served
            await self._until_free()
            return self._grant()

    async def retake(self, permit: Permit) -> Permit:
        """Wait for another turn for a request whose permit went stale before a byte of it left: connecting took long.

        It stays one request, settled with the permit that it got first. It passes `hold` and the outage brake, which
        may be waiting for this very probe.

        Raises:
            LimiterClosed: The run stops; nothing was sent.
        """
        await self._until_free(heeds_hold=False, heeds_brake=False)
        now = self._clock()
        self._reserve(now)
        return replace(permit, granted_at=now)

    def is_stale(self, permit: Permit) -> bool:
        """Tell whether a request is too late for its permit and has to take another turn."""
        return self._clock() - permit.granted_at > CONNECT_LATE_S

    def leaves(self, permit: Permit) -> None:
        """Note that a request leaves now: if the machine held it up, those behind it keep their distance."""
        held_up_s = self._clock() - permit.granted_at - CONNECT_LATE_S
        if held_up_s > 0 and self.rate_per_s < math.inf:
            self._next_at += held_up_s
            if self._share is not None:
                self._share.delay(held_up_s)

    def _grant(self) -> Permit:
        now = self._clock()
        self._reserve(now)
        self._recent.append(now)
        self.permits += 1
        self._outage.sent(now)
        return Permit(now)

    def _reserve(self, now: float) -> None:
        self._throttling.grow(now)
        if self._slow_since is not None and self.rate_per_s >= self.limit_per_s:
            self._slowed_s += now - self._slow_since
            self._slow_since = None
        if self.rate_per_s < math.inf:
            self._next_at = max(self._next_at, now - (LATE_S - CONNECT_LATE_S)) + 1 / self.rate_per_s

    async def _until_free(self, *, heeds_hold: bool = True, heeds_brake: bool = True) -> None:
        def is_blocked() -> bool:
            return bool(heeds_hold and self._held) or (heeds_brake and self._outage.probing)

        while not self._closed:
            if is_blocked():
                self._woken.clear()
                await self._woken.wait()
                continue
            due_at = max(self._paused_until, self._outage.probe_at if heeds_brake else -math.inf)
            if self._share is not None:
                due_at = max(due_at, self._share.paused_until)
            elif self.rate_per_s < math.inf:
                due_at = max(due_at, self._next_at)
            wait_s = due_at - self._clock()
            if wait_s > 0:
                await self._sleep(wait_s)
            elif self._share is None or (await self._reach_slot(self._share) and not is_blocked()):
                return
        raise LimiterClosed

    async def _reach_slot(self, share: SharedRate) -> bool:
        """Take a shared slot and wait for it; tell whether it can be used: a pause may have come, or we are late."""
        slot = await share.take(self._throttling.rate_per_s)
        while not self._closed and (wait_s := slot - self._clock()) > 0:
            await self._sleep(wait_s)
        paused_until = max(self._paused_until, share.paused_until)
        return not (self._closed or paused_until > self._clock() or share.is_void(slot))

    async def _sleep(self, wait_s: float) -> None:
        if wait_s < SHORT_S:
            await asyncio.sleep(wait_s)
        else:  # long enough for something to change
            self._woken.clear()
            await wait_or(self._woken, wait_s)

    def close(self) -> None:
        """Grant nothing any more; all who wait get `LimiterClosed`."""
        self._closed = True
        self._woken.set()

    # --- what the answers say

    def settle(self, permit: Permit, signal: Signal) -> Stop | None:
        """Settle a request: what became of it decides when the others may go.

        Args:
            permit: Of the request, the first one that it got.
            signal: What became of it.

        Returns:
            The stop of the run, where that makes one due.
        """
        stop: Stop | None = None
        if signal.kind is SignalKind.OK:
            self._succeeded(permit)
        elif signal.kind is SignalKind.OUTAGE:
            stop = self._failed(permit, signal)
        else:
            self._outage.ended(permit.granted_at)
            if signal.kind is SignalKind.THROTTLED:
                stop = self._throttled(permit, signal)
            elif signal.kind is SignalKind.FOREIGN:
                pause_s = backoff_s(self._streaks.length, self._longest_s, self._draw)
                self.pause(max(1.0, pause_s), signal.streak.value if signal.streak is not None else "")
        self._woken.set()
        if stop is None and signal.counts:
            stop = self._streaks.count(signal)
        return stop

    def _succeeded(self, permit: Permit) -> None:
        self._refused_rounds, self._throttled_since = 0, None
        self._throttling.answered(permit.granted_at)
        self._outage.succeeded(self._clock())

    def _failed(self, permit: Permit, signal: Signal) -> Stop | None:
        now, probe_at = self._clock(), self._outage.probe_at
        self._outage.failed(signal.row, permit.granted_at, now, self._longest_s, self._draw)
        if self._outage.probe_at > probe_at:
            self.on_pause(self._outage.probe_at - now, "outage: the API does not answer")
        return self._pause_as_asked(signal) or self._give_up(self.outage_s, signal)

    def _throttled(self, permit: Permit, signal: Signal) -> Stop | None:
        """Note an answer of the throttling kind.

        Where the API asks for a wait, all wait. Else a lone one concerns its own row only, and several among the last
        answers make all pause. Which rate holds afterwards is for `Throttling` to say.
        """
        now = self._clock()
        self.throttled += 1
        self._throttled_since = now if self._throttled_since is None else self._throttled_since
        begins_round = self._throttling.refused(
            permit.granted_at, now, asked=bool(signal.asked_s), measured_per_s=self._measured(now)
        )
        if (begins_round or signal.asked_s) and self._slow_since is None:
            self._slow_since = now
        stop = self._pause_as_asked(signal)
        if begins_round:
            self._refused_rounds += 1
            if not signal.asked_s or self._refused_rounds > 1:  # jitter is only added to what was asked
                self.pause(backoff_s(self._refused_rounds - 1, self._longest_s, self._draw), "rate limited")
        return stop or self._give_up(now - self._throttled_since, signal)

    def _pause_as_asked(self, signal: Signal) -> Stop | None:
        """Pause for as long as an answer asks; return a stop where that is longer than a process should sleep."""
        asked_s = signal.asked_s or 0.0
        if asked_s > 0:
            reason = "rate limited" if signal.kind is SignalKind.THROTTLED else "the API asked to wait"
            self._note_wait(time.time(), asked_s)
            self.pause(asked_s, reason)  # also before a stop: until all have heard of it
        return _stop_until(time.time() + asked_s) if asked_s > LONGEST_PAUSE_S else None

    def _note_wait(self, now: float, asked_s: float) -> None:
        if now + asked_s > self.asked_to_wait[1]:
            self.asked_to_wait = (now, now + asked_s)

    def wait_on(self, asked_at: float, until: float) -> Stop | None:
        """Take over a wait that the API asked an earlier process for; return a stop where it is too long to sleep.

        Args:
            asked_at: When it did, Unix seconds. What is older than a day, or later than our clock, is left to the API
                to say again.
            until: When the wait ends, Unix seconds.
        """
        now = time.time()
        if not 0 <= now - asked_at <= _KEPT_S or until <= now:
            return None
        self.asked_to_wait = (asked_at, until)
        self.pause(until - now, "the API asked to wait")
        return _stop_until(until) if until - now > LONGEST_PAUSE_S else None

    def _give_up(self, lasting_s: float, signal: Signal) -> Stop | None:
        if lasting_s <= self._give_up_after_s:
            return None
        reason = f"no success for {duration_words(lasting_s)}: {signal.reason}"
        hint = "check target.base_url and the API's status page; then run the same command again"
        return Stop(Exit.INCOMPLETE, reason, hint)

    def pause(self, seconds: float, reason: str) -> None:
        """Make all requests wait; a longer pause that already holds is kept."""
        until = self._clock() + seconds
        if until > self._paused_until:
            self._paused_until = until
            self.pause_reason = reason
            self.on_pause(seconds, reason)
            if self._share is not None:
                telling = asyncio.ensure_future(self._share.pause(until))
                self._telling.add(telling)
                telling.add_done_callback(self._telling.discard)

    def hold(self) -> None:
        """Make all requests wait until `release`: the credential is being renewed."""
        self._held += 1

    def release(self) -> None:
        """End one `hold`."""
        self._held -= 1
        self._woken.set()

    def set_limit(self, rate_per_s: float) -> None:
        """Change the rate that is never exceeded from now on; infinite: none."""
        self._throttling.set_limit(rate_per_s)
        self._next_at = max(self._next_at, self._clock() + 1 / self.rate_per_s)
        self._woken.set()

    def _measured(self, now: float) -> float:
        """Return the rate of the last permits, for a run without a limit."""
        if len(self._recent) < 2 or now <= self._recent[0]:
            return max(FLOOR_PER_S, float(len(self._recent)))
        return len(self._recent) / (now - self._recent[0])
