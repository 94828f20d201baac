"""Slack: one message with the first chart, every further export as a reply in its thread, attachments after them.

Posting has no idempotency key at Slack, so two things keep a repeated attempt from posting twice. Progress: what is
already posted is reported after every attempt and comes back with the next. Metadata: every message says which part of
which delivery it is, so one that may or may not have arrived is looked for in the channel's history, a reply in its
thread, before it is sent again (where the app may read them). Why pictures travel the way they do:
deploy/decisions/0004-slack-pictures.md.
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
from channels.outbound import OutboundPolicy
from channels.outbound_http import OutboundSession
from channels.slack_api import SlackApi, slack_session
from channels.slack_blocks import Block, fallback, main_blocks, main_text, reply_blocks, reply_text
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
        session: OutboundSession | None = None,
        picture_waits: Sequence[float] = PICTURE_WAITS,
    ) -> None:
        self._session = session or slack_session(OutboundPolicy(), api_url)
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
                await self._look_back(message, recipient, thread)
            if thread.ts is None:
                await self._post_main(message, recipient, thread)
            await self._post_replies(message, recipient, thread)
        except SlackTrouble as trouble:
            return RecipientResult(recipient, trouble.outcome, thread.progress())
        return RecipientResult(recipient, Sent(provider_id=thread.ts), thread.progress())

    async def _look_back(self, message: Message, recipient: str, thread: Thread) -> None:
        """Find what an earlier attempt may have posted; without the right to read, it is posted again."""
        identity = message.identity(recipient)
        try:
            if thread.ts is None:
                thread.ts = await self._api.find_message(thread.channel, lambda posted: _part_of(posted, identity) == 0)
            if thread.ts is not None:
                posted = await self._api.thread(thread.channel, thread.ts)
                thread.replies = max(thread.replies, _last_part(posted, identity, message))
        except SlackTrouble as trouble:
            if not isinstance(trouble.outcome, PermanentFailure):
                raise trouble.of_a_look_back() from trouble
        thread.uncertain = False

    async def _post_main(self, message: Message, recipient: str, thread: Thread) -> None:
        first = message.exports[0] if message.exports else None
        picture = await self._upload_picture(first) if first else None
        lost = bool(first and first.image)
        try:
            posted = await self._post(
                lambda shown: main_blocks(message, recipient, shown, lost=lost),
                picture,
                plain=main_text(message, recipient),
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
        remaining = _replies_of(message)[thread.replies :]
        # All before the first reply: Slack looks at the later ones while the earlier ones are posted
        pictures = [await self._upload_picture(part) if isinstance(part, Export) else None for part in remaining]
        for part, picture in zip(remaining, pictures, strict=True):
            try:
                await self._reply(
                    part, picture, thread, _metadata(message.identity(recipient), part=thread.replies + 1)
                )
            except SlackTrouble as trouble:
                thread.uncertain = trouble.perhaps_done
                raise
            thread.replies += 1

    async def _reply(
        self, part: Export | Attachment, picture: str | None, thread: Thread, metadata: dict[str, Any]
    ) -> None:
        if isinstance(part, Export):
            await self._post_export(part, picture, thread, metadata)
        else:
            await self._attach(part, thread, metadata)

    async def _post_export(self, export: Export, picture: str | None, thread: Thread, metadata: dict[str, Any]) -> None:
        await self._post(
            lambda shown: reply_blocks(export, shown, lost=export.image is not None),
            picture,
            plain=reply_text(export),
            channel=thread.channel,
            thread_ts=thread.ts,
            text=fallback(export.title),
            metadata=metadata,
        )

    async def _attach(self, attachment: Attachment, thread: Thread, metadata: dict[str, Any]) -> None:
        """Into the thread; where Slack does not let us, a line says that something is missing."""
        try:
            file_id = await self._api.upload(attachment.filename, attachment.content)
            await self._api.complete(file_id, attachment.filename, channel_id=thread.channel, thread_ts=str(thread.ts))
        except SlackTrouble as trouble:
            if not isinstance(trouble.outcome, PermanentFailure):
                raise
            text = fallback(f"{attachment.filename} could not be attached. {trouble.outcome.reason}")
            await self._api.post_message(channel=thread.channel, thread_ts=thread.ts, text=text, metadata=metadata)

    async def _post(
        self, blocks: Callable[[str | None], list[Block]], picture: str | None, *, plain: str, **fields: Any
    ) -> Block:
        """Post with blocks; where they are refused, once more at once without: what counts is what they say.

        That refusal, too, is definite.
        """
        try:
            return await self._post_blocks(blocks, picture, **fields)
        except SlackTrouble as trouble:
            if not trouble.blocks_refused:
                raise
        return await self._api.post_message(**(fields | {"text": plain}))

    async def _post_blocks(
        self, blocks: Callable[[str | None], list[Block]], picture: str | None, **fields: Any
    ) -> Block:
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
        """The new file's id; None without a picture, and when Slack does not take it: the text goes on alone.

        Where Slack only asks to come later, text and picture both do.
        """
        if export.image is None:
            return None
        try:
            file_id = await self._api.upload(f"{export.name}.png", export.image)
            await self._api.complete(file_id, export.title)
        except SlackTrouble as trouble:
            if trouble.put_off:
                raise
            return None
        return file_id


@dataclass(slots=True)
class Thread:
    """How far one recipient's delivery has come: the main message's ``ts``, and how many replies are in its thread.

    ``uncertain``: what follows (the main message, or the reply after those counted) may have been posted all the same,
    and of an attempt that left no word so may all the rest.
    """

    channel: str
    ts: str | None = None
    replies: int = 0
    uncertain: bool = False

    @classmethod
    def resumed(cls, recipient: str, progress: Progress) -> Thread:
        return cls(
            channel=progress.get("channel", recipient),
            ts=progress.get("ts"),
            replies=int(progress.get("replies", 0)),
            uncertain=bool(progress.get("uncertain")),
        )

    def progress(self) -> Progress | None:
        doubt: Progress = {"uncertain": True} if self.uncertain else {}
        if self.ts is None:
            return doubt or None
        return {"ts": self.ts, "channel": self.channel, "replies": self.replies, **doubt}


def _replies_of(message: Message) -> list[Export | Attachment]:
    """Part 1, 2, 3 … of a delivery; part 0 is the main message."""
    return [*message.exports[1:], *message.attachments]


def _metadata(identity: str, *, part: int) -> dict[str, Any]:
    return {"event_type": EVENT_TYPE, "event_payload": {"identity": identity, "part": part}}


def _part_of(posted: Mapping[str, Any], identity: str) -> int | None:
    """Which part of this delivery a message is marked as; None: of none."""
    metadata = posted.get("metadata") or {}
    payload = metadata.get("event_payload") or {}
    if metadata.get("event_type") != EVENT_TYPE or payload.get("identity") != identity:
        return None
    part = payload.get("part")
    return part if isinstance(part, int) else None


def _last_part(posted: Sequence[Mapping[str, Any]], identity: str, message: Message) -> int:
    """How far a thread goes. Parts are posted in order, so one that is missing before it was taken away by a person.

    An attachment bears no mark, as Slack posts it by itself: its name has to do.
    """
    named = {part.filename: n for n, part in enumerate(_replies_of(message), 1) if isinstance(part, Attachment)}
    marked = (_part_of(each, identity) or 0 for each in posted)
    attached = (named.get(file.get("name"), 0) for each in posted for file in each.get("files", []))
    return max((*marked, *attached), default=0)
