"""What a mail server may do, and the row it ends in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from inspect import isawaitable
from typing import Any

import trustme

from channels.email import EmailChannel, SmtpServer
from channels.mime import NO_PICTURES
from channels.receivers import SmtpReceiver
from channels.smtp_url import Tls
from scheduler.status import DeliveryStatus, RecipientStatus
from tests.channels.benches import SENDER
from tests.channels.conftest import Handler, served
from tests.failures.case import Arrangement, Bench, Case

ANN, BEN, CEM = "ann@example.org", "ben@example.org", "cem@example.org"
FIRST_PAUSE = timedelta(minutes=5)
SHORT = 0.3  # seconds, for what never answers


# ── the other side ───────────────────────────────────────────────────────────────────────────────────────────────────


def replies(*, mail: str = "", start: str = "", dot: str = "") -> Arrangement:
    """One transaction is answered so: to MAIL, to DATA or to the final dot."""

    def arrange(bench: Bench) -> None:
        bench.smtp.mail_replies += [mail] if mail else []
        bench.smtp.start_replies += [start] if start else []
        bench.smtp.data_replies += [dot] if dot else []

    return arrange


def refuses(**by_name: str) -> Arrangement:
    """Three recipients, of whom some are refused."""

    def arrange(bench: Bench) -> None:
        bench.targets["email"]["target_value"] = ", ".join([ANN, BEN, CEM])
        bench.smtp.refuse |= {f"{name}@example.org": reply for name, reply in by_name.items()}

    return arrange


def refuses_ann(reply: str) -> Arrangement:
    def arrange(bench: Bench) -> None:
        bench.smtp.refuse[ANN] = reply

    return arrange


def cuts(*stages: str) -> Arrangement:
    """The connection is dropped at each of these stages, once."""

    def arrange(bench: Bench) -> None:
        bench.smtp.drops.extend(stages)

    return arrange


def use(bench: Bench, server: SmtpServer, *, context: ssl.SSLContext | None = None, **limits: float) -> None:
    """Send e-mail there, with these limits of the channel."""
    channel = EmailChannel(server=server, sender=SENDER, tls=context, **limits)  # type: ignore[arg-type]
    bench.stack.push_async_callback(channel.aclose)
    bench.channels.instead["email"] = lambda **_: channel


def has(
    receiver: Callable[[], SmtpReceiver], *, tls: Tls = "never", context: ssl.SSLContext | None = None
) -> Arrangement:
    """A receiver of its own."""

    async def arrange(bench: Bench) -> None:
        bench.smtp = await bench.open(receiver())
        use(bench, SmtpServer("127.0.0.1", bench.smtp.port, tls=tls), context=context)

    return arrange


def speaks(dialogue: Mapping[str, str | None], *, tls: Tls = "never", **limits: float) -> Arrangement:
    """A server of a few lines: what it says to each command; None is silence, from then on."""

    async def arrange(bench: Bench) -> None:
        port = await bench.open(served(_says(dialogue)))
        use(bench, SmtpServer("127.0.0.1", port, tls=tls), context=None, **limits)

    return arrange


def _says(dialogue: Mapping[str, str | None]) -> Handler:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = "greeting"
        while True:
            reply = dialogue.get(command, _USUAL.get(command, "250 OK"))
            if reply is None:
                await reader.read()  # until the client hangs up
                return
            writer.write(f"{reply}\r\n".encode())
            if command == "DATA" and reply.startswith("354"):
                await reader.readuntil(b"\r\n.\r\n")
                command = "DOT"
            elif line := await reader.readline():
                command = line.decode().split()[0].upper()
            else:
                return

    return serve


_USUAL = {"greeting": "220 mail.example", "DATA": "354 go on"}
OFFERS_TLS = "250-mail.example\r\n250 STARTTLS"


async def speaks_no_tls_after_all(bench: Bench) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in ("220 mail.example", OFFERS_TLS):
            writer.write(f"{reply}\r\n".encode())
            await reader.readline()
        writer.write(b"220 go on\r\n")
        await reader.read(1)  # the client's TLS hello has begun
        writer.write(b"500 what is this?\r\n")
        await reader.read()

    use(bench, SmtpServer("127.0.0.1", await bench.open(served(serve)), tls="required"))


def has_certificate(name: str, *, vouched_for: bool = True, until: datetime | None = None) -> Arrangement:
    """STARTTLS, with a certificate for this name; the client knows its authority, or does not."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    since = until - timedelta(days=1) if until else None
    authority.issue_cert(name, not_before=since, not_after=until).configure_cert(server)
    if vouched_for:
        authority.configure_trust(client)
    return has(lambda: SmtpReceiver(tls=server), tls="required", context=client)


