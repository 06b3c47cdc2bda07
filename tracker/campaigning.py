"""The tables around campaigns: what was changed on them, what was spent, who is shown what they brought."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tracker.days import from_ms
from tracker.extensions import Base
from tracker.models import NAME_MAX, UTM_MAX, Instant
from tracker.money import Money

WHO_MAX = 254


def _now() -> datetime:
    return datetime.now(UTC)


class ChangeEntry(Base):
    """One edit, or one note that somebody wrote: who, when, and of each field what it was and what it became.

    `kind` is one of `changelog.KINDS`. `fields` are triples of a field's name and its two values as text, `None` where
    there was none. Without a campaign it concerns the whole workspace. `who` is the e-mail of a user, `token NAME`,
    `command line`, or `tracker` where nobody is behind it.
    """

    __tablename__ = "change_log"
    __table_args__ = (
        Index("ix_change_log_workspace", "workspace_id", "at_ms"),
        Index("ix_change_log_campaign", "campaign_id", "at_ms"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    at_ms: Mapped[int] = mapped_column(BigInteger)
    who: Mapped[str] = mapped_column(String(WHO_MAX))
    kind: Mapped[str] = mapped_column(String(16))
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"))
    link_id: Mapped[int | None] = mapped_column(ForeignKey("links.id"), index=True)
    fields: Mapped[list[list[str | None]]] = mapped_column(JSON, default=list)
    note: Mapped[str | None] = mapped_column(Text)

    @property
    def at(self) -> datetime:
        return from_ms(self.at_ms)


class DestinationCheck(Base):
    """How a destination that people are led to answered when it was last asked for.

    `digest` is SHA-256 of the address asked for. `outcome` is `ok`, `failed` or `unknown`: nothing can be told.
    `answer` is the status or the name of what went wrong. `failures` are those in a row, since `failed_since`.
    `link_ids` are links that led there, some of them where there are many.
    """

    __tablename__ = "destination_checks"
    __table_args__ = (UniqueConstraint("workspace_id", "digest"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    url: Mapped[str] = mapped_column(Text)
    link_ids: Mapped[list[int]] = mapped_column(JSON, default=list)
    checked_at: Mapped[datetime] = mapped_column(Instant)
    next_at: Mapped[datetime] = mapped_column(Instant, index=True)
    outcome: Mapped[str] = mapped_column(String(16))
    answer: Mapped[str] = mapped_column(String(40))
    failures: Mapped[int] = mapped_column(default=0)
    failed_since: Mapped[datetime | None] = mapped_column(Instant)


class Cost(Base):
    """What was spent on a campaign, on one of its sources or on one of its links, over local days, both inclusive.

    `scope` is empty for the whole campaign, `source:` and the `utm_source`, or `link:` and the link's id. `origin` says
    where it came from: `form`, `api`, or the network whose export was read. The same span of the same scope from the
    same origin stands once: what comes later replaces it. The amount is in the currency it was spent in.
    """

    __tablename__ = "costs"
    __table_args__ = (UniqueConstraint("campaign_id", "scope", "first_on", "last_on", "origin"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    link_id: Mapped[int | None] = mapped_column(ForeignKey("links.id"), index=True)
    source: Mapped[str | None] = mapped_column(String(UTM_MAX))
    scope: Mapped[str] = mapped_column(String(UTM_MAX + 8), default="")
    first_on: Mapped[date]
    last_on: Mapped[date]
    minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    origin: Mapped[str] = mapped_column(String(16))
    # As the network counted them, to be held against ours.
    impressions: Mapped[int | None] = mapped_column(BigInteger)
    clicks: Mapped[int | None] = mapped_column(BigInteger)
    updated_at: Mapped[datetime] = mapped_column(Instant, default=_now)

    @property
    def money(self) -> Money:
        return Money(self.minor, self.currency)


class ExchangeRate(Base):
    """How much of `base` one unit of `currency` is worth from a local day on, until the next rate begins.

    `rate` is a decimal number as text: no float ever touches money.
    """

    __tablename__ = "exchange_rates"
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    base: Mapped[str] = mapped_column(String(3), primary_key=True)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    from_on: Mapped[date] = mapped_column(primary_key=True)
    rate: Mapped[str] = mapped_column(String(32))


class SharedReport(Base):
    """A report that whoever has its secret link may read, of one campaign or of all; nobody can change anything there.

    `query` is what the page's address would say: days (`days` for the last so many whole ones), filters, step.
    """

    __tablename__ = "shared_reports"
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"), index=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(NAME_MAX))
    query: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    shows_money: Mapped[bool] = mapped_column(default=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    logo: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    logo_type: Mapped[str | None] = mapped_column(String(32))
    created_by: Mapped[str] = mapped_column(String(WHO_MAX))
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)


class ReportMail(Base):
    """A report sent by e-mail every week, on a weekday (0 is Monday) and an hour of the workspace's zone.

    `next_at` is moved on in the same transaction that takes it up, before it is sent: a crash leaves one out and sends
    none twice. `token` is what its link to unsubscribe says. `attempts` have failed since the last regular
    time.
    """

    __tablename__ = "report_mails"
    __table_args__ = (UniqueConstraint("workspace_id", "campaign_id", "recipient"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"), index=True)
    recipient: Mapped[str] = mapped_column(String(254))
    weekday: Mapped[int] = mapped_column(default=0)
    hour: Mapped[int] = mapped_column(default=8)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    created_by: Mapped[str] = mapped_column(String(WHO_MAX))
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)
    next_at: Mapped[datetime] = mapped_column(Instant, index=True)
    sent_at: Mapped[datetime | None] = mapped_column(Instant)
    failed_at: Mapped[datetime | None] = mapped_column(Instant)
    attempts: Mapped[int] = mapped_column(default=0)
    failure: Mapped[str | None] = mapped_column(Text)
