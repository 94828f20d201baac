"""What goes past SQLAlchemy to the driver: every value arrives as it was given, and is read as it was written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Uuid,
    delete,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db import Database
from scheduler.models import Instant
from scheduler.settings import database_url
from scheduler.store import literals
from scheduler.store.bulk import Additions, AsKept, Changes, Listed, Prepared, Row, as_kept

SCHEMA = MetaData()
NAMES = ("id", "name", "words", "answer", "number", "at", "document")
things = Table(
    "things",
    SCHEMA,
    Column("id", Uuid, primary_key=True),
    Column("name", String, nullable=False),
    Column("words", String),
    Column("answer", Boolean),
    Column("number", Integer),
    Column("at", Instant),
    Column("document", JSON(none_as_null=True)),
)
_t = things.c
ADDED = Additions(things, NAMES)
CHANGED = Changes(
    {f"its_{name}": _t[name] for name in NAMES},
    lambda given: (
        update(things)
        .where(_t.id == given["its_id"])
        .values({name: given[f"its_{name}"] for name in NAMES if name != "id"})
    ),
)
FOUND = Prepared(
    {"names": Listed(_t.name)}, lambda given: select(*(_t[name] for name in NAMES)).where(given["names"](_t.name))
)
KEPT = Prepared({"ids": Listed(_t.id)}, lambda given: select(as_kept(_t.id)).where(given["ids"](_t.id)))
OF_KEPT = Prepared({"ids": Listed(AsKept(_t.id))}, lambda given: select(_t.id).where(given["ids"](_t.id)))

AWKWARD = (
    "",
    " ",
    "\\",
    "\\N",
    "\\.",
    "\\n",
    "\t",
    "\n",
    "\r\n",
    '"',
    "'",
    "{}",
    "{a,b}",
    "NULL",
    ",",
    "%s",
    "?",
    ":a",
    "\u2028",
    "😀",
)
texts = st.one_of(
    st.sampled_from(AWKWARD),
    st.tuples(*[st.sampled_from(AWKWARD)] * 3).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
)
instants = st.builds(
    datetime.fromtimestamp,
    st.integers(-(2**31), 2**37),
    st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
)
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
documents = plain | st.lists(plain, max_size=2) | st.dictionaries(texts, plain, max_size=2)
values = st.tuples(
    texts,
    st.none() | texts,
    st.none() | st.booleans(),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | instants,
    st.none() | st.lists(documents, max_size=2) | st.dictionaries(texts, documents, max_size=2),
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(added=st.lists(values, min_size=3, max_size=8), changed=st.lists(values, min_size=8, max_size=8))
def test_every_value_is_read_as_it_was_written(ledger_url: str, added: list[Row], changed: list[Row]) -> None:
    rows = [(uuid4(), *row) for row in added]
    others = [(id_, *row) for (id_, *_), row in zip(rows, changed, strict=False)]

    asyncio.run(_there_and_back(ledger_url, rows, others))


async def _there_and_back(url: str, rows: list[Row], others: list[Row]) -> None:
    database = Database(database_url(url))
    async with database.write() as tx:
        await tx.run_sync(SCHEMA.create_all)
        await ADDED.run(tx, rows)
        assert await _by_sqlalchemy(tx) == _read(rows)
        assert _read(await FOUND.ask(tx, names=[name for _, name, *_ in rows])) == _read(rows)

        await CHANGED.run(tx, others)
        assert await _by_sqlalchemy(tx) == _read(others)

        kept = [id_ for (id_,) in await KEPT.ask(tx, ids=[row[0] for row in rows])]
        assert {id_ for (id_,) in await OF_KEPT.ask(tx, ids=kept)} == {row[0] for row in rows}
        await tx.execute(delete(things))
    await database.aclose()


async def _by_sqlalchemy(tx: AsyncConnection) -> set[str]:
    return _read([tuple(row) for row in await tx.execute(select(things))])


def _read(rows: Sequence[Row]) -> set[str]:
    """As text: 1, 1.0 and true are three different values in a document."""
    return {str(_in_utc(row)) for row in rows}


def _in_utc(row: Row) -> tuple[Any, ...]:
    return tuple(each.astimezone(UTC) if isinstance(each, datetime) else each for each in row)


def test_what_is_equal_but_not_alike_is_written_apart() -> None:
    ones = [[1], [True], [1.0]]

    assert literals.copied([ones], [JSON()]) == "[1]\n[true]\n[1.0]\n"
    assert literals.array(ones, JSON()) == '{"[1]","[true]","[1.0]"}'


def test_a_type_that_nobody_thought_of_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="LargeBinary"):
        literals.array([b"bytes"], LargeBinary())
