"""What people add for subscriptions to point at; checked before it is kept, kept as long as something needs it.

The command line and the API both come here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.clock import Clock
from scheduler.contract import dashboard_json, insight_json, integration_json, source_json
from scheduler.credentials import address_of, check_signing_secret, check_slack_token, mask_of, new_signing_secret
from scheduler.db import Database
from scheduler.errors import InvalidField, NotFound
from scheduler.sealing import Box
from scheduler.snapshot import Display, QueryError
from scheduler.sources import check_source_url, check_sql, run_query
from scheduler.store import catalog as rows
from scheduler.store import needs
from scheduler.store.catalog import AnyEntry, Dashboard, Entry, Insight, Integration, Source
from scheduler.store.people import Project

SIGNING_SECRETS = 2
"""How many of an integration's secrets sign: the newest, and the one before it while receivers change over."""
QUERIES_AT_ONCE = 4
"""However many add insights at once, their databases are asked by so many of them."""
UNCHECKED = '(unchecked, it is kept all the same: --unchecked, or "check": false)'


class Catalog:
    """Every change of a project's sources, insights, dashboards and integrations.

    In every ``edit_…``, what is None stays as it is.
    """

    def __init__(self, database: Database, box: Box, clock: Clock) -> None:
        self._database = database
        self._box = box
        self._clock = clock
        self._asking = asyncio.Semaphore(QUERIES_AT_ONCE)

    async def remove(self, project: Project, kind: type[Entry], name_or_id: str | int) -> Entry:
        """Forget an entry. Raises :class:`NotFound`, and :class:`Conflict` while something still needs it."""
        async with self._database.write() as tx:
            entry = await rows.find(tx, kind, project.id, name_or_id, lock=True)
            await needs.remove(tx, entry)
            return entry

    def shown(self, entry: AnyEntry) -> dict[str, Any]:
        """The entry as the API returns it; of its secrets only what may be seen."""
        match entry:
            case Source():
                return source_json(entry, mask=address_of(self._box.open(entry.url_sealed)))
            case Insight():
                return insight_json(entry)
            case Dashboard():
                return dashboard_json(entry)
            case Integration():
                secret = json.loads(self._box.open(entry.secret_sealed))
                return integration_json(
                    entry, mask=mask_of(secret["token"] if "token" in secret else secret["secrets"][0])
                )

    # ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def add_source(self, project: Project, name: str, url: str, *, check: bool = True) -> Source:
        """A database to ask. Raises :class:`InvalidField` for ``url`` when it is unusable or does not answer."""
        await self._name_is_free(project, Source, name)
        sealed = await self._sealed_url(url, check=check)
        async with self._database.write() as tx:
            now = self._clock()
            return await rows.add(tx, Source, project_id=project.id, now=now, name=name, kind="sql", url_sealed=sealed)

    async def edit_source(
        self, project: Project, source_id: int, *, name: str | None = None, url: str | None = None, check: bool = True
    ) -> Source:
        """Another name, another database; its insights' queries go there from now on."""
        async with self._database.read() as connection:
            await _to_change(connection, Source, project, source_id, name=name)
        sealed = None if url is None else await self._sealed_url(url, check=check)
        async with self._database.write() as tx:
            source = await rows.find(tx, Source, project.id, source_id, lock=True)
            return await rows.change(tx, source, **_given(name=name, url_sealed=sealed))

    async def _sealed_url(self, url: str, *, check: bool) -> str:
        url = check_source_url(url)
        if _is_same_database(url, self._database.url):
            raise InvalidField("url", "that is Paperround's own database; its rows are nobody's insight")
        if check:
            await self._must_answer("url", url, "SELECT 1")
        return self._box.seal(url)

    async def _must_answer(self, field: str, url: str, sql: str) -> None:
        async with self._asking:
            answer = await run_query(url, sql, now=self._clock())
        if isinstance(answer, QueryError):
            raise InvalidField(field, f"{answer.message} {UNCHECKED}")

    # ── insights ─────────────────────────────────────────────────────────────────────────────────────────────────────

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
        await self._name_is_free(project, Insight, name)
        async with self._database.read() as connection:
            found = await _existing_source(connection, project, source)
        sql = check_sql(sql)
        _check_display(display)
        if check:
            await self._must_answer("sql", self._box.open(found.url_sealed), sql)
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

    async def edit_insight(
        self,
        project: Project,
        insight_id: int,
        *,
        name: str | None = None,
        description: str | None = None,
        source: int | None = None,
        sql: str | None = None,
        display: str | None = None,
        check: bool = True,
    ) -> Insight:
        """Whoever subscribed sees the change with the next delivery. A new query, or source, is asked once."""
        async with self._database.read() as connection:
            before = await _to_change(connection, Insight, project, insight_id, name=name)
            found = await _existing_source(connection, project, before.source_id if source is None else source)
        query = before.sql if sql is None else check_sql(sql)
        if display is not None:
            _check_display(display)
        if check and (query, found.id) != (before.sql, before.source_id):
            await self._must_answer("sql", self._box.open(found.url_sealed), query)
        changes = _given(name=name, description=description, source_id=source, sql=sql and query, display=display)
        async with self._database.write() as tx:
            insight = await rows.find(tx, Insight, project.id, insight_id, lock=True)
            return await rows.change(tx, insight, **changes, updated_at=self._clock())

    # ── dashboards ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def add_dashboard(
        self, project: Project, name: str, *, insights: Sequence[str | int], description: str = ""
    ) -> Dashboard:
        """An ordered set of insights, each once."""
        async with self._database.write() as tx:
            await rows.free_name(tx, Dashboard, project.id, name)
            tiles = await _existing_insights(tx, project, insights)
            return await rows.add(
                tx,
                Dashboard,
                project_id=project.id,
                now=self._clock(),
                name=name,
                description=description,
                tiles=tiles,
            )

    async def edit_dashboard(
        self,
        project: Project,
        dashboard_id: int,
        *,
        name: str | None = None,
        description: str | None = None,
        insights: Sequence[int] | None = None,
    ) -> Dashboard:
        """Another name, other insights. Raises :class:`Conflict` when a subscription shows one that would leave."""
        async with self._database.write() as tx:
            dashboard = await _to_change(tx, Dashboard, project, dashboard_id, name=name, lock=True)
            tiles = None if insights is None else await _existing_insights(tx, project, insights)
            if tiles is not None and (leaving := set(dashboard.tiles) - set(tiles)):
                await needs.refuse_chosen(tx, dashboard, leaving)
            return await rows.change(tx, dashboard, **_given(name=name, description=description, tiles=tiles))

    # ── integrations ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def add_slack(self, project: Project, name: str, *, token: str | None) -> Integration:
        """A Slack bot's token."""
        await self._name_is_free(project, Integration, name)
        return await self._add_integration(project, "slack", name, {"token": check_slack_token(token)})

    async def add_webhook_secret(self, project: Project, name: str, *, secret: str | None = None) -> Integration:
        """A signing secret, made here if absent."""
        await self._name_is_free(project, Integration, name)
        signing = new_signing_secret() if secret is None else check_signing_secret(secret)
        return await self._add_integration(project, "webhook", name, {"secrets": [signing]})

    async def edit_integration(
        self, project: Project, integration_id: int, *, name: str | None = None, token: str | None = None
    ) -> Integration:
        """Another name; another token, which is used within seconds. Raises :class:`InvalidField`."""
        async with self._database.write() as tx:
            integration = await _to_change(tx, Integration, project, integration_id, name=name, lock=True)
            if token is not None and integration.kind != "slack":
                raise InvalidField("token", f"{integration.name!r} is a webhook's; its secret is rotated")
            sealed = None if token is None else self._sealed({"token": check_slack_token(token)})
            return await rows.change(tx, integration, **_given(name=name, secret_sealed=sealed))

    async def rotate_secret(
        self, project: Project, name_or_id: str | int, *, secret: str | None = None
    ) -> tuple[Integration, str]:
        """Put a new secret (made here if absent) in front of a webhook integration's; both sign until the next time."""
        newest = new_signing_secret() if secret is None else check_signing_secret(secret)
        async with self._database.write() as tx:
            integration = await rows.find(tx, Integration, project.id, name_or_id, lock=True)
            kept = [newest, *self._secrets(integration)][:SIGNING_SECRETS]
            return await rows.change(tx, integration, secret_sealed=self._sealed({"secrets": kept})), newest

    async def signing_secrets(self, project: Project, name_or_id: str | int) -> list[str]:
        """A webhook integration's secrets, newest first."""
        async with self._database.read() as connection:
            return self._secrets(await rows.find(connection, Integration, project.id, name_or_id))

    def _secrets(self, integration: Integration) -> list[str]:
        if integration.kind != "webhook":
            raise InvalidField("integration", f"{integration.name!r} is not a webhook's; a Slack token is write-only")
        return list(json.loads(self._box.open(integration.secret_sealed))["secrets"])

    def _sealed(self, secret: dict[str, object]) -> str:
        return self._box.seal(json.dumps(secret))

    async def _name_is_free(self, project: Project, kind: type[AnyEntry], name: str) -> None:
        async with self._database.read() as connection:
            await rows.free_name(connection, kind, project.id, name)

    async def _add_integration(self, project: Project, kind: str, name: str, secret: dict[str, object]) -> Integration:
        async with self._database.write() as tx:
            return await rows.add(
                tx,
                Integration,
                project_id=project.id,
                now=self._clock(),
                kind=kind,
                name=name,
                secret_sealed=self._sealed(secret),
            )


