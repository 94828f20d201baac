"""Columns as values: what several modules read from a subscription's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Row

from scheduler.recurrence import Fold, Frequency, Gap, Recurrence, Weekday

AnyRow = Row[*tuple[Any, ...]]

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
    return Recurrence(
        frequency=_FREQUENCIES.get(row.frequency, row.frequency),
        start_at=row.start_date,
        timezone=row.timezone,
        interval=row.interval,
        byweekday=None if row.byweekday is None else _weekdays(row.byweekday),
        bysetpos=row.bysetpos,
        count=row.occurrence_count,
        until_at=row.until_date,
        gap=_GAPS.get(row.gap, row.gap),
        fold=_FOLDS.get(row.fold, row.fold),
    )


_FREQUENCIES: Mapping[str, Frequency] = {each.value: each for each in Frequency}
_WEEKDAYS: Mapping[str, Weekday] = {each.value: each for each in Weekday}
_GAPS: Mapping[str, Gap] = {each.value: each for each in Gap}
_FOLDS: Mapping[str, Fold] = {each.value: each for each in Fold}
"""Looked up, where asking the enum would take as long as the rest of a row."""


@lru_cache(maxsize=1024)
def _weekdays(stored: str) -> tuple[Weekday, ...]:
    return tuple(_WEEKDAYS.get(day, cast("Weekday", day)) for day in stored.split(","))


def target_of(row: AnyRow) -> Target:
    """The target in a subscription's columns."""
    addresses = addresses_of(row.target_type, row.target_value)
    return Target(row.target_type, row.target_value, row.target_sealed, row.destination, addresses, row.integration_id)


def addresses_of(kind: str, value: str) -> tuple[str, ...]:
    """The addresses in a target; of Slack's ``ID|#name`` only the id."""
    match kind:
        case "email":
            return tuple(value.split(","))
        case "slack":
            return (value.partition("|")[0],)
        case _:
            return (value,)
