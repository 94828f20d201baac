"""The contract's conventions: prefixes, keys, errors, instants and lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scheduler.api.serving import put_behind
from scheduler.keys import new_key
from scheduler.store import people
from tests.scheduler.api.conftest import Client, api_alone
from tests.scheduler.conftest import World

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


async def another_project(world: World) -> int:
    async with world.app.database.write() as tx:
        organisation = world.project.organisation_id
        return (await people.add_project(tx, organisation, "Other", timezone="Asia/Tokyo", now=world.clock.now)).id


# ── prefixes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_both_prefixes_and_both_endings_serve_the_same_rows(api: Client) -> None:
    made = []
    for prefix in ("/api/projects/1", "/api/environments/1"):
        for path in ("/subscriptions", "/subscriptions/"):
            answer = await api.http.post(f"{prefix}{path}", json=api.body())
            assert answer.status_code == 201  # and no redirect, which would lose the body
            made.insert(0, answer.json())

    for prefix in ("/api/projects/1", "/api/environments/1"):
        for ending in ("", "/"):
            listed = await api.http.get(f"{prefix}/subscriptions{ending}")
            one = await api.http.get(f"{prefix}/subscriptions/{made[0]['id']}{ending}")
            assert (listed.json()["results"], one.json()) == (made, made[0])


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer x", "Basic abc", "revoked", "expired", f"Bearer {new_key()}"],
    ids=["missing", "empty", "no key", "malformed", "another scheme", "revoked", "expired", "unknown"],
)
async def test_every_bad_key_gets_the_same_401(api: Client, given: str | None) -> None:
    keys, owner, clock = api.world.app.keys, api.world.owner, api.world.clock
    del api.http.headers["authorization"]
    if given in {"revoked", "expired"}:
        expires = clock.now.replace(hour=13)
        key, value = await keys.create(owner, name="Old", scopes=["*"], expires_at=expires)
        if given == "revoked":
            await keys.revoke(owner.id, key.id)
        clock.advance(hours=2 if given == "expired" else 0)
        given = f"Bearer {value}"

    answer = await api("GET", "/subscriptions", headers={} if given is None else {"authorization": given})

    assert (answer.status_code, answer.json()) == (
        401,
        {
            "type": "authentication_error",
            "code": "not_authenticated",
            "detail": answer.json()["detail"],
            "attr": None,
        },
    )
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_in_the_address_is_refused_even_beside_a_good_one(api: Client) -> None:
    _, key = await api.world.app.keys.create(api.world.owner, name="Leaked", scopes=["*"])

    for query in (f"personal_api_key={key}", f"key={key}&key=1", key):
        assert (await api.refused("GET", f"/subscriptions?{query}"))[0] == 401
    await api.must("GET", "/subscriptions?search=pr_review")


async def test_write_includes_read_and_read_does_not_write(api: Client) -> None:
    denied = (403, "authentication_error", "permission_denied", None)

    await api.as_key("subscription:write")
    made = await api.subscribe()
    assert (await api.must("GET", "/subscriptions"))["results"] == [made]

    await api.as_key("subscription:read")
    one = f"/subscriptions/{made['id']}"
    assert await api.must("GET", one) == made
    for method, path in (("POST", "/subscriptions"), ("PATCH", one), ("PUT", one), ("POST", f"{one}/test-delivery")):
        assert await api.refused(method, path, json=api.body()) == denied

    await api.as_key("insight:read", "organization:read", "sharing_configuration:write")
    assert await api.refused("GET", "/subscriptions") == denied


async def test_a_key_may_be_limited_to_projects(api: Client) -> None:
    other = await another_project(api.world)
    made = await api.subscribe()

    await api.as_key("*", projects=[other])

    assert await api.refused("GET", f"/subscriptions/{made['id']}") == (404, "invalid_request", "not_found", None)
    api.prefix = f"/api/projects/{other}"
    assert (await api.must("GET", "/subscriptions"))["count"] == 0


async def test_a_row_of_another_project_is_404(api: Client) -> None:
    made = await api.subscribe()
    api.prefix = f"/api/projects/{await another_project(api.world)}"

    for path in (f"/subscriptions/{made['id']}", f"/subscriptions/{made['id']}/deliveries"):
        assert await api.refused("GET", path) == (404, "invalid_request", "not_found", None)
    assert await api.refused_at() == ("does_not_exist", "insight")


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_error_has_the_one_shape_and_its_type(api: Client) -> None:
    made = await api.subscribe(enabled=False)
    one = f"/subscriptions/{made['id']}"

    assert await api.refused("POST", "/subscriptions", json={}) == (400, "validation_error", "required", None)
    assert await api.refused("POST", "/subscriptions", content=b"{") == (400, "invalid_request", "parse_error", None)
    assert await api.refused("GET", "/subscriptions/77") == (404, "invalid_request", "not_found", None)
    assert await api.refused("GET", "/subscriptions/none") == (404, "invalid_request", "not_found", None)
    assert await api.refused("GET", "/nowhere") == (404, "invalid_request", "not_found", None)
    assert await api.refused("DELETE", one) == (405, "invalid_request", "method_not_allowed", None)
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert await api.refused("POST", "/subscriptions", content=b"a=b", headers=form) == (
        415,
        "invalid_request",
        "error",
        None,
    )
    assert await api.refused("POST", f"{one}/test-delivery") == (409, "server_error", "error", None)


async def test_an_answer_that_is_not_accepted_is_406(api: Client) -> None:
    for refusing in ("text/html", "image/png, text/*;q=0.5", "application/json;q=0"):
        answer = await api.refused("POST", "/subscriptions", json=api.body(), headers={"accept": refusing})
        assert answer == (406, "invalid_request", "error", None)
    for taking in ("", "*/*", "application/json", "text/html,application/xhtml+xml,*/*;q=0.8", "application/*;q=0.1"):
        assert (await api.must("GET", "/subscriptions", headers={"accept": taking}))["count"] == 0


async def test_an_error_inside_is_a_server_error_that_tells_nothing(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.api.subscriptions.rows.page", lambda *_, **__: 1 / 0)

    answer = await api("GET", "/subscriptions")

    assert (answer.status_code, answer.json()["type"]) == (500, "server_error")
    assert "division" not in answer.text


WRONG_FROM_FIRST_TO_LAST: list[tuple[str, Any]] = [
    ("insight", 999),
    ("dashboard_export_insights", [1]),
    ("target_type", "fax"),
    ("target_value", ""),
    ("frequency", "hourly"),
    ("interval", 0),
    ("byweekday", "monday"),
    ("bysetpos", 0),
    ("count", 0),
    ("start_date", "soon"),
    ("until_date", "late"),
    ("timezone", "Mars/Olympus"),
    ("deleted", None),
    ("enabled", "yes"),
    ("title", "x" * 101),
    ("integration_id", 999),
    ("invite_message", 5),
    ("summary_enabled", "yes"),
    ("summary_prompt_guide", "x" * 501),
]
"""Something that cannot be in every field, in the order of the contract's table."""


