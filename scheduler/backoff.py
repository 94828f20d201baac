"""When to try again: a schedule for each channel, as data, with jitter and the provider's ``Retry-After``."""

from __future__ import annotations

from datetime import timedelta

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


def attempts_allowed(kind: str) -> int:
    """How many attempts a recipient of this channel gets."""
    return len(SCHEDULES[kind]) + 1


def pause_after(attempt: int, *, kind: str, retry_after: timedelta | None, chance: float) -> timedelta | None:
    """How long to wait after this attempt (1, 2, 3 …); None when it was the last.

    ``chance`` in [0, 1) spreads the pause by ±20 %, so that what failed together does not come back together.
    A provider's ``Retry-After`` is honoured within one and two times the scheduled pause (RFC 9110, 10.2.3).
    """
    if attempt >= attempts_allowed(kind):
        return None
    base = SCHEDULES[kind][attempt - 1]
    if retry_after is not None:
        return min(max(retry_after, base), 2 * base)
    return base * (1 - JITTER + 2 * JITTER * chance)
