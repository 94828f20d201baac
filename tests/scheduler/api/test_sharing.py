"""Sharing over HTTP: who turns it on, what it answers, and what is kept of passwords."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from scheduler.api.sharing import ShareSettings
from scheduler.sharing import SETTINGS
from tests.scheduler.api.conftest import Client
from tests.scheduler.conftest import settle

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

OFF = {
    "created_at": None,
    "enabled": False,
    "access_token": None,
    "settings": {},
    "password_required": False,
    "share_passwords": [],
}


async def subscription(api: Client) -> str:
    """Where the sharing of a new subscription is."""
    return f"/subscriptions/{(await api.world.subscribe()).id}/sharing"


async def delivery(api: Client) -> str:
    """Where the sharing of a new subscription's delivery is."""
    made = await api.world.subscribe(announced=True)
    await settle(api.world.runner())
    [sent] = await api.world.deliveries()
    return f"/subscriptions/{made.id}/deliveries/{sent.id}/sharing"


# ── on and off ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_looking_makes_nothing_and_the_first_change_does(api: Client) -> None:
    path = await subscription(api)

    looked = await api.must("GET", path)
    rows = await api.world.sql("SELECT id FROM shares")
    changed = await api.must("PATCH", path, json={"enabled": True})
    again = await api.must("PATCH", path, json={})

    assert (looked, rows) == (OFF, [])
    assert changed == OFF | {
        "created_at": "2026-11-22T12:00:00Z",
        "enabled": True,
        "access_token": changed["access_token"],
    }
    assert len(changed["access_token"]) >= 22
    assert again == changed == await api.must("GET", path + "/")


async def test_a_subscription_and_its_deliveries_are_shared_each_by_itself(api: Client) -> None:
    one = await delivery(api)
    newest = one.partition("/deliveries/")[0] + "/sharing"

    shared = await api.must("PATCH", one, json={"enabled": True})
    not_yet = await api.must("GET", newest)
    also = await api.must("PATCH", newest, json={"settings": {"legend": True}})

    assert not_yet == OFF
    assert (also["enabled"], also["settings"]) == (False, {"legend": True})
    assert also["access_token"] != shared["access_token"]
    assert await api.must("GET", one) == shared


async def test_changes_at_once_make_one_share(api: Client) -> None:
    path = await subscription(api)

    answers = await asyncio.gather(*(api.must("PATCH", path, json={"enabled": True}) for _ in range(4)))

    assert len({each["access_token"] for each in answers}) == 1


@sqlite_only
async def test_known_settings_are_kept_and_a_change_replaces_them(api: Client) -> None:
    path = await subscription(api)

    first = await api.must("PATCH", path, json={"settings": {"whitelabel": True, "noHeader": False, "theme": "dark"}})
    second = await api.must("PATCH", path, json={"settings": {"hideExtraDetails": True}})
    third = await api.must("PATCH", path, json={"settings": None, "access_token": "mine", "unknown": [1]})

    assert first["settings"] == {"whitelabel": True, "noHeader": False}
    assert second["settings"] == {"hideExtraDetails": True}
    assert (third["settings"], third["access_token"]) == ({}, first["access_token"])
    assert set(ShareSettings.model_json_schema()["properties"]) == set(SETTINGS)


@sqlite_only
async def test_what_cannot_be_names_its_field(api: Client) -> None:
    path = await subscription(api)

    for body, code, attr in [
        ({"enabled": None}, "null", "enabled"),
        ({"enabled": "yes"}, "invalid_input", "enabled"),
        ({"enabled": 1}, "invalid_input", "enabled"),
        ({"settings": []}, "invalid_input", "settings"),
        ({"settings": {"legend": "on"}}, "invalid_input", "settings__legend"),
        ({"settings": {"legend": None}}, "null", "settings__legend"),
        ({"password_required": []}, "invalid_input", "password_required"),
        ({"password_required": 1, "enabled": 1}, "invalid_input", "enabled"),
    ]:
        assert await api.refused("PATCH", path, json=body) == (400, "validation_error", code, attr)
    assert await api.must("GET", path) == OFF


@sqlite_only
async def test_a_refreshed_token_is_another_one_and_all_else_stays(api: Client) -> None:
    path = await subscription(api)
    before = await api.must("PATCH", path, json={"enabled": True, "settings": {"legend": True}})

    after = await api.must("POST", f"{path}/refresh/")

    assert after == before | {"access_token": after["access_token"]}
    assert after["access_token"] != before["access_token"]
    assert await api.must("GET", path) == after


