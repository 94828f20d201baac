"""Which subscriptions a list shows: filters, search and order, fast however many there are.

First the ids, from indexes that hold everything a list asks for; the rows of that page alone are read afterwards
(:func:`scheduler.store.subscriptions.page`). The exact count needs one pass over the project's part of an index, and
nothing else here may need a second one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from unicodedata import normalize
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    Table,
    Text,
    and_,
    cast,
    func,
    literal_column,
    not_,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import InvalidField
from scheduler.models import dashboards, insights, subscriptions, users
from scheduler.store.bulk import among

MOST_WORDS = 20
PARTED = 3
"""So many words may be parted between title and name in every way there is."""
FEW = 1_000
"""So many are put in order themselves; where there are more, the order's own index soon meets a page of them."""

Conditions = Sequence[ColumnElement[bool]]
Names = Sequence[tuple[Column[Any], Sequence[tuple[int, str]]]]
"""Of each column that points at something with a name: the ids and names there are."""


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
    always = _asked(project_id, filters)
    ways = await _ways(connection, project_id, filters.words)
    count, few = await _counted(connection, always, ways)
    found = [*always, or_(*ways)] if ways else always
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
        now = {"random_page_cost": "1.1", "plan_cache_mode": "force_custom_plan"}
        await connection.execute(select(*(func.set_config(name, value, True) for name, value in now.items())))


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _asked(project_id: int, filters: Filters) -> list[ColumnElement[bool]]:
    """The project, live or removed, and the filters; what was not asked for limits nothing."""
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
        c.project_id == project_id,
        c.deleted if filters.deleted else ~c.deleted,
        *(condition for value, condition in asked if value is not None),
        *(column.is_not(None) for kind, column in resource.items() if kind == filters.resource_type),
    ]


# ── search ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _ways(connection: AsyncConnection, project_id: int, words: Sequence[str]) -> list[ColumnElement[bool]]:
    """How every word can be in a title or a name, as conditions of which no row meets two; no words, none."""
    wanted = _telling({folded(word) for word in words})
    if not wanted:
        return []
    names = [
        (subscriptions.c.insight_id, await _names(connection, insights, project_id)),
        (subscriptions.c.dashboard_id, await _names(connection, dashboards, project_id)),
    ]
    if len(wanted) <= PARTED:
        return _ways_apart(wanted, names, connection.dialect)
    return [and_(*(or_(*_ways_apart([word], names, connection.dialect)) for word in wanted))]


def _ways_apart(words: Sequence[str], names: Names, dialect: Dialect) -> list[ColumnElement[bool]]:
    """First by the title alone; then by names that have some of the words, the title the others.

    There are few names, so it is known what each leaves to the title, and rows are looked up by what they show.
    """
    position = func.instr if dialect.name == "sqlite" else func.strpos
    in_title = {word: position(subscriptions.c.title_folded, word) > 0 for word in words}
    by_title, by_name = list(in_title.values()), []
    for column, named in names:
        left_to_title = _left_to_title(words, named)
        for left, ids in left_to_title.items():
            by_name.append(and_(among(column, ids, dialect), *(in_title[word] for word in left)))
        if left_to_title:
            by_title.append(or_(column.is_(None), not_(among(column, [*chain(*left_to_title.values())], dialect))))
    return [and_(*by_title), *by_name]


def _left_to_title(words: Sequence[str], named: Sequence[tuple[int, str]]) -> dict[tuple[str, ...], list[int]]:
    """The ids of those whose names have some of the words, by the words that they have not."""
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for id_, name in named:
        left = tuple(word for word in words if word not in name)
        if len(left) < len(words):
            found[left].append(id_)
    return found


async def _names(connection: AsyncConnection, table: Table, project_id: int) -> list[tuple[int, str]]:
    rows = await connection.execute(select(table.c.id, table.c.name).where(table.c.project_id == project_id))
    return [(row.id, folded(row.name)) for row in rows]


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
    """The text as search and order see it: two that differ in case alone are the same (Unicode, 3.13, D145)."""
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFD", text).casefold())


# ── how many, and which few ──────────────────────────────────────────────────────────────────────────────────────────


async def _counted(connection: AsyncConnection, always: Conditions, ways: Conditions) -> tuple[int, list[int] | None]:
    """How many there are; and which, where they are few."""
    if not ways and len(always) == len(_asked(0, Filters())):
        everything = select(func.count()).select_from(subscriptions).where(*always)
        return (await connection.execute(everything)).scalar_one(), None
    by_title, by_name = [*always, *ways[:1]], [[*always, way] for way in ways[1:]]
    many, listed, *others = await _pass(connection, by_title, by_name)
    if many + sum(others) > FEW:
        return many + sum(others), None
    few = [int(id_) for id_ in listed.split(",")] if many else []
    for conditions in by_name if any(others) else ():
        few += (await connection.execute(select(subscriptions.c.id).where(*conditions))).scalars()
    return len(few), few


async def _pass(connection: AsyncConnection, first: Conditions, others: Sequence[Conditions]) -> Sequence[Any]:
    """How many meet the first conditions, and their ids as one text; then how many meet each of the others."""
    counts = [select(func.count()).select_from(subscriptions).where(*each).correlate(None) for each in others]
    ids = func.aggregate_strings(cast(subscriptions.c.id, Text), ",")
    query = select(func.count(), ids, *(each.scalar_subquery() for each in counts)).where(*first)
    return (await connection.execute(query)).one()


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_Order = dict[Column[Any], bool]
"""By these columns, each upwards (False) or downwards (True)."""

_COLUMNS: dict[str, Column[Any]] = {
    "created_at": subscriptions.c.created_at,
    "next_delivery_date": subscriptions.c.next_delivery_date,
    "title": subscriptions.c.title_folded,
    "created_by__email": users.c.email,
}


def _order(ordering: Iterable[str]) -> _Order:
    """Words it does not know are left out, newest first where none is left."""
    order: _Order = {}
    for word in map(str.strip, ordering):
        column = _COLUMNS.get(word.removeprefix("-"))
        if column is not None:
            order.setdefault(column, word.startswith("-"))
    return order or {subscriptions.c.created_at: True}


def _terms(order: _Order, *, backwards: bool) -> list[ColumnElement[Any]]:
    """As SQL: null is the greatest on both databases, and equals follow their ids, in the last column's direction."""
    columns = [*order.items(), (subscriptions.c.id, list(order.values())[-1])]
    return [_downwards(column) if down != backwards else _upwards(column) for column, down in columns]


def _upwards(column: Column[Any]) -> ColumnElement[Any]:
    return column.asc().nulls_last() if column.nullable else column.asc()


def _downwards(column: Column[Any]) -> ColumnElement[Any]:
    return column.desc().nulls_first() if column.nullable else column.desc()


async def _page(
    connection: AsyncConnection,
    conditions: Conditions,
    order: _Order,
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
        owner = users.c.id if few else users.c.id + literal_column("0")
        query = query.join(users, subscriptions.c.created_by_id == owner)
    query = query.order_by(*_terms(order, backwards=from_end)).limit(limit).offset(offset)
    ids = (await connection.execute(query)).scalars().all()
    return list(reversed(ids)) if from_end else list(ids)
