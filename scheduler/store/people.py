"""Who: the installation, its organisation, projects and users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4, uuid5

from sqlalchemy import ColumnElement, func, insert, or_, select, true, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from channels.addresses import parse_addresses
from channels.base import TargetError
from scheduler.errors import InvalidField, NotFound
from scheduler.models import installation, organisations, projects, users
from scheduler.store.columns import AnyRow
from scheduler.zones import RULES_VERSION


@dataclass(frozen=True, slots=True)
class Installation:
    """This database's own identity, and the text that only its secret key opens."""

    uuid: UUID
    key_check_sealed: str


@dataclass(frozen=True, slots=True)
class Organisation:
    """Whom projects and users belong to."""

    id: int
    uuid: UUID
    """What the API calls it: clients of the reference expect no number. Made of the installation's own and its id."""
    name: str


@dataclass(frozen=True, slots=True)
class Project:
    """Where sources, insights, dashboards, integrations and subscriptions live together."""

    id: int
    organisation_id: int
    organisation_uuid: UUID
    """As :attr:`Organisation.uuid`."""
    name: str
    timezone: str
    policy: dict[str, Any] | None = None
    """Where it differs from the defaults (:func:`scheduler.policy.parse_policy`)."""


class Role(StrEnum):
    """What a user may do in the organisation; what each may change through the API is said in ``scheduler.keys``."""

    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


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
    await tx.execute(
        insert(installation).values(
            id=1, uuid=uuid4(), key_check_sealed=key_check_sealed, tzdata=RULES_VERSION, created_at=now
        )
    )
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


async def take_home(tx: AsyncConnection, here: str, *, from_whatever: bool) -> bool:
    """Make this database the ledger's home, if it has none yet (or ``from_whatever`` it was); whether it is now."""
    is_free = or_(installation.c.home.is_(None), installation.c.home == here)
    moved = await tx.execute(update(installation).where(true() if from_whatever else is_free).values(home=here))
    return moved.rowcount == 1


async def verified_at(connection: AsyncConnection) -> datetime | None:
    """When the ledger was last compared with the rules."""
    found: datetime | None = (await connection.execute(select(installation.c.verified_at))).scalar_one()
    return found


async def zone_rules(connection: AsyncConnection) -> str | None:
    """Which edition of the time zone rules the next dates were worked out with."""
    found: str | None = (await connection.execute(select(installation.c.tzdata))).scalar_one()
    return found


async def set_zone_rules(tx: AsyncConnection, edition: str) -> None:
    """From now on they are this edition's."""
    await tx.execute(update(installation).values(tzdata=edition))


async def add_project(tx: AsyncConnection, organisation_id: int, name: str, *, timezone: str, now: datetime) -> Project:
    """A further project of an organisation."""
    made = await tx.execute(
        insert(projects)
        .values(organisation_id=organisation_id, name=name, timezone=timezone, created_at=now)
        .returning(projects.c.id)
    )
    return await find_project(tx, made.scalar_one())


_PROJECT = select(projects, installation.c.uuid.label("here")).join(installation, true())


def _project(row: AnyRow) -> Project:
    uuid = _organisation_uuid(row.here, row.organisation_id)
    return Project(row.id, row.organisation_id, uuid, row.name, row.timezone, row.policy)


def _organisation_uuid(here: UUID, organisation_id: int) -> UUID:
    return uuid5(here, f"organisation/{organisation_id}")


async def find_project(connection: AsyncConnection, project_id: int | None = None) -> Project:
    """The project with this id, or the first one. Raises :class:`NotFound`."""
    is_it = true() if project_id is None else projects.c.id == project_id
    row = (await connection.execute(_PROJECT.where(is_it).order_by(projects.c.id).limit(1))).one_or_none()
    if row is None:
        raise NotFound(f"no project {project_id}")
    return _project(row)


async def find_organisation(connection: AsyncConnection, organisation_id: int) -> Organisation:
    """The one with this id."""
    query = select(installation.c.uuid, organisations.c.name).join(organisations, organisations.c.id == organisation_id)
    here, name = (await connection.execute(query)).one()
    return Organisation(organisation_id, _organisation_uuid(here, organisation_id), name)


async def listed_projects(connection: AsyncConnection) -> list[Project]:
    """Every project, the oldest first."""
    return [_project(row) for row in await connection.execute(_PROJECT.order_by(projects.c.id))]


async def change_project(tx: AsyncConnection, project_id: int, **values: Any) -> None:
    """Set its ``name``, ``timezone`` or ``policy`` (None: the defaults)."""
    await tx.execute(update(projects).where(projects.c.id == project_id).values(**values))


_USER = select(users.c.id, users.c.uuid, users.c.email, users.c.first_name, users.c.last_name, users.c.role)


async def find_owner(connection: AsyncConnection, organisation_id: int) -> User:
    """The organisation's first user: who subscribes where nobody else is named (the command line)."""
    of_it = _USER.where(users.c.organisation_id == organisation_id)
    return User(*(await connection.execute(of_it.order_by(users.c.id).limit(1))).one())


async def listed_users(connection: AsyncConnection, organisation_id: int) -> list[User]:
    """Everybody in an organisation, the first one first."""
    rows = await connection.execute(_USER.where(users.c.organisation_id == organisation_id).order_by(users.c.id))
    return [User(*row) for row in rows]


async def find_user(connection: AsyncConnection, organisation_id: int, email: str) -> User:
    """The one with this address, in whatever case. Raises :class:`InvalidField` or :class:`NotFound`."""
    address = _one_address(email)
    of_it = _USER.where(users.c.organisation_id == organisation_id, _has(address))
    row = (await connection.execute(of_it.order_by(users.c.id).limit(1))).one_or_none()
    if row is None:
        raise NotFound(f"no user {address}; `paperround users list` shows who there is, `users add` adds one")
    return User(*row)


async def add_user(
    tx: AsyncConnection,
    organisation_id: int,
    email: str,
    *,
    first_name: str = "",
    last_name: str = "",
    role: str,
    now: datetime,
) -> User:
    """One more in an organisation. Raises :class:`InvalidField` for the first value that cannot be."""
    address = _one_address(email)
    if role not in list(Role):
        raise InvalidField("role", f"must be one of {', '.join(Role)}", code="invalid_choice")
    values = {
        "uuid": uuid4(),
        "email": address,
        "first_name": _usable_name("first_name", first_name),
        "last_name": _usable_name("last_name", last_name),
        "role": role,
    }
    taken = InvalidField("email", f"there is already a user {address}; `paperround users list` shows who there is")
    if (await tx.execute(select(users.c.id).where(_has(address)))).first() is not None:
        raise taken
    try:
        await tx.execute(insert(users).values(**values, organisation_id=organisation_id, created_at=now))
    except IntegrityError:  # somebody else was first, just now
        raise taken from None
    return await find_user(tx, organisation_id, address)


def _has(address: str) -> ColumnElement[bool]:
    """Whatever its case, as the database sees case: SQLite knows only that of ASCII."""
    return func.lower(users.c.email) == func.lower(address)


def _one_address(email: str) -> str:
    try:
        [address] = parse_addresses(email)
    except (TargetError, ValueError):
        raise InvalidField("email", f"{email[:80]!r} is not one e-mail address such as ann@example.com") from None
    return address


def _usable_name(field: str, name: str) -> str:
    name = name.strip()
    if len(name) > 150 or not name.isprintable():
        code = "max_length" if len(name) > 150 else "invalid_input"
        raise InvalidField(field, "must be at most 150 printable characters on one line", code=code)
    return name
