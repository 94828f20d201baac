"""Webhooks, received and verified by somebody else's code."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from pathlib import Path

import jsonschema
import pytest
from standardwebhooks import Webhook

from channels.base import Entry, Message, PermanentFailure, Sent, TransientFailure, system_clock
from channels.outbound import OutboundPolicy
from channels.outbound_http import outbound_client
from channels.receivers import Reply, WebhookReceiver
from channels.urls import masked
from channels.webhook import WebhookChannel
from tests.channels.benches import SECRET, a_webhook_channel
from tests.channels.conftest import SENT_AT, Certificates, a_message, served

SCHEMA = json.loads((Path(__file__).parents[2] / "templates" / "webhook" / "payload.schema.json").read_text())
OLD_SECRET = "whsec_" + base64.b64encode(b"the secret before the rotation").decode()


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(secret=SECRET) as receiver:
        yield receiver


@pytest.fixture
async def channel() -> AsyncIterator[WebhookChannel]:
    channel = a_webhook_channel()
    yield channel
    await channel.aclose()


async def post(channel: WebhookChannel, url: str, message: Message | None = None) -> object:
    [result] = await channel.send(message or a_message(), [url])
    return result.outcome


async def test_the_payload_arrives_signed_and_verifies(receiver: WebhookReceiver, channel: WebhookChannel) -> None:
    message = a_message(data=SCHEMA["examples"][0])

    assert await post(channel, receiver.url, message) == Sent()

    [request] = receiver.requests
    jsonschema.validate(request.data, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert request.data == SCHEMA["examples"][0]
    assert request.verified
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Paperround/")
    assert request.headers["webhook-id"] == f"msg_{message.identity(receiver.url)}"


async def test_the_payload_is_compact_and_in_the_letters_it_was_written_in(
    receiver: WebhookReceiver, channel: WebhookChannel
) -> None:
    await post(channel, receiver.url, a_message(data={"name": "Größe", "n": [1, None, 2.5]}))

    assert receiver.requests[0].body == '{"name":"Größe","n":[1,null,2.5]}'.encode()


@pytest.mark.parametrize("entries", [0, 1, 2])
async def test_what_many_payloads_carry_is_written_once_and_reads_the_same(
    receiver: WebhookReceiver, channel: WebhookChannel, entries: int
) -> None:
    example = SCHEMA["examples"][0]
    carried = [Entry(example["insights"][0], name=f"Größe {number}") for number in range(entries)]
    plain = json.loads(json.dumps({**example, "insights": carried}))

    await post(channel, receiver.url, a_message(data={**example, "insights": carried}))
    await post(channel, receiver.url, a_message(data=plain))

    shared, whole = receiver.requests
    assert shared.body == whole.body == json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
async def test_the_timestamp_is_the_attempts_time_whatever_its_zone(receiver: WebhookReceiver, zone: timezone) -> None:
    now = system_clock()
    channel = a_webhook_channel(clock=lambda: now.astimezone(zone))

    await post(channel, receiver.url)
    await channel.aclose()

    [request] = receiver.requests
    assert request.headers["webhook-timestamp"] == str(int(now.timestamp()))
    assert request.verified


async def test_an_old_and_a_new_secret_both_verify(receiver: WebhookReceiver) -> None:
    channel = a_webhook_channel(secrets=[SECRET, OLD_SECRET])

    await post(channel, receiver.url)
    await channel.aclose()

    [request] = receiver.requests
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify(request.body, dict(request.headers))


async def test_without_a_secret_there_is_no_signature() -> None:
    async with WebhookReceiver() as receiver:
        channel = a_webhook_channel(secrets=[])
        await post(channel, receiver.url)
        await channel.aclose()

    assert "webhook-signature" not in receiver.requests[0].headers


@pytest.mark.parametrize("secret", ["whsec_", "", "whsec_not base64 but a sentence"])
def test_a_secret_that_cannot_sign_is_refused_at_once(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret is base64"):
        a_webhook_channel(secrets=[secret])


async def test_a_redirect_is_not_followed(receiver: WebhookReceiver, channel: WebhookChannel) -> None:
    async with WebhookReceiver() as elsewhere:
        receiver.script(Reply(307, {"Location": elsewhere.url}))
        outcome = await post(channel, receiver.url)

    assert isinstance(outcome, PermanentFailure)
    assert "307" in outcome.reason
    assert elsewhere.requests == []


async def test_the_receivers_wish_is_passed_on(receiver: WebhookReceiver) -> None:
    receiver.script(Reply(429, {"Retry-After": "Sun, 14 Mar 2027 07:35:00 GMT"}))
    channel = a_webhook_channel(clock=lambda: SENT_AT)

    outcome = await post(channel, receiver.url)
    await channel.aclose()

    assert outcome == TransientFailure("The receiver answered 429 Too Many Requests.", retry_after=timedelta(minutes=5))


async def test_a_connection_cut_after_the_request_is_uncertain(
    receiver: WebhookReceiver, channel: WebhookChannel
) -> None:
    receiver.script(Reply(reset=True))

    assert await post(channel, receiver.url) == TransientFailure(
        "The receiver took the request but did not answer.", uncertain=True
    )


async def test_a_receiver_that_never_answers_is_uncertain_in_the_end(receiver: WebhookReceiver) -> None:
    receiver.script(Reply(delay=30))
    channel = a_webhook_channel(total=0.5)

    outcome = await post(channel, receiver.url)
    await channel.aclose()

    assert outcome == TransientFailure("The receiver took the request but did not answer in time.", uncertain=True)


async def test_headers_that_drip_are_ended_by_the_total_limit(message: Message) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with served(drip) as port:
        channel = a_webhook_channel(total=0.5)
        outcome = await post(channel, f"http://127.0.0.1:{port}/")
        await channel.aclose()

    assert isinstance(outcome, TransientFailure)
    assert outcome.uncertain


async def test_a_head_as_long_as_a_book_is_no_answer(channel: WebhookChannel) -> None:
    async def long(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"X-Book: " + b"a" * 15_000 + b"\r\n") * 200 + b"\r\n")

    async with served(long) as port:
        outcome = await post(channel, f"http://127.0.0.1:{port}/")

    assert outcome == TransientFailure("The receiver took the request but did not answer.", uncertain=True)


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Page: " + b"a" * 1000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Book: ", b"a" * 1000),
        (b"HTTP/1.1 200 O", b"K" * 1000),
    ],
    ids=["lines", "one line", "the first line"],
)
async def test_a_head_without_end_is_left_at_once(channel: WebhookChannel, begin: bytes, more: bytes) -> None:
    left = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begin)
        with suppress(ConnectionError):
            while not left.is_set():
                writer.write(more)
                await writer.drain()
        left.set()

    async with served(endless) as port, asyncio.timeout(5):
        outcome = await post(channel, f"http://127.0.0.1:{port}/")
        await left.wait()

    assert outcome == TransientFailure("The receiver took the request but did not answer.", uncertain=True)


async def test_a_body_that_drips_is_cut_short_and_the_status_counts(receiver: WebhookReceiver) -> None:
    receiver.script(Reply(200, body=b"a" * 10_000, drip=0.01), Reply(503, body=b"a" * 10_000, drip=0.01))
    channel = a_webhook_channel(total=0.5)

    accepted, busy = await post(channel, receiver.url), await post(channel, receiver.url)
    await channel.aclose()

    assert accepted == Sent()
    assert isinstance(busy, TransientFailure)
    assert not busy.uncertain


async def test_no_more_of_an_answer_is_read_than_a_little(channel: WebhookChannel) -> None:
    taken = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"a" * 65536)
            await writer.drain()
            taken += 65536

    async with served(endless) as port:
        outcome = await post(channel, f"http://127.0.0.1:{port}/")

    assert outcome == Sent()
    assert taken < 50_000_000  # what fits into the sockets' buffers, not the billion


async def test_a_compressed_answer_is_not_unpacked(receiver: WebhookReceiver, channel: WebhookChannel) -> None:
    receiver.script(Reply(200, {"Content-Encoding": "gzip"}, body=gzip.compress(bytes(100_000_000))))

    tracemalloc.start()
    outcome = await post(channel, receiver.url)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert outcome == Sent()
    assert receiver.requests[0].headers["accept-encoding"] == "identity"
    assert peak < 20_000_000


async def test_an_answer_that_is_no_http_is_uncertain(channel: WebhookChannel) -> None:
    async def gopher(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"iWelcome\r\n.\r\n")

    async with served(gopher) as port:
        outcome = await post(channel, f"http://127.0.0.1:{port}/")

    assert isinstance(outcome, TransientFailure)
    assert outcome.uncertain


async def test_a_certificate_that_does_not_check_out_is_named(certificates: Certificates) -> None:
    async with WebhookReceiver(tls=certificates.server) as receiver:
        channel = a_webhook_channel()
        outcome = await post(channel, receiver.url)
        await channel.aclose()

    assert outcome == TransientFailure(
        "The receiver's certificate is not valid: it is signed by an authority that is not trusted here."
    )
    assert receiver.requests == []


async def test_https_goes_through(certificates: Certificates) -> None:
    policy = OutboundPolicy(["127.0.0.1"])
    async with (
        WebhookReceiver(tls=certificates.server, secret=SECRET) as receiver,
        outbound_client(policy, tls=certificates.trusting) as client,
    ):
        outcome = await post(a_webhook_channel(client=client), receiver.url)

    assert outcome == Sent()


async def test_a_name_nobody_knows_is_transient(message: Message) -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    policy = OutboundPolicy()
    async with outbound_client(policy, resolver=unknown) as client:
        outcome = await post(a_webhook_channel(policy=policy, client=client), "https://hooks.example.com/x")

    assert outcome == TransientFailure("The host name could not be resolved; check the URL if this lasts.")


async def test_a_blocked_dial_is_final_and_says_how_to_allow_it(receiver: WebhookReceiver) -> None:
    async def inside(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    policy = OutboundPolicy()
    async with outbound_client(policy, resolver=inside) as client:
        url = f"https://hooks.example.com:{receiver.port}/"
        outcome = await post(a_webhook_channel(policy=policy, client=client), url)

    assert isinstance(outcome, PermanentFailure)
    assert "PAPERROUND_ALLOW_HOSTS" in outcome.reason
    assert receiver.requests == []


async def test_what_is_no_longer_allowed_is_no_longer_sent_to(receiver: WebhookReceiver) -> None:
    channel = a_webhook_channel(policy=OutboundPolicy())

    outcome = await post(channel, receiver.url)
    await channel.aclose()

    assert isinstance(outcome, PermanentFailure)
    assert receiver.requests == []


async def test_connections_are_reused_and_side_by_side_is_fine(
    receiver: WebhookReceiver, channel: WebhookChannel, message: Message
) -> None:
    messages = [replace(message, id=f"delivery-{n}") for n in range(20)]

    await asyncio.gather(*(channel.send(message, [receiver.url]) for message in messages))

    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 20


async def test_the_url_stays_out_of_every_log(
    receiver: WebhookReceiver, channel: WebhookChannel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    await post(channel, f"{receiver.url}?token=letmein")

    assert len(receiver.requests) == 1
    assert "letmein" not in caplog.text
    assert "hooks/paperround" not in caplog.text


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("https://hooks.example.com/services/T0/B0/secret?token=x", "hooks.example.com"),
        ("https://hooks.example.com:8443/secret", "hooks.example.com"),
        ("http://[::1]:8080/secret", "::1"),
        ("https://user:secret@hooks.example.com/", "webhook"),
        ("not a url: secret", "webhook"),
    ],
)
def test_people_see_only_the_host(target: str, shown: str) -> None:
    assert masked(target) == shown


def test_the_schema_is_valid_and_each_of_its_fields_is_described_with_an_example() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    undescribed = [name for name, field in _fields(SCHEMA) if "description" not in field]

    assert undescribed == []
    assert SCHEMA["$id"] == "urn:paperround:webhook:1"


@pytest.mark.parametrize("change", [{"version": 2}, {"event": "other"}, {"insights": None}, {"delivery": {}}])
def test_the_schema_refuses_what_is_not_its_version(change: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(SCHEMA["examples"][0] | change, SCHEMA, cls=jsonschema.Draft202012Validator)


def _fields(schema: dict[str, object]) -> list[tuple[str, dict[str, object]]]:
    found = []
    for part in (schema, *schema.get("$defs", {}).values()):  # type: ignore[attr-defined]
        for name, field in part.get("properties", {}).items():
            found.extend([(name, field), *_fields(field)])
    return found
