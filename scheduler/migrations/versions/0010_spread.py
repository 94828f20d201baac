"""A window in which a subscription's deliveries may start.

Revision: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("subscriptions", sa.Column("spread_minutes", sa.Integer(), nullable=False, server_default="0"))
