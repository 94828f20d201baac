"""The ledger held against the rules: what should have happened, worked out once more, beside what is recorded.

It reads rows and rules alone. Nothing of what opens deliveries is asked: a mistake there must not hide itself here.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db import Database
from scheduler.errors import InvalidField
from scheduler.recurrence import Recurrence
from scheduler.status import DeliveryStatus, Trigger
from scheduler.store import audit
from scheduler.store.audit import Fault, KeptRule, Kind, LedgerRow, Standing
from scheduler.store.opening import occurrence_id
from scheduler.store.recurrences import rule_of
from scheduler.zones import RULES_VERSION

AT_ONCE = 100
"""Subscriptions looked at in one transaction: on a large ledger none is long."""
SHIFT = timedelta(hours=12)
"""By so much another edition of the time zone database may move an occurrence; two are never nearer to each other."""
UNKNOWN = "unknown"
"""The edition of a rule that was there before rules were kept: what came before it cannot be verified."""

_TICK, _DAY = timedelta(microseconds=1), timedelta(days=1)
_FOREVER = datetime.max.replace(tzinfo=UTC)
_COUNTS = re.compile(r"(\d+) occurrences from this one on were missed;")


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Something that is recorded and not so, or so and not recorded; ``message`` says what, and what to do."""

    kind: Kind
    subscription_id: int
    delivery_id: UUID | None
    at: datetime | None
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what is wrong with it."""

    deliveries: int
    subscriptions: int
    since: datetime | None
    discrepancies: list[Discrepancy]


async def verify(
    database: Database,
    *,
    now: datetime,
    since: datetime | None = None,
    installation: UUID,
    project_id: int | None = None,
) -> Verification:
    """Compare the whole ledger, or what is due or was opened ``since`` then, with the rules; nothing is changed.

    What is live now is looked at in any case. Each transaction sees one state, whoever else is at work.
    """
    verifier = _Verifier(installation=installation, now=now, since=since)
    deliveries, subscriptions, last_id = 0, 0, 0
    discrepancies: list[Discrepancy] = []
    while True:
        async with database.snapshot() as connection:
            some = await audit.standing(connection, after_id=last_id, limit=AT_ONCE, project_id=project_id)
            if not some:
                return Verification(deliveries, subscriptions, since, discrepancies)
            seen, found = await verifier.compare(connection, some)
        deliveries, subscriptions, last_id = deliveries + seen, subscriptions + len(some), max(some)
        discrepancies += found


async def record_verification(tx: AsyncConnection, verification: Verification, now: datetime) -> None:
    """Keep the result where the metrics find it."""
    await audit.keep_result(tx, discrepancies=len(verification.discrepancies), now=now)


@dataclass(frozen=True, slots=True)
class _Verifier:
    installation: UUID
    now: datetime
    since: datetime | None

    async def compare(self, connection: AsyncConnection, some: Mapping[int, Standing]) -> tuple[int, list[Discrepancy]]:
        """How many deliveries these subscriptions have, and what is wrong with them and their rules."""
        kept = await audit.kept_rules(connection, some)
        found = [_of_fault(fault) for fault in await audit.faults(connection, some, now=self.now, since=self.since)]
        without_rows, seen = set(some), 0
        async for id_, rows in audit.ledger(connection, some, since=self.since and self.since - _DAY):
            without_rows.discard(id_)
            seen += sum(self.is_asked_for(row.at) for row in rows)
            found += self.of_history(some[id_], kept.get(id_, ()), rows)
            found += await self.of_exports(connection, rows)
        for id_ in without_rows:
            found += self.of_history(some[id_], kept.get(id_, ()), [])
        return seen, sorted(found, key=lambda each: (each.subscription_id, each.at or self.now, each.kind))

    def is_asked_for(self, at: datetime) -> bool:
        return self.since is None or at >= self.since

    async def of_exports(self, connection: AsyncConnection, rows: Sequence[LedgerRow]) -> list[Discrepancy]:
        """What a delivery says it showed is kept."""
        missing = await audit.missing_exports(connection, (id_ for row in rows for id_ in row.export_ids or ()))
        return [
            _of_row(
                Kind.MISSING_EXPORT,
                row,
                f"it showed export {min(missing.intersection(row.export_ids or ()))}, which is not there; "
                "nobody can see any more what was sent: restore the exports from a backup",
            )
            for row in rows
            if self.is_asked_for(row.at) and not missing.isdisjoint(row.export_ids or ())
        ]

    def of_history(
        self, standing: Standing, kept: Sequence[KeptRule], rows: Sequence[LedgerRow]
    ) -> Iterator[Discrepancy]:
        """Of one subscription: its rules, its next date, and its scheduled rows."""
        scheduled = [row for row in rows if row.trigger == Trigger.SCHEDULED]
        history = _History(standing, kept, scheduled, installation=self.installation, now=self.now, since=self.since)
        yield from history.of_rules()
        yield from history.of_next_date()
        yield from history.of_occurrences()


@dataclass(frozen=True, slots=True)
class _Period:
    """A rule that a subscription went by, and the occurrences that were to be delivered by it, in order."""

    kept: KeptRule
    recurrence: Recurrence
    occurrences: list[datetime]

    @property
    def is_exact(self) -> bool:
        """Worked out with the present time zones: an occurrence is an instant, not about an instant."""
        return self.kept.tzdata == RULES_VERSION

    def index_of(self, at: datetime) -> int | None:
        """Which of its occurrences a row of this instant is of."""
        index, occurrences = bisect_left(self.occurrences, at), self.occurrences
        if self.is_exact:
            return index if index < len(occurrences) and occurrences[index] == at else None
        near = [each for each in (index - 1, index) if 0 <= each < len(occurrences)]
        nearest = min(near, key=lambda each: abs(occurrences[each] - at), default=None)
        return nearest if nearest is not None and abs(occurrences[nearest] - at) < SHIFT else None

    def names(self, at: datetime) -> bool:
        """Whether its rule, whatever its end, has an occurrence at this instant."""
        return self.recurrence.next_after(at - _TICK) == at

    def nearest(self, at: datetime) -> datetime:
        """What an instant that was worked out with other time zones is with the present ones."""
        if self.is_exact:
            return at
        near = self.recurrence.between(at - SHIFT, at + SHIFT)
        return min(near, key=lambda each: abs(each - at), default=at)


def _was_ahead(row: LedgerRow, standing: Standing, *, now: datetime) -> bool:
    """Opened by a clock that has been set back since: the next date comes to it in time, and passes it by."""
    next_at = standing.next_delivery_at
    return row.created_at > now and next_at is not None and row.at >= next_at


class _History:
    """One subscription's rules and scheduled rows, laid side by side."""

    def __init__(
        self,
        standing: Standing,
        kept: Sequence[KeptRule],
        rows: Sequence[LedgerRow],
        *,
        installation: UUID,
        now: datetime,
        since: datetime | None,
    ) -> None:
        self.standing, self.kept = standing, kept
        self.rows = rows
        self.installation, self.now, self.since = installation, now, since
        self.through = max(now, standing.last_at or now)  # what is due by now, or was opened ahead of it
        self.looked_from = since and min((row.at for row in rows), default=since - _DAY)
        self.periods: list[_Period] = []
        self.unreadable: list[KeptRule] = []
        for each in kept:
            self._lay_out(each)
        self.present = next((each for each in self.periods if each.kept.ended_before is None), None)

    def _lay_out(self, kept: KeptRule) -> None:
        try:
            period = _Period(kept, rule_of(kept.rule), [])
        except (InvalidField, AttributeError, KeyError, TypeError, ValueError):
            self.unreadable.append(kept)
            return
        first, end = period.nearest(kept.first_at), kept.ended_before or self.standing.next_delivery_at
        first = first if self.looked_from is None else max(first, self.looked_from)
        last = self.through if end is None else min(period.nearest(end) - _TICK, self.through)
        period.occurrences.extend(period.recurrence.between(first - _TICK, last))
        self.periods.append(period)

    # ── the rules ────────────────────────────────────────────────────────────────────────────────────────────────────

    def of_rules(self) -> Iterator[Discrepancy]:
        """Exactly one present rule while it is live, the one in its own columns; none otherwise; no two at a time."""
        present = [each for each in self.kept if each.ended_before is None]
        for each in self.unreadable:
            yield self.says(
                Kind.RULE_UNREADABLE,
                each.first_at,
                "a rule it went by cannot be read, so its occurrences cannot be verified; "
                "restore its row in recurrences from a backup",
            )
        if self.standing.is_live and not present and (self.kept or self.standing.next_delivery_at is not None):
            yield self.says(
                Kind.RULE_MISSING,
                self.standing.next_delivery_at,
                "it is on, but the rule it goes by is not kept; pause it and resume it",
            )
        if not self.standing.is_live and present:
            yield self.says(
                Kind.RULE_NOT_ENDED,
                present[0].first_at,
                "it is paused or removed, but its rule has no end; resume it and pause it again",
            )
        if self.standing.is_live and self.present and self.present.recurrence != self.standing.recurrence:
            yield self.says(
                Kind.RULE_DIFFERS,
                self.present.kept.first_at,
                "its columns say another rule than the one it goes by; edit its recurrence to what is meant",
            )
        yield from self._overlaps()

    def _overlaps(self) -> Iterator[Discrepancy]:
        """A rule that begins before the last occurrence of an earlier one, which had passed when it was taken up.

        (What was opened ahead, by ``run-due --at`` or a wrong clock, may well be named once more by a later rule.)
        """
        last: datetime | None = None
        for period in self.periods:
            if last is not None and period.kept.first_at <= last < period.kept.created_at:
                yield self.says(
                    Kind.RULES_OVERLAP,
                    period.kept.first_at,
                    f"this rule begins before {_z(last)}, the last occurrence of an earlier one; "
                    "restore its rows in recurrences from a backup",
                )
            if period.is_exact and period.occurrences:
                last = max(last or period.occurrences[-1], period.occurrences[-1])

    # ── the next date ────────────────────────────────────────────────────────────────────────────────────────────────

    def of_next_date(self) -> Iterator[Discrepancy]:
        """The first occurrence of the present rule that is neither recorded nor past; soon opened when it comes."""
        next_at = self.standing.next_delivery_at
        if not self.standing.is_live:
            return
        if next_at is not None and next_at < self.now - audit.STUCK:
            yield self.says(
                Kind.NEXT_DATE_OVERDUE,
                next_at,
                "it is due and nobody opens it; is the service, or the timer of `paperround run-due`, running?",
            )
        if self.present is None:
            return
        named = self.present.recurrence.next_after(max(self.through, self.present.kept.first_at - _TICK))
        wrong = self._wrong_next_date(self.present, next_at, named)
        if wrong is not None:
            kind, why = wrong
            then = f"set next_delivery_date to {_z(named)}" if named else "set next_delivery_date to null"
            yield self.says(kind, next_at or named, f"{why}; pause and resume it, or {then}")

    def _wrong_next_date(
        self, present: _Period, next_at: datetime | None, named: datetime | None
    ) -> tuple[Kind, str] | None:
        if next_at is None:
            goes_on = named is not None
            return (Kind.NEXT_DATE_MISSING, "its rule goes on, but it has no next date") if goes_on else None
        if present.is_exact and not present.names(next_at):
            return Kind.NEXT_DATE_NOT_IN_RULE, "its next date is not an occurrence of its rule"
        if any(self._is_ahead(row) for row in self.rows):
            return Kind.NEXT_DATE_BEHIND, "its next date comes before occurrences that are recorded already"
        if named is not None and present.nearest(next_at) > named:
            return Kind.NEXT_DATE_AHEAD, f"its next date leaves out occurrences, {_z(named)} the first of them"
        return None

    def _is_ahead(self, row: LedgerRow) -> bool:
        """Of the present rule, not before the next date: recorded too early, or the date went back."""
        next_at, present = self.standing.next_delivery_at, self.present
        if next_at is None or present is None or not present.is_exact or row.at < next_at:
            return False
        if _was_ahead(row, self.standing, now=self.now):
            return False
        return self._place(row) is None and present.names(row.at)

    # ── the occurrences ──────────────────────────────────────────────────────────────────────────────────────────────

    def of_occurrences(self) -> Iterator[Discrepancy]:
        """Each has exactly one row, or is counted by one; and each row is of one, under its own identity."""
        rows_of, strays = self._placed()
        counted, miscounted = self._counted(rows_of)
        expected = sorted({at for period in self.periods for at in period.occurrences})
        missing = [at for at in expected if at not in rows_of and at not in counted and self._is_asked_for(at)]
        yield from miscounted
        for at, rows in rows_of.items():
            if self._is_asked_for(at):
                yield from self._of_rows(at, rows)
        yield from self._of_strays(strays, missing)
        for at in missing:
            yield self.says(
                Kind.MISSING_OCCURRENCE,
                at,
                "no delivery is recorded for this occurrence of its rule, and none counts it: it was lost; "
                f"`paperround subscriptions test {self.standing.id}` sends the present numbers",
            )

    def _placed(self) -> tuple[dict[datetime, list[LedgerRow]], list[LedgerRow]]:
        """The rows by their occurrences, and those that no rule names."""
        rows_of: dict[datetime, list[LedgerRow]] = defaultdict(list)
        strays: list[LedgerRow] = []
        for row in sorted(self.rows, key=lambda row: (row.at, row.created_at)):
            place = self._place(row)
            if place is not None:
                rows_of[place[0].occurrences[place[1]]].append(row)
            elif not self._is_exempt(row):
                strays.append(row)
        return rows_of, strays

    def _place(self, row: LedgerRow) -> tuple[_Period, int] | None:
        """Which occurrence of which rule it is of; the latest rule, when several name its instant."""
        if row.scheduled_at is None:
            return None
        for period in reversed(self.periods):
            index = period.index_of(row.scheduled_at)
            if index is not None:
                return period, index
        return None

    def _is_exempt(self, row: LedgerRow) -> bool:
        """Older than the rules that were kept, of one that cannot be read or is gone, or told as a wrong next date."""
        if not self.kept or row.created_at < self.kept[0].created_at or not self._is_asked_for(row.at):
            return True
        if self.kept[0].tzdata == UNKNOWN and row.at < self.kept[0].first_at:
            return True
        if any(each.first_at <= row.at < (each.ended_before or _FOREVER) for each in self.unreadable):
            return True
        is_lost = self.standing.is_live and all(each.ended_before for each in self.kept)
        if is_lost and row.at >= max(each.ended_before or _FOREVER for each in self.kept):
            return True
        return self._is_ahead(row)

    def _counted(self, rows_of: Mapping[datetime, Sequence[LedgerRow]]) -> tuple[set[datetime], list[Discrepancy]]:
        """Occurrences that one row counts together with its own; and rows that count what is not there to count."""
        counted: set[datetime] = set()
        miscounted: list[Discrepancy] = []
        for row in self.rows:
            count, place = _count(row), self._place(row)
            if count == 1 or place is None:
                continue
            period, index = place
            others = period.occurrences[index + 1 : index + count]
            if len(others) < count - 1 or any(at in rows_of for at in others):
                miscounted.append(
                    self.says(
                        Kind.WRONG_COUNT,
                        row.at,
                        f"it says that it stands for {count} missed occurrences, but some of them have rows of their "
                        "own or never were; correct the number in its error_message",
                        row,
                    )
                )
            counted.update(others)
        return counted, miscounted

    def _of_rows(self, at: datetime, rows: Sequence[LedgerRow]) -> Iterator[Discrepancy]:
        row = rows[0]
        if len(rows) > 1:
            yield self.says(
                Kind.DOUBLED_OCCURRENCE,
                at,
                f"{len(rows)} deliveries are recorded for this one occurrence, the second is {rows[1].id}; "
                "is the unique index uq_deliveries_occurrence still there? Remove the one that was not sent",
                row,
            )
        elif (row.id, row.idempotency_key) != (self._id_of(row.at), str(row.id)):
            yield self.says(
                Kind.WRONG_IDENTITY,
                at,
                "its id or idempotency key is not the one that follows from subscription and occurrence: "
                "receivers cannot tell its repetitions; it was not written by this installation",
                row,
            )

    def _of_strays(self, strays: Sequence[LedgerRow], missing: list[datetime]) -> Iterator[Discrepancy]:
        """Rows of no occurrence; one whose identity is a missing one's has only the wrong date, and finds its place."""
        by_id = {self._id_of(at): at for at in missing} if strays else {}
        for row in strays:
            meant = by_id.get(row.id)
            if meant is None and _was_ahead(row, self.standing, now=self.now):
                continue
            if meant is None:
                yield self.says(
                    Kind.STRAY_DELIVERY,
                    row.at,
                    "no rule that this subscription went by names this occurrence; it should not have been opened",
                    row,
                )
                continue
            missing.remove(meant)
            yield self.says(
                Kind.WRONG_DATE,
                meant,
                f"by its id it is the delivery of {_z(meant)}, but its scheduled_at says {_z(row.scheduled_at)}; "
                "set it right",
                row,
            )

    def _id_of(self, at: datetime) -> UUID:
        return occurrence_id(self.installation, self.standing.id, at)

    def _is_asked_for(self, at: datetime) -> bool:
        return self.since is None or at >= self.since

    def says(self, kind: Kind, at: datetime | None, message: str, row: LedgerRow | None = None) -> Discrepancy:
        return Discrepancy(kind, self.standing.id, None if row is None else row.id, at, message)


