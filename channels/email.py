"""E-mail: one message a recipient, over a mail server."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from channels.addresses import parse_addresses, parse_sender, wire_address
from channels.base import Message, Outcome, PermanentFailure, RecipientResult, TargetError
from channels.mime import Mail, compose, without_pictures
from channels.outbox import OutboxEmailChannel
from channels.smtp import ACCEPT_LIMIT, COMMAND_LIMIT, Envelope, Line, SmtpPool
from channels.smtp_replies import TooLarge
from channels.smtp_url import OutboxFolder, SmtpServer, parse_smtp_url

__all__ = ["EmailChannel", "OutboxEmailChannel", "OutboxFolder", "SmtpServer", "parse_smtp_url"]

MAILS_KEPT = 32
"""Encoded, for the next recipients of the same delivery."""


class EmailChannel:
    """``sender`` is ``Name <address>``; ``tls`` replaces the usual certificate checks. Sends side by side share a pool.

    A message is the same mail for everybody but for its address, Message-ID and unsubscribe link. The Message-ID is the
    recipient's identity, so an attempt repeated after an uncertain one is recognisable. What is too large for the
    server goes out once more without pictures, in the same attempt. Raises :class:`ValueError` for a sender that cannot
    be used.
    """

    kind = "email"

    def __init__(
        self,
        *,
        server: SmtpServer,
        sender: str,
        connections: int = 4,
        command_limit: float = COMMAND_LIMIT,
        accept_limit: float = ACCEPT_LIMIT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._sender = parse_sender(sender)
        self._mails: OrderedDict[str, Mail] = OrderedDict()
        self._pool = SmtpPool(server, size=connections, command_limit=command_limit, accept_limit=accept_limit, tls=tls)

    def recipients(self, target: str) -> list[str]:
        return parse_addresses(target)

    async def send(self, message: Message, recipients: Sequence[str]) -> list[RecipientResult]:
        mail = self._mail(message)
        async with self._pool.line() as line:
            return [RecipientResult(recipient, await self._send_one(line, mail, recipient)) for recipient in recipients]

    async def aclose(self) -> None:
        await self._pool.aclose()

    def _mail(self, message: Message) -> Mail:
        """Encoded once, however many times the message comes with further recipients."""
        kept = self._mails.pop(message.id, None)
        same = kept is not None and kept.message.html is message.html
        mail = replace(kept, message=message) if kept is not None and same else compose(message, self._sender)
        self._mails[message.id] = mail
        if len(self._mails) > MAILS_KEPT:
            self._mails.popitem(last=False)
        return mail

    async def _send_one(self, line: Line, mail: Mail, recipient: str) -> Outcome:
        try:
            address = wire_address(recipient)
        except TargetError as error:
            return PermanentFailure(str(error))
        envelope = Envelope(self._sender.address, address)
        answer = await line.hand_over(envelope, mail.addressed_to(recipient, address))
        if isinstance(answer, TooLarge) and mail.has_pictures:
            smaller = compose(without_pictures(mail.message), self._sender)
            answer = await line.hand_over(envelope, smaller.addressed_to(recipient, address))
            return _said(answer, even=", even without pictures")
        return _said(answer)


def _said(answer: Outcome | TooLarge, *, even: str = "") -> Outcome:
    """An answer with the way out, where there is one."""
    if isinstance(answer, TooLarge):
        return PermanentFailure(f"{answer.why}{even}; show fewer insights in it.")
    return answer
