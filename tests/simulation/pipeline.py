"""The product's pipeline, simulated: workers tick, open, claim, send and record as ``scheduler/delivery.py`` says.

:func:`simulate` runs it until everything due was sent or has failed for good.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from functools import partial

from scheduler.backoff import JITTER, SCHEDULES
from scheduler.daemon import HELD, LONGEST_SLEEP
from tests.simulation import assumed
from tests.simulation.events import Process, Servers, Signal, World
from tests.simulation.figures import Measured, Step
from tests.simulation.ledger import Delivery, DueRows, Ledger
from tests.simulation.setting import Destination, Due, Outcome, Sent, Setting

STATEMENTS = 2
"""Of a transaction, as far as the event loop turns between them."""
CONNECTING_TURNS = 3
"""Of the event loop, for a send that connects."""
STRANGERS_TURN = 0.004
"""Seconds that another program keeps a core before it is ours again: about Linux's time slice."""


def simulate(
    setting: Setting, measured: Measured, dues: Sequence[Due], *, seed: int = 1, horizon: float = math.inf
) -> Outcome:
    """What comes of these due occurrences, until ``horizon`` (seconds) at the latest."""
    world = World()
    run = _Run(world, setting, measured, dues, random.Random(seed))  # noqa: S311 - no secret
    for worker in run.workers:
        world.start(worker.work())
    if setting.others:
        world.start(run.strangers())
    world.run(until=lambda: run.ledger.unfinished == 0 or world.now > horizon)
    return run.outcome(len(dues))


class _Run:
    """One simulated service: its machines, its database, its workers, the receivers."""

    def __init__(
        self, world: World, setting: Setting, measured: Measured, dues: Sequence[Due], chance: random.Random
    ) -> None:
        self.world, self.setting, self.measured, self.chance = world, setting, measured, chance
        self.cores = Servers(world, setting.cores)
        server = self.cores if setting.server_cores is None else Servers(world, setting.server_cores)
        shares = (
            [list(dues)] if not setting.ranges else [dues[n :: setting.processes] for n in range(setting.processes)]
        )
        self.ledger = Ledger(world, shares, one_writer=setting.database == "sqlite", server=server)
        self.receiver = Servers(world, 1)
        self.sent: list[Sent] = []
        self.failed = self.attempts = 0
        self.server_cpu = 0.0
        self.workers = [_Worker(self, self.ledger.due[n % len(shares)]) for n in range(setting.processes)]

    def strangers(self) -> Process:
        """Other programs take turns on our cores, as much as they took when it was measured."""
        turn = STRANGERS_TURN / self.setting.others
        while True:
            self.world.start(self.cores.serve(STRANGERS_TURN))
            yield turn

    def answered(self, to: Destination) -> Process:
        """Let the receiver answer."""
        if self.setting.receiver_here:
            yield from self.receiver.take()
            yield from self.cores.serve(self.measured.receiver_cpu)
            self.receiver.give_back()
        yield to.seconds * (math.exp(self.chance.gauss(0.0, to.spread)) if to.spread else 1.0)

    def outcome(self, due: int) -> Outcome:
        held = sum(worker.held_seconds for worker in self.workers)
        return Outcome(
            due=due,
            sent=self.sent,
            failed=self.failed,
            waiting=self.ledger.unfinished,
            attempts=self.attempts,
            cpu_seconds=sum(worker.cpu for worker in self.workers),
            server_cpu_seconds=self.server_cpu,
            transactions=self.ledger.transactions,
            held_most=max(worker.held_most for worker in self.workers),
            held_seconds=held,
            held_average=sum(worker.held_area() for worker in self.workers) / max(self.world.now, 1e-9),
            seconds=self.world.now,
            measured=self.measured,
            database=self.setting.database,
        )


