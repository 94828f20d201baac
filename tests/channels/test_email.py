"""E-mail over a real mail server on this machine."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest

from channels.base import Export, Message, PermanentFailure, Sent, TransientFailure
from channels.email import EmailChannel, SmtpServer
from channels.mime import NO_PICTURES
from channels.receivers import SmtpReceiver
from channels.smtp_url import Tls
from tests.channels.benches import SENDER, an_email_channel
from tests.channels.conftest import Certificates, a_message, served

NO_SMTP = "What answers there does not speak SMTP; check the mail server's host and port."
ANN, BEN, CEM = "ann@example.com", "ben@example.com", "cem@example.com"


@pytest.fixture
async def receiver() -> AsyncIterator[SmtpReceiver]:
    async with SmtpReceiver() as receiver:
        yield receiver


@pytest.fixture
async def channel(receiver: SmtpReceiver) -> AsyncIterator[EmailChannel]:
    channel = an_email_channel(receiver.port)
    yield channel
    await channel.aclose()


async def outcomes(channel: EmailChannel, message: Message, *recipients: str) -> list[object]:
    return [result.outcome for result in await channel.send(message, recipients)]


async def test_each_recipient_gets_a_mail_of_their_own(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message
) -> None:
    await channel.send(message, [ANN, BEN])

    assert [mail.recipients for mail in receiver.mails] == [(ANN,), (BEN,)]
    assert [mail.sender for mail in receiver.mails] == ["paperround@paperround.example"] * 2
    assert [mail.message["to"] for mail in receiver.mails] == [ANN, BEN]


async def test_the_mail_arrives_as_it_was_built_dots_and_all(channel: EmailChannel, receiver: SmtpReceiver) -> None:
    text = "first\n.\n..second\n.third\n"

    await channel.send(a_message(text=text), [ANN])

    [mail] = receiver.mails
    body = mail.message.get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == text


async def test_one_connection_serves_all_recipients_and_the_next_send(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message
) -> None:
    await channel.send(message, [ANN, BEN])
    await channel.send(message, [CEM])

    assert len(receiver.mails) == 3
    assert receiver.connections == 1


async def test_a_refused_recipient_leaves_the_connection_usable(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message
) -> None:
    receiver.refuse[ANN] = "550 5.1.1 No such user"
    receiver.data_replies.append("554 5.7.1 Spam")

    results = await outcomes(channel, message, ANN, BEN, CEM)

    assert [type(outcome) for outcome in results] == [PermanentFailure, PermanentFailure, Sent]
    assert receiver.connections == 1


async def test_a_kept_connection_that_the_server_dropped_is_replaced(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message
) -> None:
    await channel.send(message, [ANN])
    await receiver.hang_up()

    assert [type(outcome) for outcome in await outcomes(channel, message, BEN)] == [Sent]
    assert receiver.connections == 2


@pytest.mark.parametrize("how", ["dropped", "told to go"])
async def test_a_kept_connection_that_dies_at_the_first_command_is_replaced(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message, how: str
) -> None:
    await channel.send(message, [ANN])
    if how == "dropped":
        receiver.drops.append("MAIL")
    else:
        receiver.mail_replies.append("421 4.4.2 Idle for too long")

    assert [type(outcome) for outcome in await outcomes(channel, message, BEN)] == [Sent]


async def test_a_server_that_hangs_up_after_each_mail_is_still_served_in_full(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message
) -> None:
    receiver.drops.extend(["MAIL"] * 3)

    results = await outcomes(channel, message, ANN, BEN, CEM)

    assert [type(outcome) for outcome in results] == [TransientFailure] * 3
    assert receiver.mails == []
    assert [type(outcome) for outcome in await outcomes(channel, message, ANN, BEN)] == [Sent, Sent]


async def test_sends_side_by_side_share_a_pool_of_limited_size(receiver: SmtpReceiver, message: Message) -> None:
    channel = an_email_channel(receiver.port, connections=2)
    recipients = [f"r{n}@example.com" for n in range(12)]

    await asyncio.gather(*(channel.send(message, [recipient]) for recipient in recipients))
    await channel.aclose()

    assert sorted(mail.recipients[0] for mail in receiver.mails) == sorted(recipients)
    assert receiver.connections <= 2


async def test_a_cancelled_send_leaves_no_half_used_connection_behind(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message
) -> None:
    sending = asyncio.create_task(channel.send(message, [f"r{n}@example.com" for n in range(200)]))
    while not receiver.mails:
        await asyncio.sleep(0.001)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    await channel.send(message, [ANN])

    assert (ANN,) in [mail.recipients for mail in receiver.mails]
    assert all(len(mail.recipients) == 1 for mail in receiver.mails)
    assert receiver.connections == 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("450 4.2.0 Busy", TransientFailure),
        ("421 4.3.2 Closing", TransientFailure),
        ("452 4.2.2 Full", TransientFailure),
        ("550 5.1.1 Unknown", PermanentFailure),
        ("552 5.2.2 Full", PermanentFailure),
        ("554 no", PermanentFailure),
        ("530 5.7.0 Log in", TransientFailure),
    ],
)
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "dot"])
async def test_a_reply_of_4yz_may_pass_and_one_of_5yz_is_final(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message, stage: str, reply: str, expected: type
) -> None:
    match stage:
        case "MAIL":
            receiver.mail_replies.append(reply)
        case "RCPT":
            receiver.refuse[ANN] = reply
        case _:
            receiver.data_replies.append(reply)

    first, second = await outcomes(channel, message, ANN, BEN)

    assert isinstance(first, expected)
    assert reply[:3] in first.reason
    assert not getattr(first, "uncertain", False)
    assert not getattr(first, "target_gone", False)
    assert isinstance(second, Sent)


async def test_a_reason_speaks_to_a_person_and_leaves_the_servers_text_out(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message
) -> None:
    receiver.refuse[ANN] = f"550 5.2.2 {BEN} is over quota, see https://mail.example/q?user={BEN}"

    [outcome] = await outcomes(channel, message, ANN)

    assert outcome == PermanentFailure("The mail server refused the address: the mailbox is full (550 5.2.2).")


@pytest.mark.parametrize("stage", ["connect", "MAIL", "RCPT", "DATA"])
async def test_a_connection_lost_before_the_payload_is_certain(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message, stage: str
) -> None:
    receiver.drops.append(stage)

    [outcome] = await outcomes(channel, message, ANN)

    assert isinstance(outcome, TransientFailure)
    assert not outcome.uncertain


async def test_a_connection_lost_after_the_final_dot_is_uncertain_for_that_recipient_alone(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message
) -> None:
    receiver.drops.append("dot")

    first, second = await outcomes(channel, message, ANN, BEN)

    assert first == TransientFailure("The mail server took the message but did not confirm it.", uncertain=True)
    assert isinstance(second, Sent)


async def test_a_server_that_never_confirms_is_not_waited_for_for_ever(message: Message) -> None:
    async def mute_after_the_dot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            writer.write(b"354 go on\r\n" if line.startswith(b"DATA") else b"250 OK\r\n")
            if line.startswith(b"DATA"):
                await reader.readuntil(b"\r\n.\r\n")
                await reader.read()  # …and nothing comes back

    async with served(mute_after_the_dot) as port:
        channel = an_email_channel(port, accept_limit=0.1)
        [outcome] = await outcomes(channel, message, ANN)
        await channel.aclose()

    assert isinstance(outcome, TransientFailure)
    assert outcome.uncertain


async def test_a_silent_server_is_given_up_once_for_all_recipients(message: Message) -> None:
    connections = 0

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()

    async with served(mute) as port:
        channel = an_email_channel(port, command_limit=0.1)
        results = await outcomes(channel, message, ANN, BEN, CEM)
        await channel.aclose()

    assert results == [TransientFailure("The mail server did not answer in time.")] * 3
    assert connections == 1


async def test_an_answer_that_is_no_smtp_is_transient(message: Message) -> None:
    async def web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with served(web_server) as port:
        channel = an_email_channel(port)
        [outcome] = await outcomes(channel, message, ANN)
        await channel.aclose()

    assert outcome == TransientFailure(NO_SMTP)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (b"MAIL", TransientFailure(NO_SMTP)),
        (b"dot", TransientFailure("The mail server took the message but did not confirm it.", uncertain=True)),
    ],
)
async def test_gibberish_in_mid_session_ends_the_connection(
    message: Message, stage: bytes, expected: TransientFailure
) -> None:
    connections = 0

    async def derailed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                line = b"dot"
            derails = connections == 1 and line.startswith(stage)
            writer.write(b"out of paper\r\n" if derails else b"250 OK\r\n")

    async with served(derailed) as port:
        channel = an_email_channel(port)
        results = await outcomes(channel, message, ANN, BEN)
        await channel.aclose()

    assert results == [expected, Sent(provider_id="OK")]
    assert connections == 2


# More than the server takes: once more without pictures

LARGE = Export(name="orders", title="Orders", text="118", image=bytes(100_000))


@pytest.mark.parametrize("tells_size", [True, False])
async def test_a_mail_that_is_too_large_goes_out_without_pictures(tells_size: bool) -> None:
    message = a_message(exports=(LARGE,))
    async with SmtpReceiver(size_limit=10_000, tells_size=tells_size) as receiver:
        channel = an_email_channel(receiver.port)
        results = await outcomes(channel, message, ANN, BEN)
        await channel.aclose()

    assert [type(outcome) for outcome in results] == [Sent, Sent]
    assert receiver.connections == 1
    for mail, recipient in zip(receiver.mails, [ANN, BEN], strict=True):
        body = mail.message.get_body(("html",))
        assert body is not None
        assert NO_PICTURES in body.get_content()
        assert mail.message["message-id"] == f"<{message.identity(recipient)}@paperround.example>"


@pytest.mark.parametrize("reply", ["552 5.3.4 Too big", "552 5.2.3 Too big", "552 Too big", "523 5.2.3 Too big"])
@pytest.mark.parametrize("stage", ["MAIL", "DATA", "dot"])
async def test_a_server_that_says_too_large_is_given_a_smaller_mail(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message, stage: str, reply: str
) -> None:
    {"MAIL": receiver.mail_replies, "DATA": receiver.start_replies, "dot": receiver.data_replies}[stage].append(reply)

    [outcome] = await outcomes(channel, message, ANN)

    assert isinstance(outcome, Sent)
    [mail] = receiver.mails
    assert "multipart/related" not in [part.get_content_type() for part in mail.message.walk()]


@pytest.mark.parametrize("reply", ["552 Mailbox full", "552 5.2.2 Mailbox full"])
async def test_a_full_mailbox_is_offered_no_second_mail(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message, reply: str
) -> None:
    receiver.refuse[ANN] = reply

    [outcome] = await outcomes(channel, message, ANN)

    assert isinstance(outcome, PermanentFailure)
    assert "even without pictures" not in outcome.reason


async def test_a_mailbox_with_a_limit_of_its_own_is_offered_the_smaller_mail(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message
) -> None:
    receiver.refuse[ANN] = "552 5.2.3 At most 10 kB for this mailbox"

    assert await outcomes(channel, message, ANN) == [
        PermanentFailure(
            "The mail server refused the message: the message is too long for the mailbox (552 5.2.3), even without "
            "pictures; show fewer insights in it."
        )
    ]


async def test_a_mail_that_is_too_large_even_without_pictures_says_what_to_do() -> None:
    message = a_message(exports=(LARGE,), text="word " * 60_000)
    async with SmtpReceiver(size_limit=200_000) as receiver:
        channel = an_email_channel(receiver.port)
        results = await outcomes(channel, message, ANN)
        await channel.aclose()

    reason = "The message is larger than the 0.2 MB that the mail server takes, even without pictures; "
    assert results == [PermanentFailure(f"{reason}show fewer insights in it.")]
    assert receiver.mails == []


async def test_a_mail_without_pictures_that_is_too_large_is_not_even_offered() -> None:
    async with SmtpReceiver(size_limit=2000) as receiver:
        channel = an_email_channel(receiver.port)
        results = await outcomes(channel, a_message(html="", text="word " * 1000, exports=(LARGE,)), ANN)
        await channel.aclose()

    reason = "The message is larger than the 2 kB that the mail server takes; show fewer insights in it."
    assert results == [PermanentFailure(reason)]
    assert receiver.mails == []


# Whom it is for


async def test_a_non_ascii_local_part_goes_out_where_the_server_can(
    channel: EmailChannel, receiver: SmtpReceiver
) -> None:
    juergen = "jürgen@bücher.example"

    [outcome] = await outcomes(channel, a_message(), juergen)

    assert isinstance(outcome, Sent)
    [mail] = receiver.mails
    assert mail.recipients == ("jürgen@xn--bcher-kva.example",)
    assert mail.message["to"] == "jürgen@xn--bcher-kva.example"


async def test_a_non_ascii_local_part_is_refused_where_the_server_cannot(message: Message) -> None:
    async with SmtpReceiver(smtputf8=False) as receiver:
        channel = an_email_channel(receiver.port)
        first, second = await outcomes(channel, message, "jürgen@example.com", ANN)
        await channel.aclose()

    assert isinstance(first, PermanentFailure)
    assert isinstance(second, Sent)


async def test_an_address_that_is_none_never_reaches_the_server(
    channel: EmailChannel, receiver: SmtpReceiver, message: Message
) -> None:
    smuggled = "ann@example.com>\r\nRCPT TO:<mallory@example.com"

    first, second = await outcomes(channel, message, smuggled, BEN)

    assert isinstance(first, PermanentFailure)
    assert isinstance(second, Sent)
    assert [mail.recipients for mail in receiver.mails] == [(BEN,)]


# Who we are, and who the server is


async def test_a_user_logs_in(message: Message) -> None:
    async with SmtpReceiver(users={"paper": "rou/nd ü"}) as receiver:
        channel = an_email_channel(receiver.port, username="paper", password="rou/nd ü")
        await channel.send(message, [ANN])
        await channel.aclose()

    assert [mail.user for mail in receiver.mails] == ["paper"]


@pytest.mark.parametrize(("username", "password"), [("paper", "wrong"), (None, None)])
async def test_a_login_that_fails_loses_nothing_and_says_what_to_do(
    message: Message, username: str | None, password: str | None
) -> None:
    async with SmtpReceiver(users={"paper": "round"}) as receiver:
        channel = an_email_channel(receiver.port, username=username, password=password)
        results = await outcomes(channel, message, ANN, BEN)
        await channel.aclose()

    for outcome in results:
        assert isinstance(outcome, TransientFailure)
        assert "user name" in outcome.reason
        assert "wrong" not in outcome.reason


async def test_a_server_without_login_is_a_matter_for_the_operator(receiver: SmtpReceiver, message: Message) -> None:
    channel = an_email_channel(receiver.port, username="paper", password="round")

    [outcome] = await outcomes(channel, message, ANN)
    await channel.aclose()

    assert isinstance(outcome, TransientFailure)
    assert "login" in outcome.reason


def secured(port: int, tls: Tls, context: ssl.SSLContext | None, host: str = "localhost") -> EmailChannel:
    return EmailChannel(server=SmtpServer(host, port, tls=tls), sender=SENDER, tls=context)


@pytest.mark.parametrize("tls", ["required", "auto", "implicit"])
async def test_mail_goes_out_over_tls(certificates: Certificates, message: Message, tls: Tls) -> None:
    async with SmtpReceiver(tls=certificates.server, implicit_tls=tls == "implicit") as receiver:
        channel = secured(receiver.port, tls, certificates.trusting, host="127.0.0.1")
        results = await outcomes(channel, message, ANN, BEN)
        await channel.aclose()

    assert [type(outcome) for outcome in results] == [Sent, Sent]
    assert [mail.secure for mail in receiver.mails] == [True, True]
    assert receiver.connections == 1


@pytest.mark.parametrize("tls", ["required", "implicit"])
async def test_a_certificate_nobody_vouches_for_stops_the_mail(
    certificates: Certificates, message: Message, tls: Tls
) -> None:
    async with SmtpReceiver(tls=certificates.server, implicit_tls=tls == "implicit") as receiver:
        channel = secured(receiver.port, tls, certificates.strict, host="127.0.0.1")
        [outcome] = await outcomes(channel, message, ANN)
        await channel.aclose()

    assert isinstance(outcome, TransientFailure)
    assert "certificate is not valid" in outcome.reason
    assert receiver.mails == []


async def test_auto_takes_any_certificate(certificates: Certificates, message: Message) -> None:
    async with SmtpReceiver(tls=certificates.server) as receiver:
        channel = secured(receiver.port, "auto", None, host="127.0.0.1")
        await channel.send(message, [ANN])
        await channel.aclose()

    assert [mail.secure for mail in receiver.mails] == [True]


async def test_required_sends_nothing_to_a_server_without_tls(receiver: SmtpReceiver, message: Message) -> None:
    channel = secured(receiver.port, "required", None, host="127.0.0.1")

    [outcome] = await outcomes(channel, message, ANN)
    await channel.aclose()

    assert outcome == TransientFailure("The mail server offers no TLS; set starttls=auto or never if that is meant.")
    assert receiver.mails == []


@pytest.mark.parametrize("tls", ["auto", "never"])
async def test_auto_and_never_send_to_a_server_without_tls(receiver: SmtpReceiver, message: Message, tls: Tls) -> None:
    channel = secured(receiver.port, tls, None, host="127.0.0.1")

    await channel.send(message, [ANN])
    await channel.aclose()

    assert [mail.secure for mail in receiver.mails] == [False]


async def test_never_does_not_use_the_tls_it_is_offered(certificates: Certificates, message: Message) -> None:
    async with SmtpReceiver(tls=certificates.server) as receiver:
        channel = secured(receiver.port, "never", None, host="127.0.0.1")
        await channel.send(message, [ANN])
        await channel.aclose()

    assert [mail.secure for mail in receiver.mails] == [False]
