"""Sending processes beside the service: they share nothing with it but the database, and live no longer than it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from datetime import timedelta

import structlog

log = structlog.get_logger()

RESTART_AFTER = timedelta(seconds=1)
GRACE = timedelta(seconds=35)
"""A little more than the sends in flight of a stopping worker get."""

COMMAND = (sys.executable, "-m", "scheduler.cli", "serve", "--sending-only")


class Workers:
    """So many of them, each started again when it dies. A worker stops when its standard input ends: with us."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: set[asyncio.subprocess.Process] = set()
        self._keepers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start them, and keep them going."""
        self._keepers = [asyncio.create_task(self._keep(number)) for number in range(1, self._count + 1)]

    def terminate(self) -> None:
        """As SIGTERM does to the service, and at the same time: they finish their sends and give back the rest."""
        for keeper in self._keepers:
            keeper.cancel()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    async def ended(self) -> None:
        """Wait for them; one that does not end in time is killed, and its work is taken up when its lease ran out."""
        self.terminate()
        try:
            async with asyncio.timeout(GRACE.total_seconds()):
                await asyncio.gather(*(process.wait() for process in self._processes))
        except TimeoutError:
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def _keep(self, number: int) -> None:
        while True:
            process = await asyncio.create_subprocess_exec(*COMMAND, stdin=asyncio.subprocess.PIPE)
            self._processes.add(process)
            log.info("worker.started", worker=number, pid=process.pid)
            code = await process.wait()
            self._processes.discard(process)
            log.error("worker.died", worker=number, pid=process.pid, code=code, hint="started again")
            await asyncio.sleep(RESTART_AFTER.total_seconds())


async def standard_input_ended() -> None:
    """Return when whoever started this process has gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        await reader.read()
    finally:
        transport.close()
