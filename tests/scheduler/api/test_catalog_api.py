"""What subscriptions point at, and projects, over HTTP: checked, shown without secrets, kept while it is needed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scheduler.store import people
from scheduler.store.people import Role
from tests.scheduler.api.conftest import Client
from tests.scheduler.conftest import NOON, World

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

HIDDEN = "pa55word"
UNREACHABLE = f"postgresql://reader:{HIDDEN}@127.0.0.1:1/shop"
TOKEN = "xoxb-111-2222-very-secret-9f3a"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

SOURCE = {"name": "Shop", "url": UNREACHABLE, "check": False}
INSIGHT = {"name": "Sales", "source": 1, "sql": "SELECT day, n FROM t", "display": "line"}
DASHBOARD = {"name": "Overview", "insights": [1]}
SLACK = {"kind": "slack", "name": "Team", "token": TOKEN}
WEBHOOK = {"kind": "webhook", "name": "Warehouse"}


async def another_project(world: World, name: str = "Other") -> int:
    return (await world.app.projects.add(world.project.organisation_id, name, timezone="UTC")).id


# ── the same for each of them ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "new", "change", "replacement"),
    [
        ("/sources", SOURCE, {"name": "Till", "url": UNREACHABLE, "check": False}, SOURCE),
        ("/insights", INSIGHT, {"display": "bar", "sql": "SELECT n FROM t"}, INSIGHT),
        ("/dashboards", DASHBOARD, {"description": "All of it"}, DASHBOARD),
        ("/integrations", SLACK, {"name": "Berlin", "token": f"{TOKEN}0"}, SLACK),
    ],
    ids=["source", "insight", "dashboard", "integration"],
)
async def test_what_is_added_is_listed_retrieved_changed_replaced_and_removed(
    api: Client, path: str, new: dict[str, Any], change: dict[str, Any], replacement: dict[str, Any]
) -> None:
    before = (await api.must("GET", path))["results"]
    made = await api.must("POST", f"{path}/", 201, json={**new, "unknown": "is left aside", "id": 99})
    one = f"{path}/{made['id']}"

    assert {name: made[name] for name in new if name in made} == {name: new[name] for name in new if name in made}
    assert await api.must("GET", f"{one}/") == made
    assert await api.must("GET", path) == {
        "count": len(before) + 1,
        "next": None,
        "previous": None,
        "results": [*before, made],
    }

    shown = {name: value for name, value in change.items() if name in made}
    changed = await api.must("PATCH", one, json=change)
    assert {name: changed[name] for name in shown} == shown
    assert await api.must("PATCH", one, json={}) == changed
    replaced = await api.must("PUT", one, json=replacement)
    assert {**replaced, "updated_at": None} == {**made, "updated_at": None}

    api.prefix = "/api/environments/1"
    assert await api.must("GET", one) == replaced
    assert await api.must("DELETE", one, 204) is None
    assert await api.refused("GET", one) == (404, "invalid_request", "not_found", None)
    assert (await api.must("GET", path))["results"] == before


async def test_lists_are_searched_in_any_case_and_paged(api: Client) -> None:
    for name in ("Größe 100%", "GRÖSSE b", "Orders_a"):
        await api.must("POST", "/insights", 201, json={**INSIGHT, "name": name, "check": False})

    async def names(query: str) -> list[str]:
        return [each["name"] for each in (await api.must("GET", f"/insights/?{query}"))["results"]]

    assert await names("") == ["Numbers", "Größe 100%", "GRÖSSE b", "Orders_a"]
    assert await names("search=grösse") == ["Größe 100%", "GRÖSSE b"]
    assert await names("search=B++GRÖ") == ["GRÖSSE b"]
    assert await names("search=%25") == ["Größe 100%"]
    assert await names("search=_%00") == []
    page = await api.must("GET", "/insights?search=r&limit=1&offset=1")
    assert (page["count"], [each["name"] for each in page["results"]]) == (4, ["Größe 100%"])
    assert "search=r" in page["next"]


CANNOT_BE: dict[str, list[tuple[dict[str, Any], dict[str, Any], str, str]]] = {
    "/sources": [
        (SOURCE, {"name": ...}, "required", "name"),
        (SOURCE, {"name": None}, "null", "name"),
        (SOURCE, {"name": "  "}, "blank", "name"),
        (SOURCE, {"name": "x" * 201}, "max_length", "name"),
        (SOURCE, {"name": "a\nb"}, "invalid_input", "name"),
        (SOURCE, {"name": ["Shop"]}, "invalid_input", "name"),
        (SOURCE, {"name": True}, "invalid_input", "name"),
        (SOURCE, {"name": "Source"}, "invalid_input", "name"),
        (SOURCE, {"kind": "api"}, "invalid_choice", "kind"),
        (SOURCE, {"kind": 7}, "invalid_input", "kind"),
        (SOURCE, {"url": ...}, "required", "url"),
        (SOURCE, {"url": "nonsense"}, "invalid_input", "url"),
        (SOURCE, {"url": UNREACHABLE, "check": True}, "invalid_input", "url"),
        (SOURCE, {"check": "no"}, "invalid_input", "check"),
    ],
    "/insights": [
        (INSIGHT, {"description": 3}, "invalid_input", "description"),
        (INSIGHT, {"description": "x" * 5001}, "max_length", "description"),
        (INSIGHT, {"source": "Source"}, "invalid_input", "source"),
        (INSIGHT, {"source": True}, "invalid_input", "source"),
        (INSIGHT, {"source": 1.5}, "invalid_input", "source"),
        (INSIGHT, {"source": 0}, "min_value", "source"),
        (INSIGHT, {"source": 99}, "does_not_exist", "source"),
        (INSIGHT, {"sql": "DROP TABLE t"}, "invalid_input", "sql"),
        (INSIGHT, {"sql": "SELECT nope FROM t"}, "invalid_input", "sql"),
        (INSIGHT, {"sql": {"a": 1}}, "invalid_input", "sql"),
        (INSIGHT, {"display": "hologram"}, "invalid_choice", "display"),
    ],
    "/dashboards": [
        (DASHBOARD, {"insights": ...}, "required", "insights"),
        (DASHBOARD, {"insights": []}, "invalid_input", "insights"),
        (DASHBOARD, {"insights": 1}, "invalid_input", "insights"),
        (DASHBOARD, {"insights": [1, "2"]}, "invalid_input", "insights__1"),
        (DASHBOARD, {"insights": [1, 99]}, "does_not_exist", "insights__1"),
        (DASHBOARD, {"insights": [1, 1]}, "invalid_input", "insights"),
    ],
    "/integrations": [
        (SLACK, {"kind": ...}, "required", "kind"),
        (SLACK, {"kind": "pigeon"}, "invalid_choice", "kind"),
        (SLACK, {"token": ...}, "required", "token"),
        (SLACK, {"token": "T0KEN"}, "invalid_input", "token"),
        (SLACK, {"token": ["xoxb-1"]}, "invalid_input", "token"),
        (SLACK, {"secret": WHSEC}, "invalid_input", "secret"),
        (WEBHOOK, {"token": TOKEN}, "invalid_input", "token"),
        (WEBHOOK, {"secret": "whsec_short"}, "invalid_input", "secret"),
    ],
}
"""What is changed (``...``: left out) of a body that can, and which code and attr the refusal has."""


@sqlite_only
@pytest.mark.parametrize("path", CANNOT_BE)
async def test_what_cannot_be_is_refused_by_its_field(api: Client, path: str) -> None:
    before = await api.must("GET", path)

    for usual, fields, code, attr in CANNOT_BE[path]:
        body = {name: value for name, value in {**usual, **fields}.items() if value is not ...}
        assert (await api.refused("POST", path, json=body), body) == ((400, "validation_error", code, attr), body)

    assert await api.must("GET", path) == before


@sqlite_only
async def test_an_edit_is_checked_like_an_addition(api: Client) -> None:
    made = {
        path: (await api.must("POST", path, 201, json=new))["id"]
        for path, new in (("/sources", SOURCE), ("/insights", INSIGHT))
    }
    insight, source = f"/insights/{made['/insights']}", f"/sources/{made['/sources']}"

    for fields, code, attr in (
        ({"name": "Numbers"}, "invalid_input", "name"),
        ({"name": None}, "null", "name"),
        ({"source": made["/sources"]}, "invalid_input", "sql"),  # which does not answer
        ({"source": 99}, "does_not_exist", "source"),
        ({"sql": "SELECT nope FROM t"}, "invalid_input", "sql"),
    ):
        assert await api.refused("PATCH", insight, json=fields) == (400, "validation_error", code, attr)
    assert (await api.refused("PUT", insight, json={"name": "Sales"}))[2:] == ("required", "source")
    assert (await api.refused("PATCH", source, json={"url": UNREACHABLE}))[2:] == ("invalid_input", "url")

    unchecked = await api.must("PATCH", insight, json={"source": made["/sources"], "check": False})
    assert (unchecked["source"], unchecked["sql"]) == (made["/sources"], INSIGHT["sql"])


@sqlite_only
async def test_another_projects_entries_cannot_be_referred_to(api: Client) -> None:
    other = await another_project(api.world)
    api.prefix = f"/api/projects/{other}"

    refused = [
        await api.refused("POST", "/insights", json=INSIGHT),
        await api.refused("POST", "/dashboards", json=DASHBOARD),
    ]

    assert [each[2:] for each in refused] == [("does_not_exist", "source"), ("does_not_exist", "insights__0")]
    assert (await api.refused("GET", "/insights/1"))[0] == 404


@sqlite_only
async def test_members_write_what_is_shown_admins_what_is_reached_and_viewers_nothing(api: Client) -> None:
    answers = {}
    for role in (Role.MEMBER, Role.VIEWER):
        async with api.world.app.database.write() as tx:
            user = await people.add_user(
                tx, api.world.project.organisation_id, f"{role}@example.org", role=role, now=NOON
            )
        _, key = await api.world.app.keys.create(user, name=role, scopes=["*"])
        headers = {"authorization": f"Bearer {key}"}
        for path, new in (("/sources", SOURCE), ("/insights", INSIGHT), ("/integrations", WEBHOOK)):
            answers[role, path] = (await api("POST", path, json=new, headers=headers)).status_code
            assert (await api("GET", path, headers=headers)).status_code == 200

    assert answers == {
        (Role.MEMBER, "/sources"): 403,
        (Role.MEMBER, "/insights"): 201,
        (Role.MEMBER, "/integrations"): 403,
        **{(Role.VIEWER, path): 403 for path in ("/sources", "/insights", "/integrations")},
    }


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_a_source_shows_where_it_is_and_neither_user_nor_password(api: Client) -> None:
    made = await api.must("POST", "/sources", 201, json=SOURCE)
    refused = await api("PATCH", f"/sources/{made['id']}", json={"url": UNREACHABLE})

    assert made["mask_value"] == "postgresql://127.0.0.1:1/shop"
    assert (await api.must("GET", "/sources/1"))["mask_value"] == "sqlite:///…/source.db"
    assert not any(secret in f"{made}{refused.text}" for secret in (HIDDEN, "reader"))
    assert '"check": false' in refused.json()["detail"]


@sqlite_only
async def test_a_tokens_last_four_characters_are_all_that_is_seen_of_it(api: Client) -> None:
    made = await api.must("POST", "/integrations", 201, json=SLACK)
    changed = await api.must("PATCH", f"/integrations/{made['id']}", json={"token": f"{TOKEN}-new"})
    refused = await api("PATCH", f"/integrations/{made['id']}", json={"token": f"nonsense {TOKEN}"})

    assert (made["mask_value"], changed["mask_value"]) == ("…9f3a", "…-new")
    assert not any(TOKEN in text for text in (f"{made}{changed}", refused.text))


@sqlite_only
async def test_a_signing_secret_is_shown_once_when_it_is_made_and_when_it_is_rotated(api: Client) -> None:
    made = await api.must("POST", "/integrations", 201, json=WEBHOOK)
    given = await api.must("POST", "/integrations", 201, json={**WEBHOOK, "name": "Given", "secret": WHSEC})
    path = f"/integrations/{made['id']}"
    rotated = await api.must("POST", f"{path}/rotate/")

    assert made["secret"].startswith("whsec_")
    assert "secret" not in given
    assert rotated["mask_value"] == f"…{rotated['secret'][-4:]}"
    assert await api.must("GET", path) == {name: rotated[name] for name in rotated if name != "secret"}
    signing = await api.world.app.catalog.signing_secrets(api.world.project, made["id"])
    assert signing == [rotated["secret"], made["secret"]]
    assert (await api.refused("PATCH", path, json={"secret": WHSEC}))[3] == "secret"
    assert (await api.refused("PATCH", path, json={"token": TOKEN}))[3] == "token"
    assert (await api.refused("PUT", path, json=SLACK))[3] == "kind"
    slack = await api.must("POST", "/integrations", 201, json=SLACK)
    assert (await api.refused("POST", f"/integrations/{slack['id']}/rotate"))[0] == 400


# ── what is needed stays ─────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_what_is_needed_is_a_409_that_says_by_what(api: Client) -> None:
    await api.must("POST", "/dashboards", 201, json=DASHBOARD)
    team = await api.must("POST", "/integrations", 201, json=SLACK)
    made = await api.subscribe(
        insight=None,
        dashboard=1,
        dashboard_export_insights=[1],
        target_type="slack",
        target_value="C123",
        integration_id=team["id"],
    )

    for path, needed_by in (
        ("/sources/1", "insight 1"),
        ("/insights/1", "dashboard 1"),
        ("/dashboards/1", f"subscription {made['id']}"),
        (f"/integrations/{team['id']}", f"subscription {made['id']}"),
    ):
        answer = await api("DELETE", path)
        assert (answer.status_code, answer.json()["type"]) == (409, "server_error")
        assert needed_by in answer.json()["detail"]


async def test_an_insight_that_a_subscription_shows_stays_on_its_dashboard(api: Client) -> None:
    more = await api.must("POST", "/insights", 201, json={**INSIGHT, "check": False})
    await api.must("POST", "/dashboards", 201, json={**DASHBOARD, "insights": [1, more["id"]]})
    made = await api.subscribe(insight=None, dashboard=1, dashboard_export_insights=[more["id"]])
    await api.edit(made, deleted=True)

    kept = await api("PATCH", "/dashboards/1", json={"insights": [1]})
    assert kept.status_code == 409
    assert f"subscription {made['id']}" in kept.json()["detail"]

    turned = await api.must("PATCH", "/dashboards/1", json={"insights": [more["id"], 1]})
    assert turned["tiles"] == [
        {"insight": more["id"], "name": "Sales", "position": 0},
        {"insight": 1, "name": "Numbers", "position": 1},
    ]
    await api.edit(made, dashboard_export_insights=[1], deleted=False)
    assert (await api.must("PATCH", "/dashboards/1", json={"insights": [1]}))["insights"] == [1]
    await api.must("DELETE", f"/insights/{more['id']}", 204)
    assert [each["status"] for each in await api.deliveries(made)] == ["completed", "completed"]


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
async def test_no_insight_leaves_while_somebody_chooses_it(api: Client) -> None:
    more = await api.must("POST", "/insights", 201, json={**INSIGHT, "check": False})
    ends = []
    for number in range(4):
        body = {"name": f"Dashboard {number}", "insights": [1, more["id"]]}
        path = f"/dashboards/{(await api.must('POST', '/dashboards', 201, json=body))['id']}"
        chosen = {"insight": None, "dashboard": int(path[12:]), "dashboard_export_insights": [more["id"]]}
        leaving = api("PATCH", path, json={"insights": [1]})
        choosing = api("POST", "/subscriptions", json=api.body(**chosen))
        ends.append([each.status_code for each in await asyncio.gather(leaving, choosing)])

    assert all(each in ([200, 400], [409, 201]) for each in ends), ends


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
async def test_an_insight_that_goes_at_this_moment_is_neither_chosen_nor_run(api: Client) -> None:
    ends = []
    for _ in range(4):
        insight = (await api.must("POST", "/insights", 201, json={**INSIGHT, "check": False}))["id"]
        leaving = api("DELETE", f"/insights/{insight}")
        choosing = api("POST", "/subscriptions", json=api.body(insight=insight))
        running = [api("POST", f"/insights/{insight}/run") for _ in range(3)]
        left, chosen, *ran = [each.status_code for each in await asyncio.gather(leaving, choosing, *running)]
        ends.append((left, chosen, set(ran) <= {200, 404}))
        await api("PATCH", f"/insights/{insight}", json={"name": f"Old {insight}"})

    assert all(each in {(204, 400, True), (409, 201, True)} for each in ends), ends


async def test_credentials_can_go_when_nothing_is_on_its_way_with_them_and_the_ledger_stays(api: Client) -> None:
    old, new = [await api.must("POST", "/integrations", 201, json={**SLACK, "name": name}) for name in ("Old", "New")]
    fields = {"target_type": "slack", "target_value": "C123", "integration_id": old["id"]}
    made = await api.must("POST", "/subscriptions", 201, json=api.body(**fields))
    await api.edit(made, integration_id=new["id"], target_value="C124")

    early = await api("DELETE", f"/integrations/{old['id']}")
    assert (early.status_code, "on its way" in early.json()["detail"]) == (409, True)

    before = await api.deliveries(made)
    await api.must("DELETE", f"/integrations/{old['id']}", 204)
    assert await api.deliveries(made) == before
    assert [each["status"] for each in before] == ["completed", "completed"]


# ── projects ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_a_project_is_added_and_its_webhooks_are_signed(api: Client) -> None:
    api.prefix = "/api"
    made = await api.must("POST", "/projects/", 201, json={"name": "Berlin", "timezone": "Europe/Berlin"})
    assert (made["timezone"], made["policy"]["disable_after"]) == ("Europe/Berlin", 10)
    assert await api.must("GET", f"/environments/{made['id']}") == made
    assert [each["id"] for each in (await api.must("GET", "/projects"))["results"]] == [1, made["id"]]

    [signature] = (await api.must("GET", f"/projects/{made['id']}/integrations"))["results"]
    assert (signature["kind"], signature["name"]) == ("webhook", "Webhook signature")
    assert (await api.refused("POST", "/projects", json={"name": "Mars", "timezone": "Mars/Olympus"}))[3] == "timezone"


@sqlite_only
async def test_a_project_changes_name_zone_and_policy_and_goes_back_to_the_defaults(api: Client) -> None:
    before = await api.must("GET", "")
    decided = {"disable_after": 3, "past_next": True, "retries": {"email": [60, 300]}}
    changed = await api.must("PATCH", "", json={"name": "New", "timezone": "Europe/Paris", "policy": decided})
    more = await api.must("PATCH", "/", json={"policy": {"disable_after": 4}})

    assert (changed["name"], changed["timezone"]) == ("New", "Europe/Paris")
    assert changed["policy"] == {
        **before["policy"],
        "disable_after": 3,
        "past_next": True,
        "retries": {**before["policy"]["retries"], "email": [60.0, 300.0]},
    }
    assert more["policy"] == {**changed["policy"], "disable_after": 4}
    assert (await api.must("PATCH", "", json={"policy": None}))["policy"] == before["policy"]


@sqlite_only
async def test_a_policy_that_cannot_be_is_refused_by_its_entry(api: Client) -> None:
    for policy, code, attr in [
        ([], "invalid_input", "policy"),
        ({"disable_after": 0}, "min_value", "policy__disable_after"),
        ({"disable_after": "3"}, "invalid_input", "policy__disable_after"),
        ({"past_next": "no"}, "invalid_input", "policy__past_next"),
        ({"retries": {"email": 5}}, "invalid_input", "policy__retries__email"),
        ({"retries": {"email": [5, 0]}}, "min_value", "policy__retries__email__1"),
        ({"retries": {"email": [604801]}}, "max_value", "policy__retries__email__0"),
        ({"retries": {"email": [5] * 21}}, "max_length", "policy__retries__email"),
    ]:
        assert await api.refused("PATCH", "", json={"policy": policy}) == (400, "validation_error", code, attr)


async def test_only_an_empty_project_is_removed_and_never_the_last(api: Client) -> None:
    assert (await api.refused("DELETE", ""))[0] == 409
    made = await another_project(api.world)
    api.prefix = f"/api/projects/{made}"
    team = await api.must("POST", "/integrations", 201, json=SLACK)
    limited, _ = await api.world.app.keys.create(api.world.owner, name="There", scopes=["*"], project_ids=[made])

    assert "integration" in (await api("DELETE", "")).json()["detail"]
    await api.must("DELETE", f"/integrations/{team['id']}", 204)
    assert f"key {limited.id}" in (await api("DELETE", "")).json()["detail"]
    await api.world.app.keys.revoke(api.world.project.organisation_id, limited.id)
    await api.must("DELETE", "", 204)
    assert (await api.refused("GET", ""))[0] == 404


@sqlite_only
async def test_a_key_that_is_limited_to_projects_makes_and_removes_none(api: Client) -> None:
    other = await another_project(api.world)
    await api.as_key("*", projects=[other])
    api.prefix = "/api/projects"

    assert (await api.refused("POST", "", json={"name": "Mine"}))[0] == 403
    assert (await api.refused("DELETE", f"/{other}"))[0] == 403
    assert (await api.must("PATCH", f"/{other}", json={"name": "Ours"}))["name"] == "Ours"
    assert (await api.refused("PATCH", "/1", json={"name": "Theirs"}))[0] == 404
