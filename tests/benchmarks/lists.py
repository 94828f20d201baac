"""Lists of very many rows, as a client meets them: at the HTTP handler, on SQLite and on PostgreSQL.

``python -m tests.benchmarks.lists [ROWS]``: so many subscriptions in one project, in pages of a hundred; then a walk
over as many deliveries of one subscription, page by page, while new ones arrive.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from itertools import product
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

from fastapi import FastAPI
from sqlalchemy import insert, select

from scheduler.api.serving import add_api
from scheduler.app import App, initialise, opened
from scheduler.models import dashboards, deliveries, delivery_recipients, insights, sources, subscriptions, users
from scheduler.serving import keep_what_is_there
from scheduler.settings import load_settings
from scheduler.status import DeliveryStatus, RecipientStatus, Trigger
from scheduler.store.listing import folded
from scheduler.subscriptions import target_columns
from tests.benchmarks.stage import KEY, postgresql

REQUESTS = 60
"""Of each list, after three to warm up."""
OWNERS = 50
HOW_OFTEN = ("Daily", "Weekly", "Monthly", "Quarterly")
WHAT = (
    *("revenue", "orders", "sign-ups", "churn", "retention", "average basket", "refunds", "active users"),
    *("page views", "support tickets", "conversion", "stock", "late parcels", "newsletter clicks", "margin"),
)
WHERE = (
    *("Berlin", "Köln", "Zürich", "Paris", "Lyon", "Madrid", "Sevilla", "Wien", "Praha", "Kraków"),
    *("Oslo", "Malmö", "Århus", "Helsinki", "Tallinn", "London", "Leeds", "Dublin", "Porto", "Roma"),
)
WHOSE = ("sales", "board", "warehouse", "support", "marketing")
ORDERS = ("created_at", "next_delivery_date", "title", "created_by__email")


def cases(rows: int) -> dict[str, str]:
    """What is asked for, and its query."""
    last = rows - 100
    searches = {
        "nothing": "nowhere",
        "one row": "unicorn",
        "rare": "4711",
        "a name": "revenue",
        "common": "weekly",
        "a letter": "e",
        "beyond ASCII": "KÖLN",
        "two rare": "unicorn parade",
        "two common": "weekly revenue",
        "common and nothing": "weekly nowhere",
    }
    return {
        "newest first": "",
        "in the middle": f"offset={rows // 2}",
        **{f"search: {name}": f"search={words.replace(' ', '+')}" for name, words in searches.items()},
        "search: common, far": f"search=weekly&offset={rows // 10}",
        **{f"search: common, by {each}": f"search=weekly&ordering={each}" for each in ORDERS},
        **{f"{sign}{each}": f"ordering={sign}{each}" for each, sign in product(ORDERS, ("", "-"))},
        **{
            f"{sign}{each}, last page": f"ordering={sign}{each}&offset={last}"
            for each, sign in product(ORDERS, ("", "-"))
        },
        "one insight's": "insight=7",
        "by e-mail": "target_type=email",
    }


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        for database, url in (("SQLite", f"sqlite:///{folder}/paperround.db"), ("PostgreSQL", postgresql(folder))):
            asyncio.run(_measure(database, url, rows))


async def _measure(database: str, url: str, rows: int) -> None:
    async with _served(url) as (app, ask):
        await _fill(app, rows)
        print(f"{'database':<11}{'100 of the list':<42}{'count':>8}{'p50 ms':>8}{'p95 ms':>8}{'worst':>8}")
        for name, query in cases(rows).items():
            took, count = await _asked(ask, query)
            print(f"{database:<11}{name:<42}{count:>8}{_figures(took)}", flush=True)
        print(f"{'database':<11}{'50 deliveries of':<42}{'count':>8}{'p50 ms':>8}{'p95 ms':>8}{'worst':>8}")
        took = await _walked(app, ask, rows)
        tenth = len(took) // 10
        for part, times in (("the whole walk", took), ("its first tenth", took[:tenth]), ("its last", took[-tenth:])):
            print(f"{database:<11}{part:<42}{rows:>8}{_figures(times)}", flush=True)


def _figures(took: list[float]) -> str:
    ordered = sorted(took)
    return "".join(f"{ordered[round(part * (len(ordered) - 1))]:>8.1f}" for part in (0.5, 0.95, 1))


Ask = Callable[[str], Awaitable[tuple[dict[str, Any], float]]]


@asynccontextmanager
async def _served(url: str) -> AsyncIterator[tuple[App, Ask]]:
    """The API in this process; ``ask`` takes a URL and gives the answer, and how many milliseconds it took."""
    settings = load_settings(database_url=url, secret_key=KEY, requests_a_minute=0)
    await initialise(settings, project="Bench", owner_email="bench@example.org")
    async with opened(settings) as app:
        web = FastAPI()
        add_api(web, app)
        keep_what_is_there()
        _, key = await app.keys.create(await app.owner(await app.project()), name="Bench", scopes=["*"])

        async def ask(url: str) -> tuple[dict[str, Any], float]:
            sent: list[Any] = []
            began = time.perf_counter()
            await web(_request(url, key), _no_body, partial(_keep, sent))
            took = 1000 * (time.perf_counter() - began)
            body = b"".join(each.get("body", b"") for each in sent)
            if sent[0]["status"] != 200:
                sys.exit(f"{url}: {body.decode()}")
            return json.loads(body), took

        yield app, ask


def _request(url: str, key: str) -> dict[str, Any]:
    """What a web server hands over (ASGI 3.0, HTTP connection scope)."""
    at = urlsplit(url)
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": at.path,
        "raw_path": at.path.encode(),
        "root_path": "",
        "query_string": quote(at.query, safe="=&+%").encode(),
        "headers": [(b"host", b"bench"), (b"authorization", f"Bearer {key}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("bench", 80),
    }


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request"}


async def _keep(sent: list[Any], message: Any) -> None:
    sent.append(message)


async def _asked(ask: Ask, query: str) -> tuple[list[float], int]:
    path = f"/api/projects/1/subscriptions?{query}"
    for _ in range(3):
        page, _ = await ask(path)
    return [(await ask(path))[1] for _ in range(REQUESTS)], page["count"]


# ── a project of some years ──────────────────────────────────────────────────────────────────────────────────────────


async def _fill(app: App, rows: int) -> None:
    now, chance = app.clock(), random.Random(1)  # noqa: S311 - no secret
    async with app.database.write() as tx:
        here = {"project_id": 1, "description": "", "created_at": now}
        source = {"id": 1, "project_id": 1, "name": "Shop", "kind": "sql", "url_sealed": "", "created_at": now}
        await tx.execute(insert(sources), [source])
        shown = {"source_id": 1, "sql": "SELECT 1", "display": "table", "updated_at": now}
        names = [f"{what.capitalize()} in {where}" for what, where in product(WHAT, WHERE)]
        await tx.execute(
            insert(insights), [{**here, **shown, "short_id": f"i{n}", "name": name} for n, name in enumerate(names)]
        )
        overviews = [f"Overview for {whose} in {where}" for whose, where in product(WHOSE, WHERE)]
        await tx.execute(insert(dashboards), [{**here, "name": name} for name in overviews])
        await tx.execute(insert(users), [_owner(n) | {"created_at": now} for n in range(OWNERS)])
        targets = _targets(app)
        for start in range(0, rows + rows // 20, 10_000):
            made = [_subscription(n, targets, chance, now) for n in range(start, start + 10_000)]
            await tx.execute(insert(subscriptions), [each for each in made if each["id"] <= rows + rows // 20])
    if not app.database.is_sqlite:
        await _vacuum(app)


async def _vacuum(app: App) -> None:
    """What PostgreSQL does by itself within a minute or two."""
    async with app.database._engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.exec_driver_sql("VACUUM (ANALYZE)")


def _owner(number: int) -> dict[str, Any]:
    return {
        "uuid": uuid4(),
        "organisation_id": 1,
        "email": f"{'abcdefghij'[number % 10]}{number}@example.org",
        "first_name": "Ann",
        "last_name": "Example",
        "role": "member",
    }


def _targets(app: App) -> Iterator[dict[str, Any]]:
    """E-mail mostly, webhooks, Slack; over and over."""
    kinds = ["email"] * 7 + ["webhook"] * 2 + ["slack"]
    typed = {
        "email": "ann{n}@example.org,bob{n}@example.com",
        "webhook": "https://hooks.example.org/t/{n}",
        "slack": "C{n:09}|#reports",
    }
    made = [
        target_columns(app.subscriptions.target(kind, typed[kind].format(n=n)))
        for n, kind in ((n, kinds[n % len(kinds)]) for n in range(1000))
    ]
    while True:
        yield from made


def _subscription(number: int, targets: Iterator[dict[str, Any]], chance: random.Random, now: Any) -> dict[str, Any]:
    """One of 5 % removed, 5 % ended, 10 % without a title, 30 % of dashboards; a third is one owner's."""
    of_dashboard, where = chance.random() < 0.3, chance.choice(WHERE)
    title = f"{chance.choice(HOW_OFTEN)} {chance.choice(WHAT)} for {chance.choice(WHOSE)}, {where} {number}"
    title = "Unicorn parade" if number == 4242 else title
    shown = None if chance.random() < 0.1 and number != 4242 else title
    return {
        **next(targets),
        "id": number + 1,
        "project_id": 1,
        "insight_id": None if of_dashboard else chance.randint(1, len(WHAT) * len(WHERE)),
        "dashboard_id": chance.randint(1, len(WHOSE) * len(WHERE)) if of_dashboard else None,
        "dashboard_export_insights": [1, 2, 3] if of_dashboard else [],
        "title": shown,
        "title_folded": None if shown is None else folded(shown),
        "frequency": "weekly",
        "interval": 1,
        "byweekday": "monday,friday",
        "start_date": now - timedelta(days=400),
        "timezone": "Europe/Berlin",
        "gap": "shift",
        "fold": "first",
        "catch_up": "latest",
        "catch_up_hours": 24,
        "next_delivery_date": None if chance.random() < 0.05 else now + timedelta(minutes=chance.randint(0, 10_000)),
        "enabled": chance.random() < 0.9,
        "deleted": number % 21 == 20,
        "created_by_id": 1 if chance.random() < 0.3 else chance.randint(1, OWNERS),
        "created_at": now - timedelta(seconds=60_000_000 - 500 * number + chance.randint(0, 100_000)),
        "updated_at": now,
    }


