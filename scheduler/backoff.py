"""When to try again: a schedule for each channel, as data, with jitter and the provider's ``Retry-After``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from channels.base import TransientFailure

SCHEDULES: dict[str, tuple[timedelta, ...]] = {
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#deliverability-and-reliability
    "webhook": (
        timedelta(seconds=5),
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
        timedelta(hours=5),
        timedelta(hours=10),
        timedelta(hours=10),
    ),
    # RFC 5321, 4.5.4.1: give up after days, not minutes; greylisting wants the first repeat within minutes.
    "email": (
        timedelta(minutes=5),
        timedelta(minutes=15),
        timedelta(hours=1),
        timedelta(hours=4),
        timedelta(hours=12),
        timedelta(hours=24),
    ),
    "slack": (
        timedelta(seconds=1),
        timedelta(seconds=10),
        timedelta(minutes=1),
        timedelta(minutes=10),
        timedelta(hours=1),
    ),
}
"""The pause after attempt 1, 2, 3 …; one attempt more than there are pauses."""

JITTER = 0.2

PUT_OFF = timedelta(seconds=30)
"""Where the provider does not say how long. Most count by the minute: half of one is enough, and soon enough."""
LONGEST_PUT_OFF = timedelta(hours=1)
PUT_OFF_FOR_NOTHING = timedelta(hours=24)
"""How old a delivery may be for an attempt that the provider put off to cost none of its attempts."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long; ``counted``: the attempt before it used up one of the schedule's."""

    length: timedelta
    counted: bool = True


def pause_after(
    outcome: TransientFailure, *, attempt: int, schedule: Sequence[timedelta], age: timedelta, chance: float
) -> Pause | None:
    """How long to wait after this attempt (1, 2, 3 … of the schedule); None when it was the last.

    ``chance`` in [0, 1) spreads the pause by ±20 %, so that what failed together does not come back together.
    A provider's ``Retry-After`` is honoured within one and two times the scheduled pause (RFC 9110, 10.2.3). One that
    merely puts everybody off is obeyed, for nothing, as long as the delivery is not too old (``age``).
    """
    if outcome.put_off and age < PUT_OFF_FOR_NOTHING:
        return Pause(put_off_for(outcome), counted=False)
    if attempt > len(schedule):
        return None
    base = schedule[attempt - 1]
    if outcome.retry_after is not None:
        return Pause(min(max(outcome.retry_after, base), 2 * base))
    return Pause(base * (1 - JITTER + 2 * JITTER * chance))


def put_off_for(outcome: TransientFailure) -> timedelta:
    """For how long the provider wants to be left alone, within bounds."""
    return min(max(outcome.retry_after or PUT_OFF, timedelta(seconds=1)), LONGEST_PUT_OFF)
