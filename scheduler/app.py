"""The composition root: settings become parts, parts become the application. Nothing else constructs."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parseaddr
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from channels.addresses import parse_addresses
from channels.base import Channel, Message, PermanentFailure, RecipientResult, TargetError
from channels.outbound import OutboundPolicy
from channels.registry import Channels, destination
from scheduler.catalog import Catalog
from scheduler.clock import Clock, system_clock
from scheduler.consequences import Consequences
from scheduler.content import Content, Shown
from scheduler.db import Database, make_folder_of, one_at_a_time
from scheduler.delivery import Runner, Worker
from scheduler.engines.base import Engine
from scheduler.engines.planning import Planner
from scheduler.errors import ConfigurationError, InvalidField
from scheduler.exporting import Exporting
from scheduler.keys import Keys
from scheduler.lanes import Lanes, rules_with
from scheduler.links import UnsubscribeLinks
from scheduler.organisations import Organisations
from scheduler.passwords import Passwords
from scheduler.pictures import Pictures
from scheduler.projects import Projects, add_signature
from scheduler.quota import SummaryRules
from scheduler.recurrence import sentence_of
from scheduler.render import Occasion, compose, compose_data, compose_notice
from scheduler.sealing import Box, read_key, read_or_make_key
from scheduler.settings import Settings, database_url, smtp_server
from scheduler.sharing import Sharing
from scheduler.store import catalog as catalog_rows
from scheduler.store import people
from scheduler.store.catalog import Integration
from scheduler.store.claiming import Claimed
from scheduler.store.people import Project, User
from scheduler.subscriptions import Subscriptions
from scheduler.summaries import Summaries
from scheduler.upkeep import follow_clock, follow_zones, take_home
from scheduler.verification import record_verification, verify
from scheduler.visits import Visits

if TYPE_CHECKING:
    from channels.chat import ChatModel

log = structlog.get_logger()

KEY_CHECK = "paperround"
"""Sealed into a new database; whoever can open it has the right key."""


@dataclass(frozen=True, slots=True)
class App:
    """Everything a command, the daemon, the API and the pages work with."""

    settings: Settings
    clock: Clock
    database: Database
    installation: UUID
    box: Box
    channels: Channels
    subscriptions: Subscriptions
    catalog: Catalog
    projects: Projects
    links: UnsubscribeLinks
    keys: Keys
    organisations: Organisations
    sharing: Sharing
    visits: Visits
    pictures: Pictures
    exporting: Exporting
    summaries: Summaries

    async def project(self, project_id: int | None = None) -> Project:
        """The project with this id, or the first one."""
        async with self.database.read() as connection:
            return await people.find_project(connection, project_id)

    async def owner(self, project: Project) -> User:
        """Who subscribes where nobody else is named."""
        async with self.database.read() as connection:
            return await people.find_owner(connection, project.organisation_id)

    async def ready_to_deliver(self) -> None:
        """Before a worker of this process starts. Raises :class:`ConfigurationError` in a copy of the database."""
        await take_home(self.database)
        await follow_zones(self.database, now=self.clock())
        await self.follow_clock()

    async def follow_clock(self) -> None:
        """At the start, and when the ledger's clock was set back."""
        await follow_clock(self.database, now=self.clock())

    async def verify_daily(self) -> None:
        """Compare the ledger with the rules, unless that was done within a day; the result is kept for the metrics.

        In a thread with connections of its own: it takes a while, and deliveries do not wait.
        """
        async with self.database.read() as connection:
            verified_at = await people.verified_at(connection)
        if verified_at is None or self.clock() - verified_at >= VERIFIED_EVERY:
            await asyncio.to_thread(asyncio.run, _verify(self.database.url, self.installation, now=self.clock()))

    def runner(self, *, due_clock: Clock | None = None, rehearses: bool = False) -> Runner:
        """A new worker with a run of its own.

        ``due_clock`` decides what is due, if not the present; one that only rehearses keeps nothing of what it shows,
        and asks no model about it.
        """
        lanes = Lanes(rules=rules_with(email_a_second=self.settings.email_a_second))
        return Runner(self._worker(due_clock=due_clock or self.clock, asks=not rehearses), lanes=lanes)

    def planner(self) -> Runner:
        """What `serve` drives: a worker that sends, or, with another engine than the embedded, one that dispatches.

        Raises :class:`ConfigurationError` when the engine is not installed.
        """
        engine = _engine(self.settings)
        if engine is None:
            return self.runner()
        return Planner(self._worker(due_clock=self.clock, asks=True), engine)

    def _worker(self, *, due_clock: Clock, asks: bool) -> Worker:
        run_id = f"paperround-{uuid4()}"
        return Worker(
            database=self.database,
            content=Content(self.database, self.box, self.clock, pictures=self.pictures, keeps=asks),
            outlet=_Outlet(self, asks=asks),
            clock=self.clock,
            due_clock=due_clock,
            installation=self.installation,
            consequences=Consequences(self.installation, run_id, destination("email", [])),
            run_id=run_id,
            lease=timedelta(seconds=self.settings.lease_seconds),
        )


