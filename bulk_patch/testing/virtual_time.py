"""An event loop in which no time passes but what the tasks ask for: hours of pauses pass in milliseconds."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

TICK_S = 1e-6  # what one round of the loop takes: time never stands still, as on a real machine


class Deadlock(Exception):  # noqa: N818 - a finding
    """Every task waits for another one, and no timer is set: nothing can ever happen again."""


class _JumpingSelector(selectors.DefaultSelector):
    """Looks for ready files as usual, but lets the clock jump where a real one would wait."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if timeout is None and not ready:
            raise Deadlock("every task waits, and no timer is set")
        self.loop.pass_time(TICK_S if ready or timeout is None else max(timeout, TICK_S))
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer in place of waiting for it; `time` starts at 1,000 seconds."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._virtual_s = 1000.0
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual monotonic time, seconds."""
        return self._virtual_s

    def pass_time(self, seconds: float) -> None:
        """Let time pass at once, as when a callback takes long: nobody can react meanwhile."""
        self._virtual_s += seconds


def run_virtually(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)


def virtual_loop() -> VirtualLoop:
    """Return the virtual loop that runs now."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def virtually(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make an async test one that pytest can call: it runs in virtual time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtually(test(*args, **kwargs))

    return run
