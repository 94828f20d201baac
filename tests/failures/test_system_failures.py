"""This side: each line of the matrix; what takes real processes has a function of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import inspect, make_url

from channels.receivers import SmtpReceiver
from scheduler import db, recorder
from scheduler.app import App, initialise, opened
from scheduler.clock import system_clock
from scheduler.db import Database
from scheduler.recurrence import Recurrence
from scheduler.settings import Settings, database_url, load_settings
from scheduler.store import deliveries as ledger
from scheduler.verification import verify
from tests.conftest import _postgres_database
from tests.crash.ground import KEY, Ground, prepared
from tests.crash.migrating import LONG_AGO, LONGEST, _make_old
from tests.crash.points import MIGRATION
from tests.crash.processes import Order, zygote
from tests.crash.soaking import library
from tests.e2e.conftest import COMMAND, Finished
from tests.failures import system_cases
from tests.failures.case import Bench, Case, expected_row, play_out
from tests.failures.system_cases import (
    ADOPTED,
    CLOCK,
    COPIED,
    FSYNC,
    FULL,
    INSTALLED,
    LIMITED,
    LOCKED,
    MOVED,
    PATIENCE,
    RENDERER,
    ROWS_LOCKED,
    SET,
    SHARED,
    SOURCES,
    STORIES,
    UPGRADED,
    YEAR,
)
from tests.scheduler.conftest import LEASE, ToldClock, settle
from tests.scheduler.test_drawing import until

SMALL = "8m"
"""A disk that is soon full."""
SYNCS = range(1, 6)
"""A run's first calls of fsync: before it opens, as it opens, as it claims, as it keeps content."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's own times, but short ones: before its database is opened."""
    monkeypatch.setattr(db, "BUSY_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(recorder, "RETRY_SECONDS", 0.05)


@pytest.fixture
def ledger_url(request: pytest.FixtureRequest, impatient: None, tmp_path: Path) -> Iterator[str]:
    """SQLite in a folder, unless a test asks for ``postgresql`` or a ``small disk``."""
    kind = getattr(request, "param", "sqlite")
    if kind == "postgresql":
        server = request.getfixturevalue("postgres_server")
        with _postgres_database(server, template=request.getfixturevalue("initialised_postgres")) as url:
            yield url
        return
    folder = request.getfixturevalue("small_disk") if kind == "small disk" else tmp_path
    shutil.copy(request.getfixturevalue("initialised_sqlite"), folder / "paperround.db")
    yield f"sqlite:///{folder / 'paperround.db'}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", folder]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"only root may mount a small disk to fill: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def on(database: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("ledger_url", [pytest.param(database, id=database)], indirect=True)


@pytest.mark.parametrize("case", [*LOCKED, *LIMITED, *SOURCES, *CLOCK], ids=attrgetter("name"))
async def test_what_befalls_this_side_ends_in_its_row(case: Case, bench: Bench) -> None:
    await play_out(case, bench, kind="webhook")

    await is_true(bench.world.app)


@on("small disk")
@pytest.mark.parametrize("case", FULL, ids=attrgetter("name"))
async def test_a_full_disk_costs_no_delivery_and_no_outcome(case: Case, bench: Bench) -> None:
    await play_out(case, bench, kind="webhook")

    await is_true(bench.world.app)


@on("postgresql")
@pytest.mark.parametrize("case", ROWS_LOCKED, ids=attrgetter("name"))
async def test_rows_that_somebody_else_has_locked_are_done_later(case: Case, bench: Bench) -> None:
    await play_out(case, bench, kind="webhook")

    await is_true(bench.world.app)


@pytest.mark.parametrize("case", RENDERER, ids=attrgetter("name"))
async def test_a_renderer_that_dies_costs_at_most_its_picture(case: Case, bench: Bench) -> None:
    await play_out(case, bench, kind="email")

    await is_true(bench.world.app)


async def is_true(app: App) -> None:
    """What the rules say and what is recorded agree, and the file is whole."""
    verification = await verify(app.database, now=app.clock(), installation=app.installation)
    assert verification.discrepancies == []
    if app.database.is_sqlite:
        async with app.database.read() as connection:
            assert (await connection.exec_driver_sql("PRAGMA integrity_check")).scalar_one() == "ok"


# ── with real processes ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["sqlite", "postgresql"])
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    """An installation in a folder, and a receiver in a process of its own."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    async with prepared(tmp_path, url) as ready:
        yield ready


sqlite_ground = pytest.mark.parametrize("ground", ["sqlite"], indirect=True)


async def fall_due(ground: Ground, *, at: datetime | None = None) -> None:
    """One more daily subscription, whose first occurrence was a minute before ``at``, or before now."""
    now = at or system_clock()
    rule = Recurrence.parse(frequency="daily", start_date=now - timedelta(minutes=1))
    await ground.plant([rule], now=now - timedelta(minutes=2))


async def run(ground: Ground, *command: str, on: str | None = None, under: Sequence[str] = ()) -> Finished:
    """The real command to its end; ``on`` another database, ``under`` another program."""
    process = await asyncio.create_subprocess_exec(
        *(*under, COMMAND, *command),
        cwd=ground.folder,
        env={**ground.environ, **({} if on is None else {"PAPERROUND_DATABASE_URL": on})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Finished(process.returncode or 0, out.decode(), err.decode())


@asynccontextmanager
async def service(ground: Ground, name: str, **environ: str) -> AsyncIterator[Path]:
    """The real service from its readiness to SIGTERM; what it logs."""
    log = ground.folder / f"{name}.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(COMMAND, "serve", "--port", "0", "--json"),
            cwd=ground.folder,
            env={**ground.environ, **environ},
            stdout=file,
            stderr=file,
        )
    try:
        await until(lambda: process.returncode is not None or "service.ready" in log.read_text(encoding="utf-8"))
        yield log
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ledger_rows(settings: Settings, *, on: str | None = None) -> list[dict[str, object]]:
    """A ledger in a case's words, once it is verified."""
    there = settings if on is None else settings.model_copy(update={"database_url": SecretStr(on)})
    async with opened(there) as app:
        await is_true(app)
        project = await app.project()
        async with app.database.read() as connection:
            found = await ledger.newest(connection, project.id, shown=True, limit=10_000)
    return [_row(each) for each in found if each.recipients]


def _row(delivery: ledger.Delivery) -> dict[str, object]:
    [recipient] = delivery.recipients
    return {
        "delivery": delivery.status,
        "recipient": recipient.status,
        "reason": recipient.error["message"] if recipient.error else None,
        "again": recipient.next_attempt_at,
        "attempts": recipient.attempts,
    }


def names_the_way_out(finished: Finished) -> bool:
    """In one line."""
    return finished.code == 2 and finished.err.count("\n") == 1 and "`paperround init --adopt`" in finished.err


# ── fsync ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _why_no_strace() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed; on Debian: apt-get install strace"
    tried = subprocess.run(["strace", "-f", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


@pytest.mark.e2e
@sqlite_ground
async def test_a_run_whose_fsync_fails_goes_on_or_says_so_and_the_next_one_finishes(ground: Ground) -> None:
    if reason := _why_no_strace():
        pytest.skip(reason=reason)
    trace = ground.folder / "trace"
    failures = 0
    runs = []
    for nth in SYNCS:
        await fall_due(ground)
        inject = f"inject=fsync,fdatasync:error=EIO:when={nth}"
        under = ("strace", "-f", "--seccomp-bpf", "-o", str(trace), "-e", "trace=fsync,fdatasync", "-e", inject)
        runs.append(await run(ground, "run-due", "--json", under=under))
        failures += "EIO" in trace.read_text(encoding="utf-8")
        rows = await ledger_rows(ground.settings)
        assert [row["recipient"] for row in rows].count(FSYNC.recipient) <= len(ground.sink.arrivals())
    while await ground.unfinished(system_clock()):
        assert (await run(ground, "run-due")).code == 0

    assert failures == len(SYNCS)
    assert {each.code for each in runs} == {0, 2}
    assert all("disk I/O error" in each.err for each in runs if each.code)
    rows = await ledger_rows(ground.settings)
    assert [row | {"attempts": 1} for row in rows] == [expected_row(FSYNC)] * len(SYNCS)
    assert {row["attempts"] for row in rows} == {1, 2}  # where its content could not be kept, a try was for nothing
    assert len(ground.sink.arrivals()) == len(SYNCS)


# ── the clock of a running service ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.e2e
@pytest.mark.skipif(library() is None, reason="faketime is not installed; on Debian: apt-get install faketime")
async def test_a_service_ticks_on_whatever_its_clock_is_set_to(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    leaps = {timedelta(0): 1, -timedelta(hours=1): 2, YEAR: 5, timedelta(seconds=-1): 6}
    environ = {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}
    clock.write_text("+0", encoding="ascii")
    async with prepared(tmp_path, lease=int(LEASE.total_seconds())) as ground:
        async with service(ground, "service", LD_PRELOAD=library() or "", **environ) as log:
            for leap, arrivals in leaps.items():
                clock.write_text(f"{leap.total_seconds():+.0f}", encoding="ascii")
                await fall_due(ground, at=system_clock() + leap)
                await _have_arrived(ground, arrivals)
                await _have_ended(ground)

        assert log.read_text(encoding="utf-8").count("clock.leapt") == len(leaps) - 1
        assert len({each.key for each in ground.sink.arrivals()}) == len(ground.sink.arrivals()) == 6
        assert await ledger_rows(ground.settings) == [expected_row(SET)] * 6


async def _have_ended(ground: Ground) -> None:
    """Recorded, not only arrived: the next leap is to find nothing on its way."""
    with closing(sqlite3.connect(ground.database_file)) as connection:
        await until(lambda: not connection.execute("SELECT 1 FROM deliveries WHERE status = 'starting'").fetchone())


async def _have_arrived(ground: Ground, count: int) -> None:
    """Each subscription's next occurrence, within seconds; not an hour later."""
    async with asyncio.timeout(PATIENCE):
        while len(ground.sink.arrivals()) < count:
            await asyncio.sleep(0.1)


# ── copies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def copy(request: pytest.FixtureRequest, ground: Ground) -> Iterator[Callable[[], str]]:
    """Makes a copy of the ground's database, as it is then; on PostgreSQL the server does."""
    url = ground.settings.database_url.get_secret_value()
    with ExitStack() as stack:

        def make() -> str:
            if url.startswith("sqlite"):
                shutil.copy(ground.database_file, ground.folder / "copy.db")
                return f"sqlite:///{ground.folder / 'copy.db'}"
            server, name = request.getfixturevalue("postgres_server"), str(make_url(url).database)
            return stack.enter_context(_postgres_database(server, template=name))

        yield make


@pytest.mark.e2e
async def test_a_copy_beside_the_original_sends_nothing_and_names_the_way_out(
    ground: Ground, copy: Callable[[], str]
) -> None:
    assert (await run(ground, "run-due")).code == 0
    await fall_due(ground)

    second = copy()
    refused = [await run(ground, *command, on=second) for command in (("run-due",), ("serve", "--port", "0"))]
    assert [names_the_way_out(each) for each in refused] == [True, True]
    assert ground.sink.arrivals() == []

    assert (await run(ground, "run-due")).code == 0
    assert await ledger_rows(ground.settings) == [expected_row(COPIED)]
    assert len(ground.sink.arrivals()) == 1


@pytest.mark.e2e
@sqlite_ground
async def test_an_adopted_copy_delivers_and_copied_back_over_the_original_refuses(
    ground: Ground, copy: Callable[[], str]
) -> None:
    assert (await run(ground, "run-due")).code == 0
    await fall_due(ground)

    second = copy()
    assert (await run(ground, "init", "--adopt", on=second)).code == 0
    assert (await run(ground, "run-due", on=second)).code == 0
    assert await ledger_rows(ground.settings, on=second) == [expected_row(ADOPTED)]
    assert len(ground.sink.arrivals()) == 1

    shutil.copy(second.removeprefix("sqlite:///"), ground.database_file)
    assert names_the_way_out(await run(ground, "run-due"))
    assert len(ground.sink.arrivals()) == 1


@pytest.mark.e2e
@sqlite_ground
async def test_a_file_that_was_moved_is_the_same_ledger(ground: Ground) -> None:
    assert (await run(ground, "run-due")).code == 0
    await fall_due(ground)
    moved = ground.database_file.rename(ground.folder / "moved.db")

    assert (await run(ground, "run-due", on=f"sqlite:///{moved}")).code == 0

    assert await ledger_rows(ground.settings, on=f"sqlite:///{moved}") == [expected_row(MOVED)]
    assert len(ground.sink.arrivals()) == 1


@pytest.mark.e2e
async def test_two_services_on_one_database_send_each_delivery_once(ground: Ground) -> None:
    async with service(ground, "one"), service(ground, "another"):
        for _ in range(10):
            await fall_due(ground)
        await _have_arrived(ground, 10)

    assert await ledger_rows(ground.settings) == [expected_row(SHARED)] * 10
    assert len({each.key for each in ground.sink.arrivals()}) == len(ground.sink.arrivals()) == 10


# ── migrations ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where no database has been made."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'paperround.db'}"


async def init_and_die(url: str, folder: Path, *, statements: Sequence[int]) -> None:
    """``paperround init``, killed after its first, its tenth … statement, one process after the other."""
    environ = {"PATH": os.environ["PATH"], "PAPERROUND_SECRET_KEY": KEY}
    async with zygote(folder, environ, name="init") as ready:
        orders = [Order(LONGEST, MIGRATION, nth, command="init", database_url=url) for nth in statements]
        ended = [await ready.run(order) for order in orders]
    assert [each.was_killed for each in ended] == [True] * len(orders)


@pytest.mark.e2e
async def test_an_installation_killed_half_way_is_completed_by_the_next(empty_url: str, tmp_path: Path) -> None:
    await init_and_die(empty_url, tmp_path, statements=(1, 10, 40))

    async with prepared(tmp_path, empty_url) as ground:
        await fall_due(ground)
        assert (await run(ground, "run-due")).code == 0

        assert await ledger_rows(ground.settings) == [expected_row(INSTALLED)]


@pytest.mark.e2e
async def test_an_upgrade_killed_half_way_is_completed_by_the_next_with_every_row(
    empty_url: str, tmp_path: Path
) -> None:
    await _make_old(empty_url)
    before = await _rows_of_all_tables(empty_url)

    await init_and_die(empty_url, tmp_path, statements=(1, 5, 15))
    async with SmtpReceiver() as smtp:
        settings = load_settings(
            database_url=empty_url, secret_key=KEY, smtp_url=f"{smtp.url}?starttls=never", allow_hosts="127.0.0.1"
        )
        await initialise(settings, project="Default project", owner_email=None)
        after = await _rows_of_all_tables(empty_url)
        async with opened(settings, clock=ToldClock(LONG_AGO.replace(year=2099))) as app:
            await app.ready_to_deliver()
            await settle(app.runner())
            await is_true(app)

    assert after == before | {"recurrences": 1}
    assert await ledger_rows(settings) == [expected_row(UPGRADED)]
    assert [mail.recipients for mail in smtp.mails] == [("ann@example.org",)]


async def _rows_of_all_tables(url: str) -> dict[str, int]:
    """Those that have rows."""
    database = Database(database_url(url))
    async with database.read() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        counts = {
            name: (await connection.exec_driver_sql(f"SELECT count(*) FROM {name}")).scalar_one() for name in names
        }
    await database.aclose()
    return {name: count for name, count in counts.items() if count}


def test_each_line_with_real_processes_has_its_test() -> None:
    told = Path(__file__).read_text(encoding="utf-8")

    names = {name for name, value in vars(system_cases).items() if isinstance(value, Case) and value in STORIES}
    assert len(names) == len(STORIES)
    assert {name for name in names if f"expected_row({name})" in told} == names