async def nobody_listens(bench: Bench) -> None:
    async with SmtpReceiver() as gone:
        port = gone.port
    use(bench, SmtpServer("127.0.0.1", port, tls="never"))


PASSWORD = "correct-horse"


async def wants_another_password(bench: Bench) -> None:
    bench.smtp = await bench.open(SmtpReceiver(users={"paper": "battery-staple"}))
    use(bench, SmtpServer("127.0.0.1", bench.smtp.port, "paper", PASSWORD, tls="never"))


async def wants_a_login(bench: Bench) -> None:
    bench.smtp = await bench.open(SmtpReceiver(users={"paper": "battery-staple"}))
    use(bench, SmtpServer("127.0.0.1", bench.smtp.port, tls="never"))


def with_pictures(then: Arrangement) -> Arrangement:
    """The subscription shows a line; a mail with its picture is about 35 kB, without it about 6 kB."""

    async def arrange(bench: Bench) -> None:
        world = bench.world
        course = "SELECT column1 AS day, column2 AS n FROM (VALUES ('2026-11-20', 1), ('2026-11-21', 5))"
        made = await world.app.catalog.add_insight(world.project, "Course", source="Source", sql=course, display="line")
        bench.targets["email"]["insight"] = made.id
        await awaited(then(bench))

    return arrange


async def awaited(doing: Any) -> None:
    if isawaitable(doing):
        await doing


def to(address: str, then: Arrangement) -> Arrangement:
    async def arrange(bench: Bench) -> None:
        bench.targets["email"]["target_value"] = address
        await awaited(then(bench))

    return arrange


# ── what is seen there afterwards ────────────────────────────────────────────────────────────────────────────────────


def receivers_in(bench: Bench) -> list[str]:
    """Who was sent a mail; what the owner is told about a failure is not among them."""
    received = [address for mail in bench.smtp.mails for address in mail.recipients]
    return [address for address in received if address != bench.world.owner.email]


def received_by(*addresses: str) -> Arrangement:
    """Exactly these were sent a mail, in this order."""

    def look(bench: Bench) -> None:
        assert receivers_in(bench) == list(addresses)

    return look


def pictures_were_left_out(bench: Bench) -> None:
    [mail] = bench.smtp.mails
    page = mail.message.get_body(("html",))
    assert page is not None
    assert NO_PICTURES in page.get_content()
    assert "<img" not in page.get_content()
    assert [part.get_content_type() for part in mail.message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]


async def still_sent_when_the_farewell_fails(bench: Bench) -> None:
    await bench.channels.build("email").aclose()

    assert bench.smtp.drops == []
    assert await bench.world.statuses() == [DeliveryStatus.COMPLETED]
    assert len(bench.smtp.mails) == 1


async def no_row_has_the_password(bench: Bench) -> None:
    [delivery] = await bench.world.deliveries()
    assert PASSWORD not in repr(delivery)


# ── the matrix ───────────────────────────────────────────────────────────────────────────────────────────────────────

SENT, RETRYING = RecipientStatus.SENT, RecipientStatus.RETRYING
FAILED, UNCERTAIN = RecipientStatus.FAILED, RecipientStatus.UNCERTAIN
UNCONFIRMED = "The mail server took the message but did not confirm it."
NO_ANSWER = "The mail server did not answer in time."
HUNG_UP = "The mail server hung up before it took the message."
CERTIFICATE = "The mail server's certificate is not valid"


def for_now(name: str, arrange: Arrangement, reason: str, **more: Any) -> Case:
    return Case(name, arrange, RETRYING, reason, again=FIRST_PAUSE, **more)


def for_good(name: str, arrange: Arrangement, reason: str, **more: Any) -> Case:
    return Case(name, arrange, FAILED, reason, **more)


def unconfirmed(name: str, arrange: Arrangement, note: str) -> Case:
    return Case(name, arrange, UNCERTAIN, UNCONFIRMED, again=FIRST_PAUSE, note=note)


