"""Named queries, and how they are drawn; run and exported on request in ``scheduler.api.exports``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from scheduler.api import schemas_catalog as schemas
from scheduler.api.access import LARGEST_ID, Asked, within
from scheduler.api.catalog import listed, removed, retrieved, shown
from scheduler.api.describing import described
from scheduler.api.reading import read_body, said
from scheduler.store.catalog import Insight

router = APIRouter(prefix="/insights", tags=["insights"])

Reading = Annotated[Asked, Depends(within("insight:read"))]
Writing = Annotated[Asked, Depends(within("insight:write"))]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The insight's id.")]


@router.get("", **described(schemas.InsightPage, asks=schemas.LISTED))
async def list_insights(request: Request, asked: Reading) -> Response:
    """The project's insights, the oldest first."""
    return await listed(request, asked, Insight)


@router.post("", **described(schemas.Insight, status=201, takes=schemas.NewInsight, refuses=(409,)))
async def create_insight(request: Request, asked: Writing) -> Response:
    """Add a query; it is run once, unless ``check`` is false."""
    body = await read_body(request, schemas.NewInsight)
    made = await asked.app.catalog.add_insight(asked.project, **body.model_dump())
    return shown(asked, made, status=201)


@router.get("/{insight_id:int}", **described(schemas.Insight))
async def retrieve_insight(insight_id: Id, asked: Reading) -> Response:
    """One insight with its query."""
    return await retrieved(asked, Insight, insight_id)


@router.patch("/{insight_id:int}", **described(schemas.Insight, takes=schemas.ChangedInsight, refuses=(409,)))
async def update_insight(insight_id: Id, request: Request, asked: Writing) -> Response:
    """Change some fields; another query, or source, is asked once, unless ``check`` is false."""
    changes = said(await read_body(request, schemas.ChangedInsight))
    return shown(asked, await asked.app.catalog.edit_insight(asked.project, insight_id, **changes))


@router.put("/{insight_id:int}", **described(schemas.Insight, takes=schemas.NewInsight, refuses=(409,)))
async def replace_insight(insight_id: Id, request: Request, asked: Writing) -> Response:
    """A full update: what a new one needs has to be there, what else is absent goes back to its default."""
    body = await read_body(request, schemas.NewInsight)
    return shown(asked, await asked.app.catalog.edit_insight(asked.project, insight_id, **body.model_dump()))


@router.delete("/{insight_id:int}", **described(status=204, refuses=(409,)))
async def remove_insight(insight_id: Id, asked: Writing) -> Response:
    """Forget an insight that no dashboard and no subscription shows; what was delivered of it stays."""
    return await removed(asked, Insight, insight_id)
