"""A webhook receiver that costs next to nothing: counts requests, ids and bytes, answers 204. A process of its own.

Whoever asks without a ``webhook-id`` gets the counts, which start again from nothing.
What comes to a path with ``hang`` in it is answered after fifteen seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys

HANGS = 15.0


class Sink(asyncio.Protocol):
    """Enough of HTTP/1.1 for one well-behaved client: headers, Content-Length, keep-alive."""

    requests = 0
    size = 0
    ids: set[bytes] = set()  # noqa: RUF012 - shared by all connections on purpose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            headers = dict(line.split(b": ", 1) for line in self.buffer[:end].lower().split(b"\r\n")[1:])
            hangs = b"hang" in self.buffer[: self.buffer.find(b"\r\n")]
            whole = end + 4 + int(headers.get(b"content-length", b"0"))
            if len(self.buffer) < whole:
                return
            self.buffer = self.buffer[whole:]
            if b"webhook-id" in headers:
                Sink.requests += 1
                Sink.size += whole - end - 4
                Sink.ids.add(headers[b"webhook-id"])
                answer = b"HTTP/1.1 204 No Content\r\n\r\n"
            else:
                body = json.dumps({"requests": Sink.requests, "ids": len(Sink.ids), "bytes": Sink.size}).encode()
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                Sink.requests, Sink.size, Sink.ids = 0, 0, set()
            asyncio.get_running_loop().call_later(HANGS if hangs else 0, self.transport.write, answer)  # type: ignore[attr-defined]


async def main() -> None:
    """Print the port, then receive until killed."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1])
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
