"""Any order of subscribing, editing, pausing, crashing and clock moves: the ledger is what the rules say it is.

Hypothesis chooses the steps; a model that knows nothing of the ledger says which occurrences had to be opened.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from scheduler.app import App, opened
from scheduler.delivery import Runner
from scheduler.models import attempts, deliveries, delivery_recipients
from scheduler.recurrence import Recurrence
from scheduler.settings import Settings, load_settings
from scheduler.verification import verify
from tests.conftest import SECRET_KEY
from tests.scheduler.conftest import LEASE, RecordingChannels, ToldClock, settle

Answer = TypeVar("Answer")

ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"])
FREQUENCIES = st.sampled_from(["daily", "daily", "weekly"])
MINUTES = st.integers(0, 24 * 60 - 1)
POLICIES = st.sampled_from(["latest", "all", "skip"])


@dataclass
class Standing:
    """What the model knows of one subscription: its rule, since when it goes by it, and what had to be opened."""

    id: int
    recurrence: Recurrence
    since: datetime
    is_live: bool = True
    is_removed: bool = False
    expected: set[datetime] = field(default_factory=set)

    def ticked(self, now: datetime) -> None:
        """Whatever fell due since the last tick is opened now."""
        if self.is_live and now > self.since:
            self.expected |= set(self.recurrence.between(self.since, now))
            self.since = now

    def follows(self, recurrence: Recurrence, now: datetime) -> None:
        """A new rule, or a resumption: from the next occurrence on, never into the past.

        What had fallen due by then, and nobody had opened, is the old rule's.
        """
        self.ticked(now)
        self.recurrence, self.since, self.is_live = recurrence, now, True

    def stops(self, now: datetime) -> None:
        """A pause, or the end: what had fallen due by then is in the ledger, too, as skipped."""
        self.ticked(now)
        self.is_live = False


class Crashes(RuleBasedStateMachine):
    """One ledger, one clock, workers that come and go."""

    prepared: ClassVar[Path]
    """A folder with an initialised ledger that has an insight, and the insight's source."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="paperround-machine-"))
        self.clock = ToldClock()
        self.channels = RecordingChannels()
        self.standing: list[Standing] = []
        self.repeated_by_crashes = 0
        self.app = self.wait(self.open())
        self.worker = self.new_worker()

    def wait(self, doing: Coroutine[Any, Any, Answer]) -> Answer:
        return self.loop.run(doing)

    async def open(self) -> App:
        shutil.copy(self.prepared / "paperround.db", self.folder)
        app = await self.stack.enter_async_context(opened(ledger_in(self.folder), clock=self.clock))
        self.project, self.owner = await app.project(), await app.owner(await app.project())
        return replace(app, channels=self.channels)  # type: ignore[arg-type]

    def new_worker(self) -> Runner:
        return Runner(replace(self.app.runner().work, chance=lambda: 0.5))

    def teardown(self) -> None:
        self.wait(self.stack.aclose())
        self.loop.close()
        shutil.rmtree(self.folder)

    # ── what people do ───────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: len(self.standing) < 4)
    @rule(frequency=FREQUENCIES, minute=MINUTES, zone=ZONES, policy=POLICIES)
    def subscribe(self, frequency: str, minute: int, zone: str, policy: str) -> None:
        fields = {
            "insight": 1,
            "target_type": "email",
            "target_value": "ann@example.org",
            "frequency": frequency,
            "start_date": self.clock.now.replace(hour=0, minute=0) + timedelta(minutes=minute),
            "timezone": zone,
            "catch_up": policy,
        }
        made = self.wait(self.app.subscriptions.create(self.project, self.owner, fields))
        self.standing.append(Standing(made.id, made.recurrence, self.clock.now))

    @precondition(lambda self: any(each.is_live for each in self.standing))
    @rule(data=st.data(), minute=MINUTES, zone=ZONES)
    def edit(self, data: st.DataObject, minute: int, zone: str) -> None:
        chosen = data.draw(st.sampled_from([each for each in self.standing if each.is_live]))
        start = self.clock.now.replace(hour=0, minute=0) + timedelta(minutes=minute)
        changed = {"start_date": start, "timezone": zone}
        after = self.wait(self.app.subscriptions.edit(self.project, chosen.id, changed))
        if after.recurrence != chosen.recurrence:
            chosen.follows(after.recurrence, self.clock.now)

    @precondition(lambda self: any(each.is_live for each in self.standing))
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from([each for each in self.standing if each.is_live]))
        self.wait(self.app.subscriptions.pause(self.project, chosen.id))
        chosen.stops(self.clock.now)

    @precondition(lambda self: any(not each.is_live and not each.is_removed for each in self.standing))
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        paused = [each for each in self.standing if not each.is_live and not each.is_removed]
        chosen = data.draw(st.sampled_from(paused))
        self.wait(self.app.subscriptions.resume(self.project, chosen.id))
        chosen.follows(chosen.recurrence, self.clock.now)

    @precondition(lambda self: any(each.is_live for each in self.standing))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from([each for each in self.standing if each.is_live]))
        self.wait(self.app.subscriptions.remove(self.project, chosen.id))
        chosen.stops(self.clock.now)
        chosen.is_removed = True

    # ── what time does ───────────────────────────────────────────────────────────────────────────────────────────────

    @rule(minutes=st.sampled_from([1, 20, 60, 24 * 60, 3 * 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)

    @rule(minutes=st.sampled_from([1, 60, 24 * 60]))
    def the_clock_goes_back(self, minutes: int) -> None:
        self.clock.advance(minutes=-minutes)

    # ── what the worker does, and how it dies ────────────────────────────────────────────────────────────────────────

    @rule()
    def tick(self) -> None:
        self.wait(self.worker.renew_leases())
        self.wait(settle(self.worker))
        self.told()
        self.the_verifier_agrees()

    @rule()
    def dies_after_open(self) -> None:
        self.wait(self.worker.open_due())
        self.told()
        self.worker = self.new_worker()

    @rule()
    def dies_after_claim(self) -> None:
        self.wait(self.worker.open_due())
        self.wait(self.worker.claim())
        self.told()
        self.worker = self.new_worker()

    @rule()
    def dies_after_the_answer(self) -> None:
        self.wait(self.worker.open_due())
        self.told()
        for claimed in self.wait(self.worker.claim()):
            self.worker.lanes.hold(claimed.target.kind, claimed.target.destination)
            self.wait(self.worker.attempt(claimed))
            self.repeated_by_crashes += 1
        self.worker = self.new_worker()

    @rule()
    def dies_while_it_sends(self) -> None:
        """Its tasks end wherever they are; what they had in hand is nobody's until the lease has run out."""
        before = len(self.channels.by_kind["email"].sent)
        self.wait(self.cut_short())
        self.told()
        self.repeated_by_crashes += len(self.channels.by_kind["email"].sent) - before
        self.worker = self.new_worker()

    async def cut_short(self) -> None:
        await self.worker.tick()
        sends = list(self.worker._sends)
        for send in sends:
            send.cancel()
        await asyncio.gather(*sends, return_exceptions=True)

    def told(self) -> None:
        for each in self.standing:
            each.ticked(self.clock.now)

    # ── what is always true ──────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def every_occurrence_has_exactly_one_row(self) -> None:
        rows = self.wait(self.rows(select(deliveries).where(deliveries.c.trigger_type == "scheduled")))
        found = Counter((row.subscription_id, row.scheduled_at) for row in rows)

        assert found == Counter((each.id, at) for each in self.standing for at in each.expected)

    @invariant()
    def every_skipped_row_says_why(self) -> None:
        rows = self.wait(self.rows(select(deliveries).where(deliveries.c.status == "skipped")))

        assert all(row.error_message for row in rows)

    def the_verifier_agrees(self) -> None:
        """Whenever a worker has been there: until then it says, rightly, that nobody opens what is due."""
        app = self.app
        found = self.wait(verify(app.database, now=self.clock.now, installation=app.installation))

        assert [each.message for each in found.discrepancies] == []

    @rule()
    def everything_ends(self) -> None:
        """A healthy worker, once every lease has run out, leaves nothing open; what it completes was sent."""
        self.clock.advance(seconds=LEASE.total_seconds() + 1)
        while self.wait(self.rows(select(deliveries).where(deliveries.c.status == "starting"))):
            self.tick()
            self.clock.advance(hours=1)
        self.everything_sent_is_recorded_and_the_other_way_round()

    def everything_sent_is_recorded_and_the_other_way_round(self) -> None:
        sent = Counter(message.id for message, _ in self.channels.by_kind["email"].sent)
        rows = self.wait(
            self.rows(
                select(deliveries.c.idempotency_key)
                .join(delivery_recipients)
                .where(delivery_recipients.c.status == "sent", deliveries.c.status == "completed")
            )
        )
        known = {row.idempotency_key for row in rows}
        lost = self.wait(self.rows(select(attempts).where(attempts.c.outcome == "uncertain")))

        assert known <= set(sent)
        assert sum(sent.values()) - len(known) <= min(len(lost), self.repeated_by_crashes)

    async def rows(self, query: Any) -> list[Any]:
        async with self.app.database.read() as connection:
            return list(await connection.execute(query))


def ledger_in(folder: Path) -> Settings:
    return load_settings(database_url=f"sqlite:///{folder / 'paperround.db'}", secret_key=SECRET_KEY)


@pytest.fixture
def thorough_or_quick(request: pytest.FixtureRequest) -> settings:
    """In the suite few examples, always the same; with ``--hypothesis-profile=long`` many, at random."""
    is_long = request.config.getoption("--hypothesis-profile") == "long"
    return settings(
        max_examples=settings().max_examples // 10 if is_long else 8,
        stateful_step_count=50 if is_long else 20,
        derandomize=not is_long,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


async def test_the_ledger_is_what_the_rules_say_whatever_happens_in_between(
    initialised_sqlite: Path, thorough_or_quick: settings, tmp_path: Path
) -> None:
    shutil.copy(initialised_sqlite, tmp_path / "paperround.db")
    with sqlite3.connect(tmp_path / "source.db") as source:
        source.executescript("CREATE TABLE t (n INT); INSERT INTO t VALUES (1);")
    source.close()
    async with opened(ledger_in(tmp_path)) as app:
        project = await app.project()
        added = await app.catalog.add_source(project, "Source", f"sqlite:///{tmp_path / 'source.db'}")
        await app.catalog.add_insight(project, "Numbers", source=added.id, sql="SELECT n FROM t", display="table")
    Crashes.prepared = tmp_path

    await asyncio.to_thread(run_state_machine_as_test, Crashes, settings=thorough_or_quick)
