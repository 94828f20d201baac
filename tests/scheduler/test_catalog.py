"""What subscriptions point at: checked before it is kept, kept as long as something needs it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from channels.base import PermanentFailure
from scheduler.errors import Conflict, InvalidField, NotFound
from scheduler.status import Trigger
from scheduler.store import catalog as rows
from scheduler.store import deliveries, people
from scheduler.store.catalog import Dashboard, Insight, Integration, Source
from tests.scheduler.conftest import NOON, World, settle

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def listed(world: World, kind: type[Any]) -> list[str]:
    async with world.app.database.read() as connection:
        return [each.name for each in await rows.listed(connection, kind, world.project.id)]


async def remove(world: World, kind: type[Any], name: str) -> None:
    await world.app.catalog.remove(world.project, kind, name)


# ── sources and insights ─────────────────────────────────────────────────────────────────────────────────────────────


UNREACHABLE = "postgresql://reader:pa55word@127.0.0.1:1/shop"


async def test_a_source_is_asked_before_it_is_kept(world: World) -> None:
    with pytest.raises(InvalidField, match="--unchecked") as raised:
        await world.app.catalog.add_source(world.project, "Shop", UNREACHABLE)
    assert (raised.value.field, await listed(world, Source)) == ("url", ["Source"])

    await world.app.catalog.add_source(world.project, "Shop", UNREACHABLE, check=False)

    assert await listed(world, Source) == ["Source", "Shop"]


@pytest.mark.parametrize("url", ["", "shop.db", "http://example.org", "sqlite://", "nonsense://x"])
async def test_what_is_no_database_is_refused_even_unchecked(world: World, url: str) -> None:
    with pytest.raises(InvalidField) as raised:
        await world.app.catalog.add_source(world.project, "Nonsense", url, check=False)

    assert raised.value.field == "url"


async def test_a_sources_password_is_in_no_error_and_no_row(world: World) -> None:
    with pytest.raises(InvalidField) as raised:
        await world.app.catalog.add_source(world.project, "Shop", UNREACHABLE)
    made = await world.app.catalog.add_source(world.project, "Shop", UNREACHABLE, check=False)

    assert "pa55word" not in f"{raised.value}{made}"
    assert "reader:pa55word@127.0.0.1:1/shop" in world.app.box.open(made.url_sealed)


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"display": "hologram"}, "display", "invalid_choice"),
        ({"source": "Nowhere"}, "source", "does_not_exist"),
        ({"source": 4711}, "source", "does_not_exist"),
        ({"sql": "DELETE FROM t"}, "sql", "invalid_input"),
        ({"sql": "SELECT 1; SELECT 2"}, "sql", "invalid_input"),
        ({"sql": "  "}, "sql", "invalid_input"),
        ({"sql": "SELECT nope FROM t"}, "sql", "invalid_input"),
        ({"name": ""}, "name", "blank"),
        ({"name": "x" * 201}, "name", "max_length"),
        ({"name": "a\nb"}, "name", "invalid_input"),
        ({"name": "Numbers"}, "name", "invalid_input"),
        ({"name": "  Numbers "}, "name", "invalid_input"),
    ],
    ids=str,
)
async def test_an_unusable_insight_names_its_field(world: World, fields: dict[str, Any], field: str, code: str) -> None:
    usual = {"name": "Fresh", "source": "Source", "sql": "SELECT n FROM t", "display": "line"}

    with pytest.raises(InvalidField) as raised:
        await world.app.catalog.add_insight(world.project, **usual | fields)

    assert (raised.value.field, raised.value.code) == (field, code)
    assert await listed(world, Insight) == ["Numbers"]


async def test_an_insight_that_fails_today_may_be_added_unchecked(world: World) -> None:
    made = await world.app.catalog.add_insight(
        world.project, "Tomorrow", source="Source", sql="SELECT n FROM not_yet", display="bar", check=False
    )

    assert (made.name, made.display, len(made.short_id)) == ("Tomorrow", "bar", 8)


async def test_things_are_found_by_name_or_id_and_only_in_their_project(world: World) -> None:
    async with world.app.database.write() as tx:
        other = await people.add_project(tx, world.project.organisation_id, "Other", timezone="UTC", now=NOON)
        by_name = await rows.find(tx, Insight, world.project.id, "Numbers")

        assert await rows.find(tx, Insight, world.project.id, str(by_name.id)) == by_name
        with pytest.raises(NotFound, match=r"no insight 'Numbers' in this project \(there is: none yet\)"):
            await rows.find(tx, Insight, other.id, "Numbers")
        with pytest.raises(NotFound, match=r"no insight 'Numbrs' .*\(there is: Numbers\)"):
            await rows.find(tx, Insight, world.project.id, "Numbrs")
        for nonsense in ("9" * 30, "٣", "-1", ""):
            with pytest.raises(NotFound):
                await rows.find(tx, Insight, world.project.id, nonsense)

    taken_there = await world.app.catalog.add_slack(other, "Numbers", token="xoxb-1")
    assert taken_there.project_id == other.id


# ── dashboards ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_dashboard_keeps_its_insights_in_the_order_given(world: World) -> None:
    more = await world.app.catalog.add_insight(
        world.project, "More", source="Source", sql="SELECT n FROM t", display="pie"
    )

    made = await world.app.catalog.add_dashboard(world.project, "Overview", insights=["More", world.insight])

    assert made.tiles == (more.id, world.insight)


@pytest.mark.parametrize(
    ("insights", "field", "code"),
    [
        ([], "insights", "invalid_input"),
        (["Numbers", "Numbers"], "insights", "invalid_input"),
        (["Numbers", 4711], "insights__1", "does_not_exist"),
    ],
    ids=str,
)
async def test_a_dashboard_has_insights_each_once_and_of_this_project(
    world: World, insights: list[str | int], field: str, code: str
) -> None:
    with pytest.raises(InvalidField) as raised:
        await world.app.catalog.add_dashboard(world.project, "Overview", insights=insights)

    assert (raised.value.field, raised.value.code) == (field, code)
    assert await listed(world, Dashboard) == []


# ── integrations ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", [None, "", "T0KEN", "xoxb-é", "xoxb-1\n2"])
async def test_what_is_no_slack_token_is_refused_without_being_repeated(world: World, token: str | None) -> None:
    with pytest.raises(InvalidField) as raised:
        await world.app.catalog.add_slack(world.project, "Slack", token=token)

    assert raised.value.field == "token"
    assert not token or token not in str(raised.value)


async def test_a_slack_token_is_write_only(world: World) -> None:
    made = await world.app.catalog.add_slack(world.project, "Slack", token="xoxb-secret")

    assert "xoxb" not in f"{made}"
    with pytest.raises(InvalidField, match="write-only"):
        await world.app.catalog.signing_secrets(world.project, "Slack")


async def test_a_signing_secret_is_made_when_none_is_given(world: World) -> None:
    await world.app.catalog.add_webhook_secret(world.project, "Signed")

    [secret] = await world.app.catalog.signing_secrets(world.project, "Signed")

    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


async def test_rotating_puts_the_new_secret_first_and_keeps_one_old(world: World) -> None:
    catalog, project = world.app.catalog, world.project
    await catalog.add_webhook_secret(project, "Signed", secret=WHSEC)

    _, newest = await catalog.rotate_secret(project, "Signed")
    once = await catalog.signing_secrets(project, "Signed")
    _, newer = await catalog.rotate_secret(project, "Signed")
    twice = await catalog.signing_secrets(project, "Signed")

    assert once == [newest, WHSEC]
    assert twice == [newer, newest]
    assert await listed(world, Integration) == ["Webhook signature", "Signed"]


async def test_only_a_webhooks_secret_is_rotated(world: World) -> None:
    await world.app.catalog.add_slack(world.project, "Slack", token="xoxb-1")

    with pytest.raises(InvalidField):
        await world.app.catalog.rotate_secret(world.project, "Slack")
    with pytest.raises(NotFound):
        await world.app.catalog.rotate_secret(world.project, "Nothing")


@pytest.mark.parametrize(
    "secret",
    [
        "secret",
        "whsec_",
        "whsec_short",
        "whsec_not base64 at all, not base64 at all",
        WHSEC.removeprefix("whsec_"),
        f"whsec_{base64.b64encode(b'x' * 23).decode()}",
        f"whsec_{base64.b64encode(b'x' * 65).decode()}",
        "whsec_é",
    ],
)
async def test_a_signing_secret_is_24_to_64_bytes_in_base64(world: World, secret: str) -> None:
    with pytest.raises(InvalidField) as raised:
        await world.app.catalog.add_webhook_secret(world.project, "Signed", secret=secret)

    assert raised.value.field == "secret"
    assert await listed(world, Integration) == ["Webhook signature"]


# ── removing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_needed_stays_and_says_by_what(world: World) -> None:
    await world.app.catalog.add_dashboard(world.project, "Overview", insights=["Numbers"])
    slack = await world.app.catalog.add_slack(world.project, "Slack", token="xoxb-1")
    on_slack = await world.subscribe(
        insight=None,
        dashboard=1,
        dashboard_export_insights=[world.insight],
        target_type="slack",
        target_value="C0123456",
        integration_id=slack.id,
    )
    await world.app.subscriptions.remove(world.project, on_slack.id)  # deleted ones can be restored

    for kind, name, user in (
        (Source, "Source", "insight 1"),
        (Insight, "Numbers", "dashboard 1"),
        (Dashboard, "Overview", f"subscription {on_slack.id}"),
        (Integration, "Slack", f"subscription {on_slack.id}"),
    ):
        with pytest.raises(Conflict, match=user):
            await remove(world, kind, name)


async def test_what_nobody_needs_is_forgotten_and_its_name_is_free(world: World) -> None:
    first = await world.app.catalog.add_dashboard(world.project, "Overview", insights=["Numbers"])

    await remove(world, Dashboard, "Overview")
    again = await world.app.catalog.add_dashboard(world.project, "Overview", insights=["Numbers"])

    assert again.id > first.id  # ids are never used twice: a link to the old one does not show the new one
    assert await listed(world, Dashboard) == ["Overview"]


async def test_an_insight_that_was_delivered_can_go_and_the_ledger_still_shows_it(world: World) -> None:
    insight = await world.app.catalog.add_insight(
        world.project, "Old", source="Source", sql="SELECT n FROM t", display="number"
    )
    subscription = await world.subscribe(insight=insight.id)
    world.clock.advance(minutes=30)
    await settle(world.runner())
    await world.app.subscriptions.edit(world.project, subscription.id, {"insight": world.insight})

    await remove(world, Insight, "Old")

    assert await listed(world, Insight) == ["Numbers"]
    [sent] = [each for each in await world.deliveries() if each.trigger is Trigger.SCHEDULED]
    assert sent.insights[0]["name"] == "Old"


async def test_what_went_with_removed_credentials_is_not_sent_again_with_another_workspaces(world: World) -> None:
    old, new = [await world.app.catalog.add_slack(world.project, name, token=f"xoxb-{name}") for name in ("Old", "New")]
    world.slack.answer("C123", PermanentFailure("channel_not_found"))
    subscription = await world.subscribe(
        announced=True, target_type="slack", target_value="C123", integration_id=old.id
    )
    await settle(world.runner())
    await world.app.subscriptions.edit(
        world.project, subscription.id, {"integration_id": new.id, "target_value": "C124"}
    )
    await settle(world.runner())
    await remove(world, Integration, "Old")

    [failed] = [each for each in await world.deliveries() if each.target_value == "C123"]
    async with world.app.database.write() as tx:
        await deliveries.send_again(tx, failed, now=world.clock())
    world.clock.advance(seconds=1)  # one message a second a channel
    await settle(world.runner())

    assert world.channels.tokens == ["xoxb-Old", "xoxb-New"]
    assert "no slack integration is left" in ((await world.delivery(failed.id)).error or {})["message"]
