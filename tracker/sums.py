"""Tables of sums: those that the event store keeps beside its events, with who has been seen, and those of conversions.

What they are sums of can make them anew.

Keys are whole numbers: a bucket is a quarter of an hour and a day one of UTC, both counted from 1970.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from tracker.extensions import Base


class Rollup(Base):
    """Events of one link, kind and verdict in one quarter of an hour. Reports read these and never the events."""

    __tablename__ = "rollups"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    verdict: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)
    unique_n: Mapped[int] = mapped_column(BigInteger, default=0)
    unique_on_link_n: Mapped[int] = mapped_column(BigInteger, default=0)


class RollupDay(Base):
    """The same over whole UTC days. A period is read as its whole days here and its two ends, in quarters, above."""

    __tablename__ = "rollup_days"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    verdict: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)
    unique_n: Mapped[int] = mapped_column(BigInteger, default=0)
    unique_on_link_n: Mapped[int] = mapped_column(BigInteger, default=0)


class RollupStep(Base):
    """Counted events of a whole campaign in one quarter of an hour: what a chart is drawn from."""

    __tablename__ = "rollup_steps"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)


class RollupPart(Base):
    """Counted events of a whole campaign with one value of one dimension, in one quarter of an hour."""

    __tablename__ = "rollup_parts"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    dimension: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)
    unique_n: Mapped[int] = mapped_column(BigInteger, default=0)


class RollupPartDay(Base):
    """The same over whole UTC days."""

    __tablename__ = "rollup_part_days"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    dimension: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)
    unique_n: Mapped[int] = mapped_column(BigInteger, default=0)


class RollupReason(Base):
    """Events of a whole campaign that were left out, or counted with a remark, by what that rests on; in quarters.

    `detail_id` is 0 where the verdict says it all.
    """

    __tablename__ = "rollup_reasons"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    verdict: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    detail_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)


class RollupReasonDay(Base):
    """The same over whole UTC days."""

    __tablename__ = "rollup_reason_days"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    verdict: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    detail_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)


class RollupOrphanDay(Base):
    """How often a code that no link has was asked for on a UTC day."""

    __tablename__ = "rollup_orphan_days"
    __table_args__ = {"sqlite_with_rowid": False}
    workspace_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    detail_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)


class EventPack(Base):
    """Hits of one campaign over the quarters from `start` to before `until`, in columns: see tracker/stores/packs.py.

    A copy of raw events, for reports that are cut down to some of them. A row of campaign 0 is of the run of quarters
    itself, and `n` are then its events.
    """

    __tablename__ = "event_packs"
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, index=True)
    until: Mapped[int]
    n: Mapped[int] = mapped_column(BigInteger)
    columns: Mapped[bytes] = mapped_column(LargeBinary)


class StoreMark(Base):
    """A number that the event store remembers about itself."""

    __tablename__ = "store_marks"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class VisitorDay(Base):
    """Visitors whose first counted click on a campaign today has been seen; kept as long as the day's salt."""

    __tablename__ = "visitor_days"
    __table_args__ = {"sqlite_with_rowid": False}
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    visitor: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


class VisitorLinkDay(Base):
    """The same for each link."""

    __tablename__ = "visitor_link_days"
    __table_args__ = {"sqlite_with_rowid": False}
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    visitor: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


class SaleQuarter(Base):
    """Conversions of one campaign and link that count, in one quarter of an hour and one currency.

    By `axis` the time is that of the click (0) or of the conversion (1). `link_id` is 0 where there is none, `currency`
    empty where no value came. `n` and `minor` are of those within the window; those beyond it are `outside_n`, and what
    only a view stands behind is `view_n` and `view_minor`: neither is in the others. `approved_n` are those of `n` that
    are approved and not pending.
    """

    __tablename__ = "sale_quarters"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    axis: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    minor: Mapped[int] = mapped_column(BigInteger)
    outside_n: Mapped[int] = mapped_column(BigInteger)
    view_n: Mapped[int] = mapped_column(BigInteger)
    view_minor: Mapped[int] = mapped_column(BigInteger)
    approved_n: Mapped[int] = mapped_column(BigInteger)


class SaleDay(Base):
    """The same over whole UTC days."""

    __tablename__ = "sale_days"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    axis: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    minor: Mapped[int] = mapped_column(BigInteger)
    outside_n: Mapped[int] = mapped_column(BigInteger)
    view_n: Mapped[int] = mapped_column(BigInteger)
    view_minor: Mapped[int] = mapped_column(BigInteger)
    approved_n: Mapped[int] = mapped_column(BigInteger)


class SaleStep(Base):
    """Conversions of a whole campaign that count, in one quarter of an hour: what a chart is drawn from."""

    __tablename__ = "sale_steps"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    axis: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)


class SalePart(Base):
    """Conversions of a campaign whose click had one value of a dimension, in one quarter of an hour of clicks.

    `value` is empty where nothing is known of the click.
    """

    __tablename__ = "sale_parts"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    dimension: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[str] = mapped_column(String(255), primary_key=True)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    minor: Mapped[int] = mapped_column(BigInteger)


class SalePartDay(Base):
    """The same over whole UTC days."""

    __tablename__ = "sale_part_days"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    dimension: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[str] = mapped_column(String(255), primary_key=True)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    minor: Mapped[int] = mapped_column(BigInteger)


class CreditQuarter(Base):
    """What one model of attribution gives the touches of a campaign and link in one quarter of an hour of touches.

    `millionths` are of conversions that count, `minor` is their money. `link_id` is 0 and the time is the conversion's
    click's where no touch is known, `currency` empty where no value came.
    """

    __tablename__ = "credit_quarters"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    millionths: Mapped[int] = mapped_column(BigInteger)
    minor: Mapped[int] = mapped_column(BigInteger)


class CreditDay(Base):
    """The same over whole UTC days."""

    __tablename__ = "credit_days"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    millionths: Mapped[int] = mapped_column(BigInteger)
    minor: Mapped[int] = mapped_column(BigInteger)


class CostQuarter(Base):
    """What counted clicks of a link cost by what the network said of each, in one quarter of an hour.

    `n` are the clicks that said so, `unread_n` those that said what could not be read. `micros` are millionths of a
    unit of the currency, which is an interned text.
    """

    __tablename__ = "cost_quarters"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    currency_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)
    micros: Mapped[int] = mapped_column(BigInteger)
    unread_n: Mapped[int] = mapped_column(BigInteger)


class CostDay(Base):
    """The same over whole UTC days."""

    __tablename__ = "cost_days"
    __table_args__ = {"sqlite_with_rowid": False}
    campaign_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    currency_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)
    micros: Mapped[int] = mapped_column(BigInteger)
    unread_n: Mapped[int] = mapped_column(BigInteger)
