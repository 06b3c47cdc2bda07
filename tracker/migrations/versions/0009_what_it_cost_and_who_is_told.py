"""costs, budgets and rates; changes; shared and sent reports; how many conversions are approved; packs of events

Revision: 0009, after 0008. The sums of conversions learn how many of them are approved, made of their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

QUARTER_MS = 900_000
DAY_MS = 86_400_000
ADDED: dict[str, tuple[sa.Column[Any], ...]] = {
    "campaigns": (sa.Column("budget_minor", sa.BigInteger()), sa.Column("budget_currency", sa.String(3))),
    "links": (sa.Column("cost_param", sa.String(32)), sa.Column("cost_currency", sa.String(3))),
    "events": (sa.Column("cost_micros", sa.BigInteger()), sa.Column("cost_currency_id", sa.Integer())),
    "sale_quarters": (sa.Column("approved_n", sa.BigInteger(), nullable=False, server_default="0"),),
    "sale_days": (sa.Column("approved_n", sa.BigInteger(), nullable=False, server_default="0"),),
}


def upgrade() -> None:
    for table, columns in ADDED.items():
        for column in columns:
            op.add_column(table, column)
    for axis, at_ms in enumerate(("click_at_ms", "converted_at_ms")):
        _count_approved("sale_quarters", "bucket", QUARTER_MS, axis, at_ms)
        _count_approved("sale_days", "day", DAY_MS, axis, at_ms)
    for table, step in (("cost_quarters", "bucket"), ("cost_days", "day")):
        keys = ("campaign_id", step, "link_id", "currency_id")
        op.create_table(
            table,
            *(sa.Column(name, sa.Integer(), autoincrement=False, nullable=False) for name in keys),
            *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("n", "micros", "unread_n")),
            sa.PrimaryKeyConstraint(*keys, name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
    op.create_table(
        "event_packs",
        *(sa.Column(name, sa.Integer(), autoincrement=False, nullable=False) for name in ("campaign_id", "start")),
        sa.Column("until", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("columns", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "start", name=op.f("pk_event_packs")),
    )
    op.create_index(op.f("ix_event_packs_start"), "event_packs", ["start"])
    _make_change_log()
    _make_costs()
    _make_shared()
    _make_checks()


def _count_approved(table: str, step: str, ms: int, axis: int, at_ms: str) -> None:
    """One pass over the conversions; a sum without an approved one keeps its 0."""
    op.execute(
        f"UPDATE {table} SET approved_n = found.n FROM ("  # noqa: S608
        f"SELECT campaign_id, {at_ms} / {ms} AS step, coalesce(link_id, 0) AS link_id, "
        f"coalesce(currency, '') AS currency, count(*) AS n FROM conversions "
        f"WHERE status = 'approved' AND NOT is_test AND NOT outside_window AND matched_by <> 'view' "
        f"GROUP BY campaign_id, {at_ms} / {ms}, coalesce(link_id, 0), coalesce(currency, '')) AS found "
        f"WHERE {table}.campaign_id = found.campaign_id AND {table}.axis = {axis} AND {table}.{step} = found.step "
        f"AND {table}.link_id = found.link_id AND {table}.currency = found.currency"
    )


def _make_change_log() -> None:
    _make(
        "change_log",
        [
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("workspace_id", sa.Integer(), nullable=False),
            sa.Column("at_ms", sa.BigInteger(), nullable=False),
            sa.Column("who", sa.String(254), nullable=False),
            sa.Column("kind", sa.String(16), nullable=False),
            sa.Column("campaign_id", sa.Integer()),
            sa.Column("link_id", sa.Integer()),
            sa.Column("fields", sa.JSON(), nullable=False),
            sa.Column("note", sa.Text()),
        ],
        to=("workspace", "campaign", "link"),
        indexes=("link_id",),
    )
    op.create_index("ix_change_log_workspace", "change_log", ["workspace_id", "at_ms"])
    op.create_index("ix_change_log_campaign", "change_log", ["campaign_id", "at_ms"])


def _make_costs() -> None:
    key = ("campaign_id", "scope", "first_on", "last_on", "origin")
    _make(
        "costs",
        [
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("workspace_id", sa.Integer(), nullable=False),
            sa.Column("campaign_id", sa.Integer(), nullable=False),
            sa.Column("link_id", sa.Integer()),
            sa.Column("source", sa.String(255)),
            sa.Column("scope", sa.String(263), nullable=False),
            sa.Column("first_on", sa.Date(), nullable=False),
            sa.Column("last_on", sa.Date(), nullable=False),
            sa.Column("minor", sa.BigInteger(), nullable=False),
            sa.Column("currency", sa.String(3), nullable=False),
            sa.Column("origin", sa.String(16), nullable=False),
            sa.Column("impressions", sa.BigInteger()),
            sa.Column("clicks", sa.BigInteger()),
            sa.Column("updated_at", sa.DateTime(), nullable=False),
        ],
        to=("workspace", "campaign", "link"),
        indexes=("workspace_id", "link_id"),
        unique=key,
    )
    _make(
        "exchange_rates",
        [
            sa.Column("workspace_id", sa.Integer(), nullable=False),
            sa.Column("base", sa.String(3), nullable=False),
            sa.Column("currency", sa.String(3), nullable=False),
            sa.Column("from_on", sa.Date(), nullable=False),
            sa.Column("rate", sa.String(32), nullable=False),
        ],
        keys=("workspace_id", "base", "currency", "from_on"),
        to=("workspace",),
    )


def _make_shared() -> None:
    instant = sa.DateTime
    _make(
        "shared_reports",
        [
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("workspace_id", sa.Integer(), nullable=False),
            sa.Column("campaign_id", sa.Integer()),
            sa.Column("token", sa.String(64), nullable=False),
            sa.Column("title", sa.String(120), nullable=False),
            sa.Column("query", sa.JSON(), nullable=False),
            sa.Column("shows_money", sa.Boolean(), nullable=False),
            sa.Column("password_hash", sa.String(255)),
            sa.Column("logo", sa.LargeBinary()),
            sa.Column("logo_type", sa.String(32)),
            sa.Column("created_by", sa.String(254), nullable=False),
            sa.Column("created_at", instant(), nullable=False),
            sa.Column("expires_at", instant()),
            sa.Column("revoked_at", instant()),
        ],
        to=("workspace", "campaign"),
        indexes=("workspace_id", "campaign_id"),
        unique=("token",),
    )
    _make(
        "report_mails",
        [
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("workspace_id", sa.Integer(), nullable=False),
            sa.Column("campaign_id", sa.Integer()),
            sa.Column("recipient", sa.String(254), nullable=False),
            sa.Column("weekday", sa.Integer(), nullable=False),
            sa.Column("hour", sa.Integer(), nullable=False),
            sa.Column("token", sa.String(64), nullable=False),
            sa.Column("created_by", sa.String(254), nullable=False),
            sa.Column("created_at", instant(), nullable=False),
            sa.Column("next_at", instant(), nullable=False),
            sa.Column("sent_at", instant()),
            sa.Column("failed_at", instant()),
            sa.Column("attempts", sa.Integer(), nullable=False),
            sa.Column("failure", sa.Text()),
            sa.UniqueConstraint("token", name=op.f("uq_report_mails_token")),
        ],
        to=("workspace", "campaign"),
        indexes=("workspace_id", "campaign_id", "next_at"),
        unique=("workspace_id", "campaign_id", "recipient"),
    )


def _make_checks() -> None:
    _make(
        "destination_checks",
        [
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("workspace_id", sa.Integer(), nullable=False),
            sa.Column("digest", sa.LargeBinary(32), nullable=False),
            sa.Column("url", sa.Text(), nullable=False),
            sa.Column("link_ids", sa.JSON(), nullable=False),
            sa.Column("checked_at", sa.DateTime(), nullable=False),
            sa.Column("next_at", sa.DateTime(), nullable=False),
            sa.Column("outcome", sa.String(16), nullable=False),
            sa.Column("answer", sa.String(40), nullable=False),
            sa.Column("failures", sa.Integer(), nullable=False),
            sa.Column("failed_since", sa.DateTime()),
        ],
        to=("workspace",),
        indexes=("next_at",),
        unique=("workspace_id", "digest"),
    )


def _make(
    table: str,
    columns: list[Any],
    *,
    to: Sequence[str],
    keys: Sequence[str] = ("id",),
    indexes: Sequence[str] = (),
    unique: Sequence[str] = (),
) -> None:
    """A table whose foreign keys go `to` workspaces, campaigns and links."""
    constraints: list[Any] = [
        sa.ForeignKeyConstraint([f"{name}_id"], [f"{name}s.id"], name=op.f(f"fk_{table}_{name}_id")) for name in to
    ]
    if unique:
        constraints.append(sa.UniqueConstraint(*unique, name=op.f(f"uq_{table}_{'_'.join(unique)}")))
    op.create_table(table, *columns, *constraints, sa.PrimaryKeyConstraint(*keys, name=op.f(f"pk_{table}")))
    for name in indexes:
        op.create_index(op.f(f"ix_{table}_{name}"), table, [name])


def downgrade() -> None:
    for table in (
        *("destination_checks", "report_mails", "shared_reports", "exchange_rates", "costs", "change_log"),
        *("event_packs", "cost_days", "cost_quarters"),
    ):
        op.drop_table(table)
    for table, columns in ADDED.items():
        for column in columns:
            op.drop_column(table, column.name)