RECIPIENTS = [
    for_good(
        "RCPT: 550 beside good ones",
        refuses(ben="550 5.1.1 No such user"),
        "The mail server refused the address: no such mailbox (550 5.1.1).",
        address=BEN,
        delivery=DeliveryStatus.COMPLETED,
        note="the others are sent, once",
        also=received_by(ANN, CEM),
    ),
    for_now(
        "RCPT: 451",
        refuses_ann("451 4.7.1 Greylisted"),
        "The mail server refused the address for now: refused by the server's policy (451 4.7.1).",
    ),
    for_now(
        "RCPT: 452",
        refuses_ann("452 4.2.2 Over quota"),
        "The mail server refused the address for now: the mailbox is full (452 4.2.2).",
    ),
    for_good(
        "RCPT: 552",
        refuses_ann("552 Mailbox full"),
        "The mail server refused the address: the mailbox is full, or the message too large (552).",
    ),
    for_good(
        "RCPT: all refused for good: 550, 552, 553",
        refuses(ann="550 5.7.1 No", ben="552 5.2.2 Full", cem="553 Not allowed"),
        "The mail server refused the address: the mailbox is full (552 5.2.2).",
        address=BEN,
        also=received_by(),
    ),
    for_now(
        "RCPT: all refused with mixed codes: 550, 451, 554",
        refuses(ann="550 5.7.1 No", ben="451 Busy", cem="554 No"),
        "The mail server refused the address for now: the server has trouble of its own (451).",
        address=BEN,
        note="only who was refused for now is tried again",
        also=received_by(),
    ),
    for_good(
        "non-ASCII letters before the @, server without SMTPUTF8",
        to("jürgen@example.org", has(lambda: SmtpReceiver(smtputf8=False))),
        "This mail server cannot deliver to addresses with non-ASCII letters before the @.",
        note="the server is not asked",
        also=received_by(),
    ),
]
TRANSACTION = [
    for_now(
        "MAIL: 451",
        replies(mail="451 4.3.0 Try again later"),
        "The mail server refused the message for now: the server has trouble of its own (451 4.3.0).",
    ),
    for_now(
        "MAIL: 452",
        replies(mail="452 4.3.1 Disk full"),
        "The mail server refused the message for now: the server is out of storage (452 4.3.1).",
    ),
    for_good(
        "MAIL: 550",
        replies(mail="550 5.1.8 Unknown sender domain"),
        "The mail server refused the sender address: the sender's mail domain is not valid (550 5.1.8).",
    ),
    for_now(
        "MAIL: 530, a login is wanted",
        wants_a_login,
        "The mail server wants a login first; check its user name and password (530 5.7.0).",
        note="nothing is lost while the operator puts it right",
    ),
    for_now(
        "DATA: 451",
        replies(start="451 4.3.0 Try again later"),
        "The mail server refused the message for now: the server has trouble of its own (451 4.3.0).",
    ),
    for_good(
        "DATA: 554",
        replies(start="554 5.5.1 No valid recipients"),
        "The mail server refused the message: refused by the server's policy (554 5.5.1).",
    ),
    for_now(
        "final dot: 451",
        replies(dot="451 4.3.0 Scanner down"),
        "The mail server refused the message for now: the server has trouble of its own (451 4.3.0).",
    ),
    for_good(
        "final dot: 554",
        replies(dot="554 5.7.1 Spam"),
        "The mail server refused the message: refused by the server's policy (554 5.7.1).",
    ),
    for_now(
        "421 instead of a greeting",
        speaks({"greeting": "421 4.3.2 Closing"}),
        "The mail server takes no mail at the moment (421).",
    ),
    for_now(
        "421 to MAIL",
        replies(mail="421 4.3.2 Closing"),
        "The mail server refused the message for now: the server is closing (421 4.3.2).",
    ),
    for_now(
        "421 to the final dot",
        replies(dot="421 4.3.2 Closing"),
        "The mail server refused the message for now: the server is closing (421 4.3.2).",
    ),
]
CONNECTION = [
    for_now("connection refused", nobody_listens, "The mail server could not be reached."),
    for_now("dropped at connect", cuts("connect"), HUNG_UP),
    for_now("dropped after MAIL", cuts("MAIL"), HUNG_UP),
    for_now("dropped after DATA", cuts("DATA"), HUNG_UP),
    unconfirmed("dropped after the final dot", cuts("dot"), "repeated with the same Message-ID"),
    unconfirmed(
        "dropped after the final dot, the mail was taken", cuts("kept"), "it arrives twice, with the same Message-ID"
    ),
    for_now("silent: no greeting", speaks({"greeting": None}, command_limit=SHORT), NO_ANSWER),
    for_now("silent after MAIL", speaks({"MAIL": None}, command_limit=SHORT), NO_ANSWER),
    unconfirmed(
        "silent after the final dot", speaks({"DOT": None}, accept_limit=SHORT), "repeated with the same Message-ID"
    ),
    for_now(
        "speaks no SMTP",
        speaks({"greeting": "HTTP/1.1 400 Bad Request"}),
        "What answers there does not speak SMTP; check the mail server's host and port.",
    ),
    Case(
        "QUIT dropped after success",
        cuts("QUIT"),
        SENT,
        note="sent is what the final dot was answered with",
        also=still_sent_when_the_farewell_fails,
    ),
]
LOGIN_AND_TLS = [
    for_now(
        "535, the password is refused",
        wants_another_password,
        "The mail server refused the user name or password; correct them (535).",
        note="nothing is lost while the operator puts it right",
        also=no_row_has_the_password,
    ),
    for_now(
        "STARTTLS is required and not offered",
        has(SmtpReceiver, tls="required"),
        "The mail server offers no TLS; set starttls=auto or never if that is meant.",
        note="nothing is sent in the clear",
        also=received_by(),
    ),
    for_now(
        "STARTTLS: 454",
        speaks({"EHLO": OFFERS_TLS, "STARTTLS": "454 4.7.0 Not now"}, tls="required"),
        "The mail server takes no mail at the moment (454).",
    ),
    for_now(
        "STARTTLS: no TLS after 220",
        speaks_no_tls_after_all,
        "No secure connection: the mail server does not speak TLS on this port.",
    ),
    for_now(
        "STARTTLS: a certificate nobody vouches for",
        has_certificate("127.0.0.1", vouched_for=False),
        f"{CERTIFICATE}: it is signed by an authority that is not trusted here.",
        also=received_by(),
    ),
    for_now(
        "STARTTLS: an expired certificate",
        has_certificate("127.0.0.1", until=datetime(2026, 1, 1, tzinfo=UTC)),
        f"{CERTIFICATE}: it has expired.",
        also=received_by(),
    ),
    for_now(
        "STARTTLS: a certificate for another name",
        has_certificate("mail.example"),
        f"{CERTIFICATE}: it belongs to another address.",
        also=received_by(),
    ),
]
LEFT_OUT = "sent once more without pictures, in the same attempt"
SIZE = [
    Case(
        "larger than SIZE, with pictures",
        with_pictures(has(lambda: SmtpReceiver(size_limit=20_000))),
        SENT,
        note=LEFT_OUT,
        also=pictures_were_left_out,
    ),
    for_good(
        "larger than SIZE, even without pictures",
        with_pictures(has(lambda: SmtpReceiver(size_limit=3_000))),
        "The message is larger than the 3 kB that the mail server takes, even without pictures; "
        "show fewer insights in it.",
        also=received_by(),
    ),
    for_good(
        "larger than SIZE, no pictures to leave out",
        has(lambda: SmtpReceiver(size_limit=3_000)),
        "The message is larger than the 3 kB that the mail server takes; show fewer insights in it.",
        note="the server is not asked",
        also=received_by(),
    ),
    Case(
        "MAIL: 552 5.3.4, with pictures",
        with_pictures(replies(mail="552 5.3.4 Too big")),
        SENT,
        note=LEFT_OUT,
        also=pictures_were_left_out,
    ),
    Case(
        "final dot: 552, with pictures",
        with_pictures(has(lambda: SmtpReceiver(size_limit=20_000, tells_size=False))),
        SENT,
        note=LEFT_OUT,
        also=pictures_were_left_out,
    ),
    for_good(
        "final dot: 552 5.2.3, even without pictures",
        with_pictures(lambda bench: bench.smtp.data_replies.extend(["552 5.2.3 Too big"] * 2)),
        "The mail server refused the message: the message is too long for the mailbox (552 5.2.3), even without "
        "pictures; show fewer insights in it.",
        also=received_by(),
    ),
    for_good(
        "final dot: 552 5.3.4, no pictures to leave out",
        replies(dot="552 5.3.4 Too big"),
        "The mail server refused the message: the message is too large (552 5.3.4); show fewer insights in it.",
        note="not offered again",
        also=received_by(),
    ),
]
CASES = [*RECIPIENTS, *TRANSACTION, *CONNECTION, *LOGIN_AND_TLS, *SIZE]
