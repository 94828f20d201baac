"""A day in minutes: the real command under libfaketime, which lets all clocks of the process run faster.

The wall clock and CLOCK_MONOTONIC alike, so that leases, sleeps and timeouts keep their proportions: at 360 times, 30
seconds for an answer are 83 milliseconds of ours. DONT_FAKE_MONOTONIC=1 does not help: asyncio's deadlines stay real
then, but libfaketime still shortens what it waits for them, and the loop spins. Nor does a wall clock that is moved on
by leaps (FAKETIME_TIMESTAMP_FILE): the service sees them, and claims nothing right after one.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from scheduler.recurrence import Recurrence
from tests.crash.ground import Ground
from tests.crash.ledger import Verdict, judge
from tests.crash.processes import REPOSITORY, Ended, seeded

BEGIN = datetime(2027, 3, 27, 18, tzinfo=UTC)
"""The night in which Europe's clocks go forward."""
SPEED = 360
LOOK_AGAIN = 0.1
LEASE = 600
"""Seconds of the wall clock: at this speed, less than two of ours."""
LONGEST_DRAIN = 60.0
"""Seconds of ours that the last occurrences get when the time is over."""
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia")


def library() -> str | None:
    """What Debian's ``faketime`` preloads, in its variant for threads; None when it is not installed."""
    command = shutil.which("faketime")
    if command is None:
        return None
    # Not the command itself: it is a parent that takes SIGTERM and leaves its child alone.
    named = subprocess.run([command, "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True)
    return named.stdout.strip().replace("libfaketime.so", "libfaketimeMT.so")


def rules(hours: float, count: int, chance: random.Random) -> Iterator[Recurrence]:
    """Old and new rules in many zones, whose wall times are spread over the span."""
    for number in range(count):
        start = BEGIN - timedelta(days=chance.randint(1, 400)) + timedelta(hours=hours) * number / count
        yield Recurrence.parse(
            frequency=chance.choice(("daily", "daily", "daily", "weekly", "monthly")),
            start_date=start.replace(second=0, microsecond=0),
            timezone=chance.choice(ZONES),
        )


async def soak(
    ground: Ground, *, hours: float, subscriptions: int, kills: int, seed: int, speed: int = SPEED
) -> Verdict:
    """So many hours of service, killed and started again now and then; then SIGTERM, and judge."""
    chance = seeded(seed)
    await ground.plant(list(rules(hours, subscriptions, chance)), now=BEGIN)
    end = BEGIN + timedelta(hours=hours)
    stops = sorted(BEGIN + timedelta(hours=hours) * chance.random() for _ in range(kills))
    begun = time.monotonic()

    def shown() -> datetime:
        return BEGIN + timedelta(seconds=(time.monotonic() - begun) * speed)

    service = partial(_serve, ground, shown, speed)
    ended = [await service(_reached(stop, shown), by=signal.SIGKILL) for stop in stops]
    ended.append(await service(_drained(ground, end, shown), by=signal.SIGTERM))
    verdict = await judge(ground, ended[:-1], at_once=None, through=end, now=shown())
    verdict.figures |= {"hours": hours, "subscriptions": len(ground.plan), "kills": kills, "times faster": speed}
    wrong = [each.code for each in ended[:-1] if not each.was_killed] + [code for code in [ended[-1].code] if code]
    verdict.none_of("processes that ended otherwise", wrong)
    return verdict


async def _reached(moment: datetime, shown: Callable[[], datetime]) -> None:
    while shown() < moment:
        await asyncio.sleep(LOOK_AGAIN)


async def _drained(ground: Ground, end: datetime, shown: Callable[[], datetime]) -> None:
    await _reached(end, shown)
    deadline = time.monotonic() + LONGEST_DRAIN
    while await ground.unfinished(end) and time.monotonic() < deadline:
        await asyncio.sleep(1)


async def _serve(
    ground: Ground, shown: Callable[[], datetime], speed: int, until: Coroutine[Any, Any, None], *, by: int
) -> Ended:
    """The service, from a start to the signal that ends it, which comes when ``until`` does."""
    preloaded = library()
    assert preloaded is not None, "faketime is not installed; on Debian: apt-get install faketime"
    started_at = time.monotonic()
    faster = {"LD_PRELOAD": preloaded, "FAKETIME": f"@{shown():%Y-%m-%d %H:%M:%S} x{speed}", "TZ": "UTC"}
    with (ground.folder / "soak.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.crash.marked", "serve", "--port", "0", "--json"),
            cwd=ground.folder,
            env={**ground.environ, **faster, "PAPERROUND_LEASE_SECONDS": str(LEASE), "PYTHONPATH": str(REPOSITORY)},
            stdout=log,
            stderr=log,
        )
    await until
    killed_at = time.monotonic()
    if process.returncode is None:
        process.send_signal(by)
    code = await process.wait()
    return Ended(process.pid, started_at, killed_at, time.monotonic(), hit=False, code=code)
