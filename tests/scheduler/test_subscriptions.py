"""What people do with subscriptions and what follows from it: the contract's "Side effects", sentence by sentence."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from channels.base import PermanentFailure, TransientFailure
from scheduler.errors import Conflict, InvalidField, NotFound
from scheduler.status import DeliveryStatus
from scheduler.store import deliveries as ledger
from scheduler.store import people
from scheduler.store.deliveries import Delivery
from scheduler.store.people import Project
from scheduler.store.subscriptions import Subscription
from tests.scheduler.conftest import NOON, World, settle

HALF_PAST = NOON + timedelta(minutes=30)
TOMORROW = HALF_PAST + timedelta(days=1)
HOOK = "https://127.0.0.1/hooks/T0SECRET"

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
pytestmark = sqlite_only


async def edit(world: World, subscription: Subscription, **fields: Any) -> Subscription:
    return await world.app.subscriptions.edit(world.project, subscription.id, fields)


async def slack(world: World, name: str = "Slack") -> int:
    return (await world.app.catalog.add_slack(world.project, name, token="xoxb-test")).id


async def insights(world: World, count: int) -> list[int]:
    made = [
        await world.app.catalog.add_insight(
            world.project, f"Number {n}", source=1, sql="SELECT n FROM t", display="number", check=False
        )
        for n in range(count)
    ]
    return [each.id for each in made]


async def dashboard(world: World, tiles: list[int], name: str = "Overview") -> int:
    return (await world.app.catalog.add_dashboard(world.project, name, insights=tiles)).id


async def another_project(world: World) -> Project:
    async with world.app.database.write() as tx:
        return await people.add_project(tx, world.project.organisation_id, "Another", timezone="UTC", now=NOON)


async def announced(world: World) -> list[tuple[str, list[str]]]:
    """Each delivery as its trigger and the addresses it goes to, oldest first."""
    return [(each.trigger, [who.address for who in each.recipients]) for each in await world.deliveries()]


async def refused(world: World, **fields: Any) -> tuple[str | None, str]:
    """Field and code of the error that creating with these fields ends in."""
    with pytest.raises(InvalidField) as raised:
        await world.subscribe(**fields)
    return raised.value.field, raised.value.code


async def refused_edit(world: World, subscription: Subscription, **fields: Any) -> tuple[str | None, str]:
    before = await world.find(subscription.id)
    with pytest.raises(InvalidField) as raised:
        await edit(world, subscription, **fields)
    assert await world.find(subscription.id) == before
    return raised.value.field, raised.value.code


# ── create ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_creating_an_enabled_subscription_invites_every_address(world: World) -> None:
    await world.subscribe(
        target_value="ann@example.org, bo@example.org", invite_message="Our weekly numbers <3", announced=True
    )

    await settle(world.runner())

    [invitation] = await world.deliveries()
    assert (invitation.trigger, invitation.scheduled_at, invitation.status) == ("target_change", None, "completed")
    assert world.mailed == ["ann@example.org", "bo@example.org"]
    assert "Our weekly numbers <3" in world.email.sent[0][0].text
    assert "Our weekly numbers &lt;3" in world.email.sent[0][0].html


async def test_an_invite_message_is_used_once(world: World) -> None:
    await world.subscribe(invite_message="Welcome aboard", announced=True)
    world.clock.advance(minutes=30)

    await settle(world.runner())

    by_trigger = {each.trigger: each.idempotency_key for each in await world.deliveries()}
    texts = {message.id: message.text for message, _ in world.email.sent}
    assert "Welcome aboard" in texts[by_trigger["target_change"]]
    assert "Welcome aboard" not in texts[by_trigger["scheduled"]]


@pytest.mark.parametrize("kind", ["slack", "webhook"])
async def test_slack_and_webhook_hear_that_they_are_subscribed(world: World, kind: str) -> None:
    target = {"slack": "C0123456|#numbers", "webhook": HOOK}[kind]
    integration = await slack(world) if kind == "slack" else None
    await world.subscribe(target_type=kind, target_value=target, integration_id=integration, announced=True)

    await settle(world.runner())

    [(message, recipient)] = world.channels.by_kind[kind].sent
    assert recipient == {"slack": "C0123456", "webhook": HOOK}[kind]
    assert message.data["delivery"]["trigger_type"] == "target_change"
    assert [each.status for each in await world.deliveries()] == ["completed"]


async def test_creating_a_paused_subscription_sends_nothing(world: World) -> None:
    subscription = await world.subscribe(enabled=False, announced=True)
    world.clock.advance(days=3)

    await settle(world.runner())

    assert (subscription.enabled, await announced(world)) == (False, [])


async def test_a_new_subscriptions_next_date_is_its_first_occurrence_after_now(world: World) -> None:
    old = await world.subscribe(start_date=datetime(2020, 1, 1, 9, tzinfo=UTC))
    exactly_now = await world.subscribe(start_date=NOON)
    without = await world.app.subscriptions.create(
        world.project,
        world.owner,
        {"insight": world.insight, "target_type": "email", "target_value": "a@example.org", "frequency": "weekly"},
    )

    assert old.next_delivery_date == datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert exactly_now.next_delivery_date == NOON + timedelta(days=1)
    assert (without.recurrence.start_at, without.next_delivery_date) == (NOON, NOON + timedelta(days=7))
    assert (without.recurrence.timezone, without.created_by) == ("UTC", world.owner)


async def test_the_time_zone_is_the_projects_unless_said_otherwise(world: World) -> None:
    await world.sql("UPDATE projects SET timezone = 'America/New_York'")
    world.project = await world.app.project()

    usual = await world.subscribe()
    said = await world.subscribe(timezone="Asia/Kathmandu")

    assert (usual.recurrence.timezone, said.recurrence.timezone) == ("America/New_York", "Asia/Kathmandu")


async def test_a_recurrence_that_is_over_cannot_be_created(world: World) -> None:
    long_ago = NOON - timedelta(days=30)

    assert await refused(world, start_date=long_ago, count=3) == ("start_date", "invalid_input")
    assert await refused(world, start_date=long_ago, until_date=NOON - timedelta(days=1)) == (
        "start_date",
        "invalid_input",
    )
    assert await refused(world, start_date=long_ago, count=3, enabled=False) == ("start_date", "invalid_input")
    assert await world.sql("SELECT * FROM subscriptions") == []


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"insight": None}, None, "required"),
        ({"dashboard": 1}, None, "required"),
        ({"insight": 4711}, "insight", "does_not_exist"),
        ({"insight": True}, "insight", "invalid_input"),
        ({"insight": None, "dashboard": 4711}, "dashboard", "does_not_exist"),
        ({"dashboard_export_insights": [1]}, "dashboard_export_insights", "invalid_input"),
        ({"target_type": None}, "target_type", "null"),
        ({"target_type": "fax"}, "target_type", "invalid_choice"),
        ({"target_type": ["email"]}, "target_type", "invalid_choice"),
        ({"target_value": None}, "target_value", "null"),
        ({"target_value": "  "}, "target_value", "blank"),
        ({"target_value": "ann@example.org, nobody"}, "target_value", "invalid_input"),
        ({"target_value": "ann@example.org\nBcc: all@example.org"}, "target_value", "invalid_input"),
        ({"target_type": "slack", "target_value": "#general"}, "target_value", "invalid_input"),
        ({"target_type": "slack", "target_value": "C0123456"}, "integration_id", "required"),
        ({"target_type": "webhook", "target_value": "http://example.org/hook"}, "target_value", "invalid_input"),
        ({"target_type": "webhook", "target_value": "https://10.0.0.1/hook"}, "target_value", "invalid_input"),
        ({"frequency": None}, "frequency", "null"),
        ({"frequency": "hourly"}, "frequency", "invalid_choice"),
        ({"interval": 0}, "interval", "min_value"),
        ({"bysetpos": 0, "byweekday": ["monday"]}, "bysetpos", "invalid_input"),
        ({"count": 0}, "count", "min_value"),
        ({"start_date": NOON.replace(tzinfo=None)}, "start_date", "invalid_input"),
        ({"timezone": "Mars/Olympus"}, "timezone", "invalid_choice"),
        ({"enabled": "yes"}, "enabled", "invalid_input"),
        ({"enabled": None}, "enabled", "null"),
        ({"title": "x" * 101}, "title", "max_length"),
        ({"title": "a\0b"}, "title", "invalid_input"),
        ({"invite_message": "a\0b"}, "invite_message", "invalid_input"),
        ({"invite_message": 5}, "invite_message", "invalid_input"),
        ({"integration_id": 4711}, "integration_id", "does_not_exist"),
        ({"catch_up": "sometimes"}, "catch_up", "invalid_choice"),
        ({"catch_up_hours": -1}, "catch_up_hours", "invalid_input"),
        ({"catch_up_hours": True}, "catch_up_hours", "invalid_input"),
        ({"spread_minutes": 721}, "spread_minutes", "invalid_input"),
        ({"spread_minutes": "5"}, "spread_minutes", "invalid_input"),
        ({"cron": "0 9 * * *"}, "cron", "invalid_input"),
    ],
    ids=str,
)
async def test_what_cannot_be_created_names_its_field(
    world: World, fields: dict[str, Any], field: str | None, code: str
) -> None:
    assert await refused(world, **fields) == (field, code)
    assert await world.sql("SELECT * FROM subscriptions") == []


IN_ORDER: list[tuple[str, Any]] = [
    ("insight", 4711),
    ("target_value", "nobody"),
    ("frequency", "hourly"),
    ("interval", 0),
    ("timezone", "Mars/Olympus"),
    ("enabled", "yes"),
    ("title", "x" * 101),
    ("integration_id", 4711),
]
"""Something wrong in each field, in the order of the contract's table."""


