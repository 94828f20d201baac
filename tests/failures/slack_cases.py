"""What Slack may answer, and the row it ends in."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

from channels.outbound import OutboundPolicy
from channels.outbound_http import OutboundSession
from channels.receivers import SlackReply
from channels.slack import SlackChannel
from channels.slack_errors import GONE, RATE_LIMITED, TROUBLE
from scheduler.contract import delivery_json
from scheduler.status import RecipientStatus
from scheduler.store.deliveries import Delivery
from tests.channels.conftest import served
from tests.failures.case import Arrangement, Bench, Case

SENT, RETRYING, UNCERTAIN, FAILED = (
    RecipientStatus.SENT,
    RecipientStatus.RETRYING,
    RecipientStatus.UNCERTAIN,
    RecipientStatus.FAILED,
)
FIRST_PAUSE = timedelta(seconds=1)
HALF_A_MINUTE = timedelta(seconds=30)
FEWER = "Slack asks for fewer messages."
UNREADABLE = "Slack gave no readable answer."
UNANSWERED = "Slack took the message but did not answer."
LOOKED_FOR = "looked for in the channel before it is posted again"
PLAIN = "posted once more at once, as plain text"
MORE_THAN_A_SECTION, MORE_THAN_A_MESSAGE = 10, 25
LIMIT = 30
"""Seconds; much longer than anything here takes, so that what hangs fails."""
LOST = SlackReply(reset=True, accept=True)


# ── what the other side does ─────────────────────────────────────────────────────────────────────────────────────────


def posts(*replies: SlackReply | None) -> Arrangement:
    """The next messages are answered so."""
    return lambda bench: bench.slack.script("chat.postMessage", *replies)


def limited(retry_after: str | None = None, **reply: Any) -> Arrangement:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    usual: dict[str, Any] = {"status": 429, "error": "ratelimited", "headers": headers}
    return posts(SlackReply(**(usual | reply)))


def with_limits(bench: Bench, *, total: float = LIMIT, url: str | None = None) -> None:
    """The product's channel, but waiting for pictures no longer than it takes to ask, and for answers ``total``."""
    session = OutboundSession(OutboundPolicy(["127.0.0.1"]), connect=total, total=total)
    bench.stack.push_async_callback(session.aclose)
    bench.channels.instead["slack"] = lambda token, secrets: SlackChannel(  # noqa: ARG005 - the registry's arguments
        token=token, api_url=url or bench.slack.url, session=session, picture_waits=(0, 0)
    )


def silent(bench: Bench) -> None:
    with_limits(bench, total=0.5)
    bench.slack.script("chat.postMessage", SlackReply(delay=2 * LIMIT))


async def nobody_there(bench: Bench) -> None:
    taken = bench.stack.enter_context(closing(socket.socket()))
    taken.bind(("127.0.0.1", 0))  # but not listening: every connection is refused
    with_limits(bench, url=f"http://127.0.0.1:{taken.getsockname()[1]}/api/")


