"""A webhook receiver: keeps each request, checks its signature, answers as told."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from channels.receivers.site import Site


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """``headers`` in lower case; ``verified`` is None when the receiver has no secret to check with."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    verified: bool | None

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. ``reset`` resets the connection instead (TCP RST); ``drip`` sends the body's bytes one by one,
    ``drip`` seconds apart; ``delay`` comes before anything."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0
    drip: float = 0
    reset: bool = False


class WebhookReceiver:
    """``async with WebhookReceiver(secret=…) as receiver``: POST to ``receiver.url``; see ``receiver.requests``.

    Answers 204, or 401 when it has a secret and the signature does not verify; :meth:`script` comes before both.
    """

    def __init__(self, *, secret: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[ReceivedRequest] = []
        self._verifier = Webhook(secret) if secret else None
        self._replies: list[Reply] = []
        self._site = Site(tls=tls)

    @property
    def url(self) -> str:
        return f"{self._site.url}/hooks/paperround"

    @property
    def port(self) -> int:
        return self._site.port

    def script(self, *replies: Reply) -> None:
        """The next answers, one a request."""
        self._replies.extend(replies)

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._receive)
        await self._site.start(application)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._site.stop()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        verified = self._verify(body, headers)
        self.requests.append(ReceivedRequest(request.path, headers, body, verified))
        reply = self._replies.pop(0) if self._replies else Reply(401 if verified is False else 204)
        return await _answer(request, reply)

    def _verify(self, body: bytes, headers: dict[str, str]) -> bool | None:
        if self._verifier is None:
            return None
        try:
            self._verifier.verify(body, headers)
        except WebhookVerificationError:
            return False
        return True


def _reset(transport: asyncio.Transport) -> None:
    """Close without lingering, which is what makes the kernel answer RST instead of FIN (socket(7))."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _answer(request: web.Request, reply: Reply) -> web.StreamResponse:
    await asyncio.sleep(reply.delay)
    if reply.reset and request.transport is not None:
        _reset(request.transport)
    if not reply.drip:
        return web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    await response.prepare(request)
    for place in range(len(reply.body)):
        await response.write(reply.body[place : place + 1])
        await asyncio.sleep(reply.drip)
    return response
