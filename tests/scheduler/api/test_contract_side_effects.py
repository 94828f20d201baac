"""What a change sends, when it is next due, and what a test delivery is: the contract's side effects."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scheduler.api.conftest import HALF_PAST, Client
from tests.scheduler.conftest import settle

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

LONG_AGO = {"start_date": "2026-01-01T12:30:00Z", "until_date": "2026-02-01T00:00:00Z"}


async def sent_by(api: Client, subscription: dict[str, Any], **fields: Any) -> list[tuple[str, list[str]]]:
    """Trigger and recipients of what this edit sends."""
    before = {each["id"] for each in await api.deliveries(subscription)}
    await api.edit(subscription, **fields)
    return [
        (each["trigger_type"], [recipient["recipient"] for recipient in each["recipient_results"]])
        for each in await api.deliveries(subscription)
        if each["id"] not in before
    ]


# ── create ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_post_is_201_and_create_enabled_sends_every_address_the_invitation(api: Client) -> None:
    addresses = "ann@example.org,bo@example.org"

    made = await api.must("POST", "/subscriptions/", 201, json=api.body(target_value=addresses, invite_message="Look!"))

    [delivery] = await api.deliveries(made)
    assert (delivery["trigger_type"], delivery["status"]) == ("target_change", "completed")
    assert [each["recipient"] for each in delivery["recipient_results"]] == addresses.split(",")
    assert "subscribed you to Numbers" in api.world.email.sent[0][0].subject
    assert "Look!" in api.world.email.sent[0][0].text


async def test_create_enabled_for_slack_or_webhook_gets_the_subscribed_wording(api: Client) -> None:
    slack = await api.world.app.catalog.add_slack(api.world.project, "Slack", token="xoxb-1")
    await api.subscribe(target_type="slack", target_value="C0123456", integration_id=slack.id)
    await api.subscribe(target_type="webhook", target_value="https://hooks.example.org/")

    for channel in (api.world.slack, api.world.webhook):
        [(message, _)] = channel.sent
        assert message.subject == "Subscribed: Numbers"


@pytest.mark.parametrize("fields", [{"enabled": False}, {"deleted": True}], ids=str)
async def test_create_disabled_sends_nothing(api: Client, fields: dict[str, Any]) -> None:
    made = await api.must("POST", "/subscriptions", 201, json=api.body(**fields))
    api.world.clock.advance(hours=1)

    assert await api.deliveries(made) == []


# ── patch ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_patch_of_the_target_sends_email_only_to_addresses_that_were_not_there(api: Client) -> None:
    made = await api.subscribe(target_value="ann@example.org,bo@example.org")

    assert await sent_by(api, made, target_value="bo@example.org, cy@example.org") == [
        ("target_change", ["cy@example.org"])
    ]
    assert await sent_by(api, made, target_value="bo@example.org") == []
    assert await sent_by(api, made, target_type="webhook", target_value="https://hooks.example.org/") == [
        ("target_change", ["hooks.example.org"])
    ]


async def test_patch_of_integration_insight_dashboard_or_selection_sends_one_delivery_to_all(api: Client) -> None:
    catalog, world = api.world.app.catalog, api.world
    other = await catalog.add_insight(world.project, "Other", source=1, sql="SELECT 1", display="number")
    tiles = [world.insight, other.id]
    boards = [(await catalog.add_dashboard(world.project, name, insights=tiles)).id for name in ("One", "Two")]
    workspaces = [(await catalog.add_slack(world.project, name, token="xoxb-1")).id for name in ("One", "Two")]
    by_mail = await api.subscribe(target_value="ann@example.org,bo@example.org")
    on_a_board = await api.subscribe(insight=None, dashboard=boards[0], dashboard_export_insights=tiles)
    to_slack = await api.subscribe(target_type="slack", target_value="C0123456", integration_id=workspaces[0])

    to_all = [("target_change", ["ann@example.org", "bo@example.org"])]
    assert await sent_by(api, by_mail, insight=other.id) == to_all
    assert await sent_by(api, on_a_board, dashboard=boards[1]) == [("target_change", ["ann@example.org"])]
    assert await sent_by(api, on_a_board, dashboard_export_insights=[other.id]) == [
        ("target_change", ["ann@example.org"])
    ]
    assert await sent_by(api, to_slack, integration_id=workspaces[1]) == [("target_change", ["C0123456"])]


async def test_patch_that_re_enables_sends_one_delivery_to_all(api: Client) -> None:
    made = await api.subscribe(target_value="ann@example.org,bo@example.org")
    await api.edit(made, enabled=False)

    assert await sent_by(api, made, enabled=True) == [("target_change", ["ann@example.org", "bo@example.org"])]


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "Numbers, daily"},
        {
            "frequency": "weekly",
            "byweekday": ["monday"],
            "timezone": "Asia/Tokyo",
            "until_date": "2030-01-01T00:00:00Z",
        },
        {"enabled": True},
        {"enabled": False},
        {"deleted": True},
        {"target_type": "email", "target_value": " ann@example.org "},
        {"summary_prompt_guide": "Look at Mondays", "summary_enabled": False},
        {"summary": "mine", "id": 7, "unknown": []},
        {},
    ],
    ids=str,
)
async def test_edits_of_title_schedule_or_summary_a_redundant_enable_a_disable_or_a_soft_delete_send_nothing(
    api: Client, fields: dict[str, Any]
) -> None:
    assert await sent_by(api, await api.subscribe(), **fields) == []


async def test_put_is_a_full_update_and_the_row_as_it_was_read_changes_nothing(api: Client) -> None:
    made = await api.subscribe(title="Numbers", interval=2)
    one = f"/subscriptions/{made['id']}"

    assert await api.must("PUT", one, json=made) == made
    replaced = await api.must("PUT", f"{one}/", json=api.body(frequency="weekly", title=None))
    assert (replaced["frequency"], replaced["title"]) == ("weekly", None)
    for field in ("target_type", "target_value", "frequency"):
        without = {name: value for name, value in made.items() if name != field}
        assert await api.refused("PUT", one, json=without) == (400, "validation_error", "required", field)
    assert len(await api.deliveries(made)) == 1


async def test_get_and_patch_reach_deleted_rows_patch_restores_and_delete_is_405(api: Client) -> None:
    made = await api.subscribe()
    one = f"/subscriptions/{made['id']}"

    removed = await api.edit(made, deleted=True)
    assert (await api.must("GET", one)) == removed
    assert removed["deleted"] is True
    assert (await api.must("GET", "/subscriptions"))["count"] == 0
    assert await sent_by(api, made, deleted=False) == []
    assert (await api.must("GET", "/subscriptions"))["count"] == 1
    answer = await api("DELETE", f"{one}/")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "DELETE" not in answer.headers["allow"]


# ── the next date ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_next_delivery_date_is_recomputed_only_when_recurrence_or_time_zone_changed(api: Client) -> None:
    made = await api.subscribe()
    await api.world.sql("UPDATE subscriptions SET next_delivery_date = '2026-11-25 12:30:00'")

    for fields in ({"title": "New"}, {"frequency": "daily", "start_date": HALF_PAST}, {"target_value": "bo@b.example"}):
        assert (await api.edit(made, **fields))["next_delivery_date"] == "2026-11-25T12:30:00Z"
    assert (await api.edit(made, timezone="Asia/Tokyo"))["next_delivery_date"] == HALF_PAST
    assert (await api.edit(made, interval=2))["next_delivery_date"] == HALF_PAST


async def test_next_delivery_date_never_goes_into_the_past_and_re_enabling_is_no_burst(api: Client) -> None:
    made = await api.subscribe()
    await api.edit(made, enabled=False)
    api.world.clock.advance(days=10, minutes=1)

    resumed = await api.edit(made, enabled=True)

    assert resumed["next_delivery_date"] == "2026-12-02T12:30:00Z"
    assert [each["trigger_type"] for each in await api.deliveries(made)] == ["target_change", "target_change"]
    moved = await api.edit(made, start_date="2026-01-01T09:00:00Z")
    assert moved["next_delivery_date"] == "2026-12-03T09:00:00Z"


async def test_a_recurrence_without_a_future_occurrence_is_400(api: Client) -> None:
    made, paused = await api.subscribe(), await api.subscribe(enabled=False)

    assert await api.refused_at(**LONG_AGO) == ("invalid_input", "start_date")
    assert await api.refused_at(made, **LONG_AGO) == ("invalid_input", None)
    assert (await api.edit(paused, **LONG_AGO))["next_delivery_date"] is None
    assert await api.refused_at(paused, enabled=True) == ("invalid_input", "enabled")


async def test_re_enable_without_a_usable_integration_is_400_at_enabled(api: Client) -> None:
    slack = await api.world.app.catalog.add_slack(api.world.project, "Slack", token="xoxb-1")
    made = await api.subscribe(target_type="slack", target_value="C0123456", integration_id=slack.id, enabled=False)
    await api.world.sql("UPDATE subscriptions SET integration_id = NULL")

    assert await api.refused_at(made, enabled=True) == ("invalid_input", "enabled")
    assert (await api.edit(made, enabled=True, integration_id=slack.id))["enabled"] is True


# ── test-delivery ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_test_delivery_is_202_without_a_body_and_its_row_exists_before_the_answer(api: Client) -> None:
    made = await api.subscribe(target_value="ann@example.org,bo@example.org")
    api.world.clock.advance(seconds=1)

    answer = await api("POST", f"/subscriptions/{made['id']}/test-delivery/")

    assert (answer.status_code, answer.content) == (202, b"")
    [delivery, _] = (await api.must("GET", f"/subscriptions/{made['id']}/deliveries"))["results"]
    assert (delivery["trigger_type"], delivery["scheduled_at"], delivery["status"]) == ("manual", None, "starting")
    assert [each["recipient"] for each in delivery["recipient_results"]] == ["ann@example.org", "bo@example.org"]


async def test_test_delivery_has_the_regular_wording_and_leaves_the_next_date(api: Client) -> None:
    made = await api.subscribe(invite_message="Look!")
    await api.must("POST", f"/subscriptions/{made['id']}/test-delivery", 202)

    await settle(api.world.runner())

    message, _ = api.world.email.sent[-1]
    assert "subscribed you to" not in message.subject + message.text
    assert "Look!" not in message.text
    assert await api.must("GET", f"/subscriptions/{made['id']}") == made


async def test_test_delivery_is_404_when_deleted_409_when_disabled_or_still_in_progress(api: Client) -> None:
    made = await api.subscribe()
    path = f"/subscriptions/{made['id']}/test-delivery"

    await api.must("POST", path, 202)
    assert (await api.refused("POST", path))[0] == 409
    await settle(api.world.runner())
    await api.must("POST", path, 202)
    await settle(api.world.runner())

    await api.edit(made, enabled=False)
    assert (await api.refused("POST", path))[0] == 409
    await api.edit(made, deleted=True)
    assert (await api.refused("POST", path))[0] == 404
    assert (await api.refused("POST", "/subscriptions/77/test-delivery"))[0] == 404


async def test_test_delivery_is_throttled_per_project_to_ten_a_minute(api: Client) -> None:
    subscriptions = [await api.world.subscribe() for _ in range(11)]
    paths = [f"/subscriptions/{each.id}/test-delivery" for each in subscriptions]
    for path in paths[:10]:
        await api.must("POST", path, 202)

    answer = await api("POST", paths[10])

    assert (answer.status_code, answer.json()["type"], answer.json()["code"]) == (429, "throttled_error", "throttled")
    assert int(answer.headers["retry-after"]) > 0
    api.world.clock.advance(minutes=1, seconds=1)
    await api.must("POST", paths[10], 202)


async def test_summary_quota_counts_active_summaries_and_no_limit_is_never_reached(api: Client) -> None:
    await api.subscribe()

    quota = await api.must("GET", "/subscriptions/summary_quota/")

    assert quota == {"active_count": 0, "limit": None, "at_limit": False}
