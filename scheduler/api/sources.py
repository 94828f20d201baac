"""Databases that insights ask."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from scheduler.api import schemas_catalog as schemas
from scheduler.api.access import LARGEST_ID, Asked, within
from scheduler.api.catalog import listed, removed, retrieved, shown
from scheduler.api.describing import described
from scheduler.api.reading import read_body, said
from scheduler.store.catalog import Source

router = APIRouter(prefix="/sources", tags=["sources"])

Reading = Annotated[Asked, Depends(within("source:read"))]
Writing = Annotated[Asked, Depends(within("source:write"))]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The source's id.")]


@router.get("", **described(schemas.SourcePage, asks=schemas.LISTED))
async def list_sources(request: Request, asked: Reading) -> Response:
    """The project's sources, the oldest first."""
    return await listed(request, asked, Source)


@router.post("", **described(schemas.Source, status=201, takes=schemas.NewSource, refuses=(409,)))
async def create_source(request: Request, asked: Writing) -> Response:
    """Add a database; it is asked once, unless ``check`` is false."""
    body = await read_body(request, schemas.NewSource)
    made = await asked.app.catalog.add_source(asked.project, body.name, body.url, check=body.check)
    return shown(asked, made, status=201)


@router.get("/{source_id:int}", **described(schemas.Source))
async def retrieve_source(source_id: Id, asked: Reading) -> Response:
    """One source; its URL stays hidden."""
    return await retrieved(asked, Source, source_id)


@router.patch("/{source_id:int}", **described(schemas.Source, takes=schemas.ChangedSource, refuses=(409,)))
async def update_source(source_id: Id, request: Request, asked: Writing) -> Response:
    """Another name, another database: its insights ask that one from now on."""
    changes = said(await read_body(request, schemas.ChangedSource))
    changes.pop("kind", None)  # there is only one
    return shown(asked, await asked.app.catalog.edit_source(asked.project, source_id, **changes))


@router.put("/{source_id:int}", **described(schemas.Source, takes=schemas.NewSource, refuses=(409,)))
async def replace_source(source_id: Id, request: Request, asked: Writing) -> Response:
    """A full update: what a new one needs has to be there."""
    body = (await read_body(request, schemas.NewSource)).model_dump(exclude={"kind"})
    return shown(asked, await asked.app.catalog.edit_source(asked.project, source_id, **body))


@router.delete("/{source_id:int}", **described(status=204, refuses=(409,)))
async def remove_source(source_id: Id, asked: Writing) -> Response:
    """Forget a source that no insight uses."""
    return await removed(asked, Source, source_id)
