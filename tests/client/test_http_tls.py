"""TLS, and connections that are slow to come up, which is where they cost something."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trustme

from bulk_patch.client import http as http_module
from bulk_patch.client.credential import Credential
from bulk_patch.client.http import HttpClient
from bulk_patch.client.permits import LimiterClosed, Permit
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.errors import CredentialError, Exit
from bulk_patch.model import FailureKind, NetworkFailure, Reply, Request, State
from bulk_patch.sandbox import Sandbox
from bulk_patch.targets.synctera.target import LOGIN
from tests.support.limiters import count_beyond_rate, fail_with, fresh_permit
from tests.support.patches import ANN, HEADERS
from tests.support.raw_server import RawServer, Say, http_answer
from tests.support.sending import make_row, open_bench

PATCH = Request("PATCH", f"/customers/{ANN}", b"{}", HEADERS)
GET = Request("GET", f"/customers/{ANN}")
SLOW_S = 0.3  # for a connection to come up


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a private authority."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its certificate in a PEM file."""
    path: Path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def make_context(authority: trustme.CA, *names: str, not_after: dt.datetime | None = None) -> ssl.SSLContext:
    """Return what a server of these names speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue_cert(*(names or ("localhost",)), not_after=not_after)
    certificate.configure_cert(context)
    return context


@asynccontextmanager
async def open_client(
    base_url: str, ca_file: Path | None, *, limiter: RateLimiter | None = None, timeout_s: float = 5.0
) -> AsyncIterator[HttpClient]:
    """Open a client that trusts one authority."""
    credential = Credential.of_sandbox("token", LOGIN)
    async with HttpClient(
        base_url, credential=credential, limiter=limiter or RateLimiter(None), timeout_s=timeout_s, ca_file=ca_file
    ) as http:
        yield http


async def exchange(tls: ssl.SSLContext, ca_file: Path | None) -> tuple[Reply | NetworkFailure, RawServer]:
    """Send one request over TLS."""
    async with RawServer(lambda heard: http_answer(), tls=tls) as server:
        base_url = f"https://localhost:{server.port}/v0"
        async with open_client(base_url, ca_file) as http:
            reply, _ = await http.send(PATCH, fresh_permit())
    return reply, server


# --- certificates


def test_the_certificate_of_a_private_authority_is_trusted_when_the_job_names_it(
    authority: trustme.CA, ca_file: Path
) -> None:
    reply, server = asyncio.run(exchange(make_context(authority), ca_file))
    assert isinstance(reply, Reply)
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["unknown authority", "self-signed", "another name", "expired", "another authority"])
def test_a_bad_certificate_is_found_before_anything_is_sent(fault: str, authority: trustme.CA, ca_file: Path) -> None:
    match fault:
        case "unknown authority":
            context, trusted = make_context(authority), None
        case "self-signed":
            context, trusted = make_context(trustme.CA()), None
        case "another name":
            context, trusted = make_context(authority, "api.example.com"), ca_file
        case "expired":
            yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
            context, trusted = make_context(authority, not_after=yesterday), ca_file
        case _:
            context, trusted = make_context(trustme.CA()), ca_file
    reply, server = asyncio.run(exchange(context, trusted))
    assert isinstance(reply, NetworkFailure)
    assert reply.lost is FailureKind.CERTIFICATE
    assert server.requests == []


def test_a_server_that_speaks_no_tls_is_a_tls_failure(ca_file: Path) -> None:
    async def scenario() -> None:
        async with Sandbox([]) as server, open_client(server.base_url.replace("http:", "https:"), ca_file) as http:
            reply, _ = await http.send(PATCH, fresh_permit())
        assert isinstance(reply, NetworkFailure)
        assert reply.lost is FailureKind.TLS
        assert server.requests == []

    asyncio.run(scenario())


@pytest.mark.parametrize("then", ["close", "hang"])
def test_a_handshake_that_ends_or_hangs_has_sent_nothing(
    then: str, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.read(1)
            if then == "hang":
                await reader.read()  # until the client has had enough

    async def scenario() -> None:
        async with await asyncio.start_server(meet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with open_client(f"https://localhost:{port}/v0", ca_file) as http:
                reply, _ = await http.send(PATCH, fresh_permit())
        assert isinstance(reply, NetworkFailure)
        assert reply.lost in (FailureKind.TLS, FailureKind.CONNECT, FailureKind.REFUSED)

    monkeypatch.setattr(http_module, "_CONNECT_TIMEOUT_S", 0.3)
    asyncio.run(scenario())


@pytest.mark.parametrize(
    "text", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_a_file_that_holds_no_authority_is_a_credential_error(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(CredentialError) as caught:
        HttpClient(
            "https://localhost",
            credential=Credential.of_sandbox("x", LOGIN),
            limiter=RateLimiter(None),
            timeout_s=1,
            ca_file=path,
        )
    assert caught.value.exit_code is Exit.CREDENTIAL
    assert caught.value.hint


# --- connections that are slow to come up


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return what a server on localhost speaks TLS with."""
    return make_context(authority)