async def test_the_first_wrong_field_of_the_table_is_the_one_that_is_named(world: World) -> None:
    subscription = await world.subscribe()
    wrong = IN_ORDER

    while wrong:
        assert (await refused(world, **dict(wrong)))[0] == wrong[0][0]
        assert (await refused_edit(world, subscription, **dict(wrong)))[0] == wrong[0][0]
        wrong = wrong[1:]


async def test_an_integration_must_be_of_the_targets_kind_and_of_this_project(world: World) -> None:
    workspace = await slack(world)
    elsewhere = await another_project(world)
    theirs = (await world.app.catalog.add_slack(elsewhere, "Slack", token="xoxb-theirs")).id

    assert await refused(world, target_type="webhook", target_value=HOOK, integration_id=workspace) == (
        "integration_id",
        "invalid_input",
    )
    assert await refused(world, target_type="slack", target_value="C0123456", integration_id=theirs) == (
        "integration_id",
        "does_not_exist",
    )


async def test_rows_of_another_project_do_not_exist(world: World) -> None:
    subscription = await world.subscribe()
    elsewhere = await another_project(world)

    with pytest.raises(InvalidField, match="no insight"):
        await world.app.subscriptions.create(
            elsewhere,
            world.owner,
            {"insight": world.insight, "target_type": "email", "target_value": "a@b.example", "frequency": "daily"},
        )
    with pytest.raises(NotFound):
        await world.app.subscriptions.edit(elsewhere, subscription.id, {"title": "Mine now"})
    with pytest.raises(NotFound):
        await world.app.subscriptions.test(elsewhere, subscription.id)


