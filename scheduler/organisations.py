"""What an organisation decides and has of its own: its name, its domains, its verification tokens."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from scheduler.clock import Clock
from scheduler.db import Database
from scheduler.domains import is_published, parse_domain
from scheduler.errors import InvalidField
from scheduler.keys import digest_of, mask_of
from scheduler.store import organisations as rows
from scheduler.store.organisations import Domain, VerificationToken
from scheduler.store.people import User

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

LONGEST_NAME = 64
LONGEST_LABEL = 40
TOKEN_PREFIX = "prv_"  # noqa: S105 - every token begins so
SECRET_BYTES = 32


class Organisations:
    """Every change to an organisation."""

    def __init__(self, database: Database, clock: Clock, *, resolver: Resolver | None = None) -> None:
        """``resolver`` is asked for challenges instead of this machine's name servers."""
        self._database = database
        self._clock = clock
        self._resolver = resolver

    async def change(self, organisation_id: int, fields: Mapping[str, Any]) -> None:
        """``name`` and ``is_ai_data_processing_approved``; what is not named stays. Raises :class:`InvalidField`."""
        values: dict[str, Any] = {}
        if "name" in fields:
            values["name"] = _line("name", fields["name"], longest=LONGEST_NAME)
        if "is_ai_data_processing_approved" in fields:
            values["summaries_allowed"] = _flag(
                "is_ai_data_processing_approved", fields["is_ai_data_processing_approved"]
            )
        if values:
            async with self._database.write() as tx:
                await rows.change(tx, organisation_id, **values)

    # ── domains ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def add_domain(self, organisation_id: int, domain: object) -> Domain:
        """One more domain, with a challenge to publish. Raises :class:`InvalidField`."""
        name = parse_domain(_text("domain", domain))
        challenge = secrets.token_urlsafe(SECRET_BYTES)
        async with self._database.write() as tx:
            return await rows.add_domain(tx, organisation_id, name, challenge=challenge, now=self._clock())

    async def keep_domain(self, organisation_id: int, domain_id: UUID, domain: object) -> Domain:
        """The domain as it is. Raises :class:`InvalidField` for another name: what was verified is this one."""
        name = parse_domain(_text("domain", domain))
        async with self._database.read() as connection:
            found = await rows.find_domain(connection, organisation_id, domain_id)
        if name != found.domain:
            raise InvalidField("domain", f"stays {found.domain}; remove it, and add the other one")
        return found

    async def verify_domain(self, organisation_id: int, domain_id: UUID) -> Domain:
        """Look for its challenge once, and remember the answer. Raises :class:`InvalidField` once it is verified."""
        async with self._database.read() as connection:
            domain = await rows.find_domain(connection, organisation_id, domain_id)
        if domain.verified_at is not None:
            raise InvalidField(None, "This domain is verified already; there is nothing to do.")
        verified = await is_published(domain.domain, domain.challenge, resolver=self._resolver)
        async with self._database.write() as tx:
            await rows.note_look_up(tx, domain_id, at=self._clock(), verified=verified)
            return await rows.find_domain(tx, organisation_id, domain_id)

    async def remove_domain(self, organisation_id: int, domain_id: UUID) -> None:
        """Raises :class:`NotFound`."""
        async with self._database.write() as tx:
            await rows.remove_domain(tx, organisation_id, domain_id)

    # ── verification tokens ──────────────────────────────────────────────────────────────────────────────────────────

    async def add_token(self, organisation_id: int, user: User, label: object) -> tuple[VerificationToken, str]:
        """A new token and, this once, its value. Raises :class:`InvalidField`."""
        label = _line("label", label, longest=LONGEST_LABEL)
        value = TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        async with self._database.write() as tx:
            token = await rows.add_token(
                tx,
                organisation_id,
                user,
                label=label,
                digest=digest_of(value),
                mask=mask_of(value),
                now=self._clock(),
            )
        return token, value

    async def remove_token(self, organisation_id: int, token_id: UUID) -> None:
        """Raises :class:`NotFound`."""
        async with self._database.write() as tx:
            await rows.remove_token(tx, organisation_id, token_id)


def _line(field: str, given: object, *, longest: int) -> str:
    text = _text(field, given).strip()
    if not text:
        raise InvalidField(field, "may not be empty", code="blank")
    if len(text) > longest:
        raise InvalidField(field, f"must be at most {longest} characters", code="max_length")
    if not text.isprintable():
        raise InvalidField(field, "must be printable characters on one line")
    return text


def _text(field: str, given: object) -> str:
    if given is None:
        raise InvalidField(field, "must be text, not null", code="null")
    if not isinstance(given, str):
        raise InvalidField(field, "must be text")
    return given


def _flag(field: str, given: object) -> bool:
    if given is None:
        raise InvalidField(field, "must be true or false, not null", code="null")
    if not isinstance(given, bool):
        raise InvalidField(field, "must be true or false")
    return given
