"""The tools, one by one, over the API's own routes: what they answer, and what they refuse."""

from __future__ import annotations

import sqlite3
from typing import Any
from uuid import uuid4

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from starlette.types import Receive, Scope, Send

from channels.base import PermanentFailure
from scheduler.api.limits import Rate
from scheduler.mcp.asking import Api, project_of
from scheduler.mcp.server import mcp_server
from tests.scheduler.conftest import World, settle
from tests.scheduler.mcp.conftest import Agent, Refusal

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

FIRST_MONDAY = {
    "frequency": "monthly",
    "byweekday": ["monday"],
    "bysetpos": 1,
    "start_date": "2026-12-01T09:00",
    "timezone": "Europe/Berlin",
}
CANARY = "canary-5f1e9c"
WEBHOOK = {"target_type": "webhook", "target_value": f"https://hooks.example.org/{CANARY}"}
WRITING = {
    "subscriptions-create": {"target_type": "email", "target_value": "eve@example.org", "frequency": "daily"},
    "subscriptions-partial-update": {"id": 1, "title": "Mine"},
    "subscriptions-delete": {"id": 1},
    "subscriptions-test-delivery-create": {"id": 1},
}


# ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_insights_dashboards_and_integrations_are_listed_by_id_and_name(agent: Agent) -> None:
    world = agent.world
    board = await world.app.catalog.add_dashboard(world.project, "Board", insights=[world.insight])
    await world.app.catalog.add_slack(world.project, "Acme", token=f"xoxb-{CANARY}")

    insights = await agent("insights-list", search="numb")
    dashboards = await agent("dashboards-list")
    integrations = await agent("integrations-list")

    numbers = {"id": world.insight, "name": "Numbers"}
    assert insights == {"count": 1, "results": [{**numbers, "display": "table"}]}
    assert dashboards == {"count": 1, "results": [{"id": board.id, "name": "Board", "insights": [numbers]}]}
    assert sorted((each["kind"], each["name"]) for each in integrations["results"]) == [
        ("slack", "Acme"),
        ("webhook", "Webhook signature"),
    ]
    assert await agent("insights-list", search="letters") == {"count": 0, "results": []}


# ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_first_monday_at_nine_in_berlin_is_previewed_and_subscribed_to_in_slack(agent: Agent) -> None:
    slack = await agent.world.app.catalog.add_slack(agent.world.project, "Acme", token="xoxb-1")

    preview = await agent("subscriptions-preview", **FIRST_MONDAY, n=2)
    made = await agent.subscribe(
        **FIRST_MONDAY, target_type="slack", target_value="C0123456789|#sales", integration_id=slack.id
    )

    sentence = "every month on the first Monday at 09:00, Europe/Berlin"
    assert preview == {
        "summary": sentence,
        "occurrences": [
            {"local": "2026-12-07T09:00:00+01:00", "weekday": "monday", "at": "2026-12-07T08:00:00Z"},
            {"local": "2027-01-04T09:00:00+01:00", "weekday": "monday", "at": "2027-01-04T08:00:00Z"},
        ],
    }
    assert made == {
        "id": made["id"],
        "insight": agent.world.insight,
        "resource_name": "Numbers",
        "target_type": "slack",
        "target_value": "C0123456789|#sales",
        "integration_id": slack.id,
        "summary": sentence,
        "state": "on",
        "next_delivery_date": "2026-12-07T09:00:00+01:00",
        **FIRST_MONDAY,
        "start_date": "2026-12-01T09:00:00+01:00",
        "interval": 1,
        "gap": "shift",
        "fold": "first",
        "catch_up": "latest",
        "catch_up_hours": 24,
        "created_at": "2026-11-22T12:00:00Z",
        "created_by": agent.world.owner.email,
    }
    assert [channel for _, channel in agent.world.slack.sent] == ["C0123456789"]


async def test_what_is_created_is_found_changed_removed_and_restored(agent: Agent) -> None:
    made = await agent.subscribe(title="Ours")
    id_ = made["id"]

    [listed] = (await agent("subscriptions-list", search="ours", target_type="email"))["results"]
    assert listed == {name: made[name] for name in listed}
    assert set(made) - set(listed) > {"frequency", "start_date", "created_by"}
    assert await agent("subscriptions-retrieve", id=id_) == made

    changed = await agent("subscriptions-partial-update", id=id_, title=None, interval=2, enabled=False)
    assert "title" not in changed
    assert (changed["interval"], changed["state"]) == (2, "paused")

    assert (await agent("subscriptions-delete", id=id_))["state"] == "removed"
    assert (await agent("subscriptions-delete", id=id_))["state"] == "removed"
    assert (await agent("subscriptions-list"))["count"] == 0
    assert [each["id"] for each in (await agent("subscriptions-list", deleted=True))["results"]] == [id_]
    restored = await agent("subscriptions-partial-update", id=id_, deleted=False, enabled=True)
    assert restored["state"] == "on"


