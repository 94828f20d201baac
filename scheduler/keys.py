"""Personal API keys: what one looks like, what it lets its holder do, and whether one that is presented is good.

A key acts for its user. It may do what its scopes name *and* its user's role allows at that moment, whichever is less:

========  ========================  ===========================================================
role      may read                  may write
========  ========================  ===========================================================
admin     everything                everything
member    everything                subscriptions, sharing, insights and dashboards
viewer    everything                nothing
========  ========================  ===========================================================

So what reaches further than a project's own content stays with admins: who belongs to the organisation, its projects,
the databases that the service connects to (sources), and the credentials it acts with (integrations). A key that is
limited to projects never writes the organisation, which would lead beyond them.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.clock import Clock
from scheduler.db import Database, first_line
from scheduler.errors import DatabaseUnavailable, InvalidField
from scheduler.store import keys as rows
from scheduler.store.keys import ApiKey
from scheduler.store.people import Role, User

log = structlog.get_logger()

NOTED_EVERY = timedelta(minutes=1)
"""How precisely a key's last use is known: a write for every request would cost more than the request."""
LONGEST_NAME = 40

# ── scopes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

OBJECTS = (
    "subscription",
    "sharing_configuration",
    "organization",
    "insight",
    "dashboard",
    "integration",
    "source",
    "project",
)
EVERYTHING = "*"
SCOPES = (*(f"{each}:{action}" for each in OBJECTS for action in ("read", "write")), EVERYTHING)
"""What a key may be given; ``:write`` includes ``:read``, and ``*`` is whatever its user's role allows."""

_WRITTEN_BY: Mapping[str, Sequence[str]] = {
    Role.ADMIN: OBJECTS,
    Role.MEMBER: ("subscription", "sharing_configuration", "insight", "dashboard"),
    Role.VIEWER: (),
}


def allowed(role: str, *, in_some_projects: bool = False) -> frozenset[str]:
    """The scopes that a user of this role may use, all in all, or with a key that is limited to projects."""
    if role not in _WRITTEN_BY:
        return frozenset()
    beyond = {"organization:write"} if in_some_projects else set()
    written = {f"{each}:write" for each in _WRITTEN_BY[role]} - beyond
    return frozenset({f"{each}:read" for each in OBJECTS} | written)


def granted(scopes: Sequence[str]) -> frozenset[str]:
    """Everything that these scopes include."""
    if EVERYTHING in scopes:
        return frozenset(SCOPES) - {EVERYTHING}
    return frozenset(scopes) | {each.replace(":write", ":read") for each in scopes}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, by a key that was just checked: what is true of it is true of this request alone."""

    key_id: int
    user: User
    organisation_id: int
    scopes: tuple[str, ...]
    """As they were given; :meth:`may` knows what they come to."""
    project_ids: tuple[int, ...] | None
    """The projects the key is limited to, None when it is not; :meth:`sees` knows what that comes to."""
    can: frozenset[str] = field(repr=False)
    reach: frozenset[int] = field(repr=False)

    def may(self, scope: str) -> bool:
        """Whether both the key and its user's role allow this, such as ``subscription:write``."""
        return scope in self.can

    def sees(self, project_id: int) -> bool:
        """Whether the project is its organisation's, and not outside what the key is limited to."""
        return project_id in self.reach


# ── what a key looks like ────────────────────────────────────────────────────────────────────────────────────────────

PREFIX = "pr_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_BITS = 256
RANDOM_LENGTH = 43  # 62 ** 43 is the first power above 2 ** 256
CHECKSUM_LENGTH = 6  # … and 62 ** 6 above 2 ** 32
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}")


def new_key() -> str:
    """``pr_``, 256 random bits, and a checksum that tells a mistyped or cut key, and a scanner a real one."""
    body = PREFIX + _base62(secrets.randbits(RANDOM_BITS), length=RANDOM_LENGTH)
    return body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """Whether it can be a key at all: what cannot is not worth a question to the database."""
    return _FORM.fullmatch(text) is not None and _checksum(text[:-CHECKSUM_LENGTH]) == text[-CHECKSUM_LENGTH:]


def digest_of(key: str) -> str:
    """What is kept of a key. Nobody guesses 256 random bits however fast they try, so a slow hash would buy nothing."""
    return sha256(key.encode()).hexdigest()


def mask_of(key: str) -> str:
    """Enough to know it by, among one's own."""
    return f"{key[:6]}…{key[-4:]}"


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), length=CHECKSUM_LENGTH)


