"""Which subscriptions a list shows: filters, search and order, fast however many there are.

First the ids, from indexes that hold everything a list asks for; the rows of that page alone are read afterwards
(:func:`scheduler.store.subscriptions.page`). The exact count needs one pass over the project's part of an index, and
nothing else here may need a second one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Table, Text, and_, cast, false, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import InvalidField
from scheduler.models import dashboards, insights, subscriptions, users
from scheduler.store.bulk import among

MOST_WORDS = 20
FEW = 1_000
"""So many are put in order themselves; where there are more, the order's own index soon meets a page of them."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which subscriptions of a project are asked for, and in which order (api-contract)."""

    created_by: UUID | None = None
    dashboard: int | None = None
    insight: int | None = None
    target_type: str | None = None
    resource_type: str | None = None
    deleted: bool = False
    words: tuple[str, ...] = ()
    """Each has to be in the title, the insight's or the dashboard's name, in any case; 20 at most."""
    ordering: tuple[str, ...] = ()
    """``created_at next_delivery_date title created_by__email``, with ``-`` the other way round."""


async def which(
    connection: AsyncConnection, project_id: int, filters: Filters, *, limit: int, offset: int
) -> tuple[list[int], int]:
    """The ids of a page of the project's subscriptions, in order, and how many there are in all.

    Raises :class:`InvalidField` for too many words.
    """
    await _trust_indexes(connection)
    here, asked = subscriptions.c.project_id == project_id, _asked(filters)
    ways = await _ways(connection, project_id, filters.words)
    count, few = await _counted(connection, here, asked, ways)
    found = [here, *asked, *([or_(*ways)] if ways else [])]
    if few is not None:
        found = [among(subscriptions.c.id, few, connection.dialect)]
    order = _order(filters.ordering)
    return await _page(connection, found, order, few=few is not None, count=count, limit=limit, offset=offset), count


async def _trust_indexes(connection: AsyncConnection) -> None:
    """PostgreSQL: for this transaction, an index is in memory, and a plan is made for the words at hand.

    By default it would rather read the whole table than an index that it takes to be scattered over a disk, and plan
    once for rare and common words alike.
    """
    if connection.dialect.name == "postgresql":
        now = {
            "random_page_cost": "1.1",
            "max_parallel_workers_per_gather": "0",
            "plan_cache_mode": "force_custom_plan",
        }
        await connection.execute(select(*(func.set_config(name, value, True) for name, value in now.items())))


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _asked(filters: Filters) -> list[ColumnElement[bool]]:
    """The filters as SQL, live or removed before all; what else was not asked for limits nothing."""
    c = subscriptions.c
    creator = select(users.c.id).where(users.c.uuid == filters.created_by).scalar_subquery()
    asked = [
        (filters.created_by, c.created_by_id == creator),
        (filters.dashboard, c.dashboard_id == filters.dashboard),
        (filters.insight, c.insight_id == filters.insight),
        (filters.target_type, c.target_type == filters.target_type),
    ]
    resource = {"insight": c.insight_id, "dashboard": c.dashboard_id}
    return [
        c.deleted if filters.deleted else ~c.deleted,
        *(condition for value, condition in asked if value is not None),
        *(column.is_not(None) for kind, column in resource.items() if kind == filters.resource_type),
    ]


# ── search ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _ways(connection: AsyncConnection, project_id: int, words: Sequence[str]) -> list[ColumnElement[bool]]:
    """How every word can be in a title or a name, as conditions of which no row meets two; no words, none.

    First of them: all in the title. There are few names, so what each leaves for the title to have is found out before,
    and rows are looked up by what they show.
    """
    wanted = _telling({folded(word) for word in words})
    if not wanted:
        return []
    position = func.instr if connection.dialect.name == "sqlite" else func.strpos
    in_title = {word: position(subscriptions.c.title_folded, word) > 0 for word in wanted}
    by_name = []
    for column, table in ((subscriptions.c.insight_id, insights), (subscriptions.c.dashboard_id, dashboards)):
        for left, ids in (await _left_over(connection, table, project_id, wanted)).items():
            by_name.append((among(column, ids, connection.dialect), [in_title[word] for word in left]))
    by_title_alone = not_(func.coalesce(or_(false(), *(shown for shown, _ in by_name)), false()))
    return [and_(*in_title.values(), by_title_alone), *(and_(shown, *rest) for shown, rest in by_name)]


