"""The long-lived process: what systemd sees, how it stops, what it survives, and what it answers."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import delete, make_url, select, update

from channels.receivers import Reply
from channels.receivers.webhook import ReceivedRequest
from scheduler.app import App, initialise, opened
from scheduler.lanes import RULES
from scheduler.models import deliveries, delivery_recipients, subscriptions
from scheduler.settings import Settings, load_settings
from tests.conftest import SECRET_KEY
from tests.e2e.conftest import Installation

pytestmark = pytest.mark.e2e

ON_SQLITE = pytest.mark.parametrize("installation", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("installation", ["postgresql"], indirect=True)
AT_ONCE = RULES["webhook"].now(None)  # at a receiver that is new


class Service:
    """``paperround serve`` on a free port, and the log that it writes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []
        self.stray: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            if line.startswith(b"{"):
                self.log.append(json.loads(line))
            else:
                self.stray.append(line.decode())

    async def logged(self, event: str, *, times: int = 1) -> dict[str, Any]:
        """Wait for the line that says so."""
        await until(lambda: self._count(event) >= times or self._reading.done())
        assert self._count(event) >= times, (self.log, self.stray)
        return [each for each in self.log if each["event"] == event][-1]

    def _count(self, event: str) -> int:
        return sum(each["event"] == event for each in self.log)

    async def url(self, path: str) -> str:
        listening = await self.logged("service.listening")
        return f"http://127.0.0.1:{listening['port']}{path}"

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code. By then every line was one of the log: no traceback, no warning."""
        self.process.send_signal(number)
        code = await self.process.wait()
        await self._reading
        assert "".join(self.stray) == ""
        return code


async def serve(installation: Installation, **environ: str) -> Service:
    """A service that ticks."""
    service = Service(await installation.start("serve", "--port", "0", environ=environ))
    await service.logged("service.ready")
    return service


async def until(condition: Callable[[], bool], *, seconds: float = 90) -> None:
    for _ in range(int(seconds * 50)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to pass")


@asynccontextmanager
async def inside(installation: Installation) -> AsyncIterator[App]:
    """The product's own parts on the same database, in this process."""
    async with opened(_settings(installation)) as app:
        yield app


async def prepared(installation: Installation) -> int:
    """What ``installation.prepare()`` does, without starting a command for each step; the insight's id."""
    installation.environ["PAPERROUND_SECRET_KEY"] = SECRET_KEY
    await initialise(_settings(installation), project="Test", owner_email="owner@example.org")
    async with inside(installation) as app:
        project = await app.project()
        source = await app.catalog.add_source(project, "Shop", installation.source_url)
        query = "SELECT day, amount FROM sales ORDER BY day"
        return (await app.catalog.add_insight(project, "Sales", source=source.id, sql=query, display="line")).id


def _settings(installation: Installation) -> Settings:
    url = installation.environ["PAPERROUND_DATABASE_URL"]
    return load_settings(database_url=url, secret_key=SECRET_KEY, allow_hosts="127.0.0.1")


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(url)


async def one_click(url: str) -> httpx.Response:
    """What a mail program sends [RFC 8058, 3.2]."""
    async with httpx.AsyncClient() as client:
        return await client.post(url, data={"List-Unsubscribe": "One-Click"})


def utc_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the processes under test read the real clock, too


async def subscribe(app: App, insight: int, urls: Sequence[str]) -> list[int]:
    """One webhook subscription a URL, due in a year, nothing announced."""
    project = await app.project()
    owner = await app.owner(project)
    added = []
    for url in urls:
        fields = {
            "insight": insight,
            "target_type": "webhook",
            "target_value": url,
            "frequency": "daily",
            "start_date": utc_now() + timedelta(days=365),
        }
        added.append((await app.subscriptions.create(project, owner, fields)).id)
    async with app.database.write() as tx:
        await tx.execute(delete(delivery_recipients))
        await tx.execute(delete(deliveries))
    return added


async def fall_due(app: App, ids: Sequence[int], *, at: datetime | None = None) -> datetime:
    """Let these subscriptions be due at an instant, or now."""
    due_at = at or utc_now()
    async with app.database.write() as tx:
        changed = update(subscriptions).where(subscriptions.c.id.in_(ids)).values(next_delivery_date=due_at)
        await tx.execute(changed)
    return due_at


async def ledger(app: App) -> list[tuple[str, str, int]]:
    """Each recipient: its delivery's status, its own, its attempts."""
    query = select(deliveries.c.status, delivery_recipients.c.status, delivery_recipients.c.attempts)
    async with app.database.read() as connection:
        rows = await connection.execute(query.join_from(deliveries, delivery_recipients))
        return sorted((row[0], row[1], row[2]) for row in rows)