async def test_addresses_are_trimmed_and_duplicates_dropped_in_their_order(world: World) -> None:
    subscription = await world.subscribe(target_value=" bo@example.org ,ann@EXAMPLE.org,, bo@example.org")

    assert subscription.target.value == "bo@example.org,ann@example.org"
    assert subscription.target.addresses == ("bo@example.org", "ann@example.org")


async def test_a_webhooks_url_is_kept_sealed_and_shown_as_its_host(world: World) -> None:
    subscription = await world.subscribe(target_type="webhook", target_value=HOOK)

    assert "T0SECRET" not in f"{subscription}"
    assert (subscription.target.value, subscription.target.destination) == (
        "127.0.0.1",
        "webhook:127.0.0.1:443:cb1faaad",
    )
    assert world.app.subscriptions.target_value(subscription.target) == HOOK


# ── dashboards and their selections ──────────────────────────────────────────────────────────────────────────────────


async def test_a_selection_is_kept_in_the_dashboards_order(world: World) -> None:
    tiles = await insights(world, 3)
    overview = await dashboard(world, [tiles[2], tiles[0], tiles[1]])

    subscription = await world.subscribe(
        insight=None, dashboard=overview, dashboard_export_insights=[tiles[1], tiles[2]]
    )

    assert subscription.dashboard_export_insights == (tiles[2], tiles[1])
    assert (subscription.insight_id, subscription.dashboard_id) == (None, overview)


