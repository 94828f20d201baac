"""A URL taken apart strictly, so that what was checked is what is connected to.

Every spelling that some program reads as another host is either brought to one form or refused: an address in decimal,
octal or hexadecimal, in fewer than four parts, in full-width or circled digits (Unicode NFKC), a trailing dot, user
information, a backslash, percent signs and invisible characters in the host.
Sources: RFC 3986; WHATWG URL Standard, "IPv4 parser" and "ends in a number checker".
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import idna

from channels.base import TargetError

MAX_LENGTH = 2048  # what browsers, proxies and servers agree to carry

_SHAPE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?://(?P<authority>[^/?#]*))?(?P<rest>[^#]*)(?:#.*)?", re.DOTALL
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """``host`` is a lower-case ASCII name without its final dot, or an address in its shortest form (no brackets)."""

    scheme: str
    host: str
    port: int
    rest: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.rest}"


def parse_url(text: str) -> Url:
    """Take an ``http`` or ``https`` URL apart. Raises :class:`TargetError`; its text never repeats the URL."""
    scheme, authority, rest = _split(text)
    host, port = _split_authority(authority)
    number = int(port) if port else _DEFAULT_PORTS[scheme]
    if not 0 < number < 65536:
        raise TargetError("The URL's port must lie between 1 and 65535.")
    return Url(scheme=scheme, host=_canonical_host(host), port=number, rest=rest or "/")


def masked(target: str) -> str:
    """The host alone, for people, rows and logs; never fails, whatever the target is."""
    try:
        return parse_url(target).host
    except TargetError:
        return "webhook"


def _split(text: str) -> tuple[str, str, str]:
    if len(text) > MAX_LENGTH:
        raise TargetError(f"The URL is longer than {MAX_LENGTH} characters.")
    if not text.isprintable() or " " in text or "\\" in text:
        raise TargetError("The URL has spaces, backslashes or invisible characters in it; write them percent-encoded.")
    shape = _SHAPE.fullmatch(text)
    scheme = shape["scheme"].lower() if shape else ""
    if shape is None or scheme not in _DEFAULT_PORTS:
        raise TargetError("The URL must start with https://.")
    if not shape["authority"]:
        raise TargetError("The URL names no host; it looks like https://host/path.")
    rest: str = shape["rest"]
    return scheme, shape["authority"], rest if not rest.startswith("?") else f"/{rest}"


def _split_authority(authority: str) -> tuple[str, str]:
    if "@" in authority:
        raise TargetError("The URL has a user name or password before the host; leave them out.")
    bracketed = re.fullmatch(r"(\[[^\[\]]*\])(?::([0-9]{1,5}))?", authority)
    plain = re.fullmatch(r"([^\[\]:]+)(?::([0-9]{1,5}))?", authority)
    match = bracketed or plain
    if match is None:
        raise TargetError("The URL's host and port cannot be read; they look like host or host:8443.")
    return match[1], match[2] or ""


def _canonical_host(host: str) -> str:
    if host.startswith("["):
        return _ipv6(host[1:-1])
    name = unicodedata.normalize("NFKC", host).lower().replace("。", ".").removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _ipv4(name)
    if not name.isascii():
        name = _ascii_name(name)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise TargetError("The URL's host is not a valid name: letters, digits and hyphens, at most 63 between dots.")
    return name


def _ascii_name(name: str) -> str:
    try:
        return idna.encode(name).decode("ascii")
    except idna.IDNAError:
        raise TargetError("The URL's host is not a valid internationalised name.") from None


def _ipv4(name: str) -> str:
    """``inet_aton``'s reading: one to four parts, the last of which fills whatever bytes the others leave."""
    parts = [_part(part) for part in name.split(".")]
    *leading, last = parts
    fits = len(parts) <= 4 and all(0 <= part <= 255 for part in leading) and 0 <= last < 256 ** (5 - len(parts))
    if not fits:
        raise TargetError("The URL's host looks like an address but is not one.")
    return str(IPv4Address(sum(part << (8 * (3 - place)) for place, part in enumerate(leading)) + last))


def _part(part: str) -> int:
    """Decimal, octal (``0…``) or hexadecimal (``0x…``); negative when it is none of these."""
    if not _NUMBER.fullmatch(part):
        return -1
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    if part.startswith("0"):
        return int(part, 8) if not set(part) & set("89") else -1
    return int(part)


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text.replace("%", " ")))  # a zone names a local interface: no address of a host
    except ValueError:
        raise TargetError("The URL's host looks like an IPv6 address but is not one.") from None
