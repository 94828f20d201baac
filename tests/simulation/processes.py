"""What processes have used, as the kernel counts it (proc(5))."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Of a process that has one thread, to the nanosecond; 0 when it has gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="utf-8").split()[0]) / 1e9
    return 0.0


def cpu_seconds_of_family(pid: int) -> float:
    """Of a process with all its threads and its children's, to a hundredth of a second."""
    return sum(_used(each) for each in (pid, *children(pid)))


def _used(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    return 0.0


def busy_seconds() -> float:
    """Of all cores, whoever used them, those that the machine's owner took away included."""
    fields = [int(each) for each in Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]]
    idle, waiting_for_disks = fields[3], fields[4]
    return (sum(fields) - idle - waiting_for_disks) / TICKS


def memory_mib(pid: int, what: str) -> float:
    """``VmRSS``: now; ``VmHWM``: at most so far."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(f"{what}:")).split()[1]) / 1024


def children(pid: int) -> list[int]:
    """Its children, as long as they live."""
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]
    return []


def postgres_processes(data: Path) -> list[int]:
    """A server's main process and its children, by its data folder."""
    main = int((data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    return [main, *children(main)]


def sink_process() -> int:
    """The receiver that this process has started."""
    for pid in children(os.getpid()):
        if b"tests.benchmarks.sink" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise LookupError("no receiver was started by this process; start one with tests.benchmarks.__main__._sink")