# ── passwords ────────────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_a_password_is_shown_once_and_gone_when_it_is_removed(api: Client) -> None:
    path = await subscription(api)
    await api.must("PATCH", path, json={"password_required": True})

    own = await api.must("POST", f"{path}/passwords", 201, json={"password": "correct horse", "note": " The board "})
    made_up = await api.must("POST", f"{path}/passwords/", 201)
    as_in_the_reference = await api.must("POST", f"{path}/passwords", 201, json={"raw_password": "battery staple"})
    listed = (await api.must("GET", path))["share_passwords"]
    await api.must("DELETE", f"{path}/passwords/{own['id']}/", 204)

    assert own == {
        "id": own["id"],
        "created_at": "2026-11-22T12:00:00Z",
        "note": "The board",
        "created_by_email": api.world.owner.email,
        "is_active": True,
        "password": "correct horse",
    }
    assert (len(made_up["password"]), as_in_the_reference["password"]) == (16, "battery staple")
    made = [as_in_the_reference, made_up, own]
    assert listed == [{name: value for name, value in each.items() if name != "password"} for each in made]
    assert [each["id"] for each in (await api.must("GET", path))["share_passwords"]] == [
        each["id"] for each in made[:2]
    ]
    assert (await api.refused("DELETE", f"{path}/passwords/{own['id']}"))[0] == 404


@sqlite_only
async def test_a_password_that_cannot_be_is_refused(api: Client) -> None:
    path = await subscription(api)
    await api.must("PATCH", path, json={"password_required": True})

    for body, code, attr in [
        ({"password": "1234567"}, "invalid_input", "password"),
        ({"raw_password": "1234567"}, "invalid_input", "raw_password"),
        ({"password": "x" * 201}, "max_length", "password"),
        ({"password": 12345678}, "invalid_input", "password"),
        ({"note": "x" * 101}, "max_length", "note"),
        ({"note": "one\ntwo"}, "invalid_input", "note"),
        ({"note": ["x"]}, "invalid_input", "note"),
    ]:
        assert await api.refused("POST", f"{path}/passwords", json=body) == (400, "validation_error", code, attr)
    assert (await api.must("GET", path))["share_passwords"] == []


@sqlite_only
async def test_no_password_is_made_while_none_is_required(api: Client) -> None:
    path = await subscription(api)

    never = await api.refused("POST", f"{path}/passwords")
    await api.must("PATCH", path, json={"enabled": True})

    assert (
        never
        == await api.refused("POST", f"{path}/passwords")
        == (
            400,
            "validation_error",
            "invalid_input",
            "password_required",
        )
    )


@sqlite_only
async def test_neither_token_nor_password_is_stored_as_it_is(api: Client) -> None:
    path = await subscription(api)
    token = (await api.must("PATCH", path, json={"password_required": True}))["access_token"]
    await api.must("POST", f"{path}/passwords", 201, json={"password": "correct horse"})

    kept = str(await api.world.sql("SELECT * FROM shares")) + str(await api.world.sql("SELECT * FROM share_passwords"))

    assert "$argon2id$" in kept
    assert not any(secret in kept for secret in (token, "correct horse"))


# ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_what_is_not_there_is_404_and_an_owners_notice_is_not_shared(api: Client) -> None:
    own = await delivery(api)
    other = (await api.world.subscribe()).id
    delivery_id = own.split("/")[4]
    places = [
        "/subscriptions/77/sharing",
        "/subscriptions/x/sharing",
        f"/subscriptions/{other}/deliveries/{delivery_id}/sharing",
        f"/subscriptions/{other}/deliveries/{uuid4()}/sharing",
        f"/subscriptions/{other}/deliveries/x/sharing",
    ]

    for place in places:
        for method, rest in (("GET", ""), ("PATCH", ""), ("POST", "/refresh"), ("POST", "/passwords")):
            body = {"json": {"enabled": True}} if method == "PATCH" else {}
            assert (await api.refused(method, place + rest, **body))[:3] == (404, "invalid_request", "not_found"), place
        assert (await api.refused("DELETE", f"{place}/passwords/1"))[0] == 404
    await api.world.sql("UPDATE deliveries SET trigger_type = 'notice'")
    assert (await api.refused("PATCH", own, json={"enabled": True}))[0] == 404
    assert await api.world.sql("SELECT id FROM shares") == []


@sqlite_only
async def test_who_may_not_share_may_not(api: Client) -> None:
    path = await subscription(api)

    for role, scope, looking in [
        ("admin", "sharing_configuration:read", 200),
        ("member", "subscription:write", 403),
        ("viewer", "*", 200),
    ]:
        _, key = await api.world.app.keys.create(api.world.owner, name=role, scopes=[scope])
        await api.world.sql("UPDATE users SET role = :role", role=role)
        api.http.headers["authorization"] = f"Bearer {key}"
        answers = [
            await api.refused("PATCH", path, json={"enabled": True}),
            await api.refused("POST", f"{path}/refresh"),
            await api.refused("POST", f"{path}/passwords"),
            await api.refused("DELETE", f"{path}/passwords/1"),
        ]
        assert answers == [(403, "authentication_error", "permission_denied", None)] * 4
        assert (await api("GET", path)).status_code == looking
