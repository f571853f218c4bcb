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
from collections.abc import Callable
from dataclasses import replace

from bulk_patch.client.backoff import backoff_s
from bulk_patch.client.outage import Outage
from bulk_patch.client.permits import LimiterClosed, Permit
from bulk_patch.concurrency import wait_or

LATE_S = 0.010  # between the instant that the rate allows and the first byte
CONNECT_LATE_S = 0.002  # of it, between the permit and the first byte
FLOOR_PER_S = 0.1
SHORT_S = 0.05


class RateLimiter:
    """The only limiter of a run; see `Permits` for the contract.

    Args:
        rate_per_s: Never exceeded in any window; None: unlimited, until the API answers 429.
        longest_delay_s: Cap of pauses that the API did not ask for, seconds.
        clock: Monotonic seconds.
        draw: Uniform in [0, 1), for jitter.
    """

    def __init__(
        self,
        rate_per_s: float | None,
        *,
        longest_delay_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._limit = rate_per_s if rate_per_s is not None else math.inf
        self._rate = self._limit
        self._longest_s = longest_delay_s
        self._clock = clock
        self._draw = draw
        self._turn = asyncio.Lock()
        self._next_at = clock() + (1 / self._limit)  # empty at start
        self._paused_until = -math.inf
        self._held = 0
        self._closed = False
        self._woken = asyncio.Event()
        self._refused_rounds = 0  # since the last success
        self._ceiling = self._limit  # the lowest rate that was refused lately
        self._floor = min(FLOOR_PER_S, self._limit)
        self._changed_at = clock()  # of the rate
        self._halved_at = -math.inf
        self._recent: deque[float] = deque(maxlen=64)  # times of permits, to measure the rate of a run without a limit
        self._outage = Outage()
        self._throttled_since: float | None = None  # first 429 after the last success
        self.permits = 0
        self.throttled = 0
        self.pause_reason = ""
        self.on_pause: Callable[[float, str], None] = lambda seconds, reason: None

    @property
    def limit_per_s(self) -> float:
        """Return the job's rate; infinite when there is none."""
        return self._limit

    @property
    def rate_per_s(self) -> float:
        """Return the rate that holds now."""
        return self._rate

    @property
    def paused_s(self) -> float:
        """Return how long the pause still lasts, seconds."""
        return max(0.0, self._paused_until - self._clock())

    @property
    def outage_s(self) -> float:
        """Return for how long nothing has succeeded, seconds; 0 when there is no outage."""
        return self._outage.lasting_s(self._clock())

    @property
    def throttled_s(self) -> float:
        """Return for how long nothing has succeeded since a 429, seconds; 0 when something has."""
        return self._clock() - self._throttled_since if self._throttled_since is not None else 0.0

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
        if held_up_s > 0 and self._rate < math.inf:
            self._next_at += held_up_s

    def _grant(self) -> Permit:
        now = self._clock()
        self._reserve(now)
        self._recent.append(now)
        self.permits += 1
        self._outage.sent(now)
        return Permit(now)

    def _reserve(self, now: float) -> None:
        self._grow(now)
        if self._rate < math.inf:
            self._next_at = max(self._next_at, now - (LATE_S - CONNECT_LATE_S)) + 1 / self._rate

    async def _until_free(self, *, heeds_hold: bool = True, heeds_brake: bool = True) -> None:
        while not self._closed:
            if (heeds_hold and self._held) or (heeds_brake and self._outage.probing):
                self._woken.clear()
                await self._woken.wait()
                continue
            due_at = max(self._paused_until, self._outage.probe_at if heeds_brake else -math.inf)
            if self._rate < math.inf:
                due_at = max(due_at, self._next_at)
            wait_s = due_at - self._clock()
            if wait_s <= 0:
                return
            if wait_s < SHORT_S:
                await asyncio.sleep(wait_s)
            else:  # long enough for something to change
                self._woken.clear()
                await wait_or(self._woken, wait_s)
        raise LimiterClosed

    def close(self) -> None:
        """Grant nothing any more; all who wait get `LimiterClosed`."""
        self._closed = True
        self._woken.set()

    # --- what the answers say

    def succeeded(self) -> None:
        """Note an answer of the API itself: it is up."""
        self._refused_rounds, self._throttled_since = 0, None
        self._outage.succeeded(self._clock())
        self._woken.set()

    def failed(self, row: int, permit: Permit) -> None:
        """Note an answer of the outage kind: 5xx, no answer, unreachable.

        Args:
            row: Whose request it was.
            permit: Of the request.
        """
        now, probe_at = self._clock(), self._outage.probe_at
        self._outage.failed(row, permit.granted_at, now, self._longest_s, self._draw)
        if self._outage.probe_at > probe_at:
            self.on_pause(self._outage.probe_at - now, "outage: the API does not answer")
        self._woken.set()

    def passed(self, permit: Permit) -> None:
        """Note a request that ended without saying anything about an outage: 429, a foreign page, a cancel."""
        self._outage.ended(permit.granted_at)
        self._woken.set()

    def throttle(self, permit: Permit, asked_s: float | None) -> float:
        """Note a 429: all pause for the longest of what was asked and our backoff, and the rate is halved.

        Requests that were out before the last halving do not halve it again.

        Args:
            permit: Of the refused request.
            asked_s: The pause that the API asked for.

        Returns:
            The pause, seconds.
        """
        self.passed(permit)
        now = self._clock()
        self.throttled += 1
        self._throttled_since = now if self._throttled_since is None else self._throttled_since
        if permit.granted_at > self._halved_at:
            refused = self._rate if self._rate < math.inf else self._measured(now)
            self._ceiling = max(self._floor, refused)
            self._rate = max(self._floor, refused / 2)
            self._changed_at = self._halved_at = now
            self._refused_rounds += 1
        # Jitter is only ever added to what was asked, never taken from it.
        own_s = backoff_s(max(0, self._refused_rounds - 1), self._longest_s, self._draw)
        pause_s = max(asked_s or 0.0, own_s)
        self.pause(pause_s, "rate limited")
        return pause_s

    def pause(self, seconds: float, reason: str) -> None:
        """Make all requests wait; a longer pause that already holds is kept."""
        until = self._clock() + seconds
        if until > self._paused_until:
            self._paused_until = until
            self.pause_reason = reason
            self.on_pause(seconds, reason)

    def hold(self) -> None:
        """Make all requests wait until `release`: the credential is being renewed."""
        self._held += 1

    def release(self) -> None:
        """End one `hold`."""
        self._held -= 1
        self._woken.set()

    def _measured(self, now: float) -> float:
        """Return the rate of the last permits, for a run without a limit."""
        if len(self._recent) < 2 or now <= self._recent[0]:
            return max(FLOOR_PER_S, float(len(self._recent)))
        return len(self._recent) / (now - self._recent[0])

    def _grow(self, now: float) -> None:
        """Let a halved rate grow: 5 % a second up to 0.9 of the rate that was refused, then 0.5 %."""
        if self._rate >= self._limit or now - self._changed_at < 1.0:
            return
        near = self._rate >= 0.9 * self._ceiling
        goal = min(self._limit, self._ceiling) if self._limit < math.inf else self._ceiling
        step = (0.005 if near else 0.05) * goal * (now - self._changed_at)
        self._rate = min(self._limit, self._rate + min(step, goal * 0.1))
        if not near:
            self._rate = min(self._rate, max(0.9 * self._ceiling, self._floor))
        self._changed_at = now
