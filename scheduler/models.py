"""The tables. Instants are aware UTC in Python and UTC in the database; secrets are sealed text (``*_sealed``).

::

    organisations ─┬─ users ─── api_keys
                   ├─ domains, verification_tokens
                   └─ projects ─┬─ sources ─── insights ─┬─ dashboard_tiles ─ dashboards
                                ├─ integrations          └─ exports
                                └─ subscriptions ─┬─ recurrences
                                                  ├─ shares ── share_passwords
                                                  └─ deliveries ── delivery_recipients ── attempts
    destinations (by name)
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    false,
    text,
)

from scheduler.status import DeliveryStatus, Trigger


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime. SQLite has no such type and keeps UTC text that sorts as time does."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:
        """How the driver gets it: as text where there is no such type."""
        return _written if dialect.name == "sqlite" else _aware

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """SQLite keeps what it is given: text that is no instant comes back as it is, so that it can be set aside."""
        return _read_text if dialect.name == "sqlite" else super().result_processor(dialect, coltype)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Aware UTC, whatever time zone the connection speaks in."""
        if value is None or value.tzinfo is UTC:
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _aware(value: datetime | None) -> datetime | None:
    """Refuse naive datetimes: nobody knows which instant they are."""
    if value is not None and value.tzinfo is None:
        raise ValueError(f"naive datetime {value}")
    return value


def _written(value: datetime | None) -> str | None:
    if value is None or _aware(value) is None:
        return None
    at = value if value.tzinfo is UTC else value.astimezone(UTC)
    return at.isoformat(" ", "microseconds")[:_WITHOUT_OFFSET]


_WITHOUT_OFFSET = len("2026-11-22 12:00:00.000000")


def _read_text(kept: Any) -> Any:
    try:
        return None if kept is None else datetime.fromisoformat(kept + "+00:00")
    except (TypeError, ValueError):
        return kept


Folded = Text().with_variant(Text(collation="C"), "postgresql")  # by code point, as SQLite orders text

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only when the type is exactly INTEGER

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True)


def _belongs_to(table: str, *, nullable: bool = False, index: bool = True) -> Column[Any]:
    return Column(f"{table.removesuffix('s')}_id", ForeignKey(f"{table}.id"), nullable=nullable, index=index)


def _created_at() -> Column[datetime]:
    return Column("created_at", Instant, nullable=False)


installation = Table(
    "installation",
    metadata,
    _id(),
    Column("uuid", Uuid, nullable=False),  # in every idempotency key: two installations never make the same one
    Column("key_check_sealed", Text, nullable=False),  # opens only with the key that this database was made with
    Column("home", String(200)),  # which file or server it is, since it was first delivered from: a copy is another
    Column("tzdata", String(20)),  # the time zone rules that next dates were worked out with
    Column("verified_at", Instant),  # when the ledger was last compared with the rules, and what was found
    Column("discrepancies", Integer),
    _created_at(),
)

organisations = Table(
    "organisations",
    metadata,
    _id(),
    Column("name", String(200), nullable=False),
    Column("summaries_allowed", Boolean, nullable=False, server_default=false()),  # its rows may go to a model
    _created_at(),
)

users = Table(
    "users",
    metadata,
    _id(),
    Column("uuid", Uuid, nullable=False, unique=True),
    _belongs_to("organisations"),
    Column("email", String(320), nullable=False, unique=True),
    Column("first_name", String(150), nullable=False),
    Column("last_name", String(150), nullable=False),
    Column("role", String(20), nullable=False),
    _created_at(),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    Column("uuid", Uuid, nullable=False, unique=True),
    _belongs_to("users"),
    Column("name", String(40), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),  # of the key, which is shown once and kept nowhere
    Column("mask", String(20), nullable=False),  # its first and last characters, to know it by
    Column("scopes", JSON, nullable=False),
    Column("project_ids", JSON(none_as_null=True)),  # null: all of the organisation's, those to come included
    _created_at(),
    Column("last_used_at", Instant),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
)

