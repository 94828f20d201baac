"""Who the caller is, what its key may do, and where: what clients of the reference ask first."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from scheduler.api.access import Caller, Parts, needs
from scheduler.api.pages import paged
from scheduler.contract import project_json, user_json
from scheduler.errors import NotFound
from scheduler.keys import Principal
from scheduler.store import people
from scheduler.store.people import Organisation, Project

router = APIRouter(tags=["people"])


@router.get("/users/@me")
async def me(app: Parts, caller: Caller) -> JSONResponse:
    """The user whose key this is."""
    organisation, projects = await _reach(app, caller)
    team = {"id": projects[0].id, "name": projects[0].name} if projects else None
    shown = {**user_json(caller.user), "organization": organisation_json(organisation), "team": team}
    return JSONResponse(shown)


@router.get("/personal_api_keys/@current")
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


@router.get("/organizations/@current")
async def current_organisation(
    app: Parts, caller: Annotated[Principal, Depends(needs("organization:read"))]
) -> JSONResponse:
    """The caller's organisation and the projects it sees there."""
    organisation, projects = await _reach(app, caller)
    teams = [{"id": each.id, "name": each.name} for each in projects]
    return JSONResponse({**organisation_json(organisation), "teams": teams, "projects": teams})


@router.get("/projects")
async def list_projects(
    request: Request, app: Parts, caller: Annotated[Principal, Depends(needs("project:read"))]
) -> JSONResponse:
    """The projects that the key reaches."""
    _, projects = await _reach(app, caller)
    return JSONResponse(paged(request, [project_json(each) for each in projects], count=len(projects)))


@router.get("/projects/{project_id}")
async def retrieve_project(
    project_id: int, app: Parts, caller: Annotated[Principal, Depends(needs("project:read"))]
) -> JSONResponse:
    """One of them."""
    _, projects = await _reach(app, caller)
    for each in projects:
        if each.id == project_id:
            return JSONResponse(project_json(each))
    raise NotFound(f"There is no project {project_id}.")


async def _reach(app: Parts, caller: Principal) -> tuple[Organisation, list[Project]]:
    async with app.database.read() as connection:
        organisation = await people.find_organisation(connection, caller.organisation_id)
        projects = await people.listed_projects(connection)
    return organisation, [each for each in projects if caller.sees(each.id)]


def organisation_json(organisation: Organisation) -> dict[str, Any]:
    """An organisation, in the reference's shape as far as it is needed."""
    return {"id": organisation.id, "name": organisation.name}
