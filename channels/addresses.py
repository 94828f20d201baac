"""E-mail addresses: what a person typed, taken apart and checked, so that no header and no command can be smuggled in.

Sources: RFC 5321 section 4.1.2 and RFC 5322 section 3.4.1 (syntax), RFC 6531 (non-ASCII local parts), RFC 5890 (IDN).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from email.utils import parseaddr

from email_validator import EmailNotValidError, validate_email

from channels.base import TargetError

SHOWN = 60  # characters of a bad address that an error repeats

# Reserved (RFC 6761, RFC 6762), so the library refuses them; a mail server of one's own may well deliver to them.
LOCAL_DOMAINS = ("localhost", "local", "test")


@dataclass(frozen=True, slots=True)
class WireAddress:
    """An address as SMTP carries it: an ASCII domain always, a non-ASCII local part only with ``smtputf8``."""

    text: str
    smtputf8: bool = False


@dataclass(frozen=True, slots=True)
class Sender:
    """Who mails are from; ``domain`` is where their Message-IDs and Content-IDs belong."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


def parse_addresses(target: str) -> list[str]:
    """Comma-separated addresses: trimmed, normalised (domain in lower case), duplicates dropped, order kept."""
    addresses = dict.fromkeys(_checked(entry)[0] for entry in target.split(",") if entry.strip(" "))
    if not addresses:
        raise TargetError("Give at least one e-mail address, separated by commas.")
    return list(addresses)


def wire_address(address: str) -> WireAddress:
    """Raises :class:`TargetError` for what :func:`parse_addresses` would not have returned."""
    return _checked(address)[1]


def parse_sender(text: str) -> Sender:
    """``Name <address>`` or an address alone. Raises :class:`ValueError` that says what to write."""
    name, address = parseaddr(text)
    try:
        wire = wire_address(address)
    except TargetError:
        wire = None
    if wire is None or wire.smtputf8 or _has_controls(text):
        raise ValueError(f"The sender {_shown(text)} is not usable: write Name <name@domain>, in ASCII before the @.")
    return Sender(name=name, address=wire.text)


def _checked(entry: str) -> tuple[str, WireAddress]:
    """The address as people see it, and as SMTP carries it."""
    address = entry.strip(" ")
    if _has_controls(entry):
        raise TargetError(f"{_shown(address)} has line breaks or invisible characters in it; type the address anew.")
    suffix = ".example" if address.rpartition("@")[2].lower().rpartition(".")[2] in LOCAL_DOMAINS else ""
    try:
        checked = validate_email(address + suffix, check_deliverability=False, strict=True)
    except EmailNotValidError:
        raise TargetError(f"{_shown(address)} is not an e-mail address; it looks like name@example.com.") from None
    wire = f"{checked.ascii_local_part or checked.local_part}@{checked.ascii_domain}"
    return checked.normalized.removesuffix(suffix), WireAddress(wire.removesuffix(suffix), smtputf8=checked.smtputf8)


def _has_controls(text: str) -> bool:
    return any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
