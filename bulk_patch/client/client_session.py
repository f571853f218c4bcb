"""The reference transport: aiohttp's public client session, kept to one attempt, one answer and the run's rate."""

import asyncio
import io
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakSet

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from bulk_patch.client import transport as transports
from bulk_patch.client.permits import Permit, Permits
from bulk_patch.client.transport import HEADER_CAP, SAY_WHY, SWITCHED, Call, Ends, NeverLeft, ServerAddress
from bulk_patch.model import Reply

#: Headers that aiohttp adds where a request has none: this product says all that it sends.
_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

_LARGE = 1 << 20  # bytes of a body, above which aiohttp does not want them in one piece
_MOST_TRIES = 3  # connections from the pool for one request, until one is open and silent


@dataclass(slots=True)
class _Exchange:
    """One request on its way, from the call to its connection."""

    permit: Permit
    timeout: asyncio.Timeout
    ends: Ends | None = None  # of its connection; None: no byte has left
    is_reused: bool = False  # the connection, by a request before this one


_current: ContextVar[_Exchange] = ContextVar("exchange")


class ReferenceTransport:
    """A client session for one server; see `Transport`.

    Args:
        address: Of the server.
        limiter: Is asked for another permit where connecting took so long that the first one is stale.
    """

    def __init__(self, address: ServerAddress, limiter: Permits) -> None:
        self._address = address
        self._limiter = limiter

    async def __aenter__(self) -> Self:
        base = self._address.base_url
        self._origin = str(base.origin())
        self._session, self._session_of_fresh = self._make_session(), self._make_session(force_close=True)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()
        await self._session_of_fresh.close()

    def _make_session(self, *, force_close: bool = False) -> aiohttp.ClientSession:
        kept = {"force_close": True} if force_close else {"keepalive_timeout": transports.KEEPALIVE_S}
        return aiohttp.ClientSession(
            connector=_OneAttempt(
                self._limiter,
                self._address,
                limit=0,  # concurrency is bounded elsewhere
                ttl_dns_cache=300,
                ssl=self._address.tls,
                **kept,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_ADDED,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._address.connect_timeout_s),
            trust_env=False,
            max_line_size=HEADER_CAP,
            max_field_size=HEADER_CAP,
        )

    async def exchange(
        self,
        call: Call,
        *,
        permit: Permit,
        timeout_s: float,
        fresh: bool = False,
    ) -> Reply:
        """Send one request and read its answer, exactly once; see `Transport`."""
        started_at = time.monotonic()
        timeout = asyncio.timeout(timeout_s)
        exchange = _Exchange(permit, timeout)
        token = _current.set(exchange)
        session = self._session_of_fresh if fresh else self._session
        response: aiohttp.ClientResponse | None = None
        try:
            async with timeout:
                response = await session.request(
                    call.method,
                    URL(f"{self._origin}{call.path}", encoded=True),
                    headers=dict(line.split(": ", 1) for line in call.headers.splitlines()),
                    data=io.BytesIO(call.body) if call.body is not None and len(call.body) > _LARGE else call.body,
                    allow_redirects=False,
                    proxy=self._address.proxy,
                )
                answer, is_whole = await transports.read_body(response.content)
            elapsed_s = time.monotonic() - started_at
            assert exchange.ends is not None
            is_stray = exchange.is_reused or await transports.is_followed(response.status, exchange.ends)
        except BaseException as error:
            if exchange.ends is not None:
                exchange.ends.transport.abort()  # an orderly close would first send what is still buffered
            if response is not None:
                response.close()
            if (
                exchange.ends is None
                and isinstance(error, aiohttp.ClientError | OSError)
                and not isinstance(error, SAY_WHY)
            ):
                raise NeverLeft(f"no connection: {type(error).__name__}") from error
            raise
        finally:
            _current.reset(token)
        if is_whole and response.status != SWITCHED:
            await response.release()
        else:
            response.close()
        headers_by_name = transports.by_lower_name(response.headers)
        return Reply(response.status, headers_by_name, answer, is_whole, elapsed_s, is_stray)


class _OneAttempt(aiohttp.TCPConnector):
    """Connections, of which each request gets one, and before its first byte leaves a permit that is not stale."""

    def __init__(self, limiter: Permits, address: ServerAddress, **options: Any) -> None:
        super().__init__(**options)
        self._limiter = limiter
        self._address = address
        self._used: WeakSet[object] = WeakSet()  # protocols

    async def connect(self, req: aiohttp.ClientRequest, traces: Any, timeout: aiohttp.ClientTimeout) -> Connection:
        """Return a connection for a request, and note that its first byte leaves."""
        exchange = _current.get()
        if exchange.ends is not None:  # a session repeats a read by itself, past any limiter
            raise aiohttp.ServerDisconnectedError("the connection was closed")
        for _ in range(_MOST_TRIES):
            connection = await super().connect(req, traces=traces, timeout=timeout)
            if (
                ends := transports.open_and_silent(connection)
            ) is None:  # it was idle, and the server has closed it or spoken
                connection.close()
                continue
            try:
                transports.check_peer(self._address, connection)
                if self._limiter.is_stale(exchange.permit):
                    exchange.permit = await self._retake(exchange)
                    if transports.open_and_silent(connection) is None:
                        raise NeverLeft("closed, or data came, before the request")
            except BaseException:
                connection.close()
                raise
            exchange.ends, exchange.is_reused = ends, ends.protocol in self._used
            self._used.add(ends.protocol)
            self._limiter.leaves(exchange.permit)
            return connection
        raise NeverLeft("closed, or data came, before the request")

    async def _retake(self, exchange: _Exchange) -> Permit:
        """Wait for another permit; that may be a long pause, which the server did not cause."""
        loop, due_at = asyncio.get_running_loop(), exchange.timeout.when()
        left_s = due_at - loop.time() if due_at is not None else 0.0
        exchange.timeout.reschedule(None)
        try:
            return await self._limiter.retake(exchange.permit)
        finally:
            exchange.timeout.reschedule(loop.time() + left_s)
