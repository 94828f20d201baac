"""A discrete-event simulation, small enough to read: a heap of moments, and processes that are generators.

A process yields seconds to let pass, or a :class:`Signal` to wait for. What happens at the same moment happens in the
order in which it was asked for, so that a run is the same every time. (SimPy has more of it, and does the same with an
object for every event; a spike of 100,000 deliveries is half a million events.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeAlias

Process: TypeAlias = Generator[Any, None, Any]


class Signal:
    """What processes wait for; set once, it lets everyone through until it is cleared (``asyncio.Event``)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[Process] = []
        self.is_set = False

    def set(self) -> None:
        """Let everyone through who waits."""
        self.is_set = True
        waiting, self._waiting = self._waiting, []
        for process in waiting:
            self._world.resume(process)

    def clear(self) -> None:
        """Whoever comes now waits."""
        self.is_set = False

    def wait(self, process: Process) -> None:
        """Resume it when this is set."""
        if self.is_set:
            self._world.resume(process)
        else:
            self._waiting.append(process)


class World:
    """The clock, and what is to happen, by its moment. Seconds from the start."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self._heap: list[tuple[float, int, Process | Callable[[], None]]] = []
        self._order = count()

    def start(self, process: Process) -> None:
        """Let it begin now."""
        self.resume(process)

    def resume(self, process: Process) -> None:
        """Let it go on at this moment, after what is already to happen at it."""
        heappush(self._heap, (self.now, next(self._order), process))

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something done after so long."""
        heappush(self._heap, (self.now + seconds, next(self._order), action))

    def run(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Until nothing more is to happen, or until it is enough."""
        heap = self._heap
        while heap and not until():
            self.now, _, what = heappop(heap)
            self.events += 1
            if callable(what):
                what()
            else:
                self._advance(what)

    def _advance(self, process: Process) -> None:
        try:
            wanted = next(process)
        except StopIteration:
            return
        if isinstance(wanted, Signal):
            wanted.wait(process)
        else:
            heappush(self._heap, (self.now + wanted, next(self._order), process))


class Servers:
    """So many alike (cores, writers, an event loop), first come, first served; ``busy_seconds`` is what they worked."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._free = number
        self._queue: deque[Signal] = deque()
        self.busy_seconds = 0.0

    def take(self) -> Process:
        """Wait for one, and keep it until :meth:`give_back`."""
        if self._free:
            self._free -= 1
            return
        turn = Signal(self._world)
        self._queue.append(turn)
        yield turn

    def give_back(self) -> None:
        """The next one's turn."""
        if self._queue:
            self._queue.popleft().set()
        else:
            self._free += 1

    def serve(self, seconds: float) -> Process:
        """Wait for one, and occupy it for so long."""
        yield from self.take()
        yield seconds
        self.busy_seconds += seconds
        self.give_back()
