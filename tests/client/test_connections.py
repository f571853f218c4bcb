"""What goes wrong between a connection and its answer: unasked words, bytes that wait, proxies that give up."""

import asyncio
import gc
import socket
import ssl
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from bulk_patch.client import transport
from bulk_patch.model import FailureKind, Request
from bulk_patch.targets.answers import json_object, retry_after_s
from tests.client.test_http import GET, PATCH, Run, came, exchange, lost, open_client, run
from tests.support.limiters import fresh_permit
from tests.support.patches import HEADERS, make_reply
from tests.support.raw_server import RawServer, Say, http_answer

__all__ = ["run"]  # the fixture
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

UNASKED = http_answer(409, b'{"code":"CONFLICT"}').data
LARGE = Request("PATCH", PATCH.path, b'{"a":"' + b"x" * 8_000_000 + b'"}', HEADERS)


@asynccontextmanager
async def serving(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve connections; yield the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context for localhost, and the file of its authority."""
    maker, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    maker.issue_cert("localhost").configure_cert(context)
    maker.cert_pem.write_to_path(tmp_path / "ca.pem")
    return context, tmp_path / "ca.pem"


def test_what_a_server_says_while_a_second_permit_is_waited_for_is_no_answer(
    authority: tuple[ssl.SSLContext, Path], run: Run
) -> None:
    tls, ca_file = authority
    arrived: list[bytes] = []

    async def speak_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(UNASKED)
        arrived.append(await reader.read(1))

    async def scenario() -> None:
        async with (
            serving(speak_first, tls=tls) as port,
            open_client(f"https://localhost:{port}/v0", rate_per_s=2.0, ca_file=ca_file) as http,
        ):
            permit = await http.limiter.acquire()
            reply, _ = await http.send(PATCH, permit)  # a TLS handshake takes longer than a permit is good for
            await asyncio.sleep(0.1)
        assert lost(reply) is FailureKind.CONNECT
        assert not any(arrived)

    run(scenario())


def test_an_answer_that_takes_too_long_over_tls_is_none(authority: tuple[ssl.SSLContext, Path], run: Run) -> None:
    tls, ca_file = authority

    async def scenario() -> None:
        async with (
            RawServer(lambda heard: Say(b"HTTP/1.1 200 OK\r\n\r\n{", then="hang"), tls=tls) as server,
            open_client(f"https://localhost:{server.port}/v0", timeout_s=1.0, ca_file=ca_file) as http,
        ):
            reply, _ = await asyncio.wait_for(http.send(PATCH, fresh_permit()), 10)
        assert lost(reply) is FailureKind.TIMEOUT
        assert len(server.requests) == 1

    run(scenario())


def test_a_connection_that_was_idle_for_long_is_not_used_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "KEEPALIVE_S", 0.2)

    async def scenario() -> None:
        async with RawServer(lambda heard: http_answer()) as server, open_client(server.base_url) as http:
            for pause_s in (0.0, 0.0, 0.3, 0.0):
                await asyncio.sleep(pause_s)
                await http.send(PATCH, fresh_permit())
        assert [heard.connection for heard in server.requests] == [1, 1, 2, 2]

    run(scenario())


def test_the_time_of_an_answer_is_finer_than_the_clock_of_a_loop(run: Run) -> None:
    async def scenario() -> None:
        async with RawServer(lambda heard: http_answer()) as server, open_client(server.base_url) as http:
            replies = [came((await http.send(PATCH, fresh_permit()))[0]) for _ in range(50)]
        assert all(0 < reply.elapsed_s < 1 for reply in replies)

    run(scenario())


@pytest.mark.parametrize("over", ["lean"], indirect=True)  # a client session uses all that it has, in turn
def test_connections_that_were_needed_once_are_let_go_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "KEEPALIVE_S", 0.3)
    is_open: set[int] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_open.add(id(writer))
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0.05)
                writer.write(http_answer().data)
        finally:
            is_open.discard(id(writer))

    async def scenario() -> None:
        async with serving(serve) as port, open_client(f"http://127.0.0.1:{port}/v0") as http:
            await asyncio.gather(*(http.send(GET, fresh_permit()) for _ in range(10)))
            assert len(is_open) == 10
            for _ in range(20):
                await http.send(GET, fresh_permit())
            assert len(is_open) == 1

    run(scenario())


def test_a_server_that_does_not_say_goodbye_over_tls_holds_nothing_open(
    authority: tuple[ssl.SSLContext, Path], run: Run
) -> None:
    tls, ca_file = authority
    ended = threading.Event()
    door = socket.create_server(("127.0.0.1", 0))

    def answer_and_be_deaf() -> None:
        plain, _ = door.accept()
        with tls.wrap_socket(plain, server_side=True) as client:
            client.recv(65_536)
            client.sendall(http_answer().data)
            ended.wait(20)

    async def scenario() -> None:
        async with open_client(f"https://localhost:{door.getsockname()[1]}/v0", ca_file=ca_file) as http:
            assert came((await http.send(GET, fresh_permit()))[0]).status == 200

    server = threading.Thread(target=answer_and_be_deaf)
    server.start()
    with door, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(scenario())
        gc.collect()
    ended.set()
    server.join()
    assert [str(one.message) for one in caught] == []


def test_a_request_that_was_given_up_does_not_leave_later(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as door:
            door.setblocking(False)
            async with open_client(f"http://127.0.0.1:{door.getsockname()[1]}/v0", timeout_s=0.5) as http:
                sending = asyncio.create_task(http.send(LARGE, fresh_permit()))
                connection, _ = await loop.sock_accept(door)
                reply, _ = await sending
                arrived = 0
                with connection, suppress(ConnectionError):
                    while data := await asyncio.wait_for(loop.sock_recv(connection, 1 << 20), 5):
                        arrived += len(data)
        assert lost(reply) is FailureKind.TIMEOUT
        assert arrived < len(LARGE.body or b"")

    run(scenario())


def test_a_connection_is_not_used_again_before_its_request_has_left(run: Run) -> None:
    connections = 0

    async def answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(UNASKED)
        await asyncio.sleep(5)

    async def scenario() -> None:
        async with serving(answer_early) as port, open_client(f"http://127.0.0.1:{port}/v0", timeout_s=2) as http:
            for request in (LARGE, GET):
                reply, _ = await http.send(request, fresh_permit())
                assert came(reply).status == 409
        assert connections == 2

    run(scenario())


@pytest.mark.parametrize("status", ["000", "050", "099"])
def test_a_status_below_100_is_an_answer_and_not_waited_out(status: str, run: Run) -> None:
    async def scenario() -> None:
        said = Say(f"HTTP/1.1 {status} Low\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        assert came(await exchange(said)).status == int(status)

    run(scenario())


@pytest.mark.parametrize("does", ["closes", "talks nonsense"])
def test_a_proxy_that_gives_up_before_the_tunnel_leaves_no_doubt(
    does: str, authority: tuple[ssl.SSLContext, Path], run: Run
) -> None:
    async def give_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if does == "talks nonsense":
            writer.write(b"\x00\xff\r\n\r\n")

    async def scenario() -> None:
        async with (
            serving(give_up) as port,
            open_client("https://localhost:9/v0", ca_file=authority[1], proxy=f"http://127.0.0.1:{port}") as http,
        ):
            reply, _ = await http.send(PATCH, fresh_permit())
        assert lost(reply) is FailureKind.CONNECT

    run(scenario())


def test_of_repeated_headers_each_is_heard(run: Run) -> None:
    async def scenario() -> None:
        twice = http_answer(429, b"{}", "Retry-After: 60", "Retry-After: 1")
        assert retry_after_s(await exchange(twice)) == 60
        noon = "Mon, 23 Nov 2026 12:00:00 GMT"
        dated = http_answer(
            429, b"{}", f"Date: {noon}", f"Retry-After: {noon.replace(':00 ', ':09 ')}", "Retry-After: 1"
        )
        assert retry_after_s(await exchange(dated)) == 9

    run(scenario())


def test_a_date_without_the_clock_of_the_server_counts_from_when_the_answer_came(run: Run) -> None:
    async def scenario() -> None:
        until = formatdate(time.time() + 30, usegmt=True)
        for clock in ((), ("Date: yesterday",)):
            asked_s = retry_after_s(await exchange(http_answer(429, b"{}", *clock, f"Retry-After: {until}")))
            assert asked_s is not None
            assert 28 <= asked_s <= 31

    run(scenario())


def test_an_answer_that_is_nested_too_deep_to_be_walked_cannot_be_read() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    assert json_object(make_reply(200, nested(60))) is not None
    for levels in (66, 900):
        assert json_object(make_reply(200, nested(levels))) is None
    wide: dict[str, Any] = {str(number): {"a": [{}]} for number in range(100)}
    assert json_object(make_reply(200, wide)) == wide
