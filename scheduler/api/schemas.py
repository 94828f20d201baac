"""Subscriptions, deliveries and people as the OpenAPI document has them: what bodies may be, and what is shown.

Documentation alone: bodies are checked in ``scheduler.subscriptions``, rows are shown by ``scheduler.contract``. Tests
hold the three against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from scheduler.api.bodies import LARGEST_NUMBER
from scheduler.api.describing import WHOLE, query
from scheduler.catchup import CatchUp
from scheduler.keys import SCOPES
from scheduler.recurrence import Fold, Frequency, Gap, Weekday
from scheduler.snapshot import ColumnType
from scheduler.status import DeliveryStatus, RecipientStatus
from scheduler.store.people import Role
from scheduler.subscriptions import LONGEST_CATCH_UP_HOURS, LONGEST_SPREAD_MINUTES, LONGEST_TITLE, MOST_INSIGHTS

LARGEST_WHOLE = 2**31 - 1
LONGEST_GUIDE = 500

Id = Annotated[int, Field(ge=1, lt=LARGEST_NUMBER)]
Whole = Annotated[int, Field(ge=1, le=LARGEST_WHOLE)]
Weekdays = Annotated[list[Weekday], Field(max_length=100)]
Position = Annotated[int, Field(ge=-366, le=366, json_schema_extra={"not": {"const": 0}})]
Title = Annotated[str, Field(max_length=LONGEST_TITLE)]
SpreadMinutes = Annotated[int, Field(ge=0, le=LONGEST_SPREAD_MINUTES)]
CatchUpHours = Annotated[int, Field(ge=0, le=LONGEST_CATCH_UP_HOURS)]


class Shown(BaseModel):
    """What an answer has: these fields, all of them, and no other."""

    model_config = ConfigDict(extra="forbid")


def absent(schema: dict[str, Any]) -> None:
    """For a field of an answer that is not always there: absent, and never null."""
    schema.pop("default")
    schema |= schema.pop("anyOf")[0]


def taken(*required: str, partial: bool = False, examples: Sequence[dict[str, Any]]) -> ConfigDict:
    """The configuration of a body's model: which of its fields have to be there, and examples that work.

    ``partial``: what is absent stays as it is, so nothing has a default.
    """
    return ConfigDict(json_schema_extra=_completed(required, partial=partial, examples=list(examples)))


def _completed(
    required: Sequence[str], *, partial: bool, examples: list[dict[str, Any]]
) -> Callable[[dict[str, Any]], None]:
    def complete(schema: dict[str, Any]) -> None:
        schema |= {"required": list(required), "examples": examples}
        for field in schema["properties"].values() if partial else ():
            field.pop("default", None)

    return complete


# ── what a subscription's body may have ──────────────────────────────────────────────────────────────────────────────


class _Recurrence(BaseModel):
    frequency: Frequency = Field(description="The period that `interval` counts in.")
    interval: Whole = Field(default=1, description="Every so many periods.")
    byweekday: Weekdays | None = Field(default=None, description="On these weekdays only.")
    bysetpos: Position | None = Field(
        default=None,
        description="Which of a period's weekdays: 1 is the first, -1 the last. Counts together with `byweekday` only.",
    )
    count: Whole | None = Field(default=None, description="So many occurrences, from the start on; null: no end.")
    start_date: datetime = Field(
        description="No occurrence is before it, and its time of day is theirs. Unless said: now. A year from 1970 to "
        "9000; fractions of a second are dropped.",
    )
    until_date: datetime | None = Field(default=None, description="No occurrence is after it; null: no end.")
    timezone: str = Field(
        description="IANA name: whose wall clock shows the time of day, in summer as in winter. Unless said: the "
        "project's.",
        examples=["Europe/Berlin"],
    )
    gap: Gap = Field(default=Gap.SHIFT, description="A time that the clocks leap over is shifted, or skipped.")
    fold: Fold = Field(default=Fold.FIRST, description="Which pass counts of a time that the clocks show twice.")


class _Subscription(BaseModel):
    dashboard: Id | None = Field(
        default=None, description="The dashboard that is shown. Either this or `insight`; which of them never changes."
    )
    insight: Id | None = Field(default=None, description="The insight that is shown. Either this or `dashboard`.")
    dashboard_export_insights: list[Id] = Field(
        max_length=MOST_INSIGHTS,
        json_schema_extra={"uniqueItems": True},
        description=f"Which of the dashboard's insights are shown, 1 to {MOST_INSIGHTS}: required with `dashboard`, "
        "not allowed with `insight`. A change replaces them all.",
    )
    target_type: Literal["email", "slack", "webhook"] = Field(description="The way out.")
    target_value: str = Field(
        min_length=1,
        description="`email`: addresses, separated by commas. `slack`: a channel, `ID` or `ID|#name`. `webhook`: an "
        "`https` URL on a public host.",
    )


class _More(BaseModel):
    deleted: bool = Field(default=False, description="True removes it, false restores it; its record stays.")
    enabled: bool = Field(default=True, description="False pauses it: nothing is sent.")
    title: Title | None = Field(default=None, description="For people; null: the name of what is shown.")
    integration_id: Id | None = Field(
        default=None, description="Whose credentials are used; `slack` needs one of its kind."
    )
    invite_message: str | None = Field(
        default=None, description="Quoted in the invitation that this request causes, and never shown again."
    )
    summary_enabled: bool = Field(default=False, description="With a summary, made by a model, of what changed.")
    summary_prompt_guide: str = Field(
        default="", max_length=LONGEST_GUIDE, description="What the summary should look at."
    )
    catch_up: CatchUp = Field(
        default=CatchUp.LATEST,
        description="Of the occurrences that were missed while the service was down, the latest is sent, or all, or "
        "none (`skip`); each has its record.",
    )
    catch_up_hours: CatchUpHours = Field(default=24, description="How late an occurrence may still be sent.")
    spread_minutes: SpreadMinutes | None = Field(
        default=0,
        description="Its deliveries may start so long after the occurrence: at a moment within, the same every day. "
        "0 or null: at the occurrence.",
    )


FIRST_MONDAYS = {
    "frequency": "monthly",
    "byweekday": ["monday"],
    "bysetpos": 1,
    "start_date": "2027-01-04T09:00:00+01:00",
    "timezone": "Europe/Berlin",
}
TO_ANN = {"target_type": "email", "target_value": "ann@example.org, bo@example.org"}


class _SubscriptionBody(_More, _Recurrence, _Subscription):
    """The fields in the order in which they are checked."""


class NewSubscription(_SubscriptionBody):
    """A subscription to make: this insight or dashboard, to this target, by this recurrence."""

    model_config = taken(
        "target_type",
        "target_value",
        "frequency",
        examples=[
            {"insight": 1, **TO_ANN, "frequency": "daily"},
            {"dashboard": 1, "dashboard_export_insights": [1], **TO_ANN, **FIRST_MONDAYS, "title": "Numbers"},
        ],
    )


class ReplacedSubscription(_SubscriptionBody):
    """A full update: what a subscription cannot be without has to be there."""

    model_config = taken(
        "target_type",
        "target_value",
        "frequency",
        partial=True,
        examples=[{"insight": 1, **TO_ANN, "frequency": "weekly", "byweekday": ["monday", "friday"]}],
    )


class ChangedSubscription(_SubscriptionBody):
    """A partial update: what is absent stays as it is."""

    model_config = taken(
        partial=True,
        examples=[
            {"title": "Numbers, every other day", "interval": 2},
            {"enabled": False},
            {"enabled": True},
            {"deleted": True},
            {"deleted": False},
        ],
    )


class RecurrenceToPreview(_Recurrence):
    """A recurrence, and how many of its occurrences are asked for."""

    model_config = taken("frequency", examples=[{**FIRST_MONDAYS, "n": 3}])

    n: Annotated[int, Field(ge=1, le=100)] = Field(default=10, description="So many occurrences.")


# ── what is shown of a subscription ──────────────────────────────────────────────────────────────────────────────────


class Problem(Shown):
    """What went wrong, in a word and for people."""

    type: str
    message: str


class Person(Shown):
    """A user, in the reference's shape."""

    id: int
    uuid: UUID
    distinct_id: str
    first_name: str
    last_name: str
    email: str
    is_email_verified: bool | None
    hedgehog_config: None
    role_at_organization: Role


