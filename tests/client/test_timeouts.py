"""Connections that are cut off when their time is up, and those that are not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from bulk_patch.client.timeouts import Timeout, Timeouts
from tests.client.test_connections import serving
from tests.client.test_http import Run, run

__all__ = ["run"]  # the fixture
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(count: int) -> AsyncIterator[list[Ends]]:
    """Connect to a server that says back what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)

    async with serving(echo) as port:
        ends = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
        yield ends
        for _, writer in ends:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in ends), return_exceptions=True)


async def wait_for_bytes(timeouts: Timeouts, ends: Ends, seconds: float) -> float:
    """Wait for what never comes; return how long that was allowed to last, seconds."""
    loop, (reader, writer) = asyncio.get_running_loop(), ends
    begun = loop.time()
    with pytest.raises(TimeoutError), Timeout(timeouts, writer.transport, begun + seconds):
        await reader.read(1)
    return loop.time() - begun


async def cancel_when_cut_off(writer: asyncio.StreamWriter) -> None:
    """Wait until the connection is closed, and be cancelled then."""
    while not writer.transport.is_closing():
        await asyncio.sleep(0.01)
    raise asyncio.CancelledError


def test_each_is_cut_off_at_its_own_time_in_whatever_order_they_begin(run: Run) -> None:
    allowed_s = [0.6, 0.2, 0.8, 0.4]

    async def scenario() -> None:
        timeouts = Timeouts(asyncio.get_running_loop())
        async with connected(len(allowed_s)) as all_ends:
            waiting = [wait_for_bytes(timeouts, *each) for each in zip(all_ends, allowed_s, strict=True)]
            lasted_s = await asyncio.gather(*waiting)
        timeouts.close()
        assert all(lasted >= allowed - 0.01 for lasted, allowed in zip(lasted_s, allowed_s, strict=True))
        assert all(sooner < later for sooner, later in pairwise(sorted(lasted_s)))
        assert sorted(range(4), key=lasted_s.__getitem__) == [1, 3, 0, 2]

    run(scenario())


def test_what_ended_in_time_stays_open_and_may_begin_again(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        timeouts = Timeouts(loop)
        async with connected(1) as [(reader, writer)]:
            for _ in range(5):
                with Timeout(timeouts, writer.transport, loop.time() + 0.3):
                    writer.write(b"x")
                    assert await reader.read(1) == b"x"
                    await asyncio.sleep(0.1)
            await asyncio.sleep(0.3)
            assert not writer.transport.is_closing()
            assert await wait_for_bytes(timeouts, (reader, writer), 0.1) < 1.0
            assert writer.transport.is_closing()

    run(scenario())


def test_an_error_in_time_and_a_cancel_at_any_time_are_left_as_they_are(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        timeouts = Timeouts(loop)
        async with connected(2) as [one, other]:
            with pytest.raises(KeyError), Timeout(timeouts, one[1].transport, loop.time() + 5):
                raise KeyError
            with pytest.raises(asyncio.CancelledError), Timeout(timeouts, other[1].transport, loop.time()):
                await cancel_when_cut_off(other[1])
            assert (one[1].transport.is_closing(), other[1].transport.is_closing()) == (False, True)

    run(scenario())


def test_nothing_is_cut_off_after_the_end(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        timeouts = Timeouts(loop)
        async with connected(1) as [(_, writer)]:
            timeouts.start(writer.transport, loop.time() + 0.1)
            timeouts.close()
            await asyncio.sleep(0.2)
            assert not writer.transport.is_closing()

    run(scenario())
