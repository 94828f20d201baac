"""From due to recorded, on real SQLite and real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from channels.base import PermanentFailure, Sent, TransientFailure
from scheduler.delivery import Runner
from scheduler.recurrence import sentence_of
from scheduler.status import DeliveryStatus, RecipientStatus, Trigger
from scheduler.store import opening
from tests.scheduler.conftest import LEASE, NOON, World, settle

HALF_PAST = NOON + timedelta(minutes=30)


async def test_a_due_subscription_is_sent_recorded_and_has_its_next_date(world: World) -> None:
    subscription = await world.subscribe(target_value="ann@example.org, bo@example.org")

    world.clock.advance(minutes=30)
    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert (delivery.status, delivery.trigger, delivery.scheduled_at) == ("completed", "scheduled", HALF_PAST)
    assert [(each.address, each.status, each.attempts) for each in delivery.recipients] == [
        ("ann@example.org", "sent", 1),
        ("bo@example.org", "sent", 1),
    ]
    assert delivery.insights[0]["query_results"]["result"] == [["2026-11-20", 1], ["2026-11-21", 2]]
    assert delivery.finished_at == HALF_PAST
    assert world.mailed == ["ann@example.org", "bo@example.org"]
    assert (await world.find(subscription.id)).next_delivery_date == HALF_PAST + timedelta(days=1)


async def test_nothing_is_sent_early(world: World) -> None:
    await world.subscribe()

    world.clock.advance(minutes=29, seconds=59)
    await settle(world.runner())

    assert await world.deliveries() == []


async def test_a_second_run_sends_nothing(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)
    await settle(world.runner())

    await settle(world.runner())

    assert len(await world.deliveries()) == len(world.email.sent) == 1


async def test_a_dead_workers_delivery_is_sent_by_the_next_one_with_the_same_identity(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)
    dead = world.runner()
    await dead.open_due()
    [claimed] = await dead.claim()  # … and the worker dies

    world.clock.advance(seconds=LEASE.total_seconds() - 1)
    await settle(world.runner())
    assert world.email.sent == []

    world.clock.advance(seconds=1)
    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert (delivery.id, delivery.status, delivery.recipients[0].attempts) == (claimed.id, "completed", 2)
    [(message, _)] = world.email.sent
    assert message.id == delivery.idempotency_key
    lost = await world.sql("SELECT attempt, outcome FROM attempts ORDER BY attempt")
    assert [tuple(row) for row in lost] == [(1, "uncertain"), (2, "sent")]


async def test_a_worker_that_lost_its_lease_records_nothing(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)
    slow, quick = world.runner(), world.runner()
    await slow.open_due()
    [claimed] = await slow.claim()
    world.clock.advance(seconds=LEASE.total_seconds())
    await settle(quick)

    await slow.record([await slow.attempt(claimed)])

    [delivery] = await world.deliveries()
    assert (delivery.status, delivery.recipients[0].attempts) == ("completed", 2)


async def test_a_living_worker_keeps_its_lease(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)
    living, other = world.runner(), world.runner()
    await living.open_due()
    batch = await living.claim()
    living.start(batch)
    world.clock.advance(seconds=LEASE.total_seconds() - 1)
    await living.renew_leases()

    world.clock.advance(seconds=2)

    assert await other.claim() == []
    await settle(living)


async def test_what_was_not_started_is_given_back(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)
    leaving = world.runner()
    await leaving.open_due()
    batch = await leaving.claim()
    leaving.stopping = True
    leaving.start(batch)
    await leaving.stop(grace=timedelta(seconds=5))
    assert world.email.sent == []

    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert (delivery.status, delivery.recipients[0].attempts) == ("completed", 1)


async def test_each_recipient_is_its_own_unit_of_retry(world: World) -> None:
    await world.subscribe(target_value="ann@example.org,bo@example.org,cy@example.org")
    world.email.answer("bo@example.org", [TransientFailure("mailbox busy")])
    world.email.answer("cy@example.org", PermanentFailure("no such mailbox"))

    world.clock.advance(minutes=30)
    await settle(world.runner())
    [first] = await world.deliveries()
    world.clock.advance(minutes=5)
    await settle(world.runner())
    [then] = await world.deliveries()

    assert first.status is DeliveryStatus.STARTING
    assert [each.status for each in first.recipients] == ["sent", "retrying", "failed"]
    assert first.recipients[1].next_attempt_at == HALF_PAST + timedelta(minutes=5)
    assert then.status is DeliveryStatus.COMPLETED
    assert [(each.status, each.attempts) for each in then.recipients] == [("sent", 1), ("sent", 2), ("failed", 1)]
    assert world.mailed == ["ann@example.org", "bo@example.org"]


async def test_a_repeated_message_shows_what_it_showed_the_first_time(world: World) -> None:
    await world.subscribe()
    world.email.answer("ann@example.org", [TransientFailure("later")])
    world.clock.advance(minutes=30)
    await settle(world.runner())
    await world.app.database.aclose()
    world.source_path.unlink()

    world.clock.advance(minutes=5)
    await settle(world.runner())

    (first, _), (second, _) = world.email.attempts
    assert (first.id, first.data["insights"]) == (second.id, second.data["insights"])


async def test_a_recipient_that_is_never_accepted_fails_after_its_schedule(world: World) -> None:
    subscription = await world.subscribe(frequency="weekly")
    world.email.answer("ann@example.org", TransientFailure("mailbox busy."))
    world.clock.advance(minutes=30)
    await settle(world.runner())
    for _ in range(6):
        world.clock.now = (await world.deliveries())[0].recipients[0].next_attempt_at or world.clock.now
        await settle(world.runner())

    delivery = (await world.deliveries())[0]
    assert (delivery.status, delivery.recipients[0].attempts) == ("failed", 7)
    assert delivery.error == {"type": "TransientFailure", "message": "mailbox busy. Given up after 7 attempts."}
    assert (await world.find(subscription.id)).last_error == delivery.error


async def test_an_uncertain_recipient_is_repeated_with_the_same_identity(world: World) -> None:
    await world.subscribe()
    world.email.answer("ann@example.org", [TransientFailure("the answer was lost", uncertain=True)])
    world.clock.advance(minutes=30)
    await settle(world.runner())
    [before] = await world.deliveries()

    world.clock.advance(minutes=5)
    await settle(world.runner())

    assert before.recipients[0].status is RecipientStatus.UNCERTAIN
    assert [message.identity(who) for message, who in world.email.attempts] == [
        world.email.attempts[0][0].identity("ann@example.org")
    ] * 2
    assert await world.statuses() == [DeliveryStatus.COMPLETED]


async def test_a_bug_in_a_channel_counts_as_transient_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.subscribe()

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.email, "send", broken)
    world.clock.advance(minutes=30)
    await settle(world.runner())
    [once] = await world.deliveries()
    world.clock.advance(minutes=5)
    await settle(world.runner())
    [twice] = await world.deliveries()

    assert once.recipients[0].status is RecipientStatus.RETRYING
    assert (twice.status, twice.recipients[0].status) == ("failed", "failed")
    assert "ZeroDivisionError" in (twice.recipients[0].error or {})["message"]


async def test_one_bad_row_never_stops_the_others(world: World) -> None:
    bad = await world.subscribe()
    good = await world.subscribe(target_value="bo@example.org")
    await world.sql("UPDATE subscriptions SET timezone = 'Mars/Olympus' WHERE id = :id", id=bad.id)

    world.clock.advance(minutes=30)
    await settle(world.runner())

    by_subscription = {each.subscription_id: each for each in await world.deliveries()}
    assert by_subscription[good.id].status is DeliveryStatus.COMPLETED
    assert by_subscription[bad.id].status is DeliveryStatus.SKIPPED
    assert "set aside" in (by_subscription[bad.id].error or {})["message"]
    [(enabled,)] = await world.sql("SELECT enabled FROM subscriptions WHERE id = :id", id=bad.id)
    assert not enabled


async def test_a_worker_that_dies_every_time_is_stopped_after_its_attempts(world: World) -> None:
    await world.subscribe(target_type="slack", target_value="C12345", integration_id=await slack(world))
    world.clock.advance(minutes=30)
    for _ in range(6):
        doomed = world.runner()
        await doomed.open_due()
        await doomed.claim()
        world.clock.advance(seconds=LEASE.total_seconds())

    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert (delivery.status, delivery.recipients[0].attempts) == ("failed", 7)
    assert "its worker stopped each time" in (delivery.error or {})["message"]
    assert world.slack.attempts == []


async def slack(world: World) -> int:
    return (await world.app.catalog.add_slack(world.project, "Slack", token="xoxb-test")).id


async def test_content_is_computed_once_however_many_subscriptions_show_it(world: World) -> None:
    for number in range(20):
        await world.subscribe(target_value=f"reader{number}@example.org")

    world.clock.advance(minutes=30)
    await settle(world.runner())

    assert await world.statuses() == [DeliveryStatus.COMPLETED] * 20
    assert [tuple(row) for row in await world.sql("SELECT count(*) FROM exports")] == [(1,)]


async def test_content_is_never_older_than_its_occurrence(world: World) -> None:
    await world.subscribe()
    await world.subscribe(start_date=HALF_PAST + timedelta(seconds=10), target_value="bo@example.org")
    runner = world.runner()

    world.clock.advance(minutes=30)
    await settle(runner)
    world.clock.advance(seconds=10)
    await settle(runner)

    assert [tuple(row) for row in await world.sql("SELECT count(*) FROM exports")] == [(2,)]


async def test_a_failing_insight_shows_why_and_the_rest_is_delivered(world: World) -> None:
    broken = await world.app.catalog.add_insight(
        world.project, "Broken", source=1, sql="SELECT nope FROM t", display="line", check=False
    )
    dashboard = await world.app.catalog.add_dashboard(world.project, "Both", insights=[world.insight, broken.id])
    await world.subscribe(insight=None, dashboard=dashboard.id, dashboard_export_insights=[world.insight, broken.id])

    world.clock.advance(minutes=30)
    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert delivery.status is DeliveryStatus.COMPLETED
    assert "query_error" not in delivery.insights[0]
    assert delivery.insights[1]["query_error"]["message"] == "no such column: nope"
    [(message, _)] = world.email.sent
    assert "no such column: nope" in message.html


async def test_two_workers_never_open_or_send_the_same_occurrence(world: World) -> None:
    for number in range(60):
        await world.subscribe(target_value=f"reader{number}@example.org")
    world.clock.advance(minutes=30)

    await asyncio.gather(*(settle(world.runner()) for _ in range(4)))
    await settle(world.runner())  # what each of them left to the others

    assert await world.statuses() == [DeliveryStatus.COMPLETED] * 60
    assert len({recipient for _, recipient in world.email.sent}) == len(world.email.sent) == 60


async def test_the_same_occurrence_is_not_opened_again_when_the_clock_goes_back(world: World) -> None:
    subscription = await world.subscribe()
    world.clock.advance(minutes=30)
    await settle(world.runner())
    world.clock.advance(hours=-1)
    await world.app.subscriptions.edit(world.project, subscription.id, {"timezone": "Europe/London"})

    world.clock.advance(hours=1)
    await settle(world.runner())

    assert [each.trigger for each in await world.deliveries()] == [Trigger.SCHEDULED]
    assert (await world.find(subscription.id)).next_delivery_date == HALF_PAST + timedelta(days=1)


async def test_slack_gets_one_message_a_second_a_channel_while_others_go_on(world: World) -> None:
    integration = await slack(world)
    for channel in ("C1", "C11", "C11", "C22"):
        await world.subscribe(target_type="slack", target_value=f"{channel}X", integration_id=integration)
    world.clock.advance(minutes=30)

    runner = world.runner()
    await settle(runner)
    at_once = sorted(recipient for _, recipient in world.slack.sent)
    assert await runner.seconds_to_next_retry() == 1
    world.clock.advance(seconds=1)
    await settle(runner)

    assert at_once == ["C11X", "C1X", "C22X"]
    assert [recipient for _, recipient in world.slack.sent[3:]] == ["C11X"]
    assert await runner.seconds_to_next_retry() is None


async def test_after_a_long_sleep_of_the_machine_a_worker_keeps_what_it_was_sending(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)
    runner = world.runner()
    await runner.open_due()
    batch = await runner.claim()
    runner.start(batch)
    world.clock.advance(seconds=2 * LEASE.total_seconds())  # … before anything was renewed

    await runner.tick()
    await settle(runner)

    assert world.mailed == ["ann@example.org"]


async def test_a_pretended_past_does_not_shorten_a_lease(world: World) -> None:
    await world.subscribe(start_date=NOON - timedelta(days=1))
    world.clock.advance(days=2)
    pretending = Runner(replace(world.runner().work, due_clock=lambda: NOON + timedelta(days=1)))
    await pretending.open_due()
    assert len(await pretending.claim()) == 1

    assert await world.runner().claim() == []


async def test_a_spoilt_subscription_with_an_open_delivery_stops_no_other(world: World) -> None:
    spoilt = await world.subscribe()
    world.clock.advance(minutes=30)
    await world.runner().open_due()
    await world.subscribe(target_value="bo@example.org", announced=True)
    await world.sql("UPDATE subscriptions SET frequency = 'hourly', byweekday = 'x' WHERE id = :id", id=spoilt.id)

    await settle(world.runner())

    assert sorted(world.mailed) == ["ann@example.org", "bo@example.org"]
    listed = await world.find(spoilt.id)
    assert sentence_of(listed.recurrence) == "a recurrence that cannot be read; edit it"
    mended = await world.app.subscriptions.edit(
        world.project, spoilt.id, {"frequency": "weekly", "byweekday": ["monday"]}
    )
    assert mended.recurrence.describe() == "every week on Monday at 12:30, UTC"


async def test_a_retry_goes_where_it_was_meant_to_with_the_credentials_of_then(world: World) -> None:
    first = await world.app.catalog.add_slack(world.project, "First", token="xoxb-first")
    second = await world.app.catalog.add_slack(world.project, "Second", token="xoxb-second")
    subscription = await world.subscribe(target_type="slack", target_value="C11", integration_id=first.id)
    world.clock.advance(minutes=30)
    await world.runner().open_due()

    await world.app.subscriptions.edit(world.project, subscription.id, {"integration_id": second.id})
    for _ in range(2):
        await settle(world.runner())
        world.clock.advance(seconds=1)

    assert sorted(world.channels.tokens) == ["xoxb-first", "xoxb-second"]  # the second for its announcement


async def test_without_any_secret_a_webhook_is_not_sent_unsigned(world: World) -> None:
    await world.subscribe(target_type="webhook", target_value="http://127.0.0.1:9/hook")
    await world.sql("DELETE FROM integrations")
    world.clock.advance(minutes=30)

    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert world.webhook.attempts == []
    assert "no webhook integration is left" in (delivery.error or {})["message"]


async def test_an_edit_between_reading_and_opening_is_not_overlooked(world: World) -> None:
    subscription = await world.subscribe(target_type="webhook", target_value="http://127.0.0.1:9/old")
    world.clock.advance(minutes=30)
    runner = world.runner()
    async with world.app.database.read() as connection:
        read = await opening.due(connection, now=world.clock(), limit=10)
    plans, _ = await runner.plans(read, due_by=world.clock())
    world.clock.advance(seconds=1)
    await world.app.subscriptions.edit(world.project, subscription.id, {"target_value": "http://127.0.0.1:9/new"})

    assert await runner.open(plans) == []


async def test_a_limit_counts_subscriptions_and_goes_on_behind_a_spoilt_one(world: World) -> None:
    spoilt = await world.subscribe()
    await world.subscribe(target_value="bo@example.org")
    await world.subscribe(target_value="cy@example.org")
    await world.sql("UPDATE subscriptions SET timezone = 'Mars/Olympus' WHERE id = :id", id=spoilt.id)
    world.clock.advance(minutes=30)
    runner = world.runner()

    await runner.tick(limit=2)
    while runner.in_flight:
        await runner.wake.wait()
        runner.wake.clear()

    assert len(world.email.sent) == 1
    assert sorted(await world.statuses()) == ["completed", "skipped"]


@pytest.mark.parametrize("said", ["250 sch\udcf6ne Gr\udcfc\udcdfe", "250 \0 accepted"], ids=["Latin-1", "NUL"])
async def test_whatever_a_server_says_its_acceptance_is_recorded(world: World, said: str) -> None:
    world.email.answer("ann@example.org", Sent(provider_id=said))
    await world.subscribe()
    world.clock.advance(minutes=30)

    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert (delivery.status, delivery.recipients[0].attempts) == ("completed", 1)
    assert (delivery.recipients[0].provider_id or "").startswith("250 ")


async def test_what_a_server_says_is_kept_to_the_letter(world: World) -> None:
    said = '\\N "quoted", {braced}, NULL\ttabbed\nand \\ on – %s %% ✓'
    world.email.answer("ann@example.org", Sent(provider_id=said))
    world.email.answer("bo@example.org", PermanentFailure(said))
    await world.subscribe(target_value="ann@example.org,bo@example.org")
    world.clock.advance(minutes=30)

    await settle(world.runner())

    [delivery] = await world.deliveries()
    ann, bo = delivery.recipients
    assert (ann.provider_id, (bo.error or {})["message"], bo.history[0].reason) == (said, said, said)


async def test_a_policy_that_nobody_can_read_stops_no_delivery(world: World) -> None:
    await world.sql("UPDATE projects SET policy = :policy", policy='{"retries": {"email": ["soon"]}, "colour": 7}')
    world.email.answer("ann@example.org", [TransientFailure("Busy.")])
    await world.subscribe()
    world.clock.advance(minutes=30)

    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert delivery.recipients[0].next_attempt_at == world.clock.now + timedelta(minutes=5)


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("column", ["until_date", "start_date"])
async def test_an_instant_that_nobody_can_read_stops_no_other_subscription(world: World, column: str) -> None:
    spoilt, _ = await world.subscribe(), await world.subscribe(target_value="bo@example.org")
    await world.sql(f"UPDATE subscriptions SET {column} = 'soon' WHERE id = :id", id=spoilt.id)
    world.clock.advance(minutes=30)

    await settle(world.runner())

    assert world.mailed == ["bo@example.org"]
    assert sorted(await world.statuses()) == ["completed", "skipped"]
    assert not (await world.find(spoilt.id)).enabled


async def test_of_many_recipients_a_crash_repeats_no_more_than_were_taken_at_once(world: World) -> None:
    readers = [f"reader{number}@example.org" for number in range(7)]
    await world.subscribe(target_value=",".join(readers))
    world.clock.advance(minutes=30)
    dying = world.runner()
    await dying.open_due()
    for _ in range(3):
        [claimed] = await dying.claim()
        tried = await dying.attempt(claimed)
        await dying.record([tried])
    [claimed] = await dying.claim()
    await dying.attempt(claimed)  # … and it dies

    world.clock.advance(seconds=LEASE.total_seconds())
    await settle(world.runner())

    assert [message.id for message, _ in world.email.sent].count(world.email.sent[0][0].id) == len(readers) + 1
    assert sorted({*world.mailed}) == readers
    assert await world.statuses() == [DeliveryStatus.COMPLETED]


async def test_what_a_dead_worker_was_sending_is_not_forgotten_behind_a_retry_that_comes_first(world: World) -> None:
    world.email.answer("ann@example.org", [TransientFailure("Busy.")])
    await world.subscribe(target_value="ann@example.org,bo@example.org,cy@example.org,di@example.org")
    world.clock.advance(minutes=30)
    dying = world.runner()
    await dying.open_due()
    [claimed] = await dying.claim()
    await dying.record([await dying.attempt(claimed)])  # ann is to be tried again, bo has it
    await dying.claim()  # … and it dies with cy and di in its hands

    world.clock.advance(minutes=6)
    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert [(each.address, each.status) for each in delivery.recipients] == [
        (f"{who}@example.org", "sent") for who in ("ann", "bo", "cy", "di")
    ]
    assert [each.outcome for each in delivery.recipients[3].history] == ["uncertain", "sent"]


async def test_while_a_destination_has_all_it_stands_nobody_looks_again_and_again(world: World) -> None:
    integration = await slack(world)
    for _ in range(3):
        await world.subscribe(target_type="slack", target_value="C1X", integration_id=integration)
    world.clock.advance(minutes=30)
    runner = world.runner()
    await runner.open_due()
    runner.start(await runner.claim())

    assert await runner.seconds_to_next_retry() is None
    assert await runner.claim() == []
    await runner.stop(grace=timedelta(seconds=30))
