"""What is simulated, and what came out: values, for the tables and for the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from scheduler.delivery import BATCH, CLAIM
from scheduler.lanes import CAPACITY, RULES
from scheduler.recorder import SIZE, WITHIN_SECONDS
from tests.simulation.figures import Measured


@dataclass(frozen=True, slots=True)
class Destination:
    """Where deliveries go. ``seconds`` until it answers, in the middle; ``failing``: part of its attempts that fail."""

    name: str
    kind: str
    seconds: float
    spread: float = 0.0
    failing: float = 0.0


@dataclass(frozen=True, slots=True)
class Due:
    """One due occurrence. ``offset``: seconds after its instant that its delivery may start (spread)."""

    at: float
    to: Destination
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Setting:
    """Processes on machines of ``cores``, and their database: in the same machine, or on a server of its own."""

    database: str
    processes: int = 1
    cores: int = 2
    """Of all the machines that the processes run on."""
    server_cores: int | None = None
    """Of PostgreSQL's own server; None: it runs beside the processes."""
    network: float = 0.0
    """Seconds to that server and back, for each statement."""
    receiver_here: bool = False
    """The benchmark's receiver: one process on the same machine."""
    others: float = 0.0
    """Cores that other programs kept busy meanwhile."""
    ranges: bool = False
    """Each process opens only its own range of the projects; else they all look at the same due rows."""
    # The product's own numbers.
    open_batch: int = BATCH
    claim_batch: int = CLAIM
    record_batch: int = SIZE
    record_within: float = WITHIN_SECONDS
    capacity: int = CAPACITY
    at_once: Mapping[str, int] = field(default_factory=lambda: {kind: rule.at_once for kind, rule in RULES.items()})
    """To one destination, by channel."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One accepted delivery: where, at which attempt, and when, by the simulation's clock and as lateness."""

    to: str
    attempt: int
    at: float
    late: float


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    due: int
    sent: Sequence[Sent]
    failed: int
    waiting: int
    """Not opened yet, ready, in hand, or ready again later."""
    attempts: int
    cpu_seconds: float
    """Of the sending processes; SQLite's threads are theirs."""
    server_cpu_seconds: float
    transactions: int
    held_most: int
    """Deliveries in one process's hands at the same time, at most."""
    held_seconds: float
    """All deliveries' seconds in hand, added up."""
    held_average: float
    """In all hands, over the run."""
    seconds: float
    measured: Measured = field(repr=False)
    database: str = ""

    @cached_property
    def lateness(self) -> list[float]:
        """Seconds, the least first."""
        return sorted(each.late for each in self.sent)

    def late(self, part: float) -> float:
        """The lateness that so great a part does not exceed; 0 with nothing sent."""
        return self.lateness[min(len(self.sent) - 1, int(part * len(self.sent)))] if self.sent else 0.0

    @property
    def per_second(self) -> float:
        """Those sent at once, from the start to the last of them: a pause before a repetition is no work."""
        at_once = [each.at for each in self.sent if each.attempt == 1]
        return len(at_once) / max(at_once) if at_once else 0.0

    @property
    def cpu_per_1000(self) -> float:
        """Of the sending processes."""
        return 1000 * self.cpu_seconds / max(1, len(self.sent))

    @property
    def written(self) -> float:
        """Bytes that the database writes."""
        return self.due * self.measured.ledger(self.database).written_per_delivery

    @property
    def kept(self) -> float:
        """Bytes that it keeps."""
        return self.due * self.measured.ledger(self.database).kept_per_delivery

    @property
    def peak_mib(self) -> float:
        """Of one process."""
        return self.measured.resting_mib + self.held_most * self.measured.held_mib
