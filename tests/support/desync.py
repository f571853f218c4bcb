"""A gateway whose answers get out of step: an answer that nobody asked for is taken for that to the next request."""

import asyncio
import json
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, Self

STRAY = b'{"code":"BAD_REQUEST_BODY","status":422}'


class DesyncedApi:
    """An API that carries everything out, behind a gateway that says more than it was asked.

    Args:
        customers: By id.
        stray: Called with the number of the connection and of the request on it, both from 1; returns what the gateway
            says besides: seconds before (negative) or after its answer; None: nothing.
    """

    def __init__(self, customers: dict[str, dict[str, Any]], stray: Callable[[int, int], float | None]) -> None:
        self._customers = customers
        self._stray = stray
        self._kept: dict[str, bytes] = {}
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.executed: set[str] = set()
        self.refusals: dict[str, bytes] = {}  # customers whom the API itself refuses

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        connection, request = self._connections, 0
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request += 1
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                at_s = self._stray(connection, request)
                if at_s is not None and at_s < 0:
                    writer.write(_say(422, STRAY))
                    await asyncio.sleep(-at_s)
                writer.write(self._answer(head, headers.get("idempotency-key", ""), body))
                await writer.drain()
                if at_s is not None and at_s >= 0:
                    await asyncio.sleep(at_s)
                    writer.write(_say(422, STRAY))

    def _answer(self, head: str, key: str, body: bytes) -> bytes:
        customer_id = head.split(" ", 2)[1].rpartition("/")[2]
        if head.startswith("GET"):
            return _say(200, json.dumps(self._customers[customer_id]).encode())
        if key not in self._kept:
            if customer_id in self.refusals:
                self._kept[key] = _say(422, self.refusals[customer_id])
            else:
                self.executed.add(customer_id)
                self._customers[customer_id].update(json.loads(body))
                self._kept[key] = _say(200, json.dumps(self._customers[customer_id]).encode())
        return self._kept[key]


def _say(status: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
