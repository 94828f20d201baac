"""The seam: what a channel is given, and what it answers.

A channel turns one :class:`Message` into the bytes its provider wants, hands them over once, and says what became of
each recipient. It never sleeps, never retries, and knows nothing of schedules, databases or settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

Progress = Mapping[str, Any]
"""What an earlier attempt already did for one recipient, as small JSON (Slack: the thread's ``ts``, replies posted)."""


@dataclass(frozen=True, slots=True)
class Export:
    """One insight as it is shown: a picture, a few lines of text, or the reason why there is neither.

    ``name`` is unique within the message and safe in file names and Content-IDs. ``image`` is a PNG.
    """

    name: str
    title: str
    text: str
    image: bytes | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    media_type: str
    content: bytes


class Entry(dict[str, Any]):
    """A part of ``Message.data`` that many messages carry: written out once."""

    @cached_property
    def text(self) -> str:
        """Its JSON, as short as JSON can be."""
        return as_json(self)


as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""What every payload is written with."""


@dataclass(frozen=True, slots=True)
class Message:
    """Content rendered for one delivery, channel-neutral.

    ``id`` is the delivery's idempotency key: the same over every attempt, crash and machine. ``html`` refers to the
    pictures as ``cid:NAME`` (``NAME`` from ``exports``). ``text`` and ``html`` carry :data:`UNSUBSCRIBE_URL` where the
    recipient's own link belongs; ``unsubscribe_urls`` has it for each recipient. ``data`` is the JSON of
    ``templates/webhook/payload.schema.json``, its last value a list of :class:`Entry`: for programs, which read
    nothing else. ``progress`` is what an earlier attempt recorded, by recipient.
    """

    id: str
    subject: str
    text: str
    html: str
    data: Mapping[str, Any]
    sent_at: datetime
    exports: tuple[Export, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    unsubscribe_urls: Mapping[str, str] = field(default_factory=dict)
    progress: Mapping[str, Progress] = field(default_factory=dict)

    def identity(self, recipient: str) -> str:
        """The idempotency key of one recipient of this delivery (UUIDv5, RFC 9562), the same over every attempt."""
        return str(uuid5(NAMESPACE_URL, f"paperround:{self.id}:{recipient}"))

    def text_for(self, recipient: str) -> str:
        """``text`` with the recipient's own link; without one, the lines that would have shown it go."""
        url = self.unsubscribe_urls.get(recipient)
        if url is not None:
            return self.text.replace(UNSUBSCRIBE_URL, url)
        return "".join(line for line in self.text.splitlines(keepends=True) if UNSUBSCRIBE_URL not in line)


UNSUBSCRIBE_URL = "https://unsubscribe.invalid/"
"""Stands in ``Message.text`` and ``Message.html`` for the recipient's own link (``.invalid``: RFC 6761)."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider accepted it. Never "delivered": an SMTP 250 is not an inbox."""

    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class TransientFailure:
    """Worth another attempt. ``retry_after`` is the provider's own wish, not yet clamped.

    ``uncertain``: the connection died after the payload was handed over, so it may have been accepted.
    ``put_off``: the provider only asked to come later; it uses up no attempt.
    """

    reason: str
    retry_after: timedelta | None = None
    uncertain: bool = False
    put_off: bool = False


@dataclass(frozen=True, slots=True)
class PermanentFailure:
    """No further attempt can help. ``target_gone``: nor can any later delivery to this target.

    ``gone_after``: so many deliveries in a row have to fail like this before that is believed.
    """

    reason: str
    target_gone: bool = False
    gone_after: int = 1


Outcome = Sent | TransientFailure | PermanentFailure


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """What became of one recipient; ``reason`` in the outcome is short, for a person, without URL or secret."""

    recipient: str
    outcome: Outcome
    progress: Progress | None = None


class TargetError(ValueError):
    """The target cannot be used; the text says what to fix."""


class Channel(Protocol):
    """One way out. Adding one: a module, a line in the registry, its settings, a case in the contract test."""

    kind: str

    def recipients(self, target: str) -> list[str]:
        """Parse and check what the user typed; one entry a recipient, duplicates dropped, order kept.

        Raises :class:`TargetError`, whose text says what to fix.
        """
        ...

    async def send(self, message: Message, recipients: Sequence[str]) -> list[RecipientResult]:
        """Hand the message over once, to each recipient; one result a recipient, in their order.

        Failures are results, not exceptions: half the recipients may succeed. An exception is a bug.
        """
        ...

    async def aclose(self) -> None:
        """Let go of kept connections."""
        ...


def system_clock() -> datetime:
    """The default clock of channels that stamp their attempts; the composition root passes its own."""
    return datetime.now(UTC)  # noqa: TID251 - channels import nothing from scheduler, where the product's clock is
