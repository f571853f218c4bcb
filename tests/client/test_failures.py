"""What kept an answer from coming is told in words that lead somewhere; nothing was sent where that is known."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trustme

from bulk_patch.client import transport
from bulk_patch.client.transport import MOST_INTERIM, is_loopback
from bulk_patch.model import FailureKind, NetworkFailure, Reply
from tests.client.test_http import PATCH, Run, came, exchange, open_client, run
from tests.support.limiters import fresh_permit
from tests.support.raw_server import RawServer, Say, http_answer

__all__ = ["run"]  # the fixture
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def _no_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


async def fail(base_url: str, **options: Any) -> NetworkFailure:
    """Send one request; return why it was not answered."""
    async with open_client(base_url, **options) as http:
        reply, _ = await http.send(PATCH, fresh_permit())
    assert isinstance(reply, NetworkFailure)
    return reply


# --- TLS


@pytest.mark.parametrize(
    ("name", "since", "until", "words"),
    [
        ("localhost", -9 * DAY, -DAY, "has expired"),
        ("localhost", DAY, 9 * DAY, "is not valid yet"),
        ("other.example", -DAY, DAY, "is for another name"),
    ],
)
def test_a_certificate_that_is_refused_says_why(
    name: str, since: dt.timedelta, until: dt.timedelta, words: str, tmp_path: Path, run: Run
) -> None:
    authority, now = trustme.CA(), dt.datetime.now(dt.UTC)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, not_before=now + since, not_after=now + until).configure_cert(context)

    async def scenario() -> None:
        async with RawServer(lambda heard: http_answer(), tls=context) as server:
            found = await fail(server.base_url, ca_file=tmp_path / "ca.pem")
            assert server.requests == []
        assert found.lost is FailureKind.CERTIFICATE
        assert words in found.detail

    run(scenario())


def test_an_unknown_authority_is_named(run: Run) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)

    async def scenario() -> None:
        async with RawServer(lambda heard: http_answer(), tls=context) as server:
            assert "authority is not known" in (await fail(server.base_url)).detail

    run(scenario())


def test_a_handshake_that_fails_is_told_from_one_that_is_cut_off(run: Run) -> None:
    async def scenario() -> None:
        async with serving(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
            found = await fail(f"https://localhost:{port}/v0")
        assert found.lost is FailureKind.TLS
        assert found.detail.startswith("TLS: ")
        async with serving(b"") as port:
            assert (await fail(f"https://localhost:{port}/v0")).lost in (FailureKind.CONNECT, FailureKind.REFUSED)

    run(scenario())


@asynccontextmanager
async def serving(says: bytes) -> AsyncIterator[int]:
    """Serve connections that are answered with these bytes and closed; yield the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.read(1)
            writer.write(says)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


# --- proxies


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [(407, FailureKind.PROXY_LOGIN, "HTTP 407"), (403, FailureKind.PROXY, "the proxy refuses, HTTP 403")],
)
def test_a_proxy_that_refuses_is_called_the_proxy(status: int, kind: FailureKind, words: str, run: Run) -> None:
    async def scenario() -> None:
        async with RawServer(lambda heard: http_answer(status, b"", then="close")) as proxy:
            found = await fail("https://localhost:9/v0", proxy=f"http://127.0.0.1:{proxy.port}")
        assert (found.lost, found.detail) == (kind, words)

    run(scenario())


def test_a_proxy_that_is_gone_is_called_the_proxy(run: Run) -> None:
    async def scenario() -> None:
        found = await fail("https://localhost:9/v0", proxy="http://127.0.0.1:1")
        assert (found.lost, found.detail) == (FailureKind.PROXY, "the proxy cannot be reached")

    run(scenario())


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_named_where_nothing_is_reached(
    name: str, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setenv(name, "http://user:secret@proxy.example:3128")

    async def scenario() -> None:
        found = await fail("http://127.0.0.1:1/v0")
        assert found.lost is FailureKind.REFUSED
        assert f"{name} is set in the environment and is not used: set target.proxy" in found.detail
        assert "secret" not in found.detail

    run(scenario())


# --- plain http


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("localhost", False),
    ],
)
def test_loopback_is_an_address_and_not_a_name(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


def test_plain_http_goes_nowhere_else_than_to_this_machine(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(transport, "is_loopback", lambda host: False)  # as if `localhost` led to 192.0.2.1

    async def scenario() -> None:
        async with RawServer(lambda heard: http_answer()) as server:
            assert (await fail(server.base_url)).lost is FailureKind.FOREIGN_PEER
            await asyncio.sleep(0.05)
            assert server.requests == []

    run(scenario())


# --- answers of odd size


@pytest.mark.parametrize("size", [9_000, 60_000])
def test_a_long_header_is_read(size: int, run: Run) -> None:
    async def scenario() -> None:
        reply = came(await exchange(http_answer(200, b"{}", f"X-Long: {'x' * size}")))
        assert len(reply.headers["x-long"]) == size

    run(scenario())


def test_a_few_interim_answers_are_passed_over(run: Run) -> None:
    async def scenario() -> None:
        hints = b"HTTP/1.1 103 Early Hints\r\n\r\n" * MOST_INTERIM
        assert isinstance(await exchange(Say(hints + http_answer().data)), Reply)

    run(scenario())


@pytest.mark.parametrize("over", ["lean"], indirect=True)
def test_interim_answers_without_end_are_cut_off(run: Run) -> None:
    async def scenario() -> None:
        storm = Say(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50_000 + http_answer().data)
        found = await exchange(storm, timeout_s=3)
        assert isinstance(found, NetworkFailure)
        assert found.lost is FailureKind.PROTOCOL

    run(scenario())
