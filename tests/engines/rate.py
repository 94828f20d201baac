"""Deliveries a second with Celery on RabbitMQ and two workers: signed webhooks to a sink, the ledger written.

``python -m tests.engines.rate [10000]``; beside it, in the same run, the embedded engine with two processes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from sqlalchemy import func, insert, select

from channels.registry import destination
from scheduler.clock import system_clock
from scheduler.models import deliveries, subscriptions
from scheduler.recurrence import Recurrence
from scheduler.store.recurrences import take_up
from tests.crash.databases import postgresql_databases, postgresql_server
from tests.crash.ground import prepared
from tests.crash.ledger import Verdict, judge_by_verifier
from tests.crash.processes import REPOSITORY
from tests.engines.broker import broker
from tests.engines.stage import Stage, drive, staged, waiting

DELIVERIES = 10_000
ENDPOINTS = 200
"""Each is a destination of its own, to which a worker sends eight at once."""
AHEAD_SECONDS = 8
"""Until the occurrence: the rows are written by then."""
ROUNDS = 3
PATIENCE = 300.0


async def main(count: int) -> None:
    """Print the rates of both."""
    with tempfile.TemporaryDirectory(prefix="paperround-rate-") as name:
        folder = Path(name)
        for part in ("broker", "ground"):
            (folder / part).mkdir()
        with (
            postgresql_server(folder / "postgresql") as server,
            postgresql_databases(server)() as url,
            broker(folder / "broker") as node,
        ):
            async with prepared(folder / "ground", url, lease=30) as ground, _sink() as sink:
                await _measure(staged(ground, node.url), sink, count)


async def _measure(stage: Stage, sink: str, count: int) -> None:
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(stage.worker()) for _ in range(2)]
        await waiting(lambda: all("transport" in worker.said() for worker in workers))
        planner = await stack.enter_async_context(stage.planner())
        ticking = asyncio.create_task(drive(planner, _never, patience=PATIENCE * ROUNDS))
        began = sum(_cpu_seconds(worker.pid) for worker in workers)
        celery = await _rates(stage, sink, count)
        ticking.cancel()
        spent = sum(_cpu_seconds(worker.pid) for worker in workers) - began
    print("celery, two workers, deliveries/s:", *celery)
    print(f"CPU of the workers for 1,000 deliveries: {spent / (count * (ROUNDS - 0.9)) * 1000:.2f} s")
    async with _embedded(stage):
        embedded = await _rates(stage, sink, count)
    print("embedded, two processes, deliveries/s:", *embedded)
    verdict = Verdict()
    async with stage.ground.app() as app:
        await judge_by_verifier(app, verdict, now=system_clock())
    print(f"celery {median(celery)}/s, embedded {median(embedded)}/s; verify: {verdict.violations or 'clean'}")


def _cpu_seconds(pid: int) -> float:
    """User's and system's, of all its threads (proc(5), stat's 14th and 15th field)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _never() -> bool:
    return False


async def _rates(stage: Stage, sink: str, count: int) -> list[int]:
    """Of each round but the first, which warms the processes up and is shorter."""
    rates = []
    for number in range(ROUNDS):
        due_at = await _plant(stage, sink, count if number else count // 10)
        await waiting(stage.is_finished, patience=PATIENCE, look_every=0.5)
        rates.append(round(await _rate(stage, due_at)))
    return rates[1:]


@asynccontextmanager
async def _embedded(stage: Stage) -> AsyncIterator[None]:
    """The service and one further sending process."""
    command = (sys.executable, "-m", "scheduler.cli", "serve", "--port", "0", "--workers", "1", "--json")
    environ = {**stage.ground.environ, "PYTHONPATH": str(REPOSITORY)}
    with (stage.ground.folder / "serve.log").open("ab") as log:
        service = await asyncio.create_subprocess_exec(*command, cwd=stage.ground.folder, env=environ, stderr=log)
    try:
        yield
    finally:
        service.terminate()
        await service.wait()


async def _plant(stage: Stage, sink: str, count: int) -> datetime:
    """So many subscriptions, spread over the endpoints, all due in one instant."""
    ground, now = stage.ground, system_clock()
    due_at = (now + timedelta(seconds=AHEAD_SECONDS)).replace(microsecond=0)
    daily = Recurrence.parse(frequency="daily", start_date=due_at)
    first = len(ground.plan) + 1
    numbers = range(first, first + count)
    async with ground.app() as app, app.database.write() as tx:
        urls = [f"{sink}/{number}" for number in range(ENDPOINTS)]
        goes_to = [{"target_sealed": app.box.seal(url), "destination": destination("webhook", [url])} for url in urls]
        rows = [{**ground._row(number, daily, due_at, now=now), **goes_to[number % ENDPOINTS]} for number in numbers]
        await tx.execute(insert(subscriptions), rows)
        await take_up(tx, [(number, daily, due_at) for number in numbers], now=now)
    ground.plan |= dict.fromkeys(numbers, due_at)
    return due_at


async def _rate(stage: Stage, due_at: datetime) -> float:
    """By the ledger: from the instant they were due to the last record."""
    ended = select(func.count().label("total"), func.max(deliveries.c.finished_at).label("at"))
    async with stage.ground.app() as app, app.database.read() as connection:
        found = (await connection.execute(ended.where(deliveries.c.scheduled_at == due_at))).one()
    return float(found.total / (found.at - due_at).total_seconds())


@asynccontextmanager
async def _sink() -> AsyncIterator[str]:
    """A receiver that costs next to nothing, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.sink"), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else DELIVERIES))
