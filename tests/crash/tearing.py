"""Power cuts: the database and its write-ahead log copied from under a running process, the log torn at any byte.

The process is stopped (SIGSTOP) while it is copied, as a power cut stops it. What the log may have lost by then is what
had not been written back: frames that a checkpoint has begun to copy were synced before, and stay.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from scheduler.app import opened
from scheduler.delivery import Runner
from tests.crash.ground import Ground
from tests.crash.killing import BUSY_AHEAD, drain
from tests.crash.ledger import Verdict, judge
from tests.crash.processes import Order, seeded

WAL_HEADER, FRAME_HEADER = 32, 24  # https://sqlite.org/fileformat2.html#the_write_ahead_log
LATEST_FRAME, ATTEMPTED = 16, 128  # https://sqlite.org/walformat.html, offsets in the -shm file
LONGEST_RUN = 60.0
LIFE, EARLIEST = 2.0, 1.0
"""Seconds a process lives around a copy, and how long it has had by then."""


@dataclass(frozen=True, slots=True)
class Torn:
    """A copy, and which of its log's bytes were kept."""

    path: Path
    kept: int
    of: int


async def tear_again_and_again(ground: Ground, *, copies: int, seed: int, ahead: float = BUSY_AHEAD) -> Verdict:
    """So many copies of a busy ledger; then the ledger itself is drained, and every copy is compared with it."""
    chance = seeded(seed)
    torn = []
    async with ground.zygote() as zygote:
        for number in range(copies):
            await ground.keep_busy(ahead)
            pid = await zygote.start(Order(LIFE, signal=signal.SIGTERM))
            await asyncio.sleep(chance.uniform(EARLIEST, LIFE - 0.3))
            torn.append(_torn_copy(ground.database_file, pid, chance, to=ground.folder / f"torn{number}.db"))
            await zygote.ended()
        await drain(ground, zygote)
    verdict = await judge(ground, [], at_once=0)
    await _judge_copies(ground, verdict, torn)
    return verdict


def _torn_copy(database: Path, pid: int, chance: random.Random, *, to: Path) -> Torn:
    log = Path(f"{to}-wal")
    os.kill(pid, signal.SIGSTOP)
    try:
        shutil.copy(database, to)
        shutil.copy(f"{database}-wal", log)
        index = Path(f"{database}-shm").read_bytes()
    finally:
        os.kill(pid, signal.SIGCONT)
    size = log.stat().st_size
    if size <= WAL_HEADER:
        return Torn(to, size, size)
    (page,) = struct.unpack_from(">I", log.read_bytes(), 8)
    (latest,), (safe,) = struct.unpack_from("=I", index, LATEST_FRAME), struct.unpack_from("=I", index, ATTEMPTED)
    first, end = (WAL_HEADER + frames * (FRAME_HEADER + page) for frames in (safe, latest))
    kept = chance.randint(min(first, end), min(end, size))
    with log.open("r+b") as file:
        file.seek(kept)
        file.write(chance.choice([b"\0", b"\xff"]) * chance.randint(0, size - kept))
        file.truncate()
    return Torn(to, kept, end)


async def _judge_copies(ground: Ground, verdict: Verdict, torn: Sequence[Torn]) -> None:
    whole = _ledger(ground.database_file)
    verdict.figures["copies"] = len(torn)
    verdict.figures["bytes of the log cut off, at most"] = max((each.of - each.kept for each in torn), default=0)
    verdict.none_of("copies torn where nothing was", [] if any(each.kept < each.of for each in torn) else torn)
    problems = [f"{each.path.name}: {problem}" for each in torn for problem in _problems(each, whole)]
    verdict.none_of("copies that are no prefix of the ledger", problems)
    verdict.none_of("copies a run could not finish", [each.path.name for each in torn if await _run_on(ground, each)])


def _problems(torn: Torn, whole: dict[str, dict[Any, Any]]) -> list[str]:
    connection = sqlite3.connect(torn.path)
    try:
        said = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    finally:
        connection.close()
    part = _ledger(torn.path)
    return [
        *said,
        *(f"an occurrence that never was: {key}" for key in part["occurrences"].keys() - whole["occurrences"].keys()),
        *(f"an attempt that never was: {key}" for key in part["attempts"].items() - whole["attempts"].items()),
        *(
            f"occurrence {key} ended otherwise"
            for key, status in part["occurrences"].items()
            if status != "starting" and whole["occurrences"].get(key) != status
        ),
        *(f"subscription {number} has moved on without a delivery" for number in part["moved on"]),
    ]


def _ledger(path: Path) -> dict[str, dict[Any, Any]]:
    connection = sqlite3.connect(path)
    try:
        return {
            "occurrences": {
                (number, at): status
                for number, at, status in connection.execute(
                    "SELECT subscription_id, scheduled_at, status FROM deliveries"
                )
            },
            "attempts": {
                (delivery, attempt): outcome
                for delivery, attempt, outcome in connection.execute(
                    "SELECT delivery_id, attempt, outcome FROM attempts"
                )
            },
            "moved on": dict.fromkeys(
                number
                for (number,) in connection.execute(
                    "SELECT id FROM subscriptions WHERE (next_delivery_date <> start_date)"
                    " <> (id IN (SELECT subscription_id FROM deliveries))"
                )
            ),
        }
    finally:
        connection.close()


async def _run_on(ground: Ground, torn: Torn) -> int:
    """Let a worker finish the copy, once its dead owner's leases have run out; how much it could not finish."""
    connection = sqlite3.connect(torn.path)
    if "home" in [row[1] for row in connection.execute("PRAGMA table_info(installation)")]:
        connection.execute("UPDATE installation SET home = NULL")  # this copy stands for the original after a power cut
        connection.commit()
    connection.close()
    settings = ground.settings.model_copy(
        update={"database_url": type(ground.settings.database_url)(f"sqlite:///{torn.path}")}
    )
    deadline = time.monotonic() + LONGEST_RUN
    async with opened(settings) as app:
        runner = app.runner()
        while (left := _unfinished(torn.path)) and time.monotonic() < deadline:
            await _settle(runner)
            await asyncio.sleep(0.2)
        await runner.stop(grace=timedelta(seconds=5))
    return left


async def _settle(runner: Runner) -> None:
    await runner.tick()
    while runner.in_flight:
        await runner.wake.wait()
        await runner.tick()


def _unfinished(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute("SELECT count(*) FROM deliveries WHERE status = 'starting'").fetchone()
        return int(count)
    finally:
        connection.close()
