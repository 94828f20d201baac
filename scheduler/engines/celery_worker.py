"""Celery's worker: ``celery --app scheduler.engines.celery_worker worker --pool threads --concurrency 8``.

Tasks come in threads (or in forked processes); their deliveries are sent in one event loop of the process, which lives
as long as it, so that connections, templates and what is kept in memory are used again.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import Future, wait
from functools import cache
from typing import Any
from uuid import UUID

import structlog
from celery import Celery, Task
from celery.exceptions import Reject
from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down
from sqlalchemy.exc import SQLAlchemyError

from scheduler import logs
from scheduler.app import opened
from scheduler.db import first_line
from scheduler.delivery import Runner
from scheduler.engines.celery_app import EXECUTE, celery_app
from scheduler.errors import DatabaseUnavailable, PaperroundError
from scheduler.oneshot import GRACE, keep_leases
from scheduler.settings import Settings, load_settings

log = structlog.get_logger()

LINGER_SECONDS = 2.0
"""So long a message has its thread to itself."""
LINGERING = 32
"""Messages that go on without one, at most."""


def __getattr__(name: str) -> Celery:
    """``app``, which Celery's command asks for: importing this module reads no setting yet."""
    if name != "app":
        raise AttributeError(name)
    try:
        return _app()
    except PaperroundError as problem:
        _give_up(problem)


@cache
def _app() -> Celery:
    settings = load_settings()
    app = celery_app(settings.broker_url.get_secret_value(), lease_seconds=settings.lease_seconds)
    hands = Hands(settings)

    @app.task(name=EXECUTE, bind=True)  # type: ignore[untyped-decorator]
    def execute(self: Task, ids: list[str]) -> None:
        hands.execute([UUID(id_) for id_ in ids], run_id=f"celery-{self.request.id}")

    setup_logging.connect(_log, weak=False)
    worker_init.connect(hands.look_before_start, weak=False)
    worker_shutting_down.connect(hands.stop, weak=False)
    worker_shutdown.connect(hands.close, weak=False)
    return app


class Hands:
    """What a worker's process sends with: an event loop in a thread, made when the first message comes.

    Not before: with a pool of processes each has its own, after the fork.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._starting = threading.Lock()
        self._living: tuple[asyncio.AbstractEventLoop, Runner] | None = None
        self._end: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._lingering = threading.Semaphore(LINGERING)

    def look_before_start(self, **_: Any) -> None:
        """Key, schema and whose ledger it is, before the first message: what does not fit is one line and the end."""
        try:
            asyncio.run(self._look())
        except PaperroundError as problem:
            _give_up(problem)

    async def _look(self) -> None:
        async with opened(self._settings) as app:
            await app.ready_to_deliver()

    def execute(self, ids: list[UUID], *, run_id: str) -> None:
        """In one of Celery's threads: wait until the loop has done what can be done now."""
        try:
            loop, runner = self._alive()
            self._wait(asyncio.run_coroutine_threadsafe(runner.execute(ids, run_id=run_id), loop))
        except (PaperroundError, SQLAlchemyError, OSError) as problem:
            hint = "what stays ready is dispatched again"
            log.error("message.not_executed", count=len(ids), problem=first_line(problem), hint=hint)  # noqa: TRY400
        if self._stopping:
            raise Reject("stopping", requeue=True)  # for another worker; what is done costs it a look

    def _wait(self, going_on: Future[None]) -> None:
        """Until it is done; but the rest of a message to slow destinations goes on without one of Celery's threads.

        Such a message counts as taken: if this process dies, its ids are ready, and dispatched again.
        """
        wait([going_on], LINGER_SECONDS)
        if going_on.done() or not self._lingering.acquire(blocking=False):
            return going_on.result()
        going_on.add_done_callback(self._lingered)
        return None

    def _lingered(self, gone_on: Future[None]) -> None:
        self._lingering.release()
        if not gone_on.cancelled() and (problem := gone_on.exception()) is not None:
            log.error("message.not_executed", problem=first_line(problem), hint="what stays ready is dispatched again")

    def stop(self, **_: Any) -> None:
        """SIGTERM: start no further send, and give back what was claimed for one."""
        self._stopping = True
        if self._living is not None:
            self._living[1].stopping = True

    def close(self, **_: Any) -> None:
        """After the last message."""
        if self._living is not None and self._end is not None and self._thread is not None:
            self._living[0].call_soon_threadsafe(self._end.set)
            self._thread.join(GRACE.total_seconds())

    def _alive(self) -> tuple[asyncio.AbstractEventLoop, Runner]:
        with self._starting:
            if self._living is None:
                started: Future[tuple[asyncio.AbstractEventLoop, Runner]] = Future()
                self._thread = threading.Thread(target=self._run, args=(started,), name="hands", daemon=True)
                self._thread.start()
                self._living = started.result()
                self._living[1].stopping = self._stopping
            return self._living

    def _run(self, started: Future[tuple[asyncio.AbstractEventLoop, Runner]]) -> None:
        try:
            asyncio.run(self._live(started))
        except Exception as problem:
            if started.done():
                raise
            started.set_exception(problem)

    async def _live(self, started: Future[tuple[asyncio.AbstractEventLoop, Runner]]) -> None:
        self._end = asyncio.Event()
        async with opened(self._settings) as app:
            runner = app.runner()
            renewing = asyncio.create_task(keep_leases(runner))
            started.set_result((asyncio.get_running_loop(), runner))
            await self._end.wait()
            await runner.stop(grace=GRACE)
            renewing.cancel()


def _log(**_: Any) -> None:
    """Our way of logging instead of Celery's."""
    logs.configure(level="info")


def _give_up(problem: PaperroundError) -> Any:
    """2: a mistake, which starting again does not mend; 1: a database that is away, which it does."""
    print(f"paperround: {problem}", file=sys.stderr)
    raise SystemExit(1 if isinstance(problem, DatabaseUnavailable) else 2) from None
