"""Who of this process may send now: bounded in all, capped per destination, so that a slow one holds up nobody else.

A destination that was slow to answer shares a few hands with all that are slow, until it is quick again; one that is
new gets few at once until it has answered.

How far apart messages to one destination are holds over every process: :mod:`scheduler.store.slots`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Rule:
    """What one destination of a channel stands: so many sends at once of a process, messages of all so far apart."""

    at_once: int
    apart: timedelta = timedelta(0)
    few: int | None = None
    """At once to one that is new, or slow, where there are so many destinations that these have to share."""

    def now(self, slow: bool | None) -> int:
        """At once, to one that was slow the last time (None: nobody knows)."""
        return self.at_once if self.few is None or slow is False else self.few


RULES: Mapping[str, Rule] = {
    "webhook": Rule(at_once=8, few=2),
    "email": Rule(at_once=16),  # deliveries, two recipients of each; all of them go to the one mail server
    # https://docs.slack.dev/apis/web-api/rate-limits: one message a second a channel, short bursts allowed
    "slack": Rule(at_once=1, apart=timedelta(seconds=1)),
}

CAPACITY = 512
"""Deliveries a process has in its hands at most, waiting ones included: what memory is bounded by."""
ASIDE = 64
"""So many of them may stand beside their lanes; what is prepared beyond that keeps its place, and others wait."""


SLOW = 5.0
"""Seconds; who answers later is slow. A send may take six times that; a quick answer takes a hundredth."""
SLOW_HANDS = 64
"""So many of the deliveries in hand may be for slow destinations: thousands that hang leave the others' hands free."""
KNOWN = 10_000
"""Destinations whose last answer is remembered."""


def rules_with(*, email_a_second: float) -> Mapping[str, Rule]:
    """The rules, with what the operator's mail server takes; 0: any number."""
    if not email_a_second:
        return RULES
    rule = RULES["email"]
    at_once = max(1, min(rule.at_once, int(email_a_second)))  # a burst is never more than one second's
    return {**RULES, "email": replace(rule, at_once=at_once, apart=timedelta(seconds=1 / email_a_second))}


@dataclass(slots=True)
class _Lane:
    rule: Rule
    free: asyncio.Semaphore
    is_slow: bool
    held: int = 0
    aside: int = 0


@dataclass(slots=True)
class Lanes:
    """One lane a destination, for as long as something is in it."""

    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    capacity: int = CAPACITY
    _lanes: dict[str, _Lane] = field(default_factory=dict)
    _held: int = 0
    _slow_held: int = 0
    _aside: int = 0
    _slow: OrderedDict[str, bool] = field(default_factory=OrderedDict)
    """Whether each destination was slow to answer the last time."""

    def room(self) -> int:
        """How many more deliveries may be claimed."""
        return self.capacity - self._held

    def room_at(self, kind: str, destination: str) -> int:
        """How many more deliveries to this destination may be claimed: no more than can start at once."""
        lane, slow = self._lanes.get(destination), self._slow.get(destination)
        room = self.rules[kind].now(slow) - (0 if lane is None else lane.held)
        return min(room, SLOW_HANDS - self._slow_held) if slow else room

    def pace(self, kind: str) -> timedelta:
        """How far apart messages to one destination of this kind are; none: as they come."""
        return self.rules[kind].apart

    def busy(self) -> list[str]:
        """The destinations with as many deliveries in hand as they stand at once; all slow ones, if these have."""
        full = [name for name, lane in self._lanes.items() if lane.held >= lane.rule.now(self._slow.get(name))]
        if self._slow_held < SLOW_HANDS:
            return full
        return list({*full, *(name for name, slow in self._slow.items() if slow)})

    def hold(self, kind: str, destination: str) -> None:
        """Count a claimed delivery in; :meth:`let_go` counts it out."""
        lane = self._lanes.get(destination)
        if lane is None:
            rule = self.rules[kind]
            is_slow = self._slow.get(destination, False)
            lane = self._lanes[destination] = _Lane(rule, asyncio.Semaphore(rule.at_once), is_slow)
        lane.held += 1
        self._held += 1
        self._slow_held += lane.is_slow

    def let_go(self, destination: str) -> None:
        """The delivery is out of this process's hands."""
        lane = self._lanes[destination]
        lane.held -= 1
        self._held -= 1
        self._slow_held -= lane.is_slow
        if lane.held == lane.aside == 0:
            del self._lanes[destination]

    @contextmanager
    def aside(self, destination: str) -> Iterator[None]:
        """Leave this destination's turns to others while something slow is prepared; then :meth:`turn` waits for one.

        The delivery stays in this process's hands.
        """
        if self._aside >= ASIDE:
            yield
            return
        lane = self._lanes[destination]
        self._move(lane, aside=1)
        try:
            yield
        finally:
            self._move(lane, aside=-1)

    def _move(self, lane: _Lane, *, aside: int) -> None:
        lane.held -= aside
        lane.aside += aside
        self._aside += aside

    @asynccontextmanager
    async def turn(self, destination: str) -> AsyncIterator[None]:
        """Wait for this destination's turn, then send and record: what a crash may repeat is never more than a turn."""
        async with self._lanes[destination].free:
            began = _seconds()
            try:
                yield
            finally:
                self._remember(destination, slow=_seconds() - began > SLOW)

    def _remember(self, destination: str, *, slow: bool) -> None:
        lane = self._lanes.get(destination)
        if lane is None or lane.rule.few is None:
            return
        self._slow[destination] = slow
        self._slow.move_to_end(destination)
        if len(self._slow) > KNOWN:
            self._slow.popitem(last=False)


def _seconds() -> float:
    return asyncio.get_running_loop().time()
