"""What subscriptions point at, and projects, as the OpenAPI document has them: bodies that are read by these very
models (``scheduler.api.reading``), and what is shown (by ``scheduler.contract``).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from scheduler.api.describing import PAGED, query
from scheduler.api.reading import Taken
from scheduler.api.schemas import Id, Page, Shown
from scheduler.policy import LONGEST_FAILING, LONGEST_PAUSE, MOST_FAILURES, MOST_PAUSES
from scheduler.snapshot import Display

LONGEST_NAME, LONGEST_DESCRIPTION, LONGEST_URL, LONGEST_SQL, LONGEST_SECRET = 200, 5000, 4000, 100_000, 500
MOST_TILES = 300

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_NAME)]
Description = Annotated[str, Field(max_length=LONGEST_DESCRIPTION, description="A line below its name.")]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_URL,
        description="`postgresql://user:password@host/database`, or any that SQLAlchemy knows; never shown again.",
    ),
]
Sql = Annotated[str, Field(min_length=1, max_length=LONGEST_SQL, description="One SELECT; it is only ever read.")]
Drawn = Annotated[Display, Field(strict=False, description="How its rows are drawn.")]
Check = Annotated[bool, Field(description="Ask it once before it is kept; `false` keeps it all the same.")]
Tiles = Annotated[list[Id], Field(min_length=1, max_length=MOST_TILES, description="In the order shown, each once.")]
Secret = Annotated[str, Field(min_length=1, max_length=LONGEST_SECRET)]
Mask = Annotated[str, Field(description="What may be seen of it: enough to know it by.")]

LISTED = (*PAGED, query("search", {"type": "string"}, "Words that are all in the name, in whatever case."))


def _unsaid(schema: dict[str, Any]) -> None:
    """A field that may be absent, but not null: what is absent stays as it is."""
    schema.pop("default", None)


def _maybe() -> Any:
    return Field(default=None, json_schema_extra=_unsaid)


def _examples(*bodies: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(bodies)})


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Source(Shown):
    """A database that insights ask; its URL stays hidden."""

    id: Id
    name: str
    kind: Literal["sql"]
    mask_value: Mask
    created_at: datetime


class SourcePage(Page):
    """Sources, a part of the list."""

    results: list[Source]


class NewSource(Taken):
    """A database; it is only ever read from."""

    model_config = _examples({"name": "Shop", "url": "postgresql://reader:secret@db.example.org/shop", "check": False})

    name: Name
    kind: Literal["sql"] = "sql"
    url: Url
    check: Check = True


class ChangedSource(Taken):
    """What is to change of a source; the rest stays."""

    model_config = _examples({"name": "The shop"})

    name: Name = _maybe()
    kind: Literal["sql"] = _maybe()
    url: Url = _maybe()
    check: Check = True


# ── insights ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Insight(Shown):
    """A named query, and how its rows are drawn."""

    id: Id
    short_id: str
    name: str
    description: str
    source: Id
    sql: str
    display: Display
    created_at: datetime
    updated_at: datetime


class InsightPage(Page):
    """Insights, a part of the list."""

    results: list[Insight]


class NewInsight(Taken):
    """A query of a source; it is run once to see that it works."""

    model_config = _examples(
        {
            "name": "Orders a day",
            "source": 1,
            "sql": "SELECT day, count(*) AS orders FROM orders GROUP BY day ORDER BY day",
            "display": "line",
            "check": False,
        }
    )

    name: Name
    description: Description = ""
    source: Id
    sql: Sql
    display: Drawn = Display.TABLE
    check: Check = True


class ChangedInsight(Taken):
    """What is to change of an insight; the rest stays. Whoever subscribed sees it with the next delivery."""

    model_config = _examples({"description": "Without cancelled ones", "display": "bar"})

    name: Name = _maybe()
    description: Description = _maybe()
    source: Id = _maybe()
    sql: Sql = _maybe()
    display: Drawn = _maybe()
    check: Check = True


# ── dashboards ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Tile(Shown):
    """An insight's place on a dashboard, counted from 0."""

    insight: Id
    name: str
    position: int = Field(ge=0)


class Dashboard(Shown):
    """An ordered set of insights."""

    id: Id
    name: str
    description: str
    insights: list[Id]
    tiles: list[Tile]
    created_at: datetime


class DashboardPage(Page):
    """Dashboards, a part of the list."""

    results: list[Dashboard]