async def test_only_the_first_error_is_told_in_the_order_of_the_field_table(api: Client) -> None:
    made = await api.subscribe()
    wrong = dict(WRONG_FROM_FIRST_TO_LAST)
    told: list[tuple[str | None, str | None]] = []

    for field in list(wrong):
        told.append(((await api.refused_at(**wrong))[1], (await api.refused_at(made, **wrong))[1]))
        del wrong[field]

    assert told == [(field, field) for field, _ in WRONG_FROM_FIRST_TO_LAST]


@pytest.mark.parametrize(
    ("fields", "code", "attr"),
    [
        ({"frequency": None}, "null", "frequency"),
        ({"target_value": " "}, "blank", "target_value"),
        ({"title": "x" * 101}, "max_length", "title"),
        ({"interval": 0}, "min_value", "interval"),
        ({"interval": 10**12}, "max_value", "interval"),
        ({"target_type": "fax"}, "invalid_choice", "target_type"),
        ({"insight": 999}, "does_not_exist", "insight"),
        ({"interval": "two"}, "invalid_input", "interval"),
        ({"byweekday": ["monday", "someday"]}, "invalid_choice", "byweekday__1"),
    ],
    ids=str,
)
async def test_codes_and_attrs_say_what_is_wrong_and_where(
    api: Client, fields: dict[str, Any], code: str, attr: str
) -> None:
    assert await api.refused_at(**fields) == (code, attr)


