"""What subscriptions point at: sources, insights, dashboards, integrations. Every row belongs to one project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Table, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import Conflict, InvalidField, NotFound
from scheduler.models import dashboard_tiles, dashboards, insights, integrations, sources, subscriptions
from scheduler.snapshot import Display


@dataclass(frozen=True, slots=True)
class Source:
    """What insights' queries run against; its URL holds a password and is kept sealed."""

    id: int
    project_id: int
    name: str
    kind: str
    url_sealed: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Insight:
    """A named SQL query on a source, and how its rows are drawn."""

    id: int
    project_id: int
    short_id: str
    name: str
    description: str
    source_id: int
    sql: str
    display: Display
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Dashboard:
    """An ordered set of insights: ``tiles`` are insight ids."""

    id: int
    project_id: int
    name: str
    description: str
    created_at: datetime
    tiles: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Integration:
    """Credentials of a channel, kept sealed."""

    id: int
    project_id: int
    kind: str
    name: str
    secret_sealed: str
    created_at: datetime


Entry = TypeVar("Entry", Source, Insight, Dashboard, Integration)
TABLES: dict[type[Any], Table] = {
    Source: sources,
    Insight: insights,
    Dashboard: dashboards,
    Integration: integrations,
}


async def listed(connection: AsyncConnection, kind: type[Entry], project_id: int) -> list[Entry]:
    """A project's entries of one kind, in the order they were made."""
    table = TABLES[kind]
    rows = await connection.execute(select(table).where(table.c.project_id == project_id).order_by(table.c.id))
    return [await _entry(connection, kind, row._asdict()) for row in rows.all()]


async def find(connection: AsyncConnection, kind: type[Entry], project_id: int, name_or_id: str | int) -> Entry:
    """The entry with this id or name. Raises :class:`NotFound`, which lists what there is."""
    table = TABLES[kind]
    matches = table.c.name == str(name_or_id)
    if str(name_or_id).isascii() and str(name_or_id).isdigit() and len(str(name_or_id)) <= 18:
        matches = (table.c.id == int(name_or_id)) | matches
    rows = await connection.execute(select(table).where(table.c.project_id == project_id, matches).order_by(table.c.id))
    row = rows.first()
    if row is None:
        word = kind.__name__.lower()
        known = await connection.execute(select(table.c.name).where(table.c.project_id == project_id).limit(5))
        there_is = ", ".join(known.scalars()) or "none yet"
        raise NotFound(f"no {word} {str(name_or_id)[:80]!r} in this project (there is: {there_is})")
    return await _entry(connection, kind, row._asdict())


async def _entry(connection: AsyncConnection, kind: type[Entry], row: dict[str, Any]) -> Entry:
    if kind is Dashboard:
        row["tiles"] = await _tiles(connection, row["id"])
    if kind is Insight:
        row["display"] = Display(row["display"])
    return kind(**{field.name: row[field.name] for field in fields(kind)})


async def _tiles(connection: AsyncConnection, dashboard_id: int) -> tuple[int, ...]:
    rows = await connection.execute(
        select(dashboard_tiles.c.insight_id)
        .where(dashboard_tiles.c.dashboard_id == dashboard_id)
        .order_by(dashboard_tiles.c.position)
    )
    return tuple(rows.scalars())


async def add(tx: AsyncConnection, entry: type[Entry], /, *, project_id: int, now: datetime, **values: Any) -> Entry:
    """A new entry. Raises :class:`InvalidField` when its name is taken or unusable."""
    table = TABLES[entry]
    name = _usable_name(values["name"])
    taken = await tx.execute(select(table.c.id).where(table.c.project_id == project_id, table.c.name == name))
    if taken.first() is not None:
        raise InvalidField("name", f"there is already one named {name!r}; choose another name, or remove that one")
    tiles: Sequence[int] = values.pop("tiles", ())
    made = await tx.execute(
        insert(table).values(**values | {"name": name}, project_id=project_id, created_at=now).returning(table.c.id)
    )
    entry_id = made.scalar_one()
    if tiles:
        await tx.execute(
            insert(dashboard_tiles),
            [
                {"dashboard_id": entry_id, "insight_id": insight_id, "position": position}
                for position, insight_id in enumerate(tiles)
            ],
        )
    return await find(tx, entry, project_id, entry_id)


