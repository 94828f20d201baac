"""Personal API keys: their rows. What a key is and may do is ``scheduler.keys``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Select, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import NotFound
from scheduler.models import api_keys, projects, users
from scheduler.store.columns import AnyRow
from scheduler.store.people import User

LARGEST_ID = 2**63 - 1
"""No database here can be asked for a larger one."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: a digest to find it by and a mask to know it by, never the key itself."""

    id: int
    uuid: UUID
    user: User
    organisation_id: int
    name: str
    digest: str = field(repr=False)
    mask: str
    scopes: tuple[str, ...]
    project_ids: tuple[int, ...] | None
    """The projects it is limited to; None: all of the organisation's, those to come included."""
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, *, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def _query() -> Select[Any]:
    return select(
        api_keys,
        users.c.organisation_id,
        users.c.uuid.label("user_uuid"),
        users.c.email,
        users.c.first_name,
        users.c.last_name,
        users.c.role,
    ).join(users, users.c.id == api_keys.c.user_id)


def _key(row: AnyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        uuid=row.uuid,
        user=User(row.user_id, row.user_uuid, row.email, row.first_name, row.last_name, row.role),
        organisation_id=row.organisation_id,
        name=row.name,
        digest=row.digest,
        mask=row.mask,
        scopes=tuple(row.scopes),
        project_ids=None if row.project_ids is None else tuple(row.project_ids),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


async def add(
    tx: AsyncConnection,
    user: User,
    *,
    name: str,
    digest: str,
    mask: str,
    scopes: Sequence[str],
    project_ids: Sequence[int] | None,
    expires_at: datetime | None,
    now: datetime,
) -> ApiKey:
    """A new key of this user's."""
    await tx.execute(
        insert(api_keys).values(
            uuid=uuid4(),
            user_id=user.id,
            name=name,
            digest=digest,
            mask=mask,
            scopes=list(scopes),
            project_ids=None if project_ids is None else list(project_ids),
            created_at=now,
            expires_at=expires_at,
        )
    )
    return _key((await tx.execute(_query().where(api_keys.c.digest == digest))).one())


async def with_digest(connection: AsyncConnection, digest: str) -> ApiKey | None:
    """The key with this digest, revoked and expired ones included."""
    row = (await connection.execute(_query().where(api_keys.c.digest == digest))).one_or_none()
    return None if row is None else _key(row)


async def listed(connection: AsyncConnection, organisation_id: int) -> list[ApiKey]:
    """Every key of an organisation, revoked and expired ones included, newest first."""
    of_it = _query().where(users.c.organisation_id == organisation_id)
    return [_key(row) for row in await connection.execute(of_it.order_by(api_keys.c.id.desc()))]


async def find(connection: AsyncConnection, organisation_id: int, key_id: int) -> ApiKey:
    """One of an organisation's. Raises :class:`NotFound`."""
    is_it = (users.c.organisation_id == organisation_id) & (api_keys.c.id == min(key_id, LARGEST_ID))
    row = (await connection.execute(_query().where(is_it))).one_or_none() if key_id > 0 else None
    if row is None:
        raise NotFound(f"no key {key_id}; `paperround keys list` shows which there are")
    return _key(row)


async def revoke(tx: AsyncConnection, key: ApiKey, *, now: datetime) -> None:
    """It opens nothing from now on; one that was revoked before keeps its moment."""
    still_valid = (api_keys.c.id == key.id) & api_keys.c.revoked_at.is_(None)
    await tx.execute(update(api_keys).where(still_valid).values(revoked_at=now))


async def note_use(tx: AsyncConnection, key_id: int, *, at: datetime, at_most_every: timedelta) -> None:
    """When it was last used, unless that was noted a moment ago, by whichever process."""
    is_old = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at <= at - at_most_every)
    await tx.execute(update(api_keys).where(api_keys.c.id == key_id, is_old).values(last_used_at=at))


async def projects_of(connection: AsyncConnection, user: User) -> dict[int, str]:
    """The projects of a user's organisation: their ids, with their names."""
    found = (
        select(projects.c.id, projects.c.name)
        .join(users, users.c.organisation_id == projects.c.organisation_id)
        .where(users.c.id == user.id)
        .order_by(projects.c.id)
    )
    return {row.id: row.name for row in await connection.execute(found)}
