"""An insight on request: run now as a delivery would run it, and as a file. The ledger is not told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from unicodedata import normalize

from scheduler.charts import Spec, chart_spec
from scheduler.clock import Clock
from scheduler.content import Content
from scheduler.db import Database
from scheduler.pictures import NotDrawn, Pictures
from scheduler.render import export_of, page, words_of_page
from scheduler.sealing import Box
from scheduler.snapshot import Cell, InsightSnapshot, QueryResult
from scheduler.store import catalog as rows
from scheduler.store.catalog import Insight
from scheduler.store.people import Project
from scheduler.table_pictures import table_spec
from scheduler.tables import one_line, table_of

RUNS_AT_ONCE = 4
"""However many ask at once, sources are asked by so many of them; deliveries have queries of their own."""
TURN_WITHIN = 30.0
"""Seconds until somebody is sent away instead of waiting on: by then, who asked may be gone."""
DRAWINGS_AT_ONCE = 1
"""There is one process that draws: so a delivery's picture waits for one of these, however many are asked for."""
ROWS_ON_PAGE, COLUMNS_ON_PAGE, CELL_ON_PAGE = 1000, 100, 500


class Exporting:
    """Runs insights and draws them for whoever asks."""

    def __init__(self, database: Database, box: Box, clock: Clock, pictures: Pictures) -> None:
        self._database = database
        self._box = box
        self._clock = clock
        self._pictures = pictures
        self._running = asyncio.Semaphore(RUNS_AT_ONCE)
        self._drawing = asyncio.Semaphore(DRAWINGS_AT_ONCE)

    async def run(self, project: Project, insight_id: int) -> InsightSnapshot:
        """As a delivery of this moment would show it: its rows, or why there are none.

        Raises :class:`NotFound`, and :class:`TimeoutError` when too many others are run before.
        """
        async with self._database.read() as connection:
            insight = await rows.find(connection, Insight, project.id, insight_id)
        content = Content(self._database, self._box, self._clock, pictures=self._pictures, keeps=False)
        async with self._turn():
            [shown] = await content.show((insight.id,), as_of=self._clock(), drawn=False)
        return shown.snapshot

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with asyncio.timeout(TURN_WITHIN):
            await self._running.acquire()
        try:
            yield
        finally:
            self._running.release()

    async def png(self, snapshot: InsightSnapshot) -> bytes:
        """Its chart; where there is none to draw, its first rows. Raises :class:`NotDrawn`."""
        async with self._drawing:
            return await self._pictures.png(await asyncio.to_thread(_spec, snapshot))

    async def svg(self, snapshot: InsightSnapshot) -> bytes:
        """The same picture, to any size. Raises :class:`NotDrawn`."""
        async with self._drawing:
            return await self._pictures.svg(_for_eyes(await asyncio.to_thread(_spec, snapshot)))

    async def page(self, snapshot: InsightSnapshot, project: Project) -> str:
        """HTML that stands alone: the chart, if it can be drawn, and below it the rows."""
        image = None
        with suppress(NotDrawn):
            image = await self.png(snapshot) if await asyncio.to_thread(chart_spec, snapshot) else None
        return await asyncio.to_thread(_page, snapshot, image, project, now=self._clock())


def _spec(snapshot: InsightSnapshot) -> Spec:
    return chart_spec(snapshot) or table_spec(snapshot.result)


def _for_eyes(spec: Spec) -> Spec:
    """Without the renderer's labels for screen readers, which are made of our keys: all that is to be read is text."""
    return {**spec, "config": {**spec["config"], "aria": False}}


def _page(snapshot: InsightSnapshot, image: bytes | None, project: Project, *, now: datetime) -> str:
    export, result = export_of(snapshot, image=image), snapshot.result
    words = words_of_page([snapshot], [export], at=now, timezone=project.timezone)
    return page(
        "insight.html",
        subject=export.title,
        preview="",
        project=one_line(project.name),
        description=one_line(snapshot.description),
        at=words["at"],
        card=words["cards"][0],
        picture=words["pictures"].get(export.name),
        table=table_of(result, rows=ROWS_ON_PAGE, columns=COLUMNS_ON_PAGE, cell=CELL_ON_PAGE)
        if result is not None and result.rows
        else None,
    )


# ── rows as a file ───────────────────────────────────────────────────────────────────────────────────────────────────


def csv_of(result: QueryResult) -> str:
    """Every row, in UTF-8 (RFC 4180): nothing for a missing value, ``""`` for an empty text, ISO 8601 for dates.

    A spreadsheet takes text that begins with ``=`` for a formula and runs it, so such text, unless it is a number,
    gets an apostrophe before it (https://owasp.org/www-community/attacks/CSV_Injection): data that is what it was for
    every reader, but for those few cells.
    """
    lines = [map(_quoted, result.columns), *(map(_written, row) for row in result.rows)]
    return "".join(f"{','.join(line) or NOTHING_ALONE}\r\n" for line in lines)


NOTHING_ALONE = '""'
"""The only cell of a row: readers skip empty lines."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def _written(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case str():
            return _quoted(cell)
        case _:
            return repr(cell)


def _quoted(text: str) -> str:
    first = normalize("NFKC", text[:1])[:1]  # some take the wide ones for the others
    if first and first in "=+-@\t\r\n" and not _NUMBER.fullmatch(text):
        text = f"'{text}"
    needs_quotes = not text or text != text.strip() or any(each in text for each in ',"\r\n')
    return '"' + text.replace('"', '""') + '"' if needs_quotes else text
