"""The contract's Subscription table, row by row: what goes in, what comes out, what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.scheduler.api.conftest import HALF_PAST, Client
from tests.scheduler.conftest import NOON

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


async def dashboard(api: Client, *, tiles: int) -> tuple[int, list[int]]:
    """A new dashboard of so many insights: its id and theirs, in its order."""
    catalog, project = api.world.app.catalog, api.world.project
    made = [
        (await catalog.add_insight(project, f"Tile {n}", source=1, sql="SELECT 1", display="number", check=False)).id
        for n in range(tiles)
    ]
    return (await catalog.add_dashboard(project, "Overview", insights=made)).id, made


async def slack(api: Client) -> int:
    return (await api.world.app.catalog.add_slack(api.world.project, "Slack", token="xoxb-1")).id


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_id_and_every_field_of_the_table_are_in_the_answer(api: Client) -> None:
    made = await api.subscribe()

    assert isinstance(made["id"], int)
    assert set(FIELDS) <= set(made)


async def test_dashboard_or_insight_exactly_one_and_of_this_project(api: Client) -> None:
    overview, tiles = await dashboard(api, tiles=1)
    on = {"insight": None, "dashboard": overview, "dashboard_export_insights": tiles}

    assert (await api.subscribe())["dashboard"] is None
    assert (await api.subscribe(**on))["insight"] is None
    assert (await api.subscribe(insight=str(api.world.insight)))["insight"] == api.world.insight
    assert await api.refused_at(insight=None) == ("required", None)
    assert await api.refused_at(dashboard=overview) == ("required", None)
    assert await api.refused_at(insight=999) == ("does_not_exist", "insight")
    assert await api.refused_at(insight=None, dashboard=999) == ("does_not_exist", "dashboard")
    for no_id in ("Numbers", [1], True, 1.5, {}):
        assert await api.refused_at(insight=no_id) == ("invalid_input", "insight")


async def test_the_kind_dashboard_or_insight_never_changes_after_creation(api: Client) -> None:
    overview, tiles = await dashboard(api, tiles=2)
    of_insight = await api.subscribe()
    of_dashboard = await api.subscribe(insight=None, dashboard=overview, dashboard_export_insights=tiles)

    to_a_dashboard = {"insight": None, "dashboard": overview, "dashboard_export_insights": tiles}
    assert (await api.refused_at(of_insight, **to_a_dashboard))[1] == "dashboard"
    assert (await api.refused_at(of_dashboard, dashboard=None, insight=tiles[0]))[1] == "insight"
    assert await api.refused_at(of_insight, insight=None) == ("required", None)
    assert (await api.edit(of_insight, insight=tiles[0]))["insight"] == tiles[0]


async def test_insight_short_id_resource_name_and_resource_type_say_what_it_shows(api: Client) -> None:
    overview, tiles = await dashboard(api, tiles=1)
    of_insight = await api.subscribe(insight_short_id="mine", resource_name="mine", resource_type="mine")
    of_dashboard = await api.subscribe(insight=None, dashboard=overview, dashboard_export_insights=tiles)

    assert len(of_insight["insight_short_id"]) == 8
    assert (of_insight["resource_name"], of_insight["resource_type"]) == ("Numbers", "insight")
    assert of_dashboard["insight_short_id"] is None
    assert (of_dashboard["resource_name"], of_dashboard["resource_type"]) == ("Overview", "dashboard")


async def test_dashboard_export_insights_are_1_to_25_distinct_tiles_of_that_dashboard(api: Client) -> None:
    overview, tiles = await dashboard(api, tiles=26)
    on: dict[str, Any] = {"insight": None, "dashboard": overview}
    field = "dashboard_export_insights"

    assert (await api.subscribe(**on, dashboard_export_insights=tiles[:25]))[field] == tiles[:25]
    assert await api.refused_at(**on) == ("required", field)
    assert await api.refused_at(**on, dashboard_export_insights=None) == ("null", field)
    for wrong in ([], tiles, [tiles[0], tiles[0]], "1", [True], ["1"]):
        assert await api.refused_at(**on, dashboard_export_insights=wrong) == ("invalid_input", field)
    assert await api.refused_at(**on, dashboard_export_insights=[api.world.insight]) == ("does_not_exist", field)


async def test_an_insight_subscription_refuses_dashboard_export_insights(api: Client) -> None:
    refused = await api.refused_at(dashboard_export_insights=[api.world.insight])

    assert refused == ("invalid_input", "dashboard_export_insights")
    assert (await api.subscribe(dashboard_export_insights=[]))["dashboard_export_insights"] == []


async def test_patch_replaces_dashboard_export_insights_absent_keeps_and_an_empty_list_is_400(api: Client) -> None:
    overview, tiles = await dashboard(api, tiles=3)
    made = await api.subscribe(insight=None, dashboard=overview, dashboard_export_insights=tiles[:2])

    assert (await api.edit(made, title="New"))["dashboard_export_insights"] == tiles[:2]
    assert (await api.edit(made, dashboard=overview))["dashboard_export_insights"] == tiles[:2]
    assert (await api.edit(made, dashboard_export_insights=tiles[2:]))["dashboard_export_insights"] == tiles[2:]
    assert (await api.refused_at(made, dashboard_export_insights=[]))[1] == "dashboard_export_insights"


# ── where it goes ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_target_type_is_email_slack_or_webhook(api: Client) -> None:
    slack_target = {"target_type": "slack", "target_value": "C0123456", "integration_id": await slack(api)}
    webhook_target = {"target_type": "webhook", "target_value": "https://hooks.example.org/in"}

    for target in ({"target_type": "email"}, slack_target, webhook_target):
        assert (await api.subscribe(**target))["target_type"] == target["target_type"]
    for wrong in ("fax", "EMAIL", 1, ["email"]):
        assert await api.refused_at(target_type=wrong) == ("invalid_choice", "target_type")
    assert await api.refused_at(target_type=None) == ("null", "target_type")


async def test_target_value_of_email_is_comma_separated_trimmed_checked_and_without_duplicates(api: Client) -> None:
    made = await api.subscribe(target_value=" bo@example.org,ann@example.org , bo@example.org,")

    assert made["target_value"] == "bo@example.org,ann@example.org"
    assert await api.refused_at(target_value=None) == ("null", "target_value")
    for wrong in (
        "nobody",
        "ann@example.org, nobody@",
        "ann@example.org\nBcc: all@example.org",
        ",",
        5,
        ["a@b.example"],
    ):
        assert await api.refused_at(target_value=wrong) == ("invalid_input", "target_value")


async def test_target_value_of_slack_is_a_channel_id_with_or_without_its_name(api: Client) -> None:
    to = {"target_type": "slack", "integration_id": await slack(api)}

    assert (await api.subscribe(**to, target_value="C0123456"))["target_value"] == "C0123456"
    named = await api.subscribe(**to, target_value=" C0123456|#numbers ")
    assert named["target_value"] == "C0123456|#numbers"
    assert {recipient for _, recipient in api.world.slack.sent} == {"C0123456"}
    for wrong in ("#numbers", "numbers", "C0123456,C0123457"):
        assert await api.refused_at(**to, target_value=wrong) == ("invalid_input", "target_value")


async def test_target_value_of_webhook_is_an_https_url_or_http_to_an_allowed_host(api: Client) -> None:
    for url in ("https://hooks.example.org/in?key=1", "http://127.0.0.1:9/in"):
        assert (await api.subscribe(target_type="webhook", target_value=url))["target_value"] == url
    for wrong in (
        "http://hooks.example.org/",
        "https://10.0.0.1/",
        "https://a:b@c.example/",
        "ftp://a.example/",
        "hooks",
    ):
        refused = await api.refused_at(target_type="webhook", target_value=wrong)
        assert refused == ("invalid_input", "target_value")


async def test_integration_id_is_required_for_slack_of_this_project_and_of_that_kind(api: Client) -> None:
    to = {"target_type": "slack", "target_value": "C0123456"}
    signing = (await api.world.app.catalog.add_webhook_secret(api.world.project, "Signing")).id

    made = await api.subscribe(**to, integration_id=await slack(api))

    assert isinstance(made["integration_id"], int)
    assert (await api.subscribe(integration_id=None))["integration_id"] is None
    assert await api.refused_at(**to) == ("required", "integration_id")
    assert (await api.refused_at(made, integration_id=None))[1] == "integration_id"
    assert await api.refused_at(**to, integration_id=999) == ("does_not_exist", "integration_id")
    assert await api.refused_at(**to, integration_id=signing) == ("invalid_input", "integration_id")


# ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_frequency_is_daily_weekly_monthly_or_yearly(api: Client) -> None:
    for frequency in ("daily", "weekly", "monthly", "yearly"):
        assert (await api.subscribe(frequency=frequency))["frequency"] == frequency
    for wrong in ("hourly", "Daily", 1):
        assert await api.refused_at(frequency=wrong) == ("invalid_choice", "frequency")


async def test_interval_is_at_least_1_which_is_the_default(api: Client) -> None:
    assert (await api.subscribe())["interval"] == 1
    made = await api.subscribe(interval=3, start_date="2026-11-21T12:30:00Z")
    assert (made["interval"], made["next_delivery_date"]) == (3, "2026-11-24T12:30:00Z")
    assert await api.refused_at(interval=0) == ("min_value", "interval")
    assert await api.refused_at(interval=None) == ("null", "interval")
    for wrong in ("2", 1.5, True):
        assert await api.refused_at(interval=wrong) == ("invalid_input", "interval")


async def test_byweekday_is_a_list_of_weekdays_or_null(api: Client) -> None:
    weekdays = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

    assert (await api.subscribe(frequency="weekly", byweekday=weekdays))["byweekday"] == weekdays
    assert (await api.subscribe(frequency="weekly", byweekday=None))["byweekday"] is None
    assert await api.refused_at(byweekday="monday") == ("invalid_input", "byweekday")
    assert await api.refused_at(byweekday=["Monday"]) == ("invalid_choice", "byweekday__0")


async def test_bysetpos_is_not_zero_from_minus_366_to_366_or_null_and_applies_only_with_byweekday(api: Client) -> None:
    monthly = {"frequency": "monthly", "start_date": "2026-11-01T12:30:00Z"}

    last_friday = await api.subscribe(**monthly, byweekday=["friday"], bysetpos=-1)
    without_weekday = await api.subscribe(**monthly, bysetpos=-1)

    assert (last_friday["bysetpos"], last_friday["next_delivery_date"]) == (-1, "2026-11-27T12:30:00Z")
    assert (without_weekday["bysetpos"], without_weekday["next_delivery_date"]) == (-1, "2026-12-01T12:30:00Z")
    assert (await api.edit(last_friday, bysetpos=None))["bysetpos"] is None
    assert (await api.subscribe(bysetpos=366))["bysetpos"] == 366
    assert await api.refused_at(bysetpos=0, byweekday=["monday"]) == ("invalid_input", "bysetpos")
    assert await api.refused_at(bysetpos=367) == ("max_value", "bysetpos")
    assert await api.refused_at(bysetpos=-367) == ("min_value", "bysetpos")


async def test_count_counts_occurrences_from_start_date_not_sends(api: Client) -> None:
    made = await api.subscribe(count=3, start_date="2026-11-20T12:30:00Z")

    assert (made["count"], made["next_delivery_date"]) == (3, HALF_PAST)
    api.world.clock.advance(minutes=31)
    await api.deliveries(made)
    assert (await api.must("GET", f"/subscriptions/{made['id']}"))["next_delivery_date"] is None
    assert (await api.subscribe(count=None))["count"] is None
    assert await api.refused_at(count=0) == ("min_value", "count")


async def test_start_date_is_an_instant_and_now_by_default_without_microseconds(api: Client) -> None:
    api.world.clock.advance(seconds=1.5)
    fields = {name: value for name, value in api.body().items() if name != "start_date"}

    made = await api.must("POST", "/subscriptions", 201, json=fields)

    assert (made["start_date"], made["next_delivery_date"]) == ("2026-11-22T12:00:00Z", "2026-11-23T12:00:00Z")
    assert (await api.subscribe(start_date="2026-11-22T12:30:00.123456Z"))["start_date"] == HALF_PAST
    assert await api.refused_at(start_date=None) == ("null", "start_date")
    for wrong in ("soon", 12, "0001-01-01T00:00:00Z", "2026-13-01T00:00:00Z"):
        assert await api.refused_at(start_date=wrong) == ("invalid_input", "start_date")


async def test_until_date_is_inclusive_or_null(api: Client) -> None:
    made = await api.subscribe(until_date=HALF_PAST)

    assert (made["until_date"], made["next_delivery_date"]) == (HALF_PAST, HALF_PAST)
    assert (await api.edit(made, until_date=None))["until_date"] is None
    assert await api.refused_at(until_date="2026-11-22T12:29:59Z") == ("invalid_input", "until_date")


async def test_timezone_is_an_iana_name_and_the_projects_by_default(api: Client) -> None:
    await api.world.sql("UPDATE projects SET timezone = 'Asia/Tokyo'")

    assert (await api.subscribe())["timezone"] == "Asia/Tokyo"
    assert (await api.subscribe(timezone="Europe/Berlin"))["timezone"] == "Europe/Berlin"
    for wrong in ("Mars/Olympus", "CEST", "../../etc/passwd", 1):
        assert await api.refused_at(timezone=wrong) == ("invalid_choice", "timezone")


async def test_summary_is_the_recurrence_as_a_sentence(api: Client) -> None:
    made = await api.subscribe(frequency="weekly", byweekday=["monday"], timezone="Europe/Berlin", summary="mine")

    assert made["summary"] == "every week on Monday at 13:30, Europe/Berlin"


async def test_next_delivery_date_is_read_only_and_null_when_ended(api: Client) -> None:
    made = await api.subscribe(count=1, next_delivery_date="2030-01-01T00:00:00Z")

    assert made["next_delivery_date"] == HALF_PAST
    api.world.clock.advance(minutes=31)
    await api.deliveries(made)
    assert (await api.must("GET", f"/subscriptions/{made['id']}"))["next_delivery_date"] is None


# ── whose, and what else ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_created_at_and_created_by_are_the_moment_and_the_keys_user(api: Client) -> None:
    owner = api.world.owner

    made = await api.subscribe(created_at="2001-01-01T00:00:00Z", created_by=None)

    assert made["created_at"] == "2026-11-22T12:00:00Z"
    assert made["created_by"] == {
        "id": owner.id,
        "uuid": str(owner.uuid),
        "distinct_id": str(owner.uuid),
        "first_name": "",
        "last_name": "",
        "email": owner.email,
        "is_email_verified": None,
        "hedgehog_config": None,
        "role_at_organization": "admin",
    }


async def test_deleted_and_enabled_are_booleans_false_and_true_by_default(api: Client) -> None:
    made = await api.subscribe()
    assert (made["deleted"], made["enabled"]) == (False, True)

    made = await api.subscribe(deleted=True, enabled=False)
    assert (made["deleted"], made["enabled"]) == (True, False)

    for field in ("deleted", "enabled"):
        assert await api.refused_at(**{field: None}) == ("null", field)
        for wrong in ("yes", 1, []):
            assert await api.refused_at(**{field: wrong}) == ("invalid_input", field)


async def test_title_has_at_most_100_characters_or_is_null(api: Client) -> None:
    for title in ("ä" * 100, "", None):
        assert (await api.subscribe(title=title))["title"] == title
    assert await api.refused_at(title="x" * 101) == ("max_length", "title")
    assert await api.refused_at(title=5) == ("invalid_input", "title")


async def test_invite_message_is_used_once_and_always_shown_as_null(api: Client) -> None:
    made = await api.subscribe(invite_message="Have a look")
    api.world.clock.now = NOON + timedelta(minutes=31)
    await api.deliveries(made)

    assert made["invite_message"] is None
    assert ["Have a look" in message.text for message, _ in api.world.email.sent] == [True, False]
    assert await api.refused_at(invite_message=5) == ("invalid_input", "invite_message")


FIELDS = (
    *("id", "dashboard", "insight", "insight_short_id", "resource_name", "resource_type", "dashboard_export_insights"),
    *("target_type", "target_value", "frequency", "interval", "byweekday", "bysetpos", "count", "start_date"),
    *("until_date", "timezone", "created_at", "created_by", "deleted", "enabled", "title", "summary"),
    *("next_delivery_date", "integration_id", "invite_message", "summary_enabled", "summary_prompt_guide"),
)
"""The table's first column."""
