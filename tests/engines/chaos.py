"""Workers and broker killed -9 again and again, messages lost on the way: nothing may be lost or sent without its key.

``python -m tests.engines.chaos [4000]``
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.databases import postgresql_databases, postgresql_server
from tests.crash.ground import prepared
from tests.crash.ledger import judge
from tests.crash.processes import seeded
from tests.engines.broker import Broker, broker
from tests.engines.stage import Dropping, Stage, Worker, drive, staged

DELIVERIES = 4_000
WORKERS = 2
DROPPED = 0.05
"""Of all messages, those that never reach the broker."""
LEASE = 5
WORKER_LIVES = (7.0, 16.0)
"""Seconds from a worker's start to its death: the first of them go by before it sends."""
BROKER_LIVES = (12.0, 24.0)
PATIENCE = 900.0


@dataclass
class Deaths:
    """What was killed, and how often."""

    count: Counter[str] = field(default_factory=Counter)


async def main(count: int) -> int:
    """The whole run; 0 when everything is true."""
    with tempfile.TemporaryDirectory(prefix="paperround-chaos-") as name:
        folder = Path(name)
        for part in ("broker", "ground"):
            (folder / part).mkdir()
        with (
            postgresql_server(folder / "postgresql") as server,
            postgresql_databases(server)() as url,
            broker(folder / "broker") as node,
        ):
            async with prepared(folder / "ground", url, lease=LEASE) as ground:
                return await _chaos(staged(ground, node.url), node, count)


async def _chaos(stage: Stage, node: Broker, count: int) -> int:
    chance, deaths, began = seeded(8420), Deaths(), time.monotonic()
    async with stage.planner() as planner, stage.worker() as one, stage.worker() as two:
        dropping = Dropping(planner.engine, DROPPED, chance)
        planner.engine = dropping
        killers = [asyncio.create_task(_kill_worker(worker, chance, deaths)) for worker in (one, two)]
        killers.append(asyncio.create_task(_kill_broker(node, chance, deaths)))
        await stage.plant(count)
        try:
            await drive(planner, stage.is_finished, patience=PATIENCE)
        finally:
            for killer in killers:
                killer.cancel()
            await asyncio.gather(*killers, return_exceptions=True)
    took = time.monotonic() - began
    return await _report(stage, deaths, dropped=dropping.dropped, took=took)


async def _kill_worker(worker: Worker, chance: random.Random, deaths: Deaths) -> None:
    while True:
        await asyncio.sleep(chance.uniform(*WORKER_LIVES))
        await worker.kill()
        deaths.count["worker"] += 1
        await worker.start()


async def _kill_broker(node: Broker, chance: random.Random, deaths: Deaths) -> None:
    while True:
        await asyncio.sleep(chance.uniform(*BROKER_LIVES))
        node.kill()
        deaths.count["broker"] += 1
        await asyncio.to_thread(node.start)


async def _report(stage: Stage, deaths: Deaths, *, dropped: int, took: float) -> int:
    verdict = await judge(stage.ground, [], at_once=None)
    keys = stage.keys()
    figures = {
        "seconds": round(took),
        "workers killed": deaths.count["worker"],
        "brokers killed": deaths.count["broker"],
        "messages dropped": dropped,
        "sent": len(set(keys)),
        "repeated with their keys": len(keys) - len(set(keys)),
        **verdict.figures,
    }
    for name, figure in figures.items():
        print(f"{name:40} {figure}")
    for violation in verdict.violations:
        print(f"VIOLATED: {violation}")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else DELIVERIES)))
