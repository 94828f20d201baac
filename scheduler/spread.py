"""Where in its window a subscription starts, when its owner does not mind: nine o'clock is everybody's."""

from __future__ import annotations

from datetime import timedelta
from hashlib import blake2b
from uuid import UUID


def offset(installation: UUID, subscription_id: int, window: timedelta) -> timedelta:
    """How long after each occurrence its delivery starts: from nothing up to, not including, the window.

    The same every day and on every machine, and even over many subscriptions.
    """
    digest = blake2b(f"{installation}/{subscription_id}".encode(), digest_size=8).digest()
    return window * (int.from_bytes(digest, "big") / 2**64)
