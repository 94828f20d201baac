"""A mail server that takes everything and forwards nothing; can refuse, delay TLS, or drop the line at any stage."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

SIZE_LIMIT = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """One accepted transaction: its envelope, its bytes as sent and parsed, who had logged in, over TLS or not."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    user: str | None
    secure: bool

    @property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.raw, policy=email.policy.default)


class SmtpReceiver:
    """``async with SmtpReceiver() as receiver``: see ``receiver.mails``.

    ``tls`` offers STARTTLS, or speaks TLS from the first byte with ``implicit_tls``; ``users`` (name to password) makes
    logging in a must; ``tells_size`` announces ``size_limit`` beforehand. How it misbehaves: ``refuse`` maps an address
    to its RCPT reply, for good; ``mail_replies``, ``start_replies`` (to DATA) and ``data_replies`` (to the final dot)
    are used up one a transaction, and a 421 closes the connection; ``drops`` names stages at which it is cut, once
    each: ``connect MAIL RCPT DATA dot kept QUIT``, where ``dot`` loses the mail, and ``kept`` only the answer.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        users: Mapping[str, str] | None = None,
        smtputf8: bool = True,
        size_limit: int = SIZE_LIMIT,
        tells_size: bool = True,
    ) -> None:
        self.mails: list[ReceivedMail] = []
        self.refuse: dict[str, str] = {}
        self.mail_replies: list[str] = []
        self.start_replies: list[str] = []
        self.data_replies: list[str] = []
        self.drops: list[str] = []
        self.connections = 0
        self.port = 0
        self._tls = tls
        self._implicit_tls = implicit_tls
        self._users = dict(users or {})
        self._smtputf8 = smtputf8
        self._size_limit = size_limit
        self._tells_size = tells_size
        self._server: asyncio.Server | None = None
        self.sessions: set[_Connection] = set()

    @property
    def url(self) -> str:
        scheme = "smtps" if self._implicit_tls else "smtp"
        return f"{scheme}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        tls = self._tls if self._implicit_tls else None
        self._server = await loop.create_server(self._connection, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self.hang_up()
            await self._server.wait_closed()

    async def hang_up(self) -> None:
        """Cut every open connection, as a server that restarts does."""
        await asyncio.gather(*(session.hang_up() for session in list(self.sessions)))

    def _connection(self) -> _Connection:
        self.connections += 1
        return _Connection(
            self,
            hostname="localhost",
            ident="Paperround receiver",
            data_size_limit=self._size_limit,
            enable_SMTPUTF8=self._smtputf8,
            tls_context=None if self._implicit_tls else self._tls,
            auth_require_tls=False,
            authenticator=self._authenticate,
            loop=asyncio.get_running_loop(),
        )

    def _authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _: str, data: Any) -> AuthResult:
        known = isinstance(data, LoginPassword) and self._users.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=known, handled=False, auth_data=data)

    # What aiosmtpd asks a handler, in the order of a session

    async def handle_exception(self, _: Exception) -> str:
        """A client that broke off a TLS handshake, say: no reason to write a traceback to the log."""
        return "451 4.3.0 Session failed"

    async def handle_EHLO(  # noqa: N802
        self, _: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        hidden = [*([] if self._users else ["250-AUTH"]), *([] if self._tells_size else ["250-SIZE"])]
        return [line for line in responses if not line.startswith(tuple(hidden))]

    async def handle_MAIL(  # noqa: N802
        self, server: _Connection, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        await server.drop_at("MAIL")
        if self._users and not session.authenticated:
            return "530 5.7.0 Authentication required"
        if self.mail_replies and not (reply := self.mail_replies.pop(0)).startswith("250"):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: _Connection, _: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        await server.drop_at("RCPT")
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: _Connection, session: Session, envelope: Envelope) -> str:  # noqa: N802
        await server.drop_at("dot")
        reply = self.data_replies.pop(0) if self.data_replies else "250 2.0.0 OK: kept"
        if reply.startswith("250"):
            self.mails.append(
                ReceivedMail(
                    sender=envelope.mail_from or "",
                    recipients=tuple(envelope.rcpt_tos),
                    raw=envelope.original_content or b"",
                    user=session.login_data.decode() if session.login_data else None,
                    secure=self._implicit_tls or session.ssl is not None,
                )
            )
            await server.drop_at("kept")
        return reply


class _Session(Session):
    login_data: Any = None  # aiosmtpd sets it on each login, and warns of itself in the log


class _Connection(SMTP):
    """One client's session, known to its receiver so that it can be cut."""

    def __init__(self, receiver: SmtpReceiver, **options: Any) -> None:
        self._receiver = receiver
        super().__init__(receiver, **options)

    def _create_session(self) -> Session:
        return _Session(self.loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._receiver.sessions.add(self)
        if self._dropping("connect"):
            self._cut()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._receiver.sessions.discard(self)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        await self.drop_at("DATA")
        if self._receiver.start_replies:
            await self.push(self._receiver.start_replies.pop(0))
            return
        await super().smtp_DATA(arg)

    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802
        await self.drop_at("QUIT")
        await super().smtp_QUIT(arg)

    async def push(self, status: Any) -> None:
        await super().push(status)
        if str(status).startswith("421") and self.transport is not None:
            self.transport.close()

    async def drop_at(self, stage: str) -> None:
        if self._dropping(stage):
            self._cut()
            await asyncio.Event().wait()  # until connection_lost cancels this session

    async def hang_up(self) -> None:
        self._cut()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()  # a TLS handshake under way would not notice the cut
            await asyncio.wait([self._handler_coroutine])

    def _dropping(self, stage: str) -> bool:
        if stage not in self._receiver.drops:
            return False
        self._receiver.drops.remove(stage)
        return True

    def _cut(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
