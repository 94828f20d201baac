"""What else a client of the reference asks for: who it is, what its key may do, and where."""

from __future__ import annotations

from uuid import UUID

import pytest

from scheduler.store import people
from tests.scheduler.api.conftest import Client

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


@pytest.fixture
async def other(api: Client) -> int:
    """Another project of the same organisation."""
    world = api.world
    async with world.app.database.write() as tx:
        made = await people.add_project(tx, world.project.organisation_id, "Other", timezone="UTC", now=world.clock.now)
    return made.id


@pytest.fixture(autouse=True)
def outside_projects(api: Client) -> None:
    api.prefix = "/api"


async def test_users_at_me_is_the_keys_user_with_organization_and_team(api: Client) -> None:
    me = await api.must("GET", "/users/@me/")

    owner, project = api.world.owner, api.world.project
    assert (me["uuid"], me["distinct_id"], me["email"]) == (str(owner.uuid), str(owner.uuid), owner.email)
    assert (me["first_name"], me["organization"]["name"]) == ("", "Default organisation")
    organization = me["organization"]["id"]
    assert str(UUID(organization)) == organization
    assert me["organizations"] == [me["organization"]]
    assert me["team"] == {"id": project.id, "name": project.name, "organization": organization}


async def test_personal_api_keys_at_current_says_scopes_teams_and_organizations(api: Client, other: int) -> None:
    key = await api.must("GET", "/personal_api_keys/@current/")
    assert (key["scopes"], key["scoped_teams"], key["scoped_organizations"]) == (["*"], [], [])

    await api.as_key("subscription:read", projects=[other])

    key = await api.must("GET", "/personal_api_keys/@current")
    assert (key["scopes"], key["scoped_teams"]) == (["subscription:read"], [other])
    assert (await api.must("GET", "/users/@me"))["team"]["id"] == other


async def test_projects_are_those_that_the_key_reaches(api: Client, other: int) -> None:
    organization = (await api.must("GET", "/users/@me"))["organization"]["id"]

    listed = await api.must("GET", "/projects/")

    assert (listed["count"], listed["next"], listed["previous"]) == (2, None, None)
    assert [(each["id"], each["name"], each["organization"]) for each in listed["results"]] == [
        (1, "Test", organization),
        (other, "Other", organization),
    ]
    assert await api.must("GET", f"/projects/{other}/") == listed["results"][1]
    await api.as_key("*", projects=[other])
    assert [each["id"] for each in (await api.must("GET", "/projects"))["results"]] == [other]
    assert (await api.refused("GET", "/projects/1"))[0] == 404


async def test_organizations_at_current_is_the_keys_own(api: Client) -> None:
    me = await api.must("GET", "/users/@me")

    organization = await api.must("GET", "/organizations/@current/")

    assert {name: organization[name] for name in ("id", "name")} == me["organization"]
    assert [each["id"] for each in organization["projects"]] == [each["id"] for each in organization["teams"]] == [1]
