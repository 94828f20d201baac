"""What somebody waits for is found before all the rest.

Revision: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    waits = sa.text("status = 'starting' AND trigger_type IN ('manual', 'target_change', 'resend')")
    op.create_index("ix_deliveries_interactive", "deliveries", ["ready_at"], postgresql_where=waits, sqlite_where=waits)
