"""What the routes of sources, insights, dashboards and integrations share: lists, one of them, removal."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from scheduler.api.access import Asked
from scheduler.api.pages import paged, window
from scheduler.store import catalog as rows
from scheduler.store.catalog import AnyEntry, Entry


async def listed(request: Request, asked: Asked, kind: type[Entry]) -> JSONResponse:
    """A part of the project's entries, the oldest first."""
    limit, offset = window(request)
    words = request.query_params.get("search", "").split()
    async with asked.app.database.read() as connection:
        found, count = await rows.page(connection, kind, asked.project.id, words=words, limit=limit, offset=offset)
    return JSONResponse(paged(request, [asked.app.catalog.shown(each) for each in found], count=count))


async def retrieved(asked: Asked, kind: type[Entry], entry_id: int) -> JSONResponse:
    """One of them. Raises :class:`NotFound`."""
    async with asked.app.database.read() as connection:
        return shown(asked, await rows.find(connection, kind, asked.project.id, entry_id))


async def removed(asked: Asked, kind: type[Entry], entry_id: int) -> Response:
    """Gone. Raises :class:`NotFound`, and :class:`Conflict` while something needs it."""
    await asked.app.catalog.remove(asked.project, kind, entry_id)
    return Response(status_code=204)


def shown(asked: Asked, entry: AnyEntry, *, status: int = 200, **more: Any) -> JSONResponse:
    """An entry as the API returns it, and what is shown this once."""
    return JSONResponse({**asked.app.catalog.shown(entry), **more}, status_code=status)
