"""One delivery by hand: SQLAlchemy's ORM, httpx, dateutil, and a commit. All three baselines send this way."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
from dateutil.rrule import DAILY, MONTHLY, WEEKLY, YEARLY, rrule
from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.orm import Session, registry, sessionmaker
from standardwebhooks import Webhook

from scheduler import models
from scheduler.sealing import Box
from scheduler.settings import database_url

FREQUENCIES = {"daily": DAILY, "weekly": WEEKLY, "monthly": MONTHLY, "yearly": YEARLY}


class Subscription: ...


class Delivery: ...


class Recipient: ...


class Attempt: ...


_mapped = registry()
for _class, _table in (
    (Subscription, models.subscriptions),
    (Delivery, models.deliveries),
    (Recipient, models.delivery_recipients),
    (Attempt, models.attempts),
):
    _mapped.map_imperatively(_class, _table)


def engine(url: str, *, connections: int = 5) -> Engine:
    """Synchronous drivers, the product's own durability."""
    parsed = database_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    made = create_engine(
        parsed.set(drivername="sqlite" if is_sqlite else "postgresql+psycopg"),
        pool_size=connections,
        connect_args={"timeout": 60} if is_sqlite else {},
    )
    if is_sqlite:
        event.listen(made, "connect", _safe_sqlite)
    return made


def _safe_sqlite(connection: sqlite3.Connection, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


@dataclass
class Sender:
    """What a process needs to send: connections, a key, and the content that all of them show."""

    engine: Engine
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10, trust_env=False))

    def __post_init__(self) -> None:
        self.box = Box(os.environ["PAPERROUND_SECRET_KEY"])
        self.sessions = sessionmaker(self.engine)
        with self.engine.connect() as connection:
            sealed = connection.execute(select(models.integrations.c.secret_sealed)).scalar_one()
            insight = connection.execute(select(models.insights).order_by(models.insights.c.id).limit(1)).one()
            source = connection.execute(select(models.sources.c.url_sealed)).scalar_one()
        self.signer = Webhook(json.loads(self.box.open(sealed))["secrets"][0])
        self.insight = _shown(insight, self.box.open(source))

    def due(self) -> Sequence[tuple[int, datetime]]:
        """Ids and due instants, the earliest first."""
        of = models.subscriptions.c
        asked = select(of.id, of.next_delivery_date).where(
            of.enabled,
            ~of.deleted,
            of.next_delivery_date <= datetime.now(UTC) + timedelta(seconds=60),  # noqa: TID251
        )
        with self.engine.connect() as connection:
            return [
                (row.id, row.next_delivery_date) for row in connection.execute(asked.order_by(of.next_delivery_date))
            ]

    def deliver(self, subscription_id: int) -> None:
        """Read, send, write, commit."""
        with self.sessions() as session:
            subscription: Any = session.get(Subscription, subscription_id)
            session.expunge(subscription)
        delivery_id, began = uuid4(), datetime.now(UTC)  # noqa: TID251 - a program of its own
        following = next_date(subscription, after=began)
        answer = self._post(subscription, str(delivery_id), following)
        with self.sessions.begin() as session:
            _write(session, subscription, delivery_id, began, following, sent=answer.is_success)

    def _post(self, subscription: Any, delivery_id: str, following: datetime | None) -> httpx.Response:
        body = json.dumps(self._payload(subscription, delivery_id, following), separators=(",", ":"))
        now = datetime.now(UTC)  # noqa: TID251 - as above
        headers = {
            "content-type": "application/json",
            "webhook-id": f"msg_{delivery_id}",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self.signer.sign(f"msg_{delivery_id}", now, body),
        }
        return self.client.post(self.box.open(subscription.target_sealed), content=body, headers=headers)

    def _payload(self, subscription: Any, delivery_id: str, following: datetime | None) -> dict[str, Any]:
        return {
            "version": 1,
            "event": "subscription.delivery",
            "delivery": {
                "id": delivery_id,
                "idempotency_key": f"{delivery_id}-{subscription.id}",
                "trigger_type": "scheduled",
                "scheduled_at": subscription.next_delivery_date.isoformat(),
            },
            "subscription": {
                "id": subscription.id,
                "title": subscription.title,
                "resource_type": "insight",
                "resource_name": self.insight["name"],
                "summary": f"sent every day, next at {following}",
                "timezone": subscription.timezone,
                "next_delivery_date": None if following is None else following.isoformat(),
            },
            "project": {"id": subscription.project_id, "name": "Bench"},
            "dashboard": None,
            "change_summary": None,
            "insights": [self.insight],
        }


def next_date(subscription: Any, *, after: datetime) -> datetime | None:
    """By dateutil, which walks from the start."""
    zone = ZoneInfo(subscription.timezone)
    rule = rrule(
        FREQUENCIES[subscription.frequency],
        interval=subscription.interval,
        dtstart=subscription.start_date.astimezone(zone).replace(tzinfo=None),
    )
    found = rule.after(after.astimezone(zone).replace(tzinfo=None))
    return None if found is None else found.replace(tzinfo=zone).astimezone(UTC)


def _write(
    session: Session, subscription: Any, delivery_id: Any, began: datetime, following: datetime | None, *, sent: bool
) -> None:
    now = datetime.now(UTC)  # noqa: TID251 - as above
    scheduled_at = subscription.next_delivery_date
    same = ("target_type", "target_value", "target_sealed", "destination", "integration_id")
    delivery = Delivery()
    _fill(
        delivery,
        **{name: getattr(subscription, name) for name in same},
        id=delivery_id,
        subscription_id=subscription.id,
        trigger_type="scheduled",
        scheduled_at=scheduled_at,
        idempotency_key=f"{delivery_id}",
        status="completed" if sent else "failed",
        invites=False,
        exported_asset_ids=[1],
        run_id="baseline",
        created_at=began,
        updated_at=now,
        finished_at=now,
    )
    recipient, attempt = Recipient(), Attempt()
    to = {"delivery_id": delivery_id, "position": 0}
    status = "sent" if sent else "failed"
    address = subscription.target_value
    _fill(recipient, **to, address=address, status=status, attempts=1, uncounted=0, sent_at=now if sent else None)
    _fill(attempt, **to, attempt=1, outcome=status, started_at=began, finished_at=now)
    subscription.next_delivery_date = following
    session.add(delivery)
    session.flush()
    session.add_all([recipient, attempt, subscription])


def _fill(row: object, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def _shown(insight: Any, source: str) -> dict[str, Any]:
    """The insight's query, run once."""
    with sqlite3.connect(source.removeprefix("sqlite:///")) as shop:
        cursor = shop.execute(insight.sql)
        rows = [list(row) for row in cursor.fetchall()]
        columns = [each[0] for each in cursor.description]
    result = {"columns": columns, "types": ["number"] * len(columns), "result": rows, "has_more": False}
    return {
        "id": insight.id,
        "short_id": insight.short_id,
        "name": insight.name,
        "description": insight.description,
        "query_results": {**result, "last_refresh": "2026-11-22T09:00:00Z"},
        "display": insight.display,
    }