async def _to_change(
    connection: AsyncConnection, kind: type[Entry], project: Project, id_: int, *, name: str | None, lock: bool = False
) -> Entry:
    """The entry; its new name, if it gets one, has to be free."""
    entry = await rows.find(connection, kind, project.id, id_, lock=lock)
    if name is not None:
        await rows.free_name(connection, kind, project.id, name, but_for=id_)
    return entry


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _is_same_database(url: str, ledger: URL) -> bool:
    """SQLite only: what PostgreSQL shows is its user's permissions' business."""
    source = make_url(url)
    if source.get_backend_name() != "sqlite" or ledger.get_backend_name() != "sqlite":
        return False
    return Path(source.database or "").samefile(ledger.database or "")


def _check_display(display: str) -> None:
    if display not in list(Display):
        raise InvalidField("display", f"must be one of {', '.join(Display)}", code="invalid_choice")


async def _existing_source(connection: AsyncConnection, project: Project, source: str | int) -> Source:
    try:
        return await rows.find(connection, Source, project.id, source)
    except NotFound as problem:
        raise InvalidField("source", str(problem), code="does_not_exist") from None


async def _existing_insights(tx: AsyncConnection, project: Project, given: Sequence[str | int]) -> list[int]:
    tiles: list[int] = []
    for position, each in enumerate(given):
        try:
            tiles.append((await rows.find(tx, Insight, project.id, each)).id)
        except NotFound as problem:
            raise InvalidField(f"insights__{position}", str(problem), code="does_not_exist") from None
    if not tiles or len(set(tiles)) != len(tiles):
        raise InvalidField("insights", "name at least one, and each only once")
    return tiles