# ── what systemd sees ────────────────────────────────────────────────────────────────────────────────────────────────


class NotifySocket(asyncio.DatagramProtocol):
    """The end of the notification socket that systemd holds [sd_notify(3)]."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def datagram_received(self, data: bytes, _address: object) -> None:
        self.said.append(data.decode())


@asynccontextmanager
async def notify_socket() -> AsyncIterator[tuple[str, NotifySocket]]:
    with tempfile.TemporaryDirectory(prefix="pr-") as folder:  # short: a socket's path has 107 bytes
        path = f"{folder}/notify"
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(NotifySocket, path, family=socket.AF_UNIX)
        try:
            yield path, protocol
        finally:
            transport.close()


@ON_SQLITE
async def test_systemd_is_told_when_it_ticks_that_it_lives_and_when_it_stops(installation: Installation) -> None:
    await prepared(installation)
    async with notify_socket() as (path, systemd):
        service = await serve(installation, NOTIFY_SOCKET=path, WATCHDOG_USEC="200000")
        ready = await get(await service.url("/readyz"))
        await until(lambda: systemd.said.count("WATCHDOG=1") >= 3)
        code = await service.stop()

    assert (ready.status_code, ready.text) == (200, "ok\n")
    assert systemd.said[0] == "READY=1\nSTATUS=ticking"
    assert systemd.said.count("STOPPING=1") == 1
    assert set(systemd.said[1:]) == {"WATCHDOG=1", "STOPPING=1"}
    assert code == 0


@ON_SQLITE
async def test_it_answers_health_checks_takes_a_hangup_calmly_and_stops_on_ctrl_c(installation: Installation) -> None:
    await prepared(installation)
    service = await serve(installation)

    service.process.send_signal(signal.SIGHUP)
    await service.logged("service.hangup")
    answers = [await get(await service.url(path)) for path in ("/healthz", "/readyz", "/nothing-here")]
    code = await service.stop(signal.SIGINT)

    assert [answer.status_code for answer in answers] == [200, 200, 404]
    assert code == 0


@ON_SQLITE
async def test_a_port_that_is_taken_is_named_with_the_way_out(installation: Installation) -> None:
    await prepared(installation)
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        refused = await installation.run("serve", "--port", str(port))

    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"paperround: cannot listen on 127.0.0.1 port {port}: another service has it; choose another with --port\n"
    )


# ── when it sends ────────────────────────────────────────────────────────────────────────────────────────────────────


class Arrivals(list[ReceivedRequest]):
    """The receiver's requests, and when each came."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[datetime] = []

    def append(self, request: ReceivedRequest) -> None:
        self.at.append(utc_now())
        super().append(request)


async def test_an_idle_service_sends_each_occurrence_at_its_instant_or_after_it_never_before(
    installation: Installation,
) -> None:
    insight = await prepared(installation)
    installation.webhook.requests = arrivals = Arrivals()
    offsets = [timedelta(milliseconds=each) for each in (0, 137, 500, 993, 1200, 2001)]
    async with inside(installation) as app:
        ids = await subscribe(app, insight, [f"{installation.webhook.url}/{place}" for place in range(len(offsets))])
        service = await serve(installation)

        soon = utc_now() + timedelta(seconds=3)
        for subscription, offset in zip(ids, offsets, strict=True):
            await fall_due(app, [subscription], at=soon + offset)
        await until(lambda: len(arrivals) >= len(offsets))
        assert await service.stop() == 0

    places = [int(request.path.rpartition("/")[2]) for request in arrivals]
    assert places == list(range(len(offsets)))
    assert [at - soon for at, offset in zip(arrivals.at, offsets, strict=True) if at < soon + offset] == []


# ── how it stops ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_on_sigterm_what_is_in_flight_is_finished_and_the_rest_is_given_back_and_sent_once_by_the_next(
    installation: Installation,
) -> None:
    insight = await prepared(installation)
    requests = installation.webhook.requests
    installation.webhook.script(Reply(delay=8), *[Reply(delay=4)] * (AT_ONCE - 1))
    async with inside(installation) as app:
        ids = await subscribe(app, insight, [installation.webhook.url] * (AT_ONCE + 8))
        first = await serve(installation)
        await fall_due(app, ids[:1])
        await until(lambda: len(requests) == 1)
        await fall_due(app, ids[1:])  # as many as may be sent at once are taken
        await until(lambda: len(requests) == AT_ONCE)

        code = await first.stop()
        stopped, sent_by_first = await ledger(app), len(requests)
        second = await serve(installation)
        await until(lambda: len(requests) >= len(ids))
        await second.logged("delivery.recorded", times=len(ids) - sent_by_first)
        assert await second.stop() == 0
        ended = await ledger(app)

    assert code == 0
    assert (await first.logged("service.stopping"))["in_flight"] == sent_by_first == AT_ONCE
    assert stopped == [("completed", "sent", 1)] * AT_ONCE + [("starting", "pending", 0)] * (len(ids) - AT_ONCE)
    assert ended == [("completed", "sent", 1)] * len(ids)
    keys = [request.headers["webhook-id"] for request in requests]
    assert len(set(keys)) == len(keys) == len(ids)