async def test_what_is_missing_is_required(api: Client) -> None:
    for field in ("target_type", "target_value", "frequency"):
        without = {name: value for name, value in api.body().items() if name != field}
        refused = await api.refused("POST", "/subscriptions", json=without)
        assert refused == (400, "validation_error", "required", field)


# ── instants ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "given",
    ["2026-11-22T12:30:00Z", "2026-11-22T13:30:00+01:00", "2026-11-22T12:30:00", "2026-11-22T12:30:00.999999Z"],
)
async def test_instants_come_in_with_any_offset_or_as_utc_and_go_out_with_z(api: Client, given: str) -> None:
    made = await api.subscribe(start_date=given, until_date="2027-01-01T00:00:00-05:00")

    assert (made["start_date"], made["next_delivery_date"]) == ("2026-11-22T12:30:00Z", "2026-11-22T12:30:00Z")
    assert (made["until_date"], made["created_at"]) == ("2027-01-01T05:00:00Z", "2026-11-22T12:00:00Z")


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_lists_have_100_a_page_and_absolute_links_that_keep_the_filters(api: Client) -> None:
    for number in range(101):
        await api.world.subscribe(title=f"Number {number}")

    first = await api.must("GET", "/subscriptions/?search=number&target_type=email")
    second = (await api.http.get(first["next"])).json()

    assert (first["count"], len(first["results"]), first["previous"]) == (101, 100, None)
    assert first["next"].startswith(f"{api.world.app.settings.base_url}/api/projects/1/subscriptions")
    assert {"search=number", "target_type=email", "limit=100", "offset=100"} <= set(
        first["next"].partition("?")[2].split("&")
    )
    assert (second["count"], len(second["results"]), second["next"]) == (101, 1, None)
    assert (await api.http.get(second["previous"])).json() == first


async def test_links_of_a_list_begin_with_the_base_url_and_its_path(api: Client) -> None:
    for _ in range(2):
        await api.world.subscribe()
    settings = api.world.app.settings.model_copy(update={"base_url": "https://numbers.example.org/paper/"})
    put_behind(api_alone(), replace(api.world.app, settings=settings))

    page = await api.must("GET", "/subscriptions/?limit=1")

    assert page["next"] == "https://numbers.example.org/paper/api/projects/1/subscriptions?limit=1&offset=1"


async def test_a_list_takes_limit_and_offset_and_no_nonsense(api: Client) -> None:
    for number in range(3):
        api.world.clock.advance(seconds=1)
        await api.world.subscribe(title=str(number))

    async def titles(query: str) -> list[str]:
        return [each["title"] for each in (await api.must("GET", f"/subscriptions?{query}"))["results"]]

    assert await titles("limit=2") == ["2", "1"]
    assert await titles("limit=2&offset=2") == ["0"]
    assert await titles("offset=9") == []
    for nonsense in ("limit=-1", "limit=0", "limit=many", "offset=-2", "offset=1e3"):
        assert len(await titles(nonsense)) == 3


async def test_delivery_lists_have_50_a_page_newest_first_by_cursor_and_no_limit(api: Client) -> None:
    made = await api.subscribe(catch_up="all", catch_up_hours=8760)
    api.world.clock.advance(days=51)
    newest = list(reversed(await api.deliveries(made, "limit=5")))

    page = await api.must("GET", f"/subscriptions/{made['id']}/deliveries")
    rest = (await api.http.get(page["next"])).json()

    assert set(page) == {"next", "previous", "results"}
    assert (page["results"], len(newest), page["previous"]) == (newest, 50, None)
    assert [len(rest["results"]), rest["next"]] == [2, None]
    assert [each["created_at"] for each in newest] == sorted((each["created_at"] for each in newest), reverse=True)
    assert (await api.http.get(rest["previous"])).json() == page
