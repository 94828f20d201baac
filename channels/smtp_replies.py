"""What a mail server's reply, or its silence, means for one recipient, and how to say so.

4yz is worth another attempt, 5yz is final; only what the operator has to put right (log in, TLS) stays transient, so
that nothing is lost while they do. The server's own text is left out: it may name other people's addresses.
Sources: RFC 5321 section 4.2, RFC 3463 and the IANA SMTP Enhanced Status Codes Registry, RFC 4954 (AUTH).
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

import aiosmtplib

from channels.base import PermanentFailure, TransientFailure

OPERATORS_TASK = frozenset({530, 534, 535, 538})  # authentication required, too weak, failed, needs encryption

_BY_ENHANCED_CODE = {
    "1.1": "no such mailbox",
    "1.2": "no such mail domain",
    "1.3": "not a valid address",
    "1.6": "the mailbox has moved",
    "1.10": "the domain takes no mail",
    "2.1": "the mailbox is disabled",
    "2.2": "the mailbox is full",
    "2.3": "the message is too long for the mailbox",
    "3.4": "the message is too large",
    "4.1": "no answer from the recipient's server",
    "4.7": "it could not be delivered in time",
    "7.1": "refused by the server's policy",
}
_BY_CODE = {
    421: "the server is closing",
    450: "the mailbox is busy",
    451: "the server has trouble of its own",
    452: "the server is out of storage",
    550: "no such mailbox, or refused by the server's policy",
    551: "the mailbox is elsewhere",
    552: "the mailbox is full, or the message too large",
    553: "the address is not allowed",
    554: "refused by the server's policy",
}


def outcome_of_reply(error: aiosmtplib.SMTPResponseException) -> TransientFailure | PermanentFailure:
    """A reply that says no, to MAIL, RCPT or DATA."""
    what = "message"
    if isinstance(error, aiosmtplib.SMTPRecipientRefused):
        what = "address"
    elif isinstance(error, aiosmtplib.SMTPSenderRefused):
        what = "sender address"
    enhanced = re.match(r"[245]\.(\d{1,3}\.\d{1,3})\b", error.message)
    why = _BY_ENHANCED_CODE.get(enhanced[1] if enhanced else "") or _BY_CODE.get(error.code, "no reason given")
    codes = f"{error.code} {enhanced[0]}" if enhanced else str(error.code)
    if error.code in OPERATORS_TASK:
        return TransientFailure(f"The mail server wants a login first; check its user name and password ({codes}).")
    if 500 <= error.code < 600:
        return PermanentFailure(f"The mail server refused the {what}: {why} ({codes}).")
    return TransientFailure(f"The mail server refused the {what} for now: {why} ({codes}).")


class NoTls(aiosmtplib.SMTPException):
    """STARTTLS is required and the server does not offer it."""


# The first row that fits any of the causes; {} is the server's code, or what is wrong with its certificate
_UNREACHABLE: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "The mail server's certificate is not valid: {}"),
    (ssl.SSLError, "No secure connection: the mail server does not speak TLS on this port."),
    (NoTls, "The mail server offers no TLS; set starttls=auto or never if that is meant."),
    (aiosmtplib.SMTPAuthenticationError, "The mail server refused the user name or password; correct them ({})."),
    (aiosmtplib.SMTPResponseException, "The mail server takes no mail at the moment ({})."),
    (TimeoutError, "The mail server did not answer in time."),
    (socket.gaierror, "The mail server's name could not be resolved."),
    (aiosmtplib.SMTPServerDisconnected, "The mail server hung up before it took the message."),
    (OSError, "The mail server could not be reached."),
    (BaseException, "The mail server offers no login that fits; check its TLS setting, or remove the login."),
)


def unreachable(error: BaseException) -> TransientFailure:
    """No connection, or none that may be used; always transient, since nothing was handed over."""
    causes = list(_causes(error))
    text, cause = next((text, cause) for kind, text in _UNREACHABLE for cause in causes if isinstance(cause, kind))
    detail = getattr(cause, "verify_message", None) or getattr(cause, "code", "")
    return TransientFailure(text.format(str(detail)[:120]))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