def _usable_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > 200 or not name.isprintable():
        raise InvalidField(
            "name", "must be 1 to 200 printable characters on one line", code="blank" if not name else "max_length"
        )
    return name


async def remove(tx: AsyncConnection, entry: Source | Insight | Dashboard | Integration) -> None:
    """Forget an entry. Raises :class:`Conflict` while anything, a deleted subscription included, still needs it."""
    word = type(entry).__name__.lower()
    if users := await _users_of(tx, entry):
        raise Conflict(f"{word} {entry.name!r} is used by {users}; remove or change that first")
    table = TABLES[type(entry)]
    await tx.execute(delete(table).where(table.c.id == entry.id))


async def _users_of(tx: AsyncConnection, entry: Source | Insight | Dashboard | Integration) -> str:
    match entry:
        case Source():
            uses = [("insight", insights.c.id, insights.c.source_id)]
        case Insight():
            uses = [
                ("dashboard", dashboard_tiles.c.dashboard_id, dashboard_tiles.c.insight_id),
                ("subscription", subscriptions.c.id, subscriptions.c.insight_id),
            ]
        case Dashboard():
            uses = [("subscription", subscriptions.c.id, subscriptions.c.dashboard_id)]
        case Integration():
            uses = [("subscription", subscriptions.c.id, subscriptions.c.integration_id)]
    for word, user, used in uses:
        count, first = (await tx.execute(select(func.count(), func.min(user)).where(used == entry.id))).one()
        if count:
            return _counted(word, first, count)
    return await _implicit_users_of(tx, entry) if isinstance(entry, Integration) else ""


async def _implicit_users_of(tx: AsyncConnection, integration: Integration) -> str:
    """The webhooks that name no integration: the project's first one signs them."""
    first = await first_integration(tx, integration.project_id, "webhook")
    if first is None or first.id != integration.id:
        return ""
    found = await tx.execute(
        select(func.count(), func.min(subscriptions.c.id)).where(
            subscriptions.c.project_id == integration.project_id,
            subscriptions.c.target_type == "webhook",
            subscriptions.c.integration_id.is_(None),
            ~subscriptions.c.deleted,
        )
    )
    count, lowest = found.one()
    return _counted("subscription", lowest, count) if count else ""


def _counted(word: str, first: int, count: int) -> str:
    return f"{word} {first}" if count == 1 else f"{word} {first} and {count - 1} more"


async def reseal(tx: AsyncConnection, integration: Integration, secret_sealed: str) -> None:
    """Put new credentials in the place of the old ones."""
    await tx.execute(
        update(integrations).where(integrations.c.id == integration.id).values(secret_sealed=secret_sealed)
    )


async def first_integration(connection: AsyncConnection, project_id: int, kind: str) -> Integration | None:
    """The project's oldest integration of a kind: what is used where none is named."""
    row = await connection.execute(
        select(integrations)
        .where(integrations.c.project_id == project_id, integrations.c.kind == kind)
        .order_by(integrations.c.id)
        .limit(1)
    )
    found = row.first()
    return None if found is None else await _entry(connection, Integration, found._asdict())


async def query_of(connection: AsyncConnection, insight_id: int) -> tuple[Insight, str]:
    """An insight and its source's sealed URL: what computing it needs."""
    row = (
        await connection.execute(
            select(insights, sources.c.url_sealed)
            .join(sources, sources.c.id == insights.c.source_id)
            .where(insights.c.id == insight_id)
        )
    ).one()
    values = row._asdict()
    sealed = values.pop("url_sealed")
    return Insight(**values | {"display": Display(values["display"])}), sealed