async def test_a_selection_has_1_to_25_different_tiles(world: World) -> None:
    tiles = await insights(world, 26)
    overview = await dashboard(world, tiles)
    on = {"insight": None, "dashboard": overview}
    field = "dashboard_export_insights"

    widest = await world.subscribe(**on, dashboard_export_insights=tiles[:25])

    assert widest.dashboard_export_insights == tuple(tiles[:25])
    assert await refused(world, **on) == (field, "required")
    assert await refused(world, **on, dashboard_export_insights=None) == (field, "null")
    assert await refused(world, **on, dashboard_export_insights=[]) == (field, "invalid_input")
    assert await refused(world, **on, dashboard_export_insights=tiles) == (field, "invalid_input")
    assert await refused(world, **on, dashboard_export_insights=[tiles[0], tiles[0]]) == (field, "invalid_input")
    assert await refused(world, **on, dashboard_export_insights=[True]) == (field, "invalid_input")
    assert await refused(world, **on, dashboard_export_insights="1") == (field, "invalid_input")
    assert await refused(world, **on, dashboard_export_insights=[world.insight]) == (field, "does_not_exist")


async def test_a_patch_replaces_a_selection_keeps_an_absent_one_and_refuses_an_empty_one(world: World) -> None:
    tiles = await insights(world, 3)
    overview = await dashboard(world, tiles)
    subscription = await world.subscribe(insight=None, dashboard=overview, dashboard_export_insights=tiles[:2])

    kept = await edit(world, subscription, dashboard=overview)
    assert kept.dashboard_export_insights == tuple(tiles[:2])
    assert await announced(world) == []

    replaced = await edit(world, subscription, dashboard_export_insights=[tiles[2]])
    assert replaced.dashboard_export_insights == (tiles[2],)
    assert await announced(world) == [("target_change", ["ann@example.org"])]

    assert (await refused_edit(world, subscription, dashboard_export_insights=[]))[0] == "dashboard_export_insights"


async def test_the_kind_of_content_never_changes(world: World) -> None:
    tiles = await insights(world, 1)
    overview = await dashboard(world, tiles)
    of_insight = await world.subscribe()
    of_dashboard = await world.subscribe(insight=None, dashboard=overview, dashboard_export_insights=tiles)

    assert (await refused_edit(world, of_insight, dashboard=overview, insight=None, dashboard_export_insights=tiles))[
        0
    ] == "dashboard"
    assert (await refused_edit(world, of_dashboard, insight=world.insight))[0] == "insight"
    assert (await refused_edit(world, of_insight, dashboard_export_insights=tiles))[0] == "dashboard_export_insights"


# ── edits and what they send ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "Numbers, daily"},
        {"title": None},
        {"frequency": "weekly", "byweekday": ["monday"], "interval": 2},
        {"timezone": "Asia/Tokyo"},
        {"until_date": NOON + timedelta(days=90)},
        {"enabled": True},
        {"enabled": False},
        {"deleted": True},
        {"catch_up": "all", "catch_up_hours": 48},
        {"invite_message": "Never sent"},
        {"target_value": "bo@example.org, ann@example.org"},
        {"target_value": "ann@example.org"},
        {},
    ],
    ids=str,
)
async def test_edits_that_send_nothing(world: World, fields: dict[str, Any]) -> None:
    subscription = await world.subscribe(target_value="ann@example.org,bo@example.org")

    await edit(world, subscription, **fields)

    assert await announced(world) == []


async def test_only_new_addresses_are_invited(world: World) -> None:
    subscription = await world.subscribe(target_value="ann@example.org,bo@example.org")

    changed = await edit(
        world, subscription, target_value="cy@example.org,bo@example.org,di@example.org", invite_message="Hello"
    )
    await settle(world.runner())

    assert changed.target.addresses == ("cy@example.org", "bo@example.org", "di@example.org")
    assert await announced(world) == [("target_change", ["cy@example.org", "di@example.org"])]
    assert world.mailed == ["cy@example.org", "di@example.org"]
    assert "Hello" in world.email.sent[0][0].text


async def test_changed_content_goes_to_everyone_even_when_the_addresses_change_with_it(world: World) -> None:
    [another] = await insights(world, 1)
    subscription = await world.subscribe(target_value="ann@example.org,bo@example.org")

    changed = await edit(world, subscription, insight=another, target_value="bo@example.org,cy@example.org")

    assert changed.insight_id == another
    assert await announced(world) == [("target_change", ["bo@example.org", "cy@example.org"])]


