import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from bulk_patch.client.permits import LimiterClosed, Permit
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.testing.virtual_time import VirtualLoop
from tests.support.examples import examples
from tests.support.limiters import ROUNDING, count_beyond_rate, end, fail_with, succeed, throttle


class Requests(RuleBasedStateMachine):
    """Many who ask, wait, give up, are answered in any order, while all are paused, held and braked.

    The model knows what is out, and what was let through while the brake was drawn. At the end it answers whatever is
    out and lets all pass: the loop finds it when that cannot happen.
    """

    waiting = Bundle("waiting")
    out = Bundle("out")

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.limiter = RateLimiter(None, clock=self.loop.time)
        self.rate = 0.0
        self.tasks: list[asyncio.Task[Any]] = []
        self.sent: list[float] = []
        self.is_out: set[float] = set()
        self.probes: set[float] = set()  # sent while the brake was drawn
        self.held = 0

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            for task in self.tasks:
                task.cancel()
            if self.tasks:
                self.loop.run_until_complete(asyncio.wait(self.tasks))
            self.loop.close()

    def finish(self) -> None:
        """Answer everything that is out, and let all pass or be sent home."""
        while self.held:
            self.release()
        for sent_at in list(self.is_out):
            self.succeed(sent_at)
        waiting = [task for task in self.tasks if not task.done()]
        for _ in range(len(waiting)):
            if not waiting:
                break
            _, left = self.loop.run_until_complete(asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED))
            waiting = list(left)
            for sent_at in list(self.is_out):
                self.succeed(sent_at)
        assert not waiting
        for task in self.tasks:
            assert task.cancelled() or task.exception() is None or isinstance(task.exception(), LimiterClosed)

    async def ask(self, *, probe: bool) -> None:
        sent_at = (await self.limiter.acquire(probe=probe)).granted_at
        assert probe or not self.held
        self.sent.append(sent_at)
        self.is_out.add(sent_at)
        if self.limiter.outage_s:
            self.probes.add(sent_at)
            assert len(self.probes & self.is_out) <= 1, "two probes at a time"

    async def connect_slowly(self, sent_at: float) -> None:
        await self.limiter.retake(Permit(sent_at))
        self.sent.append(self.loop.time())

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = self.loop.create_task(coroutine)
        self.tasks.append(task)
        return task

    def end(self, sent_at: float) -> None:
        self.is_out.discard(sent_at)
        self.probes.discard(sent_at)

    # --- what can happen

    @initialize(rate=st.one_of(st.floats(0.05, 300), st.none()))
    def begin(self, rate: float | None) -> None:
        self.rate = rate or float("inf")
        self.limiter = RateLimiter(rate, clock=self.loop.time)

    @rule(target=waiting, probe=st.sampled_from([False, False, False, True]))
    def arrive(self, probe: bool) -> asyncio.Task[Any]:
        return self.start(self.ask(probe=probe))

    @rule(target=out, seconds=st.one_of(st.floats(0, 0.1), st.floats(0, 100)))
    def pass_time(self, seconds: float) -> float | None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        return self.sent[-1] if self.sent else None

    @rule(seconds=st.floats(0, 5))
    def stall(self, seconds: float) -> None:
        self.loop.pass_time(seconds)

    @rule(task=consumes(waiting))
    def give_up(self, task: asyncio.Task[Any]) -> None:
        task.cancel()

    @rule(sent_at=out)
    def need_another_turn(self, sent_at: float | None) -> None:
        if sent_at in self.is_out:
            self.start(self.connect_slowly(sent_at))

    @rule(sent_at=consumes(out), row=st.integers(1, 5))
    def fail(self, sent_at: float | None, row: int) -> None:
        if sent_at in self.is_out:
            self.end(sent_at)
            fail_with(self.limiter, row, Permit(sent_at))

    @rule()
    def fail_everything(self) -> None:
        for number, sent_at in enumerate(sorted(self.is_out)):
            self.fail(sent_at, number)

    @rule(count=st.integers(10, 14))
    def break_down(self, count: int) -> None:
        """Let requests that no one waits for fail: an outage begins."""
        for row in range(count):
            fail_with(self.limiter, row, Permit(-1.0))

    @rule(sent_at=consumes(out))
    def succeed(self, sent_at: float | None) -> None:
        if sent_at in self.is_out:
            self.end(sent_at)
            succeed(self.limiter)
            self.probes.clear()

    @rule(sent_at=consumes(out), asked_s=st.one_of(st.none(), st.floats(0, 50)))
    def throttle(self, sent_at: float | None, asked_s: float | None) -> None:
        if sent_at in self.is_out:
            self.end(sent_at)
            throttle(self.limiter, Permit(sent_at), asked_s)

    @rule(sent_at=consumes(out))
    def end_silently(self, sent_at: float | None) -> None:
        if sent_at in self.is_out:
            self.end(sent_at)
            end(self.limiter, Permit(sent_at))

    @rule(seconds=st.floats(0, 60))
    def pause(self, seconds: float) -> None:
        self.limiter.pause(seconds, "asked")

    @rule()
    def hold(self) -> None:
        self.limiter.hold()
        self.held += 1

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        self.held -= 1
        self.limiter.release()

    @precondition(lambda self: len(self.tasks) > 5)
    @rule()
    def close(self) -> None:
        self.limiter.close()

    # --- what always holds

    @invariant()
    def no_window_holds_more_than_the_rate(self) -> None:
        if self.rate < float("inf"):
            assert count_beyond_rate(self.sent[-60:], self.rate) <= ROUNDING

    @invariant()
    def the_rate_is_never_above_the_limit(self) -> None:
        assert 0 < self.limiter.rate_per_s <= self.limiter.limit_per_s


Requests.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=40, deadline=None)
test_in_no_interleaving_anybody_waits_for_ever_or_passes_too_early = Requests.TestCase
