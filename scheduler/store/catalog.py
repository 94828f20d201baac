"""What subscriptions point at: sources, insights, dashboards, integrations. Every row belongs to one project."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar
from unicodedata import normalize

from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import Conflict, InvalidField, NotFound
from scheduler.models import dashboard_tiles, dashboards, insights, integrations, sources
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
    """An ordered set of insights: ``tiles`` are their ids, ``tile_names`` what they are called."""

    id: int
    project_id: int
    name: str
    description: str
    created_at: datetime
    tiles: tuple[int, ...] = ()
    tile_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Integration:
    """Credentials of a channel, kept sealed."""

    id: int
    project_id: int
    kind: str
    name: str
    secret_sealed: str
    created_at: datetime


AnyEntry = Source | Insight | Dashboard | Integration
Entry = TypeVar("Entry", Source, Insight, Dashboard, Integration)
TABLES: dict[type[Any], Table] = {
    Source: sources,
    Insight: insights,
    Dashboard: dashboards,
    Integration: integrations,
}

# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def listed(connection: AsyncConnection, kind: type[Entry], project_id: int) -> list[Entry]:
    """A project's entries of one kind, in the order they were made."""
    table = TABLES[kind]
    rows = await connection.execute(select(table).where(table.c.project_id == project_id).order_by(table.c.id))
    return await _entries(connection, kind, [row._asdict() for row in rows])


async def page(
    connection: AsyncConnection, kind: type[Entry], project_id: int, *, words: Sequence[str], limit: int, offset: int
) -> tuple[list[Entry], int]:
    """Some of the entries whose names have all these words in them, and how many there are in all.

    Names are compared here: SQLite knows the case of ASCII alone, and a project has hundreds of them, not millions.
    """
    table, folded = TABLES[kind], [_folded(word) for word in words]
    named = await connection.execute(
        select(table.c.id, table.c.name).where(table.c.project_id == project_id).order_by(table.c.id)
    )
    ids = [row.id for row in named if all(word in _folded(row.name) for word in folded)]
    shown = select(table).where(table.c.id.in_(ids[offset : offset + limit])).order_by(table.c.id)
    return await _entries(connection, kind, [row._asdict() for row in await connection.execute(shown)]), len(ids)


def _folded(text: str) -> str:
    return normalize("NFKC", text).casefold()


async def find(
    connection: AsyncConnection, kind: type[Entry], project_id: int, name_or_id: str | int, *, lock: bool = False
) -> Entry:
    """The entry with this id (a number) or with this id or name (text).

    ``lock``: nobody else changes it, or comes to need it, before this transaction ends.
    Raises :class:`NotFound`, which lists what there is.
    """
    table = TABLES[kind]
    is_it = table.c.id == name_or_id
    if isinstance(name_or_id, str):
        is_it = table.c.name == name_or_id
        if name_or_id.isascii() and name_or_id.isdigit() and len(name_or_id) <= 18:
            is_it |= table.c.id == int(name_or_id)
    query = select(table).where(table.c.project_id == project_id, is_it).order_by(table.c.id).limit(1)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    if row is None:
        raise await _not_found(connection, kind, project_id, name_or_id)
    [found] = await _entries(connection, kind, [row._asdict()])
    return found


async def _not_found(
    connection: AsyncConnection, kind: type[Entry], project_id: int, name_or_id: str | int
) -> NotFound:
    table, word = TABLES[kind], kind.__name__.lower()
    known = await connection.execute(select(table.c.name).where(table.c.project_id == project_id).limit(5))
    there_is = ", ".join(known.scalars()) or "none yet"
    return NotFound(f"no {word} {str(name_or_id)[:80]!r} in this project (there is: {there_is})")


async def _entries(connection: AsyncConnection, kind: type[Entry], rows: Sequence[dict[str, Any]]) -> list[Entry]:
    if kind is Dashboard:
        tiles = await _tiles(connection, [row["id"] for row in rows])
        rows = [{**row, **tiles[row["id"]]} for row in rows]
    if kind is Insight:
        rows = [{**row, "display": Display(row["display"])} for row in rows]
    return [kind(**{field.name: row[field.name] for field in fields(kind)}) for row in rows]


