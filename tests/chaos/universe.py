"""A universe for one simulated job: virtual time, events outside of any process, and a loop that goes step by step.

Everything that happens is a step: a callback of the process's loop, an event outside of it, the begin and the end of a
ledger call. Steps are counted, a process can be ended at any of them, and what matters of them makes a trace: the same
seed gives the same one.
"""

import asyncio
import hashlib
import heapq
import inspect
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from itertools import count
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH = 1_795_360_000.0  # Unix seconds at which a universe begins: 2026-11-22
TICK_S = 1e-6  # what a step takes at least: time never stands still
MOST_STEPS = 400_000  # of one process: more is a loop that never ends
LONGEST_S = 5 * 24 * 3600.0  # of one process


class Killed(BaseException):
    """The process is no more; nothing of it may go on."""


class Stuck(Exception):  # noqa: N818 - a finding
    """Nothing can ever happen again, or the same things happen for ever."""


class Universe:
    """Time, dice, events, and at most one process at a time.

    Args:
        seed: Where everything comes from.
        tells: Keep the trace as text too.
    """

    def __init__(self, seed: str, *, tells: bool = False) -> None:
        self.dice = random.Random(seed)
        self.now_s = 1000.0  # monotonic
        self.clock_s = 0.0  # our wall clock minus the true time
        self.steps = 0  # of the process
        self.is_dead = False
        self.pid = 1000
        self.told: list[str] = []
        self._tells = tells
        self._trace = hashlib.sha256()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serials = count()
        self._begun_s = self.now_s
        self._dies_at: int | None = None
        self._on_death: Callable[[], None] = lambda: None

    # --- time

    def true_time(self) -> float:
        """Return the true time, Unix seconds: the API's clock."""
        return EPOCH + self.now_s

    def wall_time(self) -> float:
        """Return what our clock shows, Unix seconds."""
        return EPOCH + self.now_s + self.clock_s

    @contextmanager
    def lived_in(self) -> Iterator[None]:
        """Let everything that asks for the time, or for its process, be answered by this universe."""
        real = time.time, time.monotonic, os.getpid
        time.time, time.monotonic, os.getpid = self.wall_time, lambda: self.now_s, lambda: self.pid
        try:
            yield
        finally:
            time.time, time.monotonic, os.getpid = real

    # --- events outside of the process

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        """Let something happen later, in the process that lives then."""
        heapq.heappush(self._events, (self.now_s + delay_s, next(self._serials), event))

    @property
    def next_event_at(self) -> float:
        """Return when the next event is due; infinite when there is none."""
        return self._events[0][0] if self._events else float("inf")

    def run_event(self) -> None:
        """Let the next event happen, at its time or now."""
        at, _, event = heapq.heappop(self._events)
        self.now_s = max(self.now_s, at)
        event()

    def pass_time(self, seconds: float) -> None:
        """Let time pass while no process is there."""
        until = self.now_s + seconds
        while self.next_event_at <= until:
            self.run_event()
        self.now_s = until

    def settle(self) -> None:
        """Let everything happen that is still under way."""
        while self._events:
            self.run_event()

    # --- the process

    def begin_process(self, *, dies_at: int | None, on_death: Callable[[], None]) -> None:
        """Begin a process, which ends at its n-th step if it gets so far."""
        self.steps, self.is_dead, self._begun_s = 0, False, self.now_s
        self._dies_at, self._on_death = dies_at, on_death
        self.pid += 1

    def end_process(self) -> None:
        """End the process: what it left scheduled does nothing any more."""
        self.is_dead = True

    def step(self) -> None:
        """Count a step of the process.

        Raises:
            Killed: It was its last.
            Stuck: It has lived too long.
        """
        if self.is_dead:
            raise Killed
        self.steps += 1
        if self.steps == self._dies_at:
            self.tell("killed", self.steps)
            self._on_death()
            self.is_dead = True
            raise Killed
        if self.steps > MOST_STEPS or self.now_s - self._begun_s > LONGEST_S:
            raise Stuck(f"a process that does not end: {self.steps} steps, {self.now_s - self._begun_s:.0f} s")

    # --- the trace

    def tell(self, *words: object) -> None:
        """Add a line to the trace."""
        line = f"{self.now_s:.6f} {' '.join(map(str, words))}"
        self._trace.update(line.encode())
        if self._tells:
            self.told.append(line)

    @property
    def trace(self) -> str:
        """Return the hash of everything that was told."""
        return self._trace.hexdigest()


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop without a world: no files, no threads, no real time; one callback a step.

    Args:
        universe: Whose time and dice it uses.
        shuffled: Take what is ready in any order, and let some steps take long.
    """

    def __init__(self, universe: Universe, *, shuffled: bool) -> None:
        super().__init__()
        self._universe = universe
        self._shuffled = shuffled
        self._next: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._serials = count()
        self._thread_free_at = 0.0
        self.complaints: list[str] = []

    def time(self) -> float:
        """Return the monotonic time, seconds."""
        return self._universe.now_s

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Make a callback ready."""
        handle = asyncio.Handle(callback, args, self, context)
        self._next.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Make a callback ready at a time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._serials), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it where it is: it is passed over when its time comes."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what went wrong where no one catches it."""
        if not self._universe.is_dead:
            self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def run_in_executor(self, executor: Any, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> asyncio.Future[T]:
        """Make a call in a thread: one after the other, a little later, its answer a little later still."""
        dice = self._universe.dice
        future: asyncio.Future[T] = self.create_future()
        begins_at = max(self.time(), self._thread_free_at) + dice.random() * 0.0005
        self._thread_free_at = begins_at + dice.random() * 0.001

        def answer(give: Callable[[Any], None], what: object) -> None:
            if not future.cancelled():
                give(what)

        def perform() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:
                self.call_at(self._thread_free_at, answer, future.set_exception, error)
            else:
                self.call_at(self._thread_free_at, answer, future.set_result, result)

        self.call_at(begins_at, perform)
        return future

    def live(self, life: Coroutine[Any, Any, T]) -> T:
        """Run a process to its end.

        Raises:
            Killed: It was ended from outside.
            Stuck: It never ends.
        """
        asyncio._set_running_loop(self)
        try:
            main = self.create_task(life)
            while not main.done():
                self._go_on()
            while self._next:  # those that were just cancelled
                self._go_on()
            left = [task for task in asyncio.all_tasks(self) if not task.done()]
            self.complaints += [f"a task is left: {task.get_name()}" for task in left]
            return main.result()
        finally:
            asyncio._set_running_loop(None)

    def abandon(self) -> list[asyncio.Task[Any]]:
        """Return the tasks of a killed process; those that had not begun lose their coroutines, which no one awaits."""
        tasks = list(asyncio.all_tasks(self))
        for task in tasks:
            coroutine = task.get_coro()
            if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
        return tasks

    def _go_on(self) -> None:
        """Take one step."""
        universe, dice = self._universe, self._universe.dice
        while True:
            while self._timers and (self._timers[0][2].cancelled() or self._timers[0][0] <= universe.now_s):
                self._next.append(heapq.heappop(self._timers)[2])
            outside_at = universe.next_event_at
            if outside_at <= universe.now_s and (not self._next or dice.random() < 0.5):
                universe.step()
                universe.run_event()
                return
            if self._next:
                break
            next_at = min(outside_at, self._timers[0][0] if self._timers else float("inf"))
            if next_at == float("inf"):
                raise Stuck("every task waits for another one")
            universe.now_s = next_at
        place = dice.randrange(len(self._next)) if self._shuffled and len(self._next) > 1 else 0
        handle = self._next.pop(place)
        if handle.cancelled():
            return
        universe.step()
        universe.now_s += dice.random() * 0.03 if self._shuffled and dice.random() < 0.01 else TICK_S
        handle._run()
        if universe.is_dead:
            raise Killed
