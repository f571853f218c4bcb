"""Prefetching, waiting, and the one thread that owns a ledger: work in threads, so that it shares the cores.

A step makes its next item while the last one is used, and never more than one: items that wait take memory.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class LedgerThread:
    """The one thread that owns a ledger while rows are sent; calls are made one at a time, in their order."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    def call(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Call in the thread, so that the event loop continues."""
        return asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for the last call, and end the thread."""
        self._pool.shutdown()


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """Call in a thread, so that the event loop continues; wait for the end of the call also when cancelled."""
    working = asyncio.ensure_future(asyncio.to_thread(call, *args))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.gather(working, return_exceptions=True)
        raise


async def prefetch(items: AsyncIterator[T]) -> AsyncGenerator[T]:
    """Yield items, each while the next one is being made."""
    making = asyncio.ensure_future(anext(items, None))
    try:
        while (item := await making) is not None:
            making = asyncio.ensure_future(anext(items, None))
            yield item
    finally:
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)


async def prefetch_in_thread(items: Iterable[T]) -> AsyncGenerator[T]:
    """Yield items, each while the next one is being made in a thread."""
    iterator = iter(items)

    async def one_by_one() -> AsyncGenerator[T]:
        while (item := await in_thread(next, iterator, None)) is not None:
            yield item

    async with aclosing(prefetch(one_by_one())) as made:
        async for item in made:
            yield item


async def wait_or(event: asyncio.Event, seconds: float) -> bool:
    """Sleep, but wake up when the event is set; tell whether it was."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
