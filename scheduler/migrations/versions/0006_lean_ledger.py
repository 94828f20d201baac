"""No index on leases: whoever holds deliveries knows their ids, and each claim and each outcome paid for it.

Revision: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.drop_index("ix_deliveries_lease", "deliveries")
