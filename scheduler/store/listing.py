"""Which subscriptions a list shows: filters, search and order, fast however many there are.

First the ids, from indexes that hold everything a list asks for; the rows of that page alone are read afterwards
(:func:`scheduler.store.subscriptions.page`). The exact count needs one pass over the project's part of an index, and
nothing else here may need a second one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from unicodedata import normalize
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    Text,
    and_,
    case,
    cast,
    false,
    func,
    literal_column,
    not_,
    null,
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
LONGEST_TITLE = 300
"""A hundred letters, as long as folding can make them; SQLite refuses to look for very long words."""
FEW = 1_000
"""So many are put in order themselves; where there are more, the order's own index soon meets a page of them."""

Conditions = Sequence[ColumnElement[bool]]
Names = Sequence[tuple[Column[Any], Sequence[tuple[int, str]]]]
"""Of each column that points at something with a name: the ids and names there are."""
LeftToTitle = Mapping[tuple[str, ...], list[int]]
"""The ids of those whose names have some of the words, by the words that they have not."""


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
    order = _order(filters.ordering)
    if ways:
        found = await _searched(connection, always, ways, by_title=next(iter(order)) is subscriptions.c.title_folded)
    else:
        found = await _filtered(connection, always)
    return await _page(connection, found, order, limit=limit, offset=offset), found.count


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
    names = await _names(connection, project_id)
    if len(wanted) <= PARTED:
        return _ways_apart(wanted, names, connection.dialect)
    return [and_(*(or_(*_ways_apart([word], names, connection.dialect)) for word in wanted))]


def _ways_apart(words: Sequence[str], names: Names, dialect: Dialect) -> list[ColumnElement[bool]]:
    """First by the title alone; then by names that have some of the words, the title the others.

    There are few names, so it is known what each leaves to the title, and rows are looked up by what they show.
    """
    in_title = {word: _in_title(word) for word in words}
    left_to_title = [(column, _left_to_title(words, named)) for column, named in names]
    by_name = [
        and_(among(column, ids, dialect), *(in_title[word] for word in left))
        for column, ids_by_left in left_to_title
        for left, ids in ids_by_left.items()
    ]
    some = {column: {*chain(*ids_by_left.values())} for column, ids_by_left in left_to_title}
    return [and_(*in_title.values(), *_none_in_name(names, some, dialect)), *by_name]


def _in_title(word: str) -> ColumnElement[bool]:
    return subscriptions.c.title_folded.contains(word, autoescape=True) if len(word) <= LONGEST_TITLE else false()


def _none_in_name(
    names: Names, some: Mapping[Column[Any], Collection[int]], dialect: Dialect
) -> list[ColumnElement[bool]]:
    """What is shown has none of the words in its name: by those that have some, or by the others, if they are fewer."""
    none = {column: [id_ for id_, _ in named if id_ not in some[column]] for column, named in names}
    if sum(map(len, some.values())) > sum(map(len, none.values())):
        return [or_(false(), *(among(column, ids, dialect) for column, ids in none.items() if ids))]
    return [or_(column.is_(None), not_(among(column, ids, dialect))) for column, ids in some.items() if ids]


def _left_to_title(words: Sequence[str], named: Sequence[tuple[int, str]]) -> LeftToTitle:
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for id_, name in named:
        left = tuple(word for word in words if word not in name)
        if len(left) < len(words):
            found[left].append(id_)
    return found


async def _names(connection: AsyncConnection, project_id: int) -> Names:
    """Of all that can be shown; as one text each, since a row for each of them costs more than the search in it."""
    of_sqlite = func.json_group_array, func.json_array
    listed, pair = of_sqlite if connection.dialect.name == "sqlite" else (func.json_agg, func.json_build_array)
    named = [
        select(cast(listed(pair(table.c.id, table.c.name)), Text))
        .where(table.c.project_id == project_id)
        .scalar_subquery()
        for table in (insights, dashboards)
    ]
    texts = (await connection.execute(select(*named))).one()
    return [
        (column, [(id_, folded(name)) for id_, name in json.loads(text or "[]")])
        for column, text in zip((subscriptions.c.insight_id, subscriptions.c.dashboard_id), texts, strict=True)
    ]


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


@dataclass(frozen=True, slots=True)
class _Found:
    """How many there are, and what picks them out."""

    count: int
    conditions: Conditions
    are_few: bool = False
    titles: tuple[str, str] | None = None
    """In their order, the first and the last: between them the index soon meets a page (of all "Weekly …", say)."""


async def _filtered(connection: AsyncConnection, conditions: Conditions) -> _Found:
    """What the filters leave."""
    counted = await connection.execute(select(func.count()).select_from(subscriptions).where(*conditions))
    count: int = counted.scalar_one()
    if count > FEW or len(conditions) == len(_asked(0, Filters())):
        return _Found(count, conditions)
    return _few(connection, await _ids(connection, conditions))


async def _searched(connection: AsyncConnection, always: Conditions, ways: Conditions, *, by_title: bool) -> _Found:
    """What the words leave of that, in one pass over all titles; each thing more to find out costs a fifth of it."""
    in_title, *in_name = ([*always, way] for way in ways)
    named = [select(func.count()).select_from(subscriptions).where(*each).scalar_subquery() for each in in_name]
    title = subscriptions.c.title_folded
    span = (func.min(title), func.max(title)) if by_title and not in_name else (null(), null())
    query = select(func.count(), _few_ids(connection.dialect), *span, *named)
    many, listed, first, last, *others = (await connection.execute(query.where(*in_title))).one()
    count = many + sum(others)
    if count > FEW:
        return _Found(count, [*always, or_(*ways)], titles=None if first is None else (first, last))
    few: list[int] = json.loads(listed) if many else []
    for conditions in in_name if any(others) else ():
        few += await _ids(connection, conditions)
    return _few(connection, few)


def _few_ids(dialect: Dialect) -> ColumnElement[Any]:
    """The ids as JSON, where they are few."""
    ids = subscriptions.c.id
    listed = func.json_group_array(ids) if dialect.name == "sqlite" else func.array_to_json(func.array_agg(ids))
    return case((func.count() <= FEW, cast(listed, Text)))


async def _ids(connection: AsyncConnection, conditions: Conditions) -> Sequence[int]:
    return (await connection.execute(select(subscriptions.c.id).where(*conditions))).scalars().all()


def _few(connection: AsyncConnection, ids: Sequence[int]) -> _Found:
    return _Found(len(ids), [among(subscriptions.c.id, ids, connection.dialect)], are_few=True)


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


async def _page(connection: AsyncConnection, found: _Found, order: _Order, *, limit: int, offset: int) -> list[int]:
    """The ids of a page, reached from the nearer end: each step along an index costs."""
    if offset >= found.count:
        return []
    from_end = offset > found.count // 2
    if from_end:
        limit, offset = min(limit, found.count - offset), max(0, found.count - offset - limit)
    query = select(subscriptions.c.id).where(*found.conditions)
    if found.titles is not None:
        first, last = found.titles
        query = query.where(subscriptions.c.title_folded >= first, subscriptions.c.title_folded <= last)
    if users.c.email in order:
        # A sum is in no index: SQLite can but take users by their e-mail, and of each the subscriptions by their id.
        owner = users.c.id if found.are_few else users.c.id + literal_column("0")
        query = query.join(users, subscriptions.c.created_by_id == owner)
    query = query.order_by(*_terms(order, backwards=from_end)).limit(limit).offset(offset)
    ids = (await connection.execute(query)).scalars().all()
    return list(reversed(ids)) if from_end else list(ids)
