"""Long lists in pieces: by ``limit`` and ``offset``, or by a cursor where new rows keep arriving."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import Request
from starlette.datastructures import URL

from scheduler.api.errors import INVALID, Refused

LIMIT, LARGEST_LIMIT, LARGEST_OFFSET = 100, 1000, 2**31


def window(request: Request) -> tuple[int, int]:
    """``limit`` and ``offset`` of the query; nonsense is as if it had not been said."""
    limit = _whole(request.query_params.get("limit"), least=1) or LIMIT
    offset = _whole(request.query_params.get("offset"), least=0) or 0
    return min(limit, LARGEST_LIMIT), min(offset, LARGEST_OFFSET)


def paged(request: Request, rows: Sequence[Any], *, count: int) -> dict[str, Any]:
    """The contract's list; ``next`` and ``previous`` are absolute and keep the filters."""
    limit, offset = window(request)
    later = _with(request, limit=limit, offset=offset + limit) if offset + limit < count else None
    earlier = _with(request, limit=limit, offset=max(0, offset - limit)) if offset > 0 else None
    return {"count": count, "next": later, "previous": earlier, "results": list(rows)}


def cursor_of(created_at: datetime, id_: UUID) -> str:
    """Where a page ends: opaque to clients."""
    return base64.urlsafe_b64encode(json.dumps([created_at.isoformat(), str(id_)]).encode()).decode().rstrip("=")


def read_cursor(text: str | None) -> tuple[datetime, UUID] | None:
    """What :func:`cursor_of` made. Raises :class:`Refused` for anything else."""
    if not text:
        return None
    try:
        created_at, id_ = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return datetime.fromisoformat(created_at).astimezone(UTC), UUID(id_)
    except (ValueError, TypeError, AttributeError, OverflowError, binascii.Error, RecursionError):
        detail = "This is no cursor of ours; begin without one."
        raise Refused(400, INVALID, "invalid_input", detail, attr="cursor") from None


def with_cursor(request: Request, cursor: str) -> str:
    """The same request, from there on."""
    return _with(request, cursor=cursor)


def _with(request: Request, **values: object) -> str:
    base = URL(str(request.app.state.paperround.settings.base_url))
    url = request.url.replace(scheme=base.scheme, netloc=base.netloc)
    return str(url.include_query_params(**values))


def _whole(text: str | None, *, least: int) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return max(int(text), least)
