"""The service's process: the daemon and the web server side by side, one life."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta

import structlog
import uvicorn
from fastapi import FastAPI

from scheduler.api.serving import add_api
from scheduler.app import App
from scheduler.daemon import Daemon
from scheduler.engines.planning import Planner
from scheduler.errors import ConfigurationError
from scheduler.mcp.door import add_mcp
from scheduler.metrics import Metrics
from scheduler.web import web_app
from scheduler.web.shared import add_shared_pages
from scheduler.workers import Workers, standard_input_ended

log = structlog.get_logger()


class _Server(uvicorn.Server):
    """uvicorn, without its signal handlers: the daemon decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_until_stopped(
    app: App, *, host: str, port: int, workers: int, notify: Callable[[str], object], watchdog: timedelta | None
) -> None:
    """Listen, tick, and stop in order: the ticks and the sending processes first, then the web server."""
    planner = app.planner()
    if workers and isinstance(planner, Planner):
        raise ConfigurationError(
            "--workers starts sending processes of the embedded engine; with PAPERROUND_ENGINE=celery start them with "
            "`celery --app scheduler.engines.celery_worker worker --pool threads`"
        )
    sending = Workers(workers)
    daemon = Daemon(
        planner,
        database=app.database,
        clock=app.clock,
        notify=notify,
        watchdog=watchdog,
        on_stopping=sending.terminate,
        verify=app.verify_daily,
        on_set_back=app.follow_clock,
    )
    web = all_pages(
        app, is_alive=daemon.is_alive, trouble=lambda: planner.trouble if isinstance(planner, Planner) else None
    )
    with _listening(host, port) as listener:
        server = _Server(
            uvicorn.Config(
                web,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        answering = asyncio.create_task(server.serve(sockets=[listener]))
        log.info(
            "service.listening",
            host=host,
            port=listener.getsockname()[1],
            links_point_to=app.settings.base_url,  # PAPERROUND_BASE_URL
        )
        sending.start()
        keep_what_is_there()
        try:
            await daemon.run()
        finally:
            await sending.ended()
            server.should_exit = True
            await answering


def all_pages(
    app: App, *, is_alive: Callable[[], Awaitable[bool]], trouble: Callable[[], str | None] = lambda: None
) -> FastAPI:
    """Everything that the service answers over HTTP."""
    metrics = Metrics(app.database, app.clock)
    web = web_app(
        subscriptions=app.subscriptions, links=app.links, is_alive=is_alive, metrics=metrics.page, trouble=trouble
    )
    add_shared_pages(web, app.visits, base_url=app.settings.base_url)
    add_api(web, app)
    add_mcp(web, app)
    return web


def keep_what_is_there() -> None:
    """Modules, routes, schemas: what was made to stay is not looked through for garbage again and again.

    With it, each full collection takes a tenth of a second, and one is due every few lists.
    Source: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.collect()
    gc.freeze()


async def send_until_stopped(app: App) -> None:
    """What a sending process does: the same ticks, no web server; it ends with the service that started it."""
    keep_what_is_there()
    daemon = Daemon(app.runner(), database=app.database, clock=app.clock)
    orphaned = asyncio.create_task(standard_input_ended())
    orphaned.add_done_callback(lambda _: daemon.stop())
    await daemon.run()
    orphaned.cancel()


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as problem:
        hint = (
            "another service has it; choose another with --port"
            if problem.errno == errno.EADDRINUSE
            else problem.strerror
        )
        raise ConfigurationError(f"cannot listen on {host} port {port}: {hint}") from None
    with listener:
        yield listener
