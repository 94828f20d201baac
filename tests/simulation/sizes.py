"""What deliveries weigh: bytes kept, by table and index, bytes written, rows changed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from channels.base import RecipientResult, Sent
from scheduler.app import App, opened
from scheduler.delivery import Runner
from scheduler.models import attempts, deliveries, delivery_recipients
from scheduler.settings import load_settings
from scheduler.store.claiming import Claimed
from scheduler.store.recording import Tried
from tests.benchmarks.stage import KEY, prepare
from tests.simulation.figures import Cost, Ledger, Size, Step

OF_DELIVERIES = ("deliveries", "delivery_recipients", "attempts")
UNMEASURED = Step(Cost(0, 0), Cost(0, 0), Cost(0, 0))
STATISTICS_ARE_KEPT = 2.0
"""PostgreSQL's counters of changes are up to a second behind."""


async def measure_sizes(url: str, count: int, *, folder: Path) -> Ledger:
    """So many deliveries, opened, claimed and recorded as sent to one webhook each; the ledger without its steps."""
    settings = load_settings(database_url=url, secret_key=KEY, allow_hosts="127.0.0.1")
    await prepare(settings, count, webhook="http://127.0.0.1:9/hook", folder=folder)
    async with opened(settings) as app:
        await _forget(app)
        before = await _counters(app)
        subscription_bytes = sum((await _sizes(app, ("subscriptions",))).values()) / count
        await _deliver_all(app)
        after = await _counters(app)
        sizes = await _sizes(app, OF_DELIVERIES)
    change = {name: after[name] - before[name] for name in before}
    return Ledger(
        *(UNMEASURED,) * 4,
        written_per_delivery=change["written"] / count,
        changed_per_delivery=change["changed"] / count,
        hot_share=change["hot"] / change["updated"] if "hot" in change else None,
        subscription_bytes=subscription_bytes,
        sizes=tuple(Size(name, kind, size / count) for (name, kind), size in sizes.items()),
    )


async def _forget(app: App) -> None:
    """Empty tables, as they are after ``init``."""
    async with app.database.write() as tx:
        for table in (attempts, delivery_recipients, deliveries):
            await tx.execute(table.delete())
    await _settle(app)


async def _settle(app: App) -> None:
    """Nothing deleted takes room (on SQLite it takes none in a table's own pages)."""
    if app.database.is_sqlite:
        return
    async with app.database._engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in ("VACUUM FULL", "CHECKPOINT"):
            await connection.exec_driver_sql(statement)


async def _deliver_all(app: App) -> None:
    runner = app.runner()
    more = True
    while more:
        more = await runner.open_due()
        while claimed := await runner.claim():
            await runner.record([_tried(app, runner, each) for each in claimed])


def _tried(app: App, runner: Runner, claimed: Claimed) -> Tried:
    return Tried(
        claimed=claimed,
        attempts=tuple(
            runner.judged(claimed, each, RecipientResult(each.address, Sent()), started_at=app.clock())
            for each in claimed.recipients
        ),
        export_ids=(1,),
    )


async def _counters(app: App) -> dict[str, float]:
    """What has been written and changed so far."""
    if app.database.is_sqlite:
        used = Path("/proc/self/io").read_text(encoding="utf-8").split()
        return {"written": float(used[used.index("wchar:") + 1]), "changed": await _rows_changed(app)}
    await asyncio.sleep(STATISTICS_ARE_KEPT)
    rows = await _asked(
        app,
        "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS written, sum(n_tup_ins + n_tup_upd) AS changed,"
        " sum(n_tup_upd) AS updated, sum(n_tup_hot_upd) AS hot FROM pg_stat_user_tables",
    )
    return {name: float(value) for name, value in rows[0]._asdict().items()}


async def _rows_changed(app: App) -> float:
    """What can be told from the ledger: a delivery, its recipients and its attempts, each inserted; and the updates.

    A delivery is updated when it is claimed and when it ends, its recipient likewise, its subscription once.
    """
    async with app.database.read() as connection:
        counts = [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (deliveries, delivery_recipients, attempts)
        ]
    return float(counts[0] * (1 + 2 + 1) + counts[1] * (1 + 2) + counts[2])


async def _sizes(app: App, tables: tuple[str, ...]) -> dict[tuple[str, str], float]:
    names = ", ".join(f"'{table}'" for table in tables)
    if app.database.is_sqlite:
        sql = (
            "SELECT d.name, m.type AS kind, sum(d.pgsize) AS size FROM dbstat d JOIN sqlite_master m ON m.name = d.name"
            f" WHERE m.tbl_name IN ({names}) GROUP BY d.name, m.type ORDER BY m.tbl_name, m.type DESC, d.name"
        )
    else:
        sql = (
            "SELECT c.relname AS name, CASE c.relkind WHEN 'r' THEN 'table' ELSE 'index' END AS kind,"
            " pg_relation_size(c.oid) + pg_relation_size(c.oid, 'fsm') + pg_relation_size(c.oid, 'vm')"
            " + CASE WHEN c.reltoastrelid = 0 THEN 0 ELSE pg_total_relation_size(c.reltoastrelid) END AS size"
            " FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid"
            " JOIN pg_class t ON t.oid = coalesce(i.indrelid, c.oid)"
            f" WHERE t.relname IN ({names}) AND t.relkind = 'r' ORDER BY t.relname, 2 DESC, 1"
        )
    return {(row.name, row.kind): float(row.size) for row in await _asked(app, sql)}


async def _asked(app: App, sql: str) -> list[Any]:
    async with app.database.read() as connection:
        return list(await connection.exec_driver_sql(sql))
