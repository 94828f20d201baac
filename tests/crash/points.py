"""Where a process dies: named places in the product, wrapped from outside before the real command starts.

The product has no fail points of its own. A place that is renamed breaks the harness at once, never silently.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from sqlalchemy import Engine, event

from channels import webhook
from channels.webhook import WebhookChannel
from scheduler import db
from scheduler.delivery import Runner
from scheduler.store import claiming, opening, recording
from tests.crash.sink import KILL, PID

CHECKPOINT = "wal checkpoint"
MIGRATION = "migration"
PAGES = 8
"""A checkpoint after so few pages happens several times within the second that a process lives here."""


def die() -> None:
    """As the kernel's out-of-memory killer does it: no handler, no clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_the(nth: int, strike: Callable[[], None] = die) -> Callable[[], None]:
    """Strikes when it is called for the nth time."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            strike()

    return count


def _before(owner: Any, name: str, strike: Callable[[], None]) -> None:
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @wraps(original)
    async def wrapped(*given: Any, **named: Any) -> Any:
        strike()
        return await original(*given, **named)

    setattr(owner, name, wrapped)


def _after(owner: Any, name: str, strike: Callable[[], None]) -> None:
    """Only when there was something to do: a batch that came back, or one that was handed in."""
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @wraps(original)
    async def wrapped(*given: Any, **named: Any) -> Any:
        answer = await original(*given, **named)
        if answer or (answer is None and given[1]):
            strike()
        return answer

    setattr(owner, name, wrapped)


def _mark_requests(strike_at: int | None) -> None:
    """Every request says who sends it; one of them asks the receiver to kill its sender."""
    original = WebhookChannel._headers
    sent = 0

    @wraps(original)
    def headers(*given: Any) -> dict[str, str]:
        nonlocal sent
        sent += 1
        pid = str(os.getpid())
        return original(*given) | {PID: pid} | ({KILL: pid} if sent == strike_at else {})

    WebhookChannel._headers = headers  # type: ignore[method-assign]


def _checkpoint_often() -> None:
    prepare = db._prepare_sqlite

    def prepared(connection: Any, record: object) -> None:
        prepare(connection, record)
        connection.execute(f"PRAGMA wal_autocheckpoint={PAGES}")

    db._prepare_sqlite = prepared


def _die_after_statements(strike: Callable[[], None]) -> None:
    event.listen(Engine, "after_cursor_execute", lambda *_: strike())


INSTALL: dict[str, Callable[[Callable[[], None]], None]] = {
    "inside open": lambda strike: _after(opening, "insert_deliveries", strike),
    "inside claim": lambda strike: _after(claiming, "claim", strike),
    "after claim": lambda strike: _after(Runner, "claim", strike),
    "before send": lambda strike: _before(WebhookChannel, "send", strike),
    "after answer": lambda strike: _after(webhook, "hand_over", strike),
    "inside record": lambda strike: _after(recording, "record", strike),
    "after record": lambda strike: _after(Runner, "record", strike),
    MIGRATION: _die_after_statements,
}
MID_REQUEST = "mid request"
POINTS = ("inside open", "inside claim", "after claim", "before send", MID_REQUEST, "after answer")
POINTS += ("inside record", "after record")
"""Named points of a serving process on any database; SQLite has :data:`CHECKPOINT`, ``init`` :data:`MIGRATION`."""


def install(point: str | None, nth: int) -> None:
    """Arrange for this process to die there, the nth time it comes by."""
    _mark_requests(nth if point == MID_REQUEST else None)
    if point == CHECKPOINT:
        _checkpoint_often()
    elif point is not None and point != MID_REQUEST:
        INSTALL[point](at_the(nth))
