"""A language model's API as it is on bad days: whoever asks has an answer, or a reason, and is not kept waiting."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from channels.chat import AT_ONCE, FAILURES, LONGEST_ANSWER, ChatModel, Unanswered
from channels.outbound import OutboundPolicy
from channels.receivers import Reply, WebhookReceiver
from tests.channels.conftest import served

KEY = "sk-a-key-for-tests-only"
Ask = Callable[..., ChatModel]


@pytest.fixture
async def api() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as api:
        yield api


@pytest.fixture
async def model_at() -> AsyncIterator[Ask]:
    """A client of the API at that URL; closed afterwards."""
    made: list[ChatModel] = []

    def make(url: str, **options: Any) -> ChatModel:
        made.append(ChatModel(**{"url": url, "model": "small", "key": KEY, "policy": OutboundPolicy()} | options))
        return made[-1]

    yield make
    for model in made:
        await model.aclose()


def said(content: object) -> Reply:
    """A chat completion."""
    body = {"object": "chat.completion", "choices": [{"index": 0, "message": {"content": content}}]}
    return Reply(200, {"content-type": "application/json"}, json.dumps(body).encode())


async def test_a_question_is_a_chat_completion_request(api: WebhookReceiver, model_at: Ask) -> None:
    api.script(said("Orders rose."), said("Nothing changed."))

    assert await model_at(f"{api.url}/").ask("Be brief.", "What changed: Größe?") == "Orders rose."
    assert await model_at(api.url, key=None).ask("Be brief.", "And now?") == "Nothing changed."

    first, second = api.requests
    assert first.path.endswith("/hooks/paperround/chat/completions")
    assert first.headers["content-type"] == "application/json"
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.data["model"] == "small"
    assert first.data["temperature"] < 0.5
    assert 100 <= first.data["max_tokens"] <= 1000
    assert first.data["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What changed: Größe?"},
    ]
    assert "authorization" not in second.headers


BAD_DAYS = [
    (Reply(500, body=KEY.encode()), "answered 500"),
    (Reply(429, {"retry-after": "3600"}), "answered 429"),
    (Reply(401, body=f'{{"error": {{"message": "Incorrect API key: {KEY}"}}}}'.encode()), "401 Unauthorized"),
    (Reply(404), "404 Not Found: check the URL"),
    (Reply(307, {"location": "/elsewhere"}), "redirects are not followed"),
    (Reply(204), "no chat completion"),
    (Reply(200, body=b"<html>Welcome</html>"), "no chat completion"),
    (Reply(200, body=b"[" * 100_000), "no chat completion"),
    (Reply(200, body=b'{"choices": []}'), "no chat completion"),
    (Reply(200, body=b'{"choices": {"0": "x"}}'), "no chat completion"),
    (Reply(200, body=b"\xff\xfe\x00"), "no chat completion"),
    (Reply(200, {"content-encoding": "gzip"}, gzip.compress(said("x").body)), "no chat completion"),
    (said(None), "has no text"),
    (said([{"type": "text", "text": "Orders rose."}]), "has no text"),
    (said("x" * LONGEST_ANSWER), "longer than 256 kB"),
    (Reply(reset=True), "did not answer"),
    (Reply(delay=60), "did not answer in time"),
    (Reply(200, body=b"{" * 60, drip=1), "did not answer in time"),
]


@pytest.mark.parametrize(("reply", "reason"), BAD_DAYS, ids=lambda value: value if isinstance(value, str) else "")
async def test_whatever_comes_back_is_a_reason_without_secrets(
    api: WebhookReceiver, model_at: Ask, reply: Reply, reason: str
) -> None:
    api.script(reply)

    answer = await model_at(api.url, total=0.3 if reply.delay or reply.drip else 20).ask("Be brief.", "Well?")

    assert isinstance(answer, Unanswered)
    assert reason in answer.reason
    assert not any(secret in answer.reason for secret in (KEY, "127.0.0.1", "Well?"))
    assert len(api.requests) == 1


async def test_an_api_that_is_not_there_is_a_reason(model_at: Ask, dead_port: int) -> None:
    model = model_at(f"http://127.0.0.1:{dead_port}/v1")

    assert await model.ask("Be brief.", "Well?") == Unanswered("The receiver could not be reached.")


async def test_but_for_its_host_the_url_keeps_to_the_outbound_policy(api: WebhookReceiver, model_at: Ask) -> None:
    model = model_at(api.url.replace("://", "://user:pa55word@"))

    answer = await model.ask("Be brief.", "Well?")

    assert answer == Unanswered("The URL has a user name or password before the host; leave them out.")
    assert api.requests == []


async def test_a_model_that_keeps_failing_is_left_alone_for_a_while(api: WebhookReceiver, model_at: Ask) -> None:
    tired, eager = model_at(api.url), model_at(api.url, rest=0.0)
    api.script(*[Reply(500)] * FAILURES)
    for _ in range(FAILURES):
        await tired.ask("Be brief.", "Well?")
    assert "in a few minutes" in str(await tired.ask("Be brief.", "Well?"))
    assert len(api.requests) == FAILURES

    api.script(*[Reply(500)] * FAILURES, said("Here again."))
    for _ in range(FAILURES):
        await eager.ask("Be brief.", "Well?")
    assert await eager.ask("Be brief.", "Well?") == "Here again."


async def test_no_more_than_a_few_questions_are_under_way_at_once(model_at: Ask) -> None:
    asked, full, over = 0, asyncio.Event(), asyncio.Event()

    async def hesitant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        head = await reader.readuntil(b"\r\n\r\n")
        asked += 1
        if asked == AT_ONCE:
            full.set()
        if b"/other/" not in head:
            await over.wait()
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async with served(hesitant) as port:
        model, other = model_at(f"http://127.0.0.1:{port}"), model_at(f"http://127.0.0.1:{port}/other")
        answers = asyncio.gather(*(model.ask("Be brief.", "Well?") for _ in range(AT_ONCE + 3)))
        await full.wait()
        await other.ask("Be brief.", "Well?")  # there and back: the others would have been there, too
        assert asked == AT_ONCE + 1
        over.set()
        assert len(await answers) == AT_ONCE + 3
