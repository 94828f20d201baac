"""What people do with subscriptions: subscribe, edit, pause, resume, remove, test, unsubscribe.

The command line and the API both come here; what a change means, and what it sends, is decided here alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from channels.base import TargetError
from channels.registry import KINDS, Channels
from channels.registry import destination as destination_of
from channels.registry import shown as shown_as
from scheduler import quota
from scheduler.catchup import WINDOW, CatchUp
from scheduler.clock import Clock
from scheduler.db import Database
from scheduler.errors import Conflict, InvalidField, NotFound
from scheduler.quota import SummaryRules
from scheduler.recurrence import Recurrence
from scheduler.sealing import Box
from scheduler.status import Trigger
from scheduler.store import catalog, opening, recurrences
from scheduler.store import subscriptions as rows
from scheduler.store.catalog import Dashboard, Entry, Insight, Integration
from scheduler.store.columns import Target
from scheduler.store.opening import NewDelivery
from scheduler.store.people import Project, User
from scheduler.store.recurrences import rule_fields
from scheduler.store.subscriptions import Subscription

log = structlog.get_logger()

MOST_INSIGHTS = 25
LONGEST_TITLE = 100
LONGEST_CATCH_UP_HOURS = 24 * 366
LONGEST_SPREAD_MINUTES = 12 * 60

RECURRENCE = (
    "frequency",
    "interval",
    "byweekday",
    "bysetpos",
    "count",
    "start_date",
    "until_date",
    "timezone",
    "gap",
    "fold",
)
CONTENT = ("insight", "dashboard", "dashboard_export_insights")
TARGET = ("target_type", "target_value", "integration_id")
OTHER = ("title", "enabled", "deleted", "invite_message", "catch_up", "catch_up_hours", "spread_minutes")
FIELDS = frozenset({*RECURRENCE, *CONTENT, *TARGET, *OTHER, *quota.FIELDS})
ABSENT = object()
"""Not even null."""


class Subscriptions:
    """Every change of a standing request, for every surface."""

    def __init__(
        self,
        database: Database,
        channels: Channels,
        box: Box,
        clock: Clock,
        installation: UUID,
        summaries: SummaryRules,
    ) -> None:
        self.summaries = summaries
        self._database = database
        self._channels = channels
        self._box = box
        self._clock = clock
        self._installation = installation

    # ── subscribe ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, project: Project, by: User, fields: Mapping[str, Any]) -> Subscription:
        """A new subscription and, when it is enabled, its first delivery: the invitation.

        ``fields`` are the contract's, dates as aware datetimes. Raises :class:`InvalidField` for the first wrong one.
        """
        now = self._clock()
        _refuse_unknown(fields)
        async with self._database.write() as tx:
            columns = await self._content_columns(tx, project, fields)
            target = self.target(fields.get("target_type", ABSENT), fields.get("target_value", ABSENT))
            recurrence = _recurrence(
                {"start_date": now.replace(second=0, microsecond=0), "timezone": project.timezone} | dict(fields)
            )
            next_at = recurrence.next_after(now)
            if next_at is None:
                raise InvalidField(
                    "start_date", f"{recurrence.describe()}: there is no occurrence after now; move it on"
                )
            columns |= target_columns(target) | _recurrence_columns(recurrence)
            columns |= _flags({"deleted": False, "enabled": True} | dict(fields)) | _title_column(fields)
            columns["integration_id"] = await self._integration(tx, project, target.kind, fields.get("integration_id"))
            _check_invite_message(fields.get("invite_message"))
            columns |= await self.summaries.columns(tx, project, None, fields)
            columns |= _other_columns(fields, defaults=True)
            columns |= {"project_id": project.id, "created_by_id": by.id, "next_delivery_date": next_at}
            subscription_id = await rows.add(tx, columns, now=now)
            if columns["enabled"] and not columns["deleted"]:
                await recurrences.take_up(tx, [(subscription_id, recurrence, next_at)], now=now)
                made = await rows.find(tx, project.id, subscription_id)
                message = fields.get("invite_message")
                invitation = _delivery(
                    made.id, Trigger.TARGET_CHANGE, made.target, invites=True, invite_message=message
                )
                await opening.insert_deliveries(tx, [invitation], now=now)
            return await rows.find(tx, project.id, subscription_id)

    # ── edit ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def edit(self, project: Project, subscription_id: int, fields: Mapping[str, Any]) -> Subscription:
        """Change some fields; what follows from the change (next date, an announcement) follows here.

        The next date is worked out anew only when the recurrence changed or the subscription was resumed: never into
        the past. An announcement goes out on resuming, and when target, integration or content changed.
        """
        now = self._clock()
        _refuse_unknown(fields)
        async with self._database.write() as tx:
            before = await rows.find(tx, project.id, subscription_id, lock=True)
            after = await self._change(tx, before, await self._changes(tx, project, before, fields, now=now), now=now)
            if not after.is_live or after.target != before.target:
                await rows.look_again(tx, subscription_id, now=now)
            if not after.is_live:
                await rows.suppress(tx, subscription_id)
            announcement = _announcement(before, after, fields.get("invite_message"))
            if announcement is not None:
                await opening.insert_deliveries(tx, [announcement], now=now)
            return after

    async def _change(
        self, tx: AsyncConnection, before: Subscription, columns: Mapping[str, Any], *, now: datetime
    ) -> Subscription:
        """Write it; the rule the subscription goes by ends, or begins, where the change says so.

        What has fallen due by now, and nobody opened yet, still belongs to the rule as it was.
        """
        is_live = columns.get("enabled", before.enabled) and not columns.get("deleted", before.deleted)
        another_date = "next_delivery_date" in columns
        if before.is_live and (another_date or not is_live):
            instead = None if is_live else "paused or removed before it was sent"
            await opening.open_until_now(tx, before.id, instead=instead, installation=self._installation, now=now)
            await recurrences.end(tx, [before.id], now=now)
        await rows.change(tx, before.id, dict(columns), now=now)
        after = await rows.find(tx, before.project_id, before.id)
        if is_live and after.next_delivery_date is not None and (another_date or not before.is_live):
            await recurrences.take_up(tx, [(after.id, after.recurrence, after.next_delivery_date)], now=now)
        return after

    async def pause(self, project: Project, subscription_id: int) -> Subscription:
        """A person's doing; nothing is sent until it is resumed."""
        return await self.edit(project, subscription_id, {"enabled": False})

    async def resume(self, project: Project, subscription_id: int) -> Subscription:
        """From the next occurrence on; what was missed while it was paused stays missed."""
        return await self.edit(project, subscription_id, {"enabled": True})

    async def remove(self, project: Project, subscription_id: int) -> Subscription:
        """Soft: the row and its deliveries stay, nothing more is sent."""
        return await self.edit(project, subscription_id, {"deleted": True})

    # ── test and unsubscribe ─────────────────────────────────────────────────────────────────────────────────────────

    async def test(self, project: Project, subscription_id: int) -> UUID:
        """Send it now, to everyone, once; the next date stays. The new delivery's id.

        Raises :class:`NotFound` when it is deleted, :class:`Conflict` when it is paused or another test is on its way.
        """
        now = self._clock()
        async with self._database.write() as tx:
            subscription = await rows.find(tx, project.id, subscription_id, lock=True)
            if subscription.deleted:
                raise NotFound(f"subscription {subscription_id} was removed")
            if not subscription.enabled:
                raise Conflict(f"subscription {subscription_id} is paused; resume it first")
            if await rows.has_open_delivery(tx, subscription_id, Trigger.MANUAL):
                raise Conflict(f"a test of subscription {subscription_id} is still in progress")
            delivery = _delivery(subscription_id, Trigger.MANUAL, subscription.target)
            await opening.insert_deliveries(tx, [delivery], now=now)
            return delivery.id

    async def unsubscribe(self, subscription_id: int, address: str) -> bool:
        """Take one address out of an e-mail subscription; the last one removes it. False when it was out already."""
        now = self._clock()
        async with self._database.write() as tx:
            project_id = await rows.project_of(tx, subscription_id)
            if project_id is None:
                return False
            subscription = await rows.find(tx, project_id, subscription_id, lock=True)
            staying = [each for each in subscription.target.addresses if each.casefold() != address.casefold()]
            leaving = [each for each in subscription.target.addresses if each not in staying]
            if not leaving:
                return False
            values = {"target_value": ",".join(staying)} if staying else {"deleted": True}
            await self._change(tx, subscription, values, now=now)
            await rows.look_again(tx, subscription_id, now=now)
        log.info("subscription.unsubscribed", subscription_id=subscription_id, left=len(staying))
        return True

    # ── fields to columns, in the order of the contract's table ──────────────────────────────────────────────────────

    def target_value(self, target: Target) -> str:
        """The target as its owner typed it, a webhook's URL opened."""
        return target.value if target.sealed is None else self._box.open(target.sealed)

    async def _content_columns(
        self, tx: AsyncConnection, project: Project, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        dashboard, insight = fields.get("dashboard"), fields.get("insight")
        if (dashboard is None) == (insight is None):
            raise InvalidField(None, "give exactly one of insight and dashboard", code="required")
        if insight is not None:
            found = await _existing(tx, Insight, project, "insight", insight)
            if fields.get("dashboard_export_insights"):
                raise InvalidField("dashboard_export_insights", "only for a dashboard; leave it out for an insight")
            return {"insight_id": found.id, "dashboard_id": None, "dashboard_export_insights": []}
        shown = await _existing(tx, Dashboard, project, "dashboard", dashboard)
        return {
            "insight_id": None,
            "dashboard_id": shown.id,
            "dashboard_export_insights": _selection(shown, fields.get("dashboard_export_insights", ABSENT)),
        }

    def target(self, kind: object, value: object) -> Target:
        """What somebody typed, checked, as it is kept. Raises :class:`InvalidField`."""
        _refuse_missing("target_type", kind, f"say which way it goes: {', '.join(KINDS)}")
        if kind not in KINDS:
            raise InvalidField("target_type", f"must be one of {', '.join(KINDS)}", code="invalid_choice")
        where = "say where it goes: an address, a channel id or a URL"
        _refuse_missing("target_value", value, where)
        if not isinstance(value, str) or not value.strip():
            raise InvalidField("target_value", where, code="blank" if isinstance(value, str) else "invalid_input")
        try:
            addresses = self._channels.recipients(str(kind), value)
        except TargetError as problem:
            raise InvalidField("target_value", str(problem)) from None
        destination = destination_of(str(kind), addresses)
        if kind == "webhook":
            shown = shown_as("webhook", addresses[0])
            return Target("webhook", shown, self._box.seal(addresses[0]), destination, (shown,))
        typed = ",".join(addresses) if kind == "email" else value.strip()
        return Target(str(kind), typed, None, destination, tuple(addresses))

    async def _integration(self, tx: AsyncConnection, project: Project, kind: str, given: object) -> int | None:
        if given is None:
            if kind == "slack":
                raise InvalidField(
                    "integration_id", "Slack needs one: `paperround integrations add slack --token -`", code="required"
                )
            return None
        integration = await _existing(tx, Integration, project, "integration_id", given)
        if integration.kind != kind:
            raise InvalidField(
                "integration_id", f"integration {integration.id} is for {integration.kind}, not for {kind}"
            )
        return integration.id

    async def _changes(
        self, tx: AsyncConnection, project: Project, before: Subscription, fields: Mapping[str, Any], *, now: datetime
    ) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        if any(name in fields for name in CONTENT):
            columns |= await self._changed_content(tx, project, before, fields)
        kind = fields.get("target_type", before.target.kind)
        if "target_type" in fields or "target_value" in fields:
            target = self.target(kind, fields.get("target_value", self.target_value(before.target)))
            if (kind, self.target_value(target)) != (before.target.kind, self.target_value(before.target)):
                columns |= target_columns(target)
        recurrence = _recurrence(rule_fields(before.recurrence) | dict(fields))
        columns |= _recurrence_columns(recurrence)
        columns |= _flags(fields) | _title_column(fields)
        if any(name in fields for name in TARGET):
            same = before.integration_id if kind == before.target.kind else None  # another channel's is of no use
            given = fields.get("integration_id", same)
            columns["integration_id"] = await self._integration(tx, project, kind, given)
        _check_invite_message(fields.get("invite_message"))
        columns |= await self.summaries.columns(tx, project, before, fields)
        columns |= _other_columns(fields, defaults=False)
        resumed = columns.get("enabled", before.enabled) and not before.enabled
        restored = before.deleted and columns.get("deleted") is False
        if resumed and kind == "slack" and columns.get("integration_id", before.integration_id) is None:
            raise InvalidField("enabled", "its Slack integration is gone; choose another one with integration_id")
        if recurrence != before.recurrence or resumed or restored:
            columns["next_delivery_date"] = recurrence.next_after(now)
            if columns["next_delivery_date"] is None and columns.get("enabled", before.enabled):
                raise InvalidField(
                    "enabled" if resumed else None, "the recurrence has no occurrence after now; extend it"
                )
        if resumed:
            columns |= {"last_error": None, "enabled_at": now}
        return columns

    async def _changed_content(
        self, tx: AsyncConnection, project: Project, before: Subscription, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        was = "insight" if before.insight_id is not None else "dashboard"
        other = "dashboard" if was == "insight" else "insight"
        if fields.get(other) is not None:
            raise InvalidField(other, f"this subscription shows a {was}; make a new one for a {other}")
        same = {
            "insight": before.insight_id,
            "dashboard": before.dashboard_id,
            "dashboard_export_insights": list(before.dashboard_export_insights),
        }
        return await self._content_columns(tx, project, same | dict(fields))


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    if unknown := sorted(set(fields) - FIELDS):
        raise InvalidField(unknown[0], f"no such field; there are {', '.join(sorted(FIELDS))}")


async def _existing(tx: AsyncConnection, kind: type[Entry], project: Project, field: str, given: object) -> Entry:
    if not isinstance(given, int | str) or isinstance(given, bool):
        raise InvalidField(field, "must be an id", code="invalid_input")
    try:
        return await catalog.find(tx, kind, project.id, given, lock=True)  # it stays, and what is chosen stays on it
    except NotFound as problem:
        raise InvalidField(field, str(problem), code="does_not_exist") from None


def _selection(dashboard: Dashboard, chosen: object) -> list[int]:
    field = "dashboard_export_insights"
    _refuse_missing(field, chosen, "say which of the dashboard's insights are shown")
    if not isinstance(chosen, list) or not all(isinstance(each, int) and not isinstance(each, bool) for each in chosen):
        raise InvalidField(field, "must be a list of insight ids")
    if not 1 <= len(chosen) <= MOST_INSIGHTS or len(set(chosen)) != len(chosen):
        raise InvalidField(field, f"choose 1 to {MOST_INSIGHTS} different insights")
    if missing := [each for each in chosen if each not in dashboard.tiles]:
        raise InvalidField(field, f"insight {missing[0]} is not on dashboard {dashboard.name!r}", code="does_not_exist")
    return [tile for tile in dashboard.tiles if tile in chosen]


def _refuse_missing(field: str, value: object, hint: str) -> None:
    if value is ABSENT:
        raise InvalidField(field, hint, code="required")
    if value is None:
        raise InvalidField(field, hint, code="null")


def _flags(fields: Mapping[str, Any]) -> dict[str, bool]:
    given = {name: fields[name] for name in ("deleted", "enabled") if name in fields}
    for name, value in given.items():
        _refuse_missing(name, value, "must be true or false")
        if not isinstance(value, bool):
            raise InvalidField(name, "must be true or false")
    return given


def _recurrence(fields: Mapping[str, Any]) -> Recurrence:
    frequency = fields.get("frequency", ABSENT)
    _refuse_missing("frequency", frequency, "say how often: daily, weekly, monthly or yearly")
    return Recurrence.parse(**{name: fields[name] for name in RECURRENCE if name in fields})


def _recurrence_columns(recurrence: Recurrence) -> dict[str, Any]:
    columns = rule_fields(recurrence)
    weekdays = columns.pop("byweekday")
    return columns | {
        "byweekday": None if weekdays is None else ",".join(weekdays),
        "occurrence_count": columns.pop("count"),
    }


def target_columns(target: Target) -> dict[str, Any]:
    """A target as a subscription's columns."""
    return {
        "target_type": target.kind,
        "target_value": target.value,
        "target_sealed": target.sealed,
        "destination": target.destination,
    }


def _other_columns(fields: Mapping[str, Any], *, defaults: bool) -> dict[str, Any]:
    checks = {"catch_up": _catch_up, "catch_up_hours": _catch_up_hours, "spread_minutes": _spread_minutes}
    hours = int(WINDOW.total_seconds() // 3600)
    fallback = {"catch_up": CatchUp.LATEST, "catch_up_hours": hours, "spread_minutes": 0}
    given = {**fallback, **fields} if defaults else fields
    return {name: check(given[name]) for name, check in checks.items() if name in given}


def _title_column(fields: Mapping[str, Any]) -> dict[str, str | None]:
    title = fields.get("title")
    if title is not None and (not isinstance(title, str) or "\0" in title):
        raise InvalidField("title", "must be text without a NUL character")
    if title is not None and len(title) > LONGEST_TITLE:
        raise InvalidField("title", f"must be at most {LONGEST_TITLE} characters", code="max_length")
    return {"title": title} if "title" in fields else {}


def _check_invite_message(value: object) -> None:
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise InvalidField("invite_message", "must be text without a NUL character")


def _catch_up(value: object) -> CatchUp:
    try:
        return CatchUp(str(value))
    except ValueError:
        raise InvalidField("catch_up", f"must be one of {', '.join(CatchUp)}", code="invalid_choice") from None


def _catch_up_hours(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LONGEST_CATCH_UP_HOURS:
        raise InvalidField("catch_up_hours", f"must be a whole number of hours, 0 to {LONGEST_CATCH_UP_HOURS}")
    return value


def _spread_minutes(value: object) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LONGEST_SPREAD_MINUTES:
        raise InvalidField("spread_minutes", f"must be a whole number of minutes, 0 to {LONGEST_SPREAD_MINUTES}")
    return value


def _delivery(
    subscription_id: int,
    trigger: Trigger,
    target: Target,
    *,
    invites: bool = False,
    invite_message: str | None = None,
) -> NewDelivery:
    return NewDelivery(
        id=uuid4(),
        subscription_id=subscription_id,
        trigger=trigger,
        target=target,
        invites=invites,
        invite_message=invite_message,
    )


def _announcement(before: Subscription, after: Subscription, invite_message: str | None) -> NewDelivery | None:
    """What an edit sends: to everyone on resuming and when the content changed, else to the new addresses."""
    if not after.enabled or after.deleted:
        return None
    resumed = not before.enabled
    shown = ("insight_id", "dashboard_id", "dashboard_export_insights", "integration_id")
    content_changed = any(getattr(before, name) != getattr(after, name) for name in shown)
    if resumed or content_changed:
        never_announced = resumed and before.updated_at == before.created_at  # made with its enabled off
        return _delivery(
            after.id, Trigger.TARGET_CHANGE, after.target, invites=never_announced, invite_message=invite_message
        )
    return _to_the_new(before, after, invite_message)


def _to_the_new(before: Subscription, after: Subscription, invite_message: str | None) -> NewDelivery | None:
    was, now = before.target, after.target
    if was.kind == now.kind == "email":
        fresh = tuple(address for address in now.addresses if address not in was.addresses)
    else:
        fresh = () if (was.kind, was.value) == (now.kind, now.value) and was.sealed == now.sealed else now.addresses
    if not fresh:
        return None
    target = replace(now, addresses=fresh)
    return _delivery(after.id, Trigger.TARGET_CHANGE, target, invites=True, invite_message=invite_message)
