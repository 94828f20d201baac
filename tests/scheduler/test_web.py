"""What e-mails link to and what a load balancer asks, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from scheduler import daemon as daemon_module
from scheduler.clock import system_clock
from scheduler.daemon import Daemon
from scheduler.db import Database
from scheduler.metrics import Metrics
from scheduler.settings import database_url
from scheduler.verification import record_verification, verify
from scheduler.web import web_app
from tests.scheduler.conftest import World, settle

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


def browser(world: World, daemon: Daemon | None = None, *, database: Database | None = None) -> httpx.AsyncClient:
    daemon = daemon or Daemon(world.runner(), database=world.app.database, clock=system_clock)
    web = web_app(
        subscriptions=world.app.subscriptions,
        links=world.app.links,
        is_alive=daemon.is_alive,
        metrics=Metrics(database or world.app.database, world.clock).page,
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=web), base_url="http://127.0.0.1:8420")


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(world) as client:
        yield client


async def link_in_the_mail(world: World) -> str:
    """Where ann's copy of a delivered e-mail says she can leave."""
    await settle(world.runner())
    message, address = world.email.sent[0]
    url = message.unsubscribe_urls[address]
    assert url in message.text_for(address)
    return url


# ── unsubscribe ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_looking_at_the_page_unsubscribes_nobody(world: World, client: httpx.AsyncClient) -> None:
    subscription = await world.subscribe(announced=True)
    link = await link_in_the_mail(world)

    for _ in range(3):
        page = await client.get(link)

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "ann@example.org" in page.text
    assert '<form method="post">' in page.text
    assert not (await world.find(subscription.id)).deleted


async def test_no_other_method_unsubscribes(world: World, client: httpx.AsyncClient) -> None:
    subscription = await world.subscribe(announced=True)
    link = await link_in_the_mail(world)

    answers = [(await client.request(method, link)).status_code for method in ("HEAD", "OPTIONS", "PUT", "DELETE")]

    assert set(answers) <= {200, 405}
    assert not (await world.find(subscription.id)).deleted


async def test_the_button_unsubscribes_and_the_last_address_takes_the_subscription(
    world: World, client: httpx.AsyncClient
) -> None:
    subscription = await world.subscribe(announced=True, target_value="ann@example.org,bo@example.org")
    link = await link_in_the_mail(world)

    page = await client.post(link)
    one_left = await world.find(subscription.id)
    await client.post(world.app.links.url(subscription.id, "bo@example.org"))

    assert (page.status_code, "Unsubscribed" in page.text) == (200, True)
    assert (one_left.target.value, one_left.deleted) == ("bo@example.org", False)
    assert (await world.find(subscription.id)).deleted


async def test_one_click_by_a_mail_program_unsubscribes_without_a_redirect(
    world: World, client: httpx.AsyncClient
) -> None:
    """RFC 8058, 3.1: a POST with this form and nothing else, no cookie, no page before it."""
    subscription = await world.subscribe(announced=True)
    link = await link_in_the_mail(world)

    answer = await client.post(link, data={"List-Unsubscribe": "One-Click"})

    assert (answer.status_code, answer.history) == (200, [])
    assert (await world.find(subscription.id)).deleted


async def test_one_click_as_a_multipart_form_unsubscribes_too(world: World, client: httpx.AsyncClient) -> None:
    subscription = await world.subscribe(announced=True)
    link = await link_in_the_mail(world)

    answer = await client.post(link, files={"List-Unsubscribe": (None, "One-Click")})

    assert answer.status_code == 200
    assert (await world.find(subscription.id)).deleted


async def test_again_is_fine_and_so_is_a_link_of_years_ago(world: World, client: httpx.AsyncClient) -> None:
    subscription = await world.subscribe(announced=True, target_value="ann@example.org,bo@example.org")
    link = await link_in_the_mail(world)
    world.clock.advance(days=3650)

    pages = [await client.post(link) for _ in range(3)]

    assert [(page.status_code, "Unsubscribed" in page.text) for page in pages] == [(200, True)] * 3
    assert (await world.find(subscription.id)).target.value == "bo@example.org"


@pytest.mark.parametrize("token", ["made-up", "WzEsImFubkBleGFtcGxlLm9yZyJd.AAAA", "%00", "é", "a" * 5000])
async def test_a_made_up_link_is_404_and_changes_nothing(world: World, client: httpx.AsyncClient, token: str) -> None:
    subscription = await world.subscribe()

    looked = await client.get(f"/unsubscribe/{token}")
    clicked = await client.post(f"/unsubscribe/{token}")

    assert [looked.status_code, clicked.status_code] == [404, 404]
    assert "This link does not work" in clicked.text
    assert "<button" not in looked.text
    assert await world.find(subscription.id) == subscription


