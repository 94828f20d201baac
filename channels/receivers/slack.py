"""As much of Slack's Web API as the channel uses: messages in threads, uploads, and its ways of saying no.

Sources: docs.slack.dev/reference/methods (chat.postMessage, files.getUploadURLExternal, files.completeUploadExternal,
conversations.history, conversations.replies, auth.test) and docs.slack.dev/reference/block-kit/blocks for the limits
it enforces.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from channels.receivers.site import Site

FIRST_TS = 1_700_000_000
MAX_TEXT = 4000  # Slack itself breaks a longer one into several messages, which nobody wants


@dataclass(frozen=True, slots=True)
class SlackReply:
    """One answer instead of the usual one: Slack's ``error``, or any ``text`` (``json``: said to be JSON).

    ``accept`` does what was asked first: accepted, but the answer is lost.
    """

    error: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    json: bool = False
    delay: float = 0
    reset: bool = False
    accept: bool = False


@dataclass(frozen=True, slots=True)
class PostedMessage:
    channel: str
    ts: str
    thread_ts: str | None
    text: str
    blocks: list[dict[str, Any]]
    metadata: dict[str, Any] | None
    request: dict[str, Any]


@dataclass(slots=True)
class UploadedFile:
    """``refusals``: how many messages may not show it yet, because Slack is still looking at it."""

    id: str
    filename: str
    length: int
    content: bytes = b""
    completed: bool = False
    refusals: int = 0
    shares: list[tuple[str, str | None]] = field(default_factory=list)


class _Refusal(Exception):
    def __init__(self, error: str, *messages: str) -> None:
        super().__init__(error)
        self.answer: dict[str, Any] = {"ok": False, "error": error}
        if messages:
            self.answer |= {"errors": list(messages), "response_metadata": {"messages": list(messages)}}


class SlackReceiver:
    """``async with SlackReceiver(tokens=…) as receiver``: give the channel ``receiver.url``; see ``receiver.messages``.

    ``picture_refusals``: how many messages Slack refuses because a new picture is not ready. ``page``: how many it
    lists at most. ``calls`` names the methods asked for, in order.
    """

    def __init__(self, *, tokens: tuple[str, ...] = (), picture_refusals: int = 0) -> None:
        self.messages: list[PostedMessage] = []
        self.files: dict[str, UploadedFile] = {}
        self.calls: list[str] = []
        self.picture_refusals = picture_refusals
        self.page = 1000
        self._tokens = tokens
        self._scripted: dict[str, list[SlackReply | None]] = defaultdict(list)
        self._site = Site()

    @property
    def url(self) -> str:
        return f"{self._site.url}/api/"

    @property
    def port(self) -> int:
        return self._site.port

    def script(self, method: str, *replies: SlackReply | None) -> None:
        """The next answers to this method (``upload`` for the bytes themselves), one a call; None is the usual one."""
        self._scripted[method].extend(replies)

    def main_messages(self) -> list[PostedMessage]:
        return [message for message in self.messages if message.thread_ts is None]

    def thread(self, ts: str) -> list[PostedMessage]:
        return [message for message in self.messages if message.thread_ts == ts]

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/api/{method}", self._call)
        application.router.add_post("/upload/{file}", self._upload)
        await self._site.start(application)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._site.stop()

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        self.calls.append(method)

        async def act() -> web.Response:
            try:
                return web.json_response({"ok": True, **await self._act(method, request)})
            except _Refusal as refusal:
                return web.json_response(refusal.answer)

        return await self._answer(request, method, act)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        self.calls.append("upload")

        async def act() -> web.Response:
            upload = self.files[request.match_info["file"]]
            upload.content = await request.read()
            return web.Response(text=f"OK - {len(upload.content)}")

        return await self._answer(request, "upload", act)

    async def _answer(
        self, request: web.Request, method: str, act: Callable[[], Awaitable[web.Response]]
    ) -> web.StreamResponse:
        reply = self._scripted[method].pop(0) if self._scripted[method] else None
        if reply is None:
            return await act()
        if reply.accept:
            await act()
        await asyncio.sleep(reply.delay)
        if reply.reset and request.transport is not None:
            request.transport.abort()
        text = json.dumps({"ok": False, "error": reply.error}) if reply.text is None else reply.text
        kind = "application/json" if reply.json or reply.text is None else "text/html"
        return web.Response(status=reply.status, headers=dict(reply.headers), text=text, content_type=kind)

    async def _act(self, method: str, request: web.Request) -> dict[str, Any]:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens and token not in self._tokens:
            raise _Refusal("invalid_auth" if token else "not_authed")
        given: dict[str, Any] = dict(request.query)
        if request.content_type == "application/json":
            given |= await request.json()
        match method:
            case "auth.test":
                return {"team": "Receiver", "team_id": "T00000001", "user": "paperround", "bot_id": "B00000001"}
            case "chat.postMessage":
                return self._post_message(given)
            case "files.getUploadURLExternal":
                return self._new_upload(given)
            case "files.completeUploadExternal":
                return self._complete_upload(given)
            case "conversations.history":
                return self._history(given)
            case "conversations.replies":
                return self._replies(given)
            case _:
                raise _Refusal("unknown_method")

    def _post_message(self, given: dict[str, Any]) -> dict[str, Any]:
        blocks = given.get("blocks", [])
        _check_limits(blocks)
        if not blocks and not 0 < len(given.get("text", "")) <= MAX_TEXT:
            raise _Refusal("msg_too_long" if given.get("text") else "no_text")
        for block in blocks:
            if block["type"] == "image":
                self._check_picture(block)
        # A user's id opens the conversation with that user, which has an id of its own
        channel = f"D{given['channel'][1:]}" if given["channel"].startswith("U") else given["channel"]
        ts = f"{FIRST_TS + len(self.messages)}.000100"
        thread_ts, metadata = given.get("thread_ts"), given.get("metadata")
        posted = PostedMessage(channel, ts, thread_ts, given.get("text", ""), blocks, metadata, given)
        self.messages.append(posted)
        return {"channel": channel, "ts": ts, "message": {"text": posted.text, "ts": ts}}

    def _check_picture(self, block: dict[str, Any]) -> None:
        upload = self.files.get(block["slack_file"]["id"])
        if upload is None or not upload.completed:
            raise _Refusal("invalid_blocks", "[ERROR] invalid slack file [json-pointer:/blocks/0/slack_file]")
        if upload.refusals:
            upload.refusals -= 1
            raise _Refusal("invalid_blocks", "[ERROR] invalid slack file [json-pointer:/blocks/0/slack_file]")

    def _new_upload(self, given: dict[str, Any]) -> dict[str, Any]:
        file_id = f"F{len(self.files):09d}"
        refusals = self.picture_refusals
        self.files[file_id] = UploadedFile(file_id, given["filename"], int(given["length"]), refusals=refusals)
        return {"file_id": file_id, "upload_url": f"{self._site.url}/upload/{file_id}"}

    def _complete_upload(self, given: dict[str, Any]) -> dict[str, Any]:
        completed = []
        for entry in json.loads(given["files"]):
            upload = self.files.get(entry["id"])
            if upload is None or len(upload.content) != upload.length:
                raise _Refusal("file_not_found")
            upload.completed = True
            if "channel_id" in given:
                upload.shares.append((given["channel_id"], given.get("thread_ts")))
            completed.append({"id": upload.id, "title": entry.get("title", upload.filename)})
        return {"files": completed}

    def _history(self, given: dict[str, Any]) -> dict[str, Any]:
        wanted = [message for message in reversed(self.main_messages()) if message.channel == given["channel"]]
        return self._listed([_as_listed(message, given) for message in wanted], given)

    def _replies(self, given: dict[str, Any]) -> dict[str, Any]:
        place = given["channel"], given["ts"]
        parents = [message for message in self.main_messages() if (message.channel, message.ts) == place]
        if not parents:
            raise _Refusal("thread_not_found")
        listed = [_as_listed(message, given) for message in [*parents, *self.thread(given["ts"])]]
        # Slack posts a file that was shared by itself, in a message without metadata
        shared = [file for file in self.files.values() if place in file.shares]
        listed += [{"type": "message", "files": [{"id": file.id, "name": file.filename}]} for file in shared]
        return self._listed(listed, given)

    def _listed(self, found: list[dict[str, Any]], given: dict[str, Any]) -> dict[str, Any]:
        start = int(given.get("cursor") or 0)
        end = start + min(int(given.get("limit", 100)), self.page)
        following = str(end) if end < len(found) else ""
        return {
            "messages": found[start:end],
            "has_more": bool(following),
            "response_metadata": {"next_cursor": following},
        }


def _as_listed(message: PostedMessage, given: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "message", "ts": message.ts, "text": message.text}
    if given.get("include_all_metadata") in ("1", "true", True) and message.metadata:
        shown["metadata"] = message.metadata
    return shown


def _check_limits(blocks: list[dict[str, Any]]) -> None:
    limits = {"header": 150, "section": 3000}
    for place, block in enumerate(blocks):
        text = block["text"]["text"] if block["type"] in limits else "-"
        if place >= 50 or not 0 < len(text) <= limits.get(block["type"], 3000):
            raise _Refusal("invalid_blocks", f"[ERROR] [json-pointer:/blocks/{place}]")
    if len(json.dumps(blocks, ensure_ascii=False)) > 13_200:
        raise _Refusal("msg_blocks_too_long")
