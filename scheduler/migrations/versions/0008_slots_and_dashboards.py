"""When each paced destination may be sent to next, for all processes; which dashboard a delivery showed.

Revision: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "destinations",
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("free_at", INSTANT, nullable=False),
        sa.Column("taken_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_destinations_free_at", "destinations", ["free_at"])
    op.add_column("deliveries", sa.Column("dashboard", sa.JSON(none_as_null=True), nullable=True))
