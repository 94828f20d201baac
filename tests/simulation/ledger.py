"""The simulated ledger: what is due, what is ready, the slots of paced destinations, and who may write."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from scheduler.lanes import RULES
from tests.simulation.events import Servers, World
from tests.simulation.setting import Destination, Due


@dataclass(slots=True, eq=False)
class Delivery:
    """One delivery; ``due_at`` is what its lateness counts from."""

    to: Destination
    due_at: float
    attempt: int = 0
    ready_at: float = 0.0
    is_ready: bool = False
    """Whoever looks sees it as ready: until the claim that took it is committed."""
    is_taken: bool = False
    claimed_at: float = 0.0


class DueRows:
    """Subscriptions that fall due, the longest waiting first; opened in batches, by whoever locks them first."""

    def __init__(self, dues: Sequence[Due]) -> None:
        self._dues = sorted(dues, key=lambda each: each.at)
        self._locked = [False] * len(dues)
        self._opened = [False] * len(dues)
        self._first = 0

    def read(self, now: float, limit: int) -> list[int]:
        """The first rows that are due; another worker may be opening them."""
        end = min(len(self._dues), self._first + limit)
        return [row for row in range(self._first, end) if self._dues[row].at <= now]

    def lock(self, rows: Sequence[int]) -> list[int]:
        """Those that nobody opens (``SKIP LOCKED``, and the date as it was read)."""
        mine = [row for row in rows if not self._locked[row]]
        for row in mine:
            self._locked[row] = True
        return mine

    def open(self, rows: Sequence[int]) -> list[Due]:
        """Committed: they are no longer due."""
        for row in rows:
            self._opened[row] = True
        while self._first < len(self._dues) and self._opened[self._first]:
            self._first += 1
        return [self._dues[row] for row in rows]

    def next_at(self) -> float | None:
        """When the next row falls due; None when there is none."""
        return self._dues[self._first].at if self._first < len(self._dues) else None


class Ready:
    """Deliveries that may be claimed: a queue for each destination, the longest waiting at its head."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Delivery]] = {}

    def add(self, delivery: Delivery) -> None:
        """It may be claimed from now on."""
        self._queues.setdefault(delivery.to.name, deque()).append(delivery)
        delivery.is_ready, delivery.is_taken = True, False

    def choose(self, limit: int, room_at: Callable[[Destination], int]) -> list[Delivery]:
        """So many, the longest waiting first, no more to a destination than it has room for; they stay ready."""
        found: list[Delivery] = []
        for queue in self._queues.values():
            if room := room_at(queue[0].to):
                found += islice((each for each in queue if each.is_ready), room)
        found.sort(key=attrgetter("ready_at"))
        return found[:limit]

    def is_anything_for(self, room_at: Callable[[Destination], int]) -> bool:
        """Whether a claim would find something."""
        return any(room_at(queue[0].to) for queue in self._queues.values())

    def take(self, chosen: Sequence[Delivery]) -> list[Delivery]:
        """Those that nobody has locked (``SKIP LOCKED``); others see them as ready until :meth:`commit`."""
        mine = [each for each in chosen if not each.is_taken]
        for each in mine:
            each.is_taken = True
        return mine

    def commit(self, mine: Sequence[Delivery]) -> None:
        """They are claimed: nobody sees them any more."""
        for each in mine:
            each.is_ready = False
        for name in {each.to.name for each in mine}:
            queue = self._queues[name]
            while queue and not queue[0].is_ready:
                queue.popleft()
            if not queue:
                del self._queues[name]


class Ledger:
    """The rows that all processes share, and the database's means."""

    def __init__(self, world: World, dues: Sequence[Sequence[Due]], *, one_writer: bool, server: Servers) -> None:
        self.world = world
        self.due = [DueRows(each) for each in dues]
        self.ready = Ready()
        self.writer = Servers(world, 1) if one_writer else None
        self.server = server
        self.free_at: dict[str, float] = {}
        self.unfinished = sum(len(each) for each in dues)
        self.transactions = 0
        self.on_ready: list[Callable[[], None]] = []

    def make_ready(self, delivery: Delivery, *, after: float = 0.0) -> None:
        """It may be claimed, now or after so many seconds; at that moment workers look."""
        delivery.ready_at = self.world.now + after
        if after > 0:
            self.world.later(after, lambda: self._ready_now(delivery))
        else:
            self.ready.add(delivery)

    def _ready_now(self, delivery: Delivery) -> None:
        self.ready.add(delivery)
        for wake in self.on_ready:
            wake()

    def is_free(self, to: Destination) -> bool:
        """Whether its slot has come; a destination without a pace has none."""
        return self.free_at.get(to.name, 0.0) <= self.world.now

    def reserve(self, to: Destination, *, wake: Callable[[], None]) -> None:
        """Take the slot of a paced destination, and have somebody look when the next one comes."""
        if pause := RULES[to.kind].apart.total_seconds():
            self.free_at[to.name] = self.world.now + pause
            self.world.later(pause, wake)