async def _left_over(
    connection: AsyncConnection, table: Table, project_id: int, words: Sequence[str]
) -> dict[tuple[str, ...], list[int]]:
    """The ids of those whose names have some of the words, by the words that they have not."""
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    rows = await connection.execute(select(table.c.id, table.c.name).where(table.c.project_id == project_id))
    for id_, name in ((row.id, folded(row.name)) for row in rows):
        left = tuple(word for word in words if word not in name)
        if len(left) < len(words):
            found[left].append(id_)
    return found


def _telling(words: Iterable[str]) -> list[str]:
    """Without those that are in another one anyway; longest first, since few titles have it and end the matter."""
    told: list[str] = []
    for word in sorted(words, key=lambda each: (-len(each), each)):
        if not any(word in longer for longer in told):
            told.append(word)
    if len(told) > MOST_WORDS:
        raise InvalidField("search", f"must be at most {MOST_WORDS} words; leave some out", code="max_length")
    return told


def folded(text: str) -> str:
    """The text as search and order see it: two that differ in case alone are the same (Unicode 16, 3.13, D145)."""
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFD", text).casefold())


# ── how many, and which few ──────────────────────────────────────────────────────────────────────────────────────────


async def _counted(
    connection: AsyncConnection,
    here: ColumnElement[bool],
    asked: Sequence[ColumnElement[bool]],
    ways: Sequence[ColumnElement[bool]],
) -> tuple[int, list[int] | None]:
    """How many there are; and which, where they are few."""
    by_title, by_name = [here, *asked, *ways[:1]], [[here, *asked, way] for way in ways[1:]]
    if not ways and len(asked) == 1:
        query = select(func.count()).select_from(subscriptions).where(*by_title)
        return (await connection.execute(query)).scalar_one(), None
    counts = [select(func.count()).select_from(subscriptions).where(*way).correlate(None) for way in by_name]
    ids = func.aggregate_strings(cast(subscriptions.c.id, Text), ",")
    query = select(func.count(), ids, *(each.scalar_subquery() for each in counts)).where(*by_title)
    many, listed, *others = (await connection.execute(query)).one()
    if many + sum(others) > FEW:
        return many + sum(others), None
    few = [int(id_) for id_ in listed.split(",")] if many else []
    for way in by_name if any(others) else ():
        few += (await connection.execute(select(subscriptions.c.id).where(*way))).scalars()
    return len(few), few


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────

Order = dict[Column[Any], bool]
"""By these columns, each upwards (False) or downwards (True)."""

_COLUMNS: dict[str, Column[Any]] = {
    "created_at": subscriptions.c.created_at,
    "next_delivery_date": subscriptions.c.next_delivery_date,
    "title": subscriptions.c.title_folded,
    "created_by__email": users.c.email,
}


def _order(ordering: Iterable[str]) -> Order:
    """Words it does not know are left out, newest first where none is left."""
    order: Order = {}
    for word in map(str.strip, ordering):
        column = _COLUMNS.get(word.removeprefix("-"))
        if column is not None:
            order.setdefault(column, word.startswith("-"))
    return order or {subscriptions.c.created_at: True}


def _terms(order: Order, *, backwards: bool) -> list[ColumnElement[Any]]:
    """As SQL: null is the greatest on both databases, and equals follow their ids, in the last column's direction."""
    columns = [*order.items(), (subscriptions.c.id, list(order.values())[-1])]
    return [_downwards(column) if down != backwards else _upwards(column) for column, down in columns]


def _upwards(column: Column[Any]) -> ColumnElement[Any]:
    return column.asc().nulls_last() if column.nullable else column.asc()


def _downwards(column: Column[Any]) -> ColumnElement[Any]:
    return column.desc().nulls_first() if column.nullable else column.desc()


async def _page(
    connection: AsyncConnection,
    conditions: Sequence[ColumnElement[bool]],
    order: Order,
    *,
    few: bool,
    count: int,
    limit: int,
    offset: int,
) -> list[int]:
    """The ids of a page, reached from the nearer end: each step along an index costs."""
    if offset >= count:
        return []
    from_end = offset > count // 2
    if from_end:
        limit, offset = min(limit, count - offset), max(0, count - offset - limit)
    query = select(subscriptions.c.id).where(*conditions)
    if users.c.email in order:
        # A sum is in no index: SQLite can but take users by their e-mail, and of each the subscriptions by their id.
        owner = users.c.id if few else users.c.id + 0
        query = query.join(users, subscriptions.c.created_by_id == owner)
    query = query.order_by(*_terms(order, backwards=from_end)).limit(limit).offset(offset)
    ids = (await connection.execute(query)).scalars().all()
    return list(reversed(ids)) if from_end else list(ids)
