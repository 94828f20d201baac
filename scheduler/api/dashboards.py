"""Ordered sets of insights."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from scheduler.api import schemas_catalog as schemas
from scheduler.api.access import LARGEST_ID, Asked, within
from scheduler.api.catalog import listed, removed, retrieved, shown
from scheduler.api.describing import described
from scheduler.api.reading import read_body, said
from scheduler.store.catalog import Dashboard

router = APIRouter(prefix="/dashboards", tags=["dashboards"])

Reading = Annotated[Asked, Depends(within("dashboard:read"))]
Writing = Annotated[Asked, Depends(within("dashboard:write"))]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The dashboard's id.")]


@router.get("", **described(schemas.DashboardPage, asks=schemas.LISTED))
async def list_dashboards(request: Request, asked: Reading) -> Response:
    """The project's dashboards, the oldest first."""
    return await listed(request, asked, Dashboard)


@router.post("", **described(schemas.Dashboard, status=201, takes=schemas.NewDashboard, refuses=(409,)))
async def create_dashboard(request: Request, asked: Writing) -> Response:
    """Put insights together."""
    body = await read_body(request, schemas.NewDashboard)
    made = await asked.app.catalog.add_dashboard(asked.project, **body.model_dump())
    return shown(asked, made, status=201)


@router.get("/{dashboard_id:int}", **described(schemas.Dashboard))
async def retrieve_dashboard(dashboard_id: Id, asked: Reading) -> Response:
    """One dashboard and its insights, in order."""
    return await retrieved(asked, Dashboard, dashboard_id)


@router.patch("/{dashboard_id:int}", **described(schemas.Dashboard, takes=schemas.ChangedDashboard, refuses=(409,)))
async def update_dashboard(dashboard_id: Id, request: Request, asked: Writing) -> Response:
    """Change some fields; an insight that a subscription shows stays until that shows another."""
    changes = said(await read_body(request, schemas.ChangedDashboard))
    return shown(asked, await asked.app.catalog.edit_dashboard(asked.project, dashboard_id, **changes))


@router.put("/{dashboard_id:int}", **described(schemas.Dashboard, takes=schemas.NewDashboard, refuses=(409,)))
async def replace_dashboard(dashboard_id: Id, request: Request, asked: Writing) -> Response:
    """A full update: what a new one needs has to be there, what else is absent goes back to its default."""
    body = await read_body(request, schemas.NewDashboard)
    return shown(asked, await asked.app.catalog.edit_dashboard(asked.project, dashboard_id, **body.model_dump()))


@router.delete("/{dashboard_id:int}", **described(status=204, refuses=(409,)))
async def remove_dashboard(dashboard_id: Id, asked: Writing) -> Response:
    """Forget a dashboard that no subscription shows; its insights stay."""
    return await removed(asked, Dashboard, dashboard_id)
