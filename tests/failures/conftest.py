"""The bench of the failure matrix: a real ledger, the real channels, and real receivers for them to reach."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from channels.receivers import SlackReceiver, SmtpReceiver, WebhookReceiver
from scheduler.app import App, opened
from scheduler.settings import load_settings
from tests.conftest import SECRET_KEY
from tests.failures.case import TOKEN, Bench, BenchChannels
from tests.scheduler.conftest import ToldClock, World


@pytest.fixture
def ledger_url(initialised_sqlite: Path, tmp_path: Path) -> str:
    """An initialised SQLite file of this test's own: what a failure does to a row is the same on both databases."""
    shutil.copy(initialised_sqlite, tmp_path / "paperround.db")
    return f"sqlite:///{tmp_path / 'paperround.db'}"


@pytest.fixture
async def bench(ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Settings that lead each channel to a receiver of its own; what reaches it goes through the product's registry."""
    monkeypatch.chdir(tmp_path)
    async with AsyncExitStack() as stack:
        webhook = await stack.enter_async_context(WebhookReceiver())
        smtp = await stack.enter_async_context(SmtpReceiver())
        slack = await stack.enter_async_context(SlackReceiver(tokens=(TOKEN,)))
        clock = ToldClock()
        settings = load_settings(
            database_url=ledger_url,
            secret_key=SECRET_KEY,
            allow_hosts="127.0.0.1,localhost",
            smtp_url=f"{smtp.url}?starttls=never",
            slack_api_url=slack.url,
        )
        real = await stack.enter_async_context(opened(settings, clock=clock))
        channels = BenchChannels(real.channels)
        world = await _world(replace(real, channels=channels), clock, tmp_path / "source.db")  # type: ignore[arg-type]
        integration = await world.app.catalog.add_slack(world.project, "Slack", token=TOKEN)
        targets = {
            "webhook": {"target_value": webhook.url},
            "email": {"target_value": "ann@example.org"},
            "slack": {"target_value": "C0000000001", "integration_id": integration.id},
        }
        yield Bench(world, channels, webhook, smtp, slack, targets, stack)


@pytest.fixture
def world(bench: Bench) -> World:
    """The small world the bench stands in."""
    return bench.world


async def _world(app: App, clock: ToldClock, source_path: Path) -> World:
    with sqlite3.connect(source_path) as source:
        source.executescript("CREATE TABLE t (day TEXT, n INT); INSERT INTO t VALUES ('2026-11-20', 1);")
    source.close()
    project = await app.project()
    made = await app.catalog.add_source(project, "Source", f"sqlite:///{source_path}")
    insight = await app.catalog.add_insight(
        project, "Numbers", source=made.id, sql="SELECT day, n FROM t", display="table"
    )
    return World(app, clock, app.channels, project, await app.owner(project), insight.id, source_path)  # type: ignore[arg-type]
