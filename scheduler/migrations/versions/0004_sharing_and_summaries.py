"""Shared pages and their passwords, an organisation's domains and verification tokens, AI summaries.

Revision: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column(
        "organisations", sa.Column("summaries_allowed", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column(
        "subscriptions", sa.Column("summary_enabled", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column(
        "subscriptions", sa.Column("summary_prompt_guide", sa.String(length=500), nullable=False, server_default="")
    )
    op.add_column("deliveries", sa.Column("change_summary", sa.Text(), nullable=True))
    _sharing()
    _organisations_own()


def _sharing() -> None:
    op.create_table(
        "shares",
        sa.Column("id", ID, nullable=False),
        sa.Column("subscription_id", ID, nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("token_sealed", sa.Text(), nullable=False),
        sa.Column("token_digest", sa.String(length=64), nullable=False),
        sa.Column("earlier_digest", sa.String(length=64), nullable=True),
        sa.Column("earlier_until", INSTANT, nullable=True),
        sa.Column("password_required", sa.Boolean(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_shares_delivery_id")),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscriptions.id"], name=op.f("fk_shares_subscription_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shares")),
        sa.UniqueConstraint("delivery_id", name=op.f("uq_shares_delivery_id")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_shares_token_digest")),
    )
    op.create_index(op.f("ix_shares_earlier_digest"), "shares", ["earlier_digest"], unique=False)
    newest = sa.text("delivery_id IS NULL")
    op.create_index(
        "uq_shares_subscription",
        "shares",
        ["subscription_id"],
        unique=True,
        postgresql_where=newest,
        sqlite_where=newest,
    )
    op.create_table(
        "share_passwords",
        sa.Column("id", ID, nullable=False),
        sa.Column("share_id", ID, nullable=False),
        sa.Column("hash", sa.String(length=200), nullable=False),
        sa.Column("note", sa.String(length=100), nullable=False),
        sa.Column("created_by_id", ID, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_share_passwords_created_by_id")),
        sa.ForeignKeyConstraint(["share_id"], ["shares.id"], name=op.f("fk_share_passwords_share_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_share_passwords")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_share_passwords_share_id"), "share_passwords", ["share_id"], unique=False)


def _organisations_own() -> None:
    op.create_table(
        "verification_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", ID, nullable=False),
        sa.Column("label", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("mask", sa.String(length=20), nullable=False),
        sa.Column("created_by_id", ID, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("last_used_at", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_verification_tokens_created_by_id")),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_verification_tokens_organisation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_verification_tokens_digest")),
    )
    op.create_index(
        op.f("ix_verification_tokens_organisation_id"), "verification_tokens", ["organisation_id"], unique=False
    )
    op.create_table(
        "domains",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", ID, nullable=False),
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("verification_challenge", sa.String(length=128), nullable=False),
        sa.Column("verified_at", INSTANT, nullable=True),
        sa.Column("last_looked_up_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_domains_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domains")),
        sa.UniqueConstraint("organisation_id", "domain", name=op.f("uq_domains_organisation_id_domain")),
    )
