"""breakdowns, and what the store remembers about itself

Revision: 0003, after 0002. Of events stored before only the referrers are counted: the rest was not kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NEW_COLUMNS = ("language_id", "device_id", "os_id", "browser_id")
TABLES = {"rollup_parts": "bucket", "rollup_part_days": "day"}


def upgrade() -> None:
    for name in NEW_COLUMNS:
        op.add_column("events", sa.Column(name, sa.Integer(), nullable=True))
    for table, step in TABLES.items():
        op.create_table(
            table,
            sa.Column("campaign_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("dimension", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column(step, sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("value_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("kind", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("n", sa.BigInteger(), nullable=False),
            sa.Column("unique_n", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("campaign_id", "dimension", step, "value_id", "kind", name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
        step_ms = {"bucket": 900_000, "day": 86_400_000}[step]
        op.execute(
            f"INSERT INTO {table} (campaign_id, dimension, {step}, value_id, kind, n, unique_n) "  # noqa: S608
            f"SELECT campaign_id, 1, at_ms / {step_ms}, referrer_id, kind, count(*), "
            "sum(CASE WHEN first_of_day THEN 1 ELSE 0 END) FROM events "
            "WHERE verdict = 0 AND campaign_id IS NOT NULL AND link_id IS NOT NULL AND referrer_id IS NOT NULL "
            f"GROUP BY campaign_id, at_ms / {step_ms}, referrer_id, kind"
        )
    op.create_table(
        "store_marks",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_store_marks")),
    )


def downgrade() -> None:
    op.drop_table("store_marks")
    for table in TABLES:
        op.drop_table(table)
    for name in NEW_COLUMNS:
        op.drop_column("events", name)
