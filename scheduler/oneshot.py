"""Run what is due, once: open and send, wait for retries that fall due soon, leave the later ones, come back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from scheduler.db import first_line
from scheduler.delivery import Runner
from scheduler.errors import PaperroundError

log = structlog.get_logger()

PATIENCE = timedelta(seconds=60)
"""A retry that falls due within this is waited for; ``--wait`` waits for all of them."""
GRACE = timedelta(seconds=30)
"""What sends in flight get when the run is told to stop, or cannot go on."""


async def run_due(runner: Runner, *, limit: int | None = None, patience: timedelta | None = PATIENCE) -> None:
    """Until nothing is in flight and nothing falls due within ``patience`` (None: ever), or until SIGTERM.

    Safe beside a daemon and beside other one-shots: what another process holds is its own. However it ends, sends in
    flight finish first, and what was not started is given back.
    """
    await runner.renew_leases()
    renewing = asyncio.create_task(keep_leases(runner))
    try:
        with _stopping_at_signals(runner):
            while not runner.stopping:
                await runner.tick(limit=limit)
                pause = 0.0 if runner.in_flight else await runner.seconds_to_next_retry()
                if pause is None or (patience is not None and pause > patience.total_seconds()):
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(runner.wake.wait(), None if runner.in_flight else pause)
    finally:
        await runner.stop(grace=GRACE)
        renewing.cancel()


async def keep_leases(runner: Runner) -> None:
    """Renew again and again, until cancelled: for whoever drives a runner without a daemon."""
    while True:
        await asyncio.sleep(runner.renewal.total_seconds())
        try:
            await runner.renew_leases()
        except (PaperroundError, SQLAlchemyError, OSError) as problem:
            log.error("leases.not_renewed", problem=first_line(problem), hint="tried again")  # noqa: TRY400


@contextmanager
def _stopping_at_signals(runner: Runner) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        runner.stopping = True
        runner.wake.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
