"""credits by model of attribution, and who saw an impression

Revision: 0007, after 0006. Paths and credits of conversions stored before are found by the loader, as of new ones.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, step in (("credit_quarters", "bucket"), ("credit_days", "day")):
        keys = ("campaign_id", step, "model", "link_id")
        op.create_table(
            table,
            *(sa.Column(name, sa.Integer(), autoincrement=False, nullable=False) for name in keys),
            sa.Column("currency", sa.String(3), nullable=False),
            sa.Column("millionths", sa.BigInteger(), nullable=False),
            sa.Column("minor", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint(*keys, "currency", name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
    op.create_table(
        "credited",
        sa.Column("conversion_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.ForeignKeyConstraint(["conversion_id"], ["conversions.id"], name=op.f("fk_credited_conversion_id")),
        sa.PrimaryKeyConstraint("conversion_id", name=op.f("pk_credited")),
    )
    op.create_table(
        "view_waits",
        *(sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False) for name in ("at_ms", "nonce")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("visitor", "visitor_before")),
        sa.PrimaryKeyConstraint("at_ms", "nonce", name=op.f("pk_view_waits")),
    )


def downgrade() -> None:
    for table in ("view_waits", "credited", "credit_days", "credit_quarters"):
        op.drop_table(table)
    # Of the version before nobody finds paths: they are found anew after the next upgrade.
    op.execute("DELETE FROM touches")
    op.execute("UPDATE conversions SET path_settled = false")
