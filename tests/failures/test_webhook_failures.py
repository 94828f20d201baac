"""Webhooks: each line of the matrix, and what goes beyond one attempt."""

from __future__ import annotations

from datetime import timedelta
from operator import attrgetter

import pytest

from channels.receivers import Reply
from scheduler.backoff import SCHEDULES
from scheduler.status import DeliveryStatus, RecipientStatus
from tests.failures.case import Bench, Case, play_out, row_of
from tests.failures.webhook_cases import CASES, NO_ANSWER, lead_to


@pytest.fixture
def bench(bench: Bench) -> Bench:
    lead_to(bench, bench.webhook.url)
    return bench


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
async def test_what_a_receiver_does_ends_in_its_row(
    case: Case, bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    delivery = await play_out(case, bench, kind="webhook")

    assert "letmein" not in str(delivery)
    assert "letmein" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("status", [403, 404])
async def test_three_deliveries_in_a_row_that_find_nobody_disable_the_subscription(bench: Bench, status: int) -> None:
    bench.webhook.script(*[Reply(status)] * 3)
    subscription = await bench.subscribe("webhook")

    enabled = []
    for _ in range(3):
        await bench.come_due()
        enabled.append((await bench.world.find(subscription.id)).enabled)

    assert enabled == [True, True, False]


@pytest.mark.parametrize("between", [204, 400])
async def test_anything_else_in_between_starts_the_count_again(bench: Bench, between: int) -> None:
    bench.webhook.script(*(Reply(status) for status in (404, 403, between, 404, 404)))
    subscription = await bench.subscribe("webhook")

    for _ in range(5):
        await bench.come_due()

    assert (await bench.world.find(subscription.id)).enabled
    assert len(bench.webhook.requests) == 5


async def test_403_and_404_count_together(bench: Bench) -> None:
    bench.webhook.script(Reply(404), Reply(403), Reply(404))
    subscription = await bench.subscribe("webhook")

    for _ in range(3):
        await bench.come_due()

    assert not (await bench.world.find(subscription.id)).enabled


async def test_resuming_clears_the_reason_and_starts_the_count_again(bench: Bench) -> None:
    bench.webhook.script(*[Reply(404)] * 5)
    subscription = await bench.subscribe("webhook")
    for _ in range(3):
        await bench.come_due()

    bench.world.clock.advance(minutes=1)
    resumed = await bench.world.app.subscriptions.resume(bench.world.project, subscription.id)
    await bench.come_due()  # with the announcement that it is on again: two more

    assert resumed.last_error is None
    assert len(bench.webhook.requests) == 5
    assert (await bench.world.find(subscription.id)).enabled


async def test_the_reason_for_disabling_says_what_happened_and_shows_no_url(bench: Bench) -> None:
    bench.webhook.script(Reply(410))
    subscription = await bench.subscribe("webhook")

    await bench.come_due()
    disabled = await bench.world.find(subscription.id)
    await bench.come_due()

    assert "The receiver answered 410 Gone: the target is gone." in str(disabled.last_error)
    assert "letmein" not in str(disabled.last_error)
    assert len(bench.webhook.requests) == 1


@pytest.mark.parametrize(
    ("reply", "meanwhile", "reason"),
    [
        (Reply(503), RecipientStatus.RETRYING, "The receiver answered 503 Service Unavailable."),
        (Reply(reset=True), RecipientStatus.UNCERTAIN, NO_ANSWER),
    ],
    ids=["503", "reset"],
)
async def test_what_lasts_is_tried_as_the_schedule_says_and_then_given_up(
    bench: Bench, reply: Reply, meanwhile: RecipientStatus, reason: str
) -> None:
    pauses = SCHEDULES["webhook"]
    bench.webhook.script(*[reply] * 8)
    await bench.subscribe("webhook", frequency="weekly")

    delivery = await bench.come_due()
    rows = [row_of(delivery, bench=bench)]
    for pause in pauses:
        delivery = await bench.try_again(delivery, later=pause)
        rows.append(row_of(delivery, bench=bench))

    assert rows == [_row(meanwhile, reason, pause, number) for number, pause in enumerate(pauses, 1)] + [
        _row(RecipientStatus.FAILED, f"{reason} Given up after 8 attempts.", None, 8)
    ]
    assert len({request.headers["webhook-id"] for request in bench.webhook.requests}) == 1
    assert len(bench.webhook.requests) == 8


async def test_a_repeat_is_not_made_before_its_time(bench: Bench) -> None:
    bench.webhook.script(Reply(503))
    await bench.subscribe("webhook")

    delivery = await bench.come_due()
    still = await bench.try_again(delivery, later=timedelta(seconds=4))
    at_last = await bench.try_again(delivery, later=timedelta(seconds=1))

    assert [each.recipients[0].attempts for each in (delivery, still, at_last)] == [1, 1, 2]
    assert at_last.status is DeliveryStatus.COMPLETED


def _row(status: RecipientStatus, reason: str, again: timedelta | None, attempts: int) -> dict[str, object]:
    delivery = DeliveryStatus.FAILED if status is RecipientStatus.FAILED else DeliveryStatus.STARTING
    return {"delivery": delivery, "recipient": status, "reason": reason, "again": again, "attempts": attempts}
