"""Slack: one message with the first chart, every further export as a reply in its thread, attachments after them.

Posting has no idempotency key at Slack, so two things keep a repeated attempt from posting twice. Progress: what is
already posted is reported after every attempt and comes back with the next. Metadata: the main message carries the
delivery's identity, so one that may or may not have arrived is looked for in the channel's history before it is sent
again (where the app may read it). Why pictures travel the way they do: deploy/decisions/0004-slack-pictures.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from channels.base import (
    Attachment,
    Export,
    Message,
    PermanentFailure,
    Progress,
    RecipientResult,
    Sent,
)
from channels.slack_api import SlackApi, SlackSession
from channels.slack_blocks import Block, fallback, main_blocks, reply_blocks
from channels.slack_errors import SlackTrouble
from channels.slack_target import SLACK_API_URL, parse_channel

EVENT_TYPE = "paperround_delivery"
PICTURE_WAITS = (0.5, 1.0, 2.0, 3.0)  # seconds; Slack takes one or two to look at a new picture


class SlackChannel:
    """``session`` is shared and left open; without one the channel keeps its own. ``token`` is a bot's (``xoxb-…``).

    Needs ``chat:write``; ``files:write`` for charts and attachments; ``channels:history`` (and its relatives) to look
    up a message of an uncertain attempt.
    """

    kind = "slack"

    def __init__(
        self,
        *,
        token: str,
        api_url: str = SLACK_API_URL,
        session: SlackSession | None = None,
        picture_waits: Sequence[float] = PICTURE_WAITS,
    ) -> None:
        self._session = session or SlackSession()
        self._owns_session = session is None
        self._api = SlackApi(token=token, api_url=api_url, session=self._session)
        self._picture_waits = tuple(picture_waits)

    def recipients(self, target: str) -> list[str]:
        return [parse_channel(target)]

    async def send(self, message: Message, recipients: Sequence[str]) -> list[RecipientResult]:
        return [await self._deliver(message, recipient) for recipient in recipients]

    async def aclose(self) -> None:
        if self._owns_session:
            await self._session.aclose()

    async def _deliver(self, message: Message, recipient: str) -> RecipientResult:
        thread = Thread.resumed(recipient, message.progress.get(recipient, {}))
        try:
            if thread.uncertain:
                await self._look_for_main(message, recipient, thread)
            if thread.ts is None:
                await self._post_main(message, recipient, thread)
            await self._post_replies(message, recipient, thread)
        except SlackTrouble as trouble:
            return RecipientResult(recipient, trouble.outcome, thread.progress())
        return RecipientResult(recipient, Sent(provider_id=thread.ts), thread.progress())

    async def _look_for_main(self, message: Message, recipient: str, thread: Thread) -> None:
        """Find the message an earlier attempt may have posted; without the right to read, it is posted again."""
        identity = message.identity(recipient)
        try:
            ts = await self._api.find_message(thread.channel, lambda posted: _identity_of(posted) == identity)
        except SlackTrouble as trouble:
            if not isinstance(trouble.outcome, PermanentFailure):
                raise
            ts = None
        thread.ts, thread.uncertain = ts, False

    async def _post_main(self, message: Message, recipient: str, thread: Thread) -> None:
        first = message.exports[0] if message.exports else None
        picture = await self._upload_picture(first) if first else None
        lost = bool(first and first.image)
        try:
            posted = await self._post(
                lambda shown: main_blocks(message, recipient, shown, lost=lost),
                picture,
                channel=thread.channel,
                text=fallback(message.subject),
                metadata=_metadata(message.identity(recipient), part=0),
            )
        except SlackTrouble as trouble:
            thread.uncertain = trouble.perhaps_done
            raise
        # A message to a person is in a conversation with an id of its own, where its thread is too
        thread.channel, thread.ts = str(posted.get("channel") or thread.channel), str(posted["ts"])

    async def _post_replies(self, message: Message, recipient: str, thread: Thread) -> None:
        """Whatever of the further exports and the attachments is not in the thread yet, in order."""
        parts: list[Export | Attachment] = [*message.exports[1:], *message.attachments]
        remaining = parts[thread.replies :]
        # All before the first reply: Slack looks at the later ones while the earlier ones are posted
        pictures = [await self._upload_picture(part) if isinstance(part, Export) else None for part in remaining]
        for part, picture in zip(remaining, pictures, strict=True):
            if isinstance(part, Export):
                await self._reply(part, picture, thread, message.identity(recipient))
            else:
                await self._attach(part, thread)
            thread.replies += 1

    async def _reply(self, export: Export, picture: str | None, thread: Thread, identity: str) -> None:
        await self._post(
            lambda shown: reply_blocks(export, shown, lost=export.image is not None),
            picture,
            channel=thread.channel,
            thread_ts=thread.ts,
            text=fallback(export.title),
            metadata=_metadata(identity, part=thread.replies + 1),
        )

    async def _attach(self, attachment: Attachment, thread: Thread) -> None:
        """Into the thread; where Slack does not let us, a line says that something is missing."""
        try:
            file_id = await self._api.upload(attachment.filename, attachment.content)
            await self._api.complete(file_id, attachment.filename, channel_id=thread.channel, thread_ts=str(thread.ts))
        except SlackTrouble as trouble:
            if not isinstance(trouble.outcome, PermanentFailure):
                raise
            text = fallback(f"{attachment.filename} could not be attached. {trouble.outcome.reason}")
            await self._api.post_message(channel=thread.channel, thread_ts=thread.ts, text=text)

    async def _post(self, blocks: Callable[[str | None], list[Block]], picture: str | None, **fields: Any) -> Block:
        """Post with the picture, waiting a little while Slack still looks at it; in the end without it.

        A refusal for the picture is definite: nothing was posted, so posting again repeats nothing.
        """
        if picture is not None:
            for wait in (0.0, *self._picture_waits):
                await asyncio.sleep(wait)
                try:
                    return await self._api.post_message(blocks=blocks(picture), **fields)
                except SlackTrouble as trouble:
                    if not trouble.picture_refused:
                        raise
        return await self._api.post_message(blocks=blocks(None), **fields)

    async def _upload_picture(self, export: Export) -> str | None:
        """The new file's id; None without a picture, and when Slack does not take it: the text goes on alone."""
        if export.image is None:
            return None
        try:
            file_id = await self._api.upload(f"{export.name}.png", export.image)
            await self._api.complete(file_id, export.title)
        except SlackTrouble:
            return None
        return file_id


@dataclass(slots=True)
class Thread:
    """How far one recipient's delivery has come. ``uncertain``: the main message may have been posted."""

    channel: str
    ts: str | None = None
    replies: int = 0
    uncertain: bool = False

    @classmethod
    def resumed(cls, recipient: str, progress: Progress) -> Thread:
        ts = progress.get("ts")
        return cls(
            channel=progress.get("channel", recipient),
            ts=ts,
            replies=int(progress.get("replies", 0)),
            uncertain=ts is None and bool(progress.get("uncertain")),
        )

    def progress(self) -> Progress | None:
        if self.ts is not None:
            return {"ts": self.ts, "channel": self.channel, "replies": self.replies}
        return {"uncertain": True} if self.uncertain else None


def _metadata(identity: str, *, part: int) -> dict[str, Any]:
    return {"event_type": EVENT_TYPE, "event_payload": {"identity": identity, "part": part}}


def _identity_of(posted: Mapping[str, Any]) -> str | None:
    metadata = posted.get("metadata") or {}
    if metadata.get("event_type") != EVENT_TYPE:
        return None
    identity: str | None = metadata.get("event_payload", {}).get("identity")
    return identity
