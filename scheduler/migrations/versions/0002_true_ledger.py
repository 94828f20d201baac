"""What verifying the ledger, giving up on targets and telling owners need.

Revision: 0002
Revises: 0001
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("installation", sa.Column("home", sa.String(length=200), nullable=True))
    op.add_column("installation", sa.Column("tzdata", sa.String(length=20), nullable=True))
    op.add_column("installation", sa.Column("verified_at", INSTANT, nullable=True))
    op.add_column("installation", sa.Column("discrepancies", sa.Integer(), nullable=True))
    op.add_column("projects", sa.Column("policy", sa.JSON(), nullable=True))
    op.add_column("subscriptions", sa.Column("enabled_at", INSTANT, nullable=True))
    op.add_column("deliveries", sa.Column("notice", sa.JSON(), nullable=True))
    op.execute("ALTER TABLE delivery_recipients RENAME COLUMN resent_after TO uncounted")

    op.create_table(
        "recurrences",
        sa.Column("id", ID, nullable=False),
        sa.Column("subscription_id", ID, nullable=False),
        sa.Column("rule", sa.JSON(), nullable=False),
        sa.Column("tzdata", sa.String(length=20), nullable=False),
        sa.Column("first_at", INSTANT, nullable=False),
        sa.Column("ended_before", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscriptions.id"], name=op.f("fk_recurrences_subscription_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recurrences")),
    )
    op.create_index(op.f("ix_recurrences_subscription_id"), "recurrences", ["subscription_id"], unique=False)
    op.create_index(
        "uq_recurrences_present",
        "recurrences",
        ["subscription_id"],
        unique=True,
        sqlite_where=sa.text("ended_before IS NULL"),
        postgresql_where=sa.text("ended_before IS NULL"),
    )
    _take_up_present_rules()


def _take_up_present_rules() -> None:
    """Every live rule is verified from its next date on; what came before has no history to be held against."""
    connection = op.get_bind()
    subscriptions, recurrences = _tables()
    is_live = sa.and_(
        subscriptions.c.enabled, sa.not_(subscriptions.c.deleted), subscriptions.c.next_delivery_date.is_not(None)
    )
    for row in connection.execute(sa.select(subscriptions).where(is_live)).mappings().all():
        connection.execute(
            sa.insert(recurrences).values(
                subscription_id=row["id"],
                rule=_rule(row),
                tzdata="unknown",
                first_at=row["next_delivery_date"],
                created_at=row["updated_at"],
            )
        )


def _tables() -> tuple[sa.TableClause, sa.TableClause]:
    """As they are at this revision, as far as is needed here."""
    instants = ("start_date", "until_date", "next_delivery_date", "updated_at")
    others = ("id", "frequency", "interval", "byweekday", "bysetpos", "occurrence_count", "timezone", "gap", "fold")
    subscriptions = sa.table(
        "subscriptions",
        *(sa.column(name, INSTANT) for name in instants),
        *(sa.column(name) for name in others),
        sa.column("enabled", sa.Boolean()),
        sa.column("deleted", sa.Boolean()),
    )
    recurrences = sa.table(
        "recurrences",
        sa.column("subscription_id"),
        sa.column("rule", sa.JSON()),
        sa.column("tzdata"),
        sa.column("first_at", INSTANT),
        sa.column("created_at", INSTANT),
    )
    return subscriptions, recurrences


def _rule(row: Any) -> dict[str, Any]:
    return {
        "frequency": row["frequency"],
        "interval": row["interval"],
        "byweekday": row["byweekday"] and row["byweekday"].split(","),
        "bysetpos": row["bysetpos"],
        "count": row["occurrence_count"],
        "start_date": _instant(row["start_date"]),
        "until_date": _instant(row["until_date"]),
        "timezone": row["timezone"],
        "gap": row["gap"],
        "fold": row["fold"],
    }


def _instant(stored: datetime | None) -> str | None:
    """ISO 8601 in UTC, which is what SQLite keeps without saying so."""
    if stored is None:
        return None
    return (stored.replace(tzinfo=UTC) if stored.tzinfo is None else stored.astimezone(UTC)).isoformat()
