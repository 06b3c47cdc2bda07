"""rollups by day and for charts

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollup_days",
        sa.Column("campaign_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("link_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("verdict", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("unique_n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "day", "link_id", "kind", "verdict", name=op.f("pk_rollup_days")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollup_steps",
        sa.Column("campaign_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "bucket", "kind", name=op.f("pk_rollup_steps")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO rollup_days (campaign_id, day, link_id, kind, verdict, n, unique_n) "
        "SELECT campaign_id, bucket / 96, link_id, kind, verdict, sum(n), sum(unique_n) FROM rollups "
        "GROUP BY campaign_id, bucket / 96, link_id, kind, verdict"
    )
    op.execute(
        "INSERT INTO rollup_steps (campaign_id, bucket, kind, n) "
        "SELECT campaign_id, bucket, kind, sum(n) FROM rollups WHERE verdict = 0 GROUP BY campaign_id, bucket, kind"
    )


def downgrade() -> None:
    op.drop_table("rollup_steps")
    op.drop_table("rollup_days")
