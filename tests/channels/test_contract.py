"""What every channel promises, whatever it speaks. A new one is a bench in ``benches.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from channels.base import Channel, Message, PermanentFailure, Sent, TargetError, TransientFailure
from tests.channels.benches import KINDS, Bench, a_slack_channel, a_webhook_channel, an_email_channel, bench_for


@pytest.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_for(request.param, tmp_path) as bench:
        yield bench


async def test_there_is_one_result_a_recipient_in_their_order(bench: Bench, message: Message) -> None:
    results = await bench.channel.send(message, bench.good)

    assert [result.recipient for result in results] == bench.good
    assert all(isinstance(result.outcome, Sent) for result in results)
    assert bench.seen() == [message.identity(recipient) for recipient in bench.good]


async def test_a_refused_recipient_does_not_hold_up_the_others(bench: Bench, message: Message) -> None:
    refused = bench.refuse_the_second_of_three()

    results = await bench.channel.send(message, bench.good)

    assert [type(result.outcome) for result in results] == [Sent, PermanentFailure, Sent]
    assert results[1].recipient == refused
    assert isinstance(results[1].outcome, PermanentFailure)
    assert results[1].outcome.reason


async def test_trouble_that_may_pass_is_transient_and_the_next_attempt_has_the_same_identity(
    bench: Bench, message: Message
) -> None:
    bench.be_busy_once()
    recipient = bench.good[0]

    [first] = await bench.channel.send(message, [recipient])
    if (folder := getattr(bench, "folder", None)) is not None:
        folder.unlink()
    [second] = await bench.channel.send(_continued(message, recipient, first.progress), [recipient])

    assert isinstance(first.outcome, TransientFailure)
    assert isinstance(second.outcome, Sent)
    assert bench.seen()[-1] == message.identity(recipient)


async def test_two_attempts_are_recognisable_as_one_delivery(bench: Bench, message: Message) -> None:
    recipient = bench.good[0]

    await bench.channel.send(message, [recipient])
    await bench.channel.send(message, [recipient])

    assert set(bench.seen()) == {message.identity(recipient)}


async def test_no_reason_tells_a_secret(bench: Bench, message: Message) -> None:
    bench.be_busy_once()
    [busy] = await bench.channel.send(message, bench.good[:1])
    if (folder := getattr(bench, "folder", None)) is not None:
        folder.unlink()
    bench.refuse_the_second_of_three()
    results = [busy, *await bench.channel.send(message, bench.good)]

    reasons = [result.outcome.reason for result in results if not isinstance(result.outcome, Sent)]
    assert len(reasons) >= 2
    for reason in reasons:
        assert len(reason) < 200
        assert "://" not in reason
        assert not [secret for secret in bench.secrets if secret in reason]


async def test_a_target_that_cannot_be_used_is_refused_with_what_to_fix(bench: Bench) -> None:
    for target in bench.bad_targets:
        with pytest.raises(TargetError) as refused:
            bench.channel.recipients(target)

        assert str(refused.value).endswith(".")


async def test_a_good_target_gives_recipients_that_can_be_sent_to(bench: Bench, message: Message) -> None:
    target = bench.good[0]

    assert bench.channel.recipients(target) == [target]


async def test_closing_twice_is_fine(bench: Bench, message: Message) -> None:
    await bench.channel.send(message, bench.good[:1])

    await bench.channel.aclose()
    await bench.channel.aclose()


async def test_closing_what_was_never_used_is_fine(bench: Bench) -> None:
    await bench.channel.aclose()


@pytest.mark.parametrize("kind", ["email", "slack", "webhook"])
async def test_a_dead_server_is_a_transient_failure_for_everybody(kind: str, dead_port: int, message: Message) -> None:
    channel, recipients = _at(kind, dead_port)

    results = await channel.send(message, recipients)
    await channel.aclose()

    assert [result.recipient for result in results] == recipients
    for result in results:
        assert isinstance(result.outcome, TransientFailure)
        assert not result.outcome.uncertain


def _at(kind: str, port: int) -> tuple[Channel, list[str]]:
    match kind:
        case "email":
            return an_email_channel(port), ["ann@example.com", "ben@example.com"]
        case "slack":
            return a_slack_channel(f"http://127.0.0.1:{port}/api/"), ["C0000000001", "C0000000002"]
        case _:
            return a_webhook_channel(), [f"http://127.0.0.1:{port}/a", f"http://127.0.0.1:{port}/b"]


def _continued(message: Message, recipient: str, progress: object) -> Message:
    return replace(message, progress={recipient: progress} if progress else {})  # type: ignore[dict-item]
