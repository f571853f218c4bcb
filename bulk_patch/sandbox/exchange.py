"""Put answers on the wire, the spoiled ones too, down to raw bytes and resets."""

import asyncio
import socket
import struct
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import web

from .faults import Fault
from .problems import Answer

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_CLIENT_LEFT_CHECK_S = 0.05
# Headers that say where a body ends. A fault that sets one wants its lie told, not corrected.
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})


def respond(answer: Answer) -> web.Response:
    """Turn an answer into an ordinary response."""
    return web.Response(status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type})


async def spoil(request: web.BaseRequest, fault: Fault, answer: Answer, *, closing: asyncio.Event) -> web.Response:
    """Treat a client to a fault.

    Args:
        request: The request that gets it.
        fault: What goes wrong.
        answer: What the fault would have said; not used by faults that say nothing.
        closing: Set when the server stops; ends what would last.

    Returns:
        The response. Where the fault has already spoken on the socket itself and closed it, one that goes
        nowhere.
    """
    transport = request.transport
    if transport is None:
        return respond(answer)
    match fault.wire:
        case "reset":
            _reset(transport)
        case "close":
            transport.close()
        case "hang":
            await _hang(transport, closing)
            transport.close()
        case _ if fault.raw is not None:
            transport.write(fault.raw)
            transport.close()
        case "truncate":
            transport.write(_head(answer, fault) + answer.body[: len(answer.body) // 2])
            transport.close()
        case "drip":
            transport.write(_head(answer, fault))
            await _drip(transport, answer.body, fault.drip_s, closing)
            transport.close()
        case _ if 200 <= answer.status <= 599 and not _FRAMING & {name.lower() for name in fault.headers}:
            headers = {"Content-Type": answer.content_type, **fault.headers}
            return web.Response(status=answer.status, body=answer.body, headers=headers)
        case _:
            transport.write(_head(answer, fault) + answer.body)
            transport.close()
    return respond(answer)


def _reset(transport: asyncio.Transport) -> None:
    """Close so that the peer gets RST and not FIN."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _hang(transport: asyncio.Transport, closing: asyncio.Event) -> None:
    while not (transport.is_closing() or closing.is_set()):
        await asyncio.sleep(_CLIENT_LEFT_CHECK_S)


async def _drip(transport: asyncio.Transport, body: bytes, drip_s: float, closing: asyncio.Event) -> None:
    for position in range(len(body)):
        if transport.is_closing() or closing.is_set():
            return
        transport.write(body[position : position + 1])
        await asyncio.sleep(drip_s)


def _head(answer: Answer, fault: Fault) -> bytes:
    """Write status line and headers by hand, for what aiohttp would refuse to send or would put right."""
    phrase = _PHRASES.get(answer.status, "Unknown")
    headers = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Date": formatdate(usegmt=True),
        "Connection": "close",
    }
    own = {name.title(): value for name, value in fault.headers.items()}
    lines = [f"{name}: {value}" for name, value in (headers | own).items()]
    return "\r\n".join([f"HTTP/1.1 {answer.status} {phrase}", *lines, "", ""]).encode("latin-1")
