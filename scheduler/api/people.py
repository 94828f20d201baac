"""Who the caller is, what its key may do, and where: what clients of the reference ask first."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from scheduler.api import schemas
from scheduler.api.access import Caller, Parts
from scheduler.api.describing import described
from scheduler.contract import user_json
from scheduler.keys import Principal
from scheduler.store import people
from scheduler.store.people import Organisation, Project

router = APIRouter(tags=["people"])


@router.get("/users/@me", **described(schemas.Me))
async def me(app: Parts, caller: Caller) -> JSONResponse:
    """The user whose key this is."""
    organisation, projects = await _reach(app, caller)
    known = organisation_json(organisation)
    team = {"id": projects[0].id, "name": projects[0].name, "organization": known["id"]} if projects else None
    shown = {**user_json(caller.user), "organization": known, "organizations": [known], "team": team}
    return JSONResponse(shown)


@router.get("/personal_api_keys/@current", **described(schemas.CurrentKey))
async def current_key(caller: Caller) -> JSONResponse:
    """The key that was presented: what it may do, and where."""
    return JSONResponse(
        {
            "id": caller.key_id,
            "scopes": list(caller.scopes),
            "scoped_teams": list(caller.project_ids or ()),
            "scoped_organizations": [],
        }
    )


async def _reach(app: Parts, caller: Principal) -> tuple[Organisation, list[Project]]:
    async with app.database.read() as connection:
        organisation = await people.find_organisation(connection, caller.organisation_id)
        projects = await people.listed_projects(connection)
    return organisation, [each for each in projects if caller.sees(each.id)]


def organisation_json(organisation: Organisation) -> dict[str, Any]:
    """An organisation, in the reference's shape as far as it is needed."""
    return {"id": str(organisation.uuid), "name": organisation.name}