class Subscription(Shown):
    """A standing request and what is known of it."""

    id: Id
    dashboard: Id | None
    insight: Id | None
    insight_short_id: str | None = Field(description="Null for dashboards.")
    resource_name: str | None = Field(description="The insight's or the dashboard's.")
    resource_type: Literal["insight", "dashboard"]
    dashboard_export_insights: list[Id] = Field(description="In the dashboard's order.")
    target_type: Literal["email", "slack", "webhook"]
    target_value: str
    frequency: Frequency
    interval: Whole
    byweekday: list[Weekday] | None
    bysetpos: Position | None
    count: Whole | None
    start_date: datetime
    until_date: datetime | None
    timezone: str
    gap: Gap
    fold: Fold
    catch_up: CatchUp
    catch_up_hours: CatchUpHours
    spread_minutes: SpreadMinutes = Field(default=0, description="There only where it is spread.")
    created_at: datetime
    created_by: Person
    deleted: bool
    enabled: bool
    title: Title | None
    summary: str = Field(description="The recurrence as a sentence.")
    next_delivery_date: datetime | None = Field(description="Null: the recurrence has ended.")
    integration_id: Id | None
    invite_message: None
    summary_enabled: bool
    summary_prompt_guide: Annotated[str, Field(max_length=LONGEST_GUIDE)]
    last_error: Problem | None = Field(description="What failed last, or why it was disabled; null when all is well.")


class Page(Shown):
    """A part of a list; ``next`` and ``previous`` are absolute and keep the filters."""

    count: int = Field(ge=0, description="All that the filters let through.")
    next: str | None
    previous: str | None


class SubscriptionPage(Page):
    """Subscriptions, a part of the list."""

    results: list[Subscription]


