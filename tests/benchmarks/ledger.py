"""Open, claim and record without sending: what the ledger alone costs, on SQLite and on PostgreSQL.

``python -m tests.benchmarks.ledger [DUE …] [--beside N] [--database sqlite]``: so many due subscriptions each, all of
them handled, beside N that are not due and have a past of one delivery each. Prints deliveries a second of each phase,
the microseconds of this process's CPU that one takes in each, and milliseconds of an empty tick (both medians).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import CTE, ColumnElement, Subquery, Table, Text, cast, func, insert, literal, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from channels.base import RecipientResult, Sent
from scheduler import logs
from scheduler.app import App, opened
from scheduler.delivery import Runner
from scheduler.models import attempts, deliveries, delivery_recipients, subscriptions
from scheduler.settings import load_settings
from scheduler.store.claiming import Claimed
from scheduler.store.recording import Tried
from tests.benchmarks.stage import KEY, postgresql, prepare

PHASES = ("open", "claim", "record")
AT_ONCE = 200
EMPTY_TICKS = 50


@dataclass(slots=True)
class Spent:
    """Seconds of each phase by the clock and by this process's CPU, and those of each empty tick."""

    wall: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    cpu: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    empty_ticks: list[float] = field(default_factory=list)

    @contextmanager
    def on(self, phase: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[phase] += time.perf_counter() - wall
        self.cpu[phase] += time.process_time() - cpu

    def row(self, count: int) -> str:
        rates = [count / seconds for seconds in (*self.wall.values(), sum(self.wall.values()))]
        micros = [1e6 * seconds / count for seconds in (*self.cpu.values(), sum(self.cpu.values()))]
        empty = 1000 * statistics.median(self.empty_ticks)
        return "".join(f"{each:>10.0f}" for each in (*rates, *micros)) + f"{empty:>10.2f}"


def main() -> None:
    asked = _arguments()
    titles = (*(f"{phase}/s" for phase in (*PHASES, "all")), *(f"{phase} µs" for phase in (*PHASES, "all")), "empty ms")
    print(f"{'database':<11}{'due':>8}{'beside':>9}" + "".join(f"{title:>10}" for title in titles))
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        logs.configure(as_json=True, stream=nowhere)
        urls = {"sqlite": f"sqlite:///{folder}/paperround.db"}
        if "postgresql" in asked.database:
            urls["postgresql"] = postgresql(folder)
        for database in asked.database:
            for due in asked.due:
                spent = asyncio.run(_measured(urls[database], due, asked.beside, folder=Path(folder)))
                print(f"{database:<11}{due:>8}{asked.beside:>9}{spent.row(due)}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("due", nargs="*", type=int, default=[10_000])
    parser.add_argument("--beside", type=int, default=0, help="subscriptions that are not due")
    parser.add_argument("--database", nargs="*", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    return parser.parse_args()


async def _measured(url: str, due: int, beside: int, *, folder: Path) -> Spent:
    settings = load_settings(database_url=url, secret_key=KEY, allow_hosts="127.0.0.1")
    await prepare(settings, due, webhook="http://127.0.0.1:9/hook", folder=folder)
    spent = Spent()
    async with opened(settings) as app:
        if beside:
            await _add_beside(app, beside)
        runner = app.runner()
        with spent.on("open"):
            while await runner.open_due():
                pass
        while await _claimed_and_recorded(app, runner, spent):
            pass
        for _ in range(EMPTY_TICKS):
            began = time.perf_counter()
            await runner.tick()
            spent.empty_ticks.append(time.perf_counter() - began)
    return spent


async def _claimed_and_recorded(app: App, runner: Runner, spent: Spent) -> bool:
    """A worker's hands full: claimed, then recorded as it does it, some at a time; whether there was anything."""
    batches: list[Claimed] = []
    with spent.on("claim"):
        while len(batches) < AT_ONCE and (batch := await runner.claim()):
            batches += batch
    with spent.on("record"):
        if batches:
            await runner.record([_tried(app, runner, each) for each in batches])
    return bool(batches)


def _tried(app: App, runner: Runner, claimed: Claimed) -> Tried:
    return Tried(
        claimed=claimed,
        attempts=tuple(
            runner.judged(claimed, each, RecipientResult(each.address, Sent()), started_at=app.clock())
            for each in claimed.recipients
        ),
        export_ids=(1,),
    )


# ── a full ledger, each table with one statement ─────────────────────────────────────────────────────────────────────


async def _add_beside(app: App, count: int) -> None:
    """Subscriptions whose next dates lie ahead, with a completed delivery each."""
    ahead, past = app.clock() + timedelta(days=1), app.clock() - timedelta(days=1)
    is_sqlite = app.database.is_sqlite
    random_id = "lower(hex(randomblob(16)))" if is_sqlite else "gen_random_uuid()"
    async with app.database.write() as tx:
        last_id = (await tx.execute(select(func.max(subscriptions.c.id)))).scalar_one()
        numbers = _numbers(count)
        one = select(subscriptions).where(subscriptions.c.id == last_id).subquery()
        beside = {"id": last_id + numbers.c.n, "next_delivery_date": ahead}
        await _fill(tx, subscriptions, beside, one, numbers)
        of = subscriptions.c
        each = select(of, literal_column(random_id).label("of_delivery")).where(of.id > last_id).subquery()
        done = {
            "id": each.c.of_delivery,
            "subscription_id": each.c.id,
            "idempotency_key": cast(each.c.of_delivery, Text),
            "trigger_type": "scheduled",
            "status": "completed",
            "invites": False,
            "run_id": "an-earlier-one",
            **dict.fromkeys(("scheduled_at", "created_at", "updated_at", "finished_at"), past),
        }
        await _fill(tx, deliveries, done, each)
        kept = select(deliveries).where(deliveries.c.status == "completed").subquery()
        to = {"delivery_id": kept.c.id, "position": 0}
        sent = {"address": kept.c.target_value, "status": "sent", "attempts": 1, "uncounted": 0, "sent_at": past}
        await _fill(tx, delivery_recipients, to | sent, kept)
        await _fill(tx, attempts, to | {"attempt": 1, "outcome": "sent", "finished_at": past}, kept)
        await tx.exec_driver_sql("ANALYZE")


async def _fill(tx: AsyncConnection, table: Table, values: dict[str, Any], pattern: Subquery, *others: Any) -> None:
    """Rows like the pattern's, where its columns have these names, with these values."""
    like = {column.name: pattern.c[column.name] for column in table.columns if column.name in pattern.c}
    given = {
        name: value if isinstance(value, ColumnElement) else literal(value, table.c[name].type)
        for name, value in (like | values).items()
    }
    rows = select(*given.values()).select_from(pattern, *others)
    await tx.execute(insert(table).from_select(list(given), rows))


def _numbers(count: int) -> CTE:
    """1 … count."""
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    return numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < count))


if __name__ == "__main__":
    main()
