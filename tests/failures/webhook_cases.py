"""What a webhook's receiver may do, and the row it ends in."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from channels.base import system_clock
from channels.dialling import Resolver, resolve
from channels.outbound import OutboundPolicy
from channels.outbound_http import CONNECT_LIMIT, TOTAL_LIMIT, outbound_client
from channels.receivers import Reply, WebhookReceiver
from channels.webhook import WebhookChannel
from scheduler.status import DeliveryStatus, RecipientStatus
from tests.channels.conftest import Handler, served
from tests.failures.case import Arrangement, Bench, Case
from tests.scheduler.conftest import settle

SENT, FAILED = RecipientStatus.SENT, RecipientStatus.FAILED
RETRYING, UNCERTAIN = RecipientStatus.RETRYING, RecipientStatus.UNCERTAIN

FIRST_PAUSE = timedelta(seconds=5)
NO_ANSWER = "The receiver took the request but did not answer."
NO_ANSWER_IN_TIME = "The receiver took the request but did not answer in time."
MIB = 1024 * 1024
AT_NOON = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
"""When the first attempt is made, by the clock that the bench tells."""


# ── arranging ────────────────────────────────────────────────────────────────────────────────────────────────────────


def lead_to(bench: Bench, url: str) -> None:
    """Subscribe this URL instead; its query is a secret that nobody may ever see."""
    bench.targets["webhook"] = {"target_value": f"{url}?token=letmein"}


async def use_channel(
    bench: Bench,
    *,
    total: float = TOTAL_LIMIT,
    connect: float = CONNECT_LIMIT,
    tls: ssl.SSLContext | None = None,
    resolver: Resolver = resolve,
    clock: Callable[[], datetime] = system_clock,
    allowed: Sequence[str] = ("127.0.0.1", "localhost"),
) -> None:
    """The product's channel and client, but with limits that a test can wait for, or trust in its own authority."""
    policy = OutboundPolicy(allowed)
    client = await bench.open(outbound_client(policy, tls=tls, resolver=resolver, connect=connect))

    def make(*, token: str | None, secrets: Sequence[str]) -> WebhookChannel:
        return WebhookChannel(policy=policy, secrets=secrets, client=client, total=total, clock=clock)

    bench.channels.instead["webhook"] = make


