"""Pictures, drawn by a process of our own (``scheduler/drawing.py``): started when needed, replaced when it dies.

NotDrawn             there is no picture; the text says why
└── DrawerDied       the process ended, or was ended, before it answered
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

from scheduler.drawing import AS_SVG, PNG, SVG, framed
from scheduler.errors import PaperroundError

log = structlog.get_logger()

LIMIT = 20.0
"""Seconds for one picture: twenty times what the slowest honest one takes, the start of the process included."""
IDLE = 60.0
"""Seconds without a picture after which the process ends: a service that is idle is small."""
TRIES = 2
"""The first death may be chance (memory was short, somebody killed it); the second is the picture's fault."""
LONGEST_REASON = 300
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")
"""All that the process gets to know of our environment, which has secrets."""


class NotDrawn(PaperroundError):
    """There is no picture; the text says why."""


class DrawerDied(NotDrawn):
    """The process ended, or was ended, before it answered."""


class Pictures:
    """At most one process, one picture at a time; whoever else asks waits for a turn. Close it at the end."""

    def __init__(self, *, limit: float = LIMIT, idle: float = IDLE) -> None:
        self._limit = limit
        # -P: what lies in the current folder is not ours to import
        self._command = (sys.executable, "-P", "-m", "scheduler.drawing", str(idle), str(limit))
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._is_closed = False

    async def png(self, spec: Mapping[str, Any]) -> bytes:
        """This Vega-Lite specification as a PNG.

        Raises :class:`NotDrawn` when the renderer refuses it, or when two processes died over it.
        """
        return await self._drawn(json.dumps(spec).encode(), begins=PNG)

    async def svg(self, spec: Mapping[str, Any]) -> bytes:
        """The same as an SVG."""
        return await self._drawn(AS_SVG + json.dumps(spec).encode(), begins=SVG)

    async def _drawn(self, request: bytes, *, begins: bytes) -> bytes:
        async with self._turn:
            answer = await self._answer_at_last(framed(request))
        if not answer.startswith(begins):
            raise NotDrawn(answer.decode(errors="replace")[:LONGEST_REASON])
        return answer

    async def aclose(self) -> None:
        """End the process. Who waits for a picture is told that there is none."""
        self._is_closed = True
        self._kill()
        async with self._turn:
            await self._end()

    async def _answer_at_last(self, request: bytes) -> bytes:
        for _ in range(TRIES - 1):
            try:
                return await self._answer(request)
            except DrawerDied as death:
                log.warning("drawing.died", problem=str(death), hint="drawn once more")
        return await self._answer(request)

    async def _answer(self, request: bytes) -> bytes:
        """Raises :class:`DrawerDied`. Unless there is a whole answer, the process ends: its next would be this one."""
        answer = None
        try:
            async with asyncio.timeout(self._limit):
                answer = await _exchange(await self._running(), request)
        except TimeoutError:
            raise DrawerDied(f"the picture took longer than {self._limit:g} s") from None
        except (asyncio.IncompleteReadError, OSError):
            raise DrawerDied("the drawing process died; is memory short?") from None
        finally:
            if answer is None:
                await self._end()
        return answer

    async def _running(self) -> Process:
        """The process, a new one if there is none; in a session of its own, so that Ctrl-C stops only us."""
        if self._is_closed:
            raise NotDrawn("Paperround is stopping")
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_environment(), start_new_session=True
            )
        return self._process

    async def _end(self) -> None:
        self._kill()
        if self._process is not None:
            await self._process.wait()
        self._process = None

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):  # not Process.kill(): that looks first, and may reap what asyncio awaits
                os.kill(self._process.pid, signal.SIGKILL)


async def _exchange(process: Process, request: bytes) -> bytes:
    requests, answers = process.stdin, process.stdout
    if requests is None or answers is None:
        raise BrokenPipeError
    requests.write(request)
    await requests.drain()
    size = int.from_bytes(await answers.readexactly(4))
    return await answers.readexactly(size)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
