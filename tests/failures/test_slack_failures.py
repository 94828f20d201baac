"""Slack: each line of the matrix, and what goes beyond one attempt."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from operator import attrgetter

import pytest

from channels.receivers import SlackReply
from scheduler.status import RecipientStatus
from tests.failures.case import LONGEST_THREAD, Bench, Case, expected_row, play_out, row_of
from tests.failures.slack_cases import CASES, DIED, LIMIT, SENT, hanging_thread, in_a_thread, posted
from tests.scheduler.conftest import LEASE, NOON, settle

CROWDED, QUIET = "C0000000001", "C0000000002"


@pytest.mark.parametrize("case", [case for case in CASES if case is not DIED], ids=attrgetter("name"))
async def test_a_slack_message_that_fails_ends_in_its_row(case: Case, bench: Bench) -> None:
    await play_out(case, bench, kind="slack")


async def test_when_slack_wants_fewer_messages_the_whole_channel_waits_and_others_go_on(bench: Bench) -> None:
    await bench.subscribe("slack", target_value=CROWDED)
    for channel in (CROWDED, QUIET):
        await bench.subscribe("slack", target_value=channel, start_date=NOON + timedelta(hours=1))
    bench.slack.script("chat.postMessage", SlackReply(status=429, error="ratelimited", headers={"Retry-After": "2400"}))
    runner = bench.world.runner()
    await bench.come_due(runner)

    bench.world.clock.advance(minutes=30)
    await settle(runner)

    states = [(each.recipients[0].address, each.recipients[0].status) for each in await bench.world.deliveries()]
    assert states[0] == (CROWDED, RecipientStatus.RETRYING)
    assert sorted(states[1:]) == [(CROWDED, RecipientStatus.PENDING), (QUIET, SENT)]
    assert bench.slack.calls == ["chat.postMessage"] * 2


async def test_what_a_dead_worker_has_posted_is_found_and_only_the_rest_is_posted(bench: Bench) -> None:
    await hanging_thread(bench)
    await bench.subscribe("slack")
    bench.world.clock.advance(minutes=30)
    await _die_over(bench, calls=3)

    bench.world.clock.advance(seconds=LEASE.total_seconds())
    await settle(bench.world.runner())

    [delivery] = await bench.world.deliveries()
    assert row_of(delivery, bench=bench) == expected_row(DIED) | {"attempts": 2}
    assert posted(bench) == ["Overview", "Refunds", "Visits"]


async def test_what_a_worker_posted_before_it_died_over_a_later_attempt_is_found_too(bench: Bench) -> None:
    refused, hangs = SlackReply(error="service_unavailable"), SlackReply(delay=2 * LIMIT)
    await in_a_thread(None, refused, None, hangs)(bench)
    await bench.subscribe("slack")
    await bench.come_due()
    bench.world.clock.advance(seconds=LONGEST_THREAD.total_seconds())
    await _die_over(bench, calls=4)

    bench.world.clock.advance(seconds=LEASE.total_seconds())
    await settle(bench.world.runner())

    assert [each.recipients[0].status for each in await bench.world.deliveries()] == [SENT]
    assert posted(bench) == ["Overview", "Refunds", "Visits"]


async def _die_over(bench: Bench, *, calls: int) -> None:
    """A worker that is gone when Slack has been asked for so many messages, before anything of it is recorded."""
    doomed = bench.world.runner()
    await doomed.open_due()
    [claimed] = await doomed.claim()
    sending = asyncio.create_task(doomed.send(claimed))
    async with asyncio.timeout(LIMIT):
        while bench.slack.calls.count("chat.postMessage") < calls:
            await asyncio.sleep(0.01)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
