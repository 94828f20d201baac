"""Dialling: resolve a name once, judge every answer, connect to exactly the address that was judged.

httpx asks httpcore for a connection, httpcore asks its network backend; ours stands there. The TLS name and the Host
header stay the URL's own. Source: httpcore's "Network Backends".
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import certifi
import httpcore
import httpx

from channels.base import TargetError
from channels.outbound import OutboundPolicy
from channels.special_addresses import Address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host name and a port to its addresses, as text; raises :class:`OSError` when there is no answer."""


class BlockedDial(httpx.ConnectError):
    """The name leads somewhere the outbound policy forbids; nothing was sent."""


async def resolve(host: str, port: int) -> list[str]:
    """The system's resolver, once."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def tls_context() -> ssl.SSLContext:
    """Certificates are checked against certifi's roots, and the machine's own (where a company adds its own)."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context


_BAD_CERTIFICATES = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by nobody but itself",
    19: "it is signed by an authority that is not trusted here",
    20: "it is signed by an authority that is not trusted here",
    21: "it is signed by an authority that is not trusted here",
    62: "it belongs to another name",
    64: "it belongs to another address",
}
"""OpenSSL's X509_V_ERR codes in words that are the same with every version of it (openssl-verification-options)."""


def certificate_problem(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the other side's certificate: half a sentence for a person."""
    return _BAD_CERTIFICATES.get(error.verify_code, error.verify_message[:120])


class CheckedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over a pool that dials through :class:`CheckedBackend`; no proxy, no environment."""

    def __init__(self, policy: OutboundPolicy, *, resolver: Resolver, tls: ssl.SSLContext, connections: int) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=connections,
            max_keepalive_connections=connections // 2,
            keepalive_expiry=30,
            network_backend=CheckedBackend(policy, resolver),
        )


class CheckedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, policy: OutboundPolicy, resolver: Resolver) -> None:
        self._policy = policy
        self._resolver = resolver
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._checked_addresses(host, port)
                return await self._first_that_answers(addresses, port, timeout, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("No connection in time") from error

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def _checked_addresses(self, host: str, port: int) -> list[Address]:
        try:
            addresses = self._policy.check_addresses(host, await self._resolver(host, port))
        except OSError as error:
            raise httpcore.ConnectError("The host name was not resolved") from error
        except TargetError as error:
            raise BlockedDial(str(error)) from None
        if not addresses:
            raise httpcore.ConnectError("The host name has no address") from socket.gaierror(socket.EAI_NONAME)
        return addresses

    async def _first_that_answers(
        self, addresses: Sequence[Address], port: int, limit: float | None, *options: Any
    ) -> httpcore.AsyncNetworkStream:
        """Try them in the resolver's order; each gets an equal share, so a silent one leaves time for the next."""
        share = None if limit is None else limit / len(addresses)
        failure: Exception = httpcore.ConnectError("No address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(str(address), port, share, *options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure
