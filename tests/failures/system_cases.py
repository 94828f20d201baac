"""What may happen on this side (database, disk, content, renderer, clock), and the row it ends in."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from aiohttp import web
from structlog.testing import capture_logs
from structlog.typing import EventDict

from channels.receivers import WebhookReceiver
from scheduler import content
from scheduler.daemon import Daemon
from scheduler.delivery import Runner
from scheduler.drawing import PNG
from scheduler.sources import ROW_LIMIT, TIMEOUT
from scheduler.status import DeliveryStatus, RecipientStatus
from tests.channels.conftest import served
from tests.failures.case import Arrangement, Bench, Case
from tests.scheduler.conftest import LEASE, settle
from tests.scheduler.test_drawing import drawers, draws, killing, until

SENT, RETRYING = RecipientStatus.SENT, RecipientStatus.RETRYING
FIRST_PAUSE = timedelta(seconds=5)
PATIENCE = 60
"""Seconds after which a test gives up; none waits for them when all is well."""
SHORT = timedelta(seconds=0.5)
"""What a query gets here, where the product gives it half a minute."""
FELT = {"tick.failed", "outcomes.not_recorded"}
"""The product says so when the database does not do what it is asked."""

Happens = Callable[[], Awaitable[None]]


# ── what befalls the database ────────────────────────────────────────────────────────────────────────────────────────


class Trouble(Protocol):
    """Something that begins, is felt by the product, and ends."""

    def begin(self) -> None: ...
    async def felt(self) -> None: ...
    def end(self) -> None: ...


@dataclass
class OnSqlite:
    """What the product runs into is in its log, as soon as it gave up waiting."""

    file: Path
    events: list[EventDict]

    async def felt(self) -> None:
        await until(lambda: FELT & {each["event"] for each in self.events})


class Locked(OnSqlite):
    """Another program has the file and does not let go."""

    def begin(self) -> None:
        self._holder = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False, timeout=PATIENCE)
        self._holder.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        self._holder.close()


class Full(OnSqlite):
    """Another program has written the disk full, to the last byte."""

    def begin(self) -> None:
        with self._filler.open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def end(self) -> None:
        self._filler.unlink()

    @property
    def _filler(self) -> Path:
        return self.file.with_name("filler")


class MayNotGrow(OnSqlite):
    """The kernel refuses to let a file of this process grow: a limit, or a quota."""

    def begin(self) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = self.file.with_name(f"{self.file.name}-wal").stat().st_size  # where the next row would be written
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, self._limits[1]))

    def end(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)


@dataclass
class RowsLocked:
    """Another session of PostgreSQL has these rows and does not end its transaction."""

    url: str
    table: str
    _holder: psycopg.Connection[Any] | None = field(default=None)

    def begin(self) -> None:
        self._holder = psycopg.connect(self.url)
        self._holder.execute(f"SELECT id FROM {self.table} FOR UPDATE")

    async def felt(self) -> None:
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' LIMIT 1"
        )
        with psycopg.connect(self.url, autocommit=True) as connection:
            await until(lambda: connection.execute(waiting).fetchone())

    def end(self) -> None:
        if self._holder is not None:
            self._holder.close()


def on_sqlite(kind: type[OnSqlite]) -> Callable[[Bench], Trouble]:
    def make(bench: Bench) -> Trouble:
        events = bench.stack.enter_context(capture_logs())
        trouble: Trouble = kind(Path(bench.world.app.database.url.database or ""), events)  # type: ignore[assignment]
        return trouble

    return make


def rows_of(table: str) -> Callable[[Bench], Trouble]:
    return lambda bench: RowsLocked(
        bench.world.app.database.url.set(drivername="postgresql").render_as_string(hide_password=False), table
    )


async def strike(bench: Bench, trouble: Trouble) -> None:
    """Now; until the product has felt it."""
    await asyncio.to_thread(trouble.begin)

    async def end() -> None:
        try:
            await trouble.felt()
        finally:
            trouble.end()

    bench.kept["trouble"] = asyncio.create_task(end())
    bench.stack.push_async_callback(_over, bench.kept["trouble"])


async def _over(trouble: asyncio.Task[None]) -> None:
    """It has come and gone; otherwise the case would show nothing."""
    async with asyncio.timeout(PATIENCE):
        await trouble


# ── when it strikes ──────────────────────────────────────────────────────────────────────────────────────────────────


class Eventful(WebhookReceiver):
    """Something happens after a request has come, before it is answered; the first time only."""

    def __init__(self, happens: Happens) -> None:
        super().__init__()
        self._happens = happens

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        if not self.requests:
            await self._happens()
        return await super()._receive(request)


Moment = Callable[[Bench, Trouble], Awaitable[None]]


async def is_opened(bench: Bench, trouble: Trouble) -> None:
    async def work(runner: Runner) -> None:
        await strike(bench, trouble)
        await under_a_daemon(bench, runner)

    bench.settle = work


async def is_claimed(bench: Bench, trouble: Trouble) -> None:
    async def work(runner: Runner) -> None:
        await runner.open_due()
        await strike(bench, trouble)
        await under_a_daemon(bench, runner)

    bench.settle = work


async def is_opened_later(bench: Bench, trouble: Trouble) -> None:
    """On PostgreSQL nobody waits for a row: others are taken, and this one later."""

    async def work(runner: Runner) -> None:
        await asyncio.to_thread(trouble.begin)
        await settle(runner)
        assert await bench.world.statuses() == []
        trouble.end()
        await settle(runner)

    bench.settle = work


async def is_claimed_later(bench: Bench, trouble: Trouble) -> None:
    async def work(runner: Runner) -> None:
        await runner.open_due()
        await asyncio.to_thread(trouble.begin)
        await settle(runner)
        assert bench.webhook.requests == []
        trouble.end()
        await settle(runner)

    bench.settle = work


async def content_is_kept(bench: Bench, trouble: Trouble) -> None:
    """The rows have come from the source and are to be written beside the delivery."""
    ask, struck = content.run_query, asyncio.Event()

    async def asked(*given: Any, **named: Any) -> Any:
        answer = await ask(*given, **named)
        if not struck.is_set():
            struck.set()
            await strike(bench, trouble)
        return answer

    patched(bench, run_query=asked)


async def outcome_is_recorded(bench: Bench, trouble: Trouble) -> None:
    bench.webhook = await bench.open(Eventful(lambda: strike(bench, trouble)))
    bench.targets["webhook"] = {"target_value": bench.webhook.url}


def patched(bench: Bench, **names: Any) -> None:
    """The content's module with something else under these names, until the bench is closed."""
    patch = bench.stack.enter_context(pytest.MonkeyPatch.context())
    for name, value in names.items():
        patch.setattr(content, name, value)


async def under_a_daemon(bench: Bench, runner: Runner) -> None:
    """Until the newest occurrence has its outcome."""
    daemon = Daemon(runner, database=bench.world.app.database, clock=bench.world.clock)
    running = asyncio.create_task(daemon.run())
    async with asyncio.timeout(PATIENCE):
        while await bench.world.statuses() in ([], [DeliveryStatus.STARTING]):
            await asyncio.sleep(0.02)
        daemon.stop()
        await running


async def arrived_once(bench: Bench) -> None:
    """Nobody sends it again, even when its lease would have run out."""
    bench.world.clock.now += 2 * LEASE
    await settle(bench.world.runner())

    assert len(bench.webhook.requests) == 1


async def nothing_arrived(bench: Bench) -> None:
    assert bench.webhook.requests == []


KEPT = "the outcome is kept, and recorded when that is over; nothing is sent twice"
LATER = "the service tries again every second until that is over"
MEANWHILE = "others are sent meanwhile, this one afterwards"


def befalls(what: str, trouble: Callable[[Bench], Trouble], *, problem: str) -> list[Case]:
    """At each moment at which something is written."""

    def at(moment: Moment) -> Arrangement:
        return lambda bench: moment(bench, trouble(bench))

    reason = f"Paperround's database: {problem}"
    return [
        Case(f"{what} when a delivery is opened", at(is_opened), SENT, note=LATER, also=arrived_once),
        Case(f"{what} when it is claimed", at(is_claimed), SENT, note=LATER, also=arrived_once),
        Case(
            f"{what} when its content is kept", at(content_is_kept), RETRYING, reason, FIRST_PAUSE, also=nothing_arrived
        ),
        Case(f"{what} when its outcome is recorded", at(outcome_is_recorded), SENT, note=KEPT, also=arrived_once),
    ]


def locks_rows(table: str, moment: Moment, *, note: str, when: str) -> Case:
    async def arrange(bench: Bench) -> None:
        await moment(bench, rows_of(table)(bench))

    return Case(f"PostgreSQL: rows locked when {when}", arrange, SENT, note=note, also=arrived_once)


LOCKED = befalls("SQLite: locked for longer than 15 s", on_sqlite(Locked), problem="database is locked")
FULL = befalls("SQLite: the disk is full", on_sqlite(Full), problem="database or disk is full")
LIMITED = befalls("SQLite: the file may not grow", on_sqlite(MayNotGrow), problem="disk I/O error")
ROWS_LOCKED = [
    locks_rows("subscriptions", is_opened_later, note=MEANWHILE, when="a delivery is opened"),
    locks_rows("deliveries", is_claimed_later, note=MEANWHILE, when="it is claimed"),
    locks_rows("deliveries", outcome_is_recorded, note=KEPT, when="its outcome is recorded"),
]


# ── content ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
A_MILLION = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000) SELECT i FROM n"


async def use_insight(bench: Bench, sql: str, *, url: str | None = None, **fields: Any) -> None:
    """Subscribe to this one instead."""
    world = bench.world
    source = await world.app.catalog.add_source(
        world.project, "Another", url or f"sqlite:///{world.source_path}", check=False
    )
    fields = {"source": source.id, "sql": sql, "display": "table", "check": False} | fields
    made = await world.app.catalog.add_insight(world.project, "Another", **fields)
    for target in bench.targets.values():
        target["insight"] = made.id


def hangs(bench: Bench) -> Awaitable[None]:
    patched(bench, run_query=partial(content.run_query, timeout=SHORT))
    return use_insight(bench, ENDLESS)


async def says_nothing(bench: Bench) -> None:
    async def silent(*_: object) -> None:
        await asyncio.Event().wait()

    patched(bench, run_query=partial(content.run_query, timeout=SHORT))
    port = await bench.open(served(silent))
    await use_insight(bench, "SELECT 1", url=f"postgresql://ann:s3cret@127.0.0.1:{port}/shop")


async def loses_its_table(bench: Bench) -> None:
    with closing(sqlite3.connect(bench.world.source_path)) as source:
        source.execute("DROP TABLE t")


async def loses_its_file(bench: Bench) -> None:
    bench.world.source_path.unlink()


def shows(problem: str | None, message: str = "") -> Arrangement:
    """What stands in place of the rows."""

    def look(bench: Bench) -> None:
        [request] = bench.webhook.requests
        [insight] = request.data["insights"]
        assert insight["query_results"] is None
        assert insight["query_error"]["type"] == problem
        assert message in insight["query_error"]["message"]
        assert "s3cret" not in str(request.data)

    return look


async def shows_the_first_rows(bench: Bench) -> None:
    [kept] = await bench.world.sql("SELECT snapshot FROM exports")
    [request] = bench.webhook.requests
    [insight] = request.data["insights"]

    assert len(json.loads(kept.snapshot)["query_results"]["result"]) == ROW_LIMIT
    assert insight["query_results"]["has_more"]
    assert insight["query_results"]["result"][:3] == [[1], [2], [3]]


