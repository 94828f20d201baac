"""Dialling: resolve a name once, judge every answer, connect to exactly an address that was judged.

aiohttp's pool asks its connector for each new connection, and ours has no other way to make one: no cache of names, no
shortcut for a literal address, no proxy, and no request can switch the check of certificates off. The TLS name and the
Host header stay the URL's own.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import aiohttp
import httpx
from aiohappyeyeballs import AddrInfoType, start_connection
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from channels.base import TargetError
from channels.outbound import OutboundPolicy
from channels.special_addresses import Address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host name and a port to its addresses, as text; raises :class:`OSError` when there is no answer."""

NEXT_ADDRESS_AFTER = 0.25  # seconds of silence from one address, as RFC 8305 (section 5) recommends
KEPT_FOR = 30.0  # seconds an idle connection is kept


class BlockedDial(httpx.ConnectError):
    """The outbound policy forbids what the URL or its host's name leads to; nothing was sent."""


RESOLVED_AT_ONCE = 128
_RESOLVERS = ThreadPoolExecutor(RESOLVED_AT_ONCE, thread_name_prefix="paperround-resolver")
"""Threads of its own, each made when it is needed: names that nobody answers for hold up no other use of threads."""


async def resolve(host: str, port: int) -> list[str]:
    """The system's resolver (/etc/hosts, nsswitch.conf), once."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        answers = await asyncio.get_running_loop().run_in_executor(_RESOLVERS, ask)
    except UnicodeError:  # a label of more than 63 characters, or of none
        raise socket.gaierror(socket.EAI_NONAME, "Not a host name") from None
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class CheckedConnector(aiohttp.BaseConnector):
    """``connect``: seconds for a dial, from the question to the resolver to the end of the TLS handshake.

    ``connections``: at most so many at a time, and half as many to one host: it never takes the last one.
    """

    allowed_protocol_schema_set = frozenset({"http", "https"})

    def __init__(
        self, policy: OutboundPolicy, *, resolver: Resolver, tls: ssl.SSLContext, connect: float, connections: int
    ) -> None:
        super().__init__(limit=connections, limit_per_host=max(1, connections // 2), keepalive_timeout=KEPT_FOR)
        self._policy = policy
        self._resolver = resolver
        self._tls = tls
        self._limit_of_dial = connect

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],  # noqa: ARG002 - aiohttp's signature
        timeout: aiohttp.ClientTimeout,  # noqa: ARG002, ASYNC109
    ) -> ResponseHandler:
        """What aiohttp's own connectors fill in, and nothing else does: without it there is no connection at all."""
        try:
            async with asyncio.timeout(self._limit_of_dial):
                addresses = await self._judged_addresses(req.host, req.port or 0)
                return await self._dial(addresses, req)
        except TimeoutError:
            raise  # aiohttp tells it from a late answer
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error

    async def _judged_addresses(self, host: str, port: int) -> list[AddrInfoType]:
        try:
            addresses = self._policy.check_addresses(host, await self._resolver(host, port))
        except TargetError as error:
            raise BlockedDial(str(error)) from None
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "The host name has no address")
        return [_as_asyncio_has_it(address, port) for address in addresses]

    async def _dial(self, addresses: list[AddrInfoType], req: aiohttp.ClientRequest) -> ResponseHandler:
        """The first address that answers; a silent one does not hold up the next."""
        connected = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_AFTER)
        tls, name = (self._tls, req.host.rstrip(".")) if req.is_ssl() else (None, None)
        _, protocol = await self._loop.create_connection(self._factory, sock=connected, ssl=tls, server_hostname=name)
        return protocol


def _as_asyncio_has_it(address: Address, port: int) -> AddrInfoType:
    """One line of what ``socket.getaddrinfo`` answers."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    place = (str(address), port) if address.version == 4 else (str(address), port, 0, 0)
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place
