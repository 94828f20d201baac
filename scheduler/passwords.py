"""Passwords of shared pages: kept as Argon2id hashes (RFC 9106), each with a salt of its own.

Hashing is slow on purpose (19 MiB and 0.04 s, OWASP's least for Argon2id): it runs in a thread, two at a time.
"""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Mapping

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

SHORTEST, LONGEST = 8, 200
"""Characters."""
AT_ONCE = 2
RANDOM_BYTES = 12

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def made_up() -> str:
    """A password that nobody guesses: 96 random bits."""
    return secrets.token_urlsafe(RANDOM_BYTES)


class Passwords:
    """Hashes passwords and tries them."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def hash_of(self, password: str) -> str:
        """What is kept of a password."""
        async with self._turn:
            return await asyncio.to_thread(_hasher.hash, _as_typed(password))

    async def fitting(self, password: str, hashes: Mapping[int, str]) -> int | None:
        """Under which id the hash of this password is; None when there is none."""
        async with self._turn:
            return await asyncio.to_thread(_fitting, _as_typed(password), hashes)


def _fitting(password: str, hashes: Mapping[int, str]) -> int | None:
    return next((id_ for id_, kept in hashes.items() if _is_of(password, kept)), None)


def _is_of(password: str, kept: str) -> bool:
    try:
        return _hasher.verify(kept, password)
    except (Argon2Error, InvalidHashError):
        return False


def _as_typed(password: str) -> str:
    """The same on every keyboard: ``é`` may be one character or two (NFKC, as NIST SP 800-63B asks)."""
    return unicodedata.normalize("NFKC", password)
