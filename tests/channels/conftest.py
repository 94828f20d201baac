"""What every channel's tests start from: a message, certificates, a port where nobody listens."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import trustme

from channels.base import UNSUBSCRIBE_URL, Export, Message

SENT_AT = datetime(2027, 3, 14, 7, 30, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def a_message(**changes: Any) -> Message:
    fields: dict[str, Any] = {
        "id": "subscription-42-2027-03-14T07:30:00Z",
        "subject": "Sales: Größe & <Gewicht>",
        "text": f"Orders: 118\n\nUnsubscribe: {UNSUBSCRIBE_URL}\n",
        "html": f'<p>Orders: 118</p><img src="cid:orders"><a href="{UNSUBSCRIBE_URL}">Unsubscribe</a>',
        "data": {"version": 1, "insights": [{"name": "Größe"}]},
        "sent_at": SENT_AT,
        "exports": (
            Export(name="orders", title="Orders a day", text="118 & rising", image=PNG),
            Export(name="refunds", title="Refunds", text="", error="The source took too long."),
            Export(name="visits", title="Visits", text="9", image=PNG * 2),
        ),
    }
    return Message(**(fields | changes))


@pytest.fixture
def message() -> Message:
    return a_message()


@dataclass(frozen=True, slots=True)
class Certificates:
    """Contexts of a server that is called localhost and 127.0.0.1, and of clients that trust it or do not."""

    server: ssl.SSLContext
    trusting: ssl.SSLContext
    strict: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1", "hooks.example.com").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return Certificates(server=server, trusting=trusting, strict=ssl.create_default_context())


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Taken, but nobody listens: every connection is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@dataclass
class Canary:
    """Counts the connections to a port of this machine, whichever of its addresses they were meant for."""

    port: int
    connections: int = 0


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    """Stands where nothing may go."""

    async def sing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        canary.connections += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(sing, "0.0.0.0", 0)  # noqa: S104 - 0 and 127.1.2.3 lead here, too
    canary = Canary(server.sockets[0].getsockname()[1])
    yield canary
    server.close()
    await server.wait_closed()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[int]:
    """A server of a few lines, for behaviour no library would show; gives its port and leaves nothing open."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@pytest.fixture
def frozen() -> Callable[[], datetime]:
    return lambda: SENT_AT
