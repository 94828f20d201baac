"""The HTTP API over a real application on real databases: what the contract says, rule by rule."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from channels.base import PermanentFailure
from scheduler.api.serving import add_api
from scheduler.keys import new_key
from tests.scheduler.conftest import NOON, World, settle

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
HALF_PAST = "2026-11-22T12:30:00Z"


@dataclass
class Client:
    """A client with a good key, in the world's project."""

    http: httpx.AsyncClient
    world: World
    prefix: str = "/api/projects/1"

    async def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self.http.request(method, f"{self.prefix}{path}", **options)

    async def must(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        answer = await self(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, **options: Any) -> tuple[int, str, str, str | None]:
        answer = await self(method, path, **options)
        body = answer.json()
        assert set(body) == {"type", "code", "detail", "attr"}
        return answer.status_code, body["type"], body["code"], body["attr"]

    def body(self, **fields: Any) -> dict[str, Any]:
        return {
            "insight": self.world.insight,
            "target_type": "email",
            "target_value": "ann@example.org",
            "frequency": "daily",
            "start_date": HALF_PAST,
        } | fields


@pytest.fixture
async def api(world: World) -> AsyncIterator[Client]:
    web = FastAPI()
    add_api(web, world.app)
    _, key = await world.app.keys.create(world.owner, name="Test", scopes=["*"])
    transport = httpx.ASGITransport(app=web, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers) as http:
        yield Client(http, world)


# ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_created_is_listed_retrieved_changed_removed_and_restored(api: Client) -> None:
    made = await api.must("POST", "/subscriptions/", 201, json=api.body(title="Numbers", byweekday=None))
    assert (made["title"], made["next_delivery_date"], made["summary"]) == (
        "Numbers",
        HALF_PAST,
        "every day at 12:30, UTC",
    )

    assert await api.must("GET", f"/subscriptions/{made['id']}/") == made
    listed = await api.must("GET", "/subscriptions/")
    assert listed == {"count": 1, "next": None, "previous": None, "results": [made]}

    changed = await api.must("PATCH", f"/subscriptions/{made['id']}/", json={"title": None, "interval": 2})
    assert (changed["title"], changed["interval"]) == (None, 2)
    replaced = await api.must("PUT", f"/subscriptions/{made['id']}", json=api.body(frequency="weekly"))
    assert replaced["frequency"] == "weekly"

    await api.must("PATCH", f"/subscriptions/{made['id']}", json={"deleted": True})
    assert (await api.must("GET", "/subscriptions"))["count"] == 0
    assert (await api.must("GET", f"/subscriptions/{made['id']}"))["deleted"] is True
    assert (await api.must("PATCH", f"/subscriptions/{made['id']}", json={"deleted": False}))["deleted"] is False


@sqlite_only
async def test_both_prefixes_and_both_endings_serve_the_same_rows(api: Client) -> None:
    made = await api.must("POST", "/subscriptions", 201, json=api.body())

    api.prefix = "/api/environments/1"
    for path in (f"/subscriptions/{made['id']}", f"/subscriptions/{made['id']}/"):
        assert await api.must("GET", path) == made


@sqlite_only
async def test_creating_enabled_sends_the_invitation_and_disabled_nothing(api: Client) -> None:
    await api.must("POST", "/subscriptions", 201, json=api.body(invite_message="Have a look"))
    await api.must("POST", "/subscriptions", 201, json=api.body(enabled=False, target_value="bo@example.org"))

    await settle(api.world.runner())

    assert api.world.mailed == ["ann@example.org"]
    assert "Have a look" in api.world.email.sent[0][0].text


@sqlite_only
async def test_delete_is_not_allowed_and_says_what_is(api: Client) -> None:
    made = await api.must("POST", "/subscriptions", 201, json=api.body())

    answer = await api("DELETE", f"/subscriptions/{made['id']}")

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "PATCH" in answer.headers["allow"] or "GET" in answer.headers["allow"]


@sqlite_only
@pytest.mark.parametrize(
    ("fields", "code", "attr"),
    [
        ({"insight": None}, "required", None),
        ({"insight": 999}, "does_not_exist", "insight"),
        ({"insight": "Numbers"}, "invalid_input", "insight"),
        ({"insight": [1]}, "invalid_input", "insight"),
        ({"target_type": "fax"}, "invalid_choice", "target_type"),
        ({"target_value": "nobody"}, "invalid_input", "target_value"),
        ({"target_type": "webhook", "target_value": "http://10.0.0.1/"}, "invalid_input", "target_value"),
        ({"frequency": "hourly"}, "invalid_choice", "frequency"),
        ({"interval": 0}, "min_value", "interval"),
        ({"bysetpos": 0, "byweekday": ["monday"]}, "invalid_input", "bysetpos"),
        ({"start_date": "soon"}, "invalid_input", "start_date"),
        ({"start_date": 12}, "invalid_input", "start_date"),
        ({"timezone": "Mars/Olympus"}, "invalid_choice", "timezone"),
        ({"title": "x" * 101}, "max_length", "title"),
        ({"title": "\u0000"}, "invalid_input", "title"),
        ({"interval": 10**30}, "max_value", "interval"),
        ({"enabled": "yes"}, "invalid_input", "enabled"),
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_by_its_field(
    api: Client, fields: dict[str, Any], code: str, attr: str | None
) -> None:
    assert await api.refused("POST", "/subscriptions", json=api.body(**fields)) == (400, "validation_error", code, attr)
    assert (await api.must("GET", "/subscriptions"))["count"] == 0


@sqlite_only
async def test_of_several_mistakes_the_first_in_the_order_of_the_fields_is_told(api: Client) -> None:
    wrong = api.body(insight=999, target_type="fax", frequency="hourly", interval=0)
    told = []
    for mended in ({}, {"insight": 1}, {"target_type": "email"}, {"frequency": "daily"}):
        wrong |= mended
        told.append((await api.refused("POST", "/subscriptions", json=wrong))[3])

    assert told == ["insight", "target_type", "frequency", "interval"]


@sqlite_only
@pytest.mark.parametrize(
    ("content", "status", "kind", "code"),
    [
        (b"{", 400, "invalid_request", "parse_error"),
        (b"\xff", 400, "invalid_request", "parse_error"),
        (b'{"interval": NaN}', 400, "invalid_request", "parse_error"),
        (b'{"interval": 1, "interval": 2}', 400, "invalid_request", "parse_error"),
        (b"[" * 100_000, 400, "invalid_request", "parse_error"),
        (b'{"interval": ' + b"9" * 5000 + b"}", 400, "invalid_request", "parse_error"),
        (b'{"title": "\\ud800"}', 400, "validation_error", "invalid_input"),
        (b'{"title": ' + b"[" * 50 + b"]" * 50 + b"}", 400, "validation_error", "invalid_input"),
        (b"[]", 400, "validation_error", "invalid_input"),
        (b'"' + b"x" * 1_000_001 + b'"', 413, "invalid_request", "error"),
    ],
    ids=range(10),
)
async def test_json_that_would_become_a_riddle_is_refused_at_the_door(
    api: Client, content: bytes, status: int, kind: str, code: str
) -> None:
    headers = {"content-type": "application/json"}

    assert (await api.refused("POST", "/subscriptions", content=content, headers=headers))[:3] == (status, kind, code)


@sqlite_only
async def test_a_body_of_another_kind_is_refused(api: Client) -> None:
    answer = await api.refused("POST", "/subscriptions", content=b"a=b", headers={"content-type": "text/plain"})

    assert answer == (415, "invalid_request", "error", None)


async def test_lists_are_filtered_searched_ordered_and_paged(api: Client) -> None:
    for title in ("Weekly Sales", "weekly costs", "Daily sales 100%"):
        api.world.clock.advance(seconds=1)
        await api.must("POST", "/subscriptions", 201, json=api.body(title=title))

    async def titles(query: str) -> list[str]:
        return [each["title"] for each in (await api.must("GET", f"/subscriptions?{query}"))["results"]]

    assert await titles("") == ["Daily sales 100%", "weekly costs", "Weekly Sales"]
    assert await titles("search=SALES+weekly") == ["Weekly Sales"]
    assert await titles("search=100%25") == ["Daily sales 100%"]
    assert await titles("search=numbers+costs") == ["weekly costs"]
    assert await titles("ordering=created_at") == ["Weekly Sales", "weekly costs", "Daily sales 100%"]
    assert await titles("ordering=nonsense,-created_at") == ["Daily sales 100%", "weekly costs", "Weekly Sales"]
    assert await titles("insight=999") == await titles("dashboard=1") == await titles("deleted=true") == []
    assert await titles("resource_type=dashboard") == []
    assert len(await titles("resource_type=nonsense")) == 3
    assert len(await titles(f"created_by={api.world.owner.uuid}&target_type=email&resource_type=insight")) == 3

    page = await api.must("GET", "/subscriptions/?search=l&limit=1&offset=1")
    assert (page["count"], [each["title"] for each in page["results"]]) == (3, ["weekly costs"])
    assert "search=l" in page["next"]
    assert "offset=2" in page["next"]
    assert "offset=0" in page["previous"]
    assert (await api.http.get(page["next"])).status_code == 200


@sqlite_only
@pytest.mark.parametrize("query", ["created_by=me", "dashboard=x", "insight=-1", "target_type=fax"])
async def test_a_filter_that_cannot_be_is_a_400(api: Client, query: str) -> None:
    refused = await api.refused("GET", f"/subscriptions?{query}")

    assert (refused[0], refused[3]) == (400, query.partition("=")[0])


# ── tests and deliveries ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_test_is_accepted_once_until_it_ended(api: Client) -> None:
    made = await api.must("POST", "/subscriptions", 201, json=api.body(enabled=True))
    path = f"/subscriptions/{made['id']}"
    await settle(api.world.runner())

    accepted = await api("POST", f"{path}/test-delivery/")
    assert (accepted.status_code, accepted.content) == (202, b"")
    assert (await api.refused("POST", f"{path}/test-delivery/"))[0] == 409
    await settle(api.world.runner())

    await api.must("PATCH", path, json={"enabled": False})
    assert (await api.refused("POST", f"{path}/test-delivery/"))[0] == 409
    await api.must("PATCH", path, json={"deleted": True})
    assert (await api.refused("POST", f"{path}/test-delivery/"))[0] == 404
    assert {each.trigger for each in await api.world.deliveries()} == {"target_change", "manual"}


@sqlite_only
async def test_more_than_ten_tests_a_minute_are_put_off(api: Client) -> None:
    made = await api.must("POST", "/subscriptions", 201, json=api.body())
    for _ in range(10):
        await api.must("POST", f"/subscriptions/{made['id']}/test-delivery", 202)
        await settle(api.world.runner())

    answer = await api("POST", f"/subscriptions/{made['id']}/test-delivery")

    assert (answer.status_code, answer.json()["type"], answer.headers["retry-after"]) == (429, "throttled_error", "60")
    api.world.clock.advance(minutes=1, seconds=1)
    await api.must("POST", f"/subscriptions/{made['id']}/test-delivery", 202)


async def test_deliveries_are_walked_by_their_cursor_while_new_ones_arrive(api: Client) -> None:
    made = await api.must("POST", "/subscriptions", 201, json=api.body(catch_up="all", catch_up_hours=8760))
    api.world.clock.advance(days=59, minutes=31)
    await settle(api.world.runner())
    before = {str(each.id) for each in await api.world.deliveries()}
    api.world.clock.advance(seconds=1)

    seen, url = [], f"http://api.test/api/projects/1/subscriptions/{made['id']}/deliveries"
    while url:
        page = (await api.http.get(url)).json()
        seen += [each["id"] for each in page["results"]]
        url = page["next"]
        await api.world.app.subscriptions.test(api.world.project, made["id"]) if url else None

    assert len(seen) == len(set(seen)) == len(before) == 61
    assert set(seen) == before


@sqlite_only
async def test_a_delivery_is_its_subscriptions_own_and_notices_are_nobodys(api: Client) -> None:
    api.world.email.answer("ann@example.org", PermanentFailure("No such mailbox."))
    made = await api.must("POST", "/subscriptions", 201, json=api.body())
    other = await api.must("POST", "/subscriptions", 201, json=api.body(target_value="bo@example.org"))
    api.world.clock.advance(minutes=31)
    await settle(api.world.runner())
    assert len(await api.world.notices()) == 1

    listed = (await api.must("GET", f"/subscriptions/{made['id']}/deliveries?status=failed"))["results"]
    shown = await api.must("GET", f"/subscriptions/{made['id']}/deliveries/{listed[0]['id']}")

    assert {each["trigger_type"] for each in listed} == {"target_change", "scheduled"}
    assert shown == listed[0]
    assert (await api.refused("GET", f"/subscriptions/{other['id']}/deliveries/{listed[0]['id']}"))[0] == 404
    assert (await api.refused("GET", f"/subscriptions/{made['id']}/deliveries/{uuid4()}"))[0] == 404
    assert (await api.refused("GET", f"/subscriptions/{made['id']}/deliveries?status=late"))[3] == "status"
    assert (await api.refused("GET", f"/subscriptions/{made['id']}/deliveries?cursor=x"))[3] == "cursor"


# ── preview, quota, people ───────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_a_preview_stores_nothing(api: Client) -> None:
    rule = {"frequency": "daily", "start_date": "2027-03-27T02:30:00+01:00", "timezone": "Europe/Berlin", "n": 2}

    shown = await api.must("POST", "/subscriptions/preview", json=rule)

    assert shown["summary"].startswith("every day at 02:30, Europe/Berlin")
    assert [(each["at"], each["dst_adjusted"]) for each in shown["occurrences"]] == [
        ("2027-03-27T01:30:00Z", False),
        ("2027-03-28T01:30:00Z", True),
    ]
    assert (await api.must("GET", "/subscriptions"))["count"] == 0


@sqlite_only
async def test_summaries_are_off_and_say_so(api: Client) -> None:
    assert await api.must("GET", "/subscriptions/summary_quota") == {
        "active_count": 0,
        "limit": None,
        "at_limit": False,
    }
    assert (await api.refused("POST", "/subscriptions", json=api.body(summary_enabled=True)))[0] == 403


@sqlite_only
async def test_who_am_i(api: Client) -> None:
    api.prefix = "/api"
    me = await api.must("GET", "/users/@me/")
    key = await api.must("GET", "/personal_api_keys/@current/")
    projects = await api.must("GET", "/projects/")

    assert (me["email"], me["organization"]["id"], me["team"]["id"]) == (api.world.owner.email, 1, 1)
    assert (key["scopes"], key["scoped_teams"]) == (["*"], [])
    assert [each["id"] for each in projects["results"]] == [1]
    assert (await api.must("GET", "/organizations/@current/"))["projects"] == [{"id": 1, "name": "Test"}]


# ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer x", "Basic abc", f"Bearer {new_key()}"], ids=range(6))
async def test_every_bad_key_gets_the_same_answer(api: Client, given: str | None) -> None:
    headers = {} if given is None else {"authorization": given}
    del api.http.headers["authorization"]

    answer = await api("GET", "/subscriptions", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@sqlite_only
async def test_a_key_in_the_address_is_refused_even_beside_a_good_one(api: Client) -> None:
    _, key = await api.world.app.keys.create(api.world.owner, name="Leaked", scopes=["*"])

    assert (await api.refused("GET", f"/subscriptions?personal_api_key={key}"))[0] == 401


@sqlite_only
async def test_a_key_does_what_its_scopes_name_and_sees_what_is_its_own(api: Client) -> None:
    _, key = await api.world.app.keys.create(api.world.owner, name="Reader", scopes=["subscription:read"])
    api.http.headers["authorization"] = f"Bearer {key}"

    assert (await api.refused("POST", "/subscriptions", json=api.body()))[:3] == (
        403,
        "authentication_error",
        "permission_denied",
    )
    assert (await api.must("GET", "/subscriptions"))["count"] == 0
    for path in ("/api/projects/2/subscriptions", "/api/projects/2/subscriptions/1/deliveries"):
        assert (await api.http.get(path)).status_code == 404


@sqlite_only
async def test_what_is_not_there_is_a_404_in_the_same_shape(api: Client) -> None:
    assert await api.refused("GET", "/subscriptions/77") == (404, "invalid_request", "not_found", None)
    assert await api.refused("GET", "/nowhere") == (404, "invalid_request", "not_found", None)


@sqlite_only
async def test_an_error_inside_is_a_500_that_tells_nothing(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.api.subscriptions.rows.page", lambda *_, **__: 1 / 0)

    answer = await api("GET", "/subscriptions")

    assert (answer.status_code, answer.json()["type"]) == (500, "server_error")
    assert "division" not in answer.text


@sqlite_only
async def test_nothing_is_due_before_its_time_by_the_api_either(api: Client) -> None:
    made = await api.must("POST", "/subscriptions", 201, json=api.body(start_date="2026-11-22T12:30:00.999999"))

    assert made["start_date"] == HALF_PAST
    assert (await api.world.find(made["id"])).next_delivery_date == NOON + timedelta(minutes=30)
