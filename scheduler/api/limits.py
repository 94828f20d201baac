"""How many requests a key may make: a bucket of tokens for each, in the memory of this process.

A key that was idle for a minute may use its whole minute's at once; after that they come back one by one, evenly.
What is kept of a bucket is one instant, when it is full again (the generic cell rate algorithm, ITU-T I.371).

Who presents no good key is not counted: nobody guesses 256 random bits, a malformed key costs no question to the
database, and behind a reverse proxy everybody has the same address.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from scheduler.api.errors import throttled
from scheduler.clock import Clock

WINDOW = timedelta(minutes=1)
NO_TIME = timedelta(0)
REMEMBERED = 1000
"""Buckets, before full ones are forgotten: a full one is as good as none."""


class Rate:
    """So many requests a minute for each key; 0: as many as it likes."""

    def __init__(self, a_minute: int, clock: Clock) -> None:
        self._a_minute = a_minute
        self._clock = clock
        self._full_at: dict[int, datetime] = {}
        self._forget_at = REMEMBERED

    def take(self, key_id: int) -> None:
        """One request. Raises :class:`Refused` (429) when the bucket is empty, which says when it is not."""
        if self._a_minute == 0:
            return
        now = self._clock()
        before = min(max(self._full_at.get(key_id, now), now), now + WINDOW)  # the clock may have been set back
        after = before + WINDOW // self._a_minute
        wait = after - WINDOW - now
        self._keep(key_id, before if wait > NO_TIME else after, now)
        if wait > NO_TIME:
            detail = f"At most {self._a_minute} requests a minute with one key; come back a little later."
            raise throttled(math.ceil(wait.total_seconds()), detail)

    def _keep(self, key_id: int, full_at: datetime, now: datetime) -> None:
        """Full ones are forgotten when there are twice as many as stayed the last time: a request hardly notices."""
        self._full_at[key_id] = full_at
        if len(self._full_at) >= self._forget_at:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
            self._forget_at = max(REMEMBERED, 2 * len(self._full_at))