async def test_two_quick_changes_are_each_their_own_delivery(world: World) -> None:
    subscription = await world.subscribe()

    await edit(world, subscription, target_value="ann@example.org,bo@example.org")
    await edit(world, subscription, target_value="ann@example.org,bo@example.org,cy@example.org")
    await settle(world.runner())

    assert sorted(world.mailed) == ["bo@example.org", "cy@example.org"]
    assert await world.statuses() == [DeliveryStatus.COMPLETED] * 2


async def test_a_changed_slack_channel_or_workspace_is_announced(world: World) -> None:
    first, second = await slack(world), await slack(world, "Another workspace")
    subscription = await world.subscribe(target_type="slack", target_value="C0123456", integration_id=first)

    await edit(world, subscription, target_value="C7654321")
    await edit(world, subscription, integration_id=second)

    assert await announced(world) == [("target_change", ["C7654321"])] * 2


async def test_the_same_webhook_url_again_is_no_change_and_another_one_is(world: World) -> None:
    subscription = await world.subscribe(target_type="webhook", target_value=HOOK)

    same = await edit(world, subscription, target_type="webhook", target_value=HOOK)
    assert (same.target, await announced(world)) == (subscription.target, [])

    await edit(world, subscription, target_value=f"{HOOK}/v2")
    await settle(world.runner())

    assert [recipient for _, recipient in world.webhook.sent] == [f"{HOOK}/v2"]


async def test_from_email_to_slack_everything_about_the_target_changes(world: World) -> None:
    workspace = await slack(world)
    subscription = await world.subscribe()

    changed = await edit(
        world, subscription, target_type="slack", target_value="C0123456|#numbers", integration_id=workspace
    )

    assert (changed.target.kind, changed.target.destination) == ("slack", "slack:C0123456")
    assert await announced(world) == [("target_change", ["C0123456"])]


async def test_from_slack_to_email_nobody_has_to_know_of_the_integration(world: World) -> None:
    subscription = await world.subscribe(
        target_type="slack", target_value="C0123456", integration_id=await slack(world)
    )

    changed = await edit(world, subscription, target_type="email", target_value="ann@example.org")

    assert (changed.target.kind, changed.integration_id) == ("email", None)


async def test_a_paused_or_removed_subscription_announces_no_change(world: World) -> None:
    paused = await world.subscribe(enabled=False)
    removed = await world.subscribe()
    await world.app.subscriptions.remove(world.project, removed.id)

    for subscription in (paused, removed):
        await edit(world, subscription, target_value="new@example.org")

    assert await announced(world) == []


async def test_an_edit_that_is_refused_changes_nothing_at_all(world: World) -> None:
    subscription = await world.subscribe()

    assert await refused_edit(world, subscription, title="New", target_value="new@example.org", interval=0) == (
        "interval",
        "min_value",
    )

    assert await announced(world) == []


async def test_slack_cannot_lose_its_integration(world: World) -> None:
    subscription = await world.subscribe(
        target_type="slack", target_value="C0123456", integration_id=await slack(world)
    )
    by_mail = await world.subscribe()

    assert await refused_edit(world, subscription, integration_id=None) == ("integration_id", "required")
    assert await refused_edit(world, by_mail, target_type="slack", target_value="C0123456") == (
        "integration_id",
        "required",
    )


# ── the next date ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_next_date_is_worked_out_anew_only_when_the_recurrence_changed(world: World) -> None:
    subscription = await world.subscribe()
    world.clock.advance(hours=3)  # nobody ticked: half past twelve is due

    untouched = await edit(
        world, subscription, title="New", target_value="new@example.org", frequency="daily", start_date=HALF_PAST
    )
    moved = await edit(world, subscription, start_date=HALF_PAST + timedelta(hours=4))
    zoned = await edit(world, subscription, timezone="Europe/Berlin")

    assert untouched.next_delivery_date == HALF_PAST
    assert moved.next_delivery_date == HALF_PAST + timedelta(hours=4)
    assert zoned.next_delivery_date == HALF_PAST + timedelta(hours=4)


async def test_an_edited_recurrence_never_goes_into_the_past(world: World) -> None:
    subscription = await world.subscribe()
    world.clock.advance(days=10)

    edited = await edit(world, subscription, interval=2)
    await settle(world.runner())

    assert edited.next_delivery_date == HALF_PAST + timedelta(days=10)
    assert await world.statuses() == [*["skipped"] * 9, "completed"]  # what had fallen due is the old rule's