# ── what it answers ──────────────────────────────────────────────────────────────────────────────────────────────────


@ON_SQLITE
async def test_one_click_in_the_mail_program_takes_that_address_out_and_looking_does_not(
    installation: Installation,
) -> None:
    insight = str(await prepared(installation))
    target = ("--target-type", "email", "--target-value", "ann@example.org, bo@example.org")
    added = await installation.must("subscriptions", "add", "--insight", insight, *target, "--frequency", "daily")
    service = await serve(installation)
    await until(lambda: len(installation.smtp.mails) == 2)
    [mail] = [each.message for each in installation.smtp.mails if each.recipients == ("bo@example.org",)]
    link = await service.url(urlsplit(mail["List-Unsubscribe"].strip("<>")).path)

    looked = await get(link)
    before = await installation.must("subscriptions", "show", str(added["id"]))
    clicked = [await one_click(link) for _ in range(2)]
    made_up = await one_click(link[:-3] + "xyz")
    after = await installation.must("subscriptions", "show", str(added["id"]))
    assert await service.stop() == 0

    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert [answer.status_code for answer in (looked, *clicked, made_up)] == [200, 200, 200, 404]
    assert before["target_value"] == "ann@example.org,bo@example.org"
    assert after["target_value"] == "ann@example.org"
    assert "bo@example.org" in looked.text


# ── what it survives ─────────────────────────────────────────────────────────────────────────────────────────────────


@ON_SQLITE
async def test_a_database_locked_by_somebody_else_for_a_while_delays_and_loses_nothing(
    installation: Installation,
) -> None:
    insight = await prepared(installation)
    async with inside(installation) as app:
        ids = await subscribe(app, insight, [installation.webhook.url])
        service = await serve(installation)
        with closing(sqlite3.connect(installation.folder / "paperround.db", isolation_level=None)) as other:
            await fall_due(app, ids)
            other.execute("BEGIN EXCLUSIVE")
            await asyncio.sleep(3)
            sent_while_locked = len(installation.webhook.requests)
            other.execute("ROLLBACK")
        await service.logged("delivery.recorded")
        alive = await get(await service.url("/readyz"))
        assert await service.stop() == 0

        assert await ledger(app) == [("completed", "sent", 1)]
    assert alive.status_code == 200
    assert len(installation.webhook.requests) == 1
    assert sent_while_locked in {0, 1}  # it may have been opened in the moment before the lock


@ON_POSTGRESQL
async def test_a_database_that_goes_away_during_a_send_ends_neither_the_service_nor_the_record(
    installation: Installation, postgres_server: str
) -> None:
    insight = await prepared(installation)
    name = str(make_url(installation.environ["PAPERROUND_DATABASE_URL"]).database)
    installation.webhook.script(Reply(delay=2))
    async with inside(installation) as app:
        ids = await subscribe(app, insight, [installation.webhook.url] * 2)
        service = await serve(installation)
        await fall_due(app, ids[:1])
        await until(lambda: len(installation.webhook.requests) == 1)

        _set_connections(postgres_server, name, allowed=False)
        await service.logged("outcomes.not_recorded")
        await service.logged("tick.failed")
        away = await get(await service.url("/readyz"))
        _set_connections(postgres_server, name, allowed=True)
        await service.logged("delivery.recorded")
        back = await get(await service.url("/readyz"))
        await fall_due(app, ids[1:])
        await service.logged("delivery.recorded", times=2)
        assert await service.stop() == 0

        assert await ledger(app) == [("completed", "sent", 1)] * 2
    assert (away.status_code, back.status_code) == (503, 200)
    assert len(installation.webhook.requests) == 2


def _set_connections(server: str, database: str, *, allowed: bool) -> None:
    """Let nobody in and throw out who is there, as a server that restarts does; or let them in again."""
    with psycopg.connect(server, autocommit=True) as connection:
        change = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
        connection.execute(change.format(sql.Identifier(database), sql.SQL("true" if allowed else "false")))
        if not allowed:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
