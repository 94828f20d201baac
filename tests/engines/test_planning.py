"""What is dispatched when: once it is ready, and again, ever more rarely, for as long as it stays so."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from scheduler.app import App
from scheduler.engines.planning import Planner
from scheduler.errors import BrokerUnavailable, ConfigurationError
from scheduler.serving import serve_until_stopped
from scheduler.status import DeliveryStatus
from tests.scheduler.conftest import LEASE, World, world

__all__ = ["world"]
pytestmark = pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)


@dataclass
class Remembering:
    """An engine that goes nowhere and remembers what it was given; ``away``: its broker does not answer."""

    dispatched: list[UUID] = field(default_factory=list)
    away: bool = False

    async def dispatch(self, ids: Sequence[UUID]) -> None:
        if self.away:
            raise BrokerUnavailable("the broker does not take messages (gone)")
        self.dispatched += ids

    async def aclose(self) -> None:
        pass

    def taken(self) -> int:
        """How many since it was asked last."""
        count = len(self.dispatched)
        self.dispatched.clear()
        return count


def planner_of(app: App, engine: Remembering) -> Planner:
    return Planner(replace(app.runner().work, backlog_apart=timedelta(0)), engine)


async def test_what_is_opened_is_dispatched_at_once_and_again_in_doubling_pauses(world: World) -> None:
    engine = Remembering()
    planner = planner_of(world.app, engine)
    await world.subscribe()
    await planner.tick()
    world.clock.advance(minutes=30)

    dispatched_at = []
    for second in range(0, 1_000, 5):
        await planner.tick()
        dispatched_at += [second] * engine.taken()
        world.clock.advance(seconds=5)

    assert dispatched_at[:7] == [0, 5, 15, 35, 75, 155, 315]
    assert [after - before for before, after in pairwise(dispatched_at[7:])] == [300] * (len(dispatched_at) - 8)
    assert dispatched_at[7] - 315 <= 300


async def test_a_new_planner_dispatches_once_whatever_is_ready(world: World) -> None:
    engine = Remembering()
    await world.subscribe()
    world.clock.advance(minutes=30)
    await planner_of(world.app, engine).tick()
    world.clock.advance(minutes=3)
    engine.taken()

    other = planner_of(world.app, engine)
    await other.tick()
    await other.tick()

    assert engine.taken() == 1


async def test_while_the_broker_is_away_opening_goes_on_and_then_all_is_dispatched(world: World) -> None:
    engine = Remembering(away=True)
    planner = planner_of(world.app, engine)
    for _ in range(3):
        await world.subscribe()
    world.clock.advance(minutes=30)

    await planner.tick()
    assert await world.statuses() == [DeliveryStatus.STARTING] * 3
    assert planner.trouble == "the broker does not take messages (gone)"

    engine.away = False
    planner._try_again_at = 0.0
    await planner.tick()
    assert (engine.taken(), planner.trouble) == (3, None)


async def test_a_worker_sends_what_a_message_names_and_a_second_message_nothing(world: World) -> None:
    engine = Remembering()
    planner = planner_of(world.app, engine)
    await world.subscribe(target_value="ann@example.org,bob@example.org,cid@example.org")
    world.clock.advance(minutes=30)
    await planner.tick()
    first, second = world.runner(), world.runner()

    await asyncio.gather(
        first.execute(engine.dispatched, run_id="one"),
        second.execute(engine.dispatched, run_id="two"),
    )
    await first.execute(engine.dispatched, run_id="three")

    assert sorted(world.mailed) == ["ann@example.org", "bob@example.org", "cid@example.org"]
    [delivery] = await world.deliveries()
    assert delivery.status is DeliveryStatus.COMPLETED
    assert delivery.run_id in {"one", "two"}


async def test_what_a_dead_worker_held_is_dispatched_when_its_lease_has_run_out(world: World) -> None:
    engine = Remembering()
    planner = planner_of(world.app, engine)
    await world.subscribe()
    world.clock.advance(minutes=30)
    await planner.tick()
    await world.runner().claim(ids=engine.dispatched, run_id="one")  # …and the worker dies
    engine.taken()

    world.clock.advance(seconds=20)
    await planner.tick()
    assert engine.taken() == 0

    world.clock.advance(seconds=LEASE.total_seconds() - 20)
    await planner.tick()
    assert engine.taken() == 1


async def test_a_worker_that_is_told_to_stop_leaves_the_rest(world: World) -> None:
    engine = Remembering()
    planner = planner_of(world.app, engine)
    await world.subscribe()
    world.clock.advance(minutes=30)
    await planner.tick()
    runner = world.runner()
    runner.stopping = True

    await runner.execute(engine.dispatched, run_id="one")

    assert (await world.statuses(), world.mailed) == ([DeliveryStatus.STARTING], [])


async def test_sending_processes_of_the_embedded_engine_are_refused_with_another(world: World) -> None:
    app = replace(world.app, settings=world.app.settings.model_copy(update={"engine": "celery"}))

    with pytest.raises(ConfigurationError, match=r"--workers .* scheduler\.engines\.celery_worker"):
        await serve_until_stopped(app, host="127.0.0.1", port=0, workers=1, notify=lambda _: None, watchdog=None)


async def test_without_the_extra_the_error_says_how_to_get_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)
    for name in ("celery_app", "celery_engine"):
        monkeypatch.delitem(sys.modules, f"scheduler.engines.{name}", raising=False)
    app = replace(world.app, settings=world.app.settings.model_copy(update={"engine": "celery"}))

    with pytest.raises(ConfigurationError, match=r"pip install 'paperround\[celery\]'"):
        app.planner()
