"""The dial itself: a resolver that lies, and a canary on loopback that must see nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from channels.dialling import BlockedDial, Resolver, resolve
from channels.outbound import OutboundPolicy
from channels.outbound_http import outbound_client
from channels.receivers import WebhookReceiver
from tests.channels.conftest import Certificates

# What the vectors' names resolve to
ANSWERS = {
    "mixed.example.com": ["8.8.8.8", "127.0.0.1"],
    "meta.example.com": ["169.254.169.254"],
    "nat64.example.com": ["64:ff9b::7f00:1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "empty.example.com": [],
}


@pytest.fixture
async def canary() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as canary:
        yield canary


def answering(*answers: str) -> Resolver:
    async def resolver(host: str, port: int) -> list[str]:
        return list(answers)

    return resolver


@pytest.mark.parametrize("host", ANSWERS)
async def test_a_name_that_leads_inside_is_not_dialled(host: str, canary: WebhookReceiver) -> None:
    client = outbound_client(OutboundPolicy(), resolver=answering(*ANSWERS[host]))
    async with client:
        with pytest.raises(httpx.ConnectError) as refused:
            await client.post(f"https://{host}:{canary.port}/", content=b"x")

    assert canary.requests == []
    assert isinstance(refused.value, BlockedDial) == bool(ANSWERS[host])
    assert "PAPERROUND_ALLOW_HOSTS" in str(refused.value) or not ANSWERS[host]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "[::ffff:127.0.0.1]", "[::1]", "0"])
async def test_a_url_that_was_never_checked_is_refused_at_the_dial(host: str, canary: WebhookReceiver) -> None:
    async with outbound_client(OutboundPolicy()) as client:
        with pytest.raises(BlockedDial):
            await client.get(f"http://{host}:{canary.port}/")

    assert canary.requests == []


async def test_a_name_is_resolved_once_and_the_checked_address_is_the_one_dialled(canary: WebhookReceiver) -> None:
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

    policy = OutboundPolicy(["127.0.0.0/8", "hooks.example.com"])
    async with outbound_client(policy, resolver=rebinding) as client:
        await client.post(f"http://hooks.example.com:{canary.port}/x", content=b"x")

    assert asked == ["hooks.example.com"]
    assert [request.headers["host"] for request in canary.requests] == [f"hooks.example.com:{canary.port}"]


async def test_the_second_address_is_tried_when_the_first_does_not_answer(canary: WebhookReceiver) -> None:
    policy = OutboundPolicy(["127.0.0.0/8", "::1", "hooks.example.com"])
    async with outbound_client(policy, resolver=answering("::1", "127.0.0.1")) as client:
        answer = await client.post(f"http://hooks.example.com:{canary.port}/", content=b"x")

    assert answer.status_code == 204


async def test_an_address_that_says_nothing_does_not_hold_up_the_next(canary: WebhookReceiver) -> None:
    policy = OutboundPolicy(["hooks.example.com"])
    with silent("127.0.0.2", canary.port):
        async with outbound_client(policy, resolver=answering("127.0.0.2", "127.0.0.1"), connect=3) as client:
            answer = await client.post(f"http://hooks.example.com:{canary.port}/", content=b"x")

    assert answer.status_code == 204


@contextmanager
def silent(host: str, port: int) -> Iterator[None]:
    """Its queue is full, so that the kernel answers nothing at all (listen(2))."""
    with socket.socket() as taken, socket.socket() as first, socket.socket() as second:
        taken.bind((host, port))
        taken.listen(0)
        for caller in (first, second):
            caller.setblocking(False)
            caller.connect_ex((host, port))
        yield


async def test_tls_is_checked_against_the_name_and_not_the_address(certificates: Certificates) -> None:
    policy = OutboundPolicy(["127.0.0.0/8"])
    async with WebhookReceiver(tls=certificates.server) as receiver:
        client = outbound_client(policy, resolver=answering("127.0.0.1"), tls=certificates.trusting)
        async with client:
            answer = await client.post(f"https://hooks.example.com:{receiver.port}/", content=b"x")
            with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
                await client.post(f"https://other.example.com:{receiver.port}/", content=b"x")

    assert answer.status_code == 204
    assert len(receiver.requests) == 1


async def test_a_resolver_that_takes_too_long_is_a_connect_timeout() -> None:
    async def slow(host: str, port: int) -> list[str]:
        await asyncio.sleep(30)
        return []

    async with outbound_client(OutboundPolicy(), resolver=slow, connect=0.05) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get("https://hooks.example.com/")


async def test_slow_names_hold_up_neither_another_name_nor_who_else_needs_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow_are_told = threading.Event()
    asked = socket.getaddrinfo

    def answer(host: str, *rest: Any, **named: Any) -> Any:
        if host.startswith("slow"):
            slow_are_told.wait()
            host = "127.0.0.2"
        return asked(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    slow = [asyncio.create_task(resolve(f"slow{number}.example.com", 443)) for number in range(100)]
    await asyncio.sleep(0)  # they are asked first
    try:
        async with asyncio.timeout(10):
            assert await resolve("127.0.0.1", 443) == ["127.0.0.1"]
            assert await asyncio.to_thread(len, slow) == 100
    finally:
        slow_are_told.set()

    assert await asyncio.gather(*slow) == [["127.0.0.2"]] * 100


async def test_the_systems_resolver_gives_each_address_once() -> None:
    assert await resolve("127.0.0.1", 80) == ["127.0.0.1"]