async def test_long_lists_come_in_pages(agent: Agent) -> None:
    made = []
    for n in range(3):
        made.append((await agent.subscribe(title=f"No. {n}"))["id"])
        agent.world.clock.advance(minutes=1)

    first = await agent("subscriptions-list", limit=2, ordering="created_at")
    second = await agent("subscriptions-list", limit=2, ordering="created_at", offset=first["next_offset"])

    assert [each["id"] for each in first["results"] + second["results"]] == made
    assert (first["count"], "next_offset" in second) == (3, False)


async def test_a_time_without_an_offset_is_local_to_the_subscriptions_zone(agent: Agent) -> None:
    made = await agent.subscribe(**FIRST_MONDAY)

    in_berlin = await agent("subscriptions-partial-update", id=made["id"], start_date="2026-12-01T10:00")
    in_tokyo = await agent(
        "subscriptions-partial-update", id=made["id"], start_date="2026-12-01T10:00", timezone="Asia/Tokyo"
    )
    with_offset = await agent("subscriptions-partial-update", id=made["id"], until_date="2027-12-31T00:00:00+05:00")

    assert in_berlin["start_date"] == "2026-12-01T10:00:00+01:00"
    assert in_berlin["summary"] == "every month on the first Monday at 10:00, Europe/Berlin"
    assert in_tokyo["start_date"] == "2026-12-01T10:00:00+09:00"
    assert with_offset["until_date"] == "2027-12-31T04:00:00+09:00"


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_test_is_really_sent_and_its_delivery_says_so(agent: Agent) -> None:
    made = await agent.subscribe(target_value="ann@example.org,bob@example.org")
    agent.world.email.answer("bob@example.org", PermanentFailure("no such mailbox"))

    opened = (await agent("subscriptions-test-delivery-create", id=made["id"]))["delivery"]
    await settle(agent.world.runner())
    sent = await agent("subscriptions-deliveries-retrieve", id=made["id"], delivery_id=opened["id"])

    assert (opened["status"], opened["trigger_type"], opened["recipients"]) == ("starting", "manual", {"pending": 2})
    assert (sent["status"], sent["recipients"]) == ("completed", {"success": 1, "failed": 1})
    assert [(each["recipient"], each["status"], each.get("error")) for each in sent["recipient_results"]] == [
        ("ann@example.org", "success", None),
        ("bob@example.org", "failed", "no such mailbox"),
    ]
    assert sent["content"] == [
        {"insight": agent.world.insight, "name": "Numbers", "columns": ["day", "n"], "row_count": 2}
    ]


async def test_rows_are_shown_when_asked_for_and_failures_say_why(agent: Agent) -> None:
    made = await agent.subscribe()
    [announced] = (await agent("subscriptions-deliveries-list", id=made["id"]))["results"]
    await agent.world.sql("UPDATE insights SET sql = 'SELECT 1 FROM nowhere'")
    failing = (await agent("subscriptions-test-delivery-create", id=made["id"]))["delivery"]
    await settle(agent.world.runner())

    ask = {"id": made["id"], "include_content": True}
    good = await agent("subscriptions-deliveries-retrieve", **ask, delivery_id=announced["id"])
    bad = await agent("subscriptions-deliveries-retrieve", **ask, delivery_id=failing["id"])

    assert good["content"][0]["rows"] == [["2026-11-20", 1], ["2026-11-21", 2]]
    assert good["content"][0]["rows_left_out"] is False
    assert "nowhere" in bad["content"][0]["error"]


async def test_deliveries_are_walked_from_the_newest_to_the_oldest(agent: Agent) -> None:
    made = await agent.subscribe()
    for _ in range(4):
        agent.world.clock.advance(minutes=2)
        await agent("subscriptions-test-delivery-create", id=made["id"])
        await settle(agent.world.runner())

    first = await agent("subscriptions-deliveries-list", id=made["id"], limit=3)
    second = await agent("subscriptions-deliveries-list", id=made["id"], limit=3, cursor=first["next_cursor"])

    walked = first["results"] + second["results"]
    assert [each["trigger_type"] for each in walked] == ["manual"] * 4 + ["target_change"]
    assert [each["created_at"] for each in walked] == sorted((e["created_at"] for e in walked), reverse=True)
    assert "next_cursor" not in second
    failed = await agent("subscriptions-deliveries-list", id=made["id"], status="failed")
    assert failed == {"results": []}


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────

MINIMAL = {"insight": 1, "target_type": "email", "target_value": "a@example.org", "frequency": "daily"}
DEEP: Any = "x"
for _ in range(60):
    DEEP = [DEEP]


