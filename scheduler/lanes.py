"""Who may send now: bounded in all, capped and paced per destination, so that a slow one holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from scheduler.backoff import LONGEST_PUT_OFF


@dataclass(frozen=True, slots=True)
class Rule:
    """What one destination of a channel stands: so many sends at once, so many seconds from message to message."""

    at_once: int
    seconds_apart: float = 0.0


RULES: Mapping[str, Rule] = {
    "webhook": Rule(at_once=8),
    "email": Rule(at_once=4),  # deliveries, two recipients of each
    # https://docs.slack.dev/apis/web-api/rate-limits: one message a second a channel, short bursts allowed
    "slack": Rule(at_once=1, seconds_apart=1.0),
}

CAPACITY = 512
"""Deliveries a process has in its hands at most, waiting ones included: what memory is bounded by."""


@dataclass(slots=True)
class _Lane:
    rule: Rule
    free: asyncio.Semaphore
    held: int = 0
    next_turn: float = 0.0


@dataclass(slots=True)
class Lanes:
    """One lane a destination, for as long as something is in it. Seconds are the event loop's, not the wall clock's."""

    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    capacity: int = CAPACITY
    _lanes: dict[str, _Lane] = field(default_factory=dict)
    _held: int = 0
    _idle: set[str] = field(default_factory=set)
    """Whose pause is not over, though nothing is in them."""

    def room(self) -> int:
        """How many more deliveries may be claimed."""
        return self.capacity - self._held

    def room_at(self, kind: str, destination: str) -> int:
        """How many more deliveries to this destination may be claimed: no more than can start at once."""
        lane = self._lanes.get(destination)
        return self.rules[kind].at_once - (0 if lane is None else lane.held)

    def busy(self) -> list[str]:
        """The destinations with as many deliveries in hand as they stand at once, or whose turn is not yet."""
        now = asyncio.get_running_loop().time()
        return [name for name, lane in self._lanes.items() if lane.held >= lane.rule.at_once or lane.next_turn > now]

    def soonest_turn(self) -> float | None:
        """Seconds until an idle but paced destination may be sent to again; None when there is none."""
        now = asyncio.get_running_loop().time()
        waits = [lane.next_turn - now for lane in self._lanes.values() if lane.held == 0 and lane.next_turn > now]
        return min(waits, default=None)

    def hold(self, kind: str, destination: str) -> None:
        """Count a claimed delivery in; :meth:`let_go` counts it out."""
        lane = self._lanes.get(destination)
        if lane is None:
            rule = self.rules[kind]
            lane = self._lanes[destination] = _Lane(rule, asyncio.Semaphore(rule.at_once))
        lane.held += 1
        self._held += 1
        self._idle.discard(destination)

    def let_go(self, destination: str) -> None:
        """The delivery is out of this process's hands."""
        lane = self._lanes[destination]
        lane.held -= 1
        self._held -= 1
        if lane.held == 0:
            self._idle.add(destination)
            self._forget_idle()

    @asynccontextmanager
    async def turn(self, destination: str, *, messages: int = 1) -> AsyncIterator[None]:
        """Wait for this destination's turn, then send and record: what a crash may repeat is never more than a turn.

        ``messages`` is how many the send will post.
        """
        lane = self._lanes[destination]
        async with lane.free:
            loop = asyncio.get_running_loop()
            if (wait := lane.next_turn - loop.time()) > 0:
                await asyncio.sleep(wait)
            lane.next_turn = loop.time() + lane.rule.seconds_apart * messages
            yield

    def hold_off(self, destination: str, seconds: float) -> None:
        """The provider asked for a pause: where destinations are paced, all of this one waits until it is over.

        Elsewhere only the refused recipient waits: a webhook's host may be many people's.
        """
        lane = self._lanes[destination]
        if lane.rule.seconds_apart:
            until = asyncio.get_running_loop().time() + min(seconds, LONGEST_PUT_OFF.total_seconds())
            lane.next_turn = max(lane.next_turn, until)

    def _forget_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        for name in [name for name in self._idle if self._lanes[name].next_turn <= now]:
            self._idle.remove(name)
            del self._lanes[name]
