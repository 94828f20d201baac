"""Webhooks: one signed POST a delivery, as Standard Webhooks describes it.

``webhook-id`` is the delivery's identity, the same over every attempt: a receiver that keeps the ids it has seen never
acts twice. ``webhook-timestamp`` is the attempt's own time. ``webhook-signature`` carries one signature a secret, so a
key can be rotated without a gap. Source: https://www.standardwebhooks.com (specification 1.0).
The URL is itself a secret: what people see is :func:`channels.urls.masked`.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from channels.base import Entry, Message, Outcome, RecipientResult, as_json, system_clock
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
        self._keys = [_key(secret) for secret in secrets]
        self._client = client or outbound_client(policy)
        self._owns_client = client is None
        self._clock = clock
        self._total = total
        self._answer_limit = answer_limit

    def recipients(self, target: str) -> list[str]:
        return [self._policy.check(target)]

    async def send(self, message: Message, recipients: Sequence[str]) -> list[RecipientResult]:
        body = _written(message.data).encode()
        return [RecipientResult(url, await self._post(url, body, message.identity(url))) for url in recipients]

    async def aclose(self) -> None:
        if self._owns_client:
            await self._client.aclose()

    async def _post(self, url: str, body: bytes, identity: str) -> Outcome:
        now = self._clock()
        return await hand_over(
            self._client.outbound,
            url,
            body,
            self._headers(f"msg_{identity}", now, body),
            now=now,
            total=self._total,
            answer_limit=self._answer_limit,
        )

    def _headers(self, message_id: str, now: datetime, body: bytes) -> dict[str, str]:
        timestamp = str(int(now.timestamp()))
        headers = {
            "content-type": "application/json",
            "user-agent": f"Paperround/{_version()}",
            "accept-encoding": "identity",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
        }
        if self._keys:
            signed = b"%b.%b.%b" % (message_id.encode(), timestamp.encode(), body)
            headers["webhook-signature"] = " ".join([_signature(key, signed) for key in self._keys])
        return headers


def _written(data: Mapping[str, Any]) -> str:
    """The JSON of ``data``; of what many messages carry, the text that was written for the first."""
    *most, (name, last) = data.items()
    if not most or not isinstance(last, list) or not all(isinstance(each, Entry) for each in last):
        return as_json(data)
    entries = ",".join([each.text for each in last])
    return f"{as_json(dict(most))[:-1]},{as_json(name)}:[{entries}]}}"


def _signature(key: bytes, signed: bytes) -> str:
    return "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()


def _key(secret: str) -> bytes:
    try:
        Webhook(secret)
        return b64decode(secret.removeprefix("whsec_") + "==")  # unpadded, too, as the library reads it
    except (ValueError, EmptyWebhookSecretError):
        raise ValueError("A webhook secret is base64 of 24 to 64 random bytes, with or without whsec_.") from None


@cache
def _version() -> str:
    try:
        return version("paperround")
    except PackageNotFoundError:
        return "unknown"
