"""What a delivery shows: computed once per insight however many deliveries show it, kept, drawn once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog

from channels.base import Entry, Export
from scheduler.charts import chart_spec
from scheduler.clock import Clock
from scheduler.db import Database
from scheduler.pictures import NotDrawn, Pictures
from scheduler.render import entry_of, export_of
from scheduler.sealing import Box
from scheduler.snapshot import InsightSnapshot, QueryError, QueryResult
from scheduler.sources import run_query
from scheduler.store import catalog, exports

log = structlog.get_logger()

KEPT = 32
"""Insights kept in memory at once; older ones are computed, or read from the ledger, again."""
QUERIES_AT_ONCE = 4
DRAWINGS_AT_ONCE = 1
"""One process draws; to make ready what it cannot draw yet would only take memory."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One insight as a delivery shows it, and under which id the ledger keeps that."""

    export_id: int
    snapshot: InsightSnapshot
    export: Export
    entry: Entry
    """The same for programs."""


@dataclass(slots=True)
class _Kept:
    asked_at: datetime
    snapshot: asyncio.Task[tuple[int, InsightSnapshot]]
    in_words: Shown | None = None
    drawing: asyncio.Task[Export] | None = None


class Content:
    """Insights as they are now (:meth:`show`) or as they were then (:meth:`show_again`)."""

    def __init__(self, database: Database, box: Box, clock: Clock, *, pictures: Pictures, keeps: bool = True) -> None:
        """``keeps=False``: the ledger is not told what was shown (a rehearsal)."""
        self._keeps = keeps
        self._database = database
        self._box = box
        self._clock = clock
        self._pictures = pictures
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._querying = asyncio.Semaphore(QUERIES_AT_ONCE)
        self._drawing = asyncio.Semaphore(DRAWINGS_AT_ONCE)

    async def show(self, insight_ids: tuple[int, ...], *, as_of: datetime, drawn: bool) -> list[Shown]:
        """Each insight's rows, no older than ``as_of``; with a picture where one is wanted (``drawn``).

        Deliveries of the same instant share one query and one drawing. A failing insight shows why; it does not raise.
        """
        kept = [self._fresh(insight_id, as_of) for insight_id in insight_ids]
        return [await self._shown(each, drawn=drawn) for each in kept]

    async def show_again(self, export_ids: tuple[int, ...], *, drawn: bool) -> list[Shown]:
        """What an earlier attempt showed: a repeated message is the same message."""
        kept = [self._from_ledger(export_id) for export_id in export_ids]
        return [await self._shown(each, drawn=drawn) for each in kept]

    def _fresh(self, insight_id: int, as_of: datetime) -> _Kept:
        entry = self._kept.get(("now", insight_id))
        if entry is None or entry.asked_at < as_of:
            return self._keep(("now", insight_id), lambda: self._compute(insight_id))
        return entry

    def _from_ledger(self, export_id: int) -> _Kept:
        return self._kept.get(("then", export_id)) or self._keep(("then", export_id), lambda: self._load(export_id))

    def _keep(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, tuple[int, InsightSnapshot]]]) -> _Kept:
        entry = self._kept[key] = _Kept(self._clock(), asyncio.create_task(make()))
        self._kept.move_to_end(key)
        entry.snapshot.add_done_callback(lambda task: self._forget_failed(key, task))
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return entry

    def _forget_failed(self, key: Hashable, task: asyncio.Task[tuple[int, InsightSnapshot]]) -> None:
        if (task.cancelled() or task.exception()) and (entry := self._kept.get(key)) and entry.snapshot is task:
            del self._kept[key]

    async def _compute(self, insight_id: int) -> tuple[int, InsightSnapshot]:
        async with self._database.read() as connection:
            insight, sealed = await catalog.query_of(connection, insight_id)
        async with self._querying:
            answer = await run_query(self._box.open(sealed), insight.sql, now=self._clock())
        snapshot = InsightSnapshot(
            insight_id=insight.id,
            short_id=insight.short_id,
            name=insight.name,
            description=insight.description,
            display=insight.display,
            result=answer if isinstance(answer, QueryResult) else None,
            error=answer if isinstance(answer, QueryError) else None,
        )
        if not self._keeps:
            return 0, snapshot
        async with self._database.write() as tx:
            return await exports.save_export(tx, snapshot, now=self._clock()), snapshot

    async def _load(self, export_id: int) -> tuple[int, InsightSnapshot]:
        async with self._database.read() as connection:
            return export_id, await exports.load_export(connection, export_id)

    async def _shown(self, kept: _Kept, *, drawn: bool) -> Shown:
        if kept.in_words is None:
            computed = await asyncio.shield(kept.snapshot)
            kept.in_words = kept.in_words or self._in_words(kept, *computed)  # many waited for it
        shown = kept.in_words
        if not drawn:
            return shown
        if kept.drawing is None:
            kept.drawing = asyncio.create_task(self._draw(shown.snapshot))
        return replace(shown, export=await asyncio.shield(kept.drawing))

    def _in_words(self, kept: _Kept, export_id: int, snapshot: InsightSnapshot) -> Shown:
        self._kept.setdefault(("then", export_id), kept)  # the next recipients are shown the same
        return Shown(export_id, snapshot, export_of(snapshot), entry_of(snapshot))

    async def _draw(self, snapshot: InsightSnapshot) -> Export:
        """One that cannot be drawn costs its own picture; it is not tried again for each delivery that shows it."""
        async with self._drawing:
            spec = await asyncio.to_thread(chart_spec, snapshot)
            try:
                return export_of(snapshot, image=None if spec is None else await self._pictures.png(spec))
            except NotDrawn as problem:
                log.error("picture.not_drawn", insight_id=snapshot.insight_id, problem=str(problem))  # noqa: TRY400
                return export_of(snapshot)
