"""HTTP exchanges over aiohttp's connections and parser, without its client session.

For each request, aiohttp's client session makes a request object, a response object and a task that writes: three
times the work of everything else on the way (`python -m tests.bench.send`). What is hard is still aiohttp's: names,
TLS, proxies, parser. `ResponseHandler` is not part of its public interface, which is why pyproject.toml has an upper
bound for aiohttp.
"""

import asyncio
import ssl
import time
from collections import deque
from email.utils import formatdate
from typing import Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.hdrs import PROXY_AUTHORIZATION
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from bulk_patch.client.permits import Permit, Permits
from bulk_patch.client.timeouts import Timeout, Timeouts
from bulk_patch.model import Reply
from bulk_patch.targets.answers import http_date

BODY_CAP = 1 << 20  # bytes, decoded
_KEEPALIVE_S = 30.0  # shorter than what gateways keep, so that they do not close under a request
_SWITCHED = 101
_TOO_MANY = 429
_WATCHED_S = 0.05  # a new connection, after a refusal


class NeverLeft(aiohttp.ClientError):
    """Not one byte of the request has left."""


class Connections:
    """A pool of connections to one server.

    Args:
        base_url: Of the server.
        tls: Settings for https.
        proxy: URL of the proxy to go through, or None.
        limiter: Is asked for another permit where connecting took so long that the first one is stale: what counts is
            when the bytes leave, and sixteen connections that come up together must not send together.
        connect_timeout_s: For one connection to come up.
    """

    def __init__(
        self, base_url: URL, *, tls: ssl.SSLContext, proxy: str | None, limiter: Permits, connect_timeout_s: float
    ) -> None:
        self._base_url = base_url
        self._tls = tls
        self._proxy = URL(proxy) if proxy else None
        self._limiter = limiter
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)
        self._idle: deque[tuple[Connection, float]] = deque()  # with the time of its last use, the latest at the end

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._timeouts = Timeouts(self._loop)
        self._pool = aiohttp.TCPConnector(
            limit=0,  # concurrency is bounded elsewhere; the pool only makes connections, idle ones are kept here
            ttl_dns_cache=300,
            ssl=self._tls,
        )
        # It tells the pool where to connect to, and is never sent.
        self._to = aiohttp.ClientRequest("GET", self._base_url, proxy=self._proxy, loop=self._loop)
        self.host = self._to.headers["Host"]
        origin = f"{self._base_url.scheme}://{self.host}"
        self._is_relayed = self._proxy is not None and not self._to.is_ssl()  # by a proxy that reads the requests
        self._origin = origin if self._is_relayed else ""
        return self

    async def __aexit__(self, *_: object) -> None:
        self._timeouts.close()
        await self._pool.close()  # it takes all for used and cuts them off: an orderly end of TLS may never come
        for connection, _since in self._idle:
            connection.close()

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        headers: str,
        body: bytes | None,
        permit: Permit,
        timeout_s: float,
        fresh: bool = False,
    ) -> Reply:
        """Send one request and read its answer, exactly once: nothing is repeated or followed.

        Args:
            method: The verb.
            path: With query, percent-encoded.
            headers: Complete lines, without Host and Content-Length.
            body: The exact bytes.
            permit: Of the limiter, for this request.
            timeout_s: For connecting, sending and reading together; waiting for a second permit is not counted.
            fresh: Over a new connection.

        Raises:
            NeverLeft: There was no connection in time.
            aiohttp.ClientError, HttpProcessingError, OSError: There was no answer, or none that could be read.
            TimeoutError: The answer took too long.
            LimiterClosed: The run stopped before a byte had left.
        """
        due_at = self._loop.time() + timeout_s
        started_at = time.monotonic()  # uvloop's clock advances once a round, by milliseconds: too coarse for an answer
        idle = None if fresh else self._take_idle()
        connection = idle or await self._connect(timeout_s)
        try:
            if self._limiter.is_stale(permit):
                left_s = due_at - self._loop.time()
                permit = await self._limiter.retake(permit)  # may be a long pause, which the server did not cause
                due_at = self._loop.time() + left_s
            if (ends := _open_and_silent(connection)) is None:
                raise NeverLeft("closed, or data came, before the request")
            protocol, transport = ends
            protocol.set_response_params(read_until_eof=True)
            data = self._head(method, path, headers, body) + (body or b"")
            with Timeout(self._timeouts, transport, due_at):
                self._limiter.leaves(permit)
                transport.write(data)
                message, content = await protocol.read()
                while 100 <= message.code < 200 and message.code != _SWITCHED:
                    message, content = await protocol.read()
                answer, is_whole = await _read(content)
            elapsed_s = time.monotonic() - started_at
            is_stray = idle is not None or (_refuses(message.code) and await _goes_on(connection))
        except BaseException:
            _abort(connection)
            raise
        if is_whole and message.code != _SWITCHED and not transport.get_write_buffer_size():
            self._keep(connection)
        else:
            _abort(connection)
        return Reply(message.code, _lower(message), answer, is_whole, elapsed_s, is_stray)

    def _keep(self, connection: Connection) -> None:
        """Keep a connection for the next request, and close those that have not been used for long."""
        now = self._loop.time()
        while self._idle and now - self._idle[0][1] >= _KEEPALIVE_S:
            self._idle.popleft()[0].close()
        self._idle.append((connection, now))

    def _take_idle(self) -> Connection | None:
        """Take the connection that was used last, if it is open and nothing has arrived since the last answer."""
        now = self._loop.time()
        while self._idle:
            connection, since = self._idle.pop()
            if now - since < _KEEPALIVE_S and _open_and_silent(connection) is not None:
                return connection
            connection.close()
        return None

    async def _connect(self, timeout_s: float) -> Connection:
        """Make a new connection."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._pool.connect(self._to, traces=[], timeout=self._timeout)
        except aiohttp.ClientConnectorError:  # these say for themselves that nothing has left, and why
            raise
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise NeverLeft(f"no connection: {type(error).__name__}") from error

    def _head(self, method: str, path: str, headers: str, body: bytes | None) -> bytes:
        if body is not None:
            headers = f"{headers}Content-Length: {len(body)}\r\n"
        if self._is_relayed and (credentials := self._to.headers.get(PROXY_AUTHORIZATION)):
            headers = f"{headers}{PROXY_AUTHORIZATION}: {credentials}\r\n"
        return f"{method} {self._origin}{path} HTTP/1.1\r\nHost: {self.host}\r\n{headers}\r\n".encode("ascii")


def _refuses(status: int) -> bool:
    return 400 <= status < 500 and status != _TOO_MANY


async def _goes_on(connection: Connection) -> bool:
    """Tell whether more comes over a new connection after a refusal: then the refusal may have been for another."""
    await asyncio.sleep(_WATCHED_S)
    protocol, transport = connection.protocol, connection.transport
    return protocol is not None and transport is not None and not transport.is_closing() and protocol.should_close


def _open_and_silent(connection: Connection) -> tuple[ResponseHandler, asyncio.Transport] | None:
    """Return protocol and transport of a usable connection; what a server sent unasked must not become an answer."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing() or protocol.should_close:
        return None
    return protocol, transport


def _abort(connection: Connection) -> None:
    """Close a connection at once; an orderly close would first send what is still buffered."""
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()


def _lower(message: RawResponseMessage) -> dict[str, str]:
    """Return headers by lower-case name; a repeated header has one line for each value."""
    headers = message.headers
    lower = {name.lower(): value for name, value in headers.items()}
    if len(lower) < len(headers):
        lower = {name: "\n".join(headers.getall(name)) for name in lower}
    if "retry-after" in lower and http_date(lower.get("date")) is None:
        lower["date"] = formatdate(usegmt=True)  # as RFC 9110 §6.6.1 asks of those who receive an answer without it
    return lower


async def _read(content: StreamReader) -> tuple[bytes, bool]:
    """Read a body up to the cap; also tell whether it is complete."""
    chunks: list[bytes] = []
    size = 0
    try:
        while not content.at_eof():
            chunks.append(await content.readany())
            size += len(chunks[-1])
            if size > BODY_CAP:
                return b"".join(chunks)[:BODY_CAP], False
    except (aiohttp.ClientPayloadError, HttpProcessingError, OSError):  # the status is known, the evidence is not
        return b"".join(chunks), False
    return b"".join(chunks), True
