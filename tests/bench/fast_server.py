"""A server so small that it is not what is measured: `python -m tests.bench.fast_server [PORT]`.

It answers every PATCH with 200, the id of the path and the body's own values, on raw asyncio protocols over uvloop. Its
first line on stdout is its port; its second, when the first request arrives, the monotonic time, seconds.
"""

import asyncio
import sys
import time
from typing import ClassVar, cast

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Echo(asyncio.Protocol):
    """One connection: whole requests out of a buffer, one answer each."""

    is_waiting: ClassVar[bool] = True  # for the first request of all

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by type
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request in the buffer."""
        if Echo.is_waiting:
            Echo.is_waiting = False
            print(time.monotonic(), flush=True)
        self._buffer += data
        answers = []
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                break
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            customer_id = head.split(b" ", 2)[1].rpartition(b"/")[2]
            answer = b'{"id":"' + customer_id + (b'",' + body[1:] if len(body) > 2 else b'"}')
            answers.append(_HEAD % len(answer) + answer)
        if answers:
            self._transport.write(b"".join(answers))


async def serve(port: int) -> None:
    """Serve on a loopback port until killed; 0: on a free one."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
