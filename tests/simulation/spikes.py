"""The whole service with a spike: so many webhooks due in one instant, sent by one process or two."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select, update

from scheduler.app import App, opened
from scheduler.models import attempts, deliveries, delivery_recipients, subscriptions
from scheduler.settings import load_settings
from scheduler.status import DeliveryStatus
from tests.benchmarks.stage import KEY, prepare
from tests.simulation.figures import Spike
from tests.simulation.processes import (
    busy_seconds,
    children,
    cpu_seconds,
    cpu_seconds_of_family,
    memory_mib,
    postgres_processes,
    sink_process,
)

SETTLED = timedelta(seconds=12)
"""By then the service has started, and rests."""
LOOKS_EVERY = 0.25


@dataclass(slots=True)
class Resting:
    """MiB of a service that has nothing to do: the least that was seen."""

    mib: float = float("inf")


async def measure_spike(url: str, due: int, processes: int, *, port: int, folder: Path, resting: Resting) -> Spike:
    """Run ``serve`` with so many sending processes in all until everything due has been sent."""
    settings = load_settings(database_url=url, secret_key=KEY, allow_hosts="127.0.0.1")
    await prepare(settings, due, webhook=f"http://127.0.0.1:{port}/hook", folder=folder)
    async with opened(settings) as app:
        at = app.clock() + SETTLED
        async with app.database.write() as tx:
            for table in (attempts, delivery_recipients, deliveries):
                await tx.execute(table.delete())
            await tx.execute(update(subscriptions).values(next_delivery_date=at))
        service = _serve(url, workers=processes - 1, folder=folder)
        try:
            await _until(app, at - timedelta(seconds=0.2))
            before = _used(service.pid, folder)
            resting.mib = min(resting.mib, memory_mib(service.pid, "VmRSS"))
            await _until_all_ended(app, due)
            used = {name: now - before[name] for name, now in _used(service.pid, folder).items()}
            peak = max(memory_mib(pid, "VmHWM") for pid in (service.pid, *children(service.pid)))
        finally:
            service.terminate()
            await asyncio.to_thread(service.wait)
        late = await _lateness(app, at)
    name = "sqlite" if app.database.is_sqlite else "postgresql"
    if len(late) != due:
        sys.exit(f"{name}: {len(late)} of {due} were sent; look at the service's log")
    return Spike(
        database=name,
        processes=processes,
        due=due,
        per_second=due / late[-1],
        cpu_per_1000=1000 * used["service"] / due,
        first=late[0],
        p50=late[len(late) // 2],
        p99=late[int(0.99 * len(late))],
        peak_mib=peak,
        others=max(0.0, used["machine"] - used["service"] - used["beside"]) / used["clock"],
    )


def _used(service: int, folder: Path) -> dict[str, float]:
    """Seconds: of the service's CPU, of what belongs to the run beside it, of the whole machine, of the clock."""
    beside = cpu_seconds(sink_process()) + time.process_time()
    if (folder / "postgres" / "postmaster.pid").exists():
        beside += sum(cpu_seconds(pid) for pid in postgres_processes(folder / "postgres"))
    own = cpu_seconds_of_family(service)
    return {"service": own, "beside": beside, "machine": busy_seconds(), "clock": time.perf_counter()}


def _serve(url: str, *, workers: int, folder: Path) -> subprocess.Popen[bytes]:
    settings = {"DATABASE_URL": url, "SECRET_KEY": KEY, "ALLOW_HOSTS": "127.0.0.1"}
    environ = {**os.environ, **{f"PAPERROUND_{name}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "scheduler.cli", "serve", "--port", "0", "--workers", str(workers), "--json"]
    with (folder / "service.log").open("w") as log:
        return subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)


async def _until(app: App, at: datetime) -> None:
    while (left := (at - app.clock()).total_seconds()) > 0:
        await asyncio.sleep(left)


async def _until_all_ended(app: App, due: int) -> None:
    ended = select(func.count()).where(deliveries.c.status != DeliveryStatus.STARTING)
    patience = time.monotonic() + 60 + due / 50
    while time.monotonic() < patience:
        async with app.database.read() as connection:
            if (await connection.execute(ended)).scalar_one() == due:
                return
        await asyncio.sleep(LOOKS_EVERY)


async def _lateness(app: App, at: datetime) -> list[float]:
    """Seconds from the due instant until each was sent, the least first."""
    async with app.database.read() as connection:
        sent = await connection.execute(
            select(delivery_recipients.c.sent_at).where(delivery_recipients.c.sent_at.is_not(None))
        )
        return sorted((each - at).total_seconds() for each in sent.scalars())
