"""Insights run now, for whoever asks: their rows, and what a delivery would show as a picture, a file, a page.

Whatever a user wrote may stand in one of these files. They come as attachments, and where a browser opens one all the
same, its policy lets nothing run and nothing be fetched.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from typing import Annotated
from unicodedata import normalize
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Response
from fastapi.responses import JSONResponse

from scheduler.api.access import LARGEST_ID, Asked, within
from scheduler.api.describing import described
from scheduler.api.errors import OURS, Refused
from scheduler.api.schemas import QueryRows
from scheduler.exporting import csv_of
from scheduler.pictures import NotDrawn
from scheduler.snapshot import InsightSnapshot, QueryResult
from scheduler.tables import one_line

router = APIRouter(prefix="/insights/{insight_id:int}", tags=["insights"])

Reading = Annotated[Asked, Depends(within("insight:read"))]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The insight's id.")]

NOT_COMPUTED = 422
"""The status when the source was asked and did not answer with rows."""
LATER = {"retry-after": "5"}
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@router.post("/run", **described(QueryRows, refuses=(NOT_COMPUTED,)))
async def run_insight(insight_id: Id, asked: Reading) -> Response:
    """Ask its source now, read-only, within the limits of a delivery: 30 seconds, 10,000 rows."""
    snapshot, _ = await _computed(asked, insight_id)
    return await asyncio.to_thread(_rows, snapshot)


@router.get("/export.png", **described(media=("image/png",), refuses=(NOT_COMPUTED,)))
async def export_png(insight_id: Id, asked: Reading) -> Response:
    """Run it now: its chart, or its first rows where there is none to draw, on white."""
    snapshot, _ = await _computed(asked, insight_id)
    return _file(snapshot, await _drawn(asked.app.exporting.png(snapshot)), "image/png")


@router.get("/export.svg", **described(media=("image/svg+xml",), refuses=(NOT_COMPUTED,)))
async def export_svg(insight_id: Id, asked: Reading) -> Response:
    """Run it now: the same picture, to any size."""
    snapshot, _ = await _computed(asked, insight_id)
    return _file(snapshot, await _drawn(asked.app.exporting.svg(snapshot)), "image/svg+xml")


@router.get("/export.csv", **described(media=("text/csv",), refuses=(NOT_COMPUTED,)))
async def export_csv(insight_id: Id, asked: Reading) -> Response:
    """Run it now: every row, up to 10,000 (`X-Has-More` tells whether there were more).

    UTF-8 (RFC 4180). Text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    snapshot, result = await _computed(asked, insight_id)
    text = await asyncio.to_thread(csv_of, result)
    has_more = {"x-has-more": str(result.truncated).lower()}
    return _file(snapshot, text.encode(), "text/csv; charset=utf-8; header=present", headers=has_more)


@router.get("/export.html", **described(media=("text/html",), refuses=(NOT_COMPUTED,)))
async def export_html(insight_id: Id, asked: Reading) -> Response:
    """Run it now: a page that stands alone, the chart and below it up to 1,000 rows."""
    snapshot, _ = await _computed(asked, insight_id)
    text = await asked.app.exporting.page(snapshot, asked.project)
    return _file(snapshot, text.encode(), "text/html; charset=utf-8")


def _rows(snapshot: InsightSnapshot) -> Response:
    return JSONResponse(snapshot.as_json()["query_results"], headers={"cache-control": "no-store"})


async def _computed(asked: Asked, insight_id: int) -> tuple[InsightSnapshot, QueryResult]:
    try:
        snapshot = await asked.app.exporting.run(asked.project, insight_id)
    except TimeoutError:
        raise Refused(503, OURS, "error", "Too many are run already; try again.", headers=LATER) from None
    if snapshot.result is None:
        why = "It could not be computed." if snapshot.error is None else snapshot.error.message
        raise Refused(NOT_COMPUTED, OURS, "error", why)
    return snapshot, snapshot.result


async def _drawn(picture: Awaitable[bytes]) -> bytes:
    try:
        return await picture
    except NotDrawn as problem:
        detail = f"There is no picture: {problem}. Try again, or ask for export.html or export.csv."
        raise Refused(503, OURS, "error", detail, headers=LATER) from None


# ── the file's name ──────────────────────────────────────────────────────────────────────────────────────────────────

LONGEST_NAME = 100


def _file(
    snapshot: InsightSnapshot, content: bytes, media_type: str, *, headers: Mapping[str, str] | None = None
) -> Response:
    extension = media_type.partition(";")[0].partition("/")[2].removesuffix("+xml")
    disposition = attachment(snapshot.name, extension, otherwise=snapshot.short_id)
    headers = {**HEADERS, "content-type": media_type, "content-disposition": disposition, **(headers or {})}
    return Response(content, headers=headers)


def attachment(name: str, extension: str, *, otherwise: str) -> str:
    """``Content-Disposition`` with the name in ASCII, and as it is (RFC 6266, 4.3; RFC 8187, 3.2).

    No reader finds a folder, a hidden file, a device or a second extension in it.
    """
    stem = re.sub(r'[\\/:*?"<>|%.]+', " ", one_line(name, LONGEST_NAME))
    full = " ".join(stem.split()) or otherwise
    plain = " ".join(re.sub(r"[^A-Za-z0-9 _-]+", "", normalize("NFKD", full)).split()) or otherwise
    full, plain = (f"{each} insight" if each.upper() in _DEVICES else each for each in (full, plain))
    return f"attachment; filename=\"{plain}.{extension}\"; filename*=UTF-8''{quote(f'{full}.{extension}', safe='')}"


_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}
)
"""Names that Windows keeps for itself."""
