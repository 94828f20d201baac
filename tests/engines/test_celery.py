"""Celery on a real RabbitMQ, with real workers and a real receiver: messages may get lost, deliveries may not."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from scheduler.engines.base import Engine
from scheduler.engines.celery_app import celery_app
from tests.conftest import _postgres_database
from tests.crash.ground import prepared
from tests.crash.ledger import Verdict, judge
from tests.crash.processes import seeded
from tests.engines.broker import Broker, redis
from tests.engines.stage import Dropping, Stage, Worker, drive, staged, waiting

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@dataclass(frozen=True)
class Thrice:
    """The real engine, and every message three times."""

    engine: Engine

    async def dispatch(self, ids: Sequence[UUID]) -> None:
        for _ in range(3):
            await self.engine.dispatch(ids)

    async def aclose(self) -> None:
        await self.engine.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_stage(
    broker: Broker, postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("stage")
    with _postgres_database(postgres_server) as url:
        async with prepared(folder, url) as ground:
            yield staged(ground, broker.url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(module_stage: Stage) -> AsyncIterator[Worker]:
    """One for all of these tests, whoever kills it starts it again."""
    async with module_stage.worker() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def stage(module_stage: Stage) -> Stage:
    await module_stage.clear()
    return module_stage


async def verdict(stage: Stage) -> Verdict:
    """The ledger against the rules, the receiver and the product's own verifier."""
    return await judge(stage.ground, [], at_once=None)


async def test_what_is_dispatched_thrice_is_sent_once(stage: Stage, worker: Worker) -> None:
    await stage.plant(60)

    async with stage.planner() as planner:
        planner.engine = Thrice(planner.engine)
        await drive(planner, stage.is_finished)

    assert (await verdict(stage)).violations == []
    assert [count for _, count in Counter(stage.keys()).items()] == [1] * 60
    assert all(run_id.startswith("celery-") for run_id in await stage.run_ids())


async def test_a_worker_killed_amid_its_sends_and_lost_messages_cost_time_and_no_delivery(
    stage: Stage, worker: Worker
) -> None:
    await stage.plant(60)

    async with stage.planner() as planner:
        planner.engine = Dropping(planner.engine, 0.3, seeded(7))
        await drive(planner, lambda: stage.has_sent(10))
        await worker.kill()
        await worker.start()
        await drive(planner, stage.is_finished)

    found = await verdict(stage)
    assert found.violations == []
    assert len(set(stage.keys())) == 60


async def test_while_the_broker_is_dead_opening_goes_on_and_when_it_is_back_all_is_sent(
    stage: Stage, worker: Worker, broker: Broker
) -> None:
    await worker.kill()
    async with stage.planner() as planner:
        await stage.plant(20)
        broker.kill()
        await drive(planner, lambda: stage.has_opened(20))
        assert planner.trouble is not None
        assert "PAPERROUND_BROKER_URL" in planner.trouble

        await worker.start()
        await waiting(lambda: "Cannot connect" in worker.said() or "Connection refused" in worker.said())
        broker.start()
        await drive(planner, stage.is_finished)
        assert planner.trouble is None

    assert (await verdict(stage)).violations == []
    assert sorted(Counter(stage.keys()).values()) == [1] * 20


async def test_sigterm_lets_sends_end_and_gives_back_the_rest(stage: Stage, worker: Worker) -> None:
    await stage.plant(200)

    async with stage.planner() as planner:
        await drive(planner, lambda: stage.has_sent(10))
        worker.terminate()
        code = await worker.ended()
        left = await stage.unfinished()
        held = await stage.held()
        await worker.start()
        await drive(planner, stage.is_finished)

    assert (code, held) == (0, 0)
    assert left > 0
    assert (await verdict(stage)).violations == []
    assert sorted(Counter(stage.keys()).values()) == [1] * 200


async def test_a_service_whose_broker_is_away_opens_all_the_same_and_readyz_says_so(stage: Stage) -> None:
    await stage.plant(5)

    async with stage.service({"PAPERROUND_BROKER_URL": "amqp://guest:pa55word@127.0.0.1:1//"}) as (port, log):
        await waiting(lambda: stage.has_opened(5))
        await waiting(lambda: all(event in log.read_text() for event in ("service.ready", "broker.away")))
        async with httpx.AsyncClient() as client:
            ready = await client.get(f"http://127.0.0.1:{port}/readyz")

    assert ready.status_code == 200
    assert ready.text.startswith("ok, but the broker does not take messages (")
    assert "pa55word" not in log.read_text() + ready.text


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis is not installed: apt-get install redis-server")
async def test_redis_can_be_the_broker_and_what_it_forgets_is_swept(stage: Stage, tmp_path: Path) -> None:
    with redis(tmp_path) as url:
        on_redis = staged(stage.ground, url)
        await on_redis.plant(20)
        async with on_redis.planner() as planner:
            await drive(planner, lambda: on_redis.has_opened(20))
            celery_app(url, lease_seconds=2).control.purge()  # what it has taken, it has forgotten
            async with on_redis.worker():
                await drive(planner, on_redis.is_finished)

    assert (await verdict(stage)).violations == []
    assert sorted(Counter(stage.keys()).values()) == [1] * 20


@pytest.mark.parametrize(
    ("database", "code", "line"),
    [
        ("sqlite:///paperround.db", 2, "PAPERROUND_ENGINE: celery needs PostgreSQL"),
        ("postgresql://nobody@127.0.0.1:1/nothing", 1, "postgresql://nobody@127.0.0.1:1/nothing does not"),
    ],
)
async def test_a_worker_that_cannot_start_says_so_in_one_line(
    stage: Stage, database: str, code: int, line: str
) -> None:
    worker = Worker(stage.ground.folder, {**stage.environ, "PAPERROUND_DATABASE_URL": database})

    await worker.start()

    assert await worker.ended() == code
    [said] = [each for each in worker.said().splitlines() if each.startswith("paperround: ")]
    assert said.startswith(f"paperround: {line}")
    assert "Traceback" not in worker.said()
