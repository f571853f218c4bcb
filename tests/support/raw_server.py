"""A server that says exactly what a test tells it to, counts every request, and keeps the bytes of each."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Literal, Self

Then = Literal["keep", "close", "reset", "hang"]


@dataclass(frozen=True, slots=True)
class Heard:
    """One request as it arrived."""

    connection: int  # the first is 1
    at: float  # of the loop's clock
    line: str
    head: bytes
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case


@dataclass(frozen=True, slots=True)
class Say:
    """What is said, byte for byte, and what is done then."""

    data: bytes = b""
    then: Then = "keep"
    drip_s: float = 0.0  # between two bytes


def http_answer(status: int = 200, body: bytes = b"{}", *headers: str, then: Then = "keep") -> Say:
    """Make an ordinary answer."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers, "", ""]
    return Say("\r\n".join(lines).encode() + body, then)


class RawServer:
    """Listens on loopback.

    Args:
        answer: What to say to each request.
        tls: Speak TLS with this context.
        connect_s: How long a connection takes to come up: what the client says first waits so long. Needs `tls`, for
            without it a client does not wait for an answer before its request.
    """

    def __init__(
        self, answer: Callable[[Heard], Say], *, tls: ssl.SSLContext | None = None, connect_s: float = 0.0
    ) -> None:
        self._answer = answer
        self._tls = tls
        self._connect_s = connect_s
        self.requests: list[Heard] = []
        self.connections = 0
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        inner = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self._servers.append(inner)
        self.port = self._inner_port = inner.sockets[0].getsockname()[1]
        if self._connect_s:
            outer = await asyncio.start_server(self._delay, "127.0.0.1", 0)
            self._servers.append(outer)
            self.port = outer.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def base_url(self) -> str:
        """Return the address that paths are added to."""
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}/v0"

    async def _delay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass everything on, the first bytes late."""
        self._note_task()
        with closing(writer), suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.sleep(self._connect_s)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._inner_port)
            with closing(far_writer):
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    def _note_task(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._note_task()
        self.connections += 1
        number = self.connections
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, *lines = head.decode("latin-1").split("\r\n")[:-2]
                headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                heard = Heard(number, asyncio.get_running_loop().time(), line, head, body, headers)
                self.requests.append(heard)
                if not await _say(writer, self._answer(heard)):
                    break


async def _say(writer: asyncio.StreamWriter, said: Say) -> bool:
    """Say it; tell whether the connection is kept."""
    if said.drip_s:
        for position in range(len(said.data)):
            writer.write(said.data[position : position + 1])
            await writer.drain()
            await asyncio.sleep(said.drip_s)
    else:
        writer.write(said.data)
        await writer.drain()
    if said.then == "hang":
        await asyncio.sleep(3600)
    if said.then == "reset":
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return said.then == "keep"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
