"""Columns as values: what several modules read from a subscription's row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from scheduler.recurrence import Fold, Frequency, Gap, Recurrence, Weekday

AnyRow = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Target:
    """Where deliveries of a subscription go, as it stands in the rows: a webhook's URL only sealed."""

    kind: str
    value: str
    sealed: str | None
    destination: str
    addresses: tuple[str, ...]


def recurrence_of(row: AnyRow) -> Recurrence:
    """The rule in a subscription's columns."""
    return Recurrence(
        frequency=Frequency(row.frequency),
        interval=row.interval,
        byweekday=None if row.byweekday is None else tuple(Weekday(day) for day in row.byweekday),
        bysetpos=row.bysetpos,
        count=row.occurrence_count,
        start_at=row.start_date,
        until_at=row.until_date,
        timezone=row.timezone,
        gap=Gap(row.gap),
        fold=Fold(row.fold),
    )


def target_of(row: AnyRow) -> Target:
    """The target in a subscription's columns; of Slack's ``ID|#name`` only the id is an address."""
    match row.target_type:
        case "email":
            addresses = tuple(row.target_value.split(","))
        case "slack":
            addresses = (row.target_value.partition("|")[0],)
        case _:
            addresses = (row.target_value,)
    return Target(row.target_type, row.target_value, row.target_sealed, row.destination, addresses)
