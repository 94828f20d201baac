"""Where we are better than the reference on purpose, row by row, as a client of the API sees it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from channels.base import PermanentFailure, TransientFailure
from channels.receivers import Reply, WebhookReceiver
from tests.scheduler.api.conftest import HALF_PAST, Client, served
from tests.scheduler.conftest import NOON, World, settle

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

BERLIN = {"timezone": "Europe/Berlin", "start_date": "2027-03-26T02:30:00+01:00", "until_date": "2027-10-31T12:00:00Z"}


async def occurrences(api: Client, **rule: Any) -> list[str]:
    shown = await api.must("POST", "/subscriptions/preview", json={"frequency": "daily", "n": 3, **rule})
    return [each["at"] for each in shown["occurrences"]]


def on_real_channels(world: World) -> World:
    """With the channels that reach outside, in place of those that remember."""
    return replace(world, app=replace(world.app, channels=world.app.subscriptions._channels))


async def test_better_never_early(api: Client) -> None:
    made = await api.subscribe()

    api.world.clock.now = NOON + timedelta(minutes=29, seconds=59.999)
    assert len(await api.deliveries(made)) == 1

    api.world.clock.now = NOON + timedelta(minutes=30)
    delivery = (await api.deliveries(made))[-1]
    assert (delivery["scheduled_at"], delivery["finished_at"]) == (HALF_PAST, HALF_PAST)


async def test_better_wall_clock_in_an_iana_zone_with_gap_and_fold_policies(api: Client) -> None:
    nine = {"timezone": "Europe/Berlin", "start_date": "2027-03-27T09:00:00+01:00"}
    assert await occurrences(api, **nine) == ["2027-03-27T08:00:00Z", "2027-03-28T07:00:00Z", "2027-03-29T07:00:00Z"]

    before = {"timezone": "Europe/Berlin", "start_date": "2027-03-27T02:30:00+01:00", "n": 2}
    assert await occurrences(api, **before) == ["2027-03-27T01:30:00Z", "2027-03-28T01:30:00Z"]
    assert await occurrences(api, **before, gap="skip") == ["2027-03-27T01:30:00Z", "2027-03-29T00:30:00Z"]

    twice = {"timezone": "Europe/Berlin", "start_date": "2027-10-31T02:30:00+02:00", "n": 1}
    assert await occurrences(api, **twice) == ["2027-10-31T00:30:00Z"]
    earlier = twice | {"start_date": "2027-10-30T02:30:00+02:00", "n": 2}
    assert (await occurrences(api, **earlier, fold="second"))[1] == "2027-10-31T01:30:00Z"


async def test_better_missed_occurrences_are_one_row_each_sent_or_skipped_with_a_reason(api: Client) -> None:
    made = await api.subscribe()
    api.world.clock.advance(days=2, hours=1)

    rows = [each for each in await api.deliveries(made) if each["trigger_type"] == "scheduled"]

    rows.sort(key=lambda each: each["scheduled_at"])
    assert [(each["scheduled_at"], each["status"]) for each in rows] == [
        ("2026-11-22T12:30:00Z", "skipped"),
        ("2026-11-23T12:30:00Z", "skipped"),
        ("2026-11-24T12:30:00Z", "completed"),
    ]
    assert all(each["error"]["message"] for each in rows[:2])


async def test_better_an_interval_or_a_bysetpos_of_zero_is_400_at_once(api: Client) -> None:
    made = await api.subscribe()

    for fields in ({"interval": 0}, {"bysetpos": 0}, {"bysetpos": 0, "byweekday": ["monday"]}):
        assert (await api.refused_at(**fields))[1] == next(iter(fields))
        assert (await api.refused_at(made, **fields))[1] == next(iter(fields))


async def test_better_a_webhook_is_signed_retried_idempotent(api: Client) -> None:
    world = on_real_channels(api.world)
    [secret] = await world.app.catalog.signing_secrets(world.project, "Webhook signature")
    async with WebhookReceiver(secret=secret) as receiver:
        receiver.script(Reply(503))
        made = await api.must(
            "POST", "/subscriptions", 201, json=api.body(target_type="webhook", target_value=receiver.url)
        )
        await settle(world.runner())
        world.clock.advance(minutes=10)
        await settle(world.runner())
        await world.app.channels.aclose()

    first, second = receiver.requests
    assert (first.verified, second.verified) == (True, True)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    [delivery] = (await api.must("GET", f"/subscriptions/{made['id']}/deliveries"))["results"]
    assert (delivery["status"], delivery["recipient_results"][0]["attempts"]) == ("completed", 2)


async def test_better_each_recipient_is_its_own_unit_of_retry(api: Client) -> None:
    api.world.email.answer("bo@example.org", [TransientFailure("Mailbox busy.")])
    made = await api.subscribe(target_value="ann@example.org,bo@example.org")
    api.world.clock.advance(minutes=10)

    [delivery] = await api.deliveries(made)

    assert [(each["recipient"], each["attempts"]) for each in delivery["recipient_results"]] == [
        ("ann@example.org", 1),
        ("bo@example.org", 2),
    ]
    assert api.world.mailed == ["ann@example.org", "bo@example.org"]


async def test_better_two_quick_target_changes_are_each_their_own_delivery(api: Client) -> None:
    made = await api.subscribe()

    await api.edit(made, target_value="bo@example.org")
    await api.edit(made, target_value="cy@example.org")

    told = [each["recipient_results"][0]["recipient"] for each in await api.deliveries(made)]
    assert sorted(told) == ["ann@example.org", "bo@example.org", "cy@example.org"]


async def test_better_an_unsubscribe_link_never_expires_is_one_click_and_idempotent(api: Client) -> None:
    made = await api.subscribe(target_value="ann@example.org,bo@example.org")
    link = api.world.email.sent[0][0].unsubscribe_urls["ann@example.org"]
    api.world.clock.advance(days=3650)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=served(api.world))) as mail_program:
        for _ in range(2):
            assert (await mail_program.post(link, data={"List-Unsubscribe": "One-Click"})).status_code == 200

    assert (await api.must("GET", f"/subscriptions/{made['id']}"))["target_value"] == "bo@example.org"


async def test_better_addresses_are_checked_and_trimmed(api: Client) -> None:
    assert (await api.subscribe(target_value="  ann@EXAMPLE.org "))["target_value"] == "ann@example.org"
    for wrong in ("ann", "ann@", "@example.org", "ann@example..org", "Ann <ann@example.org>"):
        assert await api.refused_at(target_value=wrong) == ("invalid_input", "target_value")


async def test_better_error_is_the_reason_and_last_error_is_on_the_subscription(api: Client) -> None:
    reason = {"type": "PermanentFailure", "message": "No such mailbox."}
    api.world.email.answer("ann@example.org", PermanentFailure(reason["message"]))
    made = await api.subscribe()
    api.world.clock.advance(minutes=31)

    deliveries = await api.deliveries(made)

    assert [each["error"] for each in deliveries] == [reason, reason]
    assert (await api.must("GET", f"/subscriptions/{made['id']}"))["last_error"] == reason
