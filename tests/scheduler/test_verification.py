"""The verifier: every planted corruption is found, as what it is and nothing else; a true ledger has none.

The ledgers that are spoilt are written row by row, not by the flow: a mistake in one would not hide in the other.
A large one: ``PAPERROUND_VERIFIED=100000 pytest -k large tests/scheduler/test_verification.py``
"""

from __future__ import annotations

import asyncio
import os
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.sql import Executable

from channels.base import PermanentFailure, TransientFailure
from scheduler.db import Database
from scheduler.models import (
    attempts,
    deliveries,
    delivery_recipients,
    exports,
    insights,
    installation,
    projects,
    recurrences,
    sources,
    subscriptions,
)
from scheduler.recurrence import Recurrence
from scheduler.settings import database_url
from scheduler.store import people
from scheduler.store.audit import Kind
from scheduler.store.opening import occurrence_id
from scheduler.store.recurrences import rule_json
from scheduler.verification import Discrepancy, Verification, record_verification, verify
from scheduler.zones import RULES_VERSION
from tests.scheduler.conftest import World, settle

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LEASE = UUID(int=7)

RULES: tuple[Mapping[str, Any], ...] = (
    {"frequency": "daily", "start_date": datetime(2020, 1, 1, 9, tzinfo=UTC)},
    {"frequency": "weekly", "byweekday": ["monday", "friday"], "timezone": "Europe/Berlin"},
    {"frequency": "monthly", "timezone": "America/New_York"},
    {"frequency": "daily", "timezone": "Australia/Lord_Howe", "gap": "skip"},
)


# ── a ledger, written row by row ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Ledger:
    """A database with a ledger in it that is as it should be."""

    database: Database
    installation: UUID
    ids: tuple[int, ...]

    async def verify(self, *, now: datetime = NOW, since: datetime | None = None, **more: Any) -> Verification:
        return await verify(self.database, now=now, since=since, installation=self.installation, **more)

    async def change(self, *statements: Executable) -> None:
        async with self.database.write() as tx:
            for statement in statements:
                await tx.execute(statement)

    async def kinds(self, **how: Any) -> list[Kind]:
        return [each.kind for each in (await self.verify(**how)).discrepancies]


def rule_of(id_: int, rules: Sequence[Mapping[str, Any]] = RULES) -> Recurrence:
    usual = {"start_date": datetime(2020, 1, 31, 2, 15, tzinfo=UTC)}
    return Recurrence.parse(**{**usual, **rules[id_ % len(rules)]})


async def filled(
    database: Database, *, subscriptions_: int, each: int, rules: Sequence[Mapping[str, Any]] = RULES
) -> Ledger:
    """So many subscriptions with so many deliveries each, the newest just opened; inserted in slices."""
    async with database.write() as tx:
        found = await people.find_installation(tx)
        assert found is not None
        await tx.execute(
            insert(sources).values(id=1, project_id=1, name="S", kind="sql", url_sealed="", created_at=NOW)
        )
        insight = {
            "id": 1,
            "project_id": 1,
            "source_id": 1,
            "short_id": "numbers",
            "name": "Numbers",
            "description": "",
        }
        when = {"created_at": NOW, "updated_at": NOW}
        await tx.execute(insert(insights).values(**insight, **when, sql="SELECT 1", display="number"))
        await tx.execute(insert(exports).values(id=1, insight_id=1, display="number", snapshot={}, created_at=NOW))
    ids = range(1, subscriptions_ + 1)
    for start in range(0, len(ids), 100):
        some = ids[start : start + 100]
        rows = [row for id_ in some for row in history(found.uuid, id_, each, rule_of(id_, rules))]
        async with database.write() as tx:
            for table in (subscriptions, recurrences, deliveries, delivery_recipients, attempts):
                await tx.execute(insert(table), [row for of, row in rows if of is table])
    return Ledger(database, found.uuid, tuple(ids))


def history(of: UUID, id_: int, each: int, rule: Recurrence) -> Iterator[tuple[Any, dict[str, Any]]]:
    """One subscription: its row, its rule, and one delivery an occurrence."""
    recent = list(rule.between(NOW - 62 * (each + 1) * DAY, NOW))[-each:]
    yield subscriptions, subscription_row(id_, rule, created_at=recent[0] - DAY)
    yield recurrences, rule_row(id_, rule, first_at=recent[0])
    for number, at in enumerate(recent, 1):
        yield from delivery_rows(of, id_, at, number=number, is_newest=at == recent[-1])


