"""The contract's Delivery table, row by row, and how deliveries are read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from channels.base import PermanentFailure, TransientFailure
from scheduler.status import DeliveryStatus
from tests.scheduler.api.conftest import HALF_PAST, Client

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

GONE = PermanentFailure("No such mailbox.")


async def delivered(api: Client, *, later: timedelta = timedelta(minutes=31), **fields: Any) -> dict[str, Any]:
    """The delivery of the first occurrence of such a subscription."""
    made = await api.subscribe(**fields)
    api.world.clock.now += later
    return next(each for each in await api.deliveries(made) if each["trigger_type"] == "scheduled")


async def show(api: Client, sql: str) -> int:
    """A new insight; its id."""
    catalog, project = api.world.app.catalog, api.world.project
    return (await catalog.add_insight(project, "Shown", source=1, sql=sql, display="table", check=False)).id


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_list_is_filtered_by_status_else_400_and_one_is_as_it_is_listed(api: Client) -> None:
    made = await api.subscribe()
    path = f"/subscriptions/{made['id']}/deliveries"
    [delivery] = await api.deliveries(made)

    assert await api.must("GET", f"{path}/{delivery['id']}/") == delivery
    for status in DeliveryStatus:
        found = (await api.must("GET", f"{path}/?status={status}"))["results"]
        assert found == ([delivery] if status == "completed" else [])
    assert await api.refused("GET", f"{path}?status=late") == (400, "validation_error", "invalid_choice", "status")
    assert await api.refused("GET", f"{path}?cursor=x") == (400, "validation_error", "invalid_input", "cursor")


async def test_deliveries_are_read_only_else_405(api: Client) -> None:
    made = await api.subscribe()
    path = f"/subscriptions/{made['id']}/deliveries"
    [delivery] = await api.deliveries(made)

    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for at in (path, f"{path}/{delivery['id']}"):
            assert await api.refused(method, at) == (405, "invalid_request", "method_not_allowed", None)


async def test_a_delivery_is_its_subscriptions_own_and_notices_are_nobodys(api: Client) -> None:
    api.world.email.answer("ann@example.org", GONE)
    other, delivery = await api.subscribe(target_value="bo@example.org"), await delivered(api)
    made = delivery["subscription"]
    [notice] = await api.world.notices()

    for owner, id_ in ((other["id"], delivery["id"]), (made, uuid4()), (made, notice.id), (made, "none")):
        refused = await api.refused("GET", f"/subscriptions/{owner}/deliveries/{id_}")
        assert refused == (404, "invalid_request", "not_found", None)
    assert (await api.refused("GET", "/subscriptions/77/deliveries"))[0] == 404


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_id_is_a_uuid_subscription_its_id_and_every_field_of_the_table_is_there(api: Client) -> None:
    made = await api.subscribe()
    [delivery] = await api.deliveries(made)

    assert (str(UUID(delivery["id"])), delivery["subscription"]) == (delivery["id"], made["id"])
    assert set(FIELDS) <= set(delivery)


async def test_temporal_workflow_id_is_the_run_and_never_null(api: Client) -> None:
    made = await api.must("POST", "/subscriptions", 201, json=api.body())
    [waiting] = (await api.must("GET", f"/subscriptions/{made['id']}/deliveries"))["results"]
    [sent] = await api.deliveries(made)

    assert waiting["temporal_workflow_id"].startswith("paperround-")
    assert sent["temporal_workflow_id"].startswith("paperround-")
    assert sent["temporal_workflow_id"] != waiting["temporal_workflow_id"]


async def test_idempotency_key_is_unique_and_the_same_over_every_attempt(api: Client) -> None:
    api.world.email.answer("ann@example.org", [TransientFailure("Mailbox busy.")])
    made = await api.subscribe()
    await api.must("POST", f"/subscriptions/{made['id']}/test-delivery", 202)
    [waiting] = [each for each in await api.deliveries(made) if each["status"] == "starting"]

    api.world.clock.advance(minutes=10)
    deliveries = await api.deliveries(made)

    keys = {each["id"]: each["idempotency_key"] for each in deliveries}
    assert keys[waiting["id"]] == waiting["idempotency_key"]
    assert len(set(keys.values())) == len(deliveries) == 2
    assert {message.id for message, _ in api.world.email.attempts} == set(keys.values())
    assert len(api.world.email.attempts) == 3


async def test_trigger_type_and_scheduled_at_say_why_and_for_when(api: Client) -> None:
    made = await api.subscribe()
    await api.must("POST", f"/subscriptions/{made['id']}/test-delivery", 202)
    api.world.clock.advance(minutes=31)

    triggers = {each["trigger_type"]: each["scheduled_at"] for each in await api.deliveries(made)}

    assert triggers == {"target_change": None, "manual": None, "scheduled": HALF_PAST}


async def test_target_type_and_target_value_are_as_at_the_start_and_a_webhooks_is_its_host(api: Client) -> None:
    made = await api.subscribe()
    await api.edit(made, target_type="webhook", target_value="https://hooks.example.org/T0SECRET")
    deliveries = await api.deliveries(made)

    assert {(each["target_type"], each["target_value"]) for each in deliveries} == {
        ("email", "ann@example.org"),
        ("webhook", "hooks.example.org"),
    }
    assert "T0SECRET" not in str(deliveries)


async def test_exported_asset_ids_are_in_dashboard_order_failed_ones_included(api: Client) -> None:
    catalog, world = api.world.app.catalog, api.world
    broken = await show(api, "SELECT nope FROM t")
    overview = await catalog.add_dashboard(world.project, "Overview", insights=[broken, world.insight])
    shown = {"insight": None, "dashboard": overview.id, "dashboard_export_insights": [world.insight, broken]}

    delivery = await delivered(api, **shown)

    snapshot = delivery["content_snapshot"]
    assert len(delivery["exported_asset_ids"]) == snapshot["total_insight_count"] == 2
    assert all(isinstance(each, int) for each in delivery["exported_asset_ids"])
    assert snapshot["dashboard"] == {"id": overview.id, "name": "Overview"}
    assert [each["id"] for each in snapshot["insights"]] == [broken, world.insight]
    assert snapshot["insights"][0]["query_results"] is None
    assert set(snapshot["insights"][0]["query_error"]) == {"type", "message"}
    assert "query_error" not in snapshot["insights"][1]


async def test_content_snapshot_has_no_nul_no_nan_and_no_infinity(api: Client) -> None:
    odd = await show(api, "SELECT 'a' || char(0) || 'b' AS word, 9e999 AS much, -9e999 AS little")

    [insight] = (await delivered(api, insight=odd))["content_snapshot"]["insights"]

    assert set(insight) == {"id", "short_id", "name", "description", "query_results"}
    assert set(insight["query_results"]) == {"columns", "types", "result", "last_refresh", "has_more"}
    assert insight["query_results"]["columns"] == ["word", "much", "little"]
    assert insight["query_results"]["result"] == [["ab", None, None]]


async def test_recipient_results_have_one_entry_an_address_with_its_attempts(api: Client) -> None:
    api.world.email.answer("bo@example.org", GONE)
    api.world.email.answer("cy@example.org", TransientFailure("Mailbox busy."))
    api.world.email.answer("di@example.org", TransientFailure("The answer was lost.", uncertain=True))

    delivery = await delivered(api, target_value="ann@example.org,bo@example.org,cy@example.org,di@example.org")

    results = delivery["recipient_results"]
    assert [(each["recipient"][:2], each["status"], each["attempts"]) for each in results] == [
        ("an", "success", 1),
        ("bo", "failed", 1),
        ("cy", "pending", 1),
        ("di", "uncertain", 1),
    ]
    assert ("error" in results[0], results[0]["sent_at"], results[1]["sent_at"]) == (
        False,
        "2026-11-22T12:31:00Z",
        None,
    )
    assert results[1]["error"] == {"type": "PermanentFailure", "message": "No such mailbox."}


async def test_recipient_results_have_one_entry_for_a_slack_channel_or_a_webhook(api: Client) -> None:
    slack = await api.world.app.catalog.add_slack(api.world.project, "Slack", token="xoxb-1")

    for target in (
        {"target_type": "slack", "target_value": "C0123456|#numbers", "integration_id": slack.id},
        {"target_type": "webhook", "target_value": "https://hooks.example.org/"},
    ):
        [delivery] = await api.deliveries(await api.subscribe(**target))
        assert [each["status"] for each in delivery["recipient_results"]] == ["success"]


@pytest.mark.parametrize(
    ("outcomes", "becomes"),
    [((None, GONE), "completed"), ((GONE, GONE), "failed"), ((None, TransientFailure("Later.")), "starting")],
    ids=["one sent", "nobody", "one waits"],
)
async def test_status_follows_from_the_recipients(
    api: Client, outcomes: tuple[PermanentFailure | TransientFailure | None, ...], becomes: str
) -> None:
    for address, outcome in zip(("ann@example.org", "bo@example.org"), outcomes, strict=True):
        if outcome is not None:
            api.world.email.answer(address, outcome)

    delivery = await delivered(api, target_value="ann@example.org,bo@example.org")

    assert delivery["status"] == becomes
    assert (delivery["finished_at"] is None) == (becomes == "starting")


async def test_status_skipped_has_its_reason_in_error(api: Client) -> None:
    delivery = await delivered(api, catch_up="skip", later=timedelta(hours=3))

    assert (delivery["status"], delivery["recipient_results"]) == ("skipped", [])
    assert set(delivery["error"]) == {"type", "message"}
    assert delivery["finished_at"] == "2026-11-22T15:00:00Z"


async def test_error_is_null_or_a_type_and_at_most_500_characters(api: Client) -> None:
    api.world.email.answer("ann@example.org", PermanentFailure("x" * 600))

    [failed] = await api.deliveries(await api.subscribe())
    [fine] = await api.deliveries(await api.subscribe(target_value="bo@example.org"))

    assert failed["error"] == {"type": "PermanentFailure", "message": failed["error"]["message"]}
    assert (len(failed["error"]["message"]), fine["error"]) == (500, None)


async def test_created_at_last_updated_at_and_finished_at_follow_the_delivery(api: Client) -> None:
    api.world.email.answer("ann@example.org", [TransientFailure("Mailbox busy.")])
    made = await api.subscribe()
    [waiting] = await api.deliveries(made)
    api.world.clock.advance(minutes=10)
    [done] = await api.deliveries(made)

    assert (waiting["created_at"], waiting["finished_at"]) == ("2026-11-22T12:00:00Z", None)
    assert (done["created_at"], done["last_updated_at"]) == ("2026-11-22T12:00:00Z", "2026-11-22T12:10:00Z")
    assert done["finished_at"] == "2026-11-22T12:10:00Z"


async def test_change_summary_is_null_where_none_was_made(api: Client) -> None:
    assert (await delivered(api))["change_summary"] is None


FIELDS = (
    *("id", "subscription", "temporal_workflow_id", "idempotency_key", "trigger_type", "scheduled_at", "target_type"),
    *("target_value", "exported_asset_ids", "content_snapshot", "recipient_results", "status", "error", "created_at"),
    *("last_updated_at", "finished_at", "change_summary"),
)
"""The table's first column."""
