"""Every hostile URL we know of, on real sockets: a canary on this machine must see not one connection."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from channels.base import PermanentFailure, Sent, TargetError, TransientFailure
from channels.dialling import BlockedDial, CheckedConnector
from channels.outbound import ALLOW_HINT, OutboundPolicy
from channels.outbound_http import outbound_client
from channels.urls import parse_url
from tests.channels.benches import a_webhook_channel
from tests.channels.conftest import Canary, Certificates, a_message

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = [
    case
    for name in ("outbound_urls", "hostile_urls")
    for case in json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))["cases"]
]
ANSWERS = {
    "localhost": ["127.0.0.1", "::1"],
    "mixed.example.com": ["8.8.8.8", "127.0.0.1"],
    "meta.example.com": ["169.254.169.254"],
    "nat64.example.com": ["64:ff9b::7f00:1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "empty.example.com": [],
    **{
        parse_url(case["url"].replace("{port}", "1")).host: case["resolves_to"]
        for case in CASES
        if "resolves_to" in case
    },
}
"""What the names of outbound_urls.json resolve to, and those of hostile_urls.json, which say it themselves."""

TOO_LONG = "https://example.com/aaa"
"""Stands in the vectors for a URL that is too long; a hundred letters are not, so it is made so here."""


def urls(canary: Canary, *, refused_when: str = "") -> list[str]:
    """The vectors' URLs, with the canary's port where they name one."""
    chosen = [case["url"] for case in CASES if not refused_when or case["refused_when"] == refused_when]
    at_the_canary = [url.replace("{port}", str(canary.port)).replace(":18080", f":{canary.port}") for url in chosen]
    return [url + "a" * 2048 if url.startswith(TOO_LONG) else url for url in at_the_canary]


def over_https(url: str) -> str:
    return url.replace("http://", "https://", 1)


async def local_resolver(host: str, port: int) -> Sequence[str]:
    """The vectors' names, and addresses in all the spellings that the C library reads; asks nobody else."""
    if host in ANSWERS:
        return ANSWERS[host]
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(answer[4][0]) for answer in answers]


def test_there_are_at_least_as_many_of_our_own_as_were_given() -> None:
    own = [case for case in CASES if "{port}" in case["url"]]

    assert len(own) > len(CASES) / 2


async def test_what_can_be_told_from_the_url_is_refused_when_it_is_saved(canary: Canary) -> None:
    hostile = urls(canary, refused_when="saved")
    channel = a_webhook_channel(policy=OutboundPolicy())

    saved = [url for url in {*hostile, *map(over_https, hostile)} if await _may_be_saved(channel, url)]
    await channel.aclose()

    assert saved == []


async def test_what_only_the_resolver_can_tell_is_saved_and_blocked_when_it_is_dialled(canary: Canary) -> None:
    policy = OutboundPolicy()
    async with outbound_client(policy, resolver=local_resolver) as client:
        channel = a_webhook_channel(policy=policy, client=client)
        targets = [over_https(url) for url in urls(canary, refused_when="dialled")]
        recipients = [recipient for target in targets for recipient in channel.recipients(target)]
        results = await channel.send(a_message(), recipients)

    assert len(results) == len(targets) > 40
    for result in results:
        match result.outcome:
            case PermanentFailure(reason=reason):
                assert reason == f"The host leads to an address that is not public. {ALLOW_HINT}"
            case TransientFailure(reason=reason, uncertain=uncertain):  # a name without an address
                assert (reason.partition(";")[0], uncertain) == ("The host name could not be resolved", False)
            case Sent():
                pytest.fail(f"{result.recipient} was sent to")
    assert canary.connections == 0


async def test_a_request_that_nobody_checked_before_does_not_get_out_either(canary: Canary) -> None:
    got_out = []
    async with outbound_client(OutboundPolicy(), resolver=local_resolver) as client:
        for url in urls(canary):
            for spelling in (url, over_https(url)):
                with suppress(httpx.TransportError, httpx.InvalidURL, ValueError):
                    await client.post(spelling, content=b"x")
                    got_out.append(spelling)

    assert got_out == []
    assert canary.connections == 0


@pytest.mark.parametrize("allowed", [False, True])
async def test_the_dial_alone_blocks_them_whatever_was_asked_of_it(
    allowed: bool, canary: Canary, certificates: Certificates
) -> None:
    """Below the check of the URL; where the operator allows this machine, the canary is reached, so it is not deaf."""
    policy = OutboundPolicy(["0.0.0.0/8", "127.0.0.0/8"] if allowed else [])
    connector = CheckedConnector(policy, resolver=local_resolver, tls=certificates.strict, connect=0.1, connections=10)
    async with aiohttp.ClientSession(connector=connector) as session:
        for url in urls(canary):
            with suppress(aiohttp.ClientError, BlockedDial, ValueError, TimeoutError):
                async with session.get(url, allow_redirects=False, proxy=None, ssl=False):
                    pass

    assert (canary.connections > 20) if allowed else (canary.connections == 0)


async def test_a_name_that_is_public_when_saved_and_private_when_sent_is_blocked_when_sent(canary: Canary) -> None:
    answers = iter([["8.8.8.8"], ["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"]])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return next(answers)

    policy = OutboundPolicy()
    async with outbound_client(policy, resolver=rebinding) as client:
        channel = a_webhook_channel(policy=policy, client=client)
        [recipient] = channel.recipients(f"https://rebinding.example.com:{canary.port}/")
        assert policy.check_addresses("rebinding.example.com", await rebinding("rebinding.example.com", canary.port))
        outcomes = [(await channel.send(a_message(), [recipient]))[0].outcome for _ in range(3)]

    assert outcomes == [PermanentFailure(f"The host leads to an address that is not public. {ALLOW_HINT}")] * 3
    assert canary.connections == 0


async def _may_be_saved(channel: Any, url: str) -> bool:
    try:
        return bool(channel.recipients(url))
    except TargetError:
        return False
