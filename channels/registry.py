"""The kinds of channels there are, and one place that builds them on shared connections.

A new kind is a line in :data:`KINDS`, a branch in the ``match`` statements below, its module, and a case in
``tests/channels/test_contract.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, assert_never

from channels.addresses import parse_addresses
from channels.base import Channel, system_clock
from channels.email import EmailChannel
from channels.outbound import OutboundPolicy
from channels.outbox import OutboxEmailChannel
from channels.slack_target import SLACK_API_URL, parse_channel
from channels.smtp_url import OutboxFolder, SmtpServer
from channels.urls import masked, parse_url

if TYPE_CHECKING:
    from channels.outbound_http import OutboundClient, OutboundSession

KINDS = ("email", "slack", "webhook")

CONNECTIONS = 512
"""To all webhook receivers together: as many as a worker sends at once, so that slow ones keep nobody waiting."""


class Channels:
    """Builds channels from plain values; all e-mail shares one pool, all Slack one session, all HTTP one client.

    ``http`` is the product's ``outbound_client`` when it has one already (it is then left open).
    Closing a channel built here closes nothing shared; :meth:`aclose` does.
    """

    def __init__(
        self,
        *,
        mail: SmtpServer | OutboxFolder,
        sender: str,
        policy: OutboundPolicy,
        slack_api_url: str = SLACK_API_URL,
        http: OutboundClient | None = None,
        clock: Callable[[], datetime] = system_clock,
    ) -> None:
        self._http = http
        self._owns_http = http is None
        self._policy = policy
        self._clock = clock
        self._email = _email_channel(mail, sender)
        self._slack_api_url = slack_api_url
        self._slack_session: OutboundSession | None = None

    @property
    def http(self) -> OutboundClient:
        """The client for webhooks, made when it is first needed: reading all root certificates takes a while."""
        if self._http is None:
            from channels.outbound_http import outbound_client  # noqa: PLC0415 - as below

            self._http = outbound_client(self._policy, connections=CONNECTIONS)
        return self._http

    def build(self, kind: str, *, token: str | None = None, secrets: Sequence[str] = ()) -> Channel:
        """The channel of this kind; ``token`` is Slack's, ``secrets`` are the webhook's, the newest first."""
        match kind:
            case "email":
                return self._email
            case "slack":
                if not token:
                    raise ValueError("A Slack channel needs the token of a connected workspace.")
                return self._slack(token)
            case "webhook":
                return self._webhook(secrets)
            case _:
                raise _unknown(kind)

    def _webhook(self, secrets: Sequence[str]) -> Channel:
        from channels.webhook import WebhookChannel  # noqa: PLC0415 - a fifth of a second and 12 MB, for who sends

        return WebhookChannel(policy=self._policy, secrets=secrets, client=self.http, clock=self._clock)

    def _slack(self, token: str) -> Channel:
        from channels.slack import SlackChannel  # noqa: PLC0415 - as above
        from channels.slack_api import slack_session  # noqa: PLC0415

        self._slack_session = self._slack_session or slack_session(self._policy, self._slack_api_url)
        return SlackChannel(token=token, api_url=self._slack_api_url, session=self._slack_session)

    def recipients(self, kind: str, target: str) -> list[str]:
        """Check what a user typed, without any credentials. Raises :class:`~channels.base.TargetError`."""
        match kind:
            case "email":
                return parse_addresses(target)
            case "slack":
                return [parse_channel(target)]
            case "webhook":
                return [self._policy.check(target)]
            case _:
                raise _unknown(kind)

    async def aclose(self) -> None:
        await self._email.aclose()
        if self._slack_session is not None:
            await self._slack_session.aclose()
        if self._owns_http and self._http is not None:
            await self._http.aclose()


def shown(kind: str, target: str) -> str:
    """A target or recipient as people, rows and logs may see it: of a webhook only the host."""
    return masked(target) if kind == "webhook" else target


def destination(kind: str, recipients: Sequence[str]) -> str:
    """What a provider's limits apply to: ``email:smtp``, ``slack:CHANNELID``, ``webhook:host:port:ENDPOINT``.

    ``recipients`` are as the channel returned them. An endpoint is a digest of its URL, too short to tell the URL: the
    slow ones of a host keep the others waiting no more than strangers would.
    """
    match kind:
        case "email":
            return "email:smtp"
        case "slack":
            return f"slack:{recipients[0]}"
        case "webhook":
            url = parse_url(recipients[0])
            return f"webhook:{url.host}:{url.port}:{sha256(recipients[0].encode()).hexdigest()[:8]}"
        case _:
            raise _unknown(kind)


def _unknown(kind: str) -> ValueError:
    return ValueError(f"There is no channel {kind!r}; there are {', '.join(KINDS)}.")


def _email_channel(mail: SmtpServer | OutboxFolder, sender: str) -> Channel:
    match mail:
        case SmtpServer():
            return EmailChannel(server=mail, sender=sender)
        case OutboxFolder():
            return OutboxEmailChannel(folder=mail.path, sender=sender)
        case _:
            assert_never(mail)
