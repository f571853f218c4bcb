"""The transport: one HTTP request over one connection, exactly once. The contract, and what both implementations share.

`client_session` is the reference: aiohttp's public client session, on any version of aiohttp. `connections` is three
times as fast (`python -m tests.bench.send`), over parts of aiohttp that are not public, and is chosen only on the
versions of aiohttp on which the suite of the transport has passed over it (`LEAN_ON`); on any other version the
reference takes over by itself. `.github/DECISIONS.md` says how a version is admitted.
"""

import asyncio
import ipaddress
import ssl
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

from bulk_patch.client.permits import Permit, Permits
from bulk_patch.model import Reply
from bulk_patch.targets.answers import http_date

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

#: Versions of aiohttp on which tests/client has passed over the lean transport.
LEAN_ON = frozenset({"3.14.3", "3.14.4", "3.14.5"})
BODY_CAP = 1 << 20  # bytes, decoded
KEEPALIVE_S = 30.0  # shorter than what gateways keep, so that they do not close under a request
SWITCHED = 101
HEADER_CAP = 64 << 10  # bytes of one header line: gateways add cookies and policies
MOST_INTERIM = 20  # answers of the kind 1xx before the answer
_TOO_MANY = 429
_WATCHED_S = 0.05  # a new connection, after a refusal


class NeverLeft(aiohttp.ClientError):
    """Not one byte of the request has left."""


class ForeignPeer(NeverLeft):
    """Plain http was to lead to this machine, and leads elsewhere: a name may say anything."""


#: Failures without a connection that say for themselves that nothing has left, and why.
SAY_WHY = (NeverLeft, aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)


class Ends(NamedTuple):
    """The two ends that aiohttp gives a connection."""

    protocol: "ResponseHandler"
    transport: asyncio.Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a transport connects to, and how.

    Attributes:
        base_url: Of the server.
        tls: Settings for https.
        proxy: URL of the proxy to go through, or None.
        connect_timeout_s: For one connection to come up.
    """

    base_url: URL
    tls: ssl.SSLContext
    proxy: URL | None = field(repr=False)  # it may hold a password
    connect_timeout_s: float


class Call(NamedTuple):
    """One request as it is written.

    Attributes:
        method: The verb.
        path: With query, percent-encoded.
        headers: Complete lines, without Host and Content-Length.
        body: The exact bytes.
    """

    method: str
    path: str
    headers: str
    body: bytes | None


class Transport(Protocol):
    """A pool of connections to one server, opened and closed as an async context manager.

    A request whose permit has become stale while its connection came up takes another one before its first byte
    leaves: what counts is when the bytes leave, and sixteen connections that come up together must not send together.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def exchange(
        self,
        call: Call,
        *,
        permit: Permit,
        timeout_s: float,
        fresh: bool = False,
    ) -> Reply:
        """Send one request and read its answer, exactly once: nothing is repeated or followed.

        Args:
            call: The request.
            permit: Of the limiter, for this request.
            timeout_s: For connecting, sending and reading together; waiting for a second permit is not counted.
            fresh: Over a new connection.

        Returns:
            The answer; it may be a stray one when its connection was used before, or when more came after a refusal.

        Raises:
            NeverLeft: There was no connection in time.
            aiohttp.ClientError, HttpProcessingError, OSError: There was no answer, or none that could be read.
            TimeoutError: The answer took too long.
            LimiterClosed: The run stopped before a byte had left.
        """
        ...


def choose_transport(address: ServerAddress, limiter: Permits, *, version: str = aiohttp.__version__) -> Transport:
    """Return the fastest transport that has passed its suite on this version of aiohttp."""
    if version in LEAN_ON:
        from bulk_patch.client.connections import Connections

        return Connections(address, limiter)
    from bulk_patch.client.client_session import ReferenceTransport

    return ReferenceTransport(address, limiter)


def open_and_silent(connection: Connection) -> Ends | None:
    """Return the ends of a usable connection; what a server sent unasked must not become an answer."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing() or protocol.should_close:
        return None
    return Ends(protocol, transport)


def check_peer(address: ServerAddress, connection: Connection) -> None:
    """Compare where a connection of plain http leads with loopback, before a byte of the request leaves.

    Raises:
        ForeignPeer: It leads elsewhere.
    """
    if address.base_url.scheme != "http" or address.proxy is not None or connection.transport is None:
        return
    peer = connection.transport.get_extra_info("peername")
    if peer is not None and not is_loopback(str(peer[0])):
        raise ForeignPeer("plain http to another machine")


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


async def is_followed(status: int, ends: Ends) -> bool:
    """Tell whether more comes over a new connection after a refusal: then the refusal may have been for another."""
    if not 400 <= status < 500 or status == _TOO_MANY:
        return False
    await asyncio.sleep(_WATCHED_S)
    return not ends.transport.is_closing() and ends.protocol.should_close


def by_lower_name(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """Return an answer's headers by lower-case name; a repeated header has one line for each value."""
    lower = {name.lower(): value for name, value in headers.items()}
    if len(lower) < len(headers):
        lower = {name: "\n".join(headers.getall(name)) for name in lower}
    if "retry-after" in lower and http_date(lower.get("date")) is None:
        lower["date"] = formatdate(usegmt=True)  # as RFC 9110 §6.6.1 asks of those who receive an answer without it
    return lower


async def read_body(content: StreamReader) -> tuple[bytes, bool]:
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
