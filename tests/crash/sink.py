"""A webhook receiver that outlives every sender: each whole request is a line in a log before it is answered.

A request may ask for its sender's death (``x-crash-kill``): it is killed while the sink still reads the request.
Run as a process of its own: ``python -m tests.crash.sink LOG``; prints its port.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

PID = "x-crash-pid"
KILL = "x-crash-kill"
LONGEST_ANSWER = 0.04
"""Seconds; long enough that several sends of a burst are in flight together."""


async def main(log: TextIO) -> None:
    """Print the port, then receive until standard input ends: with whoever started it."""

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await _request(reader, writer, log)
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: TextIO) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
    if KILL in headers:
        os.kill(int(headers[KILL]), signal.SIGKILL)
    await reader.readexactly(int(headers.get("content-length", "0")))
    log.write(f"{time.monotonic():.6f} {headers.get(PID, '0')} {headers.get('webhook-id', '-')}\n")
    log.flush()
    await asyncio.sleep(random.uniform(0, LONGEST_ANSWER))  # noqa: S311 - how long an answer takes
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    await writer.drain()


if __name__ == "__main__":
    with Path(sys.argv[1]).open("a", encoding="ascii") as file:
        asyncio.run(main(file))