def _count(row: LedgerRow) -> int:
    """How many missed occurrences it stands for."""
    counts = _COUNTS.match(row.error_message or "") if row.status == DeliveryStatus.SKIPPED else None
    return 1 if counts is None else int(counts[1])


def _of_row(kind: Kind, row: LedgerRow, message: str) -> Discrepancy:
    return Discrepancy(kind, row.subscription_id, row.id, row.at, message)


def _of_fault(fault: Fault) -> Discrepancy:
    whose = "" if fault.position is None else f"recipient {fault.position + 1} "
    return Discrepancy(fault.kind, fault.subscription_id, fault.delivery_id, fault.at, whose + _SENTENCES[fault.kind])


_SEE = "`paperround deliveries show` has its recipients"
_SENTENCES = {
    Kind.MISSING_RECIPIENT: "somebody in its target has no recipient row, or nobody has: they were not sent to; "
    "restore the rows from a backup, or send by hand",
    Kind.STRAY_RECIPIENT: "it has a recipient that is not in its target; find out who added the row",
    Kind.WRONG_STATUS: f"its status is not the one that follows from its recipients; {_SEE}, set the status right",
    Kind.WRONG_END: "it has ended without a finished_at, or has one although it is in progress; set it right",
    Kind.NO_REASON: "it was not sent and says no reason; the log of its run has it",
    Kind.NO_RECIPIENT_REASON: "failed and says no reason; its attempts may have it",
    Kind.SENT_UNPROVEN: "is said to be sent, but no attempt or no instant proves it; ask the provider, or resend",
    Kind.WRONG_ATTEMPTS: "counts other attempts than are recorded; compare the log of its run with its attempts",
    Kind.NOT_READY: "it is in progress, but without ready_at nobody will ever claim it; set ready_at to now",
    Kind.LEASE_RAN_OUT: "its worker died and nobody took it over; "
    "is the service, or the timer of `paperround run-due`, running?",
    Kind.LEASE_TOO_LONG: "its lease ends hours from now, so nobody takes it over; "
    "was the clock wrong? Set ready_at to now",
    Kind.LEASE_ON_ENDED: "it has ended, but a worker still holds it; set lease to null",
    Kind.UNCLAIMED: "it has been ready for more than a day and nobody sent it; "
    "is the service, or the timer of `paperround run-due`, running?",
}


def _z(at: datetime | None) -> str:
    return "nothing" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
