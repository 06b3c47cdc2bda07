"""what verdicts rest on, countries and channels, unique clicks of links, codes that no link has

Revision: 0004, after 0003. What can be told of events stored before is counted: unique clicks of links, reasons, codes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXTS = ("rule_id", "country_id", "channel_id")
LISTS = ("allowed_agents", "blocked_agents", "excluded_ranges")
LIMITS = {"double_click_s": "2", "flood_per_min": "20"}
STEPS = {"bucket": 900_000, "day": 86_400_000}
CLICKS = "kind = 2 AND verdict = 0 AND campaign_id IS NOT NULL AND link_id IS NOT NULL AND visitor IS NOT NULL"


def upgrade() -> None:
    for name in LISTS:
        op.add_column("workspaces", sa.Column(name, sa.JSON(), nullable=False, server_default="[]"))
    for name, default in LIMITS.items():
        op.add_column("workspaces", sa.Column(name, sa.Integer(), nullable=False, server_default=default))
    for name in TEXTS:
        op.add_column("events", sa.Column(name, sa.Integer(), nullable=True))
    op.add_column("events", sa.Column("first_on_link", sa.Boolean(), nullable=False, server_default=sa.false()))
    only = sa.text("kind = 2")
    op.create_index("ix_events_clicks", "events", ["visitor", "at_ms"], sqlite_where=only, postgresql_where=only)
    _make_tables()
    _count_first_clicks()
    for table, step in (("rollup_reasons", "bucket"), ("rollup_reason_days", "day")):
        at = f"at_ms / {STEPS[step]}"
        op.execute(
            f"INSERT INTO {table} (campaign_id, {step}, kind, verdict, detail_id, n) "  # noqa: S608
            f"SELECT campaign_id, {at}, kind, verdict, coalesce(detail_id, 0), count(*) FROM events "
            "WHERE campaign_id IS NOT NULL AND link_id IS NOT NULL AND (verdict <> 0 OR detail_id IS NOT NULL) "
            f"GROUP BY campaign_id, {at}, kind, verdict, coalesce(detail_id, 0)"
        )
    op.execute(
        "INSERT INTO rollup_orphan_days (workspace_id, day, detail_id, n) "
        "SELECT workspace_id, at_ms / 86400000, detail_id, count(*) FROM events "
        "WHERE verdict = 9 AND kind IN (1, 2, 4) AND workspace_id IS NOT NULL AND detail_id IS NOT NULL "
        "AND (campaign_id IS NULL OR link_id IS NULL) GROUP BY workspace_id, at_ms / 86400000, detail_id"
    )


def _make_tables() -> None:
    for table in ("rollups", "rollup_days"):
        op.add_column(table, sa.Column("unique_on_link_n", sa.BigInteger(), nullable=False, server_default="0"))
    _make("rollup_reasons", "campaign_id", "bucket", "kind", "verdict", "detail_id")
    _make("rollup_reason_days", "campaign_id", "day", "kind", "verdict", "detail_id")
    _make("rollup_orphan_days", "workspace_id", "day", "detail_id")
    op.create_table(
        "visitor_link_days",
        *(sa.Column(name, sa.Integer(), autoincrement=False, nullable=False) for name in ("day", "link_id")),
        sa.Column("visitor", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("day", "link_id", "visitor", name=op.f("pk_visitor_link_days")),
        sqlite_with_rowid=False,
    )


def _make(table: str, *keys: str) -> None:
    op.create_table(
        table,
        *(sa.Column(name, sa.Integer(), autoincrement=False, nullable=False) for name in keys),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*keys, name=op.f(f"pk_{table}")),
        sqlite_with_rowid=False,
    )


def _count_first_clicks() -> None:
    order = "row_number() OVER (PARTITION BY at_ms / 86400000, link_id, visitor ORDER BY at_ms, nonce)"
    op.execute(
        "UPDATE events SET first_on_link = true WHERE (at_ms, nonce) IN (SELECT at_ms, nonce FROM "  # noqa: S608
        f"(SELECT at_ms, nonce, {order} AS place FROM events WHERE {CLICKS}) AS ranked WHERE place = 1)"
    )
    op.execute(
        "INSERT INTO visitor_link_days (day, link_id, visitor) SELECT DISTINCT at_ms / 86400000, link_id, visitor "  # noqa: S608
        f"FROM events WHERE {CLICKS} AND at_ms / 86400000 IN (SELECT day FROM visitor_days)"
    )
    for table, step in (("rollups", "bucket"), ("rollup_days", "day")):
        op.execute(
            f"UPDATE {table} SET unique_on_link_n = firsts.n FROM (SELECT link_id, campaign_id, "  # noqa: S608
            f"at_ms / {STEPS[step]} AS step, count(*) AS n FROM events WHERE first_on_link GROUP BY 1, 2, 3) AS firsts "
            f"WHERE {table}.kind = 2 AND {table}.verdict = 0 AND {table}.link_id = firsts.link_id "
            f"AND {table}.campaign_id = firsts.campaign_id AND {table}.{step} = firsts.step"
        )


def downgrade() -> None:
    for table in ("visitor_link_days", "rollup_orphan_days", "rollup_reason_days", "rollup_reasons"):
        op.drop_table(table)
    for table in ("rollups", "rollup_days"):
        op.drop_column(table, "unique_on_link_n")
    op.drop_index("ix_events_clicks", "events")
    for name in (*TEXTS, "first_on_link"):
        op.drop_column("events", name)
    for name in (*LISTS, *LIMITS):
        op.drop_column("workspaces", name)
