"""The demo project: the shop's database, its four insights on a dashboard, and one subscription a channel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Any

from scheduler.app import App
from scheduler.demo.shop import DEMO_DASHBOARD_NAME, DEMO_INSIGHTS, create_shop
from scheduler.errors import NotFound
from scheduler.store import catalog as rows
from scheduler.store import subscriptions as subscription_rows
from scheduler.store.catalog import Dashboard
from scheduler.store.people import Project
from scheduler.store.subscriptions import Subscription
from scheduler.zones import zone

SLACK_TOKEN = "xoxb-demo"  # noqa: S105 - the look-alike takes any token
SLACK_CHANNEL = "C0DEMO|#weekly-numbers"
TIMEZONE = "Europe/Berlin"
E_MAILS = "ada@harbour-coffee.example, grace@harbour-coffee.example"


@dataclass(frozen=True, slots=True)
class Demo:
    """What there is to look at."""

    project: Project
    subscriptions: tuple[Subscription, ...]
    signing_secret: str


async def signing_secret(app: App) -> str:
    """What the demo's webhook is signed with: the project's own secret."""
    return (await app.catalog.signing_secrets(await app.project(), "Webhook signature"))[0]


async def make_demo(app: App, *, shop: Path, webhook_url: str) -> Demo:
    """Make the shop and the project's rows, or find them; the webhook's receiver has a new port every time.

    Every subscription announces itself: with its first delivery when it is new, with a test when it was there.
    """
    project = await app.project()
    if not shop.exists():
        create_shop(shop, today=app.clock().date())
    dashboard = await _dashboard(app, project, shop)
    existing = await _existing(app, project, dashboard)
    if existing:
        subscriptions = await _announce_again(app, project, existing, webhook_url)
    else:
        subscriptions = await _subscribe(app, project, dashboard, webhook_url)
    return Demo(project, tuple(subscriptions), await signing_secret(app))


async def _dashboard(app: App, project: Project, shop: Path) -> Dashboard:
    try:
        async with app.database.read() as connection:
            return await rows.find(connection, Dashboard, project.id, DEMO_DASHBOARD_NAME)
    except NotFound:
        source = await app.catalog.add_source(project, "Harbour Coffee", f"sqlite:///{shop.absolute()}")
    insights = [
        await app.catalog.add_insight(
            project,
            insight.name,
            source=source.id,
            sql=insight.sql,
            display=insight.display,
            description=insight.description,
        )
        for insight in DEMO_INSIGHTS
    ]
    return await app.catalog.add_dashboard(project, DEMO_DASHBOARD_NAME, insights=[each.id for each in insights])


async def _existing(app: App, project: Project, dashboard: Dashboard) -> list[Subscription]:
    async with app.database.read() as connection:
        listed = await subscription_rows.listed(connection, project.id)
    return [each for each in reversed(listed) if each.dashboard_id == dashboard.id]


async def _subscribe(app: App, project: Project, dashboard: Dashboard, webhook_url: str) -> list[Subscription]:
    slack = await app.catalog.add_slack(project, "Demo workspace", token=SLACK_TOKEN)
    owner = await app.owner(project)
    shown: dict[str, Any] = {"dashboard": dashboard.id, "dashboard_export_insights": list(dashboard.tiles)}
    first = _this_morning(app.clock())
    asked: list[dict[str, Any]] = [
        {
            "target_type": "email",
            "target_value": E_MAILS,
            "frequency": "weekly",
            "byweekday": ["monday"],
            "invite_message": "Our numbers, every Monday with the first coffee. See you at the stand-up!",
        },
        {
            "target_type": "slack",
            "target_value": SLACK_CHANNEL,
            "integration_id": slack.id,
            "frequency": "weekly",
            "byweekday": ["monday", "tuesday", "wednesday", "thursday", "friday"],
        },
        {"target_type": "webhook", "target_value": webhook_url, "frequency": "daily"},
    ]
    return [
        await app.subscriptions.create(project, owner, shown | {"start_date": first, "timezone": TIMEZONE} | each)
        for each in asked
    ]


async def _announce_again(
    app: App, project: Project, existing: list[Subscription], webhook_url: str
) -> list[Subscription]:
    for each in existing:
        if each.target.kind == "webhook":
            await app.subscriptions.edit(project, each.id, {"target_value": webhook_url})
        else:
            await app.subscriptions.edit(project, each.id, {"enabled": False})
            await app.subscriptions.edit(project, each.id, {"enabled": True})
    async with app.database.read() as connection:
        return [await subscription_rows.find(connection, project.id, each.id) for each in existing]


def _this_morning(now: datetime) -> datetime:
    """Nine o'clock today in the demo's zone: what every recurrence starts from."""
    local = now.astimezone(zone(TIMEZONE))
    return datetime.combine(local.date(), time(9), tzinfo=local.tzinfo)