@asynccontextmanager
async def slowly_connected(
    tls: ssl.SSLContext, ca_file: Path, *, limiter: RateLimiter, timeout_s: float = 5.0
) -> AsyncIterator[tuple[RawServer, HttpClient]]:
    """Open a server whose connections are slow to come up, and a client of it."""
    async with (
        RawServer(lambda heard: http_answer(), tls=tls, connect_s=SLOW_S) as server,
        open_client(server.base_url, ca_file, limiter=limiter, timeout_s=timeout_s) as http,
    ):
        yield server, http


def test_requests_whose_connections_come_up_together_still_keep_the_rate(tls: ssl.SSLContext, ca_file: Path) -> None:
    async def scenario() -> None:
        limiter = RateLimiter(20.0)
        async with slowly_connected(tls, ca_file, limiter=limiter) as (server, http):

            async def send() -> None:
                permit = await limiter.acquire()
                await http.send(PATCH, permit)

            await asyncio.gather(*(send() for _ in range(8)))
            arrived = [heard.at for heard in server.requests]
        assert len(arrived) == 8
        assert limiter.permits == 8  # a second turn is no second request
        assert count_beyond_rate(arrived, 20.0) < 1  # arrivals, which wander a little

    asyncio.run(scenario())


def test_on_a_kept_connection_a_request_takes_one_turn_only(tls: ssl.SSLContext, ca_file: Path) -> None:
    async def scenario() -> None:
        limiter = RateLimiter(20.0)
        async with slowly_connected(tls, ca_file, limiter=limiter) as (server, http):
            await http.send(GET, fresh_permit())
            begun = asyncio.get_running_loop().time()
            for _ in range(10):
                permit = await limiter.acquire()
                await http.send(GET, permit)
            assert asyncio.get_running_loop().time() - begun < 0.9
        assert server.connections == 1

    asyncio.run(scenario())


def test_the_probe_of_an_outage_gets_through_a_slow_connection(tls: ssl.SSLContext, ca_file: Path) -> None:
    async def scenario() -> None:
        limiter = RateLimiter(100.0, longest_delay_s=0.1)
        for row in range(12):
            fail_with(limiter, row, Permit(0.0))
        async with slowly_connected(tls, ca_file, limiter=limiter, timeout_s=2) as (_, http):
            permit = await limiter.acquire()
            reply, _ = await http.send(PATCH, permit)
        assert isinstance(reply, Reply)

    asyncio.run(scenario())


def test_the_probe_of_a_credential_gets_through_a_slow_connection(tls: ssl.SSLContext, ca_file: Path) -> None:
    async def scenario() -> None:
        limiter = RateLimiter(100.0)
        limiter.hold()
        async with slowly_connected(tls, ca_file, limiter=limiter, timeout_s=2) as (_, http):
            permit = await limiter.acquire(probe=True)
            reply, _ = await http.send(GET, permit)
        assert isinstance(reply, Reply)

    asyncio.run(scenario())


def test_a_run_that_stops_while_a_connection_comes_up_sends_nothing_on_it(tls: ssl.SSLContext, ca_file: Path) -> None:
    async def scenario() -> None:
        limiter = RateLimiter(100.0)
        async with slowly_connected(tls, ca_file, limiter=limiter) as (server, http):
            permit = await limiter.acquire()
            sending = asyncio.create_task(http.send(PATCH, permit))
            await asyncio.sleep(SLOW_S / 3)
            limiter.close()
            with pytest.raises(LimiterClosed):
                await sending
            await asyncio.sleep(0.05)
        assert server.requests == []

    asyncio.run(scenario())