async def _verify(url: URL, installation: UUID, *, now: datetime) -> None:
    database = Database(url)
    try:
        found = await verify(database, now=now, installation=installation)
        async with database.write() as tx:
            await record_verification(tx, found, now)
    finally:
        await database.aclose()
    for each in found.discrepancies[:SHOWN]:
        log.error("ledger.discrepancy", kind=each.kind, subscription_id=each.subscription_id, at=each.at)
    log.info("ledger.verified", deliveries=found.deliveries, discrepancies=len(found.discrepancies))


SHOWN = 20
"""So many discrepancies stand in the log; `paperround verify` lists them all."""
VERIFIED_EVERY = timedelta(days=1)
SECRETS_KEPT = timedelta(seconds=5)
"""How long a worker goes by the credentials it has read: a rotated secret is used within this."""
MAILS_KEPT = 64
"""Messages to many that a worker keeps while their recipients are claimed, a few at a time."""
TARGETS_KEPT = 1024
"""Webhooks' URLs that a worker keeps in memory, opened."""


class _Outlet:
    """The way out for one worker: wording by ``render``, channels by the registry, credentials from the store."""

    def __init__(self, app: App, *, asks: bool) -> None:
        """``asks``: a model what changed."""
        self.app = app
        self._asks = asks
        self._channels: dict[tuple[int, str, int | None], tuple[datetime, asyncio.Task[Channel | None]]] = {}
        self._opened = lru_cache(maxsize=TARGETS_KEPT)(app.box.open)
        self._mails: OrderedDict[UUID, Message] = OrderedDict()

    def asks_first(self, claimed: Claimed) -> bool:
        is_said = claimed.notice is None and bool(claimed.recipients)
        return self._asks and is_said and self.app.summaries.has_to_ask(claimed)

    async def ask(self, claimed: Claimed, shown: Sequence[Shown]) -> Claimed:
        said = await self.app.summaries.of(claimed, [each.snapshot for each in shown])
        return replace(claimed, change_summary=said or "")

    async def compose(self, claimed: Claimed, shown: Sequence[Shown]) -> Message:
        if claimed.notice is not None:
            return compose_notice(_occasion(claimed, now=self.app.clock()), claimed.notice)
        if (same := self._mails.get(claimed.id)) is not None:
            return replace(same, unsubscribe_urls=self._unsubscribe_urls(claimed), progress=self._progress(claimed))
        snapshots = [each.snapshot for each in shown]
        said = await self.app.summaries.of(claimed, snapshots) if self._asks else None
        occasion = _occasion(claimed, now=self.app.clock(), change_summary=said)
        if claimed.target.kind == "webhook":
            return compose_data(occasion, [each.entry for each in shown])
        message = compose(
            occasion,
            snapshots,
            [each.export for each in shown],
            unsubscribe_urls=self._unsubscribe_urls(claimed),
            progress=self._progress(claimed),
        )
        if claimed.target.kind == "email" and claimed.has_others:
            self._keep(claimed.id, message)
        return message

    def _keep(self, delivery_id: UUID, message: Message) -> None:
        """For the recipients that are claimed next: a mail to many is written once."""
        self._mails[delivery_id] = message
        if len(self._mails) > MAILS_KEPT:
            self._mails.popitem(last=False)

    async def send(self, claimed: Claimed, message: Message) -> list[RecipientResult]:
        channel = await self._channel(claimed)
        if channel is None:
            gone = PermanentFailure(f"no {claimed.target.kind} integration is left; see `paperround integrations add`")
            return [RecipientResult(each.address, gone) for each in claimed.recipients]
        return await channel.send(message, self._addresses(claimed))

    async def _channel(self, claimed: Claimed) -> Channel | None:
        """The channel with this delivery's credentials, which were read a moment ago; None when there are none."""
        if claimed.target.kind == "email":
            return self.app.channels.build("email")
        key = (claimed.project[0], claimed.target.kind, claimed.target.integration_id)
        read_at, reading = self._channels.get(key, (None, None))
        now = self.app.clock()
        if read_at is None or reading is None or abs(now - read_at) > SECRETS_KEPT or _has_failed(reading):
            reading = asyncio.create_task(self._built(claimed))
            self._channels[key] = (now, reading)
        if reading.done():
            return reading.result()
        return await asyncio.shield(reading)  # once, however many deliveries start at this moment

    async def _built(self, claimed: Claimed) -> Channel | None:
        async with self.app.database.read() as connection:
            integration = await _integration(connection, claimed)
        if integration is None:
            return None
        secret = json.loads(self.app.box.open(integration.secret_sealed))
        return self.app.channels.build(
            claimed.target.kind, token=secret.get("token"), secrets=secret.get("secrets", ())
        )

    def _addresses(self, claimed: Claimed) -> list[str]:
        """What the channel is given: of a webhook the URL, which rows have only sealed."""
        if claimed.target.sealed is not None:
            return [self._opened(claimed.target.sealed)]
        return [each.address for each in claimed.recipients]

    def _unsubscribe_urls(self, claimed: Claimed) -> dict[str, str]:
        if claimed.target.kind != "email":
            return {}
        links, subscription_id = self.app.links, claimed.subscription_id
        return {each.address: links.url(subscription_id, each.address) for each in claimed.recipients}

    def _progress(self, claimed: Claimed) -> dict[str, Mapping[str, Any]]:
        """What earlier attempts did; of one that left no word, Slack is asked before anything is posted again."""
        unknown = {"uncertain": True} if claimed.target.kind == "slack" else {}
        progress = {
            each.address: {**(each.progress or {}), **(unknown if each.unanswered else {})}
            for each in claimed.recipients
        }
        return {address: known for address, known in progress.items() if known}