REFUSED: tuple[tuple[str, dict[str, Any], Refusal], ...] = (
    ("subscriptions-create", {**MINIMAL, "insight": 99}, (400, "does_not_exist", "insight")),
    ("subscriptions-create", {**MINIMAL, "frequency": "hourly"}, (400, "invalid_choice", "frequency")),
    ("subscriptions-create", {**MINIMAL, "target_value": None}, (400, "required", "target_value")),
    ("subscriptions-create", {**MINIMAL, "target_value": "#sales"}, (400, "invalid_input", "target_value")),
    ("subscriptions-create", {**MINIMAL, "target_type": "slack"}, (400, "invalid_input", "target_value")),
    ("subscriptions-create", {**MINIMAL, "start_date": "soon"}, (400, "invalid_input", "start_date")),
    ("subscriptions-create", {**MINIMAL, "weekday": "monday"}, (400, "invalid_input", "weekday")),
    ("subscriptions-create", {**MINIMAL, "title": "a\0b"}, (400, "invalid_input", "title")),
    ("subscriptions-create", {**MINIMAL, "title": "\ud800"}, (400, "invalid_input", "title")),
    ("subscriptions-create", {**MINIMAL, "title": DEEP}, (400, "invalid_input", "title")),
    ("subscriptions-create", {**MINIMAL, "interval": 10**30}, (400, "max_value", "interval")),
    ("subscriptions-create", {**MINIMAL, "title": "x" * 1_000_001}, (413, "error", None)),
    ("subscriptions-preview", {"frequency": "daily", "timezone": ["UTC"]}, (400, "invalid_choice", "timezone")),
    (
        "subscriptions-preview",
        {"frequency": "daily", "start_date": "0001-01-01"},
        (400, "invalid_input", "start_date"),
    ),
    ("subscriptions-preview", {"frequency": "daily", "n": 10**9}, (400, "invalid_input", "n")),
    ("subscriptions-preview", {}, (400, "required", "frequency")),
    ("subscriptions-list", {"search": ["a"]}, (400, "invalid_input", "search")),
    ("subscriptions-list", {"insight": "first"}, (400, "invalid_input", "insight")),
    ("subscriptions-list", {"limit": 10**9}, (400, "invalid_input", "limit")),
    ("subscriptions-list", {"offset": -1}, (400, "invalid_input", "offset")),
    ("subscriptions-list", {"ordering": "name"}, (400, "invalid_choice", "ordering")),
    ("insights-list", {"search": "\ud800"}, (400, "parse_error", None)),
    ("subscriptions-retrieve", {}, (400, "required", "id")),
    ("subscriptions-retrieve", {"id": "../insights"}, (400, "invalid_input", "id")),
    ("subscriptions-retrieve", {"id": True}, (400, "invalid_input", "id")),
    ("subscriptions-retrieve", {"id": 10**30}, (400, "invalid_input", "id")),
    ("subscriptions-retrieve", {"id": 99}, (404, "not_found", None)),
    ("subscriptions-delete", {"id": 99}, (404, "not_found", None)),
    ("subscriptions-test-delivery-create", {"id": 99}, (404, "not_found", None)),
    ("subscriptions-deliveries-list", {"id": 99}, (404, "not_found", None)),
    ("subscriptions-deliveries-retrieve", {"id": 99, "delivery_id": str(uuid4())}, (404, "not_found", None)),
    ("subscriptions-deliveries-retrieve", {"id": 1, "delivery_id": 7}, (400, "invalid_input", "delivery_id")),
    ("subscriptions-partial-update", {"id": 99, "start_date": "2027-01-01T09:00"}, (404, "not_found", None)),
)


async def test_a_refusal_names_the_argument_and_its_code(agent: Agent) -> None:
    for tool, arguments, refusal in REFUSED:
        assert await agent.refused(tool, **arguments) == refusal, (tool, str(arguments)[:200])

    assert await agent.world.sql("SELECT id FROM subscriptions") == []


async def test_a_cursor_or_status_that_cannot_be_is_refused(agent: Agent) -> None:
    made = await agent.subscribe()

    for name, value in (("cursor", "zzz"), ("status", "lost"), ("limit", 51)):
        status, _, attr = await agent.refused("subscriptions-deliveries-list", id=made["id"], **{name: value})
        assert (status, attr) == (400, name)


async def test_an_unknown_tool_names_those_that_there_are(agent: Agent) -> None:
    async with Client(mcp_server(Api(agent.web, agent.key, agent.world.project))) as client:
        with pytest.raises(MCPError, match="subscriptions-create"):
            await client.call_tool("subscriptions-destroy", {})


async def test_a_second_test_waits_for_the_first_and_too_many_are_throttled(agent: Agent) -> None:
    made = await agent.subscribe()
    await agent("subscriptions-test-delivery-create", id=made["id"])

    assert await agent.refused("subscriptions-test-delivery-create", id=made["id"]) == (409, "error", None)


