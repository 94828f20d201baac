"""When to try again: schedules, jitter, and a provider's own wish."""

from __future__ import annotations

from datetime import timedelta

import pytest

from channels.base import TransientFailure
from channels.registry import KINDS
from scheduler.backoff import JITTER, SCHEDULES, attempts_allowed, pause_after
from scheduler.lanes import RULES
from tests.scheduler.conftest import World, settle

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def test_every_channel_has_its_schedule_and_its_lane() -> None:
    assert set(SCHEDULES) == set(RULES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_pauses_grow_and_end(kind: str) -> None:
    pauses = [
        pause_after(attempt, kind=kind, retry_after=None, chance=0.5)
        for attempt in range(1, attempts_allowed(kind) + 2)
    ]

    assert pauses == [*SCHEDULES[kind], None, None]
    assert list(SCHEDULES[kind]) == sorted(SCHEDULES[kind])


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 1 - JITTER), (0.25, 0.9), (0.5, 1.0), (1.0, 1 + JITTER)])
def test_jitter_spreads_by_a_fifth_both_ways(chance: float, factor: float) -> None:
    assert pause_after(1, kind="email", retry_after=None, chance=chance) == 5 * MINUTE * factor


@pytest.mark.parametrize(
    ("wish", "pause"),
    [
        (timedelta(0), 5 * MINUTE),
        (-MINUTE, 5 * MINUTE),
        (4 * MINUTE, 5 * MINUTE),
        (7 * MINUTE, 7 * MINUTE),
        (10 * MINUTE, 10 * MINUTE),
        (timedelta(days=365), 10 * MINUTE),
    ],
    ids=str,
)
def test_retry_after_is_honoured_within_one_and_two_times_the_pause(wish: timedelta, pause: timedelta) -> None:
    for chance in (0.0, 0.99):
        assert pause_after(1, kind="email", retry_after=wish, chance=chance) == pause


def test_retry_after_gives_no_attempt_more() -> None:
    last = attempts_allowed("slack")

    assert pause_after(last, kind="slack", retry_after=SECOND, chance=0.5) is None


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
async def test_a_recipient_waits_as_long_as_the_provider_asked(world: World) -> None:
    await world.subscribe()
    world.email.answer("ann@example.org", [TransientFailure("slow down", retry_after=8 * MINUTE)])
    world.clock.advance(minutes=30)

    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert delivery.recipients[0].next_attempt_at == world.clock() + 8 * MINUTE
