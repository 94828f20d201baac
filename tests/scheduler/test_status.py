"""Every status, what may follow what, and the one derivation of a delivery's status."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest

from channels.base import Outcome, PermanentFailure, Sent, TransientFailure
from scheduler.status import FOLLOWS, OPEN, DeliveryStatus, RecipientStatus, after_attempt, may_become, of_delivery
from tests.scheduler.conftest import World, settle

PENDING, SENDING, SENT = RecipientStatus.PENDING, RecipientStatus.SENDING, RecipientStatus.SENT
RETRYING, UNCERTAIN = RecipientStatus.RETRYING, RecipientStatus.UNCERTAIN
FAILED, SUPPRESSED = RecipientStatus.FAILED, RecipientStatus.SUPPRESSED

BUSY = TransientFailure("busy")
LOST = TransientFailure("the answer was lost", uncertain=True)
NO_MAILBOX = PermanentFailure("no such mailbox")


@pytest.mark.parametrize(
    ("outcome", "last_attempt", "becomes"),
    [
        (Sent(), False, SENT),
        (Sent("250 ok"), True, SENT),
        (BUSY, False, RETRYING),
        (BUSY, True, FAILED),
        (LOST, False, UNCERTAIN),
        (LOST, True, FAILED),
        (NO_MAILBOX, False, FAILED),
        (NO_MAILBOX, True, FAILED),
        (PermanentFailure("gone", target_gone=True), False, FAILED),
    ],
    ids=str,
)
def test_what_a_recipient_becomes_by_an_answer(outcome: Outcome, last_attempt: bool, becomes: RecipientStatus) -> None:
    assert after_attempt(outcome, last_attempt=last_attempt) is becomes
    assert becomes in FOLLOWS[SENDING]


@pytest.mark.parametrize(
    ("recipients", "status"),
    [
        ([], "completed"),
        ([SENT], "completed"),
        ([SENT, FAILED], "completed"),
        ([SENT, SUPPRESSED], "completed"),
        ([SUPPRESSED], "completed"),
        ([FAILED], "failed"),
        ([FAILED, SUPPRESSED], "failed"),
        ([SENT, PENDING], "starting"),
        ([SENT, RETRYING], "starting"),
        ([FAILED, UNCERTAIN], "starting"),
        ([SENDING], "starting"),
    ],
    ids=str,
)
def test_a_deliverys_status_is_derived_from_its_recipients(recipients: list[RecipientStatus], status: str) -> None:
    assert of_delivery(recipients) == status
    assert of_delivery(reversed(recipients)) == status


def test_a_delivery_is_starting_exactly_while_an_outcome_is_still_to_come() -> None:
    for recipients in combinations_with_replacement(RecipientStatus, 3):
        is_open = any(each in OPEN for each in recipients)
        assert (of_delivery(recipients) is DeliveryStatus.STARTING) == is_open


def test_every_status_says_what_may_follow_it() -> None:
    assert set(FOLLOWS) == set(RecipientStatus)
    assert [each for each in RecipientStatus if not FOLLOWS[each]] == [SENT, SUPPRESSED]


@pytest.mark.parametrize(
    ("status", "from_"),
    [
        (PENDING, [SENDING, FAILED]),
        (SENDING, [PENDING, SENDING, RETRYING, UNCERTAIN]),
        (SENT, [SENDING]),
        (FAILED, [SENDING]),
        (SUPPRESSED, [PENDING, SENDING, RETRYING, UNCERTAIN]),
    ],
    ids=str,
)
def test_where_a_status_may_be_reached_from(status: RecipientStatus, from_: list[RecipientStatus]) -> None:
    assert set(may_become(status)) == set(from_)


def test_what_was_sent_stays_sent() -> None:
    assert [status for status in RecipientStatus if SENT in may_become(status)] == []


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
async def test_the_database_keeps_the_words_of_the_contract(world: World) -> None:
    await world.subscribe(target_value="ann@example.org,bo@example.org,cy@example.org")
    world.email.answer("bo@example.org", NO_MAILBOX)
    world.email.answer("cy@example.org", BUSY)
    world.clock.advance(minutes=30)

    await settle(world.runner())

    assert await world.sql("SELECT status FROM deliveries") == [("starting",)]
    rows = await world.sql("SELECT status FROM delivery_recipients ORDER BY position")
    assert [status for (status,) in rows] == ["sent", "failed", "retrying"]
