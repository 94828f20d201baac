"""HTTP on the way out: one client for the whole product, and what an answer means for a delivery.

2xx is sent; 408, 425, 429, 5xx and network trouble are worth another attempt; every other answer is final. 410 means
that the target is gone; 403 and 404 mean it only when they last, because a proxy or a deployment may say them for an
hour. Redirects are never followed: the address that was checked is the one that counts.
Sources: RFC 9110 (statuses, section 15; Retry-After, section 10.2.3), RFC 6585 (429), RFC 8470 (425).
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from channels.base import Outcome, PermanentFailure, Sent, TransientFailure
from channels.dialling import BlockedDial, CheckedTransport, Resolver, certificate_problem, resolve, tls_context
from channels.outbound import OutboundPolicy

CONNECT_LIMIT = 5.0
TOTAL_LIMIT = 30.0
ANSWER_LIMIT = 64 * 1024  # enough to keep a connection reusable; nothing in an answer's body matters to us

WORTH_ANOTHER_ATTEMPT = frozenset({408, 425, 429})
GONE_AFTER = {410: 1, 403: 3, 404: 3}
"""So many deliveries in a row have to be answered like this before the target counts as gone."""

RENAMED = {413: "Content Too Large", 422: "Unprocessable Content"}  # by RFC 9110; Python follows from 3.13 on

LONGEST_WISH = timedelta(days=365)  # what a larger Retry-After is read as; the scheduler clamps it anyway


def system_clock() -> datetime:
    """The default clock of channels that stamp their attempts; the composition root passes its own."""
    return datetime.now(UTC)  # noqa: TID251 - channels import nothing from scheduler, where the product's clock is


def outbound_client(
    policy: OutboundPolicy,
    *,
    resolver: Resolver = resolve,
    tls: ssl.SSLContext | None = None,
    connect: float = CONNECT_LIMIT,
    total: float = TOTAL_LIMIT,
    connections: int = 100,
) -> httpx.AsyncClient:
    """The client for every outgoing request: policy at each dial, no redirects, no proxies or netrc from outside.

    A refused dial raises :class:`~channels.dialling.BlockedDial`, an :class:`httpx.ConnectError`. ``total`` bounds
    each single read and write; :func:`hand_over` bounds the whole exchange. The libraries' own request logs are off.
    """
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)  # below it they log whole URLs, and those are secrets
    transport = CheckedTransport(policy, resolver=resolver, tls=tls or tls_context(), connections=connections)
    return httpx.AsyncClient(
        transport=transport,
        timeout=httpx.Timeout(total, connect=connect),
        follow_redirects=False,
        trust_env=False,
    )


async def hand_over(
    client: httpx.AsyncClient,
    request: httpx.Request,
    *,
    now: datetime,
    total: float = TOTAL_LIMIT,
    answer_limit: int = ANSWER_LIMIT,
) -> Outcome:
    """Send one request; the status line decides, whatever happens to the answer's body afterwards.

    ``total`` bounds everything from the dial to the last byte read. At most ``answer_limit`` bytes are read, as they
    come over the wire: a compressed answer is never unpacked.
    """
    handed_over = False
    outcome: Outcome | None = None

    async def watch(event: str, _: Mapping[str, Any]) -> None:
        nonlocal handed_over
        handed_over = handed_over or event == "http11.send_request_headers.started"

    request.extensions = {**request.extensions, "trace": watch}
    try:
        async with asyncio.timeout(total):
            response = await client.send(request, stream=True, follow_redirects=False)
            outcome = outcome_of(response.status_code, response.headers, now=now)
            await _discard(response, answer_limit)
    except (TimeoutError, OSError, httpx.HTTPError, httpx.StreamError) as error:
        return outcome or failure_of(error, handed_over=handed_over)
    return outcome


async def _discard(response: httpx.Response, limit: int) -> None:
    read = 0
    try:
        async for chunk in response.aiter_raw():
            read += len(chunk)
            if read >= limit:
                break
    finally:
        await response.aclose()


def outcome_of(status: int, headers: Mapping[str, str], *, now: datetime) -> Outcome:
    """What an HTTP status means for a delivery."""
    if 200 <= status < 300:
        return Sent()
    if status in WORTH_ANOTHER_ATTEMPT or status >= 500:
        wish = retry_after(headers.get("retry-after"), now=now)
        return TransientFailure(f"The receiver answered {_named(status)}.", retry_after=wish)
    if (gone_after := GONE_AFTER.get(status)) is not None:
        meaning = "the target is gone" if gone_after == 1 else "check the URL"
        reason = f"The receiver answered {_named(status)}: {meaning}."
        return PermanentFailure(reason, target_gone=True, gone_after=gone_after)
    if 300 <= status < 400:
        return PermanentFailure(f"The receiver answered {_named(status)}; redirects are not followed: use its new URL.")
    return PermanentFailure(f"The receiver refused the request: {_named(status)}.")


def failure_of(error: Exception, *, handed_over: bool) -> TransientFailure | PermanentFailure:
    """What a failed exchange means. ``handed_over``: the request was on its way, so it may have been accepted."""
    if isinstance(error, BlockedDial):
        return PermanentFailure(str(error))
    too_late = isinstance(error, TimeoutError | httpx.TimeoutException)
    in_time = " in time" if too_late else ""
    if handed_over:
        return TransientFailure(f"The receiver took the request but did not answer{in_time}.", uncertain=True)
    known = None if too_late else _why_unreachable(error)
    return TransientFailure(known or f"The receiver could not be reached{in_time}.")


def _why_unreachable(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"The receiver's certificate is not valid: {certificate_problem(error)}."
        if isinstance(error, ssl.SSLError):
            return "No secure connection: the receiver does not speak TLS as it should."
        if isinstance(error, socket.gaierror):
            return "The host name could not be resolved; check the URL if this lasts."
        error = error.__cause__ or error.__context__
    return None


def retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """``Retry-After`` as seconds or as an HTTP date; None for a wish in the past and for anything unreadable."""
    value = (value or "").strip()
    if re.fullmatch(r"[0-9]+", value):
        seconds = value.lstrip("0") or "0"
        return min(timedelta(seconds=int(seconds)), LONGEST_WISH) if len(seconds) < 10 else LONGEST_WISH
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the latter: +99999999999999999999 as its zone
        return None
    wish = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return wish if wish >= timedelta(0) else None


def _named(status: int) -> str:
    try:
        return f"{status} {RENAMED.get(status) or HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
