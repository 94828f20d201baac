"""SMTP: a small pool of kept connections, and one transaction a recipient on them.

A *line* is one place in the pool for the length of one send. It opens a connection when it needs one, keeps it over
its recipients and leaves it behind for the next send; a connection that the server dropped meanwhile is replaced
before anything is lost. Until the final dot a failure is harmless; a line that dies after it leaves the recipient
uncertain. Sources: RFC 5321 (sections 3.3, 4.2, 4.5.3.2), RFC 3207 (STARTTLS), RFC 6531 (SMTPUTF8), RFC 1870 (SIZE).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException, SMTPServerDisconnected

from channels.addresses import WireAddress
from channels.base import Outcome, PermanentFailure, Sent, TransientFailure
from channels.smtp_replies import NoTls, TooLarge, is_gibberish, outcome_of_reply, unreachable
from channels.smtp_url import SmtpServer
from channels.tls import tls_context

COMMAND_LIMIT = 30.0
ACCEPT_LIMIT = 120.0  # servers scan a mail before they accept it (RFC 5321, 4.5.3.2.6, asks for ten minutes)
IDLE_LIMIT = 60.0  # shorter than the five minutes after which a server may hang up
FAREWELL_LIMIT = 2.0


@dataclass(frozen=True, slots=True)
class Envelope:
    sender: str
    recipient: WireAddress


@dataclass(slots=True)
class _Kept:
    client: aiosmtplib.SMTP
    since: float


class SmtpPool:
    """At most ``size`` connections at a time, whoever asks; idle ones are kept for the next."""

    def __init__(
        self,
        server: SmtpServer,
        *,
        size: int = 4,
        command_limit: float = COMMAND_LIMIT,
        accept_limit: float = ACCEPT_LIMIT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.server = server
        self.command_limit = command_limit
        self.accept_limit = accept_limit
        self._tls = tls
        self._places = asyncio.Semaphore(size)
        self._idle: list[_Kept] = []

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        async with self._places:
            line = Line(self)
            try:
                yield line
                line.check_cancelled()
            except BaseException:
                line.hang_up()  # cancelled in mid-transaction: nobody knows what the server expects next
                raise
            line.leave()

    def keep(self, client: aiosmtplib.SMTP) -> None:
        self._idle.append(_Kept(client, asyncio.get_running_loop().time()))

    def take_kept(self) -> aiosmtplib.SMTP | None:
        """The connection used last, if it still stands."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            kept = self._idle.pop()
            if kept.client.is_connected and now - kept.since < IDLE_LIMIT:
                return kept.client
            kept.client.close()
        return None

    async def open(self) -> aiosmtplib.SMTP:
        """A new connection, secured and logged in as the server's entry says. Raises what aiosmtplib raises."""
        implicit = self.server.tls == "implicit"
        client = aiosmtplib.SMTP(
            hostname=self.server.host,
            port=self.server.port,
            timeout=self.command_limit,
            use_tls=implicit,
            start_tls=False,
            tls_context=self._context() if implicit else None,
            local_hostname=_own_name(),
        )
        try:
            await client.connect()
            await self._secure(client)
            await _greet(client)
            if self.server.username is not None:
                await client.login(self.server.username, self.server.password or "")
        except BaseException:
            client.close()
            raise
        return client

    async def aclose(self) -> None:
        """Say goodbye on idle connections; what the server makes of it no longer matters."""
        while self._idle:
            client = self._idle.pop().client
            with suppress(SMTPException, OSError):
                await client.quit(timeout=FAREWELL_LIMIT)
            client.close()
            await asyncio.sleep(0)  # lets the loop finish the closing of the socket

    async def _secure(self, client: aiosmtplib.SMTP) -> None:
        if self.server.tls not in ("required", "auto"):
            return
        await _greet(client)
        if client.supports_extension("starttls"):
            await client.starttls(tls_context=self._context())
        elif self.server.tls == "required":
            raise NoTls("STARTTLS is not offered")

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls_context()
            if self.server.tls == "auto":
                self._tls.check_hostname = False
                self._tls.verify_mode = ssl.CERT_NONE
        return self._tls


