"""What the simulation is made of: figures of one machine, measured by ``--measure`` and kept in ``measured.json``.

Three kinds of numbers, and no others: *measured* ones are here, *the product's own* (batch sizes, lanes, pauses) are
imported from it, *assumed* ones stand in :mod:`tests.simulation.assumed`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent / "measured.json"


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds: so many for a transaction, and so many for each of its rows."""

    fixed: float
    row: float

    def of(self, rows: int) -> float:
        """Seconds for so many rows in one transaction."""
        return self.fixed + rows * self.row


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of transaction. ``loop`` occupies the worker's event loop; ``database`` is CPU beside it.

    (SQLite's: in a thread of the worker. PostgreSQL's: the server's.) ``waiting`` is what is left of the wall clock:
    fsync, and the way there and back.
    """

    loop: Cost
    database: Cost
    waiting: Cost


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes that one delivery adds to a table or an index."""

    name: str
    kind: str
    bytes_per_delivery: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a delivery costs on one of the databases."""

    look: Step
    open: Step
    claim: Step
    record: Step
    written_per_delivery: float
    """Bytes: of WAL on PostgreSQL, handed to write(2) on SQLite (WAL and checkpoints)."""
    changed_per_delivery: float
    """Rows inserted or updated."""
    hot_share: float | None
    """PostgreSQL: the part of the updates that touched no index."""
    subscription_bytes: float
    """That one subscription takes, its indexes included."""
    sizes: tuple[Size, ...]

    @property
    def kept_per_delivery(self) -> float:
        """Bytes that stay."""
        return sum(each.bytes_per_delivery for each in self.sizes)


@dataclass(frozen=True, slots=True)
class Spike:
    """One measured run of the service: so many due in one instant, lateness in seconds.

    ``others``: cores that other programs kept busy meanwhile; a quiet machine has none.
    """

    database: str
    processes: int
    due: int
    per_second: float
    cpu_per_1000: float
    first: float
    p50: float
    p99: float
    peak_mib: float
    others: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one machine."""

    machine: str
    versions: str
    commit: str
    cores: int
    sqlite: Ledger
    postgresql: Ledger
    send_cpu: Mapping[str, float]
    """Seconds of the event loop for one delivery, by channel: compose, sign, hand over, judge."""
    warm_up: float
    """Seconds until a process's very first send has gone: content, templates."""
    connect_cpu: float
    """Seconds that a send takes more while its connection is new: as many of a process as it has in hand."""
    receiver_cpu: float
    """Seconds of CPU of the benchmark's receiver for one request: it shares this machine."""
    round_trip: float
    """Seconds until it answers one request at a time, without the sender's CPU."""
    resting_mib: float
    held_mib: float
    spikes: tuple[Spike, ...]

    def ledger(self, database: str) -> Ledger:
        """The figures of ``sqlite`` or ``postgresql``."""
        return self.sqlite if database == "sqlite" else self.postgresql


def load(path: Path = KEPT) -> Measured:
    """What was measured last."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Measured(
        **kept
        | {
            "sqlite": _ledger(kept["sqlite"]),
            "postgresql": _ledger(kept["postgresql"]),
            "spikes": tuple(Spike(**each) for each in kept["spikes"]),
        }
    )


def save(rounds: Sequence[Measured], path: Path = KEPT) -> None:
    """Keep the medians of these rounds, in three digits."""
    kept = _rounded(_middle([asdict(each) for each in rounds]))
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _middle(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {name: _middle([each[name] for each in values]) for name in first}
    if isinstance(first, tuple):
        return [_middle(each) for each in zip(*values, strict=True)]
    return statistics.median(values) if isinstance(first, float) else first


def _ledger(kept: dict[str, Any]) -> Ledger:
    steps = {name: _step(kept[name]) for name in ("look", "open", "claim", "record")}
    return Ledger(**kept | steps | {"sizes": tuple(Size(**each) for each in kept["sizes"])})


def _step(kept: dict[str, Any]) -> Step:
    return Step(**{name: Cost(**kept[name]) for name in ("loop", "database", "waiting")})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.3g}") if abs(value) < 1000 else round(value)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