class _Worker:
    """One sending process: an event loop, its lanes, its recorder."""

    def __init__(self, run: _Run, due: DueRows) -> None:
        self.run, self.world, self.setting, self.ledger, self.due = run, run.world, run.setting, run.ledger, due
        self.steps = run.measured.ledger(run.setting.database)
        self.loop = Servers(run.world, 1)
        self.wake = Signal(run.world)
        self.warm = Signal(run.world)
        self.ledger.on_ready.append(self.wake.set)
        self.lanes: Counter[str] = Counter()
        self.held = self.held_most = self._sends = self._sleeps = 0
        self.held_seconds = self.cpu = self._area = self._since = 0.0
        self.recorder = _Recorder(self)

    def work(self) -> Process:
        """Tick, and sleep until there is something to do."""
        while True:
            self.wake.clear()
            yield from self.tick()
            self._sleeps += 1
            self.world.later(self._sleep(), partial(self._ring, self._sleeps))
            yield self.wake

    def _ring(self, sleep: int) -> None:
        """This sleep is over, unless it was ended before."""
        if sleep == self._sleeps:
            self.wake.set()

    def tick(self) -> Process:
        """Open what is due, batch by batch, and start sending what is ready."""
        yield from self.transaction(self.steps.look, 1)
        more_is_due = True
        while more_is_due:
            more_is_due = yield from self.open_due()
            while batch := (yield from self.claim()):
                for delivery in batch:
                    self._hold(delivery, 1)
                    self.world.start(self.deliver(delivery))

    def _sleep(self) -> float:
        if self.held < self.setting.capacity and self.ledger.ready.is_anything_for(self._room_at):
            return HELD.total_seconds()  # another worker is about to claim what this one saw
        next_at = self.due.next_at()
        left = math.inf if next_at is None else next_at - self.world.now
        return min(left, LONGEST_SLEEP.total_seconds()) if left > 0 else HELD.total_seconds()

    # ── open, claim ──────────────────────────────────────────────────────────────────────────────────────────────────

    def open_due(self) -> Process:
        """A batch; whether there may be more."""
        limit = self.setting.open_batch
        if not (read := self.due.read(self.world.now, limit)):
            return False
        yield from self.trips(self.steps.open, len(read), 1)
        if self.ledger.writer is not None:
            yield from self.ledger.writer.take()
        mine = self.due.lock(read)
        yield from self.trips(self.steps.open, len(mine), STATEMENTS - 1)
        for due in self.due.open(mine):
            self.ledger.make_ready(
                Delivery(due.to, due.at + due.offset), after=max(0.0, due.at + due.offset - self.world.now)
            )
        self._committed()
        return bool(mine) and len(read) == limit

    def claim(self) -> Process:
        """What is ready and has room, while this process's hands are not full."""
        room = min(self.setting.claim_batch, self.setting.capacity - self.held)
        if room <= 0 or not self.ledger.ready.is_anything_for(self._room_at):
            return []
        if self.ledger.writer is not None:
            yield from self.ledger.writer.take()
        chosen = self.ledger.ready.choose(room, self._room_at)
        yield from self.trips(self.steps.claim, len(chosen), 1)
        mine = self.ledger.ready.take(chosen)
        for delivery in mine:
            self.ledger.reserve(delivery.to, wake=self.wake.set)
        yield from self.trips(self.steps.claim, len(mine), STATEMENTS - 1)
        self.ledger.ready.commit(mine)
        self._committed()
        return mine

    def _room_at(self, to: Destination) -> int:
        return self.setting.at_once[to.kind] - self.lanes[to.name] if self.ledger.is_free(to) else 0

    # ── send ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def deliver(self, delivery: Delivery) -> Process:
        """Half of the send's CPU before the receiver answers, half after it; then the outcome waits to be recorded."""
        self._sends += 1
        if self._sends == 1:
            yield from self.compute(self.run.measured.warm_up)
            self.warm.set()
        yield self.warm
        if self._sends <= self.setting.capacity:  # nobody has left a connection yet
            for _ in range(CONNECTING_TURNS):
                yield from self.compute(self.run.measured.connect_cpu / CONNECTING_TURNS)
        cpu = self.run.measured.send_cpu.get(delivery.to.kind) or assumed.SEND_CPU[delivery.to.kind]
        yield from self.compute(cpu / 2)
        yield from self.run.answered(delivery.to)
        yield from self.compute(cpu / 2)
        delivery.attempt += 1
        self.run.attempts += 1
        fails = delivery.to.failing > 0 and self.run.chance.random() < delivery.to.failing
        if not fails:
            self.run.sent.append(
                Sent(delivery.to.name, delivery.attempt, self.world.now, self.world.now - delivery.due_at)
            )
        self.recorder.put(delivery, sent=not fails)

    def recorded(self, delivery: Delivery, *, sent: bool) -> None:
        """Out of this process's hands: finished, or ready again after a pause."""
        self._hold(delivery, -1)
        self.wake.set()
        pauses = SCHEDULES[delivery.to.kind]
        if not sent and delivery.attempt <= len(pauses):
            length = pauses[delivery.attempt - 1].total_seconds()
            self.ledger.make_ready(delivery, after=length * (1 + JITTER * self.run.chance.uniform(-1, 1)))
            return
        self.run.failed += not sent
        self.ledger.unfinished -= 1

    # ── what it takes ────────────────────────────────────────────────────────────────────────────────────────────────

    def transaction(self, step: Step, rows: int) -> Process:
        """A whole one; a writer's, when ``step`` is one, is taken by whoever calls."""
        yield from self.trips(step, rows, STATEMENTS)

    def trips(self, step: Step, rows: int, number: int) -> Process:
        """So many of the round trips of a transaction on so many rows."""
        loop, database, waiting = (cost.of(rows) / STATEMENTS for cost in (step.loop, step.database, step.waiting))
        for _ in range(number):
            yield from self.compute(loop)
            yield from self.ledger.server.serve(database)
            yield waiting + self.setting.network
        if self.ledger.writer is not None:
            self.cpu += database * number
        else:
            self.run.server_cpu += database * number

    def compute(self, seconds: float) -> Process:
        """Occupy this process's event loop, and a core."""
        yield from self.loop.take()
        yield from self.run.cores.serve(seconds)
        self.loop.give_back()
        self.cpu += seconds

    def _committed(self) -> None:
        self.ledger.transactions += 1
        if self.ledger.writer is not None:
            self.ledger.writer.give_back()

    def _hold(self, delivery: Delivery, change: int) -> None:
        self._area += self.held * (self.world.now - self._since)
        self._since = self.world.now
        if change > 0:
            delivery.claimed_at = self.world.now
        else:
            self.held_seconds += self.world.now - delivery.claimed_at
        self.lanes[delivery.to.name] += change
        self.held += change
        self.held_most = max(self.held_most, self.held)

    def held_area(self) -> float:
        """Deliveries in hand, by the seconds."""
        return self._area + self.held * (self.world.now - self._since)


class _Recorder:
    """Outcomes gather while a batch is written; a batch is full, or not older than so many seconds."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker
        self._waiting: list[tuple[Delivery, bool]] = []
        self._full = Signal(worker.world)
        self._flushing = False

    def put(self, delivery: Delivery, *, sent: bool) -> None:
        """Have it written with its neighbours."""
        self._waiting.append((delivery, sent))
        if len(self._waiting) >= self._worker.setting.record_batch:
            self._full.set()
        if not self._flushing:
            self._flushing = True
            self._worker.world.start(self._flush())

    def _flush(self) -> Process:
        worker, ledger = self._worker, self._worker.ledger
        while self._waiting:
            worker.world.later(worker.setting.record_within, self._full.set)
            yield self._full
            self._full = Signal(worker.world)
            batch, self._waiting = self._waiting, []
            if ledger.writer is not None:
                yield from ledger.writer.take()
            yield from worker.transaction(worker.steps.record, len(batch))
            worker._committed()
            for delivery, sent in batch:
                worker.recorded(delivery, sent=sent)
        self._flushing = False
