"""The lean transport: exchanges over aiohttp's connections and parser, without its client session.

For each request, aiohttp's client session makes a request object, a response object and a task that writes: three
times the work of everything else on the way (`python -m tests.bench.send`). What is hard is still aiohttp's: names,
TLS, proxies, parser. `ResponseHandler` is not part of its public interface, which is why this transport is used only
on versions of aiohttp that its suite has passed (`transport.LEAN_ON`).
"""

import asyncio
import time
from collections import deque
from typing import Self

import aiohttp
from aiohttp.connector import Connection
from aiohttp.hdrs import PROXY_AUTHORIZATION
from aiohttp.http import HttpProcessingError

from bulk_patch.client import transport as transports
from bulk_patch.client.permits import Permit, Permits
from bulk_patch.client.timeouts import Timeout, Timeouts
from bulk_patch.client.transport import (
    HEADER_CAP,
    MOST_INTERIM,
    SAY_WHY,
    SWITCHED,
    Call,
    ForeignPeer,
    NeverLeft,
    ServerAddress,
    by_lower_name,
    check_peer,
    is_followed,
    open_and_silent,
    read_body,
)
from bulk_patch.model import Reply


class Connections:
    """A pool of connections to one server; see `Transport`.

    Args:
        address: Of the server.
        limiter: Is asked for another permit where connecting took so long that the first one is stale.
    """

    def __init__(self, address: ServerAddress, limiter: Permits) -> None:
        self._address = address
        self._limiter = limiter
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=address.connect_timeout_s)
        self._idle: deque[tuple[Connection, float]] = deque()  # with the time of its last use, the latest at the end

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._timeouts = Timeouts(self._loop)
        self._pool = aiohttp.TCPConnector(
            limit=0,  # concurrency is bounded elsewhere; the pool only makes connections, idle ones are kept here
            ttl_dns_cache=300,
            ssl=self._address.tls,
        )
        # It tells the pool where to connect to, and is never sent.
        self._to = aiohttp.ClientRequest("GET", self._address.base_url, proxy=self._address.proxy, loop=self._loop)
        self.host = self._to.headers["Host"]
        origin = f"{self._address.base_url.scheme}://{self.host}"
        self._is_relayed = (
            self._address.proxy is not None and not self._to.is_ssl()
        )  # by a proxy that reads the requests
        self._origin = origin if self._is_relayed else ""
        return self

    async def __aexit__(self, *error: object) -> None:
        self._timeouts.close()
        await self._pool.close()  # it takes all for used and cuts them off: an orderly end of TLS may never come
        for connection, _since in self._idle:
            connection.close()

    async def exchange(
        self,
        call: Call,
        *,
        permit: Permit,
        timeout_s: float,
        fresh: bool = False,
    ) -> Reply:
        """Send one request and read its answer, exactly once; see `Transport`."""
        due_at = self._loop.time() + timeout_s
        started_at = time.monotonic()  # uvloop's clock advances once a round, by milliseconds: too coarse for an answer
        idle = None if fresh else self._take_idle()
        connection = idle or await self._connect(timeout_s)
        try:
            if self._limiter.is_stale(permit):
                left_s = due_at - self._loop.time()
                permit = await self._limiter.retake(permit)  # may be a long pause, which the server did not cause
                due_at = self._loop.time() + left_s
            if (ends := open_and_silent(connection)) is None:
                raise NeverLeft("closed, or data came, before the request")
            protocol, transport = ends
            protocol.set_response_params(read_until_eof=True, max_line_size=HEADER_CAP, max_field_size=HEADER_CAP)
            data = self._head(call) + (call.body or b"")
            with Timeout(self._timeouts, transport, due_at):
                self._limiter.leaves(permit)
                transport.write(data)
                for _ in range(MOST_INTERIM + 1):
                    message, content = await protocol.read()
                    if not 100 <= message.code < 200 or message.code == SWITCHED:
                        break
                else:
                    raise HttpProcessingError(message="interim answers without end")
                answer, is_whole = await read_body(content)
            elapsed_s = time.monotonic() - started_at
            is_stray = idle is not None or await is_followed(message.code, ends)
        except BaseException:
            _abort(connection)
            raise
        if is_whole and message.code != SWITCHED and not transport.get_write_buffer_size():
            self._keep(connection)
        else:
            _abort(connection)
        return Reply(message.code, by_lower_name(message.headers), answer, is_whole, elapsed_s, is_stray)

    def _keep(self, connection: Connection) -> None:
        """Keep a connection for the next request, and close those that have not been used for long."""
        now = self._loop.time()
        while self._idle and now - self._idle[0][1] >= transports.KEEPALIVE_S:
            self._idle.popleft()[0].close()
        self._idle.append((connection, now))

    def _take_idle(self) -> Connection | None:
        """Take the connection that was used last, if it is open and nothing has arrived since the last answer."""
        now = self._loop.time()
        while self._idle:
            connection, since = self._idle.pop()
            if now - since < transports.KEEPALIVE_S and open_and_silent(connection) is not None:
                return connection
            connection.close()
        return None

    async def _connect(self, timeout_s: float) -> Connection:
        """Make a new connection."""
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._pool.connect(self._to, traces=[], timeout=self._timeout)
        except SAY_WHY:
            raise
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise NeverLeft(f"no connection: {type(error).__name__}") from error
        try:
            check_peer(self._address, connection)
        except ForeignPeer:
            _abort(connection)
            raise
        return connection

    def _head(self, call: Call) -> bytes:
        method, path, headers, body = call
        if body is not None:
            headers = f"{headers}Content-Length: {len(body)}\r\n"
        if self._is_relayed and (credentials := self._to.headers.get(PROXY_AUTHORIZATION)):
            headers = f"{headers}{PROXY_AUTHORIZATION}: {credentials}\r\n"
        return f"{method} {self._origin}{path} HTTP/1.1\r\nHost: {self.host}\r\n{headers}\r\n".encode("ascii")


def _abort(connection: Connection) -> None:
    """Close a connection at once; an orderly close would first send what is still buffered."""
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()
