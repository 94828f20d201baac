"""``--measure``: take this machine's figures and write them to ``measured.json``, all of them, in some ten minutes.

The parts are measured alone: each transaction at two sizes, the send without a ledger. The whole is measured, too (the
service with a spike of due webhooks), but only to be compared with: the simulation is made of the parts.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path

from scheduler import logs
from scheduler.lanes import CAPACITY
from tests.benchmarks.stage import postgresql, sink
from tests.simulation.figures import KEPT, Ledger, Measured, Spike, load, save
from tests.simulation.sizes import measure_sizes
from tests.simulation.spikes import Resting, measure_spike
from tests.simulation.steps import Sends, measure_steps


def measure(*, rounds: int, due: int, kept: int, path: Path = KEPT) -> Measured:
    """So many rounds of steps and of spikes of ``due``, the sizes of ``kept`` deliveries; medians, in ``path``."""
    with tempfile.TemporaryDirectory() as folder, sink() as port, Path(os.devnull).open("w") as nowhere:
        logs.configure(as_json=True, stream=nowhere)
        urls = {"sqlite": f"sqlite:///{folder}/paperround.db", "postgresql": postgresql(folder)}
        ground = _Ground(urls, port, Path(folder))
        sizes = ground.sizes(kept)
        save([ground.round(number + 1, due, sizes) for number in range(rounds)], path)
    return load(path)


@dataclass(frozen=True, slots=True)
class _Ground:
    """Two databases, a receiver, a folder for the rest."""

    urls: Mapping[str, str]
    port: int
    folder: Path

    def sizes(self, count: int) -> dict[str, Ledger]:
        print(f"the sizes of {count} deliveries …", flush=True)
        return {name: asyncio.run(measure_sizes(url, count, folder=self.folder)) for name, url in self.urls.items()}

    def round(self, number: int, due: int, sizes: Mapping[str, Ledger]) -> Measured:
        """Everything else, once."""
        ledgers: dict[str, Ledger] = {}
        sends: list[Sends] = []
        for name, url in self.urls.items():
            print(f"round {number}: the steps on {name} …", flush=True)
            steps, sent = asyncio.run(measure_steps(url, port=self.port, folder=self.folder))
            sends.append(sent)
            ledgers[name] = replace(sizes[name], **steps)
        spikes, resting = self.spikes(number, due)
        return Measured(
            machine=_machine(),
            versions=_versions(),
            commit=_commit(),
            cores=os.cpu_count() or 1,
            **ledgers,
            send_cpu={"webhook": statistics.mean(each.cpu for each in sends)},
            warm_up=statistics.mean(each.warm_up for each in sends),
            connect_cpu=statistics.mean(each.connect_cpu for each in sends),
            receiver_cpu=statistics.mean(each.receiver_cpu for each in sends),
            round_trip=statistics.mean(each.round_trip for each in sends),
            resting_mib=resting,
            held_mib=max(0.0, max(each.peak_mib for each in spikes) - resting) / CAPACITY,
            spikes=tuple(spikes),
        )

    def spikes(self, number: int, due: int) -> tuple[list[Spike], float]:
        """One or two processes on each database; and the MiB of a service at rest."""
        spikes, resting = [], Resting()
        for (name, url), processes in product(self.urls.items(), (1, 2)):
            print(f"round {number}: {due} due at once on {name}, {processes} sending …", flush=True)
            run = measure_spike(url, due, processes, port=self.port, folder=self.folder, resting=resting)
            spikes.append(asyncio.run(run))
        return spikes, resting.mib


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()}"


def _versions() -> str:
    of = ("sqlalchemy", "aiosqlite", "psycopg", "aiohttp")
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in of)])


def _commit() -> str:
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"
