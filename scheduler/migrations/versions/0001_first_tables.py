"""First tables.

Revision: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "position", "attempt", name=op.f("pk_attempts")),
    )
    op.create_table(
        "installation",
        sa.Column("id", ID, nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.Column("key_check_sealed", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    op.create_table(
        "organisations",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
    )
    op.create_table(
        "projects",
        sa.Column("id", ID, nullable=False),
        sa.Column("organisation_id", ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_projects_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )
    op.create_index(op.f("ix_projects_organisation_id"), "projects", ["organisation_id"], unique=False)

    op.create_table(
        "users",
        sa.Column("id", ID, nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", ID, nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("first_name", sa.String(length=150), nullable=False),
        sa.Column("last_name", sa.String(length=150), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_users_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
        sa.UniqueConstraint("uuid", name=op.f("uq_users_uuid")),
    )
    op.create_index(op.f("ix_users_organisation_id"), "users", ["organisation_id"], unique=False)

    op.create_table(
        "dashboards",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_dashboards_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dashboards")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_dashboards_project_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "integrations",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret_sealed", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_integrations_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_integrations")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_integrations_project_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sources",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("url_sealed", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_sources_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_sources_project_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "insights",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("short_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("sql", sa.Text(), nullable=False),
        sa.Column("display", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_insights_project_id")),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_insights_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_insights")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_insights_project_id_name")),
        sa.UniqueConstraint("short_id", name=op.f("uq_insights_short_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_insights_source_id"), "insights", ["source_id"], unique=False)

    op.create_table(
        "dashboard_tiles",
        sa.Column("dashboard_id", ID, nullable=False),
        sa.Column("insight_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dashboard_id"], ["dashboards.id"], name=op.f("fk_dashboard_tiles_dashboard_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["insight_id"], ["insights.id"], name=op.f("fk_dashboard_tiles_insight_id")),
        sa.PrimaryKeyConstraint("dashboard_id", "insight_id", name=op.f("pk_dashboard_tiles")),
    )
    op.create_index(op.f("ix_dashboard_tiles_insight_id"), "dashboard_tiles", ["insight_id"], unique=False)

    op.create_table(
        "exports",
        sa.Column("id", ID, nullable=False),
        sa.Column("insight_id", ID, nullable=True),
        sa.Column("display", sa.String(length=20), nullable=False),
        sa.Column("snapshot", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["insight_id"], ["insights.id"], name=op.f("fk_exports_insight_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_exports_insight_id"), "exports", ["insight_id"], unique=False)

    op.create_table(
        "subscriptions",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("insight_id", ID, nullable=True),
        sa.Column("dashboard_id", ID, nullable=True),
        sa.Column("dashboard_export_insights", sa.JSON(), nullable=False),
        sa.Column("target_type", sa.String(length=20), nullable=False),
        sa.Column("target_value", sa.Text(), nullable=False),
        sa.Column("target_sealed", sa.Text(), nullable=True),
        sa.Column("destination", sa.String(length=300), nullable=False),
        sa.Column("integration_id", ID, nullable=True),
        sa.Column("title", sa.String(length=100), nullable=True),
        sa.Column("frequency", sa.String(length=10), nullable=False),
        sa.Column("interval", sa.Integer(), nullable=False),
        sa.Column("byweekday", sa.String(length=80), nullable=True),
        sa.Column("bysetpos", sa.Integer(), nullable=True),
        sa.Column("occurrence_count", sa.Integer(), nullable=True),
        sa.Column("start_date", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("gap", sa.String(length=10), nullable=False),
        sa.Column("fold", sa.String(length=10), nullable=False),
        sa.Column("catch_up", sa.String(length=10), nullable=False),
        sa.Column("catch_up_hours", sa.Integer(), nullable=False),
        sa.Column("next_delivery_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("last_error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by_id", ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(insight_id IS NULL) <> (dashboard_id IS NULL)", name=op.f("ck_subscriptions_one_resource")
        ),
        sa.CheckConstraint("interval >= 1", name=op.f("ck_subscriptions_interval_positive")),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_subscriptions_created_by_id")),
        sa.ForeignKeyConstraint(["dashboard_id"], ["dashboards.id"], name=op.f("fk_subscriptions_dashboard_id")),
        sa.ForeignKeyConstraint(["insight_id"], ["insights.id"], name=op.f("fk_subscriptions_insight_id")),
        sa.ForeignKeyConstraint(["integration_id"], ["integrations.id"], name=op.f("fk_subscriptions_integration_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_subscriptions_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_subscriptions_created_by_id"), "subscriptions", ["created_by_id"], unique=False)
    op.create_index(op.f("ix_subscriptions_dashboard_id"), "subscriptions", ["dashboard_id"], unique=False)
    op.create_index(
        "ix_subscriptions_due",
        "subscriptions",
        ["next_delivery_date"],
        unique=False,
        postgresql_where=sa.text("enabled AND NOT deleted AND next_delivery_date IS NOT NULL"),
        sqlite_where=sa.text("enabled AND NOT deleted AND next_delivery_date IS NOT NULL"),
    )
    op.create_index(op.f("ix_subscriptions_insight_id"), "subscriptions", ["insight_id"], unique=False)
    op.create_index(op.f("ix_subscriptions_integration_id"), "subscriptions", ["integration_id"], unique=False)
    op.create_index(op.f("ix_subscriptions_project_id"), "subscriptions", ["project_id"], unique=False)

    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", ID, nullable=False),
        sa.Column("trigger_type", sa.String(length=20), nullable=False),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("idempotency_key", sa.String(length=80), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("target_type", sa.String(length=20), nullable=False),
        sa.Column("target_value", sa.Text(), nullable=False),
        sa.Column("target_sealed", sa.Text(), nullable=True),
        sa.Column("destination", sa.String(length=300), nullable=False),
        sa.Column("integration_id", ID, nullable=True),
        sa.Column("invites", sa.Boolean(), nullable=False),
        sa.Column("invite_message", sa.Text(), nullable=True),
        sa.Column("exported_asset_ids", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("run_id", sa.String(length=80), nullable=True),
        sa.Column("error_type", sa.String(length=60), nullable=True),
        sa.Column("error_message", sa.String(length=500), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["integration_id"], ["integrations.id"], name=op.f("fk_deliveries_integration_id")),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscriptions.id"], name=op.f("fk_deliveries_subscription_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_deliveries_idempotency_key")),
    )
    op.create_index(op.f("ix_deliveries_integration_id"), "deliveries", ["integration_id"], unique=False)
    op.create_index(
        "ix_deliveries_lease",
        "deliveries",
        ["lease"],
        unique=False,
        postgresql_where=sa.text("lease IS NOT NULL"),
        sqlite_where=sa.text("lease IS NOT NULL"),
    )
    op.create_index("ix_deliveries_newest", "deliveries", ["subscription_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_deliveries_ready",
        "deliveries",
        ["ready_at"],
        unique=False,
        postgresql_where=sa.text("status = 'starting'"),
        sqlite_where=sa.text("status = 'starting'"),
    )
    op.create_index("ix_deliveries_run", "deliveries", ["run_id"], unique=False)
    op.create_index(
        "uq_deliveries_occurrence",
        "deliveries",
        ["subscription_id", "scheduled_at"],
        unique=True,
        postgresql_where=sa.text("trigger_type = 'scheduled'"),
        sqlite_where=sa.text("trigger_type = 'scheduled'"),
    )

    op.create_table(
        "delivery_recipients",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("resent_after", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("error_type", sa.String(length=60), nullable=True),
        sa.Column("error_message", sa.String(length=500), nullable=True),
        sa.Column("progress", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_recipients_delivery_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("delivery_id", "position", name=op.f("pk_delivery_recipients")),
    )
