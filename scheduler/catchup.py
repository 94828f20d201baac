"""Which occurrences of a due subscription are still sent, which are recorded as skipped, and what comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain, pairwise

from scheduler.recurrence import Recurrence

ON_TIME = timedelta(minutes=15)
"""Opened within this, an occurrence is on time whatever the policy: a one-shot may run every few minutes."""

WINDOW = timedelta(hours=24)
"""How late an occurrence may still be sent, unless the subscription says otherwise."""

SKIPPED_ROWS = 100
"""So many missed occurrences get a row each; one more row counts the rest."""


class CatchUp(StrEnum):
    """What happens to occurrences that were missed while nobody ticked."""

    LATEST = "latest"
    """The newest one is sent, the others are recorded."""
    ALL = "all"
    """Each is sent, oldest first."""
    SKIP = "skip"
    """None is sent."""


@dataclass(frozen=True, slots=True)
class Opening:
    """One occurrence to open: sent, or recorded as skipped with its reason."""

    occurrence_at: datetime
    skipped_because: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What opening a due subscription does: its deliveries, oldest first, and its next date (None: it has ended)."""

    openings: tuple[Opening, ...]
    next_delivery_at: datetime | None

    def all_skipped(self, reason: str) -> Plan:
        """The same, but none is sent: those that would have been are recorded with this reason."""
        openings = tuple(Opening(each.occurrence_at, each.skipped_because or reason) for each in self.openings)
        return replace(self, openings=openings)


def plan(
    recurrence: Recurrence,
    *,
    due_at: datetime,
    now: datetime,
    policy: CatchUp,
    window: timedelta,
    spread: timedelta = timedelta(0),
) -> Plan:
    """Decide about ``due_at`` and every occurrence after it up to ``now``.

    What may start within ``spread`` after its occurrence is not late before that is over.
    """
    following = recurrence.next_after(due_at)
    if following is None or following > now:  # nearly always: it is the only one
        alone = _why_not(due_at, is_newest=True, now=now, policy=policy, window=window, spread=spread)
        return Plan((Opening(due_at, alone),), following)
    sent: list[Opening] = []
    skipped: deque[Opening] = deque(maxlen=SKIPPED_ROWS)
    first_skipped, count = None, 0
    for occurrence, newer in pairwise(chain(_until_now(recurrence, due_at, now), [None])):
        if occurrence is None:
            break
        is_newest = newer is None
        reason = _why_not(occurrence, is_newest=is_newest, now=now, policy=policy, window=window, spread=spread)
        if reason is None:
            sent.append(Opening(occurrence))
            continue
        skipped.append(Opening(occurrence, reason))
        first_skipped, count = first_skipped or skipped[-1], count + 1
    rest = _rest(first_skipped, count - len(skipped))
    openings = sorted([*rest, *skipped, *sent], key=lambda opening: opening.occurrence_at)
    return Plan(tuple(openings), recurrence.next_after(now))


def _rest(first: Opening | None, count: int) -> list[Opening]:
    """The one row that stands for the oldest, which have none of their own."""
    if first is None or count == 0:
        return []
    if count == 1:
        return [first]
    return [Opening(first.occurrence_at, f"{count} occurrences from this one on were missed; {first.skipped_because}")]


def _until_now(recurrence: Recurrence, due_at: datetime, now: datetime) -> Iterator[datetime]:
    yield due_at
    yield from recurrence.between(due_at, now)


def _why_not(
    occurrence: datetime, *, is_newest: bool, now: datetime, policy: CatchUp, window: timedelta, spread: timedelta
) -> str | None:
    late = now - occurrence
    if is_newest and late <= ON_TIME + spread:
        return None
    if policy is CatchUp.SKIP:
        return f"missed by {rounded(late)}; the catch-up policy is skip"
    if policy is CatchUp.LATEST and not is_newest:
        return f"missed by {rounded(late)}; a newer occurrence was already due (catch-up policy: latest)"
    if late > window + spread:
        return f"missed by {rounded(late)}, more than the catch-up window of {rounded(window)}"
    return None


def rounded(span: timedelta) -> str:
    """The two largest units: ``3 days 4 h``, ``2 h 5 min``, ``40 s``."""
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "day" if days == 1 else "days"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{number} {unit}" for number, unit in [unit for unit in units if unit[0]][:2]) or "0 s"