def test_a_pause_that_begins_while_a_connection_comes_up_is_obeyed(tls: ssl.SSLContext, ca_file: Path) -> None:
    async def scenario() -> None:
        limiter = RateLimiter(100.0)
        async with slowly_connected(tls, ca_file, limiter=limiter) as (server, http):
            permit = await limiter.acquire()
            sending = asyncio.create_task(http.send(PATCH, permit))
            await asyncio.sleep(SLOW_S / 3)
            paused = asyncio.get_running_loop().time()
            limiter.pause(0.6, "rate limited")
            await sending
            assert server.requests[0].at - paused > 0.5

    asyncio.run(scenario())


def test_a_pause_that_lasts_longer_than_an_exchange_may_take_costs_no_attempt(
    tls: ssl.SSLContext, ca_file: Path
) -> None:
    async def scenario() -> None:
        limiter = RateLimiter(100.0)
        async with (
            RawServer(lambda heard: http_answer(), tls=tls, connect_s=SLOW_S) as server,
            open_client(server.base_url, ca_file, limiter=limiter, timeout_s=0.5) as http,
        ):
            permit = await limiter.acquire()
            sending = asyncio.create_task(http.send(PATCH, permit))
            await asyncio.sleep(SLOW_S / 3)
            limiter.pause(0.8, "rate limited")
            reply, _ = await sending
            assert isinstance(reply, Reply)
            assert len(server.requests) == 1

    asyncio.run(scenario())


def test_a_connection_that_comes_up_for_no_one_is_closed(tls: ssl.SSLContext, ca_file: Path) -> None:
    async def scenario() -> None:
        limiter = RateLimiter(100.0)
        limiter.pause(30, "rate limited")
        async with slowly_connected(tls, ca_file, limiter=limiter) as (server, http):
            sending = asyncio.create_task(http.send(PATCH, fresh_permit()))  # stale once the connection is up
            await asyncio.sleep(SLOW_S + 0.3)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        assert server.requests == []

    asyncio.run(scenario())


def test_a_host_that_takes_no_connection_is_given_up_before_anything_has_left(
    tls: ssl.SSLContext, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with (
            RawServer(lambda heard: Say(), tls=tls, connect_s=1) as server,
            open_client(server.base_url, ca_file) as http,
        ):
            reply, _ = await http.send(PATCH, fresh_permit())
        assert isinstance(reply, NetworkFailure)
        assert reply.lost is FailureKind.CONNECT
        assert server.requests == []

    monkeypatch.setattr(http_module, "_CONNECT_TIMEOUT_S", 0.3)
    asyncio.run(scenario())


@pytest.mark.parametrize(("ambiguous", "state"), [(False, State.PENDING), (True, State.UNKNOWN)])
def test_a_row_whose_connection_was_still_coming_up_when_the_run_stopped_was_not_sent(
    ambiguous: bool, state: State, tls: ssl.SSLContext, ca_file: Path
) -> None:
    async def scenario() -> None:
        async with (
            RawServer(lambda heard: http_answer(), tls=tls, connect_s=SLOW_S) as server,
            open_bench(base_url=server.base_url, ca_file=ca_file) as bench,
        ):
            sending = asyncio.create_task(bench.send_one(make_row(ambiguous=ambiguous)))
            await asyncio.sleep(SLOW_S / 3)
            bench.session.stop()
            outcome = await sending
        assert (outcome.state, outcome.attempts) == (state, 0)
        assert server.requests == []

    asyncio.run(scenario())


def test_a_row_that_meets_a_bad_certificate_stops_the_run_and_stays_pending(tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async with (
            RawServer(lambda heard: http_answer(), tls=tls) as server,
            open_bench(base_url=server.base_url) as bench,
        ):
            outcome = await bench.send_one()
        assert (outcome.state, outcome.attempts, outcome.ambiguous) == (State.PENDING, 0, False)
        assert outcome.stop is not None
        assert outcome.stop.exit_code is Exit.CREDENTIAL
        assert server.requests == []

    asyncio.run(scenario())
