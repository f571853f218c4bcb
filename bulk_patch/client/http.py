"""Send one HTTP request: exactly once, no redirect followed, nothing repeated, every failure named."""

import re
import ssl
import time
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from bulk_patch.client.credential import Credential
from bulk_patch.client.failures import translate
from bulk_patch.client.permits import Permit
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.client.transport import Call, ServerAddress, choose_transport
from bulk_patch.errors import CredentialError
from bulk_patch.model import NetworkFailure, Reply, Request

_CONNECT_TIMEOUT_S = 10.0
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)+")
_HEADERS = "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: bulk-patch\r\n"


class HttpClient:
    """An HTTP client for one API.

    Args:
        base_url: https, or http to loopback; data of rows never changes it.
        credential: The token.
        limiter: Of the run; every request comes with a permit of it.
        timeout_s: For a whole exchange: connecting, sending and reading.
        proxy: As the job names it; proxies of the environment are not used.
        ca_file: PEM bundle of a private certificate authority.

    Raises:
        CredentialError: When the CA file cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credential: Credential,
        limiter: RateLimiter,
        timeout_s: float,
        proxy: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._base_url = str(URL(base_url)).rstrip("/")  # in the form in which addresses are compared
        base = URL(self._base_url, encoded=True)
        self._base_path = base.raw_path.rstrip("/")
        self._credential = credential
        self.limiter = limiter
        self._timeout_s = timeout_s
        try:
            tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise CredentialError(f"target.ca_file cannot be used: {type(error).__name__}", "name a PEM file") from None
        address = ServerAddress(
            base_url=base,
            tls=tls,
            proxy=URL(proxy) if proxy else None,
            connect_timeout_s=min(_CONNECT_TIMEOUT_S, timeout_s),
        )
        self._has_proxy = address.proxy is not None
        self._transport = choose_transport(address, limiter)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._transport.__aexit__(*error)

    async def send(
        self, request: Request, permit: Permit, *, fresh: bool = False
    ) -> tuple[Reply | NetworkFailure, int]:
        """Send one request now, exactly once.

        Args:
            request: Relative to the base URL.
            permit: Given for this request.
            fresh: Over a new connection.

        Returns:
            The answer or why there was none, and the version of the credential that was used.

        Raises:
            LimiterClosed: The run stopped before a byte had left.
        """
        path = self._path(request.path)
        version = self._credential.version
        headers = _HEADERS + self._credential.header_lines()
        for name, value in request.headers.items():
            if not (name.isprintable() and value.isprintable()):  # a line break would begin another header
                raise ValueError("a header of a request is not one line of text")
            headers += f"{name}: {value}\r\n"
        started_at = time.monotonic()
        try:
            reply = await self._transport.exchange(
                Call(request.method, path, headers, request.body),
                permit=permit,
                timeout_s=self._timeout_s,
                fresh=fresh,
            )
            return reply, version
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            return translate(error, time.monotonic() - started_at, has_proxy=self._has_proxy), version

    def _path(self, path: str) -> str:
        """Return the full path, checked to be the expected one: percent-encoding does not stop `..`."""
        if _PLAIN_PATH.fullmatch(path):  # almost every path: nothing in it could be read in another way
            return f"{self._base_path}{path}"
        text = f"{self._base_url}{path}"
        if path.startswith("/") and path.isascii() and path.isprintable() and not {" ", "#"} & set(path):
            url, as_read_by_server = URL(text, encoded=True), URL(text)
            if str(url) == text and url.raw_path == as_read_by_server.raw_path:
                return url.raw_path_qs
        raise ValueError("the address of a request is not the expected one")
