"""One request over aiohttp: exactly one, never followed, never repeated, every failure named."""

import asyncio
import re
import ssl
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from bulk_patch.credential import Credential
from bulk_patch.errors import CredentialError
from bulk_patch.model import Lost, NoReply, Reply, Request
from bulk_patch.pace import CONNECT_LATE_S, Pace

BODY_CAP = 1 << 20  # bytes, decoded
_CONNECT_TIMEOUT_S = 10.0
_KEEPALIVE_S = 30.0  # shorter than what gateways keep, so that they do not close under a request
_DEADLINE: ContextVar[asyncio.Timeout] = ContextVar("_DEADLINE")  # of the exchange under way
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)+")


class _PacedConnector(aiohttp.TCPConnector):
    """Asks for another permit where connecting took so long that the first one is stale.

    What counts is when the bytes leave: sixteen connections that come up together must not send together.
    """

    def __init__(self, pace: Pace, **options: Any) -> None:
        super().__init__(**options)
        self._pace = pace

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        begun = self._loop.time()
        connection = await super()._create_connection(req, traces, timeout)
        if self._loop.time() - begun > CONNECT_LATE_S:
            try:
                await self._retake()
            except BaseException:  # nobody else knows of it yet
                connection.close()
                raise
        return connection

    async def _retake(self) -> None:
        """Wait for another turn, which may be a long pause: none of it is time that the server took."""
        deadline = _DEADLINE.get()
        left_s = (deadline.when() or 0.0) - self._loop.time()
        deadline.reschedule(None)
        await self._pace.retake()
        deadline.reschedule(self._loop.time() + left_s)


class Wire:
    """An HTTP session with one API.

    Args:
        base_url: https, or http to loopback; nothing from row data ever changes it.
        credential: The bearer token.
        pace: The run's limiter; who sends has a permit of it.
        timeout_s: For a whole exchange: connecting, sending and reading.
        proxy: Used only when the job names one; the environment's is not.
        ca_file: PEM bundle of a private authority.

    Raises:
        CredentialError: When the CA file cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credential: Credential,
        pace: Pace,
        timeout_s: float,
        proxy: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._base_url = str(URL(base_url)).rstrip("/")  # in the one form that paths are added to and compared in
        self._base = URL(self._base_url, encoded=True)
        self._base_path = self._base.raw_path.rstrip("/")
        self._credential = credential
        self.pace = pace
        self._timeout_s = timeout_s
        self._proxy = proxy
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise CredentialError(f"target.ca_file cannot be used: {type(error).__name__}", "name a PEM file") from None

    async def __aenter__(self) -> Self:
        connector = _PacedConnector(
            self.pace,
            limit=0,  # the workers bound it; queueing in the pool would count into timeouts
            keepalive_timeout=_KEEPALIVE_S,
            ttl_dns_cache=300,
            ssl=self._tls,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_TIMEOUT_S, self._timeout_s)),
            trust_env=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "bulk-patch"},
        )
        # aiohttp itself repeats a GET on a dropped keep-alive connection, past any limiter; a test counts requests.
        self._session._retry_connection = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, request: Request) -> tuple[Reply | NoReply, int]:
        """Send one request now; its permit was given.

        Returns:
            The answer or how it was lost, and the version of the credential that was used.
        """
        url = self._url(request.path)
        headers = {"Authorization": self._credential.header()}
        version = self._credential.version
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if request.key is not None:
            headers["Idempotency-Key"] = request.key
        clock = self._session._loop.time
        begun = clock()
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                _DEADLINE.set(deadline)
                async with self._session.request(
                    request.method, url, data=request.body, headers=headers, allow_redirects=False, proxy=self._proxy
                ) as answer:
                    body, whole = await _read(answer)
                    names = {name.lower(): value for name, value in answer.headers.items()}
                    return Reply(answer.status, names, body, whole, clock() - begun), version
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return NoReply(_lost(error), clock() - begun), version

    def _url(self, path: str) -> URL:
        """Build the address, and check that it is the expected one: percent-encoding does not stop `..`."""
        if _PLAIN_PATH.fullmatch(path):  # almost every one: there is nothing in it that could be read otherwise
            return self._base.with_path(f"{self._base_path}{path}", encoded=True)  # half the cost of parsing
        text = f"{self._base_url}{path}"
        if path.startswith("/") and path.isascii() and path.isprintable() and not {" ", "#"} & set(path):
            url, as_a_server_may_read_it = URL(text, encoded=True), URL(text)
            if str(url) == text and url.raw_path == as_a_server_may_read_it.raw_path:
                return url
        raise ValueError("the address of a request is not the expected one")


async def _read(answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Read a body up to the cap; tell whether it is whole."""
    chunks: list[bytes] = []
    size = 0
    try:
        while chunk := await answer.content.readany():
            size += len(chunk)
            chunks.append(chunk)
            if size > BODY_CAP:
                answer.close()
                return b"".join(chunks)[:BODY_CAP], False
    except TimeoutError:  # a dribble is as good as silence
        answer.close()
        raise
    except (aiohttp.ClientPayloadError, OSError):  # the status is known, the evidence is not
        answer.close()
        return b"".join(chunks), False
    return b"".join(chunks), True


def _lost(error: Exception) -> Lost:
    """Translate what aiohttp raises; the only place that knows its exceptions. Their `repr` may hold the token."""
    for kind, lost in _LOST:
        if isinstance(error, kind):
            return lost
    return Lost.RESET


_LOST: tuple[tuple[type[BaseException], Lost], ...] = (  # the most specific first
    (aiohttp.ClientConnectorCertificateError, Lost.CERTIFICATE),
    (aiohttp.ClientConnectorSSLError, Lost.TLS),
    (aiohttp.ServerFingerprintMismatch, Lost.CERTIFICATE),
    (aiohttp.ClientConnectorDNSError, Lost.DNS),
    (aiohttp.ConnectionTimeoutError, Lost.CONNECT),
    (aiohttp.ClientProxyConnectionError, Lost.CONNECT),
    (aiohttp.ClientConnectorError, Lost.REFUSED),
    (aiohttp.ClientHttpProxyError, Lost.CONNECT),
    (TimeoutError, Lost.TIMEOUT),
    (aiohttp.ServerDisconnectedError, Lost.RESET),
    (aiohttp.ClientOSError, Lost.RESET),
    (aiohttp.ClientPayloadError, Lost.RESET),
    (aiohttp.ClientResponseError, Lost.PROTOCOL),
    (ValueError, Lost.PROTOCOL),
)