def answers(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Arrangement:
    def arrange(bench: Bench) -> None:
        bench.webhook.script(Reply(status, headers or {}, body))

    return arrange


def raw(handler: Handler, **limits: Any) -> Arrangement:
    """A server of a few lines; over the registry's own channel unless limits are given."""

    async def arrange(bench: Bench) -> None:
        lead_to(bench, f"http://127.0.0.1:{await bench.open(served(handler))}/hooks")
        if limits:
            await use_channel(bench, **limits)

    return arrange


# ── statuses ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def answers_any_2xx(bench: Bench) -> None:
    bench.targets["webhook"] |= {"catch_up": "all", "catch_up_hours": 24 * 100}
    bench.webhook.script(*(Reply(status) for status in range(200, 300)))


async def each_of_them_is_sent(bench: Bench) -> None:
    """The first occurrence was answered 200; ninety-nine more come due at once, one a status."""
    bench.world.clock.advance(days=99)
    await settle(bench.world.runner())

    assert await bench.world.statuses() == [DeliveryStatus.COMPLETED] * 100
    assert len(bench.webhook.requests) == 100


def redirects(status: int) -> Case:
    async def arrange(bench: Bench) -> None:
        bench.kept["next hop"] = await bench.open(WebhookReceiver())
        bench.webhook.script(Reply(status, {"Location": bench.kept["next hop"].url}))

    def also(bench: Bench) -> None:
        assert len(bench.webhook.requests) == 1
        assert bench.kept["next hop"].requests == []

    reason = f"The receiver answered {_phrase(status)}; redirects are not followed: use its new URL."
    return Case(f"{status} to elsewhere", arrange, FAILED, reason, note="the next hop is not dialled", also=also)


def refuses(status: int) -> Case:
    return Case(str(status), answers(status), FAILED, f"The receiver refused the request: {_phrase(status)}.")


async def asks_for_another_secret(bench: Bench) -> None:
    lead_to(bench, (await bench.open(WebhookReceiver(secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))).url)


def says_gone_at_last(status: int) -> Case:
    reason = f"The receiver answered {_phrase(status)}: check the URL."
    note = "three deliveries in a row that end like this disable the subscription"
    return Case(str(status), answers(status), FAILED, reason, note=note)


def is_busy(status: int) -> Case:
    return Case(str(status), answers(status), RETRYING, f"The receiver answered {_phrase(status)}.", FIRST_PAUSE)


def wishes(wish: str, value: str, again: float, note: str = "", *, status: int = 429) -> Case:
    async def arrange(bench: Bench) -> None:
        await use_channel(bench, clock=bench.world.clock)  # so that a date in the header is a date in this world
        bench.webhook.script(Reply(status, {"Retry-After": value}))

    name = f"{status} with Retry-After: {wish}"
    reason = f"The receiver answered {_phrase(status)}."
    return Case(name, arrange, RETRYING, reason, timedelta(seconds=again), note=note)


def _date(**later: float) -> str:
    return format_datetime(AT_NOON + timedelta(**later), usegmt=True)


def _phrase(status: int) -> str:
    """What people call it. Source: the IANA HTTP Status Code Registry."""
    return f"{status} {_PHRASES[status]}".rstrip()


_PHRASES = {
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    306: "",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    410: "Gone",
    413: "Content Too Large",
    422: "Unprocessable Content",
    425: "Too Early",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    599: "",
}


# ── no connection ────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _taken_port(*, listening: bool) -> Iterator[int]:
    """A port that refuses, or one whose queue is full, so that the kernel answers nothing at all (listen(2))."""
    with socket.socket() as taken, socket.socket() as first, socket.socket() as second:
        taken.bind(("127.0.0.1", 0))
        if listening:
            taken.listen(0)
            for caller in (first, second):
                caller.setblocking(False)
                caller.connect_ex(taken.getsockname())
        yield taken.getsockname()[1]


def nobody_listens(bench: Bench) -> None:
    lead_to(bench, f"http://127.0.0.1:{bench.stack.enter_context(_taken_port(listening=False))}/")


async def nobody_picks_up(bench: Bench) -> None:
    lead_to(bench, f"http://127.0.0.1:{bench.stack.enter_context(_taken_port(listening=True))}/")
    await use_channel(bench, connect=0.3)


def nobody_knows_the_name(bench: Bench) -> None:
    lead_to(bench, "https://hooks.paperround.invalid/")  # never resolves: RFC 6761, 6.4


async def the_name_leads_inside(bench: Bench) -> None:
    async def inside(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    lead_to(bench, f"https://hooks.example.com:{bench.webhook.port}/")
    await use_channel(bench, resolver=inside, allowed=())


def nothing_reached_it(bench: Bench) -> None:
    assert bench.webhook.requests == []


# ── certificates ─────────────────────────────────────────────────────────────────────────────────────────────────────


def shows(certify: Callable[[trustme.CA, ssl.SSLContext], None]) -> Arrangement:
    """A receiver with this certificate, whose authority the channel trusts; it must see no request."""

    async def arrange(bench: Bench) -> None:
        authority = trustme.CA()
        server, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
        authority.configure_trust(trusting)
        certify(authority, server)
        bench.kept["receiver"] = await bench.open(WebhookReceiver(tls=server))
        lead_to(bench, bench.kept["receiver"].url)
        await use_channel(bench, tls=trusting)

    return arrange


def it_saw_no_request(bench: Bench) -> None:
    assert bench.kept["receiver"].requests == []


def expired(authority: trustme.CA, server: ssl.SSLContext) -> None:
    ended = datetime(2020, 1, 1, tzinfo=UTC)
    authority.issue_cert("127.0.0.1", not_before=ended - timedelta(days=9), not_after=ended).configure_cert(server)


def of_another_name(authority: trustme.CA, server: ssl.SSLContext) -> None:
    authority.issue_cert("hooks.example.com").configure_cert(server)


def of_an_unknown_authority(_: trustme.CA, server: ssl.SSLContext) -> None:
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server)


def self_signed(_: trustme.CA, server: ssl.SSLContext) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks")])
    now = system_clock()
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    trustme.LeafCert(secret, certificate.public_bytes(serialization.Encoding.PEM), []).configure_cert(server)


def speaks_no_tls(bench: Bench) -> None:
    lead_to(bench, bench.webhook.url.replace("http://", "https://"))


def tls_case(name: str, certify: Callable[[trustme.CA, ssl.SSLContext], None], problem: str) -> Case:
    reason = f"The receiver's certificate is not valid: {problem}."
    note = "nothing is sent to it"
    return Case(name, shows(certify), RETRYING, reason, FIRST_PAUSE, note=note, also=it_saw_no_request)


# ── answers that are none ────────────────────────────────────────────────────────────────────────────────────────────


async def _request(reader: asyncio.StreamReader) -> None:
    """The whole of it: head, and as much body as it announces."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))


async def never_answers(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await _request(reader)
    await asyncio.Event().wait()


async def never_shakes_hands(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def silent_tls(bench: Bench) -> None:
    lead_to(bench, f"https://127.0.0.1:{await bench.open(served(never_shakes_hands))}/")
    await use_channel(bench, connect=0.3)


def drips(before: bytes) -> Handler:
    """``before`` at once, then a byte every half second: no single read ever takes long."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(before)
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.5)

    return drip


