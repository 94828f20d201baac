"""Titles as search sees them, and indexes that hold what a list asks for.

Revision: 0005
Revises: 0004
"""

from unicodedata import normalize

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

FOLDED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BATCH = 1_000


def upgrade() -> None:
    op.add_column("subscriptions", sa.Column("title_folded", FOLDED, nullable=True))
    _fold_titles()
    for given_up in ("project_id", "created_by_id", "insight_id", "dashboard_id"):
        op.drop_index(op.f(f"ix_subscriptions_{given_up}"), "subscriptions")
    for shown in ("insight", "dashboard"):
        op.create_index(f"ix_subscriptions_{shown}", "subscriptions", [f"{shown}_id", "project_id", "deleted"])
    for order, column in (("newest", "created_at"), ("next", "next_delivery_date"), ("owner", "created_by_id")):
        op.create_index(f"ix_subscriptions_{order}", "subscriptions", ["project_id", "deleted", column, "id"])
    filtered_by = ["insight_id", "dashboard_id", "target_type", "created_by_id"]
    op.create_index(
        "ix_subscriptions_title", "subscriptions", ["project_id", "deleted", "title_folded", "id", *filtered_by]
    )
    _partial_index("ix_deliveries_ended", ["created_at", "id"], "status <> 'starting'")
    _partial_index("ix_deliveries_asked_for", ["created_at"], "trigger_type = 'manual'")


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "deliveries", columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def _fold_titles() -> None:
    connection = op.get_bind()
    kept = sa.table("subscriptions", sa.column("id"), sa.column("title"), sa.column("title_folded"))
    change = sa.update(kept).where(kept.c.id == sa.bindparam("at")).values(title_folded=sa.bindparam("folded"))
    last_id = 0
    while rows := connection.execute(
        sa.select(kept.c.id, kept.c.title).where(kept.c.id > last_id).order_by(kept.c.id).limit(BATCH)
    ).all():
        titles = [{"at": row.id, "folded": _folded(row.title)} for row in rows if row.title is not None]
        if titles:
            connection.execute(change, titles)
        last_id = rows[-1].id


def _folded(title: str) -> str:
    return normalize("NFC", normalize("NFD", title).casefold())
