"""What is an organisation's own: who belongs to it, its domains, its verification tokens. Their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import InvalidField, NotFound
from scheduler.models import domains, organisations, users, verification_tokens
from scheduler.store.columns import AnyRow
from scheduler.store.people import User


@dataclass(frozen=True, slots=True)
class Terms:
    """What is said of an organisation beside its name."""

    created_at: datetime
    members: int
    summaries_allowed: bool
    """Whether its rows may go to a model."""


@dataclass(frozen=True, slots=True)
class Member:
    """A user, and since when."""

    user: User
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain that an organisation says is its own, and since when that is known to be true."""

    id: UUID
    domain: str
    """ASCII, in lower case."""
    challenge: str
    verified_at: datetime | None
    last_looked_up_at: datetime | None


@dataclass(frozen=True, slots=True)
class VerificationToken:
    """A token as it is stored: a digest to find it by and a mask to know it by, never the token itself."""

    id: UUID
    label: str
    digest: str = field(repr=False)
    mask: str
    created_by: User
    created_at: datetime
    last_used_at: datetime | None


# ── organisations ────────────────────────────────────────────────────────────────────────────────────────────────────


async def terms_of(connection: AsyncConnection, organisation_id: int) -> Terms:
    """Of the organisation with this id."""
    members = select(func.count()).where(users.c.organisation_id == organisation_id).scalar_subquery()
    query = select(organisations.c.created_at, members, organisations.c.summaries_allowed)
    return Terms(*(await connection.execute(query.where(organisations.c.id == organisation_id))).one())


async def change(tx: AsyncConnection, organisation_id: int, **values: Any) -> None:
    """``name`` and ``summaries_allowed`` are what may be changed."""
    await tx.execute(update(organisations).where(organisations.c.id == organisation_id).values(**values))


async def members(
    connection: AsyncConnection, organisation_id: int, *, limit: int, offset: int
) -> tuple[list[Member], int]:
    """Its users, the first one first; and how many there are."""
    query = select(*_USER, users.c.created_at).where(users.c.organisation_id == organisation_id).order_by(users.c.id)
    rows, count = await _page(connection, query, limit=limit, offset=offset)
    return [Member(User(*row[:-1]), row.created_at) for row in rows], count


_USER = (users.c.id, users.c.uuid, users.c.email, users.c.first_name, users.c.last_name, users.c.role)


async def _page(
    connection: AsyncConnection, query: Select[Any], *, limit: int, offset: int
) -> tuple[Sequence[AnyRow], int]:
    rows = (await connection.execute(query.limit(limit).offset(offset))).all()
    count = select(func.count()).select_from(query.order_by(None).subquery())
    return rows, (await connection.execute(count)).scalar_one()


# ── domains ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_DOMAIN = select(
    domains.c.id,
    domains.c.domain,
    domains.c.verification_challenge,
    domains.c.verified_at,
    domains.c.last_looked_up_at,
)


async def list_domains(
    connection: AsyncConnection, organisation_id: int, *, limit: int, offset: int
) -> tuple[list[Domain], int]:
    """An organisation's, by name; and how many there are."""
    query = _DOMAIN.where(domains.c.organisation_id == organisation_id).order_by(domains.c.domain)
    rows, count = await _page(connection, query, limit=limit, offset=offset)
    return [Domain(*row) for row in rows], count


async def find_domain(connection: AsyncConnection, organisation_id: int, domain_id: UUID) -> Domain:
    """One of an organisation's. Raises :class:`NotFound`."""
    is_it = (domains.c.organisation_id == organisation_id) & (domains.c.id == domain_id)
    row = (await connection.execute(_DOMAIN.where(is_it))).one_or_none()
    if row is None:
        raise NotFound(f"There is no domain {domain_id}.")
    return Domain(*row)


async def add_domain(
    tx: AsyncConnection, organisation_id: int, domain: str, *, challenge: str, now: datetime
) -> Domain:
    """A domain, not verified yet. Raises :class:`InvalidField` when the organisation has it already."""
    id_ = uuid4()
    try:
        await tx.execute(
            insert(domains).values(
                id=id_,
                organisation_id=organisation_id,
                domain=domain,
                verification_challenge=challenge,
                created_at=now,
            )
        )
    except IntegrityError:
        raise InvalidField("domain", f"there is already a domain {domain}; the list shows it") from None
    return Domain(id_, domain, challenge, None, None)


async def note_look_up(tx: AsyncConnection, domain_id: UUID, *, at: datetime, verified: bool) -> None:
    """When its challenge was looked for; a domain that is verified stays so, since when it first was."""
    found = {"verified_at": at} if verified else {}
    unverified = (domains.c.id == domain_id) & domains.c.verified_at.is_(None)
    await tx.execute(update(domains).where(unverified).values(last_looked_up_at=at, **found))


async def remove_domain(tx: AsyncConnection, organisation_id: int, domain_id: UUID) -> None:
    """Raises :class:`NotFound`."""
    is_it = (domains.c.organisation_id == organisation_id) & (domains.c.id == domain_id)
    if (await tx.execute(delete(domains).where(is_it))).rowcount != 1:
        raise NotFound(f"There is no domain {domain_id}.")


# ── verification tokens ──────────────────────────────────────────────────────────────────────────────────────────────


def _tokens_of(organisation_id: int) -> Select[Any]:
    query = select(
        verification_tokens.c.id,
        verification_tokens.c.label,
        verification_tokens.c.digest,
        verification_tokens.c.mask,
        verification_tokens.c.created_at,
        verification_tokens.c.last_used_at,
        *(column.label(f"user_{column.name}") for column in _USER),
    )
    joined = query.join(users, users.c.id == verification_tokens.c.created_by_id)
    return joined.where(verification_tokens.c.organisation_id == organisation_id)


def _token(row: AnyRow) -> VerificationToken:
    return VerificationToken(
        id=row.id,
        label=row.label,
        digest=row.digest,
        mask=row.mask,
        created_by=User(*row[-len(_USER) :]),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
    )


async def list_tokens(
    connection: AsyncConnection, organisation_id: int, *, limit: int, offset: int
) -> tuple[list[VerificationToken], int]:
    """An organisation's, newest first; and how many there are."""
    newest_first = (verification_tokens.c.created_at.desc(), verification_tokens.c.id)
    query = _tokens_of(organisation_id).order_by(*newest_first)
    rows, count = await _page(connection, query, limit=limit, offset=offset)
    return [_token(row) for row in rows], count


async def find_token(connection: AsyncConnection, organisation_id: int, token_id: UUID) -> VerificationToken:
    """One of an organisation's. Raises :class:`NotFound`."""
    query = _tokens_of(organisation_id).where(verification_tokens.c.id == token_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no verification token {token_id}.")
    return _token(row)


async def add_token(
    tx: AsyncConnection, organisation_id: int, user: User, *, label: str, digest: str, mask: str, now: datetime
) -> VerificationToken:
    """A new one, made by this user."""
    id_ = uuid4()
    await tx.execute(
        insert(verification_tokens).values(
            id=id_,
            organisation_id=organisation_id,
            label=label,
            digest=digest,
            mask=mask,
            created_by_id=user.id,
            created_at=now,
        )
    )
    return await find_token(tx, organisation_id, id_)


async def remove_token(tx: AsyncConnection, organisation_id: int, token_id: UUID) -> None:
    """Raises :class:`NotFound`."""
    is_it = (verification_tokens.c.organisation_id == organisation_id) & (verification_tokens.c.id == token_id)
    if (await tx.execute(delete(verification_tokens).where(is_it))).rowcount != 1:
        raise NotFound(f"There is no verification token {token_id}.")
