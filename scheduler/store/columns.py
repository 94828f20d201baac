"""Columns as values: what several modules read from a subscription's row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast

from sqlalchemy import Row

from scheduler.recurrence import Fold, Frequency, Gap, Recurrence, Weekday

AnyRow = Row[*tuple[Any, ...]]
Word = TypeVar("Word", bound=StrEnum)

LONGEST_ERROR = 500
"""Characters of an error that are kept (api-contract, Delivery); the columns hold no more."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where deliveries of a subscription go, as it stands in the rows: a webhook's URL only sealed."""

    kind: str
    value: str
    sealed: str | None
    destination: str
    addresses: tuple[str, ...]
    integration_id: int | None = None


OF_RECURRENCE = (
    *("frequency", "interval", "byweekday", "bysetpos", "occurrence_count"),
    *("start_date", "until_date", "timezone", "gap", "fold"),
)
OF_TARGET = ("target_type", "target_value", "target_sealed", "destination", "integration_id")
"""The columns that :func:`recurrence_of` and :func:`target_of` read."""


def recurrence_of(row: AnyRow) -> Recurrence:
    """The rule in a subscription's columns, whatever stands there: what makes no sense shows when it is asked.

    So a spoilt row can be listed, and mended, and stops no other.
    """
    weekdays = None if row.byweekday is None else row.byweekday.split(",")
    return Recurrence(
        frequency=_known(Frequency, row.frequency),
        interval=row.interval,
        byweekday=None if weekdays is None else tuple(_known(Weekday, day) for day in weekdays),
        bysetpos=row.bysetpos,
        count=row.occurrence_count,
        start_at=row.start_date,
        until_at=row.until_date,
        timezone=row.timezone,
        gap=_known(Gap, row.gap),
        fold=_known(Fold, row.fold),
    )


def _known(kind: type[Word], stored: str) -> Word:
    try:
        return kind(stored)
    except ValueError:
        return cast("Word", stored)


def target_of(row: AnyRow) -> Target:
    """The target in a subscription's columns; of Slack's ``ID|#name`` only the id is an address."""
    match row.target_type:
        case "email":
            addresses = tuple(row.target_value.split(","))
        case "slack":
            addresses = (row.target_value.partition("|")[0],)
        case _:
            addresses = (row.target_value,)
    return Target(row.target_type, row.target_value, row.target_sealed, row.destination, addresses, row.integration_id)
