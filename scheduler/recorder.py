"""Outcomes arrive one by one and are written in batches: by size or by time, whichever is first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

import structlog
from sqlalchemy.exc import InternalError, OperationalError

from scheduler.db import first_line
from scheduler.errors import DatabaseUnavailable

Item = TypeVar("Item")
log = structlog.get_logger()

SIZE = 500
WITHIN_SECONDS = 0.02
RETRY_SECONDS = 1.0


class Recorder(Generic[Item]):
    """Gathers items while a batch is being written; :meth:`put` returns when its item is safely in the database.

    While the database does not answer (locked, disk full, gone for a moment) a batch is kept and tried again: outcomes
    that were observed are not thrown away. The leases are kept meanwhile, so nobody else repeats the sends.
    """

    def __init__(self, write: Callable[[list[Item]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._full = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None

    async def put(self, item: Item) -> None:
        """Have the item written with its neighbours."""
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if len(self._waiting) >= SIZE:
            self._full.set()
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        await written

    async def _flush(self) -> None:
        while self._waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), WITHIN_SECONDS)
            self._full.clear()
            batch, self._waiting = self._waiting, []
            problem = await self._written(batch)
            if problem is None or len(batch) == 1:
                _tell(batch, problem)  # None, or a bug of ours: whoever waits hears of it
                continue
            for one in batch:
                _tell([one], await self._written([one]))

    async def _written(self, batch: list[tuple[Item, asyncio.Future[None]]]) -> BaseException | None:
        writing = self._write_until_written([item for item, _ in batch])
        [problem] = await asyncio.gather(writing, return_exceptions=True)
        return problem

    async def _write_until_written(self, items: list[Item]) -> None:
        while True:
            try:
                return await self._write(items)
            except (OperationalError, InternalError, DatabaseUnavailable) as problem:
                problem_in_short = first_line(problem)  # the statement would show what is being recorded
                log.error("outcomes.not_recorded", count=len(items), problem=problem_in_short)  # noqa: TRY400
                await asyncio.sleep(RETRY_SECONDS)


def _tell(batch: list[tuple[Item, asyncio.Future[None]]], problem: BaseException | None) -> None:
    for _, written in batch:
        if written.done():
            continue
        if problem is None:
            written.set_result(None)
        else:
            written.set_exception(problem)