IN_ITS_PLACE = "the message says so in place of the insight"
TOO_LONG = f"The query took longer than {SHORT.total_seconds():g} s and was stopped."
SECONDS = f"{TIMEOUT.total_seconds():g} s"
SOURCES = [
    Case(
        f"a query that takes longer than {SECONDS}",
        hangs,
        SENT,
        note=IN_ITS_PLACE,
        also=shows("QueryTimeout", TOO_LONG),
    ),
    Case(
        f"a source that says nothing for {SECONDS}",
        says_nothing,
        SENT,
        note=IN_ITS_PLACE,
        also=shows("QueryTimeout", TOO_LONG),
    ),
    Case("a query that fails", loses_its_table, SENT, note=IN_ITS_PLACE, also=shows("QueryFailed", "no such table")),
    Case("a source that is gone", loses_its_file, SENT, note=IN_ITS_PLACE, also=shows("SourceUnavailable")),
    Case(
        "a query with a million rows",
        lambda bench: use_insight(bench, A_MILLION),
        SENT,
        note=f"the first {ROW_LIMIT:,} are read, and it is said that there are more",
        also=shows_the_first_rows,
    ),
]


# ── the renderer ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def draws_a_line(bench: Bench) -> None:
    with closing(sqlite3.connect(bench.world.source_path)) as source:
        source.executescript("INSERT INTO t VALUES ('2026-11-21', 2), ('2026-11-22', 3);")
    await use_insight(bench, "SELECT day, n FROM t", display="line")


def is_killed(*, at_most: int) -> Arrangement:
    """As soon as it is there, so many times."""

    async def arrange(bench: Bench) -> None:
        await draws_a_line(bench)
        bench.kept["killed"] = await bench.open(killing(at_most=at_most))

    return arrange


async def is_killed_while_it_draws(bench: Bench) -> None:
    await draws_a_line(bench)
    bench.kept["killed"] = killed = set[int]()

    async def kill() -> None:
        pid = await until(lambda: next((each for each in drawers() if draws(each)), None))
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)

    bench.kept["killer"] = asyncio.create_task(kill())


async def has_its_picture(bench: Bench) -> None:
    assert len(bench.kept["killed"]) == 1
    assert [content.startswith(PNG) for content in _pictures(bench)] == [True]


async def has_its_rows(bench: Bench) -> None:
    [mail] = bench.smtp.mails
    assert len(bench.kept["killed"]) == 2
    assert _pictures(bench) == []
    assert "2026-11-22" in mail.message.get_body(("plain",)).get_content()  # type: ignore[union-attr]


def _pictures(bench: Bench) -> Sequence[bytes]:
    [mail] = bench.smtp.mails
    return [part.get_content() for part in mail.message.walk() if part.get_content_maintype() == "image"]


RENDERER = [
    Case(
        "the process that draws is killed before it draws",
        is_killed(at_most=1),
        SENT,
        note="the picture is drawn once more",
        also=has_its_picture,
    ),
    Case(
        "the process that draws is killed while it draws",
        is_killed_while_it_draws,
        SENT,
        note="the picture is drawn once more",
        also=has_its_picture,
    ),
    Case(
        "each process that draws is killed",
        is_killed(at_most=1_000_000),
        SENT,
        note="without the picture; its rows are shown as text and table",
        also=has_its_rows,
    ),
]


# ── the clock ────────────────────────────────────────────────────────────────────────────────────────────────────────