async def test_resuming_announces_and_goes_on_from_the_next_occurrence_without_a_burst(world: World) -> None:
    subscription = await world.subscribe(catch_up="all", target_value="ann@example.org,bo@example.org")
    await world.app.subscriptions.pause(world.project, subscription.id)
    world.clock.advance(days=10, minutes=45)

    resumed = await world.app.subscriptions.resume(world.project, subscription.id)
    await settle(world.runner())

    assert resumed.next_delivery_date == HALF_PAST + timedelta(days=11)
    assert await announced(world) == [("target_change", ["ann@example.org", "bo@example.org"])]


async def test_resuming_forgets_the_last_error_and_a_title_does_not(world: World) -> None:
    subscription = await world.subscribe()
    world.email.answer("ann@example.org", PermanentFailure("no such mailbox"))
    world.clock.advance(minutes=30)
    await settle(world.runner())

    titled = await edit(world, subscription, title="New")
    await world.app.subscriptions.pause(world.project, subscription.id)
    resumed = await world.app.subscriptions.resume(world.project, subscription.id)

    assert titled.last_error == {"type": "PermanentFailure", "message": "no such mailbox"}
    assert resumed.last_error is None


async def test_without_a_future_occurrence_the_edit_is_refused_where_the_person_looks(world: World) -> None:
    subscription = await world.subscribe(until_date=HALF_PAST + timedelta(days=1))
    paused = await world.subscribe(until_date=HALF_PAST + timedelta(days=1), enabled=False)
    world.clock.advance(days=5)

    assert await refused_edit(world, paused, enabled=True) == ("enabled", "invalid_input")
    assert await refused_edit(world, subscription, interval=2) == (None, "invalid_input")

    extended = await edit(world, paused, enabled=True, until_date=None)
    assert extended.next_delivery_date == HALF_PAST + timedelta(days=5)


async def test_a_paused_recurrence_may_end_and_an_ended_one_may_get_a_title(world: World) -> None:
    paused = await world.subscribe(enabled=False)
    ended = await world.subscribe(count=1)
    world.clock.advance(days=5)
    await settle(world.runner())

    stopped = await edit(world, paused, until_date=HALF_PAST + timedelta(days=1))
    titled = await edit(world, ended, title="It was nice")

    assert (stopped.next_delivery_date, stopped.enabled) == (None, False)
    assert (titled.next_delivery_date, titled.title) == (None, "It was nice")


async def test_resuming_slack_without_its_integration_says_enabled(world: World) -> None:
    subscription = await world.subscribe(
        target_type="slack", target_value="C0123456", integration_id=await slack(world)
    )
    await world.app.subscriptions.pause(world.project, subscription.id)
    await world.sql("UPDATE subscriptions SET integration_id = NULL")

    assert (await refused_edit(world, subscription, enabled=True))[0] == "enabled"

    again = await edit(world, subscription, enabled=True, integration_id=await slack(world, "Connected again"))
    assert again.enabled


# ── remove and restore ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_removed_subscription_stays_with_its_deliveries_and_sends_nothing(world: World) -> None:
    subscription = await world.subscribe()
    world.clock.advance(minutes=30)
    await settle(world.runner())

    removed = await world.app.subscriptions.remove(world.project, subscription.id)
    world.clock.advance(days=3)
    await settle(world.runner())

    assert (removed.deleted, removed.enabled) == (True, True)
    assert await announced(world) == [("scheduled", ["ann@example.org"])]
    assert (await world.find(subscription.id)).title == subscription.title


async def test_a_restored_subscription_goes_on_from_the_next_occurrence_and_announces_nothing(world: World) -> None:
    subscription = await world.subscribe()
    await world.app.subscriptions.remove(world.project, subscription.id)
    world.clock.advance(days=3)

    restored = await edit(world, subscription, deleted=False)
    await settle(world.runner())

    assert (restored.deleted, restored.next_delivery_date) == (False, HALF_PAST + timedelta(days=3))
    assert await announced(world) == []


@pytest.mark.parametrize("ending", ["pause", "remove"])
async def test_what_still_waits_is_not_sent_after_its_subscription_was_stopped(world: World, ending: str) -> None:
    subscription = await world.subscribe()
    world.email.answer("ann@example.org", [TransientFailure("mailbox busy")])
    world.clock.advance(minutes=30)
    await settle(world.runner())

    await getattr(world.app.subscriptions, ending)(world.project, subscription.id)
    world.clock.advance(minutes=10)
    await settle(world.runner())

    assert world.email.sent == []