projects = Table(
    "projects",
    metadata,
    _id(),
    _belongs_to("organisations"),
    Column("name", String(200), nullable=False),
    Column("timezone", String(64), nullable=False),
    Column("policy", JSON(none_as_null=True)),  # where it differs from the defaults of scheduler.policy
    _created_at(),
)

sources = Table(
    "sources",
    metadata,
    _id(),
    _belongs_to("projects", index=False),
    Column("name", String(200), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("url_sealed", Text, nullable=False),
    _created_at(),
    UniqueConstraint("project_id", "name"),
    sqlite_autoincrement=True,
)

insights = Table(
    "insights",
    metadata,
    _id(),
    _belongs_to("projects", index=False),
    Column("short_id", String(12), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("description", Text, nullable=False),
    _belongs_to("sources"),
    Column("sql", Text, nullable=False),
    Column("display", String(20), nullable=False),
    _created_at(),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("project_id", "name"),
    sqlite_autoincrement=True,
)

dashboards = Table(
    "dashboards",
    metadata,
    _id(),
    _belongs_to("projects", index=False),
    Column("name", String(200), nullable=False),
    Column("description", Text, nullable=False),
    _created_at(),
    UniqueConstraint("project_id", "name"),
    sqlite_autoincrement=True,
)

dashboard_tiles = Table(
    "dashboard_tiles",
    metadata,
    Column("dashboard_id", ForeignKey("dashboards.id", ondelete="CASCADE"), primary_key=True),
    Column("insight_id", ForeignKey("insights.id"), primary_key=True, index=True),
    Column("position", Integer, nullable=False),
)

integrations = Table(
    "integrations",
    metadata,
    _id(),
    _belongs_to("projects", index=False),
    Column("kind", String(20), nullable=False),
    Column("name", String(200), nullable=False),
    Column("secret_sealed", Text, nullable=False),
    _created_at(),
    UniqueConstraint("project_id", "name"),
    sqlite_autoincrement=True,
)

subscriptions = Table(
    "subscriptions",
    metadata,
    _id(),
    _belongs_to("projects", index=False),
    Column("insight_id", ForeignKey("insights.id")),
    Column("dashboard_id", ForeignKey("dashboards.id")),
    Column("dashboard_export_insights", JSON, nullable=False),
    Column("target_type", String(20), nullable=False),
    Column("target_value", Text, nullable=False),  # as it may be shown: a webhook's host
    Column("target_sealed", Text),  # a webhook's URL
    Column("destination", String(300), nullable=False),  # what caps and rates go by
    Column("integration_id", ForeignKey("integrations.id"), index=True),
    Column("title", String(100)),
    Column("title_folded", Folded),  # as search and order see it
    Column("frequency", String(10), nullable=False),
    Column("interval", Integer, nullable=False),
    Column("byweekday", String(80)),  # monday,friday
    Column("bysetpos", Integer),
    Column("occurrence_count", Integer),  # `count` in the API; a Row has a method of that name
    Column("start_date", Instant, nullable=False),
    Column("until_date", Instant),
    Column("timezone", String(64), nullable=False),
    Column("gap", String(10), nullable=False),
    Column("fold", String(10), nullable=False),
    Column("catch_up", String(10), nullable=False),
    Column("catch_up_hours", Integer, nullable=False),
    Column("spread_minutes", Integer, nullable=False, server_default="0"),
    Column("next_delivery_date", Instant),
    Column("enabled", Boolean, nullable=False),
    Column("enabled_at", Instant),  # when it was last resumed: failures in a row count from here
    Column("deleted", Boolean, nullable=False),
    Column("last_error", JSON(none_as_null=True)),
    Column("summary_enabled", Boolean, nullable=False, server_default=false()),
    Column("summary_prompt_guide", String(500), nullable=False, server_default=""),
    Column("created_by_id", ForeignKey("users.id"), nullable=False),
    _created_at(),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("(insight_id IS NULL) <> (dashboard_id IS NULL)", name="one_resource"),
    CheckConstraint("interval >= 1", name="interval_positive"),
    sqlite_autoincrement=True,
)

DUE = text("enabled AND NOT deleted AND next_delivery_date IS NOT NULL")
"""Queries say it in these very words: SQLite takes a partial index only for a WHERE that repeats its own."""
Index("ix_subscriptions_due", subscriptions.c.next_delivery_date, postgresql_where=DUE, sqlite_where=DUE)
for _shown in ("insight", "dashboard"):  # with the title: a search by name and title reads nothing else
    _columns = (f"{_shown}_id", "project_id", "deleted", "title_folded")
    Index(f"ix_subscriptions_{_shown}", *(subscriptions.c[each] for each in _columns))


def _list_index(name: str, *columns: str) -> None:
    """What a list of a project's live, or removed, subscriptions reads instead of the table."""
    Index(name, *(subscriptions.c[column] for column in ("project_id", "deleted", *columns)))


_list_index("ix_subscriptions_newest", "created_at", "id")
_list_index("ix_subscriptions_next", "next_delivery_date", "id")
_list_index("ix_subscriptions_owner", "created_by_id", "id")
# It has whatever a list may be filtered by, too: a search reads nothing else.
_list_index(
    "ix_subscriptions_title", "title_folded", "id", "insight_id", "dashboard_id", "target_type", "created_by_id"
)

recurrences = Table(
    "recurrences",  # which rule a subscription went by, and for how long: what the ledger is verified against
    metadata,
    _id(),
    _belongs_to("subscriptions"),
    Column("rule", JSON, nullable=False),
    Column("tzdata", String(20), nullable=False),
    Column("first_at", Instant, nullable=False),  # the first occurrence that was to be delivered by this rule
    Column("ended_before", Instant),  # the first one that was not; null while it is the present rule
    _created_at(),
)
PRESENT = text("ended_before IS NULL")
Index(
    "uq_recurrences_present",
    recurrences.c.subscription_id,
    unique=True,
    postgresql_where=PRESENT,
    sqlite_where=PRESENT,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("subscription_id", ForeignKey("subscriptions.id"), nullable=False),
    Column("trigger_type", String(20), nullable=False),
    Column("scheduled_at", Instant),
    Column("idempotency_key", String(80), nullable=False, unique=True),
    Column("status", String(12), nullable=False),
    Column("target_type", String(20), nullable=False),
    Column("target_value", Text, nullable=False),
    Column("target_sealed", Text),
    Column("destination", String(300), nullable=False),
    Column("integration_id", ForeignKey("integrations.id"), index=True),
    Column("resent", Boolean, nullable=False, server_default=false()),  # somebody asked for it, and looks on
    Column("invites", Boolean, nullable=False),  # its recipients are new: they are told who subscribed them
    Column("invite_message", Text),
    Column("notice", JSON(none_as_null=True)),  # of a notice to the owner: what it is about
    Column("exported_asset_ids", JSON(none_as_null=True)),  # null until the content was computed
    Column("dashboard", JSON(none_as_null=True)),  # the id and name of the one it showed
    Column("ready_at", Instant),  # when it may be claimed; while it is claimed, when its lease runs out
    Column("lease", Uuid),  # the claim that holds it; null while nobody does
    Column("run_id", String(80)),
    Column("change_summary", Text),
    Column("error_type", String(60)),
    Column("error_message", String(500)),
    _created_at(),
    Column("updated_at", Instant, nullable=False),
    Column("finished_at", Instant),
)

SCHEDULED = text(f"trigger_type = '{Trigger.SCHEDULED}'")
Index(
    "uq_deliveries_occurrence",
    deliveries.c.subscription_id,
    deliveries.c.scheduled_at,
    unique=True,
    postgresql_where=SCHEDULED,
    sqlite_where=SCHEDULED,
)
STARTING = text(f"status = '{DeliveryStatus.STARTING}'")
Index("ix_deliveries_ready", deliveries.c.ready_at, postgresql_where=STARTING, sqlite_where=STARTING)
_WAITED_FOR = ", ".join(f"'{trigger}'" for trigger in (Trigger.MANUAL, Trigger.TARGET_CHANGE, Trigger.RESEND))
INTERACTIVE = text(f"status = '{DeliveryStatus.STARTING}' AND (resent OR trigger_type IN ({_WAITED_FOR}))")
Index("ix_deliveries_interactive", deliveries.c.ready_at, postgresql_where=INTERACTIVE, sqlite_where=INTERACTIVE)
HELD = text("lease IS NOT NULL")
Index("ix_deliveries_newest", deliveries.c.subscription_id, deliveries.c.created_at, deliveries.c.id)
ENDED = text(f"status <> '{DeliveryStatus.STARTING}'")
"""For lists of a whole project. With all deliveries in it, claiming would be tempted to read it for its order."""
Index("ix_deliveries_ended", deliveries.c.created_at, deliveries.c.id, postgresql_where=ENDED, sqlite_where=ENDED)
ASKED_FOR = text(f"trigger_type = '{Trigger.MANUAL}'")
Index("ix_deliveries_asked_for", deliveries.c.created_at, postgresql_where=ASKED_FOR, sqlite_where=ASKED_FOR)
Index("ix_deliveries_run", deliveries.c.run_id)

delivery_recipients = Table(
    "delivery_recipients",
    metadata,
    Column("delivery_id", ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("address", Text, nullable=False),  # as it may be shown: a webhook's host
    Column("status", String(12), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("uncounted", Integer, nullable=False),  # attempts put off by the provider, and those before a resend
    Column("next_attempt_at", Instant),
    Column("provider_id", Text),
    Column("error_type", String(60)),
    Column("error_message", String(500)),
    Column("progress", JSON(none_as_null=True)),
    Column("sent_at", Instant),
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("outcome", String(12), nullable=False),
    Column("reason", String(500)),
    Column("started_at", Instant),
    Column("finished_at", Instant, nullable=False),
)

destinations = Table(
    "destinations",
    metadata,
    Column("name", String(300), primary_key=True),  # as deliveries have it; only of those that have a pace
    Column("free_at", Instant, nullable=False, index=True),  # when the next may be sent there
    Column("taken_at", Instant, nullable=False),  # by which clock: one that was ahead is not waited for
)

exports = Table(
    "exports",
    metadata,
    _id(),
    Column("insight_id", ForeignKey("insights.id", ondelete="SET NULL"), index=True),  # the snapshot stays
    Column("display", String(20), nullable=False),
    Column("snapshot", JSON, nullable=False),
    _created_at(),
    sqlite_autoincrement=True,
)

shares = Table(
    "shares",
    metadata,
    _id(),
    _belongs_to("subscriptions", index=False),
    Column("delivery_id", ForeignKey("deliveries.id"), unique=True),  # null: whichever was sent last
    Column("enabled", Boolean, nullable=False),
    Column("token_sealed", Text, nullable=False),  # its owner may look at it again
    Column("token_digest", String(64), nullable=False, unique=True),
    Column("earlier_digest", String(64), index=True),  # of the token before this one, good until …
    Column("earlier_until", Instant),
    Column("password_required", Boolean, nullable=False),
    Column("settings", JSON, nullable=False),
    _created_at(),
)
NEWEST = text("delivery_id IS NULL")
Index("uq_shares_subscription", shares.c.subscription_id, unique=True, postgresql_where=NEWEST, sqlite_where=NEWEST)

share_passwords = Table(
    "share_passwords",
    metadata,
    _id(),
    _belongs_to("shares"),
    Column("hash", String(200), nullable=False),
    Column("note", String(100), nullable=False),
    Column("created_by_id", ForeignKey("users.id"), nullable=False),
    _created_at(),
    sqlite_autoincrement=True,  # cookies name it: a removed one's id never comes back
)

verification_tokens = Table(
    "verification_tokens",
    metadata,
    Column("id", Uuid, primary_key=True),
    _belongs_to("organisations"),
    Column("label", String(40), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("mask", String(20), nullable=False),
    Column("created_by_id", ForeignKey("users.id"), nullable=False),
    _created_at(),
    Column("last_used_at", Instant),
)

domains = Table(
    "domains",
    metadata,
    Column("id", Uuid, primary_key=True),
    _belongs_to("organisations", index=False),
    Column("domain", String(253), nullable=False),
    Column("verification_challenge", String(128), nullable=False),
    Column("verified_at", Instant),
    Column("last_looked_up_at", Instant),
    _created_at(),
    UniqueConstraint("organisation_id", "domain"),
)
