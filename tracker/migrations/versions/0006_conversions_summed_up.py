"""conversions summed up, their windows and paths; who may report, what is tried out, who bought

Revision: 0006, after 0005. The sums of conversions stored before are made of their rows.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

QUARTER_MS = 900_000
DAY_MS = 86_400_000
# Dimension's numbers and words, as they were here.
DIMENSIONS = dict(enumerate(("referrer", "language", "device", "os", "browser", "country", "channel"), start=1))
COUNTING = "status IN ('approved', 'pending')"
WORKSPACES: dict[str, sa.Column[Any]] = {
    "signature_mode": sa.Column("signature_mode", sa.String(16), nullable=False, server_default="off"),
    "callback_ranges": sa.Column("callback_ranges", sa.JSON(), nullable=False, server_default="[]"),
    "callbacks_per_min": sa.Column("callbacks_per_min", sa.Integer(), nullable=False, server_default="6000"),
    "keeps_identities": sa.Column("keeps_identities", sa.Boolean(), nullable=False, server_default=sa.false()),
}
CAMPAIGNS: dict[str, sa.Column[Any]] = {
    "click_window_days": sa.Column("click_window_days", sa.Integer(), nullable=False, server_default="30"),
    "view_window_days": sa.Column("view_window_days", sa.Integer(), nullable=False, server_default="1"),
    "attribution_model": sa.Column("attribution_model", sa.String(16), nullable=False, server_default="last_click"),
}
REPORTED = ("status", "outside_window", "link_id", "currency", "minor")


def upgrade() -> None:
    for column in WORKSPACES.values():
        op.add_column("workspaces", column)
    for column in CAMPAIGNS.values():
        op.add_column("campaigns", column)
    _change_conversions()
    op.add_column("ledger", sa.Column("via", sa.String(16), nullable=False, server_default=""))
    _change_reports()
    _make_sums()
    _make_tables()
    for axis, at_ms in enumerate(("click_at_ms", "converted_at_ms")):
        _sum_up(axis, at_ms)
    for dimension, word in DIMENSIONS.items():
        _sum_up_parts(dimension, word)


def _change_conversions() -> None:
    with op.batch_alter_table("conversions") as batch:
        batch.alter_column("link_id", existing_type=sa.Integer(), nullable=True)
        batch.alter_column("click_id", existing_type=sa.String(28), nullable=True)
        batch.add_column(sa.Column("matched_by", sa.String(16), nullable=False, server_default="click"))
        for name in ("is_test", "gpc", "path_settled"):
            batch.add_column(sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("converted_at_ms", sa.BigInteger(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("told_at_ms", sa.BigInteger(), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        # Cut and not rounded: strftime('%f') makes another second of the last half of a thousandth.
        seconds = "CAST(strftime('%s', substr(converted_at, 1, 19)) AS INTEGER) * 1000"
        at_ms = f"{seconds} + CAST(substr(converted_at || '.000', 21, 3) AS INTEGER)"
    else:
        at_ms = "CAST(floor(extract(epoch FROM converted_at) * 1000) AS BIGINT)"
    op.execute(f"UPDATE conversions SET converted_at_ms = {at_ms}")  # noqa: S608
    with op.batch_alter_table("conversions") as batch:
        batch.drop_column("converted_at")
    op.create_index("ix_conversions_converted", "conversions", ["campaign_id", "converted_at_ms", *REPORTED])
    op.create_index("ix_conversions_customer", "conversions", ["workspace_id", "customer"])
    op.create_index("ix_conversions_path_settled", "conversions", ["path_settled"])


def _change_reports() -> None:
    op.add_column("reports", sa.Column("digest", sa.LargeBinary(16), nullable=True))
    op.add_column("reports", sa.Column("event_id", sa.String(255), nullable=True))
    op.add_column("reports", sa.Column("agent", sa.String(255), nullable=True))
    op.add_column("reports", sa.Column("signed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("reports", sa.Column("gpc", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("reports", sa.Column("test_code", sa.String(32), nullable=True))
    op.add_column("reports", sa.Column("retried_at", sa.DateTime(), nullable=True))
    op.create_index("ix_reports_digest", "reports", ["workspace_id", "digest"])
    op.create_index("ix_reports_result", "reports", ["workspace_id", "result", "id"])
    op.create_index("ix_reports_test_code", "reports", ["test_code"])
    op.create_index("ix_reports_conversion_id", "reports", ["conversion_id"])


def _make_sums() -> None:
    money = ("n", "minor", "outside_n", "view_n", "view_minor")
    _make_sum("sale_quarters", ("campaign_id", "axis", "bucket", "link_id", "currency"), money)
    _make_sum("sale_days", ("campaign_id", "axis", "day", "link_id", "currency"), money)
    _make_sum("sale_steps", ("campaign_id", "axis", "bucket"), ("n",))
    _make_sum("sale_parts", ("campaign_id", "dimension", "bucket", "value", "currency"), ("n", "minor"))
    _make_sum("sale_part_days", ("campaign_id", "dimension", "day", "value", "currency"), ("n", "minor"))


def _make_sum(table: str, keys: tuple[str, ...], sums: tuple[str, ...]) -> None:
    texts = {"currency": sa.String(3), "value": sa.String(255)}
    op.create_table(
        table,
        *(
            sa.Column(name, texts[name], nullable=False)
            if name in texts
            else sa.Column(name, sa.Integer(), autoincrement=False, nullable=False)
            for name in keys
        ),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums),
        sa.PrimaryKeyConstraint(*keys, name=op.f(f"pk_{table}")),
        sqlite_with_rowid=False,
    )


def _make_tables() -> None:
    instant = sa.DateTime
    workspace = ("workspace_id", "workspaces.id")
    _make(
        "signing_secrets",
        [sa.Column("id", sa.Integer(), nullable=False), sa.Column("workspace_id", sa.Integer(), nullable=False)],
        [sa.Column("secret", sa.String(64), nullable=False), sa.Column("created_at", instant(), nullable=False)],
        [sa.Column("revoked_at", instant(), nullable=True)],
        keys=("id",),
        to=[workspace],
        indexes=["workspace_id"],
    )
    _make(
        "seen_signatures",
        [sa.Column("workspace_id", sa.Integer(), nullable=False), sa.Column("digest", sa.LargeBinary(32))],
        [sa.Column("expires_at", instant(), nullable=False)],
        keys=("workspace_id", "digest"),
        to=[workspace],
        indexes=["expires_at"],
    )
    _make(
        "test_codes",
        [sa.Column("code", sa.String(32), nullable=False), sa.Column("workspace_id", sa.Integer(), nullable=False)],
        [sa.Column("created_at", instant(), nullable=False), sa.Column("expires_at", instant(), nullable=False)],
        keys=("code",),
        to=[workspace],
        indexes=["workspace_id"],
    )
    _make(
        "touches",
        [sa.Column(name, sa.Integer(), autoincrement=False, nullable=False) for name in ("conversion_id", "position")],
        [sa.Column(name, sa.BigInteger(), nullable=False) for name in ("at_ms", "nonce")],
        [sa.Column(name, sa.Integer(), nullable=False) for name in ("kind", "campaign_id", "link_id")],
        [sa.Column("via", sa.String(16), nullable=False)],
        keys=("conversion_id", "position"),
        to=[("conversion_id", "conversions.id"), ("campaign_id", "campaigns.id"), ("link_id", "links.id")],
    )
    op.create_index("ix_touches_campaign", "touches", ["campaign_id", "at_ms"])
    _make(
        "identities",
        [sa.Column("workspace_id", sa.Integer(), nullable=False), sa.Column("customer", sa.String(32), nullable=False)],
        [
            sa.Column(name, sa.String(64), nullable=True)
            for name in ("meta_email", "meta_phone", "google_email", "google_phone")
        ],
        [sa.Column("opted_out", sa.Boolean(), nullable=False), sa.Column("updated_at", instant(), nullable=False)],
        keys=("workspace_id", "customer"),
        to=[workspace],
    )
    _make(
        "audiences",
        [sa.Column("id", sa.Integer(), nullable=False), sa.Column("workspace_id", sa.Integer(), nullable=False)],
        [sa.Column("name", sa.String(120), nullable=False), sa.Column("rules", sa.JSON(), nullable=False)],
        [sa.Column(name, instant(), nullable=False) for name in ("created_at", "updated_at")],
        keys=("id",),
        to=[workspace],
        indexes=["workspace_id"],
    )


def _make(
    table: str,
    *columns: list[sa.Column[Any]],
    keys: tuple[str, ...],
    to: list[tuple[str, str]],
    indexes: list[str] | None = None,
) -> None:
    op.create_table(
        table,
        *(column for some in columns for column in some),
        *(sa.ForeignKeyConstraint([name], [target], name=op.f(f"fk_{table}_{name}")) for name, target in to),
        sa.PrimaryKeyConstraint(*keys, name=op.f(f"pk_{table}")),
    )
    for name in indexes or []:
        op.create_index(op.f(f"ix_{table}_{name}"), table, [name])


def _sum_up(axis: int, at_ms: str) -> None:
    sums = (
        "sum(CASE WHEN outside_window THEN 0 ELSE 1 END), "
        "coalesce(sum(CASE WHEN outside_window THEN 0 ELSE minor END), 0), "
        "sum(CASE WHEN outside_window THEN 1 ELSE 0 END), 0, 0"
    )
    for table, step, ms in (("sale_quarters", "bucket", QUARTER_MS), ("sale_days", "day", DAY_MS)):
        keys = f"campaign_id, {at_ms} / {ms}, link_id, coalesce(currency, '')"
        op.execute(
            f"INSERT INTO {table} (campaign_id, axis, {step}, link_id, currency, n, minor, outside_n, view_n, "  # noqa: S608
            f"view_minor) SELECT campaign_id, {axis}, {at_ms} / {ms}, link_id, coalesce(currency, ''), {sums} "
            f"FROM conversions WHERE {COUNTING} GROUP BY {keys}"
        )
    op.execute(
        f"INSERT INTO sale_steps (campaign_id, axis, bucket, n) "  # noqa: S608
        f"SELECT campaign_id, {axis}, {at_ms} / {QUARTER_MS}, count(*) FROM conversions "
        f"WHERE {COUNTING} AND NOT outside_window GROUP BY campaign_id, {at_ms} / {QUARTER_MS}"
    )


def _sum_up_parts(dimension: int, word: str) -> None:
    for table, step, ms in (("sale_parts", "bucket", QUARTER_MS), ("sale_part_days", "day", DAY_MS)):
        keys = f"campaign_id, click_at_ms / {ms}, coalesce(click_{word}, ''), coalesce(currency, '')"
        op.execute(
            f"INSERT INTO {table} (campaign_id, dimension, {step}, value, currency, n, minor) "  # noqa: S608
            f"SELECT campaign_id, {dimension}, click_at_ms / {ms}, coalesce(click_{word}, ''), coalesce(currency, ''), "
            f"count(*), coalesce(sum(minor), 0) FROM conversions "
            f"WHERE {COUNTING} AND NOT outside_window GROUP BY {keys}"
        )


def downgrade() -> None:
    for table in (
        *("audiences", "identities", "touches", "test_codes", "seen_signatures", "signing_secrets"),
        *("sale_part_days", "sale_parts", "sale_steps", "sale_days", "sale_quarters"),
    ):
        op.drop_table(table)
    for name in ("conversion_id", "test_code", "result", "digest"):
        op.drop_index(f"ix_reports_{name}", "reports")
    with op.batch_alter_table("reports") as batch:
        for name in ("digest", "event_id", "agent", "signed", "gpc", "test_code", "retried_at"):
            batch.drop_column(name)
    op.drop_column("ledger", "via")
    for name in ("converted", "customer", "path_settled"):
        op.drop_index(f"ix_conversions_{name}", "conversions")
    # What an older version cannot say is not kept: conversions without a click.
    without = "SELECT id FROM conversions WHERE click_id IS NULL OR link_id IS NULL"
    op.execute(f"UPDATE reports SET conversion_id = NULL WHERE conversion_id IN ({without})")  # noqa: S608
    op.execute(f"DELETE FROM ledger WHERE conversion_id IN ({without})")  # noqa: S608
    op.execute("DELETE FROM conversions WHERE click_id IS NULL OR link_id IS NULL")
    op.add_column("conversions", sa.Column("converted_at", sa.DateTime(), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        instant = "strftime('%Y-%m-%d %H:%M:%f', converted_at_ms / 1000.0, 'unixepoch') || '000'"
    else:
        instant = "to_timestamp(converted_at_ms / 1000.0) AT TIME ZONE 'UTC'"
    op.execute(f"UPDATE conversions SET converted_at = {instant}")  # noqa: S608
    with op.batch_alter_table("conversions") as batch:
        batch.alter_column("converted_at", existing_type=sa.DateTime(), nullable=False)
        batch.alter_column("link_id", existing_type=sa.Integer(), nullable=False)
        batch.alter_column("click_id", existing_type=sa.String(28), nullable=False)
        for name in ("matched_by", "is_test", "gpc", "path_settled", "converted_at_ms", "told_at_ms"):
            batch.drop_column(name)
    for name in CAMPAIGNS:
        op.drop_column("campaigns", name)
    for name in WORKSPACES:
        op.drop_column("workspaces", name)
