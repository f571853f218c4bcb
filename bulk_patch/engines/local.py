"""The local engine: one event loop, as many workers as the job's concurrency."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from bulk_patch.concurrency import wait_or
from bulk_patch.job.section import Section
from bulk_patch.model import Outcome, Patch, State

GATHER_S = 0.05  # a transaction costs the same for one outcome as for hundreds


class LocalEngine:
    """Runs every patch through `send`, `concurrency` of them at a time.

    Args:
        send: Brings one row to its outcome; never raises, and returns what is known also when cancelled.
        settings: The job's `[engine]`: nothing that it needs.
        concurrency: How many rows are out at once.
    """

    def __init__(
        self, send: Callable[[Patch], Awaitable[Outcome]], settings: Section | None = None, *, concurrency: int
    ) -> None:
        self._send = send
        self._concurrency = concurrency
        self._rows: asyncio.Queue[Patch | None] = asyncio.Queue()
        self._done: list[Outcome] = []
        self._news = asyncio.Event()
        self._urgent = asyncio.Event()  # an outcome other than applied, or workers that have nothing to do
        self._sending: dict[asyncio.Task[None], Patch] = {}  # in the order in which they started
        self._ended = False

    async def run(self, batches: AsyncIterator[list[Patch]]) -> AsyncGenerator[list[Outcome]]:
        """Send every patch of every batch; see the Protocol."""
        tasks = [asyncio.create_task(self._work(), name=f"worker-{n}") for n in range(self._concurrency)]
        tasks.append(asyncio.create_task(self._feed(batches), name="feed"))
        for task in tasks:
            task.add_done_callback(lambda _: self._wake_up())
        try:
            while True:
                await self._news.wait()
                await self._gather()
                self._news.clear()
                for task in tasks:
                    if task.done():
                        task.result()  # an error in a task is a bug: it ends the run
                ended = all(task.done() for task in tasks)
                if self._done:
                    done, self._done = self._done, []
                    yield done
                if ended:
                    return
        finally:
            self._ended = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _gather(self) -> None:
        """Let outcomes collect, as long as all are good and the workers have more to do meanwhile."""
        if self._rows.qsize() >= self._concurrency:
            await wait_or(self._urgent, GATHER_S)
        self._urgent.clear()

    def _wake_up(self) -> None:
        self._news.set()
        self._urgent.set()

    def abort(self) -> None:
        """Cut off the rows that are out; they come back as open as they are."""
        for task in self._sending:
            task.cancel()

    async def _feed(self, batches: AsyncIterator[list[Patch]]) -> None:
        try:
            async for batch in batches:
                for patch in batch:
                    self._rows.put_nowait(patch)
        finally:
            for _ in range(self._concurrency):
                self._rows.put_nowait(None)

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        while not self._ended and (patch := await self._rows.get()) is not None:  # `send` swallows a cancel
            self._sending[me] = patch
            outcome = await self._send(patch)
            del self._sending[me]
            self._done.append(outcome)
            self._news.set()
            if outcome.state is not State.APPLIED or self._rows.qsize() < self._concurrency:
                self._urgent.set()
