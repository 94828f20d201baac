"""The nine o'clock spike: so many due in one instant among many more, and a project beside them with one.

The whole service is running; somebody reads lists through its API meanwhile. When was the first sent, how late was the
last per cent beside what the throughput alone would make of it, when did the single one go, how long did lists take?
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from datetime import timedelta
from itertools import product
from pathlib import Path

import httpx
from sqlalchemy import insert, literal, select, true

from scheduler.app import App, opened
from scheduler.demo.shop import DEMO_INSIGHTS
from scheduler.models import insights, subscriptions
from scheduler.subscriptions import target_columns
from tests.benchmarks import stage
from tests.benchmarks.figures import CPU, P50, P99, PEAK, Figure, Results
from tests.benchmarks.processes import Program
from tests.benchmarks.service import Service, serving, set_due
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.told import Told, ended, told

PART = "spike"
FIRST = Figure("first sent s", "s")
DRAINED = Figure("due ÷ throughput s", "s")
AGAINST = Figure("p99 ÷ (due ÷ throughput)", "×")
ALONE = Figure("single one sent s", "s")
API = Figure("API p95 ms", "ms")
ASKED = Figure("API requests", "")
ASKS_EVERY = 0.2
WARM_UP = 3


def measure(sizes: Sizes, results: Results) -> None:
    due, among = sizes.spike
    with tempfile.TemporaryDirectory() as name, stage.sink() as port:
        folder = Path(name)
        for database, url in stage.urls(sizes.databases, folder).items():
            for _, processes in product(range(sizes.repeats), sizes.processes):
                case = f"{database}, {due:,} among {among:,}, {processes} sending"
                figures = asyncio.run(_spike(url, due, among, processes=processes, port=port, folder=folder))
                results.add(PART, case, figures)


async def _spike(url: str, due: int, among: int, *, processes: int, port: int, folder: Path) -> dict[Figure, float]:
    settings, hook = stage.settings_for(url), f"http://127.0.0.1:{port}/hook"
    await stage.prepare(settings, due, webhook=hook, folder=folder, ahead=timedelta(days=30))
    async with opened(settings) as app:
        await _add_project_beside(app, due + 1, hook=hook, folder=folder)
        await _add_others(app, among - due - 1)
        await stage.tidy(app)
        _, key = await app.keys.create(await app.owner(await app.project()), name="Bench", scopes=["*"])
        with serving(url, folder, processes=processes) as service:
            took = await _lists_until_all_ended(app, service, due + 1, key=key)
    return _figures(await told(settings, project=1), await told(settings, project=2), took, service.program)


def _figures(many: Told, one: Told, took: list[float], service: Program) -> dict[Figure, float]:
    drained = many.sent / many.middle_rate
    return {
        FIRST: many.late(0),
        P50: many.late(0.5),
        P99: many.late(0.99),
        DRAINED: drained,
        AGAINST: many.late(0.99) / drained,
        ALONE: one.late(0),
        API: 1000 * sorted(took)[round(0.95 * (len(took) - 1))],
        ASKED: len(took),
        CPU: 1000 * service.cpu_seconds / many.sent,
        PEAK: service.peak_mib,
    }


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def _add_project_beside(app: App, number: int, *, hook: str, folder: Path) -> None:
    """Another project, with one subscription, which comes last in every order."""
    async with app.database.read() as connection:
        insight = (await connection.execute(select(insights.c.id).where(insights.c.project_id == 2))).scalar()
    if insight is None:
        first = await app.project()
        project = await app.projects.add(first.organisation_id, "Beside", timezone="UTC")
        source = await app.catalog.add_source(project, "Shop", f"sqlite:///{folder / 'shop.db'}")
        shown = DEMO_INSIGHTS[0]
        added = await app.catalog.add_insight(
            project, shown.name, source=source.id, sql=shown.sql, display=shown.display
        )
        insight = added.id
    async with app.database.write() as tx:
        pattern = (await tx.execute(select(subscriptions).limit(1))).one()._asdict()
        target = target_columns(app.subscriptions.target("webhook", f"{hook}/beside"))
        row = {**pattern, **target, "id": number, "project_id": 2, "insight_id": insight}
        await tx.execute(insert(subscriptions), [row])


async def _add_others(app: App, count: int) -> None:
    """The rest of the first project's subscriptions, which are not due yet; with one statement."""
    async with app.database.write() as tx:
        numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
        numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < count))
        last = (await tx.execute(select(subscriptions.c.id).order_by(subscriptions.c.id.desc()).limit(1))).scalar_one()
        one = select(subscriptions).where(subscriptions.c.id == 1).subquery()
        given = {column.name: one.c[column.name] for column in subscriptions.columns} | {"id": numbers.c.n + last}
        rows = select(*given.values()).select_from(one.join(numbers, true()))
        await tx.execute(insert(subscriptions).from_select(list(given), rows))


# ── meanwhile ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _lists_until_all_ended(app: App, service: Service, due: int, *, key: str) -> list[float]:
    """Let it all fall due; seconds of each list that was asked for from then on, some five a second."""
    took: list[float] = []
    asked = f"{service.address}/api/projects/1/subscriptions?limit=100"
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=60) as client:
        for _ in range(WARM_UP):
            await client.get(asked)
        at = await set_due(app, due)
        while app.clock() < at + timedelta(seconds=120 + due / 50):
            began = time.perf_counter()
            (await client.get(asked)).raise_for_status()
            if app.clock() >= at:
                took.append(time.perf_counter() - began)
                if await ended(app) >= due:
                    return took
            service.look()
            await asyncio.sleep(ASKS_EVERY)
    sys.exit(f"not all {due} were sent in time\n{service.program.log.read_text()[-2000:]}")