# ── test ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_test_goes_to_everyone_at_once_and_leaves_the_next_date(world: World) -> None:
    subscription = await world.subscribe(target_value="ann@example.org,bo@example.org", invite_message="Welcome")

    delivery_id = await world.app.subscriptions.test(world.project, subscription.id)

    waiting = await world.delivery(delivery_id)
    assert (waiting.trigger, waiting.scheduled_at, waiting.status) == ("manual", None, "starting")
    await settle(world.runner())
    assert (await world.delivery(delivery_id)).status == "completed"
    assert world.mailed == ["ann@example.org", "bo@example.org"]
    assert "Welcome" not in world.email.sent[0][0].text
    assert await world.find(subscription.id) == subscription


async def test_only_one_test_at_a_time(world: World) -> None:
    subscription = await world.subscribe()
    await world.app.subscriptions.test(world.project, subscription.id)

    with pytest.raises(Conflict, match="still in progress"):
        await world.app.subscriptions.test(world.project, subscription.id)
    await settle(world.runner())
    await world.app.subscriptions.test(world.project, subscription.id)

    assert [each.trigger for each in await world.deliveries()] == ["manual", "manual"]


async def test_neither_a_paused_nor_a_removed_nor_an_unknown_subscription_is_tested(world: World) -> None:
    paused = await world.subscribe(enabled=False)
    removed = await world.subscribe()
    await world.app.subscriptions.remove(world.project, removed.id)

    with pytest.raises(Conflict, match="paused"):
        await world.app.subscriptions.test(world.project, paused.id)
    for id_ in (removed.id, 4711):
        with pytest.raises(NotFound):
            await world.app.subscriptions.test(world.project, id_)

    assert await announced(world) == []


# ── unsubscribe ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_whoever_unsubscribes_gets_nothing_of_what_still_waits(world: World) -> None:
    subscription = await world.subscribe(target_value="ann@example.org,bo@example.org")
    world.email.answer("ann@example.org", [TransientFailure("mailbox busy")])
    world.clock.advance(minutes=30)
    await settle(world.runner())

    assert await world.app.subscriptions.unsubscribe(subscription.id, "Ann@example.org")
    world.clock.advance(minutes=10)
    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert [(each.address, each.status) for each in delivery.recipients] == [
        ("ann@example.org", "suppressed"),
        ("bo@example.org", "sent"),
    ]
    assert delivery.status == "completed"
    assert (await world.find(subscription.id)).target.addresses == ("bo@example.org",)
    assert world.mailed == ["bo@example.org"]


async def test_a_delivery_whose_everyone_unsubscribed_ends_without_a_message(world: World) -> None:
    subscription = await world.subscribe(announced=True)

    await world.app.subscriptions.unsubscribe(subscription.id, "ann@example.org")
    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert (delivery.status, delivery.recipients[0].status, delivery.error) == ("completed", "suppressed", None)
    assert world.email.attempts == []


async def test_a_failed_delivery_whose_last_waiting_reader_unsubscribed_ends_as_failed(world: World) -> None:
    subscription = await world.subscribe(target_value="ann@example.org,bo@example.org")
    world.email.answer("ann@example.org", PermanentFailure("no such mailbox"))
    world.email.answer("bo@example.org", [TransientFailure("mailbox busy")])
    world.clock.advance(minutes=30)
    await settle(world.runner())

    await world.app.subscriptions.unsubscribe(subscription.id, "bo@example.org")
    world.clock.advance(minutes=10)
    async with asyncio.timeout(10):
        await settle(world.runner())

    [delivery] = await world.deliveries()
    assert [each.status for each in delivery.recipients] == ["failed", "suppressed"]
    assert (delivery.status, delivery.error) == (
        "failed",
        {"type": "PermanentFailure", "message": "no such mailbox"},
    )
    assert (await world.find(subscription.id)).last_error == delivery.error


async def test_the_last_address_takes_the_subscription_with_it(world: World) -> None:
    subscription = await world.subscribe(target_value="ann@example.org,bo@example.org")

    await world.app.subscriptions.unsubscribe(subscription.id, "bo@example.org")
    one_left = await world.find(subscription.id)
    await world.app.subscriptions.unsubscribe(subscription.id, "ann@example.org")

    assert (one_left.deleted, one_left.target.value) == (False, "ann@example.org")
    assert (await world.find(subscription.id)).deleted


