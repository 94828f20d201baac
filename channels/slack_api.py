"""The few methods of Slack's Web API that a delivery needs, each of which answers or raises ``SlackTrouble``."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from slack_sdk.errors import SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from channels.base import TransientFailure
from channels.dialling import BlockedDial
from channels.outbound import OutboundPolicy
from channels.outbound_http import OutboundSession, read_answer
from channels.slack_errors import SlackTrouble, trouble_of, unreadable_answer
from channels.slack_target import SLACK_API_URL

HISTORY_PAGE = 200
HISTORY_PAGES = 3


def slack_session(policy: OutboundPolicy, api_url: str) -> OutboundSession:
    """The connections to Slack, for every workspace's channel; another API that the operator set may be anywhere."""
    return OutboundSession(policy if api_url == SLACK_API_URL else policy.with_host_of(api_url))


class SlackApi:
    """One workspace."""

    def __init__(self, *, token: str, api_url: str, session: OutboundSession) -> None:
        self._session = session
        self._client = _Client(token=token, api_url=api_url, session=session)

    async def post_message(self, **fields: Any) -> dict[str, Any]:
        """Source: docs.slack.dev/reference/methods/chat.postMessage."""
        posted = await _answer(self._client.chat_postMessage(unfurl_links=False, unfurl_media=False, **fields))
        if not isinstance(posted.get("ts"), str):
            raise unreadable_answer()
        return posted

    async def upload(self, filename: str, content: bytes) -> str:
        """Put a file's bytes at Slack; :meth:`complete` then makes it one. Returns its id.

        Source: docs.slack.dev/messaging/working-with-files, "Uploading files".
        """
        place = await _harmless(self._client.files_getUploadURLExternal(filename=filename, length=len(content)))
        url, file_id = place.get("upload_url"), place.get("file_id")
        if not isinstance(url, str) or not isinstance(file_id, str):
            raise SlackTrouble(TransientFailure("Slack did not say where to put a file."))
        try:
            async with await self._session.request("POST", url, data=content) as response:
                if response.status != 200:
                    raise SlackTrouble(TransientFailure(f"Slack did not take a file ({response.status})."))
        except (aiohttp.ClientError, BlockedDial, TimeoutError, OSError) as error:
            raise trouble_of(error).of_a_harmless_call() from error
        return file_id

    async def complete(
        self, file_id: str, title: str, *, channel_id: str | None = None, thread_ts: str | None = None
    ) -> None:
        """Finish an upload; given a place, Slack posts the file there once it has looked at it."""
        files: list[dict[str, str | None]] = [{"id": file_id, "title": title}]
        await _answer(
            self._client.files_completeUploadExternal(files=files, channel_id=channel_id, thread_ts=thread_ts)
        )

    async def find_message(self, channel: str, matches: Callable[[Mapping[str, Any]], bool]) -> str | None:
        """The ``ts`` of the newest message that matches, among the channel's last few pages.

        Source: docs.slack.dev/reference/methods/conversations.history.
        """
        async for message in _listed(self._client.conversations_history, channel=channel):
            if matches(message):
                return str(message["ts"])
        return None

    async def thread(self, channel: str, ts: str) -> list[Mapping[str, Any]]:
        """The message and its replies, the oldest first; of a long thread the first few pages.

        Source: docs.slack.dev/reference/methods/conversations.replies.
        """
        return [message async for message in _listed(self._client.conversations_replies, channel=channel, ts=ts)]


class _Client(AsyncWebClient):
    """The SDK's client, sending through our session; its own one, retries, proxies and debug log are never used."""

    def __init__(self, *, token: str, api_url: str, session: OutboundSession) -> None:
        silent = logging.getLogger("channels.slack_sdk")
        silent.setLevel(logging.CRITICAL)  # at debug level the SDK writes whole messages to the log
        super().__init__(token=token, base_url=api_url, retry_handlers=[], logger=silent)
        self.proxy = None  # the SDK has looked for one in the environment
        self._outbound = session

    async def _request(self, *, http_verb: str, api_url: str, req_args: dict[str, Any]) -> dict[str, Any]:
        async with await self._outbound.request(http_verb, api_url, **req_args) as answer:
            return {"data": await _json(answer), "headers": answer.headers, "status_code": answer.status}


async def _json(answer: aiohttp.ClientResponse) -> Any:
    """What Slack says; nothing where a gateway in between shows a page of its own."""
    body = b"".join([chunk async for chunk in read_answer(answer)])
    if "json" not in answer.content_type:
        return {}
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return {}


async def _answer(call: Awaitable[Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = (await call).data
    except (SlackClientError, aiohttp.ClientError, BlockedDial, TimeoutError, OSError) as error:
        raise trouble_of(error) from error
    except (AttributeError, ValueError, LookupError) as error:  # the SDK stumbles over JSON that is no object
        raise trouble_of(error) from error
    return answer


async def _harmless(call: Awaitable[Any]) -> dict[str, Any]:
    """The answer of a call that posts nothing."""
    try:
        return await _answer(call)
    except SlackTrouble as trouble:
        raise trouble.of_a_harmless_call() from trouble


async def _listed(read: Callable[..., Awaitable[Any]], **where: str) -> AsyncIterator[Mapping[str, Any]]:
    """The messages of a few pages, with their metadata.

    Slack lets some apps read one page of 15 a minute: a limit after the first page ends the list, as who came back
    later would start from the first page and get no further.
    Source: api.slack.com/changelog/2025-05-terms-rate-limit-update-and-faq.
    """
    cursor = None
    for number in range(HISTORY_PAGES):
        try:
            page = await _harmless(read(include_all_metadata=True, limit=HISTORY_PAGE, cursor=cursor, **where))
        except SlackTrouble as trouble:
            if number and trouble.put_off:
                return
            raise
        for message in page.get("messages", []):
            yield message
        cursor = page.get("response_metadata", {}).get("next_cursor") or None
        if cursor is None:
            return
