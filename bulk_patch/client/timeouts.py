"""One timer for the timeouts of all requests.

`asyncio.timeout` makes a timer for each request and drops it a moment later: a fifth of what an exchange costs
(`python -m tests.bench.send`). All requests get the same time, so the first to start is nearly always the first due.
"""

import asyncio
import math
from types import TracebackType


class Timeouts:
    """Cuts a connection off when the time of its exchange is up.

    Args:
        loop: Has the clock and the timer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due_at: dict[asyncio.WriteTransport, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf

    def start(self, transport: asyncio.WriteTransport, due_at: float) -> None:
        """Cut a connection off at this time of the loop, unless `end` comes first."""
        self._due_at[transport] = due_at
        if due_at < self._looks_at:
            self._look_at(due_at)

    def end(self, transport: asyncio.WriteTransport) -> bool:
        """End the timeout; tell whether it was in time. The timer stays and finds what is due then, mostly nothing."""
        return self._due_at.pop(transport, None) is not None

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_at(self, time: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = time
        self._timer = self._loop.call_at(time, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        for transport in [transport for transport, due_at in self._due_at.items() if due_at <= now]:
            del self._due_at[transport]
            transport.abort()
        self._timer, self._looks_at = None, math.inf
        if self._due_at:
            self._look_at(min(self._due_at.values()))


class Timeout:
    """A block that has to end in time.

    Args:
        timeouts: Of all connections.
        transport: Is cut off when time is up; reading from it then fails.
        due_at: Time of the loop.

    Raises:
        TimeoutError: When time was up, in place of any error of the block but a cancel.
    """

    __slots__ = ("_due_at", "_timeouts", "_transport")

    def __init__(self, timeouts: Timeouts, transport: asyncio.WriteTransport, due_at: float) -> None:
        self._timeouts, self._transport, self._due_at = timeouts, transport, due_at

    def __enter__(self) -> None:
        self._timeouts.start(self._transport, self._due_at)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        in_time = self._timeouts.end(self._transport)
        if not in_time and not isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error
