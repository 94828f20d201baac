"""When a paced destination may be sent to next, kept in SQL so that it holds over every process and machine.

One row for each destination that has a pace, none for the others. A claim takes the slot in its own transaction, when
the slot has come; until the next one comes, what goes there stays ready and is passed over. A worker that dies between
claim and send has used its slot up: that costs one pause, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import STARTING, deliveries, destinations
from scheduler.store.bulk import AsKept, Changes, Listed, Parameter, Prepared, Values

_d, _slots = deliveries.c, destinations.c


def is_open(now: ColumnElement[Any]) -> ColumnElement[bool]:
    """The delivery's destination has no pace, or its next slot has come."""
    return ~_d.destination.in_(select(_slots.name).where(_slots.free_at > now))


async def take(tx: AsyncConnection, ids: Collection[Any], *, now: datetime, until: datetime) -> set[str]:
    """The next slot of each destination these deliveries go to: the names of those that were to be had.

    ``ids`` as the driver keeps them. Nobody else takes one of those before ``until``. The other slots have not come.
    """
    return {name for (name,) in await _TAKEN[tx.dialect.name].ask(tx, ids=ids, now=now, until=until)}


def _taken(insert: Callable[..., Any], given: Values) -> Any:
    """In the order of their names: two claims never wait for each other."""
    wanted = (
        select(_d.destination, given["until"], given["now"])
        .where(given["ids"](_d.id))
        .distinct()
        .order_by(_d.destination)
    )
    slot = insert(destinations).from_select(["name", "free_at", "taken_at"], wanted)
    return slot.on_conflict_do_update(
        index_elements=["name"],
        set_={"free_at": slot.excluded.free_at, "taken_at": slot.excluded.taken_at},
        where=_slots.free_at <= slot.excluded.taken_at,
    ).returning(_slots.name)


_TYPES: Mapping[str, Parameter | Listed] = {
    "ids": Listed(AsKept(_d.id)),
    "now": _slots.taken_at,
    "until": _slots.free_at,
}
_TAKEN: Mapping[str, Prepared] = {
    "postgresql": Prepared(_TYPES, partial(_taken, postgresql.insert)),
    "sqlite": Prepared(_TYPES, partial(_taken, sqlite.insert)),
}


async def hold_off(tx: AsyncConnection, until: Mapping[str, datetime], *, now: datetime) -> None:
    """Nobody sends to these destinations before then; where the next slot is later already, it stays."""
    await _HELD_OFF.run(tx, [(name, until[name], now) for name in sorted(until)])


_HELD_OFF = Changes(
    {"at_name": _slots.name, "until": _slots.free_at, "now": _slots.taken_at},
    lambda given: (
        update(destinations)
        .where(_slots.name == given["at_name"], _slots.free_at < given["until"])
        .values(free_at=given["until"], taken_at=given["now"])
    ),
)


async def next_at(connection: AsyncConnection, *, now: datetime, busy: Collection[str]) -> datetime | None:
    """When the first slot comes that something ready waits for, at a destination that is not busy."""
    [(found,)] = await _NEXT.ask(connection, now=now, busy=busy)
    at: datetime | None = found
    return at


_NEXT = Prepared(
    {"now": _slots.free_at, "busy": Listed(_d.destination)},
    lambda given: select(func.min(_slots.free_at)).where(
        _slots.free_at > given["now"],
        _slots.name.in_(
            select(_d.destination).where(
                STARTING, _d.lease.is_(None), _d.ready_at <= given["now"], ~given["busy"](_d.destination)
            )
        ),
    ),
)


async def anything_from_the_future(connection: AsyncConnection, *, after: datetime) -> bool:
    """Whether a slot was taken by a clock that was ahead: after this instant."""
    return (await connection.execute(select(_slots.name).where(_slots.taken_at > after).limit(1))).first() is not None


async def bring_back(tx: AsyncConnection, *, now: datetime, after: datetime) -> None:
    """Slots that were taken by a clock that was ahead have come: nobody waits for its instants."""
    await tx.execute(update(destinations).where(_slots.taken_at > after).values(free_at=now, taken_at=now))
