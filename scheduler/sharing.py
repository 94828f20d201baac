"""Sharing: whether a subscription's newest delivery, or a certain one, has a public page, and what opens it.

Whoever has a page's address may read it, as long as sharing is enabled; where ``password_required`` is on, a password
has to be known, too. A removed subscription's pages are gone until it is restored. ``scheduler.visits`` is the other
side of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.clock import Clock
from scheduler.db import Database
from scheduler.errors import InvalidField, NotFound
from scheduler.keys import digest_of
from scheduler.passwords import LONGEST, SHORTEST, Passwords, made_up
from scheduler.sealing import Box
from scheduler.store import sharing as rows
from scheduler.store import subscriptions
from scheduler.store.people import User
from scheduler.store.sharing import Shared, SharePassword

TOKEN_BYTES = 24
"""192 random bits, 32 characters."""
GRACE = timedelta(minutes=5)
"""How long a token works after it was replaced: who has just been sent the address can open it still."""
MOST_PASSWORDS = 20
"""Each one makes a wrong password take longer to refuse."""
LONGEST_NOTE = 100
SETTINGS = ("whitelabel", "noHeader", "showInspector", "legend", "detailed", "hideExtraDetails")
"""What is kept of a share's settings, as the reference calls it; the page goes by the first two and the last."""


class Sharing:
    """Every change to what is shared. Whatever is not this project's is :class:`NotFound`."""

    def __init__(self, database: Database, box: Box, clock: Clock, passwords: Passwords) -> None:
        self._database = database
        self._box = box
        self._clock = clock
        self._passwords = passwords

    async def find(self, what: Shared) -> rows.Share | None:
        """How this is shared; None while nobody has said so. Looking makes no page."""
        async with self._database.read() as connection:
            await subscriptions.find(connection, what.project_id, what.subscription_id)
            await rows.check(connection, what)
            return await rows.find(connection, what)

    def token(self, share: rows.Share) -> str:
        """What opens its page, for its owner."""
        return self._box.open(share.token_sealed)

    async def change(self, what: Shared, fields: Mapping[str, Any]) -> rows.Share:
        """``enabled``, ``settings``, ``password_required``; what is not named stays. Raises :class:`InvalidField`."""
        values = _usable(fields)
        async with self._database.write() as tx:
            share = await self._own(tx, what)
            if values:
                await rows.change(tx, share.id, values)
            return await rows.with_id(tx, share.id)

    async def refresh(self, what: Shared) -> rows.Share:
        """A new token; the old one works for :data:`GRACE`, and who was admitted is asked for a password again."""
        async with self._database.write() as tx:
            share = await self._own(tx, what)
            until = self._clock() + GRACE
            await rows.replace_token(tx, share.id, **self._new_token(), earlier_until=until)
            return await rows.with_id(tx, share.id)

    async def add_password(self, what: Shared, user: User, fields: Mapping[str, Any]) -> tuple[SharePassword, str]:
        """A new one and, this once, what it is: ``password``, or one that is made up; ``note`` says what for.

        Raises :class:`InvalidField`, also while ``password_required`` is off.
        """
        password, note = _usable_password(fields), _usable_note(fields.get("note"))
        hashed = await self._passwords.hash_of(password)
        async with self._database.write() as tx:
            share = await self._locked(tx, what)
            if share is None or not share.password_required:
                raise InvalidField("password_required", "is off: turn it on first, then add passwords")
            if len(share.passwords) >= MOST_PASSWORDS:
                raise InvalidField(None, f"there are {MOST_PASSWORDS} passwords, and can be no more; remove one")
            await rows.add_password(tx, share.id, hashed=hashed, note=note, created_by_id=user.id, now=self._clock())
            return (await rows.with_id(tx, share.id)).passwords[0], password

    async def remove_password(self, what: Shared, password_id: int) -> None:
        """It admits nobody any more, those included who came in with it. Raises :class:`NotFound`."""
        async with self._database.write() as tx:
            share = await self._locked(tx, what)
            if share is None or not await rows.remove_password(tx, share.id, password_id):
                raise NotFound(f"there is no password {password_id} here; the list of them has their ids")

    async def _own(self, tx: AsyncConnection, what: Shared) -> rows.Share:
        """The row, made if need be."""
        found = await self._locked(tx, what)
        if found is not None:
            return found
        return await rows.with_id(tx, await rows.add(tx, what, **self._new_token(), now=self._clock()))

    async def _locked(self, tx: AsyncConnection, what: Shared) -> rows.Share | None:
        """Nobody else changes this subscription, or how it is shared, until the transaction ends."""
        await subscriptions.find(tx, what.project_id, what.subscription_id, lock=True)
        await rows.check(tx, what)
        return await rows.find(tx, what)

    def _new_token(self) -> dict[str, str]:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        return {"token_sealed": self._box.seal(token), "token_digest": digest_of(token)}


# ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _usable(fields: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "enabled" in fields:
        values["enabled"] = _flag("enabled", fields["enabled"])
    if "settings" in fields:
        values["settings"] = _settings(fields["settings"])
    if "password_required" in fields:
        values["password_required"] = _flag("password_required", fields["password_required"])
    return values


def _settings(given: object) -> dict[str, bool]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidField("settings", f"must be an object of true and false: {', '.join(SETTINGS)}")
    return {name: _flag(f"settings__{name}", given[name]) for name in SETTINGS if name in given}


def _flag(field: str, given: object) -> bool:
    if given is None:
        raise InvalidField(field, "must be true or false, not null", code="null")
    if not isinstance(given, bool):
        raise InvalidField(field, "must be true or false")
    return given


def _usable_password(fields: Mapping[str, Any]) -> str:
    """The reference calls it ``raw_password``; absent or empty, one is made up."""
    field = "raw_password" if "raw_password" in fields else "password"
    given = fields.get(field)
    if given is None or given == "":
        return made_up()
    if not isinstance(given, str):
        raise InvalidField(field, "must be text")
    if len(given) < SHORTEST:
        raise InvalidField(field, f"must be at least {SHORTEST} characters; leave it out for one that is made up")
    if len(given) > LONGEST:
        raise InvalidField(field, f"must be at most {LONGEST} characters", code="max_length")
    return given


def _usable_note(given: object) -> str:
    if given is None:
        return ""
    if not isinstance(given, str):
        raise InvalidField("note", "must be text")
    note = given.strip()
    if len(note) > LONGEST_NOTE or not note.isprintable():
        code = "max_length" if len(note) > LONGEST_NOTE else "invalid_input"
        raise InvalidField("note", f"must be at most {LONGEST_NOTE} printable characters on one line", code=code)
    return note
