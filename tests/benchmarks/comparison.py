"""Paperround beside what a team would write first, in pairs: ours, theirs, ours, theirs; the same sink, the same run.

Rates are compared, from the first row read to the last commit, without either one's start. Webhooks only.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks import stage
from tests.benchmarks.baselines.broker import rabbitmq
from tests.benchmarks.figures import PAYLOAD, STARTED_RATE, Figure, Results
from tests.benchmarks.processes import start, wait_for
from tests.benchmarks.sending import Scene, run_due, taken_from
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.told import told

PART = "comparison"
MODULES = {"plain loop": "plain_loop", "APScheduler": "apscheduler_jobs", "Celery": "celery_tasks"}
THEIRS = Figure("baseline's deliveries/s", "1/s")
OURS = Figure("Paperround's deliveries/s", "1/s")
RATIO = Figure("ratio", "×")
SIZE = Figure("baseline's payload ÷ ours", "×")


def measure(sizes: Sizes, results: Results) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hook = stack.enter_context(stage.sink())
        broker = _broker(stack, folder, sizes, results)
        baselines = [name for name in sizes.baselines if name != "Celery" or broker is not None]
        for database, url in stage.urls(sizes.databases, folder).items():
            scene = Scene(database, url, folder, hook, mail=None)
            for name in baselines:
                for _ in range(sizes.repeats):
                    results.add(PART, f"{database}, {name}", _pair(scene, name, sizes, broker))


def _broker(stack: ExitStack, folder: Path, sizes: Sizes, results: Results) -> str | None:
    if "Celery" not in sizes.baselines:
        return None
    try:
        return stack.enter_context(rabbitmq(folder / "broker"))
    except stage.Missing as missing:
        results.skip("comparison with Celery", str(missing))
        return None


def _pair(scene: Scene, name: str, sizes: Sizes, broker: str | None) -> dict[Figure, float]:
    ours = run_due(scene, sizes.deliveries, processes=1)
    theirs, their_size = _baseline(scene, name, sizes.compared, broker)
    return {
        OURS: ours[STARTED_RATE],
        THEIRS: theirs,
        RATIO: ours[STARTED_RATE] / theirs,
        SIZE: their_size / ours[PAYLOAD],
    }


def _baseline(scene: Scene, name: str, due: int, broker: str | None) -> tuple[float, float]:
    """Deliveries a second, and bytes of a payload."""
    hook = f"http://127.0.0.1:{scene.hook}/hook"
    asyncio.run(stage.prepare(stage.settings_for(scene.url), due, webhook=hook, folder=scene.folder))
    command = [sys.executable, "-m", f"tests.benchmarks.baselines.{MODULES[name]}", scene.url]
    if name == "Celery" and broker is not None:
        command.append(broker)
    out = scene.folder / "baseline.json"
    program = start(command, folder=scene.folder, environ=scene.environ, out=out)
    wait_for([program])
    if program.process.returncode:
        sys.exit(f"{name}: exit {program.process.returncode}\n{program.log.read_text()[-2000:]}")
    in_ledger, received = asyncio.run(told(stage.settings_for(scene.url))).sent, taken_from(scene.hook)
    if (in_ledger, received["ids"]) != (due, due):
        sys.exit(f"{name}: {in_ledger} in the ledger, {received} of {due}\n{program.log.read_text()[-2000:]}")
    said = json.loads(out.read_text())
    return due / said["seconds"], received["bytes"] / due
