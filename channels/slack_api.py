"""The few methods of Slack's Web API that a delivery needs, each of which answers or raises ``SlackTrouble``."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from slack_sdk.errors import SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from channels.base import TransientFailure
from channels.slack_errors import SlackTrouble, trouble_of

CONNECT_LIMIT = 5.0
TOTAL_LIMIT = 30.0
HISTORY_PAGE = 200
HISTORY_PAGES = 3


class SlackSession:
    """The connections to Slack, shared by every workspace's channel; opened when first needed."""

    def __init__(self, *, connect: float = CONNECT_LIMIT, total: float = TOTAL_LIMIT) -> None:
        self._limits = aiohttp.ClientTimeout(total=total, connect=connect, sock_connect=connect)
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=self._limits, trust_env=False)
        return self._session

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class SlackApi:
    """One workspace. The SDK's own retries, its reading of proxy variables and its debug log are off."""

    def __init__(self, *, token: str, api_url: str, session: SlackSession) -> None:
        self._session = session
        silent = logging.getLogger("channels.slack_sdk")
        silent.setLevel(logging.CRITICAL)  # at debug level the SDK writes whole messages to the log
        self._client = AsyncWebClient(token=token, base_url=api_url, retry_handlers=[], logger=silent)
        self._client.proxy = None

    async def post_message(self, **fields: Any) -> dict[str, Any]:
        """Source: docs.slack.dev/reference/methods/chat.postMessage."""
        client = self._connected()
        return await _answer(client.chat_postMessage(unfurl_links=False, unfurl_media=False, **fields))

    async def upload(self, filename: str, content: bytes) -> str:
        """Put a file's bytes at Slack; :meth:`complete` then makes it one. Returns its id.

        Source: docs.slack.dev/messaging/working-with-files, "Uploading files".
        """
        client = self._connected()
        place = await _harmless(client.files_getUploadURLExternal(filename=filename, length=len(content)))
        try:
            async with self._session.open().post(place["upload_url"], data=content, allow_redirects=False) as response:
                if response.status != 200:
                    raise SlackTrouble(TransientFailure(f"Slack did not take a file ({response.status})."))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise trouble_of(error).of_a_harmless_call() from error
        return str(place["file_id"])

    async def complete(
        self, file_id: str, title: str, *, channel_id: str | None = None, thread_ts: str | None = None
    ) -> None:
        """Finish an upload; given a place, Slack posts the file there once it has looked at it."""
        client = self._connected()
        files: list[dict[str, str | None]] = [{"id": file_id, "title": title}]
        await _answer(client.files_completeUploadExternal(files=files, channel_id=channel_id, thread_ts=thread_ts))

    async def find_message(self, channel: str, matches: Callable[[Mapping[str, Any]], bool]) -> str | None:
        """The ``ts`` of the newest message that matches, among the channel's last few pages.

        Source: docs.slack.dev/reference/methods/conversations.history.
        """
        async for message in _listed(self._connected().conversations_history, channel=channel):
            if matches(message):
                return str(message["ts"])
        return None

    async def thread(self, channel: str, ts: str) -> list[Mapping[str, Any]]:
        """The message and its replies, the oldest first; of a long thread the first few pages.

        Source: docs.slack.dev/reference/methods/conversations.replies.
        """
        return [message async for message in _listed(self._connected().conversations_replies, channel=channel, ts=ts)]

    def _connected(self) -> AsyncWebClient:
        self._client.session = self._session.open()
        return self._client


async def _answer(call: Awaitable[Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = (await call).data
    except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
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
