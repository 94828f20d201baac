"""Long lists in pieces: by ``limit`` and ``offset``, or by a cursor where new rows keep arriving."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import Request
from starlette.datastructures import URL

from scheduler.api.errors import INVALID, Refused
from scheduler.contract import delivery_json
from scheduler.store.deliveries import Delivery

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


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list that is newest first; what is asked for is older or, on the way back, newer."""

    created_at: datetime
    id: UUID
    newer: bool = False

    @property
    def place(self) -> tuple[datetime, UUID]:
        """As the store knows it."""
        return self.created_at, self.id


def cursor_of(created_at: datetime, id_: UUID, *, newer: bool = False) -> str:
    """Opaque to clients."""
    text = json.dumps([created_at.isoformat(), str(id_), newer])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str | None) -> Cursor | None:
    """What :func:`cursor_of` made. Raises :class:`Refused` for anything else."""
    if not text:
        return None
    try:
        created_at, id_, newer = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return Cursor(datetime.fromisoformat(created_at).astimezone(UTC), UUID(id_), newer is True)
    except (ValueError, TypeError, AttributeError, OverflowError, binascii.Error, RecursionError):
        detail = "This is no cursor of ours; begin without one."
        raise Refused(400, INVALID, "invalid_input", detail, attr="cursor") from None


def walked(request: Request, page: Sequence[Delivery], *, cursor: Cursor | None, more: bool) -> dict[str, Any]:
    """The contract's list of deliveries; ``more``: beyond this page it goes on, in the direction of the cursor."""
    back = cursor is not None and cursor.newer
    older, newer = (True, more) if back else (more, cursor is not None)
    return {
        "next": _beyond(request, page[-1], newer=False) if page and older else None,
        "previous": _beyond(request, page[0], newer=True) if page and newer else None,
        "results": [delivery_json(each) for each in page],
    }


def _beyond(request: Request, delivery: Delivery, *, newer: bool) -> str:
    return _with(request, cursor=cursor_of(delivery.created_at, delivery.id, newer=newer))


def _with(request: Request, **values: object) -> str:
    base = URL(str(request.app.state.paperround.settings.base_url))
    path = base.path.rstrip("/") + request.url.path
    url = request.url.replace(scheme=base.scheme, netloc=base.netloc, path=path)
    return str(url.include_query_params(**values))


def _whole(text: str | None, *, least: int) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    number = int(text)
    return number if number >= least else None
