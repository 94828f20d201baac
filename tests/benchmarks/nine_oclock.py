"""The nine o'clock spike: so many due in one instant among many more, and a project beside them with one.

The whole service is running; somebody reads lists through its API meanwhile. When was the first sent, how late was the
last per cent beside what the throughput alone would make of it, when did the single one go, how long did lists take?
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import httpx
from sqlalchemy import insert, literal, select, true, update

from scheduler.app import App, opened
from scheduler.demo.shop import DEMO_INSIGHTS
from scheduler.models import insights, subscriptions
from scheduler.subscriptions import target_columns
from tests.benchmarks import stage
from tests.benchmarks.figures import CPU, P50, P99, PEAK, Figure, Results
from tests.benchmarks.processes import Program, start
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
SETTLES = timedelta(seconds=10)
"""By then the service has started."""


def measure(sizes: Sizes, results: Results) -> None:
    due, among = sizes.spike
    with tempfile.TemporaryDirectory() as name, stage.sink() as port:
        folder = Path(name)
        for database, url in stage.urls(sizes.databases, folder).items():
            for processes in sizes.processes:
                case = f"{database}, {due:,} among {among:,}, {processes} sending"
                figures = asyncio.run(_spike(url, due, among, processes=processes, port=port, folder=folder))
                results.add(PART, case, figures)


async def _spike(url: str, due: int, among: int, *, processes: int, port: int, folder: Path) -> dict[Figure, float]:
    settings, hook = stage.settings_for(url), f"http://127.0.0.1:{port}/hook"
    await stage.prepare(settings, due, webhook=hook, folder=folder)
    async with opened(settings) as app:
        await _add_project_beside(app, due + 1, hook=hook, folder=folder)
        _, key = await app.keys.create(await app.owner(await app.project()), name="Bench", scopes=["*"])
        await _add_others(app, among - due - 1, ahead=app.clock() + timedelta(days=30))
        await stage.tidy(app)
        at = await _set_due(app, due + 1)
        command = (*stage.COMMAND, "serve", "--port", "0", "--workers", str(processes - 1), "--json")
        service = start(command, folder=folder, environ=stage.environ(url))
        try:
            took = await _lists_until_all_ended(app, service, due + 1, key=key, since=at)
        finally:
            service.stop()
    return _figures(await told(settings, project=1), await told(settings, project=2), took, service)


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


async def _add_others(app: App, count: int, *, ahead: datetime) -> None:
    """The rest of the first project's subscriptions, which are not due yet; with one statement."""
    async with app.database.write() as tx:
        numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
        numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < count))
        last = (await tx.execute(select(subscriptions.c.id).order_by(subscriptions.c.id.desc()).limit(1))).scalar_one()
        one = select(subscriptions).where(subscriptions.c.id == 1).subquery()
        given = {column.name: one.c[column.name] for column in subscriptions.columns}
        given |= {"id": numbers.c.n + last, "next_delivery_date": literal(ahead, subscriptions.c.start_date.type)}
        rows = select(*given.values()).select_from(one.join(numbers, true()))
        await tx.execute(insert(subscriptions).from_select(list(given), rows))


async def _set_due(app: App, last: int) -> datetime:
    """Everything up to this one falls due at one instant, which is soon."""
    at = app.clock() + SETTLES
    async with app.database.write() as tx:
        await tx.execute(update(subscriptions).where(subscriptions.c.id <= last).values(next_delivery_date=at))
    return at


# ── meanwhile ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _lists_until_all_ended(app: App, service: Program, due: int, *, key: str, since: datetime) -> list[float]:
    """Seconds of each list that was asked for from then on, five a second."""
    took: list[float] = []
    path = "/api/projects/1/subscriptions?limit=100"
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=60) as client:
        address = await _address(service)
        until = time.monotonic() + 120 + due / 50
        while time.monotonic() < until:
            began = time.perf_counter()
            answer = await client.get(f"{address}{path}")
            answer.raise_for_status()
            if app.clock() >= since:
                took.append(time.perf_counter() - began)
                if await ended(app) >= due:
                    return took
            if service.look():
                break
            await asyncio.sleep(ASKS_EVERY)
    sys.exit(f"not all {due} were sent in time\n{service.log.read_text()[-2000:]}")


async def _address(service: Program) -> str:
    """Where the service listens, as its log says."""
    for _ in range(600):
        for line in service.log.read_text().splitlines():
            with suppress(ValueError):
                said = json.loads(line)
                if said.get("event") == "service.listening":
                    return f"http://127.0.0.1:{said['port']}"
        await asyncio.sleep(0.1)
    sys.exit(f"the service did not start\n{service.log.read_text()[-2000:]}")
