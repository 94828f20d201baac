"""E-mail at speed: one ``run-due`` on many due subscriptions, on SQLite and on PostgreSQL, to Postfix's ``smtp-sink``.

``python -m tests.benchmarks.mails [N]``: N mails of about 70 kB (a chart and a table), each a delivery of its own with
a title of its own, then again twenty recipients a delivery. Counted where they arrive, and in the ledger. For a tenth
of N first: memory that grew with it would show.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import IO

from sqlalchemy import func, insert, select

from scheduler.app import App, initialise, opened
from scheduler.models import deliveries, delivery_recipients, recurrences, subscriptions
from scheduler.settings import Settings, load_settings
from scheduler.snapshot import Display
from scheduler.status import RecipientStatus
from scheduler.subscriptions import target_columns
from tests.benchmarks.processes import Program, start, wait_for
from tests.benchmarks.stage import COMMAND, KEY, postgresql

TO_MANY = 20


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command, as the operating system accounts for it."""

    database: str
    mails: int
    recipients: int
    seconds: float
    cpu_seconds: float
    peak_mib: float

    def __str__(self) -> str:
        rate, cpu = self.mails / self.seconds, 1000 * self.cpu_seconds / self.mails
        return (
            f"{self.database:<11}{self.mails:>7}{self.recipients:>12}{self.seconds:>9.1f}"
            f"{rate:>9.0f}{cpu:>16.2f}{self.peak_mib:>10.0f}"
        )


