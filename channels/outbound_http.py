"""HTTP on the way out: the one place that every outgoing request of the product goes through.

Whoever asks, whatever for: the URL is checked, each dial is checked (``channels/dialling.py``), redirects are not
followed (the address that was checked is the one that counts), proxies, netrc and cookies do not exist, answers are
not unpacked. Nothing else constructs an HTTP client; tests/channels/test_one_way_out.py proves it.
Why aiohttp, and what it costs to have httpx above it: deploy/decisions/0007-one-way-out.md.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator
from functools import cache, lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import quote

import aiohttp
import httpx
from yarl import URL

from channels.base import TargetError
from channels.dialling import BlockedDial, CheckedConnector, Resolver, resolve
from channels.outbound import OutboundPolicy
from channels.tls import tls_context

CONNECT_LIMIT = 5.0
TOTAL_LIMIT = 30.0
LONGEST_ANSWER = 16 * 1024 * 1024  # what is read at most of an answer whose content matters
LONGEST_LINE = 16 * 1024  # of an answer's head: more than a server sends that means it, and so are as many lines …
MOST_LINES = 128  # … and a head of 2 MB, which is held as a whole, two hundred times at once
URLS_KEPT = 1024  # whose spelling was checked; each dial is, every time

_LEFT_AS_IT_IS = "!#$%&'()*+,-./:;=?@[]_~"


class OutboundSession:
    """aiohttp behind the outbound policy; opened when first needed, as that takes a running event loop.

    ``connect`` and ``total`` are seconds, for a dial and for a whole exchange; ``tls`` None trusts what the machine
    trusts.
    """

    def __init__(
        self,
        policy: OutboundPolicy,
        *,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
        connect: float = CONNECT_LIMIT,
        total: float = TOTAL_LIMIT,
        connections: int = 200,
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._tls = tls
        self._connect = connect
        self._total = total
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._checked = lru_cache(maxsize=URLS_KEPT)(self._check)

    async def request(self, method: str, url: str, **options: Any) -> aiohttp.ClientResponse:
        """aiohttp's request with its options; the answer has to be released.

        Raises :class:`~channels.dialling.BlockedDial`, and aiohttp's own errors: a ``ClientConnectorError`` or a
        ``ConnectionTimeoutError`` came before anything was sent.
        """
        try:
            target = self._checked(url)
        except TargetError as error:
            raise BlockedDial(str(error)) from None
        return await self._opened().request(method, target, **options, allow_redirects=False)

    def _check(self, url: str) -> URL:
        return URL(quote(self._policy.check(url), safe=_LEFT_AS_IT_IS), encoded=True)

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=CheckedConnector(
                    self._policy,
                    resolver=self._resolver,
                    tls=self._tls or _shared_tls(),
                    connect=self._connect,
                    connections=self._connections,
                ),
                timeout=aiohttp.ClientTimeout(total=self._total),
                headers={"Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                max_line_size=LONGEST_LINE,
                max_field_size=LONGEST_LINE,
                max_headers=MOST_LINES,
            )
        return self._session


@cache
def _shared_tls() -> ssl.SSLContext:
    context = tls_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def read_answer(answer: aiohttp.ClientResponse, limit: int = LONGEST_ANSWER) -> AsyncIterator[bytes]:
    """What comes over the wire, as it comes. Raises :class:`aiohttp.ClientPayloadError` past ``limit`` bytes."""
    read = 0
    async for chunk in answer.content.iter_any():
        read += len(chunk)
        if read > limit:
            raise aiohttp.ClientPayloadError(f"The answer is longer than {limit} bytes")
        yield chunk


class OutboundClient(httpx.AsyncClient):
    """httpx over an outbound session, for whoever asks now and then and likes it better; closing it closes both.

    What is sent by the thousand goes through :attr:`outbound` directly: a third of the work.
    """

    def __init__(self, outbound: OutboundSession, *, total: float) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # below it whole URLs are logged, and those are secrets
        super().__init__(
            transport=_Transport(outbound),
            headers={"accept-encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=total,
            follow_redirects=False,
            trust_env=False,
        )
        self.outbound = outbound


def outbound_client(
    policy: OutboundPolicy,
    *,
    resolver: Resolver = resolve,
    tls: ssl.SSLContext | None = None,
    connect: float = CONNECT_LIMIT,
    total: float = TOTAL_LIMIT,
    connections: int = 200,
) -> OutboundClient:
    """httpx behind the policy. A refused URL or dial raises :class:`BlockedDial`, an :class:`httpx.ConnectError`.

    ``total`` bounds each wait for the answer's next bytes.
    """
    outbound = OutboundSession(policy, resolver=resolver, tls=tls, connect=connect, connections=connections)
    return OutboundClient(outbound, total=total)


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, outbound: OutboundSession) -> None:
        self._outbound = outbound

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        between_bytes = request.extensions.get("timeout", {}).get("read")
        try:
            answer = await self._outbound.request(
                request.method,
                str(request.url),
                data=await request.aread() or None,
                headers=request.headers.multi_items(),
                timeout=aiohttp.ClientTimeout(sock_read=between_bytes),
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _in_httpx_words(error) from None  # aiohttp's names the URL
        # Without the name of its packing, httpx does not unpack it: what we did not ask for we do not read
        headers = [(name, value) for name, value in answer.raw_headers if name.lower() != b"content-encoding"]
        return httpx.Response(answer.status, headers=headers, stream=_Body(answer))

    async def aclose(self) -> None:
        await self._outbound.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in read_answer(self._answer):
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _in_httpx_words(error) from None

    async def aclose(self) -> None:
        self._answer.release()


def _in_httpx_words(error: Exception) -> httpx.TransportError:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout("No connection in time")
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(str(error.os_error))
        case TimeoutError():
            return httpx.ReadTimeout("No answer in time")
        case aiohttp.ClientResponseError():
            return httpx.RemoteProtocolError("The answer is not HTTP")
        case aiohttp.ClientPayloadError():
            return httpx.ReadError("The answer is cut off, or too long")
        case _:
            return httpx.ReadError("The connection ended before the answer")
