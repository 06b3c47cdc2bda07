"""conversions know what is known of their click

Revision: 0005, after 0004. Of conversions stored before, what their clicks still tell is brought in.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAMES = ("referrer", "language", "device", "os", "browser", "country", "channel")
INDEX = "ix_conversions_report"
COLUMNS = ("campaign_id", "click_at_ms", "status", "outside_window", "link_id", "currency", "minor")


def upgrade() -> None:
    for name in NAMES:
        op.add_column("conversions", sa.Column(f"click_{name}", sa.String(255), nullable=True))
        op.execute(
            f"UPDATE conversions SET click_{name} = (SELECT texts.text FROM events "  # noqa: S608
            f"JOIN texts ON texts.id = events.{name}_id "
            "WHERE events.at_ms = conversions.click_at_ms AND events.nonce = conversions.click_nonce)"
        )
    # A report reads a campaign's conversions of a period, without looking each of them up.
    op.create_index(INDEX, "conversions", list(COLUMNS))
    op.drop_index("ix_conversions_campaign_id", "conversions")


def downgrade() -> None:
    op.create_index("ix_conversions_campaign_id", "conversions", ["campaign_id"])
    op.drop_index(INDEX, "conversions")
    for name in NAMES:
        op.drop_column("conversions", f"click_{name}")