def _has_failed(reading: asyncio.Task[Any]) -> bool:
    return reading.done() and (reading.cancelled() or reading.exception() is not None)


async def _integration(connection: AsyncConnection, claimed: Claimed) -> Integration | None:
    """The subscription's own, else the project's first of that kind (a webhook signs even if nobody chose a secret)."""
    if claimed.target.integration_id is not None:
        return await catalog_rows.find(connection, Integration, claimed.project[0], claimed.target.integration_id)
    if claimed.target.kind == "slack":  # its own was removed, and another workspace was never meant
        return None
    return await catalog_rows.first_integration(connection, claimed.project[0], claimed.target.kind)


def _occasion(claimed: Claimed, *, now: datetime, change_summary: str | None = None) -> Occasion:
    return Occasion(
        kind=claimed.target.kind,
        delivery_id=claimed.id,
        idempotency_key=str(claimed.id),
        trigger=claimed.trigger,
        occurrence_at=claimed.scheduled_at,
        now=now,
        subscription_id=claimed.subscription_id,
        title=claimed.title,
        resource_type="insight" if claimed.dashboard is None else "dashboard",
        resource_name=claimed.resource_name,
        dashboard=claimed.dashboard,
        summary=sentence_of(claimed.recurrence),
        timezone=claimed.recurrence.timezone,
        next_at=claimed.next_delivery_at,
        project_id=claimed.project[0],
        project_name=claimed.project[1],
        sender_name=claimed.subscriber,
        invite_message=claimed.invite_message,
        is_invitation=claimed.invites,
        spread=claimed.spread,
        change_summary=change_summary,
    )


# ── opening and making an installation ───────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def opened(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[App]:
    """The application on an existing database of this schema and this key, closed again at the end.

    ``clock`` replaces the database's own. Raises :class:`ConfigurationError` when the database was not made, is of
    another version, or has another key.
    """
    database = Database(database_url(settings.database_url.get_secret_value()))
    try:
        await database.check_schema()
        async with database.read() as connection:
            installation = await people.find_installation(connection)
        if installation is None:
            raise ConfigurationError("this database was not initialised to the end; run `paperround init`")
        box = Box(_existing_key(settings))
        box.open(installation.key_check_sealed)
        clock = clock or database.clock
        channels = _channels(settings)
        pictures, passwords = Pictures(), Passwords()
        keys = Keys(database, clock)
        past = Content(database, box, clock, pictures=pictures)
        summaries = Summaries(database, clock, _chat_model(settings))
        try:
            yield App(
                settings=settings,
                clock=clock,
                database=database,
                installation=installation.uuid,
                box=box,
                channels=channels,
                subscriptions=Subscriptions(
                    database, channels, box, clock, installation.uuid, _summary_rules(settings)
                ),
                catalog=Catalog(database, box, clock),
                projects=Projects(database, box, clock),
                links=UnsubscribeLinks(settings.base_url, box.derived("unsubscribe")),
                keys=keys,
                organisations=Organisations(database, clock),
                sharing=Sharing(database, box, clock, passwords),
                visits=Visits(database, clock, past, passwords, key=box.derived("sharing")),
                pictures=pictures,
                exporting=Exporting(database, box, clock, pictures),
                summaries=summaries,
            )
        finally:
            await keys.aclose()
            await pictures.aclose()
            await channels.aclose()
            await summaries.aclose()
    finally:
        await database.aclose()