def main() -> None:
    sink = shutil.which("smtp-sink", path=f"{os.environ['PATH']}:/usr/sbin")
    if sink is None:
        sys.exit("skipped: there is no smtp-sink; it is in Debian's package postfix, which need not run")
    mails = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as folder:
        _open_shop(Path(folder) / "shop.db")
        print(
            f"each of {_size_of_one(f'sqlite:///{folder}/paperround.db', folder=Path(folder)) / 1000:.0f} kB",
            flush=True,
        )
        print(
            f"{'database':<11}{'mails':>7}{'recipients':>12}{'seconds':>9}{'mails/s':>9}"
            f"{'CPU s per 1000':>16}{'peak MiB':>10}"
        )
        for database, url in (("SQLite", f"sqlite:///{folder}/paperround.db"), ("PostgreSQL", postgresql(folder))):
            for count, recipients in ((mails // 10, 1), (mails, 1), (mails, TO_MANY)):
                print(_measured(database, url, count, recipients, sink=sink, folder=Path(folder)), flush=True)


def _measured(database: str, url: str, mails: int, recipients: int, *, sink: str, folder: Path) -> Run:
    settings = load_settings(database_url=url, secret_key=KEY)
    asyncio.run(prepare(settings, mails // recipients, recipients, folder=folder))
    with _counting(sink) as (port, counter):
        command = _running(url, f"smtp://127.0.0.1:{port}?starttls=never", folder=folder)
        wait_for([command])
        arrived, sent = _count(counter), asyncio.run(_sent(settings))
    if command.process.returncode or arrived != mails or sent != mails:
        sys.exit(f"{database}: exit {command.process.returncode}, {arrived} of {mails} arrived, the ledger says {sent}")
    return Run(database, mails, recipients, command.seconds, command.cpu_seconds, command.peak_mib)


def _running(url: str, smtp_url: str, *, folder: Path) -> Program:
    environ = {
        **os.environ,
        "PAPERROUND_DATABASE_URL": url,
        "PAPERROUND_SECRET_KEY": KEY,
        "PAPERROUND_SMTP_URL": smtp_url,
    }
    return start([*COMMAND, "run-due", "--json"], folder=folder, environ=environ)


def _size_of_one(url: str, *, folder: Path) -> int:
    """Octets of one mail, sent into a folder."""
    asyncio.run(prepare(load_settings(database_url=url, secret_key=KEY), 1, 1, folder=folder))
    wait_for([_running(url, f"file://{folder}/outbox", folder=folder)])
    return next((folder / "outbox").glob("*.eml")).stat().st_size


def _open_shop(path: Path) -> None:
    """Rows for a chart and a table that together make a mail of about 70 kB."""
    chance, first = Random(1), date(2026, 1, 1)  # noqa: S311 - made-up sales
    with closing(sqlite3.connect(path)) as shop:
        shop.execute("CREATE TABLE sales (day TEXT, shop TEXT, amount REAL, orders INT)")
        days = [first + timedelta(days=each) for each in range(60)]
        rows = [
            (f"{day}", f"Shop {n}", round(chance.uniform(100, 900), 2), chance.randint(3, 60))
            for day in days
            for n in range(6)
        ]
        shop.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", rows)
        shop.commit()


CHART = "SELECT day, " + ", ".join(f"sum(amount) FILTER (WHERE shop = 'Shop {n}') AS \"Shop {n}\"" for n in range(1))
INSIGHTS = (
    ("Sales by shop", f"{CHART} FROM sales GROUP BY day ORDER BY day", Display.LINE),
    ("The last sales", "SELECT day, shop, amount, orders FROM sales ORDER BY day DESC, shop LIMIT 60", Display.TABLE),
)


async def prepare(settings: Settings, due: int, recipients: int, *, folder: Path) -> None:
    """An initialised ledger with so many e-mail subscriptions of one dashboard, all due now, each with its title."""
    made = await initialise(settings, project="Bench", owner_email="bench@example.org")
    now = datetime.now(UTC)  # noqa: TID251 - the command under measurement reads the real clock
    async with opened(settings) as app:
        if made["created"]:
            await _subscribe_once(app, now=now, folder=folder)
        async with app.database.write() as tx:
            await tx.execute(deliveries.delete())
            await tx.execute(recurrences.delete())
            pattern = (await tx.execute(select(subscriptions).order_by(subscriptions.c.id).limit(1))).one()._asdict()
            await tx.execute(subscriptions.delete())
            rows = [
                {
                    **pattern,
                    **target_columns(app.subscriptions.target("email", _addresses(number, recipients))),
                    "id": number + 1,
                    "title": f"Round {number}",
                    "next_delivery_date": now,
                }
                for number in range(due)
            ]
            await tx.execute(insert(subscriptions), rows)


async def _subscribe_once(app: App, *, now: datetime, folder: Path) -> None:
    project = await app.project()
    source = await app.catalog.add_source(project, "Shop", f"sqlite:///{folder / 'shop.db'}")
    added = [
        await app.catalog.add_insight(project, name, source=source.id, sql=sql, display=display)
        for name, sql, display in INSIGHTS
    ]
    dashboard = await app.catalog.add_dashboard(project, "Shops", insights=[each.id for each in added])
    fields = {
        "dashboard": dashboard.id,
        "dashboard_export_insights": [each.id for each in added],
        "target_type": "email",
        "target_value": "ann@example.org",
        "frequency": "daily",
        "start_date": now - timedelta(days=400),
    }
    await app.subscriptions.create(project, await app.owner(project), fields)


def _addresses(number: int, recipients: int) -> str:
    return ",".join(f"reader-{number}-{each}@example.org" for each in range(recipients))


async def _sent(settings: Settings) -> int:
    async with opened(settings) as app, app.database.read() as connection:
        is_sent = delivery_recipients.c.status == RecipientStatus.SENT
        return (await connection.execute(select(func.count()).where(is_sent))).scalar_one()


@contextmanager
def _counting(sink: str) -> Iterator[tuple[int, IO[bytes]]]:
    """A sink on a free port, and what it writes: how many mails it has taken, after each of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with tempfile.TemporaryFile() as counter:
        process = subprocess.Popen([sink, *user, "-c", f"127.0.0.1:{port}", "100"], stdout=counter)
        try:
            _wait_for(port)
            yield port, counter
        finally:
            process.kill()
            process.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as dial:
            if dial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit("smtp-sink does not answer")


def _count(counter: IO[bytes]) -> int:
    counter.seek(0)
    return int(re.findall(rb"mesg=(\d+)", counter.read())[-1])


if __name__ == "__main__":
    main()
