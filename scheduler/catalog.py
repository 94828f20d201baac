"""What people add for subscriptions to point at; checked before it is kept.

The command line and the API both come here.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from scheduler.clock import Clock
from scheduler.db import Database
from scheduler.errors import InvalidField, NotFound
from scheduler.policy import parse_policy
from scheduler.sealing import Box
from scheduler.snapshot import Display, QueryError
from scheduler.sources import check_source_url, check_sql, run_query
from scheduler.store import catalog as rows
from scheduler.store import people
from scheduler.store.catalog import Dashboard, Insight, Integration, Source
from scheduler.store.people import Project

SIGNING_SECRETS = 2
"""How many of an integration's secrets sign: the newest, and the one before it while receivers change over."""


class Catalog:
    """Every addition to a project's sources, insights, dashboards and integrations."""

    def __init__(self, database: Database, box: Box, clock: Clock) -> None:
        self._database = database
        self._box = box
        self._clock = clock

    async def set_policy(
        self,
        project: Project,
        changes: Mapping[str, Any],
        *,
        retries: Mapping[str, Sequence[float]],
        from_defaults: bool = False,
    ) -> Project:
        """What the project decides about failures; ``retries`` has the pauses (seconds) of the channels that change.

        Raises :class:`InvalidField` for the first entry that cannot be.
        """
        async with self._database.write() as tx:
            before = {} if from_defaults else (await people.find_project(tx, project.id)).policy or {}
            policy = {**before, **changes, "retries": {**before.get("retries", {}), **retries}}
            parse_policy(policy)
            await people.set_policy(tx, project.id, policy)
            return await people.find_project(tx, project.id)

    async def add_source(self, project: Project, name: str, url: str, *, check: bool = True) -> Source:
        """A database to ask. Raises :class:`InvalidField` for ``url`` when it is unusable or does not answer."""
        url = check_source_url(url)
        if _is_same_database(url, self._database.url):
            raise InvalidField("url", "that is Paperround's own database; its rows are nobody's insight")
        if check:
            answer = await run_query(url, "SELECT 1", now=self._clock())
            if isinstance(answer, QueryError):
                raise InvalidField("url", f"{answer.message} (--unchecked adds it all the same)")
        async with self._database.write() as tx:
            return await rows.add(
                tx,
                Source,
                project_id=project.id,
                now=self._clock(),
                name=name,
                kind="sql",
                url_sealed=self._box.seal(url),
            )

    async def add_insight(
        self,
        project: Project,
        name: str,
        *,
        source: str | int,
        sql: str,
        display: str,
        description: str = "",
        check: bool = True,
    ) -> Insight:
        """A query and how it is drawn; run once. Raises :class:`InvalidField` for what is wrong with it."""
        if display not in list(Display):
            raise InvalidField("display", f"must be one of {', '.join(Display)}", code="invalid_choice")
        sql = check_sql(sql)
        async with self._database.read() as connection:
            found = await _existing_source(connection, project, source)
        if check:
            answer = await run_query(self._box.open(found.url_sealed), sql, now=self._clock())
            if isinstance(answer, QueryError):
                raise InvalidField("sql", f"{answer.message} (--unchecked adds it all the same)")
        async with self._database.write() as tx:
            now = self._clock()
            return await rows.add(
                tx,
                Insight,
                project_id=project.id,
                now=now,
                name=name,
                short_id=uuid4().hex[:8],
                description=description,
                source_id=found.id,
                sql=sql,
                display=display,
                updated_at=now,
            )

    async def add_dashboard(
        self, project: Project, name: str, *, insights: Sequence[str | int], description: str = ""
    ) -> Dashboard:
        """An ordered set of insights, each once."""
        async with self._database.write() as tx:
            tiles = [await _existing_insight(tx, project, each) for each in insights]
            if not tiles or len(set(tiles)) != len(tiles):
                raise InvalidField("insight", "name at least one, and each only once")
            return await rows.add(
                tx,
                Dashboard,
                project_id=project.id,
                now=self._clock(),
                name=name,
                description=description,
                tiles=tiles,
            )

    async def add_slack(self, project: Project, name: str, *, token: str | None) -> Integration:
        """A Slack bot's token."""
        if token is None or not token.isascii() or not token.startswith("xox") or not token.isprintable():
            raise InvalidField("token", "a Slack bot token starts with xoxb-; pipe it in with --token -")
        return await self._add_integration(project, "slack", name, {"token": token})

    async def add_webhook_secret(
        self, project: Project, name: str, *, secret: str | None = None, rotate: str | int | None = None
    ) -> Integration:
        """A signing secret (made here if absent); with ``rotate``, in front of an existing integration's.

        The format is Standard Webhooks': ``whsec_`` and 24 to 64 bytes in base64.
        """
        secret = secret or f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        _check_signing_secret(secret)
        if rotate is None:
            return await self._add_integration(project, "webhook", name, {"secrets": [secret]})
        async with self._database.write() as tx:
            integration = await rows.find(tx, Integration, project.id, rotate)
            kept = [secret, *self._secrets(integration)][:SIGNING_SECRETS]
            await rows.reseal(tx, integration, self._box.seal(json.dumps({"secrets": kept})))
            return integration

    async def signing_secrets(self, project: Project, integration: str | int) -> list[str]:
        """A webhook integration's secrets, newest first."""
        async with self._database.read() as connection:
            return self._secrets(await rows.find(connection, Integration, project.id, integration))

    def _secrets(self, integration: Integration) -> list[str]:
        if integration.kind != "webhook":
            raise InvalidField("integration", f"{integration.name!r} is not a webhook's; a Slack token is write-only")
        return list(json.loads(self._box.open(integration.secret_sealed))["secrets"])

    async def _add_integration(self, project: Project, kind: str, name: str, secret: dict[str, object]) -> Integration:
        async with self._database.write() as tx:
            return await rows.add(
                tx,
                Integration,
                project_id=project.id,
                now=self._clock(),
                kind=kind,
                name=name,
                secret_sealed=self._box.seal(json.dumps(secret)),
            )


def _is_same_database(url: str, ledger: URL) -> bool:
    """SQLite only: what PostgreSQL shows is its user's permissions' business."""
    source = make_url(url)
    if source.get_backend_name() != "sqlite" or ledger.get_backend_name() != "sqlite":
        return False
    return Path(source.database or "").samefile(ledger.database or "")


async def _existing_source(connection: AsyncConnection, project: Project, source: str | int) -> Source:
    try:
        return await rows.find(connection, Source, project.id, source)
    except NotFound as problem:
        raise InvalidField("source", str(problem), code="does_not_exist") from None


async def _existing_insight(connection: AsyncConnection, project: Project, insight: str | int) -> int:
    try:
        return (await rows.find(connection, Insight, project.id, insight)).id
    except NotFound as problem:
        raise InvalidField("insight", str(problem), code="does_not_exist") from None


def _check_signing_secret(secret: str) -> None:
    try:
        size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
        Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        size = 0
    if not secret.startswith("whsec_") or not 24 <= size <= 64:
        raise InvalidField("secret", "must be whsec_ and 24 to 64 bytes in base64; leave it out to have one made")
