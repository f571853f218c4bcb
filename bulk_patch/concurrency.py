"""Prefetching and waiting: do work in threads, one item ahead, so that reading and comparing share the cores.

A step makes its next item while the last one is used, and never more than one: items that wait take memory.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

T = TypeVar("T")


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