async def a_list(bench: Bench) -> None:
    async def answer(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n[1,2,3] ")
        await writer.drain()
        await reader.read()

    with_limits(bench, url=f"http://127.0.0.1:{await bench.open(served(answer))}/api/")


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


async def show_dashboard(bench: Bench, names: Sequence[str], *, display: str = "table") -> None:
    """Subscribe to a dashboard of insights with these names instead of to a single one."""
    world = bench.world
    source = await world.app.catalog.add_source(world.project, "Tiles", f"sqlite:///{world.source_path}")
    sql = "SELECT day, n FROM t"
    tiles = [
        (await world.app.catalog.add_insight(world.project, name, source=source.id, sql=sql, display=display)).id
        for name in names
    ]
    dashboard = await world.app.catalog.add_dashboard(world.project, "Overview", insights=tiles)
    bench.targets["slack"] |= {"insight": None, "dashboard": dashboard.id, "dashboard_export_insights": tiles}


def in_a_thread(*replies: SlackReply | None) -> Callable[[Bench], Awaitable[None]]:
    """A dashboard of three: the main message, then two replies; the messages are answered so."""

    async def arrange(bench: Bench) -> None:
        await show_dashboard(bench, ["Orders", "Refunds", "Visits"])
        bench.slack.script("chat.postMessage", *replies)

    return arrange


hanging_thread = in_a_thread(None, None, SlackReply(delay=2 * LIMIT))


def long_names(count: int) -> Arrangement:
    """A dashboard whose names alone are long, and five times as long once escaped."""

    async def arrange(bench: Bench) -> None:
        await show_dashboard(bench, [f"{n} {'&' * 110}" for n in range(count)])

    return arrange


def drawn(*, refusals: int = 0, **scripted: SlackReply) -> Arrangement:
    """A chart; ``refusals``: how many messages may not show it, ``scripted``: what other methods (``__`` a dot) say."""

    async def arrange(bench: Bench) -> None:
        with_limits(bench)
        bench.slack.picture_refusals = refusals
        await show_dashboard(bench, ["Orders"], display="bar")
        for method, reply in scripted.items():
            bench.slack.script(method.replace("__", "."), reply)

    return arrange


# ── what is seen afterwards ──────────────────────────────────────────────────────────────────────────────────────────


def posted(bench: Bench) -> list[str]:
    """The scheduled delivery's messages, main and replies, by the name they begin with."""
    return [message.text.partition(" – ")[0] for message in bench.slack.messages]


async def newest(bench: Bench) -> Delivery:
    return (await bench.world.deliveries())[-1]


async def the_next_attempt(bench: Bench) -> RecipientStatus:
    delivery = await bench.try_again(await newest(bench), later=FIRST_PAUSE)
    return delivery.recipients[0].status


async def found_again(bench: Bench) -> None:
    assert await the_next_attempt(bench) is SENT
    assert "conversations.history" in bench.slack.calls
    assert posted(bench) == ["Numbers"]


async def posted_after_looking(bench: Bench) -> None:
    assert posted(bench) == []
    await found_again(bench)


async def posted_twice(bench: Bench) -> None:
    bench.slack.script("conversations.history", SlackReply(error="missing_scope"))
    assert await the_next_attempt(bench) is SENT
    assert posted(bench) == ["Numbers", "Numbers"]


async def the_thread_is_completed(bench: Bench) -> None:
    assert await the_next_attempt(bench) is SENT
    assert posted(bench) == ["Overview", "Refunds", "Visits"]


async def a_reply_is_posted_twice(bench: Bench) -> None:
    bench.slack.script("conversations.replies", SlackReply(error="missing_scope"))
    assert await the_next_attempt(bench) is SENT
    assert posted(bench) == ["Overview", "Refunds", "Refunds", "Visits"]


async def half_a_thread(bench: Bench) -> None:
    assert delivery_json(await newest(bench))["recipient_results"][0]["status"] == "partial"
    assert posted(bench) == ["Overview", "Refunds"]


def plain(bench: Bench) -> None:
    [message] = bench.slack.messages
    assert message.blocks == []
    assert "*Numbers*" in message.text
    assert "Next delivery" in message.text


def asked_twice(bench: Bench) -> None:
    assert bench.slack.calls == ["chat.postMessage"] * 2


def in_several_sections(bench: Bench) -> None:
    [main] = bench.slack.main_messages()
    assert [block["type"] for block in main.blocks] == ["header", "section", "section"]
    assert len(bench.slack.messages) == MORE_THAN_A_SECTION
    _within_limits(bench)


def cut_short(bench: Bench) -> None:
    [main] = bench.slack.main_messages()
    assert "Cut here" in str(main.blocks[-1])
    assert len(bench.slack.messages) == MORE_THAN_A_MESSAGE
    _within_limits(bench)


def _within_limits(bench: Bench) -> None:
    for message in bench.slack.messages:
        assert len(message.blocks) <= 50
        assert all(len(block["text"]["text"]) <= 3000 for block in message.blocks if block["type"] == "section")
        assert len(json.dumps(message.blocks, ensure_ascii=False)) <= 13_000


def with_its_chart(bench: Bench) -> None:
    assert [block["type"] for block in bench.slack.messages[0].blocks][-1] == "image"


def without_its_chart(bench: Bench) -> None:
    assert "The chart could not be shown here" in str(bench.slack.messages[0].blocks[-1])


def nothing_posted(bench: Bench) -> None:
    assert bench.slack.messages == []


# ── the cases ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _gone(code: str) -> Case:
    return Case(f"`{code}`", posts(SlackReply(error=code)), FAILED, GONE[code].format(""), disables=True)


def _trouble(code: str) -> Case:
    reason = f"Slack has trouble of its own ({code})."
    return Case(f"`{code}`", posts(SlackReply(error=code)), RETRYING, reason, FIRST_PAUSE)


def _limited(name: str, arrange: Arrangement, again: timedelta = HALF_A_MINUTE, **more: Any) -> Case:
    return Case(name, arrange, RETRYING, FEWER, again, counted=False, **more)


def _refused(code: str) -> Case:
    return Case(f"`{code}`", posts(SlackReply(error=code)), FAILED, f"Slack refused the message ({code}).")


ACCEPTED = [
    Case("`ok`", posts(None), SENT),
    Case("`ok`, with a thread", in_a_thread(), SENT, note="the main message, then one reply for each further insight"),
]

TOO_MANY = [
    _limited("429, `Retry-After: 45`", limited("45"), timedelta(seconds=45), note="the channel waits, others go on"),
    _limited("429 without `Retry-After`", limited()),
    _limited("429, `Retry-After: soon`", limited("soon")),
    _limited("429, `Retry-After: -5`", limited("-5")),
    _limited("429, `Retry-After: 0`", limited("0")),
    _limited("429, `Retry-After: 999999`", limited("999999"), timedelta(hours=1), note="asked again after an hour"),
    _limited("429, not JSON", limited("45", error=None, text="slow down"), timedelta(seconds=45)),
    *(_limited(f"200, `{code}`", limited(status=200, error=code)) for code in sorted(RATE_LIMITED)),
    _limited(
        "429 to the upload of a chart",
        drawn(files__getUploadURLExternal=SlackReply(status=429, error="ratelimited")),
        also=nothing_posted,
        note="text and chart wait together",
    ),
    _limited(
        "429 to a reply",
        in_a_thread(None, SlackReply(status=429, error="ratelimited")),
        also=lambda bench: _completed_after(bench, HALF_A_MINUTE),
        note="what is posted already is not posted again",
    ),
]


async def _completed_after(bench: Bench, pause: timedelta) -> None:
    delivery = await bench.try_again(await newest(bench), later=pause)
    assert delivery.recipients[0].status is SENT
    assert posted(bench) == ["Overview", "Refunds", "Visits"]


TROUBLED = [
    *(_trouble(code) for code in sorted(TROUBLE)),
    Case(
        "`internal_error`, yet it was posted",
        posts(SlackReply(error="internal_error", accept=True)),
        RETRYING,
        "Slack has trouble of its own (internal_error).",
        FIRST_PAUSE,
        also=found_again,
        note=LOOKED_FOR,
    ),
    Case(
        "500, a page",
        posts(SlackReply(status=500, text="<h1>Oops</h1>")),
        RETRYING,
        UNREADABLE[:-1] + " (500).",
        FIRST_PAUSE,
    ),
    Case(
        "502, yet it was posted",
        posts(SlackReply(status=502, text="<h1>Bad gateway</h1>", accept=True)),
        RETRYING,
        UNREADABLE[:-1] + " (502).",
        FIRST_PAUSE,
        also=found_again,
        note=LOOKED_FOR,
    ),
    Case("200, a page", posts(SlackReply(text="<html>a login page</html>")), RETRYING, UNREADABLE, FIRST_PAUSE),
    Case("200, half of the JSON", posts(SlackReply(text='{"ok": tr', json=True)), RETRYING, UNREADABLE, FIRST_PAUSE),
    Case("200, JSON that is no object", a_list, RETRYING, UNREADABLE, FIRST_PAUSE),
    Case("connection refused", nobody_there, RETRYING, "Slack could not be reached.", FIRST_PAUSE),
]

UNCLEAR = [
    Case(
        "reset after the request was read",
        posts(SlackReply(reset=True)),
        UNCERTAIN,
        UNANSWERED,
        FIRST_PAUSE,
        also=posted_after_looking,
        note=LOOKED_FOR,
    ),
    Case(
        "posted, then reset",
        posts(LOST),
        UNCERTAIN,
        UNANSWERED,
        FIRST_PAUSE,
        also=found_again,
        note="found, not posted again",
    ),
    Case(
        "posted, then reset, where the app may not read the channel",
        posts(LOST),
        UNCERTAIN,
        UNANSWERED,
        FIRST_PAUSE,
        also=posted_twice,
        note="posted again",
    ),
    Case(
        "no answer within the limit",
        silent,
        UNCERTAIN,
        UNANSWERED,
        FIRST_PAUSE,
        also=posted_after_looking,
        note=LOOKED_FOR,
    ),
]

REFUSED = [
    *(_refused(code) for code in ("msg_too_long", "no_text", "an_error_of_tomorrow")),
    *(
        Case(f"`{code}`", posts(SlackReply(error=code)), SENT, also=plain, note=PLAIN)
        for code in ("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long")
    ),
    Case(
        "`invalid_blocks`, and again without blocks",
        posts(*[SlackReply(error="invalid_blocks")] * 2),
        FAILED,
        "Slack refused the message (invalid_blocks).",
        also=asked_twice,
    ),
]

TOO_LONG = [
    Case(
        "a text longer than a section takes (3,000 characters)",
        long_names(MORE_THAN_A_SECTION),
        SENT,
        also=in_several_sections,
        note="posted in several sections",
    ),
    Case(
        "a text longer than a message takes (50 blocks, 13,000 characters)",
        long_names(MORE_THAN_A_MESSAGE),
        SENT,
        also=cut_short,
        note="cut before it is sent, with a line that says so",
    ),
]

DRAWN = [
    Case(
        "a chart that Slack still looks at",
        drawn(refusals=2),
        SENT,
        also=with_its_chart,
        note="posted when it is ready",
    ),
    Case(
        "a chart that Slack never shows",
        drawn(refusals=99),
        SENT,
        also=without_its_chart,
        note="posted without it, with a line that says so",
    ),
    Case(
        "a chart that the app may not upload",
        drawn(files__getUploadURLExternal=SlackReply(error="missing_scope")),
        SENT,
        also=without_its_chart,
        note="posted without it, with a line that says so",
    ),
]

IN_THREADS = [
    Case(
        "a reply is refused for now",
        in_a_thread(None, SlackReply(error="service_unavailable")),
        RETRYING,
        "Slack has trouble of its own (service_unavailable).",
        FIRST_PAUSE,
        also=the_thread_is_completed,
        note="only what is missing is posted",
    ),
    Case(
        "a reply is refused for good",
        in_a_thread(None, None, SlackReply(error="msg_too_long")),
        FAILED,
        "Slack refused the message (msg_too_long).",
        also=half_a_thread,
        note="`partial` in `recipient_results`",
    ),
    Case(
        "a reply was posted, then reset",
        in_a_thread(None, LOST),
        UNCERTAIN,
        UNANSWERED,
        FIRST_PAUSE,
        also=the_thread_is_completed,
        note="looked for in the thread; only what is missing is posted",
    ),
    Case(
        "a reply was reset, and not posted",
        in_a_thread(None, SlackReply(reset=True)),
        UNCERTAIN,
        UNANSWERED,
        FIRST_PAUSE,
        also=the_thread_is_completed,
        note="looked for in the thread, then posted",
    ),
    Case(
        "a reply was posted, then reset, where the app may not read the channel",
        in_a_thread(None, LOST),
        UNCERTAIN,
        UNANSWERED,
        FIRST_PAUSE,
        also=a_reply_is_posted_twice,
        note="that reply is posted again",
    ),
]

DIED = Case(
    "the worker dies while it posts a thread",
    hanging_thread,
    SENT,
    note="by the next attempt, which looks for what is posted and posts only the rest",
)
"""The one that takes two workers: played out by a test of its own."""

GONE_FOR_GOOD = [_gone(code) for code in sorted(GONE)]

CASES = [*ACCEPTED, *TOO_MANY, *TROUBLED, *UNCLEAR, *REFUSED, *TOO_LONG, *DRAWN, *IN_THREADS, DIED, *GONE_FOR_GOOD]