def says(answer: bytes) -> Handler:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(answer)
        await writer.drain()

    return say


async def a_gibibyte(bench: Bench) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1024 * MIB))
        for _ in range(1024 * MIB // 65536):
            writer.write(bytes(65536))
            await writer.drain()
            bench.kept["poured"] += 65536

    bench.kept["poured"] = 0
    lead_to(bench, f"http://127.0.0.1:{await bench.open(served(pour))}/")


def little_of_it_was_read(bench: Bench) -> None:
    assert bench.kept["poured"] < 32 * MIB  # what fits into two sockets' buffers


async def a_gzip_bomb(bench: Bench) -> None:
    bench.webhook.script(Reply(200, {"Content-Encoding": "gzip"}, _bomb()))
    await bench.open(_measured_memory())


@cache
def _bomb() -> bytes:
    """128 MiB of nothing in 128 kB; the first 64 kB that are read would already make 64 MiB."""
    return gzip.compress(bytes(128 * MIB))


@asynccontextmanager
async def _measured_memory() -> AsyncIterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def nothing_was_unpacked(_: Bench) -> None:
    assert tracemalloc.get_traced_memory()[1] < 32 * MIB


# ── the request was read ─────────────────────────────────────────────────────────────────────────────────────────────


def resets(bench: Bench) -> None:
    bench.webhook.script(Reply(reset=True))


async def the_repeat_is_recognised(bench: Bench) -> None:
    again = await bench.try_again(await bench.newest(), later=FIRST_PAUSE)

    first, second = bench.webhook.requests
    assert again.recipients[0].status is SENT
    assert again.recipients[0].attempts == 2
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


CASES = [
    Case(
        "any of 200 to 299",
        answers_any_2xx,
        SENT,
        note="what the answer's body says does not matter",
        also=each_of_them_is_sent,
    ),
    *(redirects(status) for status in range(301, 309)),
    refuses(400),
    Case(
        "401: it checks signatures with another secret",
        asks_for_another_secret,
        FAILED,
        "The receiver refused the request: 401 Unauthorized.",
    ),
    refuses(413),
    refuses(422),
    says_gone_at_last(403),
    says_gone_at_last(404),
    Case("410", answers(410), FAILED, "The receiver answered 410 Gone: the target is gone.", disables=True),
    is_busy(408),
    is_busy(425),
    is_busy(429),
    wishes("seconds, within the limits", "8", 8),
    wishes("a date, within the limits", _date(seconds=8), 8),
    wishes("sooner than scheduled", "1", 5, "never sooner than scheduled"),
    wishes("a date that is past", _date(hours=-1), 5),
    wishes("negative seconds", "-5", 5),
    wishes("a huge number of seconds", "9" * 40, 10, "at most twice the scheduled pause"),
    wishes("a date far ahead", "Fri, 31 Dec 9999 23:59:59 GMT", 10, "at most twice the scheduled pause"),
    wishes("rubbish", "when it suits you", 5),
    *(is_busy(status) for status in (500, 502, 503, 504, 599)),
    wishes("seconds, within the limits", "8", 8, status=503),
    Case("connection refused", nobody_listens, RETRYING, "The receiver could not be reached.", FIRST_PAUSE),
    Case("nobody picks up", nobody_picks_up, RETRYING, "The receiver could not be reached in time.", FIRST_PAUSE),
    Case(
        "the name does not resolve",
        nobody_knows_the_name,
        RETRYING,
        "The host name could not be resolved; check the URL if this lasts.",
        FIRST_PAUSE,
    ),
    Case(
        "the name leads to a private address",
        the_name_leads_inside,
        FAILED,
        "The host leads to an address that is not public. To allow it, add it to PAPERROUND_ALLOW_HOSTS.",
        note="it is not dialled",
        also=nothing_reached_it,
    ),
    tls_case("certificate expired", expired, "it has expired"),
    tls_case("certificate self-signed", self_signed, "it is signed by nobody but itself"),
    tls_case(
        "certificate of an unknown authority",
        of_an_unknown_authority,
        "it is signed by an authority that is not trusted here",
    ),
    tls_case("certificate of another host", of_another_name, "it belongs to another address"),
    Case(
        "https, but it speaks no TLS",
        speaks_no_tls,
        RETRYING,
        "No secure connection: the receiver does not speak TLS as it should.",
        FIRST_PAUSE,
        note="nothing is sent to it",
        also=nothing_reached_it,
    ),
    Case(
        "silent in the TLS handshake", silent_tls, RETRYING, "The receiver could not be reached in time.", FIRST_PAUSE
    ),
    Case("no answer in time", raw(never_answers, total=0.5), UNCERTAIN, NO_ANSWER_IN_TIME, FIRST_PAUSE),
    Case(
        "headers that drip a byte every half second",
        raw(drips(b"HTTP/1.1 200 OK\r\nX-Slow: "), total=1.2),
        UNCERTAIN,
        NO_ANSWER_IN_TIME,
        FIRST_PAUSE,
        note="the limit is on the whole exchange",
    ),
    Case(
        "200, and a body that drips a byte every half second",
        raw(drips(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), total=1.2),
        SENT,
        note="the status counts; the rest is not waited for",
    ),
    Case("200, and a body of 1 GiB", a_gibibyte, SENT, note="64 KiB of it are read", also=little_of_it_was_read),
    Case("200, and a gzip bomb", a_gzip_bomb, SENT, note="it is not unpacked", also=nothing_was_unpacked),
    Case(
        "200, cut off inside the body",
        raw(says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nab")),
        SENT,
        note="the status was seen, and it counts",
    ),
    Case("a garbage status line", raw(says(b"iWelcome to the hole\r\n.\r\n")), UNCERTAIN, NO_ANSWER, FIRST_PAUSE),
    Case(
        "headers without an end",
        raw(says(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * MIB)),
        UNCERTAIN,
        NO_ANSWER,
        FIRST_PAUSE,
    ),
    Case("closed without an answer", raw(says(b"")), UNCERTAIN, NO_ANSWER, FIRST_PAUSE),
    Case(
        "reset after the request was read",
        resets,
        UNCERTAIN,
        NO_ANSWER,
        FIRST_PAUSE,
        note="the repeat carries the same `webhook-id`",
        also=the_repeat_is_recognised,
    ),
]
