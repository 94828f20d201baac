"""Handing one request over, and what the answer to it, or none, means for a delivery.

2xx is sent; 408, 425, 429, 5xx and network trouble are worth another attempt; every other answer is final. 410 means
that the target is gone; 403 and 404 mean it only when they last, because a proxy or a deployment may say them for an
hour. Redirects are never followed.
Sources: RFC 9110 (statuses, section 15; Retry-After, section 10.2.3), RFC 6585 (429), RFC 8470 (425).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from channels.base import Outcome, PermanentFailure, Sent, TransientFailure
from channels.dialling import BlockedDial
from channels.outbound_http import TOTAL_LIMIT, OutboundSession
from channels.tls import certificate_problem

ANSWER_LIMIT = 64 * 1024  # enough to keep a connection reusable; nothing in an answer's body matters to us

WORTH_ANOTHER_ATTEMPT = frozenset({408, 425, 429})
GONE_AFTER = {410: 1, 403: 3, 404: 3}
"""So many deliveries in a row have to be answered like this before the target counts as gone."""

RENAMED = {413: "Content Too Large", 422: "Unprocessable Content"}  # by RFC 9110; Python follows from 3.13 on

LONGEST_WISH = timedelta(days=365)  # what a larger Retry-After is read as; the scheduler clamps it anyway

NO_LIMIT_OF_ITS_OWN = aiohttp.ClientTimeout()


async def hand_over(
    outbound: OutboundSession,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    now: datetime,
    total: float = TOTAL_LIMIT,
    answer_limit: int = ANSWER_LIMIT,
) -> Outcome:
    """Post once; the status line decides, whatever happens to the answer's body afterwards.

    ``total`` bounds everything from the dial to the last byte read, in seconds. About ``answer_limit`` bytes are read,
    as they come over the wire: a compressed answer is never unpacked.
    """
    payload = _Body(body)
    outcome: Outcome | None = None
    try:
        async with asyncio.timeout(total):
            answer = await outbound.request("POST", url, data=payload, headers=headers, timeout=NO_LIMIT_OF_ITS_OWN)
            outcome = outcome_of(answer.status, answer.headers, now=now)
            await _discard(answer, answer_limit)
    except (TimeoutError, OSError, aiohttp.ClientError, BlockedDial) as error:
        return outcome or failure_of(error, handed_over=payload.on_its_way)
    return outcome


class _Body(aiohttp.Payload):
    """Bytes that know whether they were ever given to a connection; the request's head goes with them."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)
        self.on_its_way = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.on_its_way = True
        await writer.write(self._value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)


async def _discard(answer: aiohttp.ClientResponse, limit: int) -> None:
    """Read it, so that the connection can be used again; of a longer one no more, and then it cannot."""
    read = 0
    try:
        async for chunk in answer.content.iter_any():
            read += len(chunk)
            if read >= limit:
                break
    finally:
        answer.release()


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
    too_late = isinstance(error, TimeoutError)
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
