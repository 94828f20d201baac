"""Which addresses are public; everything else is no place for an outgoing request.

The blocks are data, taken from the registries named beside them (as of 2025), and not ``ipaddress.is_global``: that
answer changes with the Python version, and it calls 6to4 relays, multicast groups and one cloud's metadata address
public.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

# IANA IPv4 Special-Purpose Address Registry (RFC 6890 and successors); the few blocks it calls globally reachable
# (AS112, AMT, PCP and TURN anycast) serve no web requests and are refused with the rest.
# Multicast: IANA IPv4 Multicast Address Space Registry (RFC 5771).
SPECIAL_IPV4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # "this network", RFC 791
        "10.0.0.0/8",  # private use, RFC 1918
        "100.64.0.0/10",  # shared address space, RFC 6598 (Alibaba Cloud's metadata service lives here)
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link local, RFC 3927 (most clouds' metadata service)
        "172.16.0.0/12",  # private use, RFC 1918
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
        "192.0.2.0/24",  # TEST-NET-1, RFC 5737
        "192.31.196.0/24",  # AS112-v4, RFC 7535
        "192.52.193.0/24",  # AMT, RFC 7450
        "192.88.99.0/24",  # 6to4 relay anycast, deprecated by RFC 7526
        "192.168.0.0/16",  # private use, RFC 1918
        "192.175.48.0/24",  # AS112 direct delegation, RFC 7534
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # TEST-NET-2, RFC 5737
        "203.0.113.0/24",  # TEST-NET-3, RFC 5737
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, RFC 1112, and limited broadcast, RFC 8190
        "168.63.129.16/32",  # Azure's platform address: publicly routed by number, answered by the host itself
    )
)

# IANA Internet Protocol Version 6 Address Space: only this block is handed out as global unicast. Outside it lie, among
# others, loopback and IPv4-mapped (RFC 4291), local-use NAT64 (RFC 8215), discard-only (RFC 6666), dummy (RFC 9780),
# segment routing (RFC 9602), unique local (RFC 4193), link and site local, multicast.
GLOBAL_UNICAST = IPv6Network("2000::/3")

# IANA IPv6 Special-Purpose Address Registry, as far as it lies inside global unicast.
SPECIAL_IPV6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments, RFC 2928: Teredo, ORCHID, AMT, benchmarking, drone tags …
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, RFC 3056: the address of an IPv4 host in disguise
        "2620:4f:8000::/48",  # AS112 direct delegation, RFC 7534
        "3fff::/20",  # documentation, RFC 9637
    )
)

NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the IPv4 host that is really reached


def is_public(address: Address) -> bool:
    """Whether this is an ordinary host on the public internet, in IPv4 or IPv6."""
    address = reached(address)
    if isinstance(address, IPv4Address):
        return not any(address in block for block in SPECIAL_IPV4)
    return address in GLOBAL_UNICAST and not any(address in block for block in SPECIAL_IPV6)


def reached(address: Address) -> Address:
    """The host at the far end: the IPv4 address inside an IPv4-mapped (RFC 4291) or NAT64 one, else itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def parse_address(text: str) -> Address | None:
    """An address in its usual spelling, without brackets; a zone (``%eth0``) is dropped. None when it is none."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None
