"""E-mail: each line of the matrix, and what goes beyond one attempt."""

from __future__ import annotations

from operator import attrgetter

import pytest

from scheduler.status import DeliveryStatus
from scheduler.store.deliveries import Delivery
from tests.failures.case import Bench, Case, play_out
from tests.failures.email_cases import (
    ANN,
    BEN,
    CASES,
    CEM,
    FAILED,
    FIRST_PAUSE,
    SENT,
    UNCERTAIN,
    cuts,
    receivers_in,
    refuses,
    refuses_ann,
)


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
async def test_a_mail_that_fails_ends_in_its_row(case: Case, bench: Bench) -> None:
    await play_out(case, bench, kind="email")


async def _sent_for_the_first_time(bench: Bench) -> Delivery:
    await bench.subscribe("email")
    return await bench.come_due()


def _statuses(delivery: Delivery) -> dict[str, object]:
    return {each.address: each.status for each in delivery.recipients}


@pytest.mark.parametrize(("stage", "arrivals"), [("dot", 1), ("kept", 2)])
async def test_an_unconfirmed_mail_is_repeated_with_the_same_message_id(
    bench: Bench, stage: str, arrivals: int
) -> None:
    cuts(stage)(bench)
    delivery = await _sent_for_the_first_time(bench)
    assert _statuses(delivery) == {ANN: UNCERTAIN}

    delivery = await bench.try_again(delivery, later=FIRST_PAUSE)

    assert _statuses(delivery) == {ANN: SENT}
    assert delivery.recipients[0].attempts == 2
    assert receivers_in(bench) == [ANN] * arrivals
    assert len({mail.message["message-id"] for mail in bench.smtp.mails}) == 1


async def test_a_greylisted_mail_is_taken_at_the_second_attempt(bench: Bench) -> None:
    refuses_ann("451 4.7.1 Greylisted, come back in five minutes")(bench)
    delivery = await _sent_for_the_first_time(bench)

    bench.smtp.refuse.clear()
    delivery = await bench.try_again(delivery, later=FIRST_PAUSE)

    assert delivery.status is DeliveryStatus.COMPLETED
    assert delivery.recipients[0].attempts == 2
    assert receivers_in(bench) == [ANN]


async def test_only_who_was_refused_for_now_is_tried_again(bench: Bench) -> None:
    refuses(ann="550 5.1.1 No such user", ben="451 4.7.1 Greylisted")(bench)
    delivery = await _sent_for_the_first_time(bench)
    assert receivers_in(bench) == [CEM]

    bench.smtp.refuse.clear()
    delivery = await bench.try_again(delivery, later=FIRST_PAUSE)

    assert _statuses(delivery) == {ANN: FAILED, BEN: SENT, CEM: SENT}
    assert delivery.status is DeliveryStatus.COMPLETED
    assert receivers_in(bench) == [CEM, BEN]


async def test_a_password_that_was_corrected_loses_no_mail(bench: Bench) -> None:
    bench.smtp.mail_replies.append("530 5.7.0 Authentication required")
    delivery = await _sent_for_the_first_time(bench)

    delivery = await bench.try_again(delivery, later=FIRST_PAUSE)

    assert _statuses(delivery) == {ANN: SENT}
