"""Visits to shared pages: which page a token opens, who is admitted to it, and what is there to see.

A right password is remembered by a signed cookie: for a day, for that page, and no longer than the password is there
and the page's token stays the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil

import structlog
from itsdangerous import BadData, URLSafeSerializer

from scheduler.clock import Clock
from scheduler.content import Content, Shown
from scheduler.db import Database
from scheduler.errors import PaperroundError
from scheduler.keys import digest_of
from scheduler.passwords import Passwords
from scheduler.store import sharing as rows
from scheduler.store.sharing import Page

log = structlog.get_logger()

ADMITTED_FOR = timedelta(hours=24)
TRIES, TRIES_WITHIN = 5, timedelta(minutes=15)
TRIES_KEPT = 10_000
"""Addresses remembered at once; the one that has been quiet longest is forgotten first."""


class TooManyTries(PaperroundError):
    """Too many wrong passwords; the right one is not looked at either for so many seconds."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many wrong passwords; try again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Seen:
    """What a page shows: when it was due, or else begun, and each insight as it was then."""

    at: datetime
    shown: Sequence[Shown]


class Visits:
    """Opens shared pages to those who may see them."""

    def __init__(self, database: Database, clock: Clock, content: Content, passwords: Passwords, *, key: bytes) -> None:
        """``key`` signs the cookies."""
        self._database = database
        self._clock = clock
        self._content = content
        self._passwords = passwords
        self._key = key
        self._tries = _Tries(clock)

    async def find(self, token: str) -> Page | None:
        """The page of this token; None when it is unknown, disabled, expired or removed: nobody learns which."""
        digest = digest_of(token)
        async with self._database.read() as connection:
            return await rows.page_of(connection, digest, now=self._clock())

    def is_admitted(self, page: Page, cookie: str | None) -> bool:
        """Whether the page may be shown to who presents this cookie, or none."""
        if page.hashes is None:
            return True
        try:
            password_id, until = self._cookies(page).loads(cookie or "")
        except (BadData, ValueError, TypeError):
            return False
        return password_id in page.hashes and self._clock().timestamp() < until

    async def admit(self, page: Page, password: str, address: str) -> str | None:
        """A cookie for who knows a password; None for a wrong one. Raises :class:`TooManyTries`.

        Wrong ones are counted for each page and address, in this process: one process serves the pages.
        """
        self._tries.note(page.share_id, address)  # before it is looked at: many at once are many
        password_id = await self._passwords.fitting(password, page.hashes or {})
        if password_id is None:
            log.info("share.password_refused", share_id=page.share_id)
            return None
        self._tries.forget(page.share_id, address)
        return self._cookies(page).dumps([password_id, int((self._clock() + ADMITTED_FOR).timestamp())])

    async def seen(self, page: Page) -> Seen | None:
        """What is there to see; None while there is nothing. Who may see it is asked before."""
        async with self._database.read() as connection:
            sending = await rows.sending_of(connection, page)
        if sending is None or not sending.export_ids:
            return None
        return Seen(sending.at, await self._content.show_again(sending.export_ids, drawn=True))

    def _cookies(self, page: Page) -> URLSafeSerializer:
        return URLSafeSerializer(self._key, salt=f"shared page {page.token_digest}")


class _Tries:
    """How often an address has tried a page's passwords lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[int, str], tuple[datetime, int]] = OrderedDict()

    def note(self, share_id: int, address: str) -> None:
        """One more try. Raises :class:`TooManyTries` instead when there were enough."""
        key, now = (share_id, _neighbourhood(address)), self._clock()
        since, tries = self._kept.get(key, (now, 0))
        if not timedelta(0) <= now - since < TRIES_WITHIN:  # long ago, or the clock was set back
            since, tries = now, 0
        if tries == TRIES:
            raise TooManyTries(ceil((since + TRIES_WITHIN - now).total_seconds()))
        self._kept[key] = since, tries + 1
        self._kept.move_to_end(key)
        while len(self._kept) > TRIES_KEPT:
            self._kept.popitem(last=False)

    def forget(self, share_id: int, address: str) -> None:
        """The right password makes up for the wrong ones."""
        self._kept.pop((share_id, _neighbourhood(address)), None)


def _neighbourhood(address: str) -> str:
    """Whose address it is: of IPv6 the /64, in which one machine has all the addresses it likes (RFC 4291, 2.5.1)."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
    return str(found)