ORDERINGS = ("created_at", "next_delivery_date", "title", "created_by__email")
FILTERS = (
    query("created_by", {"type": "string", "format": "uuid"}, "By this user, by uuid."),
    query("dashboard", WHOLE, "Of this dashboard."),
    query("insight", WHOLE, "Of this insight."),
    query("target_type", {"enum": ["email", "slack", "webhook"]}, "By this way."),
    query("resource_type", {"enum": ["insight", "dashboard"]}, "Of this kind; anything else is as if not said."),
    query("deleted", {"type": "boolean"}, "`true`: those that were removed; anything else: those that are there."),
    query("search", {"type": "string"}, "Words, each of which is in the title or the name of what is shown."),
    query(
        "ordering",
        {"type": "string", "examples": ["next_delivery_date,-title"]},
        f"Some of {', '.join(f'`{each}`' for each in ORDERINGS)}, separated by commas, descending with `-` before it; "
        "anything else is as if not said. Unless said: `-created_at`.",
    ),
)
DELIVERY_FILTERS = (
    query("status", {"enum": list(DeliveryStatus)}, "In this status."),
    query("cursor", {"type": "string"}, "What `next` names; opaque."),
)


class Occurrence(Shown):
    """One instant that a recurrence names."""

    at: datetime
    local: datetime = Field(description="The same instant as the zone's clocks show it.")
    dst_adjusted: bool = Field(description="The rule's time does not exist on that day, or happens twice.")


class Preview(Shown):
    """The recurrence as a sentence, and its next occurrences."""

    summary: str
    occurrences: list[Occurrence]


class SummaryQuota(Shown):
    """How many subscriptions of the organisation have AI summaries, paused ones included."""

    active_count: int = Field(ge=0)
    limit: int | None = Field(description="Null: none.")
    at_limit: bool


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


class QueryRows(Shown):
    """An insight's rows as they were shown: as many values in each as there are columns."""

    columns: list[str]
    types: list[ColumnType]
    result: list[list[str | float | bool | None]]
    last_refresh: datetime
    has_more: bool = Field(description="There were more rows than are kept.")


class ShownInsight(Shown):
    """One insight as it was when it was shown."""

    id: Id
    short_id: str
    name: str
    description: str
    query_results: QueryRows | None
    query_error: Problem | None = Field(default=None, json_schema_extra=absent)


class ShownDashboard(Shown):
    """The dashboard as it was called when it was shown."""

    id: Id
    name: str


class ContentSnapshot(Shown):
    """What was shown."""

    dashboard: ShownDashboard | None
    insights: list[ShownInsight]
    total_insight_count: int = Field(ge=0)


class RecipientResult(Shown):
    """One address, Slack channel or webhook of a delivery."""

    recipient: str
    status: Literal["success", "failed", "partial", "pending", "uncertain"]
    state: RecipientStatus = Field(description="The same, more exactly.")
    attempts: int = Field(ge=0)
    sent_at: datetime | None
    next_attempt_at: datetime | None
    error: Problem | None = Field(default=None, json_schema_extra=absent)


class Attempt(Shown):
    """One try at one recipient."""

    recipient: str
    attempt: int = Field(ge=1)
    outcome: Literal["sent", "transient", "permanent", "uncertain"]
    reason: str | None
    started_at: datetime
    finished_at: datetime | None


class Delivery(Shown):
    """One occurrence on its way out, with its history."""

    id: UUID
    subscription: Id
    temporal_workflow_id: str = Field(description="The run's id in the engine that executed it.")
    idempotency_key: str = Field(description="The same over every attempt of this delivery.")
    trigger_type: Literal["scheduled", "manual", "target_change", "backfill", "resend"]
    scheduled_at: datetime | None = Field(description="The occurrence; null when no recurrence asked for it.")
    target_type: Literal["email", "slack", "webhook"]
    target_value: str = Field(description="As at the start; of a webhook only its host.")
    exported_asset_ids: list[int] = Field(description="In the dashboard's order, failed ones included.")
    content_snapshot: ContentSnapshot
    recipient_results: list[RecipientResult]
    status: DeliveryStatus
    error: Problem | None
    created_at: datetime
    last_updated_at: datetime
    finished_at: datetime | None
    change_summary: str | None
    attempts: list[Attempt]


class DeliveryPage(Shown):
    """Deliveries, newest first, fifty a page; ``next`` is absolute and keeps the filters."""

    next: str | None
    previous: str | None
    results: list[Delivery]


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class OrganisationName(Shown):
    """An organisation, in brief."""

    id: UUID
    name: str


class TeamName(Shown):
    """A project, as the reference also calls it, in brief."""

    id: Id
    name: str
    organization: UUID


class Me(Person):
    """The user whose key was sent, and where it belongs."""

    organization: OrganisationName
    organizations: list[OrganisationName]
    team: TeamName | None = Field(description="The first project that the key reaches.")


class CurrentKey(Shown):
    """The key that was sent: what it may do, and where."""

    id: Id
    scopes: list[Literal[SCOPES]]  # type: ignore[valid-type]
    scoped_teams: list[Id] = Field(description="The projects it is limited to; empty: none.")
    scoped_organizations: list[UUID]