async def _tiles(connection: AsyncConnection, dashboard_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Of each dashboard ``tiles`` and ``tile_names``, in their order."""
    found: dict[int, list[tuple[int, str]]] = {each: [] for each in dashboard_ids}
    rows = await connection.execute(
        select(dashboard_tiles.c.dashboard_id, insights.c.id, insights.c.name)
        .join(insights, insights.c.id == dashboard_tiles.c.insight_id)
        .where(dashboard_tiles.c.dashboard_id.in_(dashboard_ids))
        .order_by(dashboard_tiles.c.position)
    )
    for dashboard_id, insight_id, name in rows:
        found[dashboard_id].append((insight_id, name))
    return {
        each: {"tiles": tuple(id_ for id_, _ in tiles), "tile_names": tuple(name for _, name in tiles)}
        for each, tiles in found.items()
    }


async def first_integration(connection: AsyncConnection, project_id: int, kind: str) -> Integration | None:
    """The project's oldest integration of a kind: what is used where none is named."""
    row = await connection.execute(
        select(integrations)
        .where(integrations.c.project_id == project_id, integrations.c.kind == kind)
        .order_by(integrations.c.id)
        .limit(1)
    )
    found = row.first()
    return None if found is None else Integration(**found._asdict())


async def query_of(connection: AsyncConnection, insight_id: int) -> tuple[Insight, str]:
    """An insight and its source's sealed URL: what computing it needs. Raises :class:`NotFound`."""
    row = (
        await connection.execute(
            select(insights, sources.c.url_sealed)
            .join(sources, sources.c.id == insights.c.source_id)
            .where(insights.c.id == insight_id)
        )
    ).one_or_none()
    if row is None:
        raise NotFound(f"insight {insight_id} was removed at this very moment")
    values = row._asdict()
    sealed = values.pop("url_sealed")
    return Insight(**values | {"display": Display(values["display"])}), sealed


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def add(tx: AsyncConnection, entry: type[Entry], /, *, project_id: int, now: datetime, **values: Any) -> Entry:
    """A new entry. Raises :class:`InvalidField` when its name is taken or unusable."""
    table = TABLES[entry]
    values["name"] = await free_name(tx, entry, project_id, values["name"])
    tiles: Sequence[int] = values.pop("tiles", ())
    async with unhindered():
        made = await tx.execute(
            insert(table).values(**values, project_id=project_id, created_at=now).returning(table.c.id)
        )
        entry_id = made.scalar_one()
        await _put_tiles(tx, entry_id, tiles)
    return await find(tx, entry, project_id, entry_id)


async def change(tx: AsyncConnection, entry: Entry, /, **values: Any) -> Entry:
    """Set columns, and replace ``tiles``. Raises :class:`InvalidField` when its new name is taken or unusable."""
    table = TABLES[type(entry)]
    if "name" in values:
        values["name"] = await free_name(tx, type(entry), entry.project_id, values["name"], but_for=entry.id)
    tiles: Sequence[int] | None = values.pop("tiles", None)
    async with unhindered():
        if values:
            await tx.execute(update(table).where(table.c.id == entry.id).values(**values))
        if tiles is not None:
            await tx.execute(delete(dashboard_tiles).where(dashboard_tiles.c.dashboard_id == entry.id))
            await _put_tiles(tx, entry.id, tiles)
    return await find(tx, type(entry), entry.project_id, entry.id)


async def _put_tiles(tx: AsyncConnection, dashboard_id: int, tiles: Sequence[int]) -> None:
    rows = [
        {"dashboard_id": dashboard_id, "insight_id": insight_id, "position": position}
        for position, insight_id in enumerate(tiles)
    ]
    if rows:
        await tx.execute(insert(dashboard_tiles), rows)


async def free_name(
    connection: AsyncConnection, kind: type[AnyEntry], project_id: int, given: str, *, but_for: int | None = None
) -> str:
    """The name, trimmed. Raises :class:`InvalidField` when it is unusable, or another entry's (not ``but_for``'s)."""
    table = TABLES[kind]
    name = usable_name(given)
    same = select(table.c.id).where(table.c.project_id == project_id, table.c.name == name)
    if (await connection.execute(same if but_for is None else same.where(table.c.id != but_for))).first() is not None:
        raise InvalidField("name", f"there is already one named {name!r}; choose another name, or remove that one")
    return name


def usable_name(name: str) -> str:
    """What an entry, or a project, may be called. Raises :class:`InvalidField`."""
    name = name.strip()
    if not name or len(name) > 200 or not name.isprintable():
        code = "max_length" if len(name) > 200 else "invalid_input" if name else "blank"
        raise InvalidField("name", "must be 1 to 200 printable characters on one line", code=code)
    return name


@asynccontextmanager
async def unhindered() -> AsyncIterator[None]:
    """What the database's own constraints refuse was looked at before: somebody else was there in between."""
    try:
        yield
    except IntegrityError:
        raise Conflict("something it needs, or that needs it, changed at this very moment; try again") from None
