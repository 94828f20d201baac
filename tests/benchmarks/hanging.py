"""Half of all endpoints hang for 15 seconds; how late is the healthy half?

``python -m tests.benchmarks.hanging [ENDPOINTS …]``. All fall due at the same moment. Lateness is from that moment to
the recorded acceptance.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from sqlalchemy import insert, select

from scheduler.app import App, initialise, opened
from scheduler.clock import system_clock
from scheduler.daemon import Daemon
from scheduler.demo.shop import DEMO_INSIGHTS, create_shop
from scheduler.models import deliveries, delivery_recipients, recurrences, subscriptions
from scheduler.settings import load_settings
from scheduler.subscriptions import target_columns
from tests.benchmarks.stage import KEY, sink


async def measure(endpoints: int) -> list[float]:
    """Seconds of lateness of each healthy endpoint's delivery."""
    with sink() as port, tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            database_url=f"sqlite:///{folder}/paperround.db", secret_key=KEY, allow_hosts="127.0.0.1"
        )
        await initialise(settings, project="Bench", owner_email="bench@example.org")
        async with opened(settings) as app:
            await _prepare(app, endpoints, url=f"http://127.0.0.1:{port}", folder=Path(folder))
            daemon = Daemon(app.runner(), database=app.database, clock=app.clock)
            running = asyncio.create_task(daemon.run())
            while len(found := await _lateness(app)) < endpoints // 2:
                await asyncio.sleep(0.5)
            daemon.stop()
            await running
            return found


async def _prepare(app: App, endpoints: int, *, url: str, folder: Path) -> None:
    project, due_at = await app.project(), system_clock().replace(microsecond=0) + timedelta(seconds=5)
    create_shop(folder / "shop.db", today=due_at.date())
    source = await app.catalog.add_source(project, "Shop", f"sqlite:///{folder / 'shop.db'}")
    insight = DEMO_INSIGHTS[0]
    added = await app.catalog.add_insight(
        project, insight.name, source=source.id, sql=insight.sql, display=insight.display
    )
    fields = {"insight": added.id, "target_type": "webhook", "target_value": url, "frequency": "daily"}
    made = await app.subscriptions.create(
        project, await app.owner(project), fields | {"start_date": due_at, "enabled": False}
    )
    async with app.database.write() as tx:
        pattern = (await tx.execute(select(subscriptions).where(subscriptions.c.id == made.id))).one()._asdict()
        await tx.execute(recurrences.delete())
        await tx.execute(subscriptions.delete())
        kinds = ["hang" if number % 2 else "fine" for number in range(endpoints)]
        rows = [
            {
                **pattern,
                **target_columns(app.subscriptions.target("webhook", f"{url}/{kind}/{number}")),
                "id": number + 1,
                "enabled": True,
                "next_delivery_date": due_at,
                "title": kind,
            }
            for number, kind in enumerate(kinds)
        ]
        await tx.execute(insert(subscriptions), rows)


async def _lateness(app: App) -> list[float]:
    async with app.database.read() as connection:
        rows = await connection.execute(
            select(deliveries.c.scheduled_at, delivery_recipients.c.sent_at)
            .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
            .join(delivery_recipients, delivery_recipients.c.delivery_id == deliveries.c.id)
            .where(subscriptions.c.title == "fine", delivery_recipients.c.sent_at.is_not(None))
        )
        return [(row.sent_at - row.scheduled_at).total_seconds() for row in rows]


def main() -> None:
    print(f"{'endpoints':>10}{'median s':>10}{'p95 s':>8}{'worst s':>9}")
    for endpoints in [int(each) for each in sys.argv[1:]] or [200, 1000]:
        lateness = sorted(asyncio.run(measure(endpoints)))
        p95 = lateness[int(0.95 * len(lateness)) - 1]
        print(f"{endpoints:>10}{statistics.median(lateness):>10.2f}{p95:>8.2f}{lateness[-1]:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
