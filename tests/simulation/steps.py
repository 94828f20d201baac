"""What opening, claiming, sending and recording cost, each alone, in batches of two sizes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from scheduler.app import App, opened
from scheduler.delivery import BATCH, Runner
from scheduler.lanes import Lanes
from scheduler.recorder import SIZE, Recorder
from scheduler.settings import load_settings
from scheduler.store.claiming import Claimed
from scheduler.store.recording import Tried
from tests.benchmarks.stage import KEY, prepare
from tests.simulation.figures import Cost, Step
from tests.simulation.processes import cpu_seconds, postgres_processes, sink_process

SMALL, BATCHES = 50, 8
LOOKS = 100


@dataclass(frozen=True, slots=True)
class Sends:
    """Seconds that one send takes of the event loop, of the receiver, and of the wall clock beside them.

    ``warm_up``: until the very first one has gone: its content is computed, templates are compiled. ``connect_cpu``:
    what one of the first batch takes more than another, since it connects.
    """

    cpu: float
    warm_up: float
    connect_cpu: float
    receiver_cpu: float
    round_trip: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One transaction: its rows, and its seconds by kind."""

    rows: int
    loop: float
    database: float
    wall: float


@dataclass(slots=True)
class Meter:
    """Counts what each step takes."""

    database_cpu: Callable[[], float]
    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def on(self, step: str, rows: Callable[[], int]) -> Iterator[None]:
        """Around one transaction; ``rows`` is asked at its end."""
        database, loop, wall = self.database_cpu(), time.thread_time(), time.perf_counter()
        yield
        loop, wall = time.thread_time() - loop, time.perf_counter() - wall
        database = self.database_cpu() - database
        self.samples[step].append(Sample(rows(), loop, database, wall))

    def step(self, name: str) -> Step:
        """The line through the medians of the two sizes; with one size there is only the fixed part."""
        small, full = self._middle(name, min), self._middle(name, max)
        loop = _line(small.rows, small.loop, full.rows, full.loop)
        database = _line(small.rows, small.database, full.rows, full.database)
        waiting = [max(0.0, each.wall - each.loop - each.database) for each in (small, full)]
        return Step(loop, database, _line(small.rows, waiting[0], full.rows, waiting[1]))

    def _middle(self, name: str, which: Callable[[list[int]], int]) -> Sample:
        size = which([each.rows for each in self.samples[name]])
        of_size = [each for each in self.samples[name] if each.rows == size]
        seconds = zip(*((each.loop, each.database, each.wall) for each in of_size), strict=True)
        return Sample(size, *(statistics.median(column) for column in seconds))


def _line(rows: int, seconds: float, more_rows: int, more_seconds: float) -> Cost:
    if rows == more_rows:
        return Cost(seconds, 0.0)
    row = max(0.0, (more_seconds - seconds) / (more_rows - rows))
    return Cost(max(0.0, seconds - rows * row), row)


async def measure_steps(url: str, *, port: int, folder: Path) -> tuple[dict[str, Step], Sends]:
    """The steps by name, and the sends between them; to a receiver on ``port``."""
    settings = load_settings(database_url=url, secret_key=KEY, allow_hosts="127.0.0.1")
    meter: Meter | None = None
    for size in (None, SMALL):
        due = BATCHES * (size or BATCH)
        await prepare(settings, due, webhook=f"http://127.0.0.1:{port}/hook", folder=folder)
        async with opened(settings) as app:
            meter = meter or Meter(_database_cpu(app, folder))
            if size is None:
                sends = await _measure_whole(app, meter)
            else:
                round_trip = await _measure_small(app, meter, size)
    assert meter is not None
    steps = {name: meter.step(name) for name in ("look", "open", "claim", "record")}
    return steps, replace(sends, round_trip=round_trip)


def _database_cpu(app: App, folder: Path) -> Callable[[], float]:
    if app.database.is_sqlite:
        return lambda: time.process_time() - time.thread_time()  # the threads that SQLite works in
    return lambda: sum(cpu_seconds(pid) for pid in postgres_processes(folder / "postgres"))


async def _measure_whole(app: App, meter: Meter) -> Sends:
    """As a worker does it, in full batches, one thing after the other."""
    runner, sink = app.runner(), sink_process()
    await _open(runner, meter, limit=None)
    tried: list[Tried] = []
    runner.recorder = Recorder(_kept_in(tried))
    sends: list[tuple[float, float]] = []
    warm_up = 0.0
    while claimed := await _claim(runner, meter):
        if not sends:
            warm_up = time.perf_counter()
            await runner.attempt(claimed[0])
            warm_up = time.perf_counter() - warm_up
        received, cpu = cpu_seconds(sink), time.process_time()
        runner.start(claimed)
        await asyncio.wait(runner._sends)
        spent = (time.process_time() - cpu, cpu_seconds(sink) - received)
        sends.append((spent[0] / len(claimed), spent[1] / len(claimed)))
        await _record(runner, meter, tried, SIZE)
        tried.clear()
    for _ in range(LOOKS):
        with meter.on("look", lambda: 1):
            await runner.tick()
    cpu, received = (statistics.median(column) for column in zip(*sends[1:], strict=True))
    return Sends(cpu, warm_up, max(0.0, sends[0][0] - cpu), received, round_trip=0.0)


def _kept_in(tried: list[Tried]) -> Callable[[list[Tried]], Awaitable[None]]:
    """Recorded later: what a send costs is measured without it."""

    async def keep(some: list[Tried]) -> None:
        tried.extend(some)

    return keep


async def _measure_small(app: App, meter: Meter, size: int) -> float:
    """In batches of ``size``, one send at a time; seconds that the sender waits for an answer."""
    runner = app.runner()
    runner.lanes = Lanes(capacity=size)
    await _open(runner, meter, limit=size)
    waits: list[float] = []
    while claimed := await _claim(runner, meter):
        tried = []
        for each in claimed:
            wall, cpu = time.perf_counter(), time.process_time()
            tried.append(await runner.attempt(each))
            waits.append(time.perf_counter() - wall - (time.process_time() - cpu))
        await _record(runner, meter, tried, size)
    return statistics.median(waits)


async def _open(runner: Runner, meter: Meter, *, limit: int | None) -> None:
    more = True
    while more:
        before = runner.handled
        with meter.on("open", lambda: runner.handled - before):  # noqa: B023 - asked before the next turn
            more = await runner.open_due(limit=None if limit is None else before + limit)
        more = runner.handled > before
    meter.samples["open"].pop()  # the one that found nothing


async def _claim(runner: Runner, meter: Meter) -> list[Claimed]:
    claimed: list[Claimed] = []
    with meter.on("claim", lambda: len(claimed)):
        claimed += await runner.claim()
    if not claimed:
        meter.samples["claim"].pop()
    return claimed


async def _record(runner: Runner, meter: Meter, tried: Sequence[Tried], size: int) -> None:
    for start in range(0, len(tried), size):
        batch = tried[start : start + size]
        with meter.on("record", lambda: len(batch)):  # noqa: B023 - asked before the next turn
            await runner.record(batch)
