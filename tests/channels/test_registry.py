"""One place that knows the kinds, and the channel that only remembers."""

from __future__ import annotations

from pathlib import Path

import pytest

from channels.base import Message, PermanentFailure, Sent, TargetError, TransientFailure
from channels.email import EmailChannel, OutboxEmailChannel, OutboxFolder, SmtpServer
from channels.outbound import OutboundPolicy
from channels.receivers import SlackReceiver, SmtpReceiver, WebhookReceiver
from channels.recording import RecordingChannel
from channels.registry import KINDS, Channels, destination, shown
from tests.channels.benches import SECRET, SENDER, TOKEN


def channels(**options: object) -> Channels:
    usual = {"mail": OutboxFolder(Path("unused")), "sender": SENDER, "policy": OutboundPolicy(["127.0.0.1"])}
    return Channels(**(usual | options))  # type: ignore[arg-type]


async def test_every_kind_is_built_and_sends_over_shared_connections(message: Message) -> None:
    async with SmtpReceiver() as smtp, SlackReceiver() as slack, WebhookReceiver(secret=SECRET) as webhook:
        built = channels(mail=SmtpServer("127.0.0.1", smtp.port, tls="never"), slack_api_url=slack.url)
        recipients = {"email": "ann@example.com", "slack": "C0123456789", "webhook": webhook.url}
        for kind in [*KINDS, *KINDS]:
            channel = built.build(kind, token=TOKEN, secrets=[SECRET])
            assert channel.kind == kind
            [result] = await channel.send(message, [recipients[kind]])
            assert isinstance(result.outcome, Sent)
        await built.aclose()
        await built.aclose()

    assert smtp.connections == 1
    assert [request.verified for request in webhook.requests] == [True, True]


async def test_mail_goes_to_a_server_or_into_a_folder() -> None:
    to_folder, to_server = channels(), channels(mail=SmtpServer("127.0.0.1", 25))

    assert isinstance(to_folder.build("email"), OutboxEmailChannel)
    assert isinstance(to_server.build("email"), EmailChannel)
    await to_folder.aclose()
    await to_server.aclose()


async def test_targets_are_checked_without_credentials() -> None:
    built = channels()

    assert built.recipients("email", "ann@example.com, ben@example.com") == ["ann@example.com", "ben@example.com"]
    assert built.recipients("slack", "C0123456789|#sales") == ["C0123456789"]
    assert built.recipients("webhook", "https://Hooks.example.com") == ["https://hooks.example.com/"]
    for kind, target in [("email", "ann"), ("slack", "#sales"), ("webhook", "http://hooks.example.com/")]:
        with pytest.raises(TargetError):
            built.recipients(kind, target)
    await built.aclose()


async def test_what_is_missing_is_said() -> None:
    built = channels()

    with pytest.raises(ValueError, match="token"):
        built.build("slack")
    with pytest.raises(ValueError, match="there are email, slack, webhook"):
        built.build("pigeon")
    with pytest.raises(ValueError, match="'pigeon'"):
        built.recipients("pigeon", "x")
    await built.aclose()


def test_of_a_webhook_people_see_the_host_and_limits_apply_to_host_and_port() -> None:
    url = "https://hooks.example.com/services/secret"

    assert [shown("webhook", url), shown("slack", "C01|#x"), shown("email", "a@b.example")] == [
        "hooks.example.com",
        "C01|#x",
        "a@b.example",
    ]
    assert destination("webhook", [url]) == "webhook:hooks.example.com:443:cdfe20b4"
    assert destination("slack", ["C0123456789"]) == "slack:C0123456789"
    assert destination("email", ["ann@example.com", "ben@example.com"]) == "email:smtp"


async def test_the_recording_channel_keeps_what_it_is_given_and_answers_as_told(message: Message) -> None:
    busy, no = TransientFailure("Busy."), PermanentFailure("No.")
    channel = RecordingChannel(kind="webhook", outcomes={"a": [busy, no], "b": no})

    answers = [[result.outcome for result in await channel.send(message, ["a", "b", "c"])] for _ in range(3)]

    assert answers == [[busy, no, Sent()], [no, no, Sent()], [Sent(), no, Sent()]]
    assert channel.kind == "webhook"
    assert channel.sent == [(message, recipient) for recipient in ("c", "c", "a", "c")]
    assert len(channel.attempts) == 9


def test_the_recording_channel_takes_targets_as_they_come() -> None:
    assert RecordingChannel().recipients(" a@b, c@d ,a@b") == ["a@b", "c@d"]
    assert RecordingChannel(kind="slack").recipients("C01|#x") == ["C01"]
    assert RecordingChannel(kind="webhook").recipients("http://localhost/a,b") == ["http://localhost/a,b"]