async def test_the_link_of_a_subscription_that_is_gone_is_answered_politely(
    world: World, client: httpx.AsyncClient
) -> None:
    answer = await client.post(world.app.links.url(4711, "ann@example.org"))

    assert answer.status_code == 200


async def test_an_address_is_text_on_the_page_whatever_it_is(world: World, client: httpx.AsyncClient) -> None:
    link = world.app.links.url(1, '"<script>alert(1)</script>&"@example.org')

    for page in (await client.get(link), await client.post(link)):
        assert "<script" not in page.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in page.text


async def test_the_page_runs_nothing_is_framed_nowhere_and_its_link_leaks_nowhere(
    world: World, client: httpx.AsyncClient
) -> None:
    page = await client.get(world.app.links.url(1, "ann@example.org"))

    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert (page.headers["referrer-policy"], page.headers["cache-control"]) == ("no-referrer", "no-store")
    assert "set-cookie" not in page.headers


# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_process_is_healthy_but_not_ready_before_it_ticked(client: httpx.AsyncClient) -> None:
    healthy, ready = await client.get("/healthz"), await client.get("/readyz")

    assert (healthy.status_code, healthy.text) == (200, "ok\n")
    assert (ready.status_code, ready.text) == (503, "not ticking\n")


async def test_a_ticking_service_is_ready_until_its_ticks_stay_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = asyncio.Queue[str]()
    daemon = Daemon(world.runner(), database=world.app.database, clock=system_clock, notify=said.put_nowait)
    living = asyncio.create_task(daemon.run())

    async with browser(world, daemon) as client:
        assert "READY=1" in await said.get()
        assert (await client.get("/readyz")).status_code == 200

        daemon.stop()
        await living
        monkeypatch.setattr(daemon_module, "STALE", daemon_module.STALE * 0)
        await asyncio.sleep(0.01)
        assert (await client.get("/readyz")).status_code == 503

    assert "STOPPING=1" in await said.get()


async def test_without_its_database_it_is_not_ready(world: World) -> None:
    nowhere = Database(database_url("postgresql://nobody@127.0.0.1:1/nothing"))
    daemon = Daemon(world.runner(), database=nowhere, clock=system_clock)
    daemon._beat_ended = asyncio.get_running_loop().time()

    async with browser(world, daemon) as client:
        answers = [(await client.get(path)).status_code for path in ("/healthz", "/readyz")]
    await nowhere.aclose()

    assert answers == [200, 503]


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def figures(world: World) -> dict[str, float]:
    """Every sample as Prometheus reads it, by its name and labels."""
    async with browser(world) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sample.labels.items()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_an_idle_service_that_was_never_verified_says_so_by_saying_nothing(world: World) -> None:
    assert await figures(world) == {
        "paperround_deliveries status=starting": 0,
        "paperround_oldest_ready_seconds": 0,
        "paperround_oldest_due_seconds": 0,
    }


async def test_metrics_say_how_true_the_ledger_is_and_how_late_we_are(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=40)
    due = await figures(world)
    await world.runner().open_due()
    world.clock.advance(seconds=90)
    await world.sql("UPDATE deliveries SET error_message = NULL, finished_at = created_at")
    verification = await verify(world.app.database, now=world.clock(), installation=world.app.installation)
    async with world.app.database.write() as tx:
        await record_verification(tx, verification, world.clock())

    assert due["paperround_oldest_due_seconds"] == 600
    assert await figures(world) == {
        "paperround_ledger_discrepancies": 1,
        "paperround_ledger_verified_timestamp_seconds": world.clock().timestamp(),
        "paperround_deliveries status=starting": 1,
        "paperround_oldest_ready_seconds": 690,  # it has been ready since its occurrence
        "paperround_oldest_due_seconds": 0,
    }


async def test_without_its_database_there_are_no_figures(world: World) -> None:
    nowhere = Database(database_url("postgresql://nobody:secret@127.0.0.1:1/nothing"))

    async with browser(world, database=nowhere) as client:
        answer = await client.get("/metrics")
    await nowhere.aclose()

    assert (answer.status_code, answer.text) == (503, "the database does not answer\n")
