"""Slack: threads that resume, pictures that may fail, and every way it says no."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from channels.base import Attachment, Export, Message, PermanentFailure, RecipientResult, Sent, TransientFailure
from channels.outbound import OutboundPolicy
from channels.outbound_http import OutboundSession
from channels.receivers import SlackReceiver, SlackReply
from channels.slack import SlackChannel
from channels.slack_api import SlackApi
from channels.slack_errors import GONE, TROUBLE, SlackTrouble
from tests.channels.benches import TOKEN, a_slack_channel
from tests.channels.conftest import PNG, a_message, served

CHANNEL = "C0123456789"


@pytest.fixture
async def receiver() -> AsyncIterator[SlackReceiver]:
    async with SlackReceiver(tokens=(TOKEN,)) as receiver:
        yield receiver


@pytest.fixture
async def channel(receiver: SlackReceiver) -> AsyncIterator[SlackChannel]:
    channel = a_slack_channel(receiver.url)
    yield channel
    await channel.aclose()


async def send(channel: SlackChannel, message: Message, earlier: RecipientResult | None = None) -> RecipientResult:
    if earlier is not None and earlier.progress is not None:
        message = replace(message, progress={earlier.recipient: earlier.progress})
    [result] = await channel.send(message, [earlier.recipient if earlier else CHANNEL])
    return result


def kinds(blocks: list[dict[str, Any]]) -> list[str]:
    return [block["type"] for block in blocks]


async def test_a_delivery_is_a_message_with_the_first_chart_and_a_thread_of_the_others(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    result = await send(channel, message)

    [main] = receiver.main_messages()
    refunds, visits = receiver.thread(main.ts)
    assert result.outcome == Sent(provider_id=main.ts)
    assert result.progress == {"ts": main.ts, "channel": CHANNEL, "replies": 2}
    assert kinds(main.blocks) == ["header", "section", "image"]
    assert main.blocks[0]["text"]["text"] == "Sales: Größe & <Gewicht>"
    assert main.text == "Sales: Größe &amp; &lt;Gewicht&gt;"
    assert kinds(refunds.blocks) == ["section", "section"]
    assert refunds.blocks[1]["text"]["text"] == "⚠ The source took too long."
    assert kinds(visits.blocks) == ["section", "section", "image"]
    assert [file.content for file in receiver.files.values()] == [PNG, PNG * 2]
    assert all(file.completed and not file.shares for file in receiver.files.values())


async def test_every_message_is_marked_and_unfurls_nothing(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    await send(channel, message)

    for part, posted in enumerate(receiver.messages):
        assert posted.metadata == {
            "event_type": "paperround_delivery",
            "event_payload": {"identity": message.identity(CHANNEL), "part": part},
        }
        assert posted.request["unfurl_links"] is posted.request["unfurl_media"] is False


async def test_a_persons_thread_goes_where_their_conversation_is(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    [result] = await channel.send(message, ["U0123456789"])

    assert {posted.channel for posted in receiver.messages} == {"D0123456789"}
    assert result.progress is not None
    assert result.progress["channel"] == "D0123456789"


async def test_attachments_follow_in_the_thread(channel: SlackChannel, receiver: SlackReceiver) -> None:
    message = a_message(attachments=(Attachment("orders.csv", "text/csv", b"a,b\n"),))

    result = await send(channel, message)

    [main] = receiver.main_messages()
    [csv] = [file for file in receiver.files.values() if file.filename == "orders.csv"]
    assert (csv.content, csv.shares) == (b"a,b\n", [(CHANNEL, main.ts)])
    assert result.progress == {"ts": main.ts, "channel": CHANNEL, "replies": 3}


async def test_an_attachment_slack_does_not_take_is_mentioned(channel: SlackChannel, receiver: SlackReceiver) -> None:
    message = a_message(exports=(), attachments=(Attachment("orders.csv", "text/csv", b"a,b\n"),))
    receiver.script("files.getUploadURLExternal", SlackReply(error="missing_scope"))

    result = await send(channel, message)

    assert isinstance(result.outcome, Sent)
    assert receiver.messages[1].text.startswith("orders.csv could not be attached.")


# Pictures


@pytest.mark.parametrize("step", ["files.getUploadURLExternal", "upload", "files.completeUploadExternal"])
@pytest.mark.parametrize(
    "reply",
    [
        SlackReply(error="missing_scope"),
        SlackReply(status=500, text="?"),
        SlackReply(reset=True),
        SlackReply(text='{"ok": true}', json=True),
    ],
)
async def test_a_picture_that_cannot_be_uploaded_does_not_hold_up_the_text(
    channel: SlackChannel, receiver: SlackReceiver, message: Message, step: str, reply: SlackReply
) -> None:
    if step == "upload" and reply.status == 200 and not reply.reset:
        reply = replace(reply, status=403)
    receiver.script(step, reply)

    result = await send(channel, message)

    [main] = receiver.main_messages()
    assert isinstance(result.outcome, Sent)
    assert kinds(main.blocks) == ["header", "section", "context"]
    assert kinds(receiver.messages[2].blocks) == ["section", "section", "image"]


async def test_a_picture_slack_still_looks_at_is_waited_for(message: Message) -> None:
    async with SlackReceiver(picture_refusals=2) as receiver:
        channel = a_slack_channel(receiver.url, picture_waits=(0, 0))
        result = await send(channel, message)
        await channel.aclose()

    assert isinstance(result.outcome, Sent)
    assert kinds(receiver.messages[0].blocks) == ["header", "section", "image"]
    assert len(receiver.main_messages()) == 1


async def test_a_picture_slack_never_takes_is_left_out(message: Message) -> None:
    async with SlackReceiver(picture_refusals=99) as receiver:
        channel = a_slack_channel(receiver.url, picture_waits=(0, 0))
        result = await send(channel, message)
        await channel.aclose()

    assert isinstance(result.outcome, Sent)
    assert kinds(receiver.messages[0].blocks) == ["header", "section", "context"]
    assert len(receiver.messages) == 3


# Resuming


async def test_a_thread_resumes_with_the_next_reply(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    receiver.script("chat.postMessage", None, None, SlackReply(error="ratelimited", status=429))

    first = await send(channel, message)
    second = await send(channel, message, first)

    [main] = receiver.main_messages()
    assert isinstance(first.outcome, TransientFailure)
    assert first.progress == {"ts": main.ts, "channel": CHANNEL, "replies": 1}
    assert isinstance(second.outcome, Sent)
    assert [posted.text for posted in receiver.thread(main.ts)] == ["Refunds", "Visits"]
    assert "conversations.replies" not in receiver.calls  # what was refused need not be looked for


async def test_a_finished_thread_is_not_posted_again(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    first = await send(channel, message)
    second = await send(channel, message, first)

    assert second.outcome == first.outcome
    assert len(receiver.messages) == 3


LOST_ANSWERS = [
    SlackReply(reset=True, accept=True),
    SlackReply(status=502, text="<h1>Bad gateway</h1>", accept=True),
    SlackReply(error="fatal_error", accept=True),
    SlackReply(text="not json at all", accept=True),
]


@pytest.mark.parametrize("lost", LOST_ANSWERS)
async def test_a_message_that_may_have_arrived_is_found_by_its_mark(
    channel: SlackChannel, receiver: SlackReceiver, message: Message, lost: SlackReply
) -> None:
    await send(channel, replace(message, id="an earlier delivery"))
    receiver.script("chat.postMessage", lost)

    first = await send(channel, message)
    second = await send(channel, message, first)

    assert isinstance(first.outcome, TransientFailure)
    assert first.progress == {"uncertain": True}
    assert isinstance(second.outcome, Sent)
    assert [posted.text for posted in receiver.thread(str(second.outcome.provider_id))] == ["Refunds", "Visits"]
    assert len(receiver.main_messages()) == 2


async def test_a_message_that_did_not_arrive_is_posted_after_looking(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    receiver.script("chat.postMessage", SlackReply(reset=True))

    second = await send(channel, message, await send(channel, message))

    assert isinstance(second.outcome, Sent)
    assert "conversations.history" in receiver.calls
    assert len(receiver.main_messages()) == 1


async def test_without_the_right_to_look_it_is_posted_again(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    receiver.script("chat.postMessage", SlackReply(reset=True, accept=True))
    receiver.script("conversations.history", SlackReply(error="missing_scope"))

    second = await send(channel, message, await send(channel, message))

    assert isinstance(second.outcome, Sent)
    assert len(receiver.main_messages()) == 2


async def test_while_slack_does_not_let_us_look_nothing_is_posted(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    receiver.script("chat.postMessage", SlackReply(reset=True, accept=True))
    receiver.script("conversations.history", SlackReply(error="ratelimited", status=429, headers={"Retry-After": "9"}))

    first = await send(channel, message)
    second = await send(channel, message, first)
    third = await send(channel, message, second)

    assert second.progress == {"uncertain": True}
    assert isinstance(second.outcome, TransientFailure)
    assert second.outcome.retry_after == timedelta(seconds=9)
    assert isinstance(third.outcome, Sent)
    assert len(receiver.main_messages()) == 1


async def test_it_is_found_behind_a_few_hundred_other_messages(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    receiver.script("chat.postMessage", SlackReply(reset=True, accept=True))
    first = await send(channel, message)
    receiver.messages.extend(
        replace(receiver.messages[0], ts=f"{n}.0", metadata=None) for n in range(1_800_000_000, 1_800_000_450)
    )

    second = await send(channel, message, first)

    assert second.outcome == Sent(provider_id=receiver.messages[0].ts)
    assert receiver.calls.count("conversations.history") == 3


async def test_where_slack_shows_one_page_a_minute_that_page_has_to_do(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    receiver.page = 15
    receiver.script("chat.postMessage", SlackReply(reset=True, accept=True))
    first = await send(channel, message)
    receiver.messages.extend(replace(receiver.messages[0], ts=f"{n}.0", metadata=None) for n in range(1, 31))
    receiver.script("conversations.history", None, SlackReply(error="ratelimited", status=429))

    second = await send(channel, message, first)

    assert isinstance(second.outcome, Sent)
    assert receiver.calls.count("conversations.history") == 2


@pytest.mark.parametrize("lost", LOST_ANSWERS)
async def test_a_reply_that_may_have_arrived_is_found_in_the_thread(
    channel: SlackChannel, receiver: SlackReceiver, message: Message, lost: SlackReply
) -> None:
    receiver.script("chat.postMessage", None, lost)

    first = await send(channel, message)
    second = await send(channel, message, first)

    [main] = receiver.main_messages()
    assert first.progress == {"ts": main.ts, "channel": CHANNEL, "replies": 0, "uncertain": True}
    assert second == RecipientResult(CHANNEL, Sent(main.ts), {"ts": main.ts, "channel": CHANNEL, "replies": 2})
    assert [posted.text for posted in receiver.thread(main.ts)] == ["Refunds", "Visits"]


async def test_a_reply_that_did_not_arrive_is_posted_after_looking(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    receiver.script("chat.postMessage", None, SlackReply(reset=True))

    second = await send(channel, message, await send(channel, message))

    [main] = receiver.main_messages()
    assert isinstance(second.outcome, Sent)
    assert receiver.calls.count("conversations.replies") == 1
    assert [posted.text for posted in receiver.thread(main.ts)] == ["Refunds", "Visits"]


async def test_without_the_right_to_look_a_reply_is_posted_again(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    receiver.script("chat.postMessage", None, SlackReply(reset=True, accept=True))
    receiver.script("conversations.replies", SlackReply(error="missing_scope"))

    second = await send(channel, message, await send(channel, message))

    [main] = receiver.main_messages()
    assert isinstance(second.outcome, Sent)
    assert [posted.text for posted in receiver.thread(main.ts)] == ["Refunds", "Refunds", "Visits"]


@pytest.mark.parametrize(
    ("replies", "reason", "put_off"),
    [
        ([SlackReply(error="ratelimited", status=429)], "Slack asks for fewer messages.", True),
        ([SlackReply(reset=True)] * 2, "Slack did not answer.", False),  # aiohttp reads once more by itself
        ([SlackReply(status=500, text="?")], "Slack gave no readable answer (500).", False),
    ],
)
async def test_while_a_thread_cannot_be_looked_at_its_reply_stays_uncertain(
    channel: SlackChannel,
    receiver: SlackReceiver,
    message: Message,
    replies: list[SlackReply],
    reason: str,
    put_off: bool,
) -> None:
    receiver.script("chat.postMessage", None, SlackReply(reset=True, accept=True))
    receiver.script("conversations.replies", *replies)

    first = await send(channel, message)
    second = await send(channel, message, first)
    third = await send(channel, message, second)

    assert isinstance(second.outcome, TransientFailure)
    assert (second.outcome.reason, second.outcome.put_off) == (reason, put_off)
    assert second.outcome.uncertain
    assert second.progress == first.progress
    assert isinstance(third.outcome, Sent)
    assert len(receiver.messages) == 3


@pytest.mark.parametrize("posted", [1, 2, 3])
@pytest.mark.parametrize("known", [{}, {"replies": 0}])
async def test_of_an_attempt_that_left_no_word_everything_is_looked_for(
    channel: SlackChannel, receiver: SlackReceiver, message: Message, posted: int, known: dict[str, Any]
) -> None:
    await send(channel, message)
    del receiver.messages[posted:]
    [main] = receiver.main_messages()
    place = {"ts": main.ts, "channel": CHANNEL} if known else {}

    again = await send(channel, message, RecipientResult(CHANNEL, Sent(), {**place, **known, "uncertain": True}))

    assert again == RecipientResult(CHANNEL, Sent(main.ts), {"ts": main.ts, "channel": CHANNEL, "replies": 2})
    assert [each.text for each in receiver.messages] == [main.text, "Refunds", "Visits"]


async def test_a_reply_that_a_person_deleted_is_not_posted_again(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    await send(channel, message)
    del receiver.messages[1]

    again = await send(channel, message, RecipientResult(CHANNEL, Sent(), {"uncertain": True}))

    assert isinstance(again.outcome, Sent)
    assert [each.text for each in receiver.messages[1:]] == ["Visits"]


async def test_an_attachment_that_may_have_arrived_is_found_by_its_name(
    channel: SlackChannel, receiver: SlackReceiver
) -> None:
    tables = [Attachment(f"{name}.csv", "text/csv", b"a,b\n") for name in ("orders", "visits")]
    message = a_message(attachments=tuple(tables), exports=())
    receiver.script("files.completeUploadExternal", SlackReply(reset=True, accept=True))

    first = await send(channel, message)
    second = await send(channel, message, first)

    [main] = receiver.main_messages()
    assert first.progress == {"ts": main.ts, "channel": CHANNEL, "replies": 0, "uncertain": True}
    assert isinstance(second.outcome, Sent)
    assert [file.filename for file in receiver.files.values() if file.shares] == ["orders.csv", "visits.csv"]


# Blocks that are refused


@pytest.mark.parametrize("code", ["invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"])
async def test_refused_blocks_are_left_out_once_and_at_once(
    channel: SlackChannel, receiver: SlackReceiver, message: Message, code: str
) -> None:
    receiver.script("chat.postMessage", SlackReply(error=code), None, SlackReply(error=code))

    result = await send(channel, message)

    main, refunds, visits = receiver.messages
    assert isinstance(result.outcome, Sent)
    assert main.text == "*Sales: Größe &amp; &lt;Gewicht&gt;*\nOrders: 118\n_The chart could not be shown here._"
    assert refunds.text == "*Refunds*\n⚠ The source took too long."
    assert main.blocks == refunds.blocks == []
    assert kinds(visits.blocks) == ["section", "section", "image"]
    assert [(posted.metadata or {})["event_payload"]["part"] for posted in receiver.messages] == [0, 1, 2]


async def test_a_text_that_is_refused_without_blocks_too_is_final(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    receiver.script("chat.postMessage", SlackReply(error="invalid_blocks"), SlackReply(error="msg_too_long"))

    result = await send(channel, message)

    assert result.outcome == PermanentFailure("Slack refused the message (msg_too_long).")
    assert receiver.calls.count("chat.postMessage") == 2


async def test_a_long_text_without_blocks_is_cut_to_one_message(channel: SlackChannel, receiver: SlackReceiver) -> None:
    long = Export("long", "T" * 500, "<&>" * 20_000)
    message = a_message(subject="S" * 500, text="line & more\n" * 5000, exports=(long, long))
    receiver.script("chat.postMessage", SlackReply(error="invalid_blocks"), None, SlackReply(error="invalid_blocks"))

    result = await send(channel, message)

    assert isinstance(result.outcome, Sent)
    for posted in receiver.messages:
        assert len(posted.text) <= 4000
        assert posted.text.endswith("\n_Cut here: Slack takes no longer messages._")


async def test_when_slack_wants_fewer_uploads_the_picture_is_not_given_up(
    channel: SlackChannel, receiver: SlackReceiver, message: Message
) -> None:
    receiver.script("files.getUploadURLExternal", SlackReply(error="ratelimited", status=429))

    first = await send(channel, message)
    second = await send(channel, message, first)

    assert isinstance(first.outcome, TransientFailure)
    assert first.outcome.put_off
    assert isinstance(second.outcome, Sent)
    assert kinds(receiver.messages[0].blocks) == ["header", "section", "image"]


# Saying no


@pytest.mark.parametrize("code", sorted(GONE))
async def test_these_errors_mean_the_target_is_gone(
    channel: SlackChannel, receiver: SlackReceiver, message: Message, code: str
) -> None:
    receiver.script("chat.postMessage", SlackReply(error=code))

    result = await send(channel, message)

    assert isinstance(result.outcome, PermanentFailure)
    assert result.outcome.target_gone
    assert result.outcome.reason.endswith(".")
    assert "{" not in result.outcome.reason
    assert result.progress is None


@pytest.mark.parametrize("code", sorted(TROUBLE))
async def test_these_errors_may_pass(
    channel: SlackChannel, receiver: SlackReceiver, message: Message, code: str
) -> None:
    receiver.script("chat.postMessage", SlackReply(error=code))

    result = await send(channel, message)

    assert isinstance(result.outcome, TransientFailure)
    assert not result.outcome.uncertain


@pytest.mark.parametrize(
    "code", ["msg_too_long", "metadata_too_large", "no_text", "as_user_not_supported", "brand_new"]
)
async def test_every_other_error_is_final_for_this_delivery(
    channel: SlackChannel, receiver: SlackReceiver, message: Message, code: str
) -> None:
    receiver.script("chat.postMessage", SlackReply(error=code))

    result = await send(channel, message)

    assert result.outcome == PermanentFailure(f"Slack refused the message ({code}).")


@pytest.mark.parametrize(
    ("reply", "uncertain"),
    [
        (SlackReply(status=500, text="<html>"), False),
        (SlackReply(status=503, error="service_unavailable"), False),
        (SlackReply(text="<html>a login page</html>"), False),
        (SlackReply(text='{"ok": fal'), False),
        (SlackReply(error="<script>"), False),
        (SlackReply(reset=True), True),
    ],
)
async def test_trouble_on_the_way_may_pass(
    channel: SlackChannel,
    receiver: SlackReceiver,
    message: Message,
    reply: SlackReply,
    uncertain: bool,
) -> None:
    receiver.script("chat.postMessage", reply)

    result = await send(channel, message)

    assert isinstance(result.outcome, TransientFailure)
    assert (result.outcome.retry_after, result.outcome.put_off) == (None, False)
    assert result.outcome.uncertain == uncertain
    assert "<" not in result.outcome.reason


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (SlackReply(status=429, headers={"Retry-After": "45"}, error="ratelimited"), 45),
        (SlackReply(status=429, headers={"Retry-After": "45"}, text="slow down"), 45),
        (SlackReply(status=429, headers={"Retry-After": "soon"}, error="ratelimited"), None),
        (SlackReply(status=429, headers={"Retry-After": "-1"}, error="ratelimited"), None),
        (SlackReply(status=429, headers={"Retry-After": "0"}, error="ratelimited"), 0),
        (SlackReply(status=429, text="slow down"), None),
        (SlackReply(error="rate_limited"), None),
    ],
)
async def test_whoever_sends_too_much_is_put_off(
    channel: SlackChannel, receiver: SlackReceiver, message: Message, reply: SlackReply, seconds: int | None
) -> None:
    receiver.script("chat.postMessage", reply)

    result = await send(channel, message)

    pause = None if seconds is None else timedelta(seconds=seconds)
    assert result.outcome == TransientFailure("Slack asks for fewer messages.", retry_after=pause, put_off=True)
    assert result.progress is None


async def test_json_that_is_no_object_may_pass(message: Message) -> None:
    async def listing(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n[1,2,3] ")
        await writer.drain()
        await reader.read()

    async with served(listing) as port:
        channel = a_slack_channel(f"http://127.0.0.1:{port}/api/")
        result = await send(channel, a_message(exports=()))
        await channel.aclose()

    assert isinstance(result.outcome, TransientFailure)


async def test_an_answer_that_names_no_place_for_a_file_may_pass(receiver: SlackReceiver) -> None:
    receiver.script("files.getUploadURLExternal", SlackReply(text='{"ok": true, "file_id": "F1"}', json=True))
    session = OutboundSession(OutboundPolicy(["127.0.0.1"]))
    api = SlackApi(token=TOKEN, api_url=receiver.url, session=session)

    with pytest.raises(SlackTrouble) as told:
        await api.upload("chart.png", PNG)
    await session.aclose()

    assert told.value.outcome == TransientFailure("Slack did not say where to put a file.")


async def test_an_answer_that_names_no_message_may_pass(channel: SlackChannel, receiver: SlackReceiver) -> None:
    receiver.script("chat.postMessage", SlackReply(text='{"ok": true}', json=True))

    result = await send(channel, a_message(exports=()))

    assert isinstance(result.outcome, TransientFailure)


async def test_an_answer_that_never_comes_is_uncertain(receiver: SlackReceiver) -> None:
    receiver.script("chat.postMessage", SlackReply(delay=30))
    session = OutboundSession(OutboundPolicy(["127.0.0.1"]), total=0.2)
    channel = a_slack_channel(receiver.url, session=session)

    result = await send(channel, a_message(exports=()))
    await session.aclose()

    assert isinstance(result.outcome, TransientFailure)
    assert result.outcome.uncertain


async def test_a_missing_permission_is_named(channel: SlackChannel, receiver: SlackReceiver, message: Message) -> None:
    answer = '{"ok": false, "error": "missing_scope", "needed": "chat:write"}'
    receiver.script("chat.postMessage", SlackReply(text=answer, json=True))

    result = await send(channel, message)

    assert result.outcome == PermanentFailure(
        "The app lacks a permission (chat:write); add it and connect Slack again.", target_gone=True
    )


async def test_a_wrong_token_is_gone_and_told_to_nobody(
    receiver: SlackReceiver, message: Message, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    channel = a_slack_channel(receiver.url, token="xoxb-revoked")

    result = await send(channel, message)
    await channel.aclose()

    assert isinstance(result.outcome, PermanentFailure)
    assert result.outcome.target_gone
    assert "xoxb" not in result.outcome.reason + caplog.text
    assert "Orders: 118" not in caplog.text


async def test_a_shared_session_outlives_the_channels(receiver: SlackReceiver, message: Message) -> None:
    session = OutboundSession(OutboundPolicy(["127.0.0.1"]))
    for _ in range(2):
        channel = a_slack_channel(receiver.url, session=session)
        assert isinstance((await send(channel, message)).outcome, Sent)
        await channel.aclose()

    await session.aclose()


@pytest.mark.parametrize(
    ("target", "recipient"),
    [("C0123456789", "C0123456789"), ("C0123456789|#sales", "C0123456789"), (" G01|#x ", "G01"), ("U01ABC", "U01ABC")],
)
def test_of_a_target_only_the_id_counts(target: str, recipient: str) -> None:
    assert a_slack_channel("http://127.0.0.1/api/").recipients(target) == [recipient]


async def test_what_is_too_long_for_slack_is_cut_before_it_is_sent(
    channel: SlackChannel, receiver: SlackReceiver
) -> None:
    long = Export("long", "T" * 500, "<&>" * 20_000)
    message = a_message(subject="S" * 500, text="line & more\n" * 5000, exports=(long, long))

    result = await send(channel, message)

    assert isinstance(result.outcome, Sent)
    for posted in receiver.messages:
        assert "Cut here" in str(posted.blocks[-1])
