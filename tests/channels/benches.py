"""A bench holds one channel and the other side of it, and turns the contract's wishes into what that side does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Protocol

from channels.base import Channel, PermanentFailure, TransientFailure
from channels.email import EmailChannel, OutboxEmailChannel, SmtpServer
from channels.outbound import OutboundPolicy
from channels.receivers import Reply, SlackReceiver, SlackReply, SmtpReceiver, WebhookReceiver
from channels.recording import RecordingChannel
from channels.slack import SlackChannel
from channels.webhook import WebhookChannel

SENDER = "Paperround <paperround@paperround.example>"
TOKEN = "xoxb-very-secret-token"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Bench(Protocol):
    channel: Channel
    good: list[str]  # three recipients
    secrets: list[str]  # what no reason may contain
    bad_targets: list[str]

    def refuse_the_second_of_three(self) -> str:
        """Make the other side say no, for good, to the second; returns that recipient."""

    def be_busy_once(self) -> None: ...

    def seen(self) -> list[str]:
        """The identity of everything the other side has accepted, in order."""


ADDRESSES = ["ann@example.com", "ben@example.com", "cem@example.com"]
BAD_ADDRESSES = ["", "ann", "ann@example.com, ben@", "ann@example.com\r\nBcc: x@example.com", "Ann <ann@example.com>"]


@dataclass
class EmailBench:
    receiver: SmtpReceiver
    channel: EmailChannel
    good: list[str] = field(default_factory=lambda: list(ADDRESSES))
    secrets: list[str] = field(default_factory=lambda: ["hunter2", *ADDRESSES])
    bad_targets: list[str] = field(default_factory=lambda: BAD_ADDRESSES)

    def refuse_the_second_of_three(self) -> str:
        self.receiver.refuse[self.good[1]] = f"550 5.1.1 {self.good[1]} unknown, see https://mail.example/unknown"
        return self.good[1]

    def be_busy_once(self) -> None:
        self.receiver.mail_replies.append("451 4.3.0 Try again later")

    def seen(self) -> list[str]:
        return [_identity(mail.raw) for mail in self.receiver.mails]


@dataclass
class OutboxBench:
    folder: Path
    channel: OutboxEmailChannel
    good: list[str] = field(default_factory=lambda: list(ADDRESSES))
    secrets: list[str] = field(default_factory=list)
    bad_targets: list[str] = field(default_factory=lambda: BAD_ADDRESSES)

    def refuse_the_second_of_three(self) -> str:
        self.good[1] = "no longer an address"
        return self.good[1]

    def be_busy_once(self) -> None:
        self.folder.touch()  # a file where the folder should be

    def seen(self) -> list[str]:
        return [path.stem[-36:] for path in sorted(self.folder.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)]


@dataclass
class SlackBench:
    receiver: SlackReceiver
    channel: SlackChannel
    good: list[str] = field(default_factory=lambda: ["C0000000001", "C0000000002", "C0000000003"])
    secrets: list[str] = field(default_factory=lambda: [TOKEN])
    bad_targets: list[str] = field(default_factory=lambda: ["", "#general", "general", "c0000000001", "C1", "C123 456"])

    def refuse_the_second_of_three(self) -> str:
        replies = (None, *self._replies(), SlackReply(error="channel_not_found"))
        self.receiver.script("chat.postMessage", *replies)
        return self.good[1]

    def be_busy_once(self) -> None:
        self.receiver.script("chat.postMessage", SlackReply(status=503, text="<h1>Unavailable</h1>"))

    def seen(self) -> list[str]:
        return [str((message.metadata or {})["event_payload"]["identity"]) for message in self.receiver.main_messages()]

    def _replies(self) -> tuple[None, None]:
        return (None, None)  # the first recipient's two further exports


@dataclass
class WebhookBench:
    receiver: WebhookReceiver
    channel: WebhookChannel
    good: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=lambda: [SECRET, "hooks/paperround", "token=letmein"])
    bad_targets: list[str] = field(
        default_factory=lambda: ["", "http://example.com/", "https://10.0.0.1/", "mailto:a@b"]
    )

    def __post_init__(self) -> None:
        self.good = [f"{self.receiver.url}?token=letmein&n={n}" for n in range(3)]

    def refuse_the_second_of_three(self) -> str:
        self.receiver.script(Reply(204), Reply(400))
        return self.good[1]

    def be_busy_once(self) -> None:
        self.receiver.script(Reply(503))

    def seen(self) -> list[str]:
        return [request.headers["webhook-id"].removeprefix("msg_") for request in self.receiver.requests]


@dataclass
class RecordingBench:
    channel: RecordingChannel
    good: list[str] = field(default_factory=lambda: list(ADDRESSES))
    secrets: list[str] = field(default_factory=list)
    bad_targets: list[str] = field(default_factory=lambda: ["", " , "])

    def refuse_the_second_of_three(self) -> str:
        self.channel.answer(self.good[1], PermanentFailure("No such mailbox."))
        return self.good[1]

    def be_busy_once(self) -> None:
        self.channel.answer(self.good[0], [TransientFailure("Busy.")])

    def seen(self) -> list[str]:
        return [message.identity(recipient) for message, recipient in self.channel.sent]


KINDS = ("email", "outbox", "slack", "webhook", "recording")


@asynccontextmanager
async def bench_for(kind: str, folder: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        bench = await _bench(kind, folder, stack)
        stack.push_async_callback(bench.channel.aclose)
        yield bench


async def _bench(kind: str, folder: Path, stack: AsyncExitStack) -> Bench:
    match kind:
        case "email":
            smtp = await stack.enter_async_context(SmtpReceiver(users={"paperround": "hunter2"}))
            return EmailBench(smtp, an_email_channel(smtp.port, username="paperround", password="hunter2"))
        case "outbox":
            return OutboxBench(folder / "outbox", OutboxEmailChannel(folder=folder / "outbox", sender=SENDER))
        case "slack":
            slack = await stack.enter_async_context(SlackReceiver(tokens=(TOKEN,)))
            return SlackBench(slack, a_slack_channel(slack.url))
        case "webhook":
            webhook = await stack.enter_async_context(WebhookReceiver(secret=SECRET))
            return WebhookBench(webhook, a_webhook_channel())
        case _:
            return RecordingBench(RecordingChannel())


def an_email_channel(
    port: int, *, username: str | None = None, password: str | None = None, **options: object
) -> EmailChannel:
    server = SmtpServer("127.0.0.1", port, username, password, tls="never")
    return EmailChannel(**({"server": server, "sender": SENDER} | options))  # type: ignore[arg-type]


def a_slack_channel(url: str, **options: object) -> SlackChannel:
    return SlackChannel(**({"token": TOKEN, "api_url": url, "picture_waits": (0, 0)} | options))  # type: ignore[arg-type]


def a_webhook_channel(**options: object) -> WebhookChannel:
    usual = {"policy": OutboundPolicy(["127.0.0.1"]), "secrets": [SECRET]}
    return WebhookChannel(**(usual | options))  # type: ignore[arg-type]


def _identity(raw: bytes) -> str:
    return str(BytesHeaderParser().parsebytes(raw)["message-id"]).strip("<>").partition("@")[0]
