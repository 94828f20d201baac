"""Where e-mail goes out, as one URL: a mail server, or a folder that keeps the mails as files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from channels.special_addresses import parse_address

Tls = Literal["required", "auto", "never", "implicit"]
"""``required``: STARTTLS with a certificate that checks out, or no mail. ``auto``: STARTTLS when offered, unchecked,
for it is never worse than the plain connection it replaces (RFC 7435). ``never``: plain. ``implicit``: TLS from the
first byte (RFC 8314)."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls = "required"


@dataclass(frozen=True, slots=True)
class OutboxFolder:
    path: Path


def parse_smtp_url(url: str) -> SmtpServer | OutboxFolder:
    """``smtp://user:pass@host:587?starttls=required|auto|never``, ``smtps://…``, ``file:///folder``.

    User name and password are percent-decoded. ``starttls`` defaults to ``required``, on loopback to ``auto``; the port
    to 587 (on loopback 25), with ``smtps`` to 465. Raises :class:`ValueError`, whose text never repeats the URL.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise ValueError(f"The host or port cannot be read. {_EXAMPLE}") from None
    if parts.scheme == "file":
        return _folder(parts)
    if parts.scheme not in ("smtp", "smtps"):
        raise ValueError(f"It must start with smtp://, smtps:// or file:///. {_EXAMPLE}")
    return _server(parts, port)


_EXAMPLE = (
    "Write smtp://user:password@host:587 with / ? # @ : % in user name and password percent-encoded (@ is %40), "
    "or file:///folder."
)


def _folder(parts: SplitResult) -> OutboxFolder:
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or not path.strip("/") or "\0" in path:
        raise ValueError("A folder for mails is written with three slashes and its full path: file:///var/outbox.")
    return OutboxFolder(Path(path))


def _server(parts: SplitResult, port: int | None) -> SmtpServer:
    host = parts.hostname or ""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", host) or parts.path not in ("", "/") or parts.fragment or port == 0:
        raise ValueError(f"The host or port cannot be read. {_EXAMPLE}")
    if bool(parts.username) != bool(parts.password):
        raise ValueError(f"A user name and a password belong together. {_EXAMPLE}")
    tls = _tls(parts, host)
    return SmtpServer(
        host=host,
        port=port or (465 if tls == "implicit" else 25 if is_loopback(host) else 587),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=tls,
    )


def _tls(parts: SplitResult, host: str) -> Tls:
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    wish = query.pop("starttls", None)
    if query or (wish is not None and parts.scheme == "smtps"):
        raise ValueError(f"After the host only ?starttls=required, auto or never is understood (smtp). {_EXAMPLE}")
    if parts.scheme == "smtps":
        return "implicit"
    if wish is None:
        return "auto" if is_loopback(host) else "required"
    for known in get_args(Tls)[:3]:
        if wish == known:
            return wish  # type: ignore[return-value]
    raise ValueError("starttls must be required, auto or never.")


def is_loopback(host: str) -> bool:
    address = parse_address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)
