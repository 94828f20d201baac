"""The processes of the harness: the sink, and zygotes that start, kill and report on the ones under test."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


def seeded(seed: float) -> random.Random:
    """Chance that can be had again."""
    return random.Random(seed)  # noqa: S311 - moments and numbers, no secrets


@dataclass(frozen=True, slots=True)
class Order:
    """Start a process; let it die at ``point``, or send it ``signal`` after ``seconds``, whichever is first."""

    seconds: float
    point: str | None = None
    nth: int = 1
    signal: int = signal.SIGKILL
    command: str = "serve"
    database_url: str | None = None
    """If not the zygote's own."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process after its end; moments are CLOCK_MONOTONIC's, the same for every process of the machine."""

    pid: int
    started_at: float
    killed_at: float
    ended_at: float
    hit: bool
    code: int

    @property
    def was_killed(self) -> bool:
        """By SIGKILL, whoever sent it."""
        return self.code == -signal.SIGKILL


class Zygote:
    """One at a time: :meth:`start` a process, then wait until it :meth:`ended`."""

    def __init__(self, process: asyncio.subprocess.Process, *, log: Path, database: Path | None) -> None:
        self._process = process
        self._log = log
        self._database = database
        self._started: dict[str, Any] = {}

    async def run(self, order: Order) -> Ended:
        """A process from its start to its end."""
        await self.start(order)
        return await self.ended()

    async def start(self, order: Order) -> int:
        """The pid of a new process."""
        known = {"log": str(self._log), "database": None if self._database is None else str(self._database)}
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(asdict(order) | known)}\n".encode())
        self._started = await self._answer()
        return int(self._started["pid"])

    async def ended(self) -> Ended:
        """Wait for it. Raises ``RuntimeError`` when it ended by itself: that is a bug, here or in the product."""
        ended = Ended(**self._started, **await self._answer())
        if ended.code > 0:
            raise RuntimeError(f"a process ended with code {ended.code}:\n{self._last_words()}")
        return ended

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the zygote ended:\n{self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:] if self._log.exists() else ""


@asynccontextmanager
async def zygote(folder: Path, environ: Mapping[str, str], *, name: str = "daemon") -> AsyncIterator[Zygote]:
    """A zygote that works in ``folder``; what its processes log is in ``NAME.log`` there."""
    log = folder / f"{name}.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.crash.zygote",
            cwd=folder,
            env={**environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    url = environ.get("PAPERROUND_DATABASE_URL", "")
    database = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None
    try:
        yield Zygote(process, log=log, database=database)
    finally:
        process.kill()  # and the kernel kills what it has started
        await process.communicate()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One whole request at the sink."""

    at: float
    pid: int
    key: str


@dataclass(frozen=True, slots=True)
class Sink:
    """Where the webhooks go."""

    url: str
    log: Path

    def arrivals(self) -> list[Arrival]:
        """Every whole request so far, in the order in which they came."""
        lines = [line.split() for line in self.log.read_text(encoding="ascii").splitlines()]
        return [Arrival(float(at), int(pid), key) for at, pid, key in lines]


@asynccontextmanager
async def sink(folder: Path) -> AsyncIterator[Sink]:
    """A sink in a process of its own, on a free port of 127.0.0.1."""
    log = folder / "sink.log"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.crash.sink",
        log,
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield Sink(f"http://127.0.0.1:{port}/hook", log)
    finally:
        process.kill()
        await process.communicate()
