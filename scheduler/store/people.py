"""Who: the installation, its organisation, projects and users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import NotFound
from scheduler.models import installation, organisations, projects, users


@dataclass(frozen=True, slots=True)
class Installation:
    """This database's own identity, and the text that only its secret key opens."""

    uuid: UUID
    key_check_sealed: str


@dataclass(frozen=True, slots=True)
class Project:
    """Where sources, insights, dashboards, integrations and subscriptions live together."""

    id: int
    organisation_id: int
    name: str
    timezone: str


@dataclass(frozen=True, slots=True)
class User:
    """A person who subscribes, and who is told when a subscription fails."""

    id: int
    uuid: UUID
    email: str
    first_name: str
    last_name: str
    role: str


async def find_installation(connection: AsyncConnection) -> Installation | None:
    """None while ``paperround init`` has not run."""
    row = (await connection.execute(select(installation.c.uuid, installation.c.key_check_sealed))).one_or_none()
    return None if row is None else Installation(row.uuid, row.key_check_sealed)


async def install(
    tx: AsyncConnection,
    *,
    key_check_sealed: str,
    organisation: str,
    project: str,
    timezone: str,
    owner_email: str,
    now: datetime,
) -> Project:
    """The first rows of an empty database: one organisation, one project, one owner."""
    await tx.execute(insert(installation).values(id=1, uuid=uuid4(), key_check_sealed=key_check_sealed, created_at=now))
    made = await tx.execute(
        insert(organisations).values(name=organisation, created_at=now).returning(organisations.c.id)
    )
    organisation_id = made.scalar_one()
    await tx.execute(
        insert(users).values(
            uuid=uuid4(),
            organisation_id=organisation_id,
            email=owner_email,
            first_name="",
            last_name="",
            role="admin",
            created_at=now,
        )
    )
    return await add_project(tx, organisation_id, project, timezone=timezone, now=now)


async def add_project(tx: AsyncConnection, organisation_id: int, name: str, *, timezone: str, now: datetime) -> Project:
    """A further project of an organisation."""
    made = await tx.execute(
        insert(projects)
        .values(organisation_id=organisation_id, name=name, timezone=timezone, created_at=now)
        .returning(projects.c.id)
    )
    return Project(made.scalar_one(), organisation_id, name, timezone)


async def find_project(connection: AsyncConnection, project_id: int | None = None) -> Project:
    """The project with this id, or the first one. Raises :class:`NotFound`."""
    query = select(projects.c.id, projects.c.organisation_id, projects.c.name, projects.c.timezone)
    query = query.order_by(projects.c.id).limit(1) if project_id is None else query.where(projects.c.id == project_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"no project {project_id}")
    return Project(*row)


async def find_owner(connection: AsyncConnection, organisation_id: int) -> User:
    """The organisation's first user: who subscribes where nobody else is named (the command line)."""
    row = (
        await connection.execute(
            select(users.c.id, users.c.uuid, users.c.email, users.c.first_name, users.c.last_name, users.c.role)
            .where(users.c.organisation_id == organisation_id)
            .order_by(users.c.id)
            .limit(1)
        )
    ).one()
    return User(*row)
