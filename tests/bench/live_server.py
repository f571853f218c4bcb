"""A server for reads, so small that it is not what is measured: `python -m tests.bench.live_server [PORT]`.

It answers a list of customers by their ids: each has the same old values. Its first line on stdout is its port.
"""

import asyncio
import json
import sys
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_END = b"\r\n\r\n"
_HELD = {"email": "old@example.com", "first_name": "Old", "last_name": "Name", "status": "ACTIVE"}


class Holder(asyncio.Protocol):
    """One connection: requests without a body, one answer each."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by type
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request in the buffer."""
        self._buffer += data
        while _END in self._buffer:
            head, _, self._buffer = self._buffer.partition(_END)
            query = parse_qs(urlsplit(head.split(b" ", 2)[1].decode()).query)
            ids = query.get("id", [""])[0].split(",")
            answer = json.dumps({"customers": [{"id": customer_id, **_HELD} for customer_id in ids]}).encode()
            self._transport.write(_HEAD % len(answer) + answer)


async def serve(port: int) -> None:
    """Serve on a loopback port until killed; 0: on a free one."""
    server = await asyncio.get_running_loop().create_server(Holder, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
