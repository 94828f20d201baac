"""What has to be true after every crash, asked of the ledger in plain SQL and held against what the sink saw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.app import App
from scheduler.clock import system_clock
from scheduler.models import attempts, deliveries, delivery_recipients
from scheduler.verification import verify
from tests.crash.ground import Ground
from tests.crash.processes import Arrival, Ended

SHOWN = 5
"""Examples of a violation that are printed."""


@dataclass
class Verdict:
    """What was found: figures for the table, and violations, of which there should be none."""

    figures: dict[str, object] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def none_of(self, name: str, found: Collection[object]) -> None:
        """A figure that has to be 0."""
        self.figures[name] = len(found)
        if found:
            examples = ", ".join(str(each) for each in list(found)[:SHOWN])
            self.violations.append(f"{len(found)} {name}: {examples}")

    def at_most(self, name: str, found: float, limit: float) -> None:
        """A figure with an upper bound."""
        self.figures[name] = f"{found:g} (at most {limit:g})"
        if found > limit:
            self.violations.append(f"{name}: {found:g}, more than {limit:g}")


def key_of(delivery_key: str, url: str) -> str:
    """The ``webhook-id`` a delivery must have, worked out here once more from its definition."""
    return f"msg_{uuid5(NAMESPACE_URL, f'paperround:{delivery_key}:{url}')}"


async def judge(
    ground: Ground,
    killed: Sequence[Ended],
    *,
    at_once: int | None,
    through: datetime | None = None,
    now: datetime | None = None,
) -> Verdict:
    """Everything, once all is drained: no occurrence lost, doubled or unexplained, no key unknown, no row damaged.

    ``at_once``: how many sends a killed process may have had in flight; None where sends are repeated without a kill.
    ``through``: each subscription's occurrences up to then; without it, exactly its first one. ``now`` is what the
    service's clock showed at its end, if not the present.
    """
    verdict = Verdict()
    arrivals = ground.sink.arrivals()
    async with ground.app() as app:
        async with app.database.read() as connection:
            expected = _expected(ground, through)
            await _judge_occurrences(connection, verdict, expected)
            await _judge_rows(connection, verdict, up_to=max(at for _, at in expected))
            await _judge_sink(connection, verdict, arrivals, url=ground.sink.url)
            await _judge_database(connection, verdict)
            if at_once is None:
                await _judge_doubts(connection, verdict, arrivals)
        await judge_by_verifier(app, verdict, now=now or system_clock())
    if at_once is not None:
        _judge_duplicates(verdict, arrivals, killed, at_once=at_once)
    return verdict


def _expected(ground: Ground, through: datetime | None) -> set[tuple[int, datetime]]:
    if through is None:
        return set(ground.plan.items())
    first = {number: at - timedelta(seconds=1) for number, at in ground.plan.items()}
    return {(number, at) for number, rule in ground.rules.items() for at in rule.between(first[number], through)}


async def _judge_occurrences(
    connection: AsyncConnection, verdict: Verdict, expected: Collection[tuple[int, datetime]]
) -> None:
    rows = await connection.execute(
        select(deliveries.c.subscription_id, deliveries.c.scheduled_at).where(
            deliveries.c.trigger_type == "scheduled",
            deliveries.c.scheduled_at <= max(at for _, at in expected),
        )
    )
    found = Counter((row.subscription_id, row.scheduled_at) for row in rows)
    verdict.figures["occurrences"] = len(expected)
    verdict.none_of("gaps", set(expected) - set(found))
    verdict.none_of("strays", set(found) - set(expected))
    verdict.none_of("doubled rows", [each for each, count in found.items() if count > 1])


async def _judge_rows(connection: AsyncConnection, verdict: Verdict, *, up_to: datetime) -> None:
    """Every delivery completed, every recipient sent with each attempt on record, nothing left in anybody's hands."""
    concerned = deliveries.c.scheduled_at <= up_to
    recorded = select(attempts.c.delivery_id, func.count().label("total")).group_by(attempts.c.delivery_id).subquery()
    each = (
        select(deliveries.c.id, deliveries.c.error_message, delivery_recipients.c.status)
        .outerjoin(delivery_recipients, delivery_recipients.c.delivery_id == deliveries.c.id)
        .outerjoin(recorded, recorded.c.delivery_id == deliveries.c.id)
        .where(concerned)
    )
    total = func.coalesce(recorded.c.total, 0)
    for name, query in (
        ("not completed", each.where(deliveries.c.status != "completed")),
        ("leases left over", each.where(deliveries.c.lease.is_not(None))),
        ("recipients missing or not sent", each.where(delivery_recipients.c.status.is_distinct_from("sent"))),
        ("recipients with attempts not on record", each.where(delivery_recipients.c.attempts != total)),
    ):
        verdict.none_of(name, [tuple(row) for row in await connection.execute(query)])


