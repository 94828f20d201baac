"""Webhooks: one signed POST a delivery, as Standard Webhooks describes it.

``webhook-id`` is the delivery's identity, the same over every attempt: a receiver that keeps the ids it has seen never
acts twice. ``webhook-timestamp`` is the attempt's own time. ``webhook-signature`` carries one signature a secret, so a
key can be rotated without a gap. Source: https://www.standardwebhooks.com (specification 1.0).
The URL is itself a secret: what people see is :func:`channels.urls.masked`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from channels.base import Message, Outcome, RecipientResult, system_clock
from channels.http import ANSWER_LIMIT, hand_over
from channels.outbound import OutboundPolicy
from channels.outbound_http import TOTAL_LIMIT, OutboundClient, outbound_client


class WebhookChannel:
    """``secrets``: base64, with or without ``whsec_``; the newest first; none means unsigned.

    ``client`` is a shared ``outbound_client``, left open; without one the channel keeps its own.
    Raises :class:`ValueError` for a secret that is not base64.
    """

    kind = "webhook"

    def __init__(
        self,
        *,
        policy: OutboundPolicy,
        secrets: Sequence[str] = (),
        client: OutboundClient | None = None,
        clock: Callable[[], datetime] = system_clock,
        total: float = TOTAL_LIMIT,
        answer_limit: int = ANSWER_LIMIT,
    ) -> None:
        self._policy = policy
        self._signers = [_signer(secret) for secret in secrets]
        self._client = client or outbound_client(policy)
        self._owns_client = client is None
        self._clock = clock
        self._total = total
        self._answer_limit = answer_limit

    def recipients(self, target: str) -> list[str]:
        return [self._policy.check(target)]

    async def send(self, message: Message, recipients: Sequence[str]) -> list[RecipientResult]:
        body = json.dumps(message.data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return [RecipientResult(url, await self._post(url, body, message.identity(url))) for url in recipients]

    async def aclose(self) -> None:
        if self._owns_client:
            await self._client.aclose()

    async def _post(self, url: str, body: str, identity: str) -> Outcome:
        now = self._clock()
        return await hand_over(
            self._client.outbound,
            url,
            body.encode(),
            self._headers(f"msg_{identity}", now, body),
            now=now,
            total=self._total,
            answer_limit=self._answer_limit,
        )

    def _headers(self, message_id: str, now: datetime, body: str) -> dict[str, str]:
        now = now.astimezone(UTC)  # Webhook.sign replaces the zone instead of converting to it
        headers = {
            "content-type": "application/json",
            "user-agent": f"Paperround/{_version()}",
            "accept-encoding": "identity",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._signers:
            signatures = [signer.sign(message_id, now, body) for signer in self._signers]
            headers["webhook-signature"] = " ".join(signatures)
        return headers


def _signer(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        raise ValueError("A webhook secret is base64 of 24 to 64 random bytes, with or without whsec_.") from None


@cache
def _version() -> str:
    try:
        return version("paperround")
    except PackageNotFoundError:
        return "unknown"
