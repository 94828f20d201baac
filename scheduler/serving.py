"""The service's process: the daemon and the web server side by side, one life."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta

import structlog
import uvicorn

from scheduler.app import App
from scheduler.daemon import Daemon
from scheduler.errors import ConfigurationError
from scheduler.web import web_app

log = structlog.get_logger()


class _Server(uvicorn.Server):
    """uvicorn, without its signal handlers: the daemon decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_until_stopped(
    app: App, *, host: str, port: int, notify: Callable[[str], object], watchdog: timedelta | None
) -> None:
    """Listen, tick, and stop in order: the ticks first, then the web server."""
    daemon = Daemon(app.runner(), database=app.database, clock=app.clock, notify=notify, watchdog=watchdog)
    web = web_app(subscriptions=app.subscriptions, links=app.links, is_alive=daemon.is_alive)
    with _listening(host, port) as listener:
        server = _Server(
            uvicorn.Config(web, log_level="warning", access_log=False, lifespan="off", server_header=False)
        )
        answering = asyncio.create_task(server.serve(sockets=[listener]))
        log.info("service.listening", host=host, port=listener.getsockname()[1])
        try:
            await daemon.run()
        finally:
            server.should_exit = True
            await answering


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
