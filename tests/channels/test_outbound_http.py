"""What goes out, goes out one way: nothing of the environment, of earlier answers or of redirects gets a say in it."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from channels.base import PermanentFailure, Sent, TransientFailure
from channels.dialling import BlockedDial
from channels.outbound import ALLOW_HINT, OutboundPolicy
from channels.outbound_http import LONGEST_ANSWER, OutboundSession, outbound_client
from channels.receivers import Reply, SlackReceiver, SlackReply, WebhookReceiver
from channels.slack import SlackChannel
from tests.channels.benches import TOKEN, a_slack_channel, a_webhook_channel
from tests.channels.conftest import Canary, Handler, a_message, served

MIB = 1024 * 1024
HERE = OutboundPolicy(["127.0.0.1"])


@pytest.fixture
async def elsewhere() -> AsyncIterator[WebhookReceiver]:
    """What a proxy variable or a redirect names."""
    async with WebhookReceiver() as elsewhere:
        yield elsewhere


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
async def slack() -> AsyncIterator[SlackReceiver]:
    async with SlackReceiver(tokens=(TOKEN,)) as slack:
        yield slack


async def by_webhook(url: str) -> object:
    channel = a_webhook_channel()
    [result] = await channel.send(a_message(), [url])
    await channel.aclose()
    return result.outcome


async def by_slack(url: str) -> object:
    channel = a_slack_channel(url)
    [result] = await channel.send(a_message(exports=()), ["C0123456789"])
    await channel.aclose()
    return result.outcome


async def by_httpx(url: str) -> httpx.Response:
    async with outbound_client(HERE) as client:
        return await client.post(url, content=b"x")


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    receiver: WebhookReceiver,
    slack: SlackReceiver,
    elsewhere: WebhookReceiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password hunter2\ndefault login ann password hunter2")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("NO_PROXY", "")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, elsewhere.url)

    outcomes = [await by_webhook(receiver.url), await by_slack(slack.url)]
    answer = await by_httpx(receiver.url)

    assert outcomes == [Sent(), Sent(provider_id=slack.messages[0].ts)]  # Slack's has its token, and no other password
    assert answer.status_code == 204
    assert [request.headers.get("authorization") for request in receiver.requests] == [None, None]
    assert elsewhere.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_whoever_asked(
    status: int, receiver: WebhookReceiver, slack: SlackReceiver, elsewhere: WebhookReceiver
) -> None:
    there = {"Location": elsewhere.url}
    receiver.script(*[Reply(status, there)] * 2)
    slack.script("chat.postMessage", SlackReply(status=status, headers=there, text="Moved"))

    outcomes = [await by_webhook(receiver.url), await by_slack(slack.url)]
    answer = await by_httpx(receiver.url)

    assert [type(outcome) for outcome in outcomes] == [PermanentFailure, TransientFailure]
    assert answer.status_code == status
    assert elsewhere.requests == []


async def here(host: str, port: int) -> list[str]:
    """A resolver for which every name is this machine."""
    return ["127.0.0.1"]


async def test_a_cookie_is_not_kept(receiver: WebhookReceiver) -> None:
    receiver.script(*[Reply(200, {"Set-Cookie": "session=42; Path=/"})] * 4)
    url = f"http://hooks.example.com:{receiver.port}/"

    async with outbound_client(OutboundPolicy(["hooks.example.com"]), resolver=here) as client:
        channel = a_webhook_channel(client=client)
        for _ in range(2):
            await channel.send(a_message(), [url])
            await client.post(url, content=b"x")

    assert [request.headers.get("cookie") for request in receiver.requests] == [None] * 4


async def test_a_url_that_may_not_be_saved_may_not_be_asked_for_wherever_it_leads(receiver: WebhookReceiver) -> None:
    async with outbound_client(HERE, resolver=here) as client:
        for url in (f"http://hooks.example.com:{receiver.port}/", f"https://hooks:{receiver.port}/"):
            with pytest.raises(BlockedDial, match="PAPERROUND_ALLOW_HOSTS"):
                await client.get(url)

    assert receiver.requests == []


def answers(head: bytes, *body: bytes) -> Handler:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head_of_request = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head_of_request.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head + b"\r\n")
        for part in body:
            writer.write(part)
            await writer.drain()

    return answer


async def test_a_packed_answer_is_not_unpacked_whoever_asked() -> None:
    bomb = gzip.compress(b'{"ok": true, "ts": "1", "channel": "C"}' + b" " * 32 * MIB)
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(bomb)

    async with served(answers(head, bomb)) as port:
        tracemalloc.start()
        outcomes = [await by_webhook(f"http://127.0.0.1:{port}/"), await by_slack(f"http://127.0.0.1:{port}/api/")]
        answer = await by_httpx(f"http://127.0.0.1:{port}/")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert outcomes == [Sent(), TransientFailure("Slack gave no readable answer.")]
    assert answer.content == bomb
    assert peak < 8 * MIB


async def test_an_answer_without_end_is_given_up() -> None:
    poured = [b" " * MIB] * (LONGEST_ANSWER // MIB + 64)

    async with served(answers(b"Content-Length: %d\r\n" % (len(poured) * MIB), *poured)) as port:
        outcome = await by_slack(f"http://127.0.0.1:{port}/api/")
        with pytest.raises(httpx.ReadError, match="too long"):
            await by_httpx(f"http://127.0.0.1:{port}/")

    assert outcome == TransientFailure("Slack took the message but did not answer.", uncertain=True)


async def test_a_name_of_slacks_that_leads_inside_is_not_dialled() -> None:
    session = OutboundSession(OutboundPolicy(), resolver=here)
    [result] = await SlackChannel(token=TOKEN, session=session).send(a_message(), ["C0123456789"])
    await session.aclose()

    assert result.outcome == PermanentFailure(f"The host leads to an address that is not public. {ALLOW_HINT}")


async def test_slack_cannot_have_a_file_put_inside(slack: SlackReceiver, canary: Canary) -> None:
    """The operator's own Slack may be on this machine; what it names for an upload has to be there too, or public."""
    place = json.dumps({"ok": True, "upload_url": f"http://127.0.0.2:{canary.port}/", "file_id": "F1"})
    slack.script("files.getUploadURLExternal", *[SlackReply(text=place, json=True)] * 2)
    channel = a_slack_channel(slack.url)

    [result] = await channel.send(a_message(), ["C0123456789"])
    await channel.aclose()

    assert isinstance(result.outcome, Sent)  # without its pictures
    assert slack.calls.count("files.getUploadURLExternal") == 2
    assert canary.connections == 0


async def test_a_connection_is_used_again_whoever_made_it(receiver: WebhookReceiver) -> None:
    dials = 0

    async def counting(host: str, port: int) -> list[str]:
        nonlocal dials
        dials += 1
        return ["127.0.0.1"]

    policy = OutboundPolicy(["hooks.example.com"])
    url = f"http://hooks.example.com:{receiver.port}/"
    async with outbound_client(policy, resolver=counting) as client:
        channel = a_webhook_channel(policy=policy, client=client)
        for _ in range(5):
            await channel.send(a_message(), [url])
            await client.post(url, content=b"x")

    assert dials == 1
    assert len(receiver.requests) == 10
