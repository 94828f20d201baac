"""Run what is due, once: open and send, wait for retries that fall due soon, leave the later ones, come back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from scheduler.delivery import RENEWAL, Runner

PATIENCE = timedelta(seconds=60)
"""A retry that falls due within this is waited for; ``--wait`` waits for all of them."""


async def run_due(runner: Runner, *, limit: int | None = None, patience: timedelta | None = PATIENCE) -> None:
    """Until nothing is in flight and nothing falls due within ``patience`` (None: ever).

    Safe beside a daemon and beside other one-shots: what another process holds is its own.
    """
    renewing = asyncio.create_task(_keep_leases(runner))
    try:
        while True:
            await runner.tick(limit=limit)
            if runner.in_flight:
                await runner.wake.wait()
                continue
            pause = await runner.seconds_to_next_retry()
            if pause is None or runner.stopping or (patience is not None and pause > patience.total_seconds()):
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(runner.wake.wait(), pause)
    finally:
        renewing.cancel()


async def _keep_leases(runner: Runner) -> None:
    while True:
        await asyncio.sleep(RENEWAL.total_seconds())
        await runner.renew_leases()
