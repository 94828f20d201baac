"""When to try again: schedules, jitter, and a provider's own wish."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from channels.base import TransientFailure
from channels.registry import KINDS
from scheduler.backoff import JITTER, LONGEST_PUT_OFF, PUT_OFF, PUT_OFF_FOR_NOTHING, SCHEDULES, Pause, pause_after
from scheduler.lanes import RULES
from tests.scheduler.conftest import World, settle

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def test_every_channel_has_its_schedule_and_its_lane() -> None:
    assert set(SCHEDULES) == set(RULES) == set(KINDS)


def pause(
    attempt: int, kind: str, *, chance: float = 0.5, age: timedelta = timedelta(0), **failure: Any
) -> Pause | None:
    outcome = TransientFailure("not now", **failure)
    return pause_after(outcome, attempt=attempt, schedule=SCHEDULES[kind], age=age, chance=chance)


@pytest.mark.parametrize("kind", KINDS)
def test_pauses_grow_and_end(kind: str) -> None:
    schedule = SCHEDULES[kind]

    pauses = [pause(attempt, kind) for attempt in range(1, len(schedule) + 3)]

    assert pauses == [*(Pause(length) for length in schedule), None, None]
    assert list(schedule) == sorted(schedule)


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 1 - JITTER), (0.25, 0.9), (0.5, 1.0), (1.0, 1 + JITTER)])
def test_jitter_spreads_by_a_fifth_both_ways(chance: float, factor: float) -> None:
    assert pause(1, "email", chance=chance) == Pause(5 * MINUTE * factor)


@pytest.mark.parametrize(
    ("wish", "length"),
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
def test_retry_after_is_honoured_within_one_and_two_times_the_pause(wish: timedelta, length: timedelta) -> None:
    for chance in (0.0, 0.99):
        assert pause(1, "email", retry_after=wish, chance=chance) == Pause(length)


def test_retry_after_gives_no_attempt_more() -> None:
    assert pause(len(SCHEDULES["slack"]) + 1, "slack", retry_after=SECOND) is None


@pytest.mark.parametrize(
    ("wish", "length"),
    [(None, PUT_OFF), (7 * SECOND, 7 * SECOND), (-MINUTE, SECOND), (timedelta(days=1), LONGEST_PUT_OFF)],
    ids=str,
)
def test_what_the_provider_put_off_uses_up_no_attempt(wish: timedelta | None, length: timedelta) -> None:
    last = len(SCHEDULES["slack"]) + 1

    assert pause(last, "slack", retry_after=wish, put_off=True) == Pause(length, counted=False)


def test_a_delivery_that_was_put_off_for_a_day_counts_its_attempts() -> None:
    last = len(SCHEDULES["slack"]) + 1

    assert pause(1, "slack", put_off=True, age=PUT_OFF_FOR_NOTHING) == Pause(SCHEDULES["slack"][0])
    assert pause(last, "slack", put_off=True, age=PUT_OFF_FOR_NOTHING) is None


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
async def test_a_recipient_waits_as_long_as_the_provider_asked(world: World) -> None:
    await world.subscribe()
    world.email.answer("ann@example.org", [TransientFailure("slow down", retry_after=8 * MINUTE)])
    world.clock.advance(minutes=30)

    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert delivery.recipients[0].next_attempt_at == world.clock() + 8 * MINUTE