def _base62(number: int, *, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


# ── keys of an installation ──────────────────────────────────────────────────────────────────────────────────────────


class Keys:
    """Makes, checks and revokes keys. Whoever makes one of these closes it: a use may still be about to be noted."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._uses: dict[int, datetime] = {}
        self._noting: asyncio.Task[None] | None = None

    async def create(
        self,
        user: User,
        *,
        name: str,
        scopes: Sequence[str],
        project_ids: Sequence[int] | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and, this once, its value. Raises :class:`InvalidField` for the first value that cannot be."""
        now = self._clock()
        name = _usable_name(name)
        scopes = _usable_scopes(scopes, user.role, in_some_projects=project_ids is not None)
        if expires_at is not None and expires_at <= now:
            raise InvalidField("expires_at", "lies in the past; name a later instant, or none for a key that stays")
        value = new_key()
        async with self._database.write() as tx:
            if project_ids is not None:
                project_ids = _usable_projects(project_ids, await rows.projects_of(tx, user))
            key = await rows.add(
                tx,
                user,
                name=name,
                digest=digest_of(value),
                mask=mask_of(value),
                scopes=scopes,
                project_ids=project_ids,
                expires_at=expires_at,
                now=now,
            )
        return key, value

    async def check(self, presented: str | None) -> Principal | None:
        """Who presents this key; None for one that is missing, malformed, unknown, revoked or expired alike."""
        if presented is None or not is_well_formed(presented):
            return None
        now, digest = self._clock(), digest_of(presented)
        async with self._database.read() as connection:
            key = await rows.with_digest(connection, digest)
            if key is None or not hmac.compare_digest(key.digest, digest) or not key.is_valid(now=now):
                return None
            principal = await _principal(connection, key)
        self._note_use(key, now)
        return principal

    async def revoke(self, organisation_id: int, key_id: int) -> ApiKey:
        """From now on it opens nothing. Raises :class:`NotFound` when the organisation has no such key."""
        async with self._database.write() as tx:
            await rows.revoke(tx, await rows.find(tx, organisation_id, key_id), now=self._clock())
            return await rows.find(tx, organisation_id, key_id)

    async def listed(self, organisation_id: int) -> list[ApiKey]:
        """Every key of an organisation, revoked and expired ones included, newest first."""
        async with self._database.read() as connection:
            return await rows.listed(connection, organisation_id)

    async def aclose(self) -> None:
        """Wait for what is still being noted."""
        if self._noting is not None:
            await self._noting

    def _note_use(self, key: ApiKey, now: datetime) -> None:
        """Beside the answer, which does not wait for it; one write at a time, so that uses take one connection."""
        if key.last_used_at is not None and now - key.last_used_at < NOTED_EVERY:
            return
        self._uses[key.id] = now
        if self._noting is None or self._noting.done():
            self._noting = asyncio.create_task(self._note_uses())

    async def _note_uses(self) -> None:
        while self._uses:
            uses, self._uses = self._uses, {}
            try:
                async with self._database.write() as tx:
                    for key_id, at in sorted(uses.items()):  # in one order, lest two processes wait for each other
                        await rows.note_use(tx, key_id, at=at, at_most_every=NOTED_EVERY)
            except (DatabaseUnavailable, SQLAlchemyError) as problem:
                log.warning("key.use_not_noted", key_ids=sorted(uses), reason=first_line(problem))


def _usable_name(name: str) -> str:
    name = name.strip()
    if not name:
        raise InvalidField("name", "may not be empty; say what the key is for", code="blank")
    if len(name) > LONGEST_NAME or not name.isprintable():
        code = "max_length" if len(name) > LONGEST_NAME else "invalid_input"
        raise InvalidField("name", f"must be at most {LONGEST_NAME} printable characters on one line", code=code)
    return name


def _usable_scopes(scopes: Sequence[str], role: str, *, in_some_projects: bool) -> tuple[str, ...]:
    if not scopes:
        raise InvalidField("scopes", f"name at least one of {', '.join(SCOPES)}", code="required")
    if unknown := [each for each in scopes if each not in SCOPES]:
        choices = ", ".join(SCOPES)
        raise InvalidField("scopes", f"{str(unknown[0])[:80]!r} is not one of {choices}", code="invalid_choice")
    named = [each for each in dict.fromkeys(scopes) if each != EVERYTHING]
    if denied := [each for each in named if each not in allowed(role)]:
        raise InvalidField("scopes", f"{denied[0]} is not for the role {role}; leave it out, or make it an admin's key")
    if beyond := [each for each in named if each not in allowed(role, in_some_projects=in_some_projects)]:
        raise InvalidField("scopes", f"{beyond[0]} leads beyond single projects; leave it out, or name no project")
    return tuple(dict.fromkeys(scopes))


def _usable_projects(project_ids: Sequence[int], there_are: Mapping[int, str]) -> tuple[int, ...]:
    if not project_ids:
        raise InvalidField("project_ids", "name at least one, or leave it out for all of them", code="required")
    if unknown := [each for each in project_ids if each not in there_are]:
        known = ", ".join(f"{id_} {name}" for id_, name in list(there_are.items())[:5])
        raise InvalidField("project_ids", f"no project {unknown[0]} (there is: {known})", code="does_not_exist")
    return tuple(dict.fromkeys(project_ids))


async def _principal(connection: AsyncConnection, key: ApiKey) -> Principal:
    """As the role is now: whoever may do less since the key was made does less with it."""
    reach = frozenset(await rows.projects_of(connection, key.user))
    return Principal(
        key_id=key.id,
        user=key.user,
        organisation_id=key.organisation_id,
        scopes=key.scopes,
        project_ids=key.project_ids,
        can=granted(key.scopes) & allowed(key.user.role, in_some_projects=key.project_ids is not None),
        reach=reach if key.project_ids is None else reach & frozenset(key.project_ids),
    )