# ── a subscription of very many deliveries ───────────────────────────────────────────────────────────────────────────


async def _walked(app: App, ask: Ask, rows: int) -> list[float]:
    """Milliseconds of each page, from the newest to the oldest; another delivery arrives before each of them."""
    there = await _deliver(app, rows, before=app.clock())
    path, seen, took = "/api/projects/1/subscriptions/1/deliveries", [], []
    while path:
        page, milliseconds = await ask(path)
        seen += [each["id"] for each in page["results"]]
        took.append(milliseconds)
        path = page["next"]
        await _deliver(app, 1, before=app.clock())
    if len(seen) != len(set(seen)) or set(seen) != there:
        sys.exit(f"{app.database.name}: {len(seen)} seen, {len(set(seen))} different, of {len(there)}")
    return took


async def _deliver(app: App, number: int, *, before: Any) -> set[str]:
    """So many more completed deliveries of subscription 1, a second apart; their ids."""
    ids = [uuid4() for _ in range(number)]
    async with app.database.write() as tx:
        target = (await tx.execute(select(subscriptions).where(subscriptions.c.id == 1))).one()
        for start in range(0, number, 10_000):
            some = list(enumerate(ids[start : start + 10_000], start))
            await tx.execute(
                insert(deliveries), [_delivery(id_, target, before - timedelta(seconds=n)) for n, id_ in some]
            )
            await tx.execute(insert(delivery_recipients), [_recipient(id_, before) for _, id_ in some])
    if number > 1 and not app.database.is_sqlite:
        await _vacuum(app)
    return {str(id_) for id_ in ids}


def _delivery(id_: Any, subscription: Any, at: Any) -> dict[str, Any]:
    same = ("target_type", "target_value", "destination")
    return {
        **{name: subscription._mapping[name] for name in same},
        "id": id_,
        "subscription_id": subscription.id,
        "trigger_type": Trigger.MANUAL,
        "idempotency_key": id_.hex,
        "status": DeliveryStatus.COMPLETED,
        "invites": False,
        "created_at": at,
        "updated_at": at,
        "finished_at": at,
    }


def _recipient(id_: Any, at: Any) -> dict[str, Any]:
    return {
        "delivery_id": id_,
        "position": 0,
        "address": "ann@example.org",
        "status": RecipientStatus.SENT,
        "attempts": 1,
        "uncounted": 0,
        "sent_at": at,
    }


if __name__ == "__main__":
    main()
