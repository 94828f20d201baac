"""Rows as the API contract says them: every key, and what stands in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from channels.base import PermanentFailure, TransientFailure
from scheduler.contract import delivery_json, instant, subscription_json
from scheduler.store import catalog
from scheduler.store.catalog import Insight
from scheduler.store.subscriptions import Subscription
from tests.scheduler.conftest import NOON, World, settle

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


def shown(world: World, subscription: Subscription) -> dict[str, Any]:
    row = subscription_json(subscription, target_value=world.app.subscriptions.target_value(subscription.target))
    return dict(json.loads(json.dumps(row)))


def by_ann(world: World) -> dict[str, Any]:
    return {
        "id": world.owner.id,
        "uuid": str(world.owner.uuid),
        "distinct_id": str(world.owner.uuid),
        "first_name": "",
        "last_name": "",
        "email": "owner@example.org",
        "is_email_verified": None,
        "hedgehog_config": None,
        "role_at_organization": "admin",
    }


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, None),
        (NOON, "2026-11-22T12:00:00Z"),
        (NOON.replace(microsecond=120_000), "2026-11-22T12:00:00.120000Z"),
        (datetime(2026, 11, 22, 13, tzinfo=timezone(timedelta(hours=1))), "2026-11-22T12:00:00Z"),
    ],
)
def test_an_instant_is_iso_8601_with_z(moment: datetime | None, text: str | None) -> None:
    assert instant(moment) == text


async def test_a_subscription_of_an_insight(world: World) -> None:
    subscription = await world.subscribe(title="Numbers every day", target_value="ann@example.org, bo@example.org")

    row = shown(world, subscription)

    assert row == {
        "id": subscription.id,
        "dashboard": None,
        "insight": world.insight,
        "insight_short_id": row["insight_short_id"],
        "resource_name": "Numbers",
        "resource_type": "insight",
        "dashboard_export_insights": [],
        "target_type": "email",
        "target_value": "ann@example.org,bo@example.org",
        "frequency": "daily",
        "interval": 1,
        "byweekday": None,
        "bysetpos": None,
        "count": None,
        "start_date": "2026-11-22T12:30:00Z",
        "until_date": None,
        "timezone": "UTC",
        "gap": "shift",
        "fold": "first",
        "catch_up": "latest",
        "catch_up_hours": 24,
        "created_at": "2026-11-22T12:00:00Z",
        "created_by": by_ann(world),
        "deleted": False,
        "enabled": True,
        "title": "Numbers every day",
        "summary": row["summary"],
        "next_delivery_date": "2026-11-22T12:30:00Z",
        "integration_id": None,
        "invite_message": None,
        "summary_enabled": False,
        "summary_prompt_guide": "",
        "last_error": None,
    }
    assert row["summary"].startswith("every day at 12:30")
    async with world.app.database.read() as connection:
        insight = await catalog.find(connection, Insight, world.project.id, world.insight)
    assert row["insight_short_id"] == insight.short_id


@sqlite_only
async def test_a_subscription_of_a_dashboard_and_every_field_of_its_recurrence(world: World) -> None:
    overview = await world.app.catalog.add_dashboard(world.project, "Overview", insights=[world.insight])
    slack = await world.app.catalog.add_slack(world.project, "Slack", token="xoxb-1")
    fields = {
        "target_type": "slack",
        "target_value": "C0123456|#numbers",
        "integration_id": slack.id,
        "frequency": "monthly",
        "interval": 2,
        "byweekday": ["monday", "friday"],
        "bysetpos": -1,
        "count": 10,
        "timezone": "Europe/Berlin",
        "gap": "skip",
        "fold": "second",
        "catch_up": "all",
        "catch_up_hours": 48,
        "enabled": False,
        "dashboard": overview.id,
        "dashboard_export_insights": [world.insight],
    }
    subscription = await world.subscribe(
        **fields, insight=None, until_date=datetime(2030, 1, 1, tzinfo=UTC), invite_message="Hello"
    )

    row = shown(world, subscription)

    assert {name: row[name] for name in fields} == fields
    assert row["until_date"] == "2030-01-01T00:00:00Z"
    assert (row["insight"], row["insight_short_id"], row["invite_message"]) == (None, None, None)
    assert (row["resource_type"], row["resource_name"]) == ("dashboard", "Overview")


@sqlite_only
async def test_a_webhooks_owner_sees_its_url_and_its_deliveries_show_the_host(world: World) -> None:
    hook = "https://127.0.0.1/hooks/T0SECRET"
    subscription = await world.subscribe(target_type="webhook", target_value=hook, announced=True)
    await settle(world.runner())

    [delivery] = await world.deliveries()

    assert shown(world, subscription)["target_value"] == hook
    row = delivery_json(delivery)
    assert "T0SECRET" not in json.dumps(row)
    assert (row["target_value"], row["recipient_results"][0]["recipient"]) == ("127.0.0.1", "127.0.0.1")


async def test_a_delivery_with_its_recipients_and_what_it_showed(world: World) -> None:
    subscription = await world.subscribe(target_value="ann@example.org,bo@example.org,cy@example.org,di@example.org")
    world.email.answer("bo@example.org", PermanentFailure("no such mailbox"))
    world.email.answer("cy@example.org", TransientFailure("mailbox busy"))
    world.email.answer("di@example.org", TransientFailure("the answer was lost", uncertain=True))
    world.clock.advance(minutes=30)
    runner = world.runner()
    await settle(runner)

    [delivery] = await world.deliveries()
    row = json.loads(json.dumps(delivery_json(delivery)))

    assert row == {
        "id": str(delivery.id),
        "subscription": subscription.id,
        "temporal_workflow_id": runner.work.run_id,
        "idempotency_key": str(delivery.id),
        "trigger_type": "scheduled",
        "scheduled_at": "2026-11-22T12:30:00Z",
        "target_type": "email",
        "target_value": subscription.target.value,
        "exported_asset_ids": [1],
        "content_snapshot": {
            "dashboard": None,
            "insights": [
                {
                    "id": world.insight,
                    "short_id": subscription.insight_short_id,
                    "name": "Numbers",
                    "description": "",
                    "query_results": {
                        "columns": ["day", "n"],
                        "types": ["date", "number"],
                        "result": [["2026-11-20", 1], ["2026-11-21", 2]],
                        "last_refresh": "2026-11-22T12:30:00Z",
                        "has_more": False,
                    },
                }
            ],
            "total_insight_count": 1,
        },
        "recipient_results": [
            {
                "recipient": "ann@example.org",
                "status": "success",
                "state": "sent",
                "attempts": 1,
                "sent_at": "2026-11-22T12:30:00Z",
                "next_attempt_at": None,
            },
            {
                "recipient": "bo@example.org",
                "status": "failed",
                "state": "failed",
                "attempts": 1,
                "sent_at": None,
                "next_attempt_at": None,
                "error": {"type": "PermanentFailure", "message": "no such mailbox"},
            },
            {
                "recipient": "cy@example.org",
                "status": "pending",
                "state": "retrying",
                "attempts": 1,
                "sent_at": None,
                "next_attempt_at": "2026-11-22T12:35:00Z",
                "error": {"type": "TransientFailure", "message": "mailbox busy"},
            },
            {
                "recipient": "di@example.org",
                "status": "uncertain",
                "state": "uncertain",
                "attempts": 1,
                "sent_at": None,
                "next_attempt_at": "2026-11-22T12:35:00Z",
                "error": {"type": "TransientFailure", "message": "the answer was lost"},
            },
        ],
        "status": "starting",
        "error": None,
        "created_at": "2026-11-22T12:30:00Z",
        "last_updated_at": "2026-11-22T12:30:00Z",
        "finished_at": None,
        "change_summary": None,
        "attempts": [
            {
                "recipient": f"{who}@example.org",
                "attempt": 1,
                "outcome": outcome,
                "reason": reason,
                "started_at": "2026-11-22T12:30:00Z",
                "finished_at": "2026-11-22T12:30:00Z",
            }
            for who, outcome, reason in (
                ("ann", "sent", None),
                ("bo", "permanent", "no such mailbox"),
                ("cy", "transient", "mailbox busy"),
                ("di", "uncertain", "the answer was lost"),
            )
        ],
    }


@sqlite_only
async def test_a_delivery_of_a_dashboard_shows_its_insights_in_order_failed_ones_included(world: World) -> None:
    broken = await world.app.catalog.add_insight(
        world.project, "Broken", source=1, sql="SELECT nope FROM t", display="line", check=False
    )
    overview = await world.app.catalog.add_dashboard(world.project, "Overview", insights=[broken.id, world.insight])
    await world.subscribe(
        insight=None, dashboard=overview.id, dashboard_export_insights=[world.insight, broken.id], announced=True
    )
    await settle(world.runner())

    row = delivery_json((await world.deliveries())[0])

    snapshot = row["content_snapshot"]
    assert snapshot["dashboard"] == {"id": overview.id, "name": "Overview"}
    assert (len(row["exported_asset_ids"]), snapshot["total_insight_count"]) == (2, 2)
    assert [(each["name"], each["query_results"] is None) for each in snapshot["insights"]] == [
        ("Broken", True),
        ("Numbers", False),
    ]
    assert set(snapshot["insights"][0]["query_error"]) == {"type", "message"}
    assert (row["trigger_type"], row["scheduled_at"]) == ("target_change", None)


async def test_a_delivery_keeps_the_name_of_the_dashboard_that_it_showed(world: World) -> None:
    catalog = world.app.catalog
    shown = await catalog.add_dashboard(world.project, 'Über "uns" \\ 1', insights=[world.insight])
    other = await catalog.add_dashboard(world.project, "Other", insights=[world.insight])
    tiles = {"dashboard_export_insights": [world.insight]}
    made = await world.subscribe(insight=None, dashboard=shown.id, **tiles, announced=True)
    await settle(world.runner())

    world.clock.advance(minutes=1)
    await world.app.subscriptions.edit(world.project, made.id, {"dashboard": other.id, **tiles})

    sent, waiting = await world.deliveries()
    assert delivery_json(sent)["content_snapshot"]["dashboard"] == {"id": shown.id, "name": 'Über "uns" \\ 1'}
    assert delivery_json(waiting)["content_snapshot"]["dashboard"] == {"id": other.id, "name": "Other"}


@sqlite_only
async def test_a_waiting_a_failed_a_skipped_and_an_unsubscribed_one(world: World) -> None:
    await world.subscribe(announced=True)
    [waiting] = await world.deliveries()
    world.email.answer("ann@example.org", PermanentFailure("x" * 600))
    await settle(world.runner())
    [failed] = await world.deliveries()
    leaving = await world.subscribe(target_value="cy@example.org")
    await world.app.subscriptions.test(world.project, leaving.id)
    await world.app.subscriptions.unsubscribe(leaving.id, "cy@example.org")
    await settle(world.runner())
    unsubscribed = next(each for each in await world.deliveries() if each.trigger == "manual")

    before, after, left = delivery_json(waiting), delivery_json(failed), delivery_json(unsubscribed)

    assert (before["exported_asset_ids"], before["content_snapshot"]) == (
        [],
        {"dashboard": None, "insights": [], "total_insight_count": 0},
    )
    assert before["temporal_workflow_id"] == "paperround-unclaimed"
    assert (after["status"], len(after["error"]["message"]), after["finished_at"]) == (
        "failed",
        500,
        "2026-11-22T12:00:00Z",
    )
    assert left["status"] == "completed"
    assert left["recipient_results"][0]["status"] == "failed"
    assert left["recipient_results"][0]["error"]["type"] == "Suppressed"


@sqlite_only
async def test_a_skipped_delivery_says_why(world: World) -> None:
    await world.subscribe(catch_up="skip")
    world.clock.advance(hours=2)
    await settle(world.runner())

    row = delivery_json((await world.deliveries())[0])

    assert (row["status"], row["recipient_results"], row["exported_asset_ids"]) == ("skipped", [], [])
    assert set(row["error"]) == {"type", "message"}
    assert (row["scheduled_at"], row["finished_at"]) == ("2026-11-22T12:30:00Z", "2026-11-22T14:00:00Z")
    assert row["temporal_workflow_id"] is not None


@sqlite_only
async def test_catalog_entries_without_their_secrets(world: World) -> None:
    catalog_, project = world.app.catalog, world.project
    source = await catalog_.add_source(project, "Shop", f"sqlite:///{world.source_path}")
    insight = await catalog_.add_insight(
        project, "Sales", source="Source", sql="SELECT n FROM t", display="line", description="All of them"
    )
    overview = await catalog_.add_dashboard(project, "Overview", insights=[insight.id, world.insight])
    slack = await catalog_.add_slack(project, "Slack", token="xoxb-1")
    made = "2026-11-22T12:00:00Z"

    assert catalog_.shown(source) == {
        "id": source.id,
        "name": "Shop",
        "kind": "sql",
        "mask_value": "sqlite:///…/source.db",
        "created_at": made,
    }
    assert catalog_.shown(insight) == {
        "id": insight.id,
        "short_id": insight.short_id,
        "name": "Sales",
        "description": "All of them",
        "source": 1,
        "sql": "SELECT n FROM t",
        "display": "line",
        "created_at": made,
        "updated_at": made,
    }
    assert catalog_.shown(overview) == {
        "id": overview.id,
        "name": "Overview",
        "description": "",
        "insights": [insight.id, world.insight],
        "tiles": [
            {"insight": insight.id, "name": "Sales", "position": 0},
            {"insight": world.insight, "name": "Numbers", "position": 1},
        ],
        "created_at": made,
    }
    assert catalog_.shown(slack) == {
        "id": slack.id,
        "kind": "slack",
        "name": "Slack",
        "mask_value": "…",
        "created_at": made,
    }


async def test_a_thread_that_lacks_a_reply_for_good_is_partial(world: World) -> None:
    integration = await world.app.catalog.add_slack(world.project, "Slack", token="xoxb-test")
    await world.subscribe(target_type="slack", target_value="C123", integration_id=integration.id)
    world.slack.answer("C123", PermanentFailure("the second picture was refused"))
    world.clock.advance(minutes=30)
    await settle(world.runner())
    await world.sql('UPDATE delivery_recipients SET progress = \'{"ts": "1.2", "replies": 1}\'')

    [delivery] = await world.deliveries()

    assert delivery_json(delivery)["recipient_results"][0]["status"] == "partial"
