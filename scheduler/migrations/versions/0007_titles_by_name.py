"""The title beside what is shown: a search by name and title reads no row.

Revision: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    for shown in ("insight", "dashboard"):
        op.drop_index(f"ix_subscriptions_{shown}", "subscriptions")
        columns = [f"{shown}_id", "project_id", "deleted", "title_folded"]
        op.create_index(f"ix_subscriptions_{shown}", "subscriptions", columns)
