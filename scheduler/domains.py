"""Domains: what is a name of one, and whether whoever holds it has published a challenge there.

Sources: RFC 1035 (names, TXT), RFC 5891 and UTS #46 (names beyond ASCII), RFC 8552 (underscored names).
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

import idna

from scheduler.errors import InvalidField

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

LONGEST_DOMAIN = 128
"""Characters, as in the reference; the challenge's name is longer, and still fits into the DNS (253)."""
PATIENCE_SECONDS = 5.0
"""For one look-up, whatever servers there are to ask."""
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_FORM = re.compile(rf"({_LABEL}\.)+(?=[a-z])(?=.{{2}}){_LABEL}")
"""At least two labels; the last one begins with a letter, which no address does, however it is written."""


def parse_domain(text: str) -> str:
    """A domain as the DNS knows it: ASCII, lower case, no dot at the end. Raises :class:`InvalidField`."""
    text = text.strip()
    if not text:
        raise InvalidField("domain", "may not be empty; write a domain such as example.com", code="blank")
    if len(text) > LONGEST_DOMAIN:
        raise InvalidField("domain", f"must be at most {LONGEST_DOMAIN} characters", code="max_length")
    try:
        domain = idna.encode(text.removesuffix("."), uts46=True).decode()
    except idna.IDNAError:
        domain = ""
    if _FORM.fullmatch(domain) is None or len(domain) > LONGEST_DOMAIN:
        raise InvalidField("domain", "must be a domain such as example.com, without scheme, port or path")
    return domain


def challenge_name(domain: str) -> str:
    """Where the DNS is asked for the challenge: a TXT record of this name."""
    return f"_paperround-challenge.{domain}"


async def is_published(domain: str, challenge: str, *, resolver: Resolver | None = None) -> bool:
    """Whether a TXT record says it, right now; no when the DNS does not answer, or answers something else.

    ``resolver`` is asked instead of this machine's name servers (resolv.conf(5)).
    """
    from dns.exception import DNSException  # noqa: PLC0415 - a tenth of every command's start, for a rare question
    from dns.rdatatype import TXT  # noqa: PLC0415

    try:
        answer = await (resolver or _system_resolver()).resolve(f"{challenge_name(domain)}.", TXT)
    except (DNSException, OSError):
        return False
    found = [b"".join(record.strings) for record in answer]  # a long text comes in several strings (RFC 1035, 3.3.14)
    return True in [hmac.compare_digest(each, challenge.encode()) for each in found]


def _system_resolver() -> Resolver:
    from dns.asyncresolver import Resolver  # noqa: PLC0415

    resolver = Resolver()
    resolver.lifetime = PATIENCE_SECONDS
    return resolver