async def test_unsubscribing_is_nothing_for_whoever_is_not_on_it(world: World) -> None:
    subscription = await world.subscribe()
    hook = await world.subscribe(target_type="webhook", target_value=HOOK)
    before = [await world.find(subscription.id), await world.find(hook.id)]

    assert not await world.app.subscriptions.unsubscribe(subscription.id, "bo@example.org")
    assert not await world.app.subscriptions.unsubscribe(hook.id, "ann@example.org")
    assert not await world.app.subscriptions.unsubscribe(4711, "ann@example.org")

    assert [await world.find(subscription.id), await world.find(hook.id)] == before


async def test_whoever_unsubscribes_during_an_attempt_is_not_tried_again(world: World) -> None:
    subscription = await world.subscribe(target_value="ann@example.org,bo@example.org")
    world.email.answer("ann@example.org", [TransientFailure("mailbox busy")])
    world.clock.advance(minutes=30)
    runner = world.runner()
    await runner.open_due()
    batch = await runner.claim()
    await world.app.subscriptions.unsubscribe(subscription.id, "ann@example.org")
    runner.start(batch)
    await settle(runner)

    world.clock.advance(minutes=10)
    await settle(world.runner())

    assert world.mailed == ["bo@example.org"]


# ── resend ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def resend(world: World, delivery_id: UUID) -> int:
    async with world.app.database.write() as tx:
        found = await ledger.find(tx, world.project.id, delivery_id)
        return await ledger.send_again(tx, found, now=world.clock())


async def half_failed(world: World) -> Delivery:
    await world.subscribe(target_value="ann@example.org,bo@example.org")
    world.email.answer("bo@example.org", PermanentFailure("mailbox full"))
    world.clock.advance(minutes=30)
    await settle(world.runner())
    return (await world.deliveries())[0]


async def test_resending_tries_only_the_failed_again_under_the_same_identity(world: World) -> None:
    failed = await half_failed(world)
    world.email.answer("bo@example.org", [])

    assert await resend(world, failed.id) == 1
    await settle(world.runner())

    delivery = await world.delivery(failed.id)
    assert (delivery.status, delivery.idempotency_key) == ("completed", failed.idempotency_key)
    assert [(each.address, each.status, each.attempts) for each in delivery.recipients] == [
        ("ann@example.org", "sent", 1),
        ("bo@example.org", "sent", 2),
    ]
    assert world.mailed == ["ann@example.org", "bo@example.org"]
    assert len({message.id for message, who in world.email.attempts if who != world.owner.email}) == 1


async def test_a_resent_recipient_has_a_full_set_of_attempts(world: World) -> None:
    failed = await half_failed(world)
    world.email.answer("bo@example.org", [TransientFailure("busy")])

    await resend(world, failed.id)
    await settle(world.runner())

    recipient = (await world.delivery(failed.id)).recipients[1]
    assert (recipient.status, recipient.attempts) == ("retrying", 2)
    assert recipient.next_attempt_at == world.clock() + timedelta(minutes=5)


async def test_nothing_is_resent_when_nobody_failed_or_it_is_still_going_on(world: World) -> None:
    subscription = await world.subscribe()
    waiting = await world.app.subscriptions.test(world.project, subscription.id)

    with pytest.raises(Conflict):
        await resend(world, waiting)
    await settle(world.runner())
    with pytest.raises(Conflict, match="no failed recipient"):
        await resend(world, waiting)

    assert (await world.delivery(waiting)).status == "completed"


async def test_resending_does_not_reach_whoever_unsubscribed_since(world: World) -> None:
    failed = await half_failed(world)
    world.email.answer("bo@example.org", [])
    await world.app.subscriptions.unsubscribe(failed.subscription_id, "bo@example.org")

    async with world.app.database.write() as tx:
        found = await ledger.find(tx, world.project.id, failed.id)
        with suppress(Conflict):
            await ledger.send_again(tx, found, now=world.clock())
    await settle(world.runner())

    assert world.mailed == ["ann@example.org"]


async def test_an_announcement_that_a_pause_took_back_does_not_come_after_the_next_resumption(world: World) -> None:
    subscription = await world.subscribe()
    for _ in range(2):
        await world.app.subscriptions.pause(world.project, subscription.id)
        await world.app.subscriptions.resume(world.project, subscription.id)

    await settle(world.runner())

    assert world.mailed == ["ann@example.org"]
