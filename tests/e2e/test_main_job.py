"""The main job, end to end: the real command, real databases, real receivers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, update
from standardwebhooks import Webhook

from channels.receivers import Reply
from scheduler.app import opened
from scheduler.models import deliveries, delivery_recipients, subscriptions
from scheduler.settings import load_settings
from tests.e2e.conftest import Installation

pytestmark = pytest.mark.e2e

MONDAY_NINE = (
    *("--frequency", "weekly", "--byweekday", "monday"),
    *("--start-date", "2026-01-05T09:00", "--timezone", "Europe/Berlin"),
)


async def test_a_due_subscription_reaches_each_channel_and_the_ledger_shows_each_recipient(
    installation: Installation,
) -> None:
    insight = str(await installation.prepare())
    token = await installation.must("integrations", "add", "slack", "--token", "-", text="xoxb-1-test\n")
    subscribe = ("subscriptions", "add", "--insight", insight, *MONDAY_NINE, "--target-type")
    email = await installation.must(*subscribe, "email", "--target-value", "ann@example.org, bo@example.org")
    workspace = ("--integration-id", str(token["id"]))
    await installation.must(*subscribe, "slack", "--target-value", "C123|#sales", *workspace)
    await installation.must(*subscribe, "webhook", "--target-value", installation.webhook.url)
    monday = datetime.fromisoformat(email["next_delivery_date"])

    announced = await installation.must("run-due")
    ran = await installation.must("run-due", "--at", monday.isoformat())
    again = await installation.must("run-due", "--at", monday.isoformat())

    assert (announced["opened"], announced["completed"], announced["failed"]) == (0, 3, 0)
    assert {name: ran[name] for name in ("opened", "completed", "failed", "skipped", "retrying")} == {
        "opened": 3,
        "completed": 3,
        "failed": 0,
        "skipped": 0,
        "retrying": 0,
    }
    assert {each["scheduled_at"] for each in ran["deliveries"]} == {email["next_delivery_date"]}
    results = [result for each in ran["deliveries"] for result in each["recipient_results"]]
    assert sorted((result["recipient"], result["status"]) for result in results) == [
        ("127.0.0.1", "success"),
        ("C123", "success"),
        ("ann@example.org", "success"),
        ("bo@example.org", "success"),
    ]
    assert (again["opened"], again["deliveries"]) == (0, [])
    after = await installation.must("subscriptions", "show", str(email["id"]))
    assert datetime.fromisoformat(after["next_delivery_date"]) == monday + timedelta(days=7)

    assert [mail.recipients for mail in installation.smtp.mails[-2:]] == [("ann@example.org",), ("bo@example.org",)]
    message = installation.smtp.mails[-1].message
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert [part.get_content_type() for part in message.walk()].count("image/png") == 1
    assert len(installation.slack.main_messages()) == 2
    request = installation.webhook.requests[-1]
    payload = Webhook(await installation.signing_secret()).verify(request.body, dict(request.headers))
    assert payload["insights"][0]["query_results"]["result"] == [["2026-11-20", 10], ["2026-11-21", 30]]


async def test_a_failed_recipient_is_tried_again_within_the_same_run_and_the_exit_code_says_how_it_ended(
    installation: Installation,
) -> None:
    insight = str(await installation.prepare())
    subscribe = (
        "subscriptions",
        "add",
        "--insight",
        insight,
        *MONDAY_NINE,
        "--target-type",
        "webhook",
        "--target-value",
    )
    await installation.must(*subscribe, installation.webhook.url)
    installation.webhook.script(Reply(status=503))
    recovered = await installation.run("run-due", "--json")
    await installation.must(*subscribe, f"{installation.webhook.url}/gone")
    installation.webhook.script(Reply(status=410))

    failed = await installation.run("run-due", "--json")

    assert (recovered.code, recovered.json["completed"]) == (0, 1)
    assert recovered.json["deliveries"][0]["recipient_results"][0]["attempts"] == 2
    assert (failed.code, failed.json["failed"]) == (1, 1)
    assert "410" in failed.json["deliveries"][0]["recipient_results"][0]["error"]["message"]


async def test_a_dry_run_shows_it_all_and_changes_nothing(installation: Installation) -> None:
    insight = str(await installation.prepare())
    target = ("--target-type", "email", "--target-value", "ann@example.org")
    added = await installation.must("subscriptions", "add", "--insight", insight, *target, *MONDAY_NINE)

    shown = await installation.must("run-due", "--dry-run", "--at", added["next_delivery_date"])
    listed = await installation.must("deliveries", "list")

    assert [each["recipient_results"][0]["recipient"] for each in shown["deliveries"]] == ["ann@example.org"] * 2
    assert [each["status"] for each in listed["results"]] == ["starting"]
    assert installation.smtp.mails == []


@pytest.mark.timeout(300)
async def test_two_one_shots_and_a_daemon_at_once_send_each_of_500_occurrences_exactly_once(
    installation: Installation,
) -> None:
    insight = await installation.prepare()
    await _subscribe_many(installation, insight, count=500)
    daemon = await installation.start("serve", "--port", "0")
    one_shots = [await installation.start("run-due", "--json") for _ in range(2)]
    outputs = [await each.communicate() for each in one_shots]
    await _until(lambda: len(installation.webhook.requests) >= 500)
    daemon.send_signal(signal.SIGTERM)
    _, log = await daemon.communicate()

    ids = [request.headers["webhook-id"] for request in installation.webhook.requests]
    assert [each.returncode for each in (daemon, *one_shots)] == [0, 0, 0], (log, outputs)
    assert len(ids) == len(set(ids)) == 500
    listed = await installation.must("deliveries", "list", "-n", "1000")
    assert [each["status"] for each in listed["results"]] == ["completed"] * 500
    assert {each["recipient_results"][0]["attempts"] for each in listed["results"]} == {1}


async def _subscribe_many(installation: Installation, insight: int, *, count: int) -> None:
    """All due now, and nothing announced; through the product's own service, in this process."""
    key = (installation.folder / "paperround.key").read_text().strip()
    url = installation.environ["PAPERROUND_DATABASE_URL"]
    now = datetime.now(UTC)  # noqa: TID251 - the processes under test read the real clock, too
    async with opened(load_settings(database_url=url, secret_key=key, allow_hosts="127.0.0.1")) as app:
        project = await app.project()
        owner = await app.owner(project)
        for number in range(count):
            fields = {
                "insight": insight,
                "target_type": "webhook",
                "target_value": f"{installation.webhook.url}/{number}",
                "frequency": "daily",
                "start_date": now + timedelta(hours=12),
            }
            await app.subscriptions.create(project, owner, fields)
        async with app.database.write() as tx:
            await tx.execute(delete(delivery_recipients))
            await tx.execute(delete(deliveries))
            await tx.execute(update(subscriptions).values(next_delivery_date=now))


async def _until(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    for _ in range(int(seconds * 20)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to pass")