def _owner_address(settings: Settings, given: str | None) -> str:
    if given is None:
        return parseaddr(settings.email_from)[1]
    try:
        [address] = parse_addresses(given)
    except (TargetError, ValueError):
        raise InvalidField("email", f"{given[:80]!r} is not one e-mail address") from None
    return address


def _channels(settings: Settings) -> Channels:
    """On the real clock even where a run pretends another time: receivers check a signature's age."""
    return Channels(
        mail=smtp_server(settings.smtp_url.get_secret_value()),
        sender=settings.email_from,
        policy=OutboundPolicy(allow_hosts=settings.allow_hosts),
        slack_api_url=settings.slack_api_url,
    )


def _engine(settings: Settings) -> Engine | None:
    """What carries deliveries to workers elsewhere; None: this process sends them itself."""
    if settings.engine == "embedded":
        return None
    try:
        from scheduler.engines.celery_app import celery_app  # noqa: PLC0415 - an extra, for who has chosen it
        from scheduler.engines.celery_engine import CeleryEngine  # noqa: PLC0415

        return CeleryEngine(celery_app(settings.broker_url.get_secret_value(), lease_seconds=settings.lease_seconds))
    except ImportError:
        raise ConfigurationError(
            "PAPERROUND_ENGINE: Celery, or its client for this broker, is not installed; pip install "
            "'paperround[celery]' (with Redis 'paperround[redis]'), or leave the engine embedded"
        ) from None


def _summary_rules(settings: Settings) -> SummaryRules:
    return SummaryRules(has_model=bool(settings.summary_url and settings.summary_model), limit=settings.summary_limit)


def _chat_model(settings: Settings) -> ChatModel | None:
    if not _summary_rules(settings).has_model:
        return None
    from channels.chat import ChatModel  # noqa: PLC0415 - a fifth of a second and 12 MB, for who has one

    return ChatModel(
        url=settings.summary_url,
        model=settings.summary_model,
        key=settings.summary_key.get_secret_value() if settings.summary_key else None,
        policy=OutboundPolicy(allow_hosts=settings.allow_hosts),
    )


def _key_file(settings: Settings) -> Path:
    """Beside a SQLite file, else in the current folder (the unit's state directory)."""
    url = database_url(settings.database_url.get_secret_value())
    is_sqlite = url.get_backend_name() == "sqlite"
    return Path(url.database or "").with_suffix(".key") if is_sqlite else Path("paperround.key")


def _existing_key(settings: Settings) -> str:
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    return read_key(_key_file(settings))


def _new_key(settings: Settings) -> str:
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    return read_or_make_key(_key_file(settings))


async def initialise(
    settings: Settings, *, project: str, owner_email: str | None, adopt: bool = False
) -> dict[str, Any]:
    """Make what is missing: folder, key, schema, first rows. What was made, as JSON.

    ``adopt``: deliveries are to be made from this database, although it is a copy of one they were made from.
    """
    url = database_url(settings.database_url.get_secret_value())
    owner = _owner_address(settings, owner_email)
    make_folder_of(url)
    database = Database(url)
    try:
        migrated = await database.migrate()
        async with database.read() as connection:
            is_new = await people.find_installation(connection) is None
        box = Box(_new_key(settings) if is_new else _existing_key(settings))
        async with database.write() as tx:
            await tx.run_sync(one_at_a_time)
            found = await people.find_installation(tx)
            if found is None:
                await _install(tx, box, project=project, timezone=settings.timezone, owner_email=owner)
            else:
                box.open(found.key_check_sealed)
            first = await people.find_project(tx)
        if adopt:
            await take_home(database, adopt=True)
        return {
            "created": is_new,
            "migrated": migrated and not is_new,
            "database": database.name,
            "key_file": None if settings.secret_key else str(_key_file(settings)),
            "project": {"id": first.id, "name": first.name},
        }
    finally:
        await database.aclose()


async def _install(tx: AsyncConnection, box: Box, *, project: str, timezone: str, owner_email: str) -> None:
    """The first rows, a secret to sign webhooks with among them."""
    now = system_clock()
    made = await people.install(
        tx,
        key_check_sealed=box.seal(KEY_CHECK),
        organisation="Default organisation",
        project=project,
        timezone=timezone,
        owner_email=owner_email,
        now=now,
    )
    await add_signature(tx, box, made, now=now)
