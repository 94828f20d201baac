"""Projects: who has a key for the whole organisation, and may, adds and removes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from scheduler.api import schemas_catalog as schemas
from scheduler.api.access import Asked, Parts, needs, within
from scheduler.api.describing import PAGED, described
from scheduler.api.errors import permission_denied
from scheduler.api.pages import paged, window
from scheduler.api.reading import read_body, said
from scheduler.contract import project_json
from scheduler.keys import Principal
from scheduler.store import people

router = APIRouter(tags=["projects"])

Reader = Annotated[Principal, Depends(needs("project:read"))]
Writer = Annotated[Principal, Depends(needs("project:write"))]
Reading = Annotated[Asked, Depends(within("project:read"))]
Writing = Annotated[Asked, Depends(within("project:write"))]


@router.get("", **described(schemas.ProjectPage, asks=PAGED))
async def list_projects(request: Request, app: Parts, caller: Reader) -> Response:
    """The projects that the key reaches, the oldest first."""
    limit, offset = window(request)
    async with app.database.read() as connection:
        found = [each for each in await people.listed_projects(connection) if caller.sees(each.id)]
    shown = [project_json(each) for each in found[offset : offset + limit]]
    return JSONResponse(paged(request, shown, count=len(found)))


@router.post("", **described(schemas.Project, status=201, takes=schemas.NewProject))
async def create_project(request: Request, app: Parts, caller: Writer) -> Response:
    """Add a project; a key that is limited to projects may not."""
    _refuse_limited(caller)
    body = {"timezone": app.settings.timezone, **said(await read_body(request, schemas.NewProject))}
    made = await app.projects.add(caller.organisation_id, **body)
    return JSONResponse(project_json(made), status_code=201)


@router.get("/{project_id:int}", **described(schemas.Project))
async def retrieve_project(asked: Reading) -> Response:
    """One of them."""
    return JSONResponse(project_json(asked.project))


@router.patch("/{project_id:int}", **described(schemas.Project, takes=schemas.ChangedProject))
async def update_project(request: Request, asked: Writing) -> Response:
    """Its name, the time zone of new subscriptions, what it decides about failures."""
    changes = said(await read_body(request, schemas.ChangedProject))
    from_defaults = "policy" in changes and changes["policy"] is None
    changed = await asked.app.projects.edit(asked.project, **changes, from_defaults=from_defaults)
    return JSONResponse(project_json(changed))


@router.delete("/{project_id:int}", **described(status=204, refuses=(409,)))
async def remove_project(asked: Writing) -> Response:
    """Forget an empty project."""
    _refuse_limited(asked.caller)
    await asked.app.projects.remove(asked.project)
    return Response(status_code=204)


def _refuse_limited(caller: Principal) -> None:
    if caller.project_ids is not None:
        raise permission_denied("This key is limited to projects; take one that is the whole organisation's.")
