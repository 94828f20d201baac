"""Where outgoing requests may go: public hosts over https, and what the operator allowed by name.

Checked twice. :meth:`OutboundPolicy.check` reads a URL when it is saved; :meth:`OutboundPolicy.check_addresses` judges
what the name resolved to, just before exactly that address is dialled (``channels/dialling.py``), so a name that
changes its answer in between (DNS rebinding) gains nothing.
Source: OWASP, "Server-Side Request Forgery Prevention Cheat Sheet".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from channels.base import TargetError
from channels.special_addresses import Address, is_public, parse_address, reached
from channels.urls import Url, parse_url

ALLOW_HINT = "To allow it, add it to PAPERROUND_ALLOW_HOSTS."

# Names that stay inside a machine or a network: RFC 6761 (localhost), RFC 6762 (local and appendix G), RFC 8375
# (home.arpa), RFC 6303 (reverse zones under arpa), ICANN 2024 (internal: the clouds' metadata services too).
LOCAL_SUFFIXES = ("localhost", "localdomain", "local", "internal", "arpa", "intranet", "private", "corp", "home", "lan")

# Ports at or above 1024 that speak another protocol, which a crafted body could be read as.
# WHATWG Fetch Standard, "bad ports"; the rest are databases, caches and container engines.
OTHER_PROTOCOLS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
    | {1433, 1521, 2181, 2375, 2376, 3306, 3389, 5432, 5900, 6379, 9042, 11211, 27017}
)
WEB_PORTS = frozenset({80, 443})


class OutboundPolicy:
    """``allow_hosts`` exempts names (``intern.example``, ``*.intern.example``), addresses and CIDRs.

    An exempt host may be private, speak plain http and use any port. Raises :class:`ValueError` for an entry that is
    none of these.
    """

    def __init__(self, allow_hosts: Iterable[str] = ()) -> None:
        self._allowed = tuple(allow_hosts)
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in self._allowed:
            self._allow(entry.strip().lower())

    def with_host_of(self, url: str) -> OutboundPolicy:
        """The same, and the host of a URL that the operator set; a URL that cannot be read exempts nothing."""
        try:
            return OutboundPolicy([*self._allowed, parse_url(url).host])
        except TargetError:
            return self

    def check(self, url: str) -> str:
        """The URL in its one spelling, when it may be saved. Raises :class:`TargetError`, which says what to fix."""
        parsed = parse_url(url)
        if not self.allows(parsed.host):
            _require_public(parsed)
        return str(parsed)

    def check_addresses(self, host: str, addresses: Sequence[str]) -> list[Address]:
        """The addresses ``host`` resolved to, when each of them may be dialled; one bad answer refuses them all.

        Raises :class:`TargetError`.
        """
        parsed = [parse_address(address) for address in addresses]
        if not self.allows(host) and not all(address and self._may_dial(address) for address in parsed):
            raise TargetError(f"The host leads to an address that is not public. {ALLOW_HINT}")
        return [address for address in parsed if address is not None]

    def allows(self, host: str) -> bool:
        """Whether the operator exempted this host, by name or (for a literal address) by network."""
        host = host.lower().removesuffix(".")
        if host in self._names or any(host.endswith(suffix) for suffix in self._suffixes):
            return True
        # RFC 6761: localhost is the loopback address, whatever a resolver says
        address = parse_address("127.0.0.1" if host == "localhost" else host)
        return address is not None and self._in_networks(address)

    def _may_dial(self, address: Address) -> bool:
        return is_public(address) or self._in_networks(address)

    def _in_networks(self, address: Address) -> bool:
        return any(address in network or reached(address) in network for network in self._networks)

    def _allow(self, entry: str) -> None:
        try:
            self._networks.append(ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            name = entry.removeprefix("*.")
            if not name or not all(character.isalnum() or character in "-_." for character in name):
                hint = "write intern.example, *.intern.example, 10.0.0.5 or 10.0.0.0/8"
                raise ValueError(f"{entry[:80]!r} is neither a host name nor an address nor a CIDR: {hint}.") from None
            if name == entry:
                self._names.add(name.removesuffix("."))
            else:
                self._suffixes.append(f".{name.removesuffix('.')}")


def _require_public(url: Url) -> None:
    address = parse_address(url.host)
    if address is not None and not is_public(address):
        raise TargetError(f"The URL's host is an address that is not public. {ALLOW_HINT}")
    if address is None and _is_local(url.host):
        raise TargetError(f"The URL's host is a name of a local network. {ALLOW_HINT}")
    if url.scheme != "https":
        raise TargetError("The URL must start with https://; plain http goes only to hosts in PAPERROUND_ALLOW_HOSTS.")
    if url.port not in WEB_PORTS and (url.port < 1024 or url.port in OTHER_PROTOCOLS):
        raise TargetError(f"Port {url.port} belongs to another service; use 443 or a port from 1024 on. {ALLOW_HINT}")


def _is_local(host: str) -> bool:
    return "." not in host or host.rpartition(".")[2] in LOCAL_SUFFIXES
