"""The whole service under measurement: started, ready, and only then anything falls due."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import update

from scheduler.app import App
from scheduler.models import subscriptions
from tests.benchmarks import stage
from tests.benchmarks.processes import Program, start

AHEAD = timedelta(seconds=3)
"""What falls due is known this long before: a service looks once a second."""
ROWS_A_SECOND = 10_000
"""So many are surely changed meanwhile."""
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running one."""

    program: Program
    address: str

    def look(self) -> None:
        """Leave with what it said if it has ended."""
        if self.program.look():
            sys.exit(f"the service ended\n{self.program.log.read_text()[-2000:]}")


@contextmanager
def serving(url: str, folder: Path, *, processes: int) -> Iterator[Service]:
    """``serve`` with so many sending processes in all; each of them ticks by now."""
    command = (*stage.COMMAND, "serve", "--port", "0", "--workers", str(processes - 1), "--json")
    program = start(command, folder=folder, environ=stage.environ(url))
    try:
        yield Service(program, _address_once_ready(program, processes))
    finally:
        program.stop()


def _address_once_ready(program: Program, processes: int) -> str:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and not program.look():
        said = list(_said(program.log))
        if sum(each["event"] == "service.ready" for each in said) == processes:
            port = next(each["port"] for each in said if each["event"] == "service.listening")
            return f"http://127.0.0.1:{port}"
        time.sleep(0.1)
    sys.exit(f"the service did not start\n{program.log.read_text()[-2000:]}")


def _said(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text().splitlines():
        with suppress(ValueError):
            yield json.loads(line)


async def set_due(app: App, last: int) -> datetime:
    """Everything up to this subscription falls due at one instant, which is soon."""
    async with app.database.write() as tx:
        at = app.clock() + AHEAD + timedelta(seconds=last / ROWS_A_SECOND)
        await tx.execute(update(subscriptions).where(subscriptions.c.id <= last).values(next_delivery_date=at))
    return at
