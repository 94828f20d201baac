"""What follows from failures and ends: owners are told once, hopeless subscriptions are switched off once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from channels.base import Outcome, PermanentFailure, TransientFailure
from scheduler.status import DeliveryStatus
from scheduler.store.subscriptions import Subscription
from scheduler.verification import verify
from tests.scheduler.conftest import NOON, World, settle

HALF_PAST = NOON + timedelta(minutes=30)
REFUSED = PermanentFailure("The receiver refused the request: 400 Bad Request.")
GONE = PermanentFailure("The receiver answered 410 Gone.", target_gone=True)
PERHAPS = PermanentFailure("The receiver answered 404 Not Found.", target_gone=True, gone_after=3)


async def subscribe(world: World, answer: Outcome | list[Outcome], **fields: Any) -> Subscription:
    world.email.answer("ann@example.org", answer)
    return await world.subscribe(**fields)


async def deliver(world: World, *, days: int = 1) -> None:
    """So many occurrences, each at its time."""
    for _ in range(days):
        world.clock.advance(minutes=31)
        await settle(world.runner())
        world.clock.advance(hours=23, minutes=29)


async def told(world: World) -> list[str]:
    """How the subjects of what the owner was told begin, in order; all of it is in the ledger, too."""
    subjects = [message.subject for message, who in world.email.sent if who == world.owner.email]
    assert [each.recipients[0].status for each in await world.notices()] == ["sent"] * len(subjects)
    return [subject.partition(":")[0] for subject in subjects]


async def test_a_failed_scheduled_delivery_tells_its_owner_once_however_many_attempts(world: World) -> None:
    await subscribe(world, TransientFailure("The mailbox is busy."), frequency="weekly")
    world.clock.advance(minutes=31)
    await settle(world.runner())
    while (again := (await world.deliveries())[0].recipients[0].next_attempt_at) is not None:
        world.clock.now = again
        await settle(world.runner())
    for _ in range(3):
        await settle(world.runner())

    [(message, _)] = [each for each in world.email.sent if each[1] == world.owner.email]
    assert message.subject == "Not delivered: Numbers – Sunday, 22 November"
    assert "ann@example.org" in message.text
    assert "The mailbox is busy. Given up after 7 attempts." in message.text
    assert f"paperround deliveries resend {(await world.deliveries())[0].id}" in message.html


async def test_a_delivery_that_missed_one_of_its_readers_tells_its_owner_whom(world: World) -> None:
    await subscribe(world, REFUSED, target_value="ann@example.org,bo@example.org")

    await deliver(world)

    [(message, _)] = [each for each in world.email.sent if each[1] == world.owner.email]
    assert message.subject == "Not delivered to everybody: Numbers – Sunday, 22 November"
    assert "ann@example.org" in message.text
    assert "bo@example.org" not in message.text
    assert await world.statuses() == [DeliveryStatus.COMPLETED]


async def test_a_test_that_fails_tells_nobody_but_whoever_asked_for_it(world: World) -> None:
    subscription = await subscribe(world, REFUSED)
    await world.app.subscriptions.test(world.project, subscription.id)

    await settle(world.runner())

    assert [each.status for each in await world.deliveries()] == ["failed"]
    assert await world.notices() == []


async def test_a_target_that_is_gone_switches_its_subscription_off_at_once(world: World) -> None:
    subscription = await subscribe(world, GONE)

    await deliver(world, days=2)

    off = await world.find(subscription.id)
    assert (off.enabled, len(await world.deliveries())) == (False, 1)
    assert off.last_error == {
        "type": "Disabled",
        "message": "The target is gone. The reason was: The receiver answered 410 Gone. "
        "When that is put right, resume it.",
    }
    assert await told(world) == ["Switched off"]


async def test_a_target_that_may_be_gone_is_believed_to_be_after_three_deliveries_in_a_row(world: World) -> None:
    subscription = await subscribe(world, [PERHAPS, PERHAPS, REFUSED, PERHAPS, PERHAPS, PERHAPS])

    await deliver(world, days=5)
    assert (await world.find(subscription.id)).enabled

    await deliver(world)
    off = await world.find(subscription.id)
    assert not off.enabled
    assert "gone (3 deliveries in a row)" in (off.last_error or {})["message"]
    assert await told(world) == ["Not delivered"] * 5 + ["Switched off"]


async def test_so_many_failures_in_a_row_switch_it_off_and_a_success_starts_the_count_anew(world: World) -> None:
    await world.app.projects.edit(world.project, policy={"disable_after": 4, "disable_after_hours": 8760})
    world.email.answer("ann@example.org", [REFUSED, REFUSED, REFUSED])
    subscription = await world.subscribe()
    await deliver(world, days=4)  # the fourth is sent
    world.email.answer("ann@example.org", REFUSED)

    await deliver(world, days=3)
    assert (await world.find(subscription.id)).enabled

    await deliver(world)
    assert "4 deliveries in a row failed" in ((await world.find(subscription.id)).last_error or {})["message"]


async def test_five_days_of_nothing_but_failure_switch_it_off(world: World) -> None:
    subscription = await subscribe(world, REFUSED)

    await deliver(world, days=5)
    assert (await world.find(subscription.id)).enabled

    await deliver(world)
    last_error = (await world.find(subscription.id)).last_error or {}
    assert last_error["message"].startswith("Nothing but failure for 120 hours")


async def test_resuming_forgets_the_failures_and_the_reason(world: World) -> None:
    subscription = await subscribe(world, [PERHAPS, PERHAPS, PERHAPS, PERHAPS])
    await deliver(world, days=3)
    assert not (await world.find(subscription.id)).enabled

    resumed = await world.app.subscriptions.resume(world.project, subscription.id)
    await settle(world.runner())  # its announcement fails, too: the first in a row

    assert resumed.last_error is None
    assert (await world.find(subscription.id)).enabled


async def test_of_two_workers_one_switches_it_off_and_its_owner_hears_of_it_once(world: World) -> None:
    await subscribe(world, GONE, catch_up="all", catch_up_hours=96)
    world.clock.advance(days=3, minutes=31)

    await asyncio.gather(*(settle(world.runner()) for _ in range(3)))
    await settle(world.runner())

    kinds = await told(world)
    assert kinds.count("Switched off") == 1
    assert [each.status for each in await world.deliveries()].count("completed") == 0


async def test_what_still_waited_when_it_was_switched_off_is_not_sent(world: World) -> None:
    subscription = await subscribe(world, [TransientFailure("busy"), GONE])
    world.clock.advance(minutes=31)
    await settle(world.runner())
    test = await world.app.subscriptions.test(world.project, subscription.id)
    await settle(world.runner())

    world.clock.advance(hours=1)
    await settle(world.runner())

    assert {each.id == test: [who.status for who in each.recipients] for each in await world.deliveries()} == {
        True: ["failed"],
        False: ["suppressed"],
    }


@pytest.mark.parametrize("fields", [{"count": 2}, {"until_date": HALF_PAST + timedelta(days=1)}], ids=str)
async def test_the_end_of_a_schedule_is_told_once(world: World, fields: dict[str, Any]) -> None:
    subscription = await world.subscribe(**fields)

    await deliver(world, days=4)

    [(message, _)] = [each for each in world.email.sent if each[1] == world.owner.email]
    assert message.subject == "Ended: Numbers"
    assert "The delivery of Monday, 23 November 2026, 12:30 UTC is its last one" in message.text
    assert f"paperround subscriptions edit {subscription.id} --until-date" in message.text
    assert await world.statuses() == [DeliveryStatus.COMPLETED] * 2


async def test_the_end_names_the_last_occurrence_even_when_many_were_missed(world: World) -> None:
    await world.subscribe(count=3)
    world.clock.advance(days=2, minutes=31)

    await settle(world.runner())

    [(message, _)] = [each for each in world.email.sent if each[1] == world.owner.email]
    assert "The delivery of Tuesday, 24 November 2026, 12:30 UTC is its last one" in message.text


async def test_what_fell_due_while_the_last_attempt_was_under_way_is_recorded(world: World) -> None:
    subscription = await subscribe(world, GONE)
    world.clock.advance(minutes=31)
    runner = world.runner()
    await runner.open_due()
    [claimed] = await runner.claim()
    tried = await runner.attempt(claimed)
    world.clock.advance(days=1)

    await runner.record([tried])

    assert not (await world.find(subscription.id)).enabled
    assert [(each.status, (each.error or {})["message"]) for each in await world.deliveries()] == [
        ("failed", "The receiver answered 410 Gone."),
        ("skipped", "switched off before it was sent"),
    ]
    found = await verify(world.app.database, now=world.clock.now, installation=world.app.installation)
    assert found.discrepancies == []


async def test_a_notice_that_cannot_be_sent_has_no_consequences_of_its_own(world: World) -> None:
    world.email.answer(world.owner.email, PermanentFailure("No such mailbox."))
    await subscribe(world, REFUSED)

    await deliver(world, days=2)

    assert [each.status for each in await world.notices()] == ["failed", "failed"]
    assert [each.status for each in await world.deliveries()] == ["failed", "failed"]


async def test_a_crash_between_failure_and_notice_loses_neither(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are one transaction: without the notice there is no failure either, and the delivery is tried again."""
    await subscribe(world, REFUSED)
    world.clock.advance(minutes=31)
    runner = world.runner()
    await runner.open_due()
    [claimed] = await runner.claim()
    tried = await runner.attempt(claimed)

    async def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("scheduler.store.endings.insert_notice", dies)
        with pytest.raises(KeyboardInterrupt):
            await runner.record([tried])
    assert await world.statuses() == [DeliveryStatus.STARTING]

    world.clock.advance(seconds=31)
    await settle(world.runner())

    assert await world.statuses() == [DeliveryStatus.FAILED]
    assert await told(world) == ["Not delivered"]