def subscription_row(id_: int, rule: Recurrence, *, created_at: datetime) -> dict[str, Any]:
    kept = {name: value for name, value in rule_json(rule).items() if name != "byweekday"}
    return kept | {
        "id": id_,
        "project_id": 1,
        "insight_id": 1,
        "dashboard_export_insights": [],
        "target_type": "email",
        "target_value": "ann@example.org,bo@example.org",
        "destination": "example.org",
        "byweekday": ",".join(rule.byweekday) if rule.byweekday else None,
        "occurrence_count": kept.pop("count"),
        "start_date": rule.start_at,
        "until_date": rule.until_at,
        "catch_up": "latest",
        "catch_up_hours": 24,
        "next_delivery_date": rule.next_after(NOW),
        "enabled": True,
        "deleted": False,
        "created_by_id": 1,
        "created_at": created_at,
        "updated_at": created_at,
    }


def rule_row(id_: int, rule: Recurrence, *, first_at: datetime, **more: Any) -> dict[str, Any]:
    usual = {"tzdata": RULES_VERSION, "ended_before": None, "created_at": first_at - DAY}
    return usual | {"subscription_id": id_, "rule": rule_json(rule), "first_at": first_at} | more


def delivery_rows(
    of: UUID, id_: int, at: datetime, *, number: int, is_newest: bool
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Completed, but for every seventh: failed, and every fifth: skipped; the newest is in somebody's hands."""
    delivery_id, done = occurrence_id(of, id_, at), at + MINUTE
    status = "starting" if is_newest else "failed" if number % 7 == 0 else "skipped" if number % 5 == 0 else "completed"
    is_without_reason = status in {"starting", "completed"}
    yield (
        deliveries,
        {
            "id": delivery_id,
            "subscription_id": id_,
            "trigger_type": "scheduled",
            "scheduled_at": at,
            "idempotency_key": str(delivery_id),
            "status": status,
            "target_type": "email",
            "target_value": "ann@example.org,bo@example.org",
            "destination": "example.org",
            "invites": False,
            "exported_asset_ids": None if status == "skipped" else [1],
            "ready_at": NOW + MINUTE if is_newest else None,
            "lease": LEASE if is_newest else None,
            "error_message": None if is_without_reason else "nobody was there",
            "created_at": at,
            "updated_at": done,
            "finished_at": None if is_newest else done,
        },
    )
    for position, address in enumerate(() if status == "skipped" else ("ann@example.org", "bo@example.org")):
        where = {"delivery_id": delivery_id, "position": position}
        becomes = {"starting": "sending", "failed": "failed"}.get(status, "sent")
        yield (
            delivery_recipients,
            where
            | {
                "address": address,
                "status": becomes,
                "attempts": 1,
                "uncounted": 0,
                "error_message": "refused" if becomes == "failed" else None,
                "sent_at": done if becomes == "sent" else None,
            },
        )
        if not is_newest:
            yield (
                attempts,
                where | {"attempt": 1, "outcome": "sent" if becomes == "sent" else "permanent", "finished_at": done},
            )


@pytest.fixture
async def database(ledger_url: str) -> AsyncIterator[Database]:
    database = Database(database_url(ledger_url))
    yield database
    await database.aclose()


@pytest.fixture
async def ledger(database: Database) -> Ledger:
    return await filled(database, subscriptions_=8, each=12)


# ── spoiling it ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Victim:
    """The subscription that something happens to: daily, to two people; and one of its completed deliveries."""

    id: int
    occurrences: list[datetime]
    delivery: UUID
    newest: UUID
    next_at: datetime

    @property
    def at(self) -> datetime:
        return self.occurrences[3]

    def this(self, **values: Any) -> Executable:
        return update(deliveries).where(deliveries.c.id == self.delivery).values(**values)

    def last(self, **values: Any) -> Executable:
        return update(deliveries).where(deliveries.c.id == self.newest).values(**values)

    def itself(self, **values: Any) -> Executable:
        return update(subscriptions).where(subscriptions.c.id == self.id).values(**values)

    def rule(self, **values: Any) -> Executable:
        return update(recurrences).where(recurrences.c.subscription_id == self.id).values(**values)

    def recipient(self, position: int, **values: Any) -> Executable:
        c = delivery_recipients.c
        return (
            update(delivery_recipients).where(c.delivery_id == self.delivery, c.position == position).values(**values)
        )

    def without(self, table: Any, *conditions: Any) -> Executable:
        return delete(table).where(table.c.delivery_id == self.delivery, *conditions)

    def copied(self, **values: Any) -> list[Executable]:
        """A second row for the same occurrence; skipped, so that all else about it is in order."""
        id_ = uuid4()
        rows = dict(delivery_rows(UUID(int=0), self.id, self.at, number=5, is_newest=False))
        copy = rows[deliveries] | {"id": id_, "idempotency_key": str(id_)} | values
        return [text("DROP INDEX IF EXISTS uq_deliveries_occurrence"), insert(deliveries).values(**copy)]


async def victim_of(ledger: Ledger, id_: int = 4) -> Victim:
    """The fourth, unless another is named; it is to go by the first rule."""
    async with ledger.database.read() as connection:
        rows = await connection.execute(
            select(deliveries.c.id, deliveries.c.scheduled_at)
            .where(deliveries.c.subscription_id == id_)
            .order_by(deliveries.c.scheduled_at)
        )
        found = rows.all()
        next_at = await connection.execute(select(subscriptions.c.next_delivery_date).where(subscriptions.c.id == id_))
        return Victim(id_, [row.scheduled_at for row in found], found[3].id, found[-1].id, next_at.scalar_one())


Planted = Callable[[Victim], Sequence[Executable]]

ON_ITS_DELIVERY: dict[str, tuple[Kind, Planted]] = {
    "a second row": (Kind.DOUBLED_OCCURRENCE, lambda v: v.copied()),
    "another date": (Kind.WRONG_DATE, lambda v: [v.this(scheduled_at=v.at + HOUR)]),
    "no date": (Kind.WRONG_DATE, lambda v: [v.this(scheduled_at=None)]),
    "another key": (Kind.WRONG_IDENTITY, lambda v: [v.this(idempotency_key="made up")]),
    "counts three, and they have rows": (
        Kind.WRONG_COUNT,
        lambda v: [
            v.without(delivery_recipients),
            v.this(status="skipped", error_message="3 occurrences from this one on were missed; it rained"),
        ],
    ),
    "no recipients": (Kind.MISSING_RECIPIENT, lambda v: [v.without(delivery_recipients)]),
    "the first recipient gone": (
        Kind.MISSING_RECIPIENT,
        lambda v: [v.without(delivery_recipients, delivery_recipients.c.position == 0)],
    ),
    "the last recipient gone": (
        Kind.MISSING_RECIPIENT,
        lambda v: [v.without(delivery_recipients, delivery_recipients.c.position == 1)],
    ),
    "an address without a row": (
        Kind.MISSING_RECIPIENT,
        lambda v: [v.this(target_value="ann@example.org,bo@example.org,cy@example.org")],
    ),
    "a row without an address": (Kind.STRAY_RECIPIENT, lambda v: [v.this(target_value="ann@example.org")]),
    "failed, though somebody has it": (Kind.WRONG_STATUS, lambda v: [v.this(status="failed", error_message="no")]),
    "completed, though nobody has it": (
        Kind.WRONG_STATUS,
        lambda v: [v.recipient(number, status="failed", error_message="no") for number in (0, 1)],
    ),
    "completed, though one still waits": (Kind.WRONG_STATUS, lambda v: [v.recipient(1, status="retrying")]),
    "skipped, though it has recipients": (Kind.WRONG_STATUS, lambda v: [v.this(status="skipped", error_message="no")]),
    "a status nobody knows": (Kind.WRONG_STATUS, lambda v: [v.this(status="done")]),
    "a recipient's status nobody knows": (
        Kind.WRONG_STATUS,
        lambda v: [v.recipient(number, status="gone") for number in (0, 1)],
    ),
    "in progress, though all is done": (
        Kind.WRONG_STATUS,
        lambda v: [v.this(status="starting", finished_at=None, ready_at=NOW)],
    ),
    "ended, no one knows when": (Kind.WRONG_END, lambda v: [v.this(finished_at=None)]),
    "failed, no one knows why": (
        Kind.NO_REASON,
        lambda v: [
            *(v.recipient(number, status="failed", error_message="no") for number in (0, 1)),
            v.this(status="failed", error_message=""),
        ],
    ),
    "skipped, no one knows why": (
        Kind.NO_REASON,
        lambda v: [v.without(delivery_recipients), v.this(status="skipped", error_message=None)],
    ),
    "a recipient failed, no one knows why": (Kind.NO_RECIPIENT_REASON, lambda v: [v.recipient(1, status="failed")]),
    "sent, no one knows when": (Kind.SENT_UNPROVEN, lambda v: [v.recipient(0, sent_at=None)]),
    "sent, but the attempt says otherwise": (
        Kind.SENT_UNPROVEN,
        lambda v: [
            update(attempts)
            .where(attempts.c.delivery_id == v.delivery, attempts.c.position == 0)
            .values(outcome="transient")
        ],
    ),
    "an attempt too many": (Kind.WRONG_ATTEMPTS, lambda v: [v.recipient(0, attempts=2)]),
    "an attempt too few": (Kind.WRONG_ATTEMPTS, lambda v: [v.recipient(0, attempts=0)]),
    "an export that is gone": (Kind.MISSING_EXPORT, lambda v: [v.this(exported_asset_ids=[1, 4711])]),
    "a lease after its end": (Kind.LEASE_ON_ENDED, lambda v: [v.this(lease=LEASE)]),
}

ON_THE_NEWEST: dict[str, tuple[Kind, Planted]] = {
    "an end while in progress": (Kind.WRONG_END, lambda v: [v.last(finished_at=NOW)]),
    "never ready": (Kind.NOT_READY, lambda v: [v.last(ready_at=None, lease=None)]),
    "a dead worker's lease": (Kind.LEASE_RAN_OUT, lambda v: [v.last(ready_at=NOW - 11 * MINUTE)]),
    "a lease without end": (Kind.LEASE_TOO_LONG, lambda v: [v.last(ready_at=NOW + 3 * HOUR)]),
    "ready for two days": (Kind.UNCLAIMED, lambda v: [v.last(ready_at=NOW - 2 * DAY, lease=None)]),
}

ON_ITSELF: dict[str, tuple[Kind, Planted]] = {
    "a row deleted": (
        Kind.MISSING_OCCURRENCE,
        lambda v: [v.without(delivery_recipients), delete(deliveries).where(deliveries.c.id == v.delivery)],
    ),
    "its rule deleted": (
        Kind.RULE_MISSING,
        lambda v: [delete(recurrences).where(recurrences.c.subscription_id == v.id)],
    ),
    "its rule ended, and it goes on": (Kind.RULE_MISSING, lambda v: [v.rule(ended_before=v.at)]),
    "another rule in its columns": (Kind.RULE_DIFFERS, lambda v: [v.itself(interval=2)]),
    "a rule no one can read": (Kind.RULE_UNREADABLE, lambda v: [v.rule(rule={"frequency": "hourly"})]),
    "off, and its rule goes on": (Kind.RULE_NOT_ENDED, lambda v: [v.itself(enabled=False)]),
    "removed, and its rule goes on": (Kind.RULE_NOT_ENDED, lambda v: [v.itself(deleted=True)]),
    "two rules at a time": (
        Kind.RULES_OVERLAP,
        lambda v: [
            v.rule(ended_before=v.next_at),
            insert(recurrences).values(**rule_row(v.id, Recurrence.parse(**RULES[0]), first_at=v.at, created_at=NOW)),
        ],
    ),
    "no next date": (Kind.NEXT_DATE_MISSING, lambda v: [v.itself(next_delivery_date=None)]),
    "a next date at another time of day": (
        Kind.NEXT_DATE_NOT_IN_RULE,
        lambda v: [v.itself(next_delivery_date=v.next_at + MINUTE)],
    ),
    "a next date too far": (Kind.NEXT_DATE_AHEAD, lambda v: [v.itself(next_delivery_date=v.next_at + 2 * DAY)]),
}


async def test_every_planted_corruption_is_found_as_what_it_is_and_nothing_else(database: Database) -> None:
    """Each on a subscription of its own, beside others that are left alone."""
    planted = ON_ITS_DELIVERY | ON_THE_NEWEST | ON_ITSELF
    ledger = await filled(database, subscriptions_=len(planted) + 4, each=12, rules=RULES[:1])
    victims = {name: await victim_of(ledger, id_) for id_, name in enumerate(planted, 1)}
    assert await ledger.kinds() == []

    await ledger.change(*(change for name, (_, plant) in planted.items() for change in plant(victims[name])))
    found = (await ledger.verify()).discrepancies

    names = {victim.id: name for name, victim in victims.items()}
    assert {names[each.subscription_id]: each.kind for each in found} == {
        name: kind for name, (kind, _) in planted.items()
    }
    assert {(each.subscription_id, each.kind) for each in found} == {
        (victims[name].id, kind) for name, (kind, _) in planted.items()
    }
    assert len(found) == len(planted)
    assert_names_its_delivery(found, victims)
    assert all("ann@" not in each.message for each in found)


def assert_names_its_delivery(found: Sequence[Discrepancy], victims: Mapping[str, Victim]) -> None:
    told = {each.subscription_id: each.delivery_id for each in found}
    of_one_row = {name: victim for name, victim in victims.items() if name != "a second row"}
    assert {name: told[victim.id] for name, victim in of_one_row.items()} == {
        name: victim.delivery if name in ON_ITS_DELIVERY else victim.newest if name in ON_THE_NEWEST else None
        for name, victim in of_one_row.items()
    }


def test_there_is_a_corruption_for_every_kind_but_those_with_a_test_of_their_own() -> None:
    planted = {kind for kind, _ in (ON_ITS_DELIVERY | ON_THE_NEWEST | ON_ITSELF).values()}

    assert set(Kind) - planted == {Kind.STRAY_DELIVERY, Kind.NEXT_DATE_BEHIND, Kind.NEXT_DATE_OVERDUE}


async def test_a_delivery_that_no_rule_names_is_a_stray(ledger: Ledger) -> None:
    victim = await victim_of(ledger)
    at = victim.at + HOUR
    rows = dict(delivery_rows(ledger.installation, victim.id, at, number=5, is_newest=False))
    await ledger.change(insert(deliveries).values(**rows[deliveries]))

    [found] = (await ledger.verify()).discrepancies

    assert (found.kind, found.delivery_id, found.at) == (Kind.STRAY_DELIVERY, rows[deliveries]["id"], at)


async def test_a_next_date_that_went_back_is_told_once_and_is_overdue(ledger: Ledger) -> None:
    victim = await victim_of(ledger)
    await ledger.change(victim.itself(next_delivery_date=victim.occurrences[-3]))

    assert sorted(await ledger.kinds()) == [Kind.NEXT_DATE_BEHIND, Kind.NEXT_DATE_OVERDUE]


async def test_a_due_date_is_nobodys_fault_for_ten_minutes(ledger: Ledger) -> None:
    victim = await victim_of(ledger)
    await ledger.change(update(deliveries).where(deliveries.c.status == "starting").values(lease=None))
    first_due = victim.next_at

    in_time = await ledger.verify(now=first_due + 10 * MINUTE)
    late = await ledger.verify(now=first_due + 10 * MINUTE + timedelta(seconds=1))

    assert [each for each in in_time.discrepancies if each.subscription_id == victim.id] == []
    assert [each.kind for each in late.discrepancies if each.subscription_id == victim.id] == [Kind.NEXT_DATE_OVERDUE]


async def test_what_is_lost_says_which_occurrence_and_what_to_do(ledger: Ledger) -> None:
    victim = await victim_of(ledger)
    await ledger.change(*ON_ITSELF["a row deleted"][1](victim))

    [found] = (await ledger.verify()).discrepancies

    assert (found.kind, found.subscription_id, found.delivery_id, found.at) == (
        *(Kind.MISSING_OCCURRENCE, victim.id),
        *(None, victim.at),
    )
    assert found.message == (
        "no delivery is recorded for this occurrence of its rule, and none counts it: it was lost; "
        f"`paperround subscriptions test {victim.id}` sends the present numbers"
    )


# ── since, projects, time zones, history ─────────────────────────────────────────────────────────────────────────────


async def test_since_leaves_out_what_was_before_but_not_what_is_live(ledger: Ledger) -> None:
    victim = await victim_of(ledger)
    await ledger.change(
        *ON_ITSELF["a row deleted"][1](victim),
        victim.itself(next_delivery_date=victim.next_at + MINUTE),
        victim.last(ready_at=None),
    )

    later = await ledger.verify(since=victim.at + timedelta(seconds=1))
    from_then = await ledger.verify(since=victim.at)

    live = [Kind.NOT_READY, Kind.NEXT_DATE_NOT_IN_RULE]
    assert [each.kind for each in later.discrepancies] == live
    assert [each.kind for each in from_then.discrepancies] == [Kind.MISSING_OCCURRENCE, *live]
    assert later.deliveries < (await ledger.verify()).deliveries == 8 * 12 - 1
    assert later.subscriptions == 8


async def test_since_any_moment_a_true_ledger_is_true(ledger: Ledger) -> None:
    moments = [NOW - back * DAY + back * HOUR for back in range(-1, 16)]

    assert [await ledger.kinds(since=moment) for moment in moments] == [[]] * len(moments)


async def test_only_one_project_is_looked_at_when_asked(ledger: Ledger) -> None:
    victim = await victim_of(ledger)
    await ledger.change(*ON_ITSELF["a row deleted"][1](victim))

    this, other = await ledger.verify(project_id=1), await ledger.verify(project_id=2)

    assert (this.subscriptions, len(this.discrepancies)) == (8, 1)
    assert (other.subscriptions, other.deliveries, other.discrepancies) == (0, 0, [])


async def test_other_time_zone_rules_move_occurrences_and_lose_none(ledger: Ledger) -> None:
    """As if every row had been opened by an edition in which the zone was an hour off."""
    victim = await victim_of(ledger)
    c = deliveries.c
    moved = [
        update(deliveries)
        .where(c.subscription_id == victim.id, c.scheduled_at == at)
        .values(
            scheduled_at=at + HOUR,
            id=occurrence_id(ledger.installation, victim.id, at + HOUR),
            idempotency_key=str(occurrence_id(ledger.installation, victim.id, at + HOUR)),
        )
        for at in victim.occurrences
    ]
    ids = select(c.id).where(c.subscription_id == victim.id).scalar_subquery()
    await ledger.change(
        delete(delivery_recipients).where(delivery_recipients.c.delivery_id.in_(ids)),
        update(deliveries)
        .where(c.subscription_id == victim.id)
        .values(status="skipped", error_message="moved", finished_at=NOW, lease=None),
        *reversed(moved),
        victim.rule(tzdata="1999a", first_at=victim.occurrences[0] + HOUR),
        victim.itself(next_delivery_date=victim.next_at + HOUR),
    )

    moved_all = await ledger.kinds()
    await ledger.change(delete(deliveries).where(c.subscription_id == victim.id, c.scheduled_at == victim.at + HOUR))
    one_lost = await ledger.kinds()

    assert (moved_all, one_lost) == ([], [Kind.MISSING_OCCURRENCE])


async def test_what_came_before_rules_were_kept_is_not_held_against_them(ledger: Ledger) -> None:
    """After an upgrade: live rules begin at the next date, and paused ones have none."""
    victim = await victim_of(ledger)
    paused = ledger.ids[0]
    await ledger.change(
        victim.rule(tzdata="unknown", first_at=victim.occurrences[6], created_at=victim.occurrences[0] - DAY),
        delete(recurrences).where(recurrences.c.subscription_id == paused),
        update(subscriptions).where(subscriptions.c.id == paused).values(enabled=False),
    )
    assert await ledger.kinds() == []

    await ledger.change(
        delete(delivery_recipients).where(
            delivery_recipients.c.delivery_id == occurrence_id(ledger.installation, victim.id, victim.occurrences[8])
        ),
        delete(deliveries).where(
            deliveries.c.subscription_id == victim.id, deliveries.c.scheduled_at == victim.occurrences[8]
        ),
    )
    assert await ledger.kinds() == [Kind.MISSING_OCCURRENCE]


async def test_the_result_is_kept_for_the_metrics(ledger: Ledger) -> None:
    victim = await victim_of(ledger)
    await ledger.change(*ON_ITSELF["a row deleted"][1](victim))

    verification = await ledger.verify()
    async with ledger.database.write() as tx:
        await record_verification(tx, verification, NOW)

    async with ledger.database.read() as connection:
        kept = (await connection.execute(select(installation.c.verified_at, installation.c.discrepancies))).one()
    assert tuple(kept) == (NOW, 1)


async def test_nothing_is_changed_by_looking(ledger: Ledger) -> None:
    victim = await victim_of(ledger)
    await ledger.change(victim.this(finished_at=None))
    before = await everything(ledger)

    await ledger.verify()

    assert await everything(ledger) == before


async def everything(ledger: Ledger) -> list[Any]:
    tables = (installation, subscriptions, recurrences, deliveries, delivery_recipients, attempts, exports)
    async with ledger.database.read() as connection:
        return [sorted(map(repr, (await connection.execute(select(table))).all())) for table in tables]


# ── a true ledger, made by the flow ──────────────────────────────────────────────────────────────────────────────────


async def verified(world: World, **how: Any) -> list[tuple[Kind, datetime | None, str]]:
    verification = await verify(world.app.database, now=world.clock(), installation=world.app.installation, **how)
    return [(each.kind, each.at, each.message) for each in verification.discrepancies]


async def run(world: World, *, days: float, step: timedelta = 6 * HOUR) -> None:
    """So many days with a tick every six hours."""
    runner = world.runner()
    for _ in range(int(days * DAY / step)):
        world.clock.advance(seconds=step.total_seconds())
        await settle(runner)


async def test_a_week_of_deliveries_is_true(world: World) -> None:
    await world.subscribe(target_value="ann@example.org,bo@example.org")
    await world.subscribe(timezone="America/New_York", frequency="weekly", byweekday=["monday", "friday"])
    await settle(world.runner())
    await run(world, days=7)

    assert await verified(world) == []
    assert len(await world.deliveries()) >= 9


@pytest.mark.parametrize("days", [1, 3, 101, 102, 103, 400])
async def test_after_downtime_every_missed_occurrence_is_counted_whatever_the_policy(world: World, days: int) -> None:
    for policy in ("latest", "all", "skip"):
        await world.subscribe(catch_up=policy)
    await run(world, days=1)
    world.clock.advance(days=days)
    await run(world, days=2)

    assert await verified(world) == []
    assert await verified(world, since=world.clock() - days / 2 * DAY) == []


async def test_a_row_that_counts_too_many_is_found(world: World) -> None:
    await world.subscribe()
    await run(world, days=1)
    world.clock.advance(days=150)
    await run(world, days=1)
    counts = "error_message LIKE '% from this one on%'"
    await world.sql(f"UPDATE deliveries SET error_message = replace(error_message, ' occ', '0 occ') WHERE {counts}")

    assert [kind for kind, _, _ in await verified(world)] == [Kind.WRONG_COUNT]


async def test_a_row_that_counts_too_few_leaves_the_others_missing(world: World) -> None:
    await world.subscribe()
    await run(world, days=1)
    world.clock.advance(days=150)
    await run(world, days=1)
    [[row]] = await world.sql("SELECT error_message FROM deliveries WHERE error_message LIKE '% from this one on%'")
    count, _, rest = row.partition(" ")
    await world.sql(
        "UPDATE deliveries SET error_message = :less WHERE error_message = :row",
        row=row,
        less=f"{int(count) - 2} {rest}",
    )

    assert [kind for kind, _, _ in await verified(world)] == [Kind.MISSING_OCCURRENCE] * 2


async def test_pausing_and_resuming_leaves_no_gap_that_should_not_be(world: World) -> None:
    made = await world.subscribe()
    await run(world, days=3)
    await world.app.subscriptions.pause(world.project, made.id)
    await run(world, days=3)
    assert await verified(world) == []

    await world.app.subscriptions.resume(world.project, made.id)
    await run(world, days=3)
    await world.app.subscriptions.pause(world.project, made.id)
    await world.app.subscriptions.resume(world.project, made.id)
    await run(world, days=1)
    assert await verified(world) == []

    await world.app.subscriptions.remove(world.project, made.id)
    await run(world, days=2)
    assert await verified(world) == []


async def test_editing_the_rule_to_and_fro_is_true_before_and_after(world: World) -> None:
    made = await world.subscribe(frequency="weekly")
    for frequency in ("daily", "monthly", "weekly", "daily", "daily", "weekly"):
        await run(world, days=3.5)
        await world.app.subscriptions.edit(world.project, made.id, {"frequency": frequency})
        assert await verified(world) == []
    await run(world, days=15)

    assert await verified(world) == []


async def test_an_ended_rule_has_all_its_occurrences_and_can_be_extended(world: World) -> None:
    made = await world.subscribe(count=3)
    await run(world, days=5)
    assert await verified(world) == []
    assert (await world.find(made.id)).next_delivery_date is None

    await world.app.subscriptions.edit(world.project, made.id, {"count": 9})
    await run(world, days=2)
    assert await verified(world) == []

    await world.sql("DELETE FROM deliveries WHERE scheduled_at = (SELECT max(scheduled_at) FROM deliveries)")
    assert [kind for kind, _, _ in await verified(world)] == [Kind.MISSING_OCCURRENCE]


async def test_a_clock_that_went_back_is_no_discrepancy(world: World) -> None:
    made = await world.subscribe()
    await run(world, days=4)
    world.clock.advance(days=-2)
    await run(world, days=1)
    assert await verified(world) == []
    assert await verified(world, since=world.clock() + 9 * DAY) == []

    await world.app.subscriptions.pause(world.project, made.id)
    await world.app.subscriptions.resume(world.project, made.id)
    await run(world, days=1)
    assert await verified(world) == []

    await run(world, days=4)
    assert await verified(world) == []


async def test_failures_retries_and_who_left_meanwhile_are_no_discrepancy(world: World) -> None:
    made = await world.subscribe(target_value="ann@example.org,bo@example.org,cy@example.org")
    world.email.answer("ann@example.org", TransientFailure("busy"))
    world.email.answer("cy@example.org", PermanentFailure("no such user"))
    await run(world, days=0.25)
    assert await verified(world) == []

    await world.app.subscriptions.unsubscribe(made.id, "ann@example.org")
    assert await verified(world) == []
    await run(world, days=3)
    assert await verified(world) == []


async def test_a_dead_workers_attempt_is_no_discrepancy_once_it_was_taken_over(world: World) -> None:
    await world.subscribe()
    world.clock.advance(hours=1)
    dead = world.runner()
    await dead.open_due()
    assert len(await dead.claim()) == 1

    world.clock.advance(minutes=11)
    assert [kind for kind, _, _ in await verified(world)] == [Kind.LEASE_RAN_OUT]
    await settle(world.runner())
    assert await verified(world) == []


async def test_what_others_write_meanwhile_is_seen_whole_or_not_at_all(world: World) -> None:
    for minute in range(1, 101):
        await world.subscribe(start_date=NOW + minute * MINUTE)
    working = asyncio.create_task(run(world, days=0.1, step=5 * MINUTE))

    found = [await verified(world)]
    while not working.done():
        found.append(await verified(world))
    await working

    assert found == [[]] * len(found)
    assert len(await world.deliveries()) == 100
    assert await verified(world) == []


async def test_a_claim_in_progress_is_no_discrepancy(world: World) -> None:
    await world.subscribe(announced=True)
    runner = world.runner()
    await runner.open_due()
    assert await verified(world) == []

    await runner.claim()
    assert await verified(world) == []


# ── size ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_large_ledger_is_verified_in_little_time(database: Database) -> None:
    size = int(os.environ.get("PAPERROUND_VERIFIED", "2000"))
    ledger = await filled(database, subscriptions_=size // 50, each=50)

    began = time.perf_counter()
    verification = await ledger.verify()
    took = time.perf_counter() - began

    print(f"{verification.deliveries:,} deliveries of {verification.subscriptions:,} subscriptions in {took:.1f} s")
    assert (verification.deliveries, verification.discrepancies) == (size, [])
    assert took < 30


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
async def test_it_takes_no_more_memory_for_four_times_as_many(database: Database) -> None:
    ledger = await filled(database, subscriptions_=400, each=8)
    async with database.write() as tx:
        await tx.execute(insert(projects).values(id=2, organisation_id=1, name="2", timezone="UTC", created_at=NOW))
        await tx.execute(update(subscriptions).where(subscriptions.c.id <= 100).values(project_id=2))
    await ledger.verify()  # what is made once and kept: statements, zones, calendars

    assert await peak_of(ledger.verify()) < 1.5 * await peak_of(ledger.verify(project_id=2))


async def peak_of(doing: Awaitable[Verification]) -> int:
    """The most bytes that were in use at a time."""
    tracemalloc.start()
    try:
        await doing
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