async def _judge_sink(connection: AsyncConnection, verdict: Verdict, arrivals: Iterable[Arrival], *, url: str) -> None:
    rows = await connection.execute(select(deliveries.c.idempotency_key, deliveries.c.status))
    keys = {key_of(row.idempotency_key, url): row.status for row in rows}
    seen = {arrival.key for arrival in arrivals}
    verdict.none_of("lost (completed, never seen)", {key for key, is_ in keys.items() if is_ == "completed"} - seen)
    verdict.none_of("unknown keys", seen - set(keys))


async def _judge_database(connection: AsyncConnection, verdict: Verdict) -> None:
    if connection.dialect.name == "sqlite":
        said = [row[0] for row in await connection.execute(text("PRAGMA integrity_check"))]
        verdict.none_of("integrity_check", [line for line in said if line != "ok"])
        verdict.none_of("foreign keys broken", (await connection.execute(text("PRAGMA foreign_key_check"))).all())


async def judge_by_verifier(app: App, verdict: Verdict, *, now: datetime) -> None:
    """The product's own verifier has to agree."""
    found = await verify(app.database, now=now, installation=app.installation)
    verdict.none_of("discrepancies by `verify`", [f"{each.kind}: {each.message}" for each in found.discrepancies])


def _judge_duplicates(verdict: Verdict, arrivals: Iterable[Arrival], killed: Iterable[Ended], *, at_once: int) -> None:
    """Only what a killed process had in flight is seen twice, and only so much."""
    senders = _senders(arrivals)
    repeated = Counter(pid for sent_by in senders.values() for pid in sent_by[:-1])
    verdict.figures["duplicates"] = sum(repeated.values())
    unexplained = set(repeated) - {each.pid for each in killed}
    verdict.none_of("duplicates of a process that was not killed", unexplained)
    verdict.none_of("keys sent twice by one process", [key for key, by in senders.items() if len(by) > len(set(by))])
    verdict.at_most("most duplicates of one kill", max(repeated.values(), default=0), at_once)


async def _judge_doubts(connection: AsyncConnection, verdict: Verdict, arrivals: Iterable[Arrival]) -> None:
    """Where timeouts are over in milliseconds: whatever is seen twice was, on record, uncertain before."""
    uncertain = select(func.count()).select_from(attempts).where(attempts.c.outcome == "uncertain")
    doubts = int((await connection.execute(uncertain)).scalar_one())
    verdict.at_most("duplicates", sum(len(by) - 1 for by in _senders(arrivals).values()), doubts)


def _senders(arrivals: Iterable[Arrival]) -> dict[str, list[int]]:
    senders: dict[str, list[int]] = defaultdict(list)
    for arrival in arrivals:
        senders[arrival.key].append(arrival.pid)
    return senders


def takeovers(arrivals: Iterable[Arrival], killed: Iterable[Ended], *, limit: float) -> list[float]:
    """Seconds from each kill to the repetition of what was in flight, where nobody else was killed within ``limit``."""
    deaths = sorted(each.ended_at for each in killed)
    died_at: Mapping[int, float] = {each.pid: each.ended_at for each in killed}
    last: dict[str, int] = {}
    waits = []
    for arrival in arrivals:
        before = died_at.get(last.get(arrival.key, 0))
        if before is not None and not any(before < death < min(arrival.at, before + limit) for death in deaths):
            waits.append(arrival.at - before)
        last[arrival.key] = arrival.pid
    return waits