class Line:
    """One place in the pool: transactions one after the other. See the module's docstring."""

    def __init__(self, pool: SmtpPool) -> None:
        self._pool = pool
        self._client: aiosmtplib.SMTP | None = None
        self._kept = False
        self._unreachable: TransientFailure | None = None
        self._cancellations = _cancellations()

    def check_cancelled(self) -> None:
        """Python 3.11's ``wait_for``, beneath aiosmtplib, may swallow a cancellation (CPython issue 86296)."""
        if _cancellations() > self._cancellations:
            raise asyncio.CancelledError

    async def hand_over(self, envelope: Envelope, payload: bytes) -> Outcome | TooLarge:
        """One mail to one recipient. ``payload`` has CRLF line ends."""
        self.check_cancelled()
        if self._unreachable is not None:
            return self._unreachable
        try:
            client = await self._connected()
            return await self._transaction(client, envelope, payload)
        except (SMTPException, OSError) as error:
            return await self._lost(error, envelope, payload)

    async def _lost(self, error: Exception, envelope: Envelope, payload: bytes) -> Outcome | TooLarge:
        """No connection, or one that died before the payload."""
        connected = self._client is not None
        self.hang_up()
        if self._kept:  # it went stale while it was kept: a new one may do
            self._kept = False
            return await self.hand_over(envelope, payload)
        failure = unreachable(error)
        if not connected or isinstance(error, TimeoutError):
            self._unreachable = failure  # the other recipients need not wait for the same
        return failure

    def leave(self) -> None:
        if self._client is not None and self._client.is_connected:
            self._pool.keep(self._client)
        self._client = None

    def hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    async def _connected(self) -> aiosmtplib.SMTP:
        if self._client is not None and self._client.is_connected:
            self._kept = True
            return self._client
        self._client = self._pool.take_kept()
        self._kept = self._client is not None
        if self._client is None:
            self._client = await self._pool.open()
        return self._client

    async def _transaction(self, client: aiosmtplib.SMTP, envelope: Envelope, payload: bytes) -> Outcome | TooLarge:
        """MAIL, RCPT, DATA. A reply that says no is an outcome; a lost connection before the payload raises."""
        if refusal := _cannot_take(client, envelope, payload):
            return refusal
        encoding = "utf-8" if envelope.recipient.smtputf8 else "ascii"
        try:
            await client.mail(envelope.sender, options=_options(client, envelope, payload), encoding=encoding)
            await client.rcpt(envelope.recipient.text, encoding=encoding)
            reply = await client.execute_command(b"DATA")
            if reply.code != 354:
                raise aiosmtplib.SMTPDataError(reply.code, reply.message)
        except SMTPResponseException as error:
            if is_gibberish(error):
                raise
            if error.code == 421 and self._kept:
                raise SMTPServerDisconnected("The kept connection was about to close") from error
            await self._start_over(client)
            return outcome_of_reply(error)
        return await self._payload(client, payload)

    async def _payload(self, client: aiosmtplib.SMTP, payload: bytes) -> Outcome | TooLarge:
        if client.protocol is None:
            raise SMTPServerDisconnected("Lost before the payload")
        client.protocol.write(_dots_doubled(payload) + b".\r\n")
        try:
            reply = await client.protocol.read_response(timeout=self._pool.accept_limit)
        except (SMTPException, OSError):
            self.hang_up()
            return TransientFailure("The mail server took the message but did not confirm it.", uncertain=True)
        if 200 <= reply.code < 300:
            return Sent(provider_id=" ".join(reply.message.split())[:120] or None)
        await self._start_over(client)
        return outcome_of_reply(aiosmtplib.SMTPDataError(reply.code, reply.message))

    async def _start_over(self, client: aiosmtplib.SMTP) -> None:
        """RSET, so that the next recipient finds the connection as new; else it is closed."""
        try:
            await client.rset()
        except (SMTPException, OSError):
            self.hang_up()


async def _greet(client: aiosmtplib.SMTP) -> None:
    """EHLO once a session, and once more after STARTTLS; HELO for a server that knows no extensions."""
    if not client.is_ehlo_or_helo_needed:
        return
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        await client.helo()


def _cannot_take(client: aiosmtplib.SMTP, envelope: Envelope, payload: bytes) -> PermanentFailure | TooLarge | None:
    """What the server said beforehand that it does not take."""
    if envelope.recipient.smtputf8 and not client.supports_extension("smtputf8"):
        return PermanentFailure("This mail server cannot deliver to addresses with non-ASCII letters before the @.")
    limit = client.esmtp_extensions.get("size", "")
    if limit.isdigit() and 0 < int(limit) < len(payload):
        return TooLarge(f"The message is larger than the {_size(int(limit))} that the mail server takes")
    return None


def _dots_doubled(payload: bytes) -> bytes:
    """Where a line begins with one (RFC 5321, 4.5.2); a search through the bytes, as long as there are none."""
    doubled = payload.replace(b"\r\n.", b"\r\n..")
    return b"." + doubled if doubled.startswith(b".") else doubled


def _size(octets: int) -> str:
    return f"{octets / 1e6:.1f} MB" if octets >= 100_000 else f"{octets / 1e3:.0f} kB"


def _options(client: aiosmtplib.SMTP, envelope: Envelope, payload: bytes) -> list[str]:
    options = [f"SIZE={len(payload)}"] if client.supports_extension("size") else []
    if envelope.recipient.smtputf8:
        options += ["BODY=8BITMIME", "SMTPUTF8"]
    return options


def _cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _own_name() -> str:
    """For EHLO: the machine's name, without asking a resolver, or an address (RFC 5321 section 4.1.4)."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", name) else "[127.0.0.1]"
