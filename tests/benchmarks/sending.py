"""Sending: so many due webhooks, e-mails, or both, by one process or two, on SQLite and on PostgreSQL.

Whole processes, started as an operator starts them. Signed, every outcome in the ledger, to receivers in processes of
their own on this machine. Slack is left out: its API takes one message a second a channel, whoever asks.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from scheduler.app import opened
from tests.benchmarks import stage
from tests.benchmarks.figures import CPU, P50, P99, PAYLOAD, PEAK, RATE, STARTED_RATE, Figure, Results
from tests.benchmarks.processes import Program, run_together
from tests.benchmarks.service import Service, serving, set_due
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.told import Told, ended, told

PART = "sending"
START, START_CPU = Figure("seconds", "s"), Figure("CPU s", "s")
RUN_DUE = (*stage.COMMAND, "run-due", "--json")


@dataclass(frozen=True, slots=True)
class Scene:
    """Where one run takes place."""

    database: str
    url: str
    folder: Path
    hook: int
    mail: int | None
    kind: str = "webhook"

    @property
    def environ(self) -> dict[str, str]:
        return stage.environ(self.url, smtp_port=self.mail)


def measure(sizes: Sizes, results: Results) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hook, mail = stack.enter_context(stage.sink()), mail_sink(stack, sizes, results)
        for database, url in stage.urls(sizes.databases, folder).items():
            for kind in sizes.kinds:
                if kind == "webhook" or mail is not None:
                    _of_kind(Scene(database, url, folder, hook, mail, kind), sizes, results)


def mail_sink(stack: ExitStack, sizes: Sizes, results: Results) -> int | None:
    """The port of an e-mail receiver; None when none is needed, or none is there."""
    if set(sizes.kinds) == {"webhook"}:
        return None
    try:
        return stack.enter_context(stage.smtp_sink())
    except stage.Missing as missing:
        results.skip("e-mail", str(missing))
        return None


def _of_kind(scene: Scene, sizes: Sizes, results: Results) -> None:
    for _ in range(sizes.repeats):
        for processes in sizes.processes:
            due = sizes.deliveries
            case = f"{scene.database}, {due:,} {scene.kind}, run-due × {processes}"
            results.add(PART, case, run_due(scene, due, processes=processes))
            if scene.kind == "webhook" and sizes.serves:
                case = f"{scene.database}, {due:,} {scene.kind}, serve, {processes} sending"
                results.add(PART, case, serve(scene, due, processes=processes))
        if scene.kind == "webhook":
            results.add("a start alone", scene.database, a_start(scene))
    for due in sizes.memory:
        if scene.kind == "webhook":
            results.add("memory", f"{scene.database}, {due:,} due", run_due(scene, due, processes=1))


def run_due(scene: Scene, due: int, *, processes: int) -> dict[Figure, float]:
    """``run-due`` so many times at once; all of them together send each delivery once."""
    asyncio.run(prepare_scene(scene, due))
    programs = run_together([RUN_DUE] * processes, folder=scene.folder, environ=scene.environ)
    of_run, received = _checked(scene, due)
    seconds = max(each.seconds for each in programs)
    size = {PAYLOAD: received["bytes"] / received["requests"]} if received["requests"] else {}
    return {RATE: due / seconds, **_figures(programs, of_run), **size}


def a_start(scene: Scene) -> dict[Figure, float]:
    """``run-due`` with nothing due: what is in every figure of a whole command."""
    asyncio.run(prepare_scene(scene, 1, ahead=timedelta(days=1)))
    [program] = run_together([RUN_DUE], folder=scene.folder, environ=scene.environ)
    return {START: program.seconds, START_CPU: program.cpu_seconds, PEAK: program.peak_mib}


def serve(scene: Scene, due: int, *, processes: int) -> dict[Figure, float]:
    """The whole service and its sending processes; all of it falls due at one instant once they have started."""
    service = asyncio.run(_served(scene, due, processes=processes))
    of_run, _ = _checked(scene, due)
    return _figures([service.program], of_run)


async def _served(scene: Scene, due: int, *, processes: int) -> Service:
    await prepare_scene(scene, due, ahead=timedelta(days=1))
    async with opened(stage.settings_for(scene.url)) as app:
        with serving(scene.url, scene.folder, processes=processes) as service:
            await set_due(app, due)
            for _ in range(600 + due // 10):
                if await ended(app) >= due:
                    return service
                service.look()
                await asyncio.sleep(0.2)
    sys.exit(f"{scene.database}: not all {due} were sent in time")


async def prepare_scene(scene: Scene, due: int, *, ahead: timedelta = timedelta(0)) -> None:
    """So many due now, or some time ahead."""
    settings, hook = stage.settings_for(scene.url), f"http://127.0.0.1:{scene.hook}/hook"
    await stage.prepare(settings, due, webhook=hook, folder=scene.folder, kind=scene.kind, ahead=ahead)


def _checked(scene: Scene, due: int) -> tuple[Told, dict[str, int]]:
    """What the ledger tells, and the receiver; leaves when either has not exactly what was due."""
    of_run = asyncio.run(told(stage.settings_for(scene.url)))
    received = taken_from(scene.hook)
    hooks = due if scene.kind == "webhook" else 0 if scene.kind == "e-mail" else due - due // 2
    if of_run.sent != due or (received["requests"], received["ids"]) != (hooks, hooks):
        sys.exit(f"{scene.database}: {of_run.sent} of {due} in the ledger, {received} of {hooks} at the receiver")
    return of_run, received


def taken_from(port: int) -> dict[str, int]:
    """What the receiver has got since it was last asked."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        return dict(json.load(answer))


def _figures(programs: Sequence[Program], of_run: Told) -> dict[Figure, float]:
    return {
        STARTED_RATE: of_run.rate,
        CPU: 1000 * sum(each.cpu_seconds for each in programs) / of_run.sent,
        PEAK: max(each.peak_mib for each in programs),
        P50: of_run.late(0.5),
        P99: of_run.late(0.99),
    }