def moves(*leaps: timedelta, sent: int = 1, skipped: int = 0) -> tuple[Arrangement, Arrangement]:
    """The wall clock, while a service runs that has sent its first occurrence; and what the ledger has afterwards."""

    def arrange(bench: Bench) -> None:
        async def work(runner: Runner) -> None:
            daemon = Daemon(runner, database=bench.world.app.database, clock=bench.world.clock)
            running = asyncio.create_task(daemon.run())
            await _ticks(bench, runner, until_sent=1)
            for leap in leaps:
                bench.world.clock.now += leap
                await _ticks(bench, runner)
            daemon.stop()
            await running

        bench.settle = work

    async def look(bench: Bench) -> None:
        statuses = Counter(await bench.world.statuses())
        assert statuses == Counter({DeliveryStatus.COMPLETED: sent, DeliveryStatus.SKIPPED: skipped})
        assert len(bench.webhook.requests) == sent

    return arrange, look


async def _ticks(bench: Bench, runner: Runner, *, until_sent: int = 0) -> None:
    """Two whole ticks from now on, and nothing on its way."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            before = runner.alive_at
            while runner.alive_at == before or runner.in_flight or len(bench.webhook.requests) < until_sent:
                runner.wake.set()
                await asyncio.sleep(0.01)


def leap(name: str, *leaps: timedelta, note: str, **found: int) -> Case:
    arrange, look = moves(*leaps, **found)
    return Case(name, arrange, SENT, note=note, also=look)


async def set_back_after_a_death(bench: Bench) -> None:
    async def work(runner: Runner) -> None:
        await runner.open_due()
        await runner.claim()  # …and the worker dies
        bench.world.clock.advance(hours=-1)
        living = bench.world.runner()
        await living.renew_leases()
        await settle(living)
        assert bench.webhook.requests == []
        bench.world.clock.now += LEASE
        await settle(living)

    bench.settle = work


HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)
CLOCK = [
    leap("the clock is set back an hour, and forward again", -HOUR, HOUR, note="nothing is sent twice"),
    leap(
        "the clock is set a day forward, and back again",
        *(DAY, -DAY),
        sent=2,
        note="what is due by that clock is sent, once; not again when the real day comes",
    ),
    leap(
        "the clock is set a year forward, and back again",
        *(YEAR, -YEAR),
        sent=2,
        skipped=101,
        note="the newest occurrence is sent; 100 are `skipped` with their reason, one row counts the others; "
        "the service takes them back when it sees the clock set back: they are still to come",
    ),
    Case(
        "the clock is set back an hour after a worker died",
        set_back_after_a_death,
        SENT,
        attempts=2,
        note="its lease ends a lease later, not after an hour",
        also=arrived_once,
    ),
]


# ── what has a test of its own ───────────────────────────────────────────────────────────────────────────────────────


def has_its_own_test(_: Bench) -> None:
    raise AssertionError("played out by a test function of its own: this takes real processes")


def story(name: str, *, note: str) -> Case:
    return Case(name, has_its_own_test, SENT, note=note)


FSYNC = story(
    "an fsync fails (EIO) while `run-due` is at work",
    note="it goes on, or exits with 2 and says why; the next run sends what is left",
)
SET = story(
    "the clock of a running service is set back an hour, a year forward and back again",
    note="it ticks on within seconds; nothing is sent twice",
)
COPIED = story(
    "a copied database is started beside the original",
    note="the copy refuses, exit 2, and names the way out; the original sends, once",
)
ADOPTED = story(
    "a copied database is started after `paperround init --adopt`",
    note="it sends; copied back over the original, it refuses again",
)
MOVED = story("the database's file is moved", note="nothing happens")
SHARED = story("two services on one database", note="each delivery is sent by one of them")
INSTALLED = story("`paperround init` is killed within the first installation", note="the next `init` completes it")
UPGRADED = story(
    "`paperround init` is killed while it brings an older schema up to date",
    note="the next `init` completes it; every row is still there, and verified from then on",
)
STORIES = [FSYNC, SET, COPIED, ADOPTED, MOVED, SHARED, INSTALLED, UPGRADED]

CASES = [*LOCKED, *ROWS_LOCKED, *FULL, *LIMITED, FSYNC, *SOURCES, *RENDERER, *CLOCK, *STORIES[1:]]
