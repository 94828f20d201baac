"""A user's own keys, over HTTP: made by a key, and never for more than it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler.keys import is_well_formed
from scheduler.store import people
from scheduler.store.people import Role
from tests.scheduler.api.conftest import Client
from tests.scheduler.conftest import NOON

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
KEYS = "/personal_api_keys"


@pytest.fixture
def here(api: Client) -> Client:
    """A client whose paths begin behind ``/api``."""
    api.prefix = "/api"
    return api


async def come_with(client: Client, *scopes: str, role: str = Role.ADMIN, **how: Any) -> int:
    """A key of a user of that role; its id."""
    world, user = client.world, client.world.owner
    if role != Role.ADMIN:
        async with world.app.database.write() as tx:
            user = await people.add_user(tx, 1, f"{role}@example.org", role=role, now=world.clock())
    key, value = await world.app.keys.create(user, name="Calling", scopes=scopes or ("*",), **how)
    client.http.headers["authorization"] = f"Bearer {value}"
    return key.id


async def test_a_key_is_made_shown_once_used_and_revoked(here: Client) -> None:
    sent = {"label": " Reports ", "scopes": ["subscription:read"], "user_id": 7, "scoped_organizations": []}
    made = await here.must("POST", f"{KEYS}/", 201, json=sent)
    value = made.pop("value")

    assert is_well_formed(value)
    assert made == {
        "id": made["id"],
        "label": "Reports",
        "mask_value": f"{value[:6]}…{value[-4:]}",
        "user_id": here.world.owner.id,
        "scopes": ["subscription:read"],
        "scoped_teams": [],
        "scoped_organizations": [],
        "created_at": "2026-11-22T12:00:00Z",
        "last_used_at": None,
        "expires_at": None,
    }
    listed = await here.must("GET", f"{KEYS}/")
    assert (listed["count"], listed["results"][0]) == (2, made)
    assert [each["label"] for each in (await here.must("GET", f"{KEYS}?limit=1&offset=1"))["results"]] == ["Test"]

    theirs = {"authorization": f"Bearer {value}"}
    current = await here.must("GET", f"{KEYS}/@current", headers=theirs)
    assert (current["id"], current["scopes"]) == (made["id"], ["subscription:read"])
    await here.must("DELETE", f"{KEYS}/{made['id']}/", 204)
    assert (await here.refused("GET", f"{KEYS}/@current", headers=theirs))[0] == 401
    assert (await here.refused("DELETE", f"{KEYS}/{made['id']}"))[0] == 404
    assert (await here.must("GET", KEYS))["count"] == 1


@sqlite_only
async def test_only_a_key_for_everything_makes_or_ends_others_and_every_key_may_end_itself(here: Client) -> None:
    first = (await here.must("GET", KEYS))["results"][0]["id"]
    narrow = await come_with(here, "subscription:write", "organization:write")
    denied = (403, "authentication_error", "permission_denied", None)

    assert await here.refused("POST", KEYS, json={"label": "Another", "scopes": ["subscription:read"]}) == denied
    assert await here.refused("DELETE", f"{KEYS}/{first}") == denied
    await here.must("DELETE", f"{KEYS}/{narrow}", 204)
    assert (await here.refused("GET", KEYS))[0] == 401


@sqlite_only
async def test_a_new_key_reaches_no_further_and_lives_no_longer_than_the_one_that_makes_it(here: Client) -> None:
    await here.world.sql(
        "INSERT INTO projects (id, organisation_id, name, timezone, created_at) VALUES (2, 1, 'B', 'UTC', '2026-01-01')"
    )
    await come_with(here, project_ids=[2], expires_at=NOON + timedelta(days=1))

    async def made(**fields: Any) -> Any:
        return await here.must("POST", KEYS, 201, json={"label": "New", "scopes": ["*"], **fields})

    async def refused(**fields: Any) -> tuple[str, str | None]:
        return (await here.refused("POST", KEYS, json={"label": "New", "scopes": ["*"], **fields}))[2:]

    for fields in ({}, {"scoped_teams": None}, {"scoped_teams": []}, {"scoped_teams": [2]}, {"expires_at": None}):
        new = await made(**fields)
        assert (new["scoped_teams"], new["expires_at"]) == ([2], "2026-11-23T12:00:00Z")
    assert (await made(expires_at="2026-11-22T14:00:00+01:00"))["expires_at"] == "2026-11-22T13:00:00Z"
    assert await refused(scoped_teams=[2, 1]) == ("does_not_exist", "scoped_teams")
    assert await refused(scopes=["organization:write"]) == ("invalid_input", "scopes")
    assert await refused(expires_at="2026-11-23T12:00:01Z") == ("invalid_input", "expires_at")


@sqlite_only
async def test_a_viewers_key_is_made_for_reading_and_others_keys_are_not_there(here: Client) -> None:
    owners = (await here.must("GET", KEYS))["results"][0]["id"]
    await come_with(here, role=Role.VIEWER)

    refused = await here.refused("POST", KEYS, json={"label": "New", "scopes": ["subscription:write"]})
    assert refused == (400, "validation_error", "invalid_input", "scopes")
    await here.must("POST", KEYS, 201, json={"label": "New", "scopes": ["subscription:read"]})
    assert [each["label"] for each in (await here.must("GET", KEYS))["results"]] == ["New", "Calling"]
    assert (await here.refused("DELETE", f"{KEYS}/{owners}"))[0] == 404


@sqlite_only
async def test_what_a_key_cannot_be_is_refused_by_its_field(here: Client) -> None:
    for field, value, code in (
        ("label", None, "null"),
        ("label", "", "blank"),
        ("label", "x" * 41, "max_length"),
        ("label", ["x"], "invalid_input"),
        ("scopes", None, "null"),
        ("scopes", [], "required"),
        ("scopes", "*", "invalid_input"),
        ("scopes", [["*"]], "invalid_input"),
        ("scopes", ["everything"], "invalid_choice"),
        ("scoped_teams", 1, "invalid_input"),
        ("scoped_teams", False, "invalid_input"),
        ("scoped_teams", "", "invalid_input"),
        ("scoped_teams", [True], "invalid_input"),
        ("scoped_teams", ["1"], "invalid_input"),
        ("scoped_teams", [99], "does_not_exist"),
        ("expires_at", 5, "invalid_input"),
        ("expires_at", "soon", "invalid_input"),
        ("expires_at", "2026-11-22T12:00:00Z", "invalid_input"),
        ("expires_at", "9999-01-01T00:00:00Z", "invalid_input"),
    ):
        body = {"label": "New", "scopes": ["*"], field: value}
        assert await here.refused("POST", KEYS, json=body) == (400, "validation_error", code, field), (field, value)
    for field in ("label", "scopes"):
        body = {"label": "New", "scopes": ["*"]}
        del body[field]
        assert (await here.refused("POST", KEYS, json=body))[2:] == ("required", field)
    assert (await here.must("GET", KEYS))["count"] == 1