async def test_calls_are_counted_with_the_keys_other_requests(agent: Agent) -> None:
    agent.web.state.rate = Rate(2, agent.world.clock)
    await agent("subscriptions-list")
    await agent("subscriptions-list")

    said = await agent.error("subscriptions-list")

    assert (said["status"], said["code"], said["retry_after"]) == (429, "throttled", 30)


async def test_a_key_that_may_only_read_changes_nothing(agent: Agent) -> None:
    made = await agent.subscribe()
    reader = await agent.with_key("subscription:read")

    for tool, arguments in WRITING.items():
        assert await reader.refused(tool, **arguments) == (403, "permission_denied", None), tool
    assert await reader("subscriptions-retrieve", id=made["id"]) == made
    assert await reader.refused("insights-list") == (403, "permission_denied", None)


async def test_another_projects_rows_are_not_found(agent: Agent) -> None:
    made = await agent.subscribe()
    [delivery] = (await agent("subscriptions-deliveries-list", id=made["id"]))["results"]
    elsewhere = await agent.world.app.projects.add(agent.world.project.organisation_id, "Elsewhere", timezone="UTC")
    stranger = Agent(World(**{**vars(agent.world), "project": elsewhere}), agent.web, agent.key)

    assert (await stranger("subscriptions-list"))["count"] == 0
    assert (await stranger("insights-list"))["count"] == 0
    assert await stranger.refused("subscriptions-create", **{**MINIMAL, "insight": agent.world.insight}) == (
        400,
        "does_not_exist",
        "insight",
    )
    by_id: dict[str, dict[str, Any]] = {
        "subscriptions-retrieve": {},
        "subscriptions-partial-update": {"title": "Mine"},
        "subscriptions-delete": {},
        "subscriptions-test-delivery-create": {},
        "subscriptions-deliveries-list": {},
        "subscriptions-deliveries-retrieve": {"delivery_id": delivery["id"]},
    }
    for tool, arguments in by_id.items():
        assert await stranger.refused(tool, id=made["id"], **arguments) == (404, "not_found", None), tool


async def test_no_answer_and_no_log_shows_a_secret(agent: Agent, capfd: pytest.CaptureFixture[str]) -> None:
    world = agent.world
    slack = await world.app.catalog.add_slack(world.project, "Acme", token=f"xoxb-{CANARY}")
    made = await agent.subscribe(**WEBHOOK)
    id_ = made["id"]
    [delivery] = (await agent("subscriptions-deliveries-list", id=id_))["results"]

    said = [
        made,
        await agent("subscriptions-list"),
        await agent("subscriptions-retrieve", id=id_),
        await agent("subscriptions-partial-update", id=id_, target_value=f"{WEBHOOK['target_value']}/2"),
        await agent("subscriptions-deliveries-retrieve", id=id_, delivery_id=delivery["id"], include_content=True),
        await agent("integrations-list"),
        await agent("insights-list"),
        await agent("subscriptions-delete", id=id_),
        await agent.error("subscriptions-create", **{**MINIMAL, **WEBHOOK, "integration_id": slack.id}),
        await agent.error(
            "subscriptions-create", **{**MINIMAL, **WEBHOOK, "target_value": f"https://10.0.0.1/{CANARY}"}
        ),
    ]

    assert made["target_value"] == "hooks.example.org"
    captured = capfd.readouterr()
    for each in (*said, captured.out, captured.err):
        assert CANARY not in str(each)


async def test_a_crash_is_an_answer_whose_reason_stays_here(agent: Agent, capfd: pytest.CaptureFixture[str]) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise sqlite3.OperationalError(CANARY)

    said = await Agent(agent.world, broken, agent.key).error("subscriptions-list")  # type: ignore[arg-type]

    assert (said["status"], said["code"]) == (500, "error")
    assert CANARY not in said["detail"]
    assert "mcp.tool_broke" in capfd.readouterr().out


# ── projects ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_tools_work_in_the_first_project_a_key_reaches_or_in_the_one_that_is_named(agent: Agent) -> None:
    app, owner = agent.world.app, agent.world.owner
    second = await app.projects.add(agent.world.project.organisation_id, "Second", timezone="Asia/Tokyo")
    _, limited = await app.keys.create(owner, name="Second's", scopes=["*"], project_ids=[second.id])
    anyone, only_second = await app.keys.check(agent.key), await app.keys.check(limited)
    assert anyone is not None
    assert only_second is not None

    assert await project_of(app, anyone, None) == agent.world.project
    assert await project_of(app, anyone, second.id) == second
    assert await project_of(app, only_second, None) == second
    with pytest.raises(Exception, match="no project 1"):
        await project_of(app, only_second, 1)
    assert "Asia/Tokyo" in str(mcp_server(Api(agent.web, limited, second)).instructions)
