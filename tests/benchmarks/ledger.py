"""Open, claim and record without sending: what the ledger alone costs, on SQLite and on PostgreSQL.

``python -m tests.benchmarks.ledger [ROWS …]``: so many due subscriptions each, all of them handled.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from channels.base import RecipientResult, Sent
from scheduler.app import App, opened
from scheduler.delivery import Runner
from scheduler.settings import load_settings
from scheduler.store.claiming import Claimed
from scheduler.store.recording import Tried
from tests.benchmarks.__main__ import KEY, _postgresql, _prepare

PHASES = ("open", "claim", "record")
AT_ONCE = 200


def main() -> None:
    counts = [int(each) for each in sys.argv[1:]] or [10_000]
    print(f"{'database':<11}{'due':>9}" + "".join(f"{phase + '/s':>11}" for phase in PHASES) + f"{'all/s':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for database, url in (("SQLite", f"sqlite:///{folder}/paperround.db"), ("PostgreSQL", _postgresql(folder))):
            for count in counts:
                spent = asyncio.run(_measured(url, count, folder=Path(folder)))
                rates = [count / seconds for seconds in (*spent, sum(spent))]
                print(f"{database:<11}{count:>9}" + "".join(f"{rate:>11.0f}" for rate in rates), flush=True)


async def _measured(url: str, count: int, *, folder: Path) -> tuple[float, float, float]:
    settings = load_settings(database_url=url, secret_key=KEY, allow_hosts="127.0.0.1")
    await _prepare(settings, count, webhook="http://127.0.0.1:9/hook", folder=folder)
    async with opened(settings) as app:
        runner = app.runner()
        opening = await _opened(runner)
        claiming, recording = await _claimed_and_recorded(app, runner)
    return opening, claiming, recording


async def _opened(runner: Runner) -> float:
    began = time.perf_counter()
    while await runner.open_due():
        pass
    return time.perf_counter() - began


async def _claimed_and_recorded(app: App, runner: Runner) -> tuple[float, float]:
    claiming = recording = 0.0
    while True:
        began = time.perf_counter()
        batches: list[Claimed] = []
        while len(batches) < AT_ONCE and (batch := await runner.claim()):
            batches += batch
        claiming += time.perf_counter() - began
        if not batches:
            return claiming, recording
        began = time.perf_counter()
        await runner.record([_tried(app, runner, each) for each in batches])
        recording += time.perf_counter() - began


def _tried(app: App, runner: Runner, claimed: Claimed) -> Tried:
    return Tried(
        claimed=claimed,
        attempts=tuple(
            runner.judged(claimed, each, RecipientResult(each.address, Sent()), started_at=app.clock())
            for each in claimed.recipients
        ),
        export_ids=(1,),
    )


if __name__ == "__main__":
    main()
