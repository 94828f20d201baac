"""What a mail server's reply, or its silence, means for one recipient, and how to say so.

4yz is worth another attempt, 5yz is final; only what the operator has to put right (log in, TLS) stays transient, so
that nothing is lost while they do. The server's own text is left out: it may name other people's addresses.
Sources: RFC 5321 section 4.2, RFC 3463 and the IANA SMTP Enhanced Status Codes Registry, RFC 4954 (AUTH), RFC 1870
(SIZE).
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import aiosmtplib
from aiosmtplib import SMTPStatus

from channels.base import PermanentFailure, TransientFailure
from channels.tls import certificate_problem

OPERATORS_TASK = frozenset({530, 534, 535, 538})  # authentication required, too weak, failed, needs encryption

_BY_ENHANCED_CODE = {
    "1.1": "no such mailbox",
    "1.2": "no such mail domain",
    "1.3": "not a valid address",
    "1.6": "the mailbox has moved",
    "1.7": "the sender's address is not valid",
    "1.8": "the sender's mail domain is not valid",
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


TOO_LARGE = frozenset({"2.3", "3.4"})  # for this mailbox, for the whole server


@dataclass(frozen=True, slots=True)
class TooLarge:
    """No message of this size is taken; a smaller one may be. ``why`` is a clause, to be ended with the way out."""

    why: str


def outcome_of_reply(error: aiosmtplib.SMTPResponseException) -> TransientFailure | PermanentFailure | TooLarge:
    """A reply that says no, to MAIL, RCPT or DATA."""
    enhanced = re.match(r"[245]\.(\d{1,3}\.\d{1,3})\b", error.message)
    detail = enhanced[1] if enhanced else ""
    why = _BY_ENHANCED_CODE.get(detail) or _BY_CODE.get(error.code, "no reason given")
    codes = f"{error.code} {enhanced[0]}" if enhanced else str(error.code)
    if error.code in OPERATORS_TASK:
        return TransientFailure(f"The mail server wants a login first; check its user name and password ({codes}).")
    if not 500 <= error.code < 600:
        return TransientFailure(f"The mail server refused the {_refused(error)} for now: {why} ({codes}).")
    if _is_about_size(error, detail):
        return TooLarge(f"The mail server refused the message: {why} ({codes})")
    return PermanentFailure(f"The mail server refused the {_refused(error)}: {why} ({codes}).")


def _refused(error: aiosmtplib.SMTPResponseException) -> str:
    match error:
        case aiosmtplib.SMTPRecipientRefused():
            return "address"
        case aiosmtplib.SMTPSenderRefused() if error.code >= 500:  # for now, MAIL is refused whoever the sender is
            return "sender address"
        case _:
            return "message"


def _is_about_size(error: aiosmtplib.SMTPResponseException, detail: str) -> bool:
    """A bare 552 is about the message, but after RCPT about a full mailbox (RFC 1870, section 6; RFC 5321, 4.2.2)."""
    is_bare = error.code == 552 and not detail
    return detail in TOO_LARGE or (is_bare and not isinstance(error, aiosmtplib.SMTPRecipientRefused))


class NoTls(aiosmtplib.SMTPException):
    """STARTTLS is required and the server does not offer it."""


# The first row that fits any of the causes; {} is the server's code, or what is wrong with its certificate
_UNREACHABLE: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "The mail server's certificate is not valid: {}."),
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
    if any(is_gibberish(cause) for cause in causes):
        return TransientFailure("What answers there does not speak SMTP; check the mail server's host and port.")
    text, cause = next((text, cause) for kind, text in _UNREACHABLE for cause in causes if isinstance(cause, kind))
    return TransientFailure(text.format(_detail(cause)))


def _detail(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return certificate_problem(cause)
    return str(getattr(cause, "code", ""))


def is_gibberish(error: BaseException) -> bool:
    """An answer that is none of SMTP's: what comes after it cannot be trusted either."""
    return isinstance(error, aiosmtplib.SMTPResponseException) and error.code == SMTPStatus.invalid_response


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
