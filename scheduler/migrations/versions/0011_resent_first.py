"""What is sent again on request is found before all the rest, whatever it was opened for.

Revision: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("resent", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index("ix_deliveries_interactive", "deliveries")
    waits = sa.text("status = 'starting' AND (resent OR trigger_type IN ('manual', 'target_change', 'resend'))")
    op.create_index("ix_deliveries_interactive", "deliveries", ["ready_at"], postgresql_where=waits, sqlite_where=waits)
