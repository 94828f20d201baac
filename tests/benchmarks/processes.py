"""Programs under measurement, as the operating system accounts for them (proc(5), wait4(2))."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LOOKS_EVERY = 0.1


@dataclass(slots=True)
class Program:
    """One started program: what it has used once it has ended, its children included."""

    process: subprocess.Popen[bytes]
    log: Path
    peaks_mib: dict[int, float] = field(default_factory=dict)
    """Of it and of each of its children. Not ru_maxrss: that begins with what its parent had at the fork."""
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    _began: float = field(default_factory=time.perf_counter)

    def look(self) -> bool:
        """Note its peaks; whether it has ended."""
        for pid in (self.process.pid, *_children(self.process.pid)):
            self.peaks_mib[pid] = max(self.peaks_mib.get(pid, 0.0), _peak_mib(pid))
        ended, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if ended:
            self._note_end(status, usage)
        return bool(ended)

    def _note_end(self, status: int, usage: resource.struct_rusage) -> None:
        self.seconds = time.perf_counter() - self._began
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.process.returncode = os.waitstatus_to_exitcode(status)

    @property
    def peak_mib(self) -> float:
        return max(self.peaks_mib.values())

    def stop(self) -> None:
        """As an operator does it, and wait."""
        if self.process.returncode is None:
            self.process.terminate()
            wait_for([self])


def start(command: Sequence[str], *, folder: Path, environ: Mapping[str, str], out: Path | None = None) -> Program:
    """Its standard error, and without ``out`` its standard output too, go to a file in ``folder``."""
    log = folder / f"{time.monotonic_ns()}.log"
    with log.open("w") as errors, out.open("w") if out else Path(os.devnull).open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=output, stderr=errors)
    return Program(process, log)


def wait_for(programs: Iterable[Program]) -> None:
    """Until all have ended. Who stops waiting leaves none behind."""
    running = list(programs)
    try:
        while running:
            running = [each for each in running if not each.look()]
            if running:
                time.sleep(LOOKS_EVERY)
    finally:
        for each in running:
            each.process.terminate()


def run_together(commands: Sequence[Sequence[str]], *, folder: Path, environ: Mapping[str, str]) -> list[Program]:
    """Start all of them, and wait for all. Leaves with what it said when one of them fails."""
    programs = [start(command, folder=folder, environ=environ) for command in commands]
    wait_for(programs)
    for each in programs:
        if each.process.returncode:
            sys.exit(f"{each.process.args}: exit {each.process.returncode}\n{each.log.read_text()[-2000:]}")
    return programs


def _peak_mib(pid: int) -> float:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
    return 0.0


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
