"""What a project decides about failures: when to try again, when to give a target up. Everything has a default."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from scheduler.backoff import SCHEDULES
from scheduler.errors import InvalidField

MOST_PAUSES = 20
LONGEST_PAUSE = timedelta(days=7)
MOST_FAILURES = 100
LONGEST_FAILING = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Policy:
    """``retries``: the pause after attempt 1, 2, 3 … of each channel, one attempt more than there are pauses.

    ``past_next``: a scheduled delivery is still tried when the next occurrence has come.
    A subscription is disabled by so many failed deliveries in a row, or when nothing but failure came for so long.
    """

    retries: Mapping[str, tuple[timedelta, ...]] = field(default_factory=lambda: dict(SCHEDULES))
    past_next: bool = False
    disable_after: int = 10
    disable_after_hours: int = 120

    def why_disable(self, newest_first: Sequence[Ending], *, gone_after: int | None, now: datetime) -> str | None:
        """Why a subscription is to be given up, judged by how its deliveries ended, or None.

        ``gone_after``: the newest failure means a target that is gone, once so many in a row mean that.
        The reason is for a person: what happened, and what to do.
        """
        failures = list(takewhile(lambda ending: ending.failed, newest_first))
        if not failures:
            return None
        gone = sum(1 for _ in takewhile(lambda ending: ending.gone, failures))
        failing_for = now - failures[-1].opened_at
        if gone_after is not None and gone >= gone_after:
            why = "The target is gone" + (f" ({gone} deliveries in a row)" if gone_after > 1 else "")
        elif len(failures) >= self.disable_after:
            why = f"{len(failures)} deliveries in a row failed"
        elif len(failures) > 1 and failing_for >= timedelta(hours=self.disable_after_hours):
            why = f"Nothing but failure for {failing_for // timedelta(hours=1)} hours"
        else:
            return None
        return f"{why}. The reason was: {failures[0].reason} When that is put right, resume it."


@dataclass(frozen=True, slots=True)
class Ending:
    """How one delivery ended. ``gone``: its channel said that the target is, or may be, gone."""

    failed: bool
    gone: bool
    reason: str
    opened_at: datetime


def parse_policy(stored: Mapping[str, Any] | None) -> Policy:
    """A project's own decisions, as its row has them, over the defaults.

    Raises :class:`InvalidField` for the first one that cannot be.
    """
    given = dict(stored or {})
    if unknown := sorted(set(given) - {"retries", "past_next", "disable_after", "disable_after_hours"}):
        raise InvalidField(unknown[0], "a project's policy has no such entry")
    default = Policy()
    return Policy(
        retries={**default.retries, **_retries(given.get("retries") or {})},
        past_next=bool(given.get("past_next", default.past_next)),
        disable_after=_whole("disable_after", given.get("disable_after", default.disable_after), MOST_FAILURES),
        disable_after_hours=_whole(
            "disable_after_hours",
            given.get("disable_after_hours", default.disable_after_hours),
            int(LONGEST_FAILING / timedelta(hours=1)),
        ),
    )


def readable_policy(stored: Mapping[str, Any] | None) -> Policy:
    """The same for somebody who only goes by it: what nobody can read stops no delivery, the defaults count."""
    if not stored:
        return Policy()
    try:
        return parse_policy(stored)
    except (InvalidField, TypeError, ValueError, AttributeError, OverflowError):
        return Policy()


def parse_pauses(text: str) -> list[float]:
    """``5s,5m,30m,2h,1d`` as seconds. Raises :class:`InvalidField`."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    pauses: list[float] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        read = re.fullmatch(r"([0-9]{1,6})([smhd])", part)
        if read is None:
            raise InvalidField("retries", f"{part[:20]!r} is not a pause; write 5s, 5m, 2h or 1d, separated by commas")
        pauses.append(int(read[1]) * units[read[2]])
    return pauses


def _retries(given: Mapping[str, Sequence[float]]) -> dict[str, tuple[timedelta, ...]]:
    return {kind: _schedule(kind, pauses) for kind, pauses in given.items()}


def _schedule(kind: str, pauses: Sequence[float]) -> tuple[timedelta, ...]:
    if kind not in SCHEDULES:
        raise InvalidField("retries", f"no channel {kind[:40]!r}; there are {', '.join(SCHEDULES)}")
    if len(pauses) > MOST_PAUSES:
        raise InvalidField("retries", f"at most {MOST_PAUSES} pauses a channel")
    schedule = tuple(timedelta(seconds=pause) for pause in pauses)
    if any(not timedelta(seconds=1) <= pause <= LONGEST_PAUSE for pause in schedule):
        raise InvalidField("retries", "a pause is between one second and seven days")
    return schedule


def _whole(field_name: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InvalidField(field_name, f"must be a whole number from 1 to {most}")
    return value
