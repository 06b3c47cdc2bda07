"""all that audiences ask of a customer's conversions lies in the index by customer

Revision: 0008, after 0007. With 300,000 conversions an audience is found in a third of the time on SQLite, a list of
it in half of that on PostgreSQL; conversions without a customer are no longer in it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NAME = "ix_conversions_customer"
COLUMNS = (
    *("workspace_id", "customer", "converted_at_ms", "status", "goal", "currency", "minor"),
    *("campaign_id", "is_test", "gpc"),
)


def upgrade() -> None:
    op.drop_index(NAME, "conversions")
    known = sa.text("customer IS NOT NULL")
    op.create_index(NAME, "conversions", list(COLUMNS), sqlite_where=known, postgresql_where=known)


def downgrade() -> None:
    op.drop_index(NAME, "conversions")
    op.create_index(NAME, "conversions", ["workspace_id", "customer"])