class NewDashboard(Taken):
    """Insights to be shown together."""

    model_config = _examples({"name": "Weekly", "description": "What the team looks at", "insights": [1]})

    name: Name
    description: Description = ""
    insights: Tiles


class ChangedDashboard(Taken):
    """What is to change of a dashboard; ``insights`` are replaced together."""

    model_config = _examples({"name": "Every week", "insights": [1]})

    name: Name = _maybe()
    description: Description = _maybe()
    insights: Tiles = _maybe()


# ── integrations ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Integration(Shown):
    """Credentials of a Slack workspace, or the secret that webhooks are signed with; neither is shown again."""

    id: Id
    kind: Literal["slack", "webhook"]
    name: str
    mask_value: Mask
    created_at: datetime


class IntegrationPage(Page):
    """Integrations, a part of the list."""

    results: list[Integration]


class MadeIntegration(Integration):
    """An integration and, where it was made here, its secret: this once."""

    secret: str = _maybe()


class RotatedIntegration(Integration):
    """An integration and its new secret, this once; the one before it signs, too, until the next time."""

    secret: str


class NewIntegration(Taken):
    """A Slack bot's token, or a secret that webhooks are signed with (Standard Webhooks)."""

    model_config = _examples(
        {"kind": "webhook", "name": "Warehouse"}, {"kind": "slack", "name": "Our workspace", "token": "xoxb-example"}
    )

    kind: Literal["slack", "webhook"]
    name: Name
    token: Annotated[Secret, Field(description="Slack's bot token, `xoxb-…`: required for Slack.")] = _maybe()
    secret: Annotated[Secret, Field(description="A webhook's, `whsec_…`; made here if absent.")] = _maybe()


class ChangedIntegration(Taken):
    """Another name; for Slack another token. A webhook's secret is rotated."""

    model_config = _examples({"name": "Our workspace in Berlin"})

    kind: Literal["slack", "webhook"] = _maybe()
    name: Name = _maybe()
    token: Secret = _maybe()
    secret: Secret = _maybe()


# ── projects ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Pause = Annotated[float, Field(ge=1, le=LONGEST_PAUSE.total_seconds())]
Pauses = Annotated[list[Pause], Field(max_length=MOST_PAUSES, description="Seconds before attempt 2, 3, 4 …")]
Failures = Annotated[int, Field(ge=1, le=MOST_FAILURES)]
Hours = Annotated[int, Field(ge=1, le=int(LONGEST_FAILING.total_seconds() // 3600))]


class Retries(Shown):
    """The pauses between attempts, of each channel."""

    email: Pauses
    slack: Pauses
    webhook: Pauses


class Policy(Shown):
    """What a project decides about failures."""

    retries: Retries
    past_next: bool = Field(description="A delivery is still tried when the next occurrence has come.")
    disable_after: Failures
    disable_after_hours: Hours


class Project(Shown):
    """Where sources, insights, dashboards, integrations and subscriptions live together."""

    id: Id
    organization: UUID
    name: str
    timezone: str
    policy: Policy


class ProjectPage(Page):
    """Projects that the key reaches, a part of the list."""

    results: list[Project]


class ChangedRetries(Taken):
    """Of the channels that are named."""

    email: Pauses = _maybe()
    slack: Pauses = _maybe()
    webhook: Pauses = _maybe()


class ChangedPolicy(Taken):
    """What is to differ; the rest stays."""

    retries: ChangedRetries = _maybe()
    past_next: bool = _maybe()
    disable_after: Failures = _maybe()
    disable_after_hours: Hours = _maybe()


class NewProject(Taken):
    """A further project of the organisation."""

    model_config = _examples({"name": "Berlin", "timezone": "Europe/Berlin", "policy": {"disable_after": 5}})

    name: Name
    timezone: Annotated[str, Field(description="IANA name; the installation's unless said.")] = _maybe()
    policy: ChangedPolicy | None = None


class ChangedProject(Taken):
    """What is to change of a project; ``policy: null`` takes all of it back to the defaults."""

    model_config = _examples({"timezone": "Europe/Paris", "policy": {"retries": {"webhook": [5, 300, 1800]}}})

    name: Name = _maybe()
    timezone: Annotated[str, Field(description="Of new subscriptions; those that are there keep theirs.")] = _maybe()
    policy: ChangedPolicy | None = _maybe()
