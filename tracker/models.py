"""The tables. Every row that belongs to somebody names its workspace. Instants are UTC, stored without a zone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from flask_login import UserMixin
from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from tracker.days import from_ms
from tracker.extensions import Base
from tracker.money import Money

UTM_MAX = 255
NAME_MAX = 120
ID_MAX = 2**63 - 1  # no database takes a larger number to look for
CLICKS = "kind = 2"  # Kind.CLICK, as an index can be told
TESTS = "verdict = 11"  # Verdict.TEST
KNOWN = "customer IS NOT NULL"


class Instant(TypeDecorator[datetime]):
    """An aware instant in Python, a naive UTC one in the database: SQLite keeps no zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def _now() -> datetime:
    return datetime.now(UTC)


class Workspace(Base):
    """Whose links and numbers these are. `key` is public: it stands in the conversion pixel."""

    __tablename__ = "workspaces"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX))
    key: Mapped[str] = mapped_column(String(32), unique=True)
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    currency: Mapped[str] = mapped_column(String(3), default="EUR")
    fallback_url: Mapped[str | None] = mapped_column(Text)
    # What counts here: user agents that do or do not whatever the lists say, addresses that never do, and the limits.
    allowed_agents: Mapped[list[str]] = mapped_column(JSON, default=list)
    blocked_agents: Mapped[list[str]] = mapped_column(JSON, default=list)
    excluded_ranges: Mapped[list[str]] = mapped_column(JSON, default=list)
    double_click_s: Mapped[int] = mapped_column(default=2)
    flood_per_min: Mapped[int] = mapped_column(default=20)
    # Who may report conversions, and how often: `off`, `accepted` or `required` signatures, address ranges (none: any).
    signature_mode: Mapped[str] = mapped_column(String(16), default="off")
    callback_ranges: Mapped[list[str]] = mapped_column(JSON, default=list)
    callbacks_per_min: Mapped[int] = mapped_column(default=6_000)
    # Whether what advertising networks match people by may be kept of customers.
    keeps_identities: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)


class User(UserMixin, Base):  # type: ignore[misc]  # Flask-Login ships no types
    """A person who signs in. `email` is kept in lower case."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)


class Membership(Base):
    """A user's role in a workspace."""

    __tablename__ = "memberships"
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    role: Mapped[str] = mapped_column(String(16), default="owner")
    workspace: Mapped[Workspace] = relationship()


class Token(Base):
    """An API token; only its SHA-256 is kept (it has 256 bits of its own, so a slow hash would add nothing)."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)
    workspace: Mapped[Workspace] = relationship()


class SetupLink(Base):
    """The one-time link printed at the first start: whoever holds it makes the first account."""

    __tablename__ = "setup_links"
    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)


class Campaign(Base):
    """What links are reported under. `utm_campaign` is the exact value in URLs, `slug` its name in paths."""

    __tablename__ = "campaigns"
    __table_args__ = (UniqueConstraint("workspace_id", "slug"), UniqueConstraint("workspace_id", "utm_campaign"))
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    slug: Mapped[str] = mapped_column(String(NAME_MAX))
    name: Mapped[str] = mapped_column(String(UTM_MAX))
    utm_campaign: Mapped[str] = mapped_column(String(UTM_MAX))
    # How long after a click, or after an impression without one, a conversion is still this campaign's.
    click_window_days: Mapped[int] = mapped_column(default=30)
    view_window_days: Mapped[int] = mapped_column(default=1)
    attribution_model: Mapped[str] = mapped_column(String(16), default="last_click")
    # What may be spent on it in all.
    budget_minor: Mapped[int | None] = mapped_column(BigInteger)
    budget_currency: Mapped[str | None] = mapped_column(String(3))
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)
    archived_at: Mapped[datetime | None] = mapped_column(Instant)
    links: Mapped[list[Link]] = relationship(back_populates="campaign")

    @property
    def budget(self) -> Money | None:
        if self.budget_minor is None or self.budget_currency is None:
            return None
        return Money(self.budget_minor, self.budget_currency)


class Link(Base):
    """A short link. `destination` stays as typed; `tagged_url` is derived once, when it is stored."""

    __tablename__ = "links"
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"), index=True)
    code: Mapped[str] = mapped_column(String(64), unique=True)
    destination: Mapped[str] = mapped_column(Text)
    tagged_url: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(UTM_MAX))
    medium: Mapped[str] = mapped_column(String(UTM_MAX))
    term: Mapped[str | None] = mapped_column(String(UTM_MAX))
    content: Mapped[str | None] = mapped_column(String(UTM_MAX))
    utm_id: Mapped[str | None] = mapped_column(String(UTM_MAX))
    title: Mapped[str | None] = mapped_column(String(UTM_MAX))
    tags: Mapped[list[str]] = mapped_column(JSON, default=list)
    redirect_code: Mapped[int] = mapped_column(default=302)
    query_mode: Mapped[str] = mapped_column(String(16), default="link_wins")
    click_id_param: Mapped[str | None] = mapped_column(String(32))  # None: the setting's; empty: no click id
    referrer_policy: Mapped[str] = mapped_column(String(40), default="unsafe-url")
    fallback_url: Mapped[str | None] = mapped_column(Text)
    # The parameter of its query by which a network says what a click cost, and in what; without one none says so.
    cost_param: Mapped[str | None] = mapped_column(String(32))
    cost_currency: Mapped[str | None] = mapped_column(String(3))
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)
    updated_at: Mapped[datetime] = mapped_column(Instant, default=_now)
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    archived_at: Mapped[datetime | None] = mapped_column(Instant)
    campaign: Mapped[Campaign] = relationship(back_populates="links", lazy="joined")


class LinkChange(Base):
    """The change sequence the edges poll: an edit is in force everywhere within a second."""

    __tablename__ = "link_changes"
    __table_args__ = {"sqlite_autoincrement": True}
    seq: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(Instant, default=_now)


class Conversion(Base):
    """One sale or sign-up. The UNIQUE key over `dedup_key` is what makes a second report the same conversion.

    `dedup_key` is `o:` and the order id, or `c:` and the click id where no order id came. What was known of the click
    (`click_country` …) is copied once it is loaded: conversions break down by it when raw events are long deleted.

    `matched_by` says how it came to its campaign: by a `click`, a `view` (an impression and no click), a `customer`
    whose click is known from another device, or by `hand`. Of a view `click_at_ms` and `click_nonce` are those of the
    impression; one that was given to a campaign alone has neither click id nor link, and `click_at_ms` is when it
    converted. `told_at_ms` is the latest instant that a callback named with a change: an older one changes nothing.
    """

    __tablename__ = "conversions"
    __table_args__ = (
        UniqueConstraint("workspace_id", "goal", "dedup_key"),
        # All that a report sums up of conversions lies in it, so none of them has to be looked up for that.
        Index(
            "ix_conversions_report",
            *("campaign_id", "click_at_ms", "status", "outside_window", "link_id", "currency", "minor"),
        ),
        Index(
            "ix_conversions_converted",
            *("campaign_id", "converted_at_ms", "status", "outside_window", "link_id", "currency", "minor"),
        ),
        # So does all that audiences ask of those whose customer is known.
        Index(
            "ix_conversions_customer",
            *("workspace_id", "customer", "converted_at_ms", "status", "goal", "currency", "minor"),
            *("campaign_id", "is_test", "gpc"),
            sqlite_where=text(KNOWN),
            postgresql_where=text(KNOWN),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    link_id: Mapped[int | None] = mapped_column(ForeignKey("links.id"), index=True)
    goal: Mapped[str] = mapped_column(String(64))
    dedup_key: Mapped[str] = mapped_column(String(258))
    order_id: Mapped[str | None] = mapped_column(String(255))
    click_id: Mapped[str | None] = mapped_column(String(28), index=True)
    matched_by: Mapped[str] = mapped_column(String(16), default="click")
    click_at_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    click_nonce: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(16))
    minor: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(String(3))
    customer: Mapped[str | None] = mapped_column(String(32))
    outside_window: Mapped[bool] = mapped_column(default=False)
    is_test: Mapped[bool] = mapped_column(default=False)
    gpc: Mapped[bool] = mapped_column(default=False)
    click_settled: Mapped[bool] = mapped_column(default=False, index=True)
    path_settled: Mapped[bool] = mapped_column(default=False, index=True)
    click_referrer: Mapped[str | None] = mapped_column(String(255))
    click_language: Mapped[str | None] = mapped_column(String(255))
    click_device: Mapped[str | None] = mapped_column(String(255))
    click_os: Mapped[str | None] = mapped_column(String(255))
    click_browser: Mapped[str | None] = mapped_column(String(255))
    click_country: Mapped[str | None] = mapped_column(String(255))
    click_channel: Mapped[str | None] = mapped_column(String(255))
    converted_at_ms: Mapped[int] = mapped_column(BigInteger)
    told_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)
    campaign: Mapped[Campaign] = relationship()
    link: Mapped[Link | None] = relationship()
    entries: Mapped[list[LedgerEntry]] = relationship(back_populates="conversion", order_by="LedgerEntry.id")

    @property
    def converted_at(self) -> datetime:
        return from_ms(self.converted_at_ms)

    @property
    def money(self) -> Money | None:
        return None if self.minor is None or self.currency is None else Money(self.minor, self.currency)


class LedgerEntry(Base):
    """What became of a conversion; only ever added to. Amounts are differences: a sum at any instant is true."""

    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(primary_key=True)
    conversion_id: Mapped[int] = mapped_column(ForeignKey("conversions.id"), index=True)
    at: Mapped[datetime] = mapped_column(Instant, default=_now)
    status: Mapped[str] = mapped_column(String(16))
    minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(String(3))
    # What brought the change: `pixel`, `callback`, `import` or `hand`.
    via: Mapped[str] = mapped_column(String(16), default="")
    conversion: Mapped[Conversion] = relationship(back_populates="entries")

    @property
    def money(self) -> Money | None:
        return None if self.currency is None else Money(self.minor, self.currency)


class Report(Base):
    """A conversion as reported, kept whatever became of it. Its event's id keeps a replay from adding another.

    `digest` is of its parameters: the same report of the same sale, sent again, changes nothing.
    """

    __tablename__ = "reports"
    __table_args__ = (
        UniqueConstraint("at_ms", "nonce"),
        Index("ix_reports_digest", "workspace_id", "digest"),
        Index("ix_reports_result", "workspace_id", "result", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    nonce: Mapped[int] = mapped_column(BigInteger)
    via: Mapped[str] = mapped_column(String(16))
    params: Mapped[dict[str, str]] = mapped_column(JSON)
    result: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(40))
    hint: Mapped[str | None] = mapped_column(Text)
    digest: Mapped[bytes | None] = mapped_column(LargeBinary(16))
    event_id: Mapped[str | None] = mapped_column(String(255))
    agent: Mapped[str | None] = mapped_column(String(255))
    signed: Mapped[bool] = mapped_column(default=False)
    gpc: Mapped[bool] = mapped_column(default=False)
    test_code: Mapped[str | None] = mapped_column(String(32), index=True)
    retried_at: Mapped[datetime | None] = mapped_column(Instant)
    conversion_id: Mapped[int | None] = mapped_column(ForeignKey("conversions.id"), index=True)
    conversion: Mapped[Conversion | None] = relationship()


class Salt(Base):
    """The secret of one UTC day's visitor hashes, deleted within 48 hours: then none can be made again."""

    __tablename__ = "salts"
    day: Mapped[date] = mapped_column(primary_key=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary(32))


class InternedText(Base):
    """A string the events repeat, kept once: agents, referrer hosts, labels."""

    __tablename__ = "texts"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text, unique=True)


class EventRow(Base):
    """A stored event. Clustered by time: inserts go to the end, a click id finds its row without another index.

    PostgreSQL keeps a table for each week, so that old events go without a trace and at no cost.
    """

    __tablename__ = "events"
    __table_args__ = (
        # A visitor's clicks: whoever was the first of a day is looked for again when a verdict is revised.
        Index("ix_events_clicks", "visitor", "at_ms", sqlite_where=text(CLICKS), postgresql_where=text(CLICKS)),
        # Few rows: the debugger shows the newest of one code, once a second, however much else comes in.
        Index(
            *("ix_events_tests", "workspace_id", "detail_id", "at_ms"),
            sqlite_where=text(TESTS),
            postgresql_where=text(TESTS),
        ),
        {"sqlite_with_rowid": False, "postgresql_partition_by": "RANGE (at_ms)"},
    )
    at_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    nonce: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[int]
    verdict: Mapped[int]
    workspace_id: Mapped[int | None]
    campaign_id: Mapped[int | None]
    link_id: Mapped[int | None]
    visitor: Mapped[int | None] = mapped_column(BigInteger)
    agent_id: Mapped[int | None]
    detail_id: Mapped[int | None]
    rule_id: Mapped[int | None]
    referrer_id: Mapped[int | None]
    language_id: Mapped[int | None]
    device_id: Mapped[int | None]
    os_id: Mapped[int | None]
    browser_id: Mapped[int | None]
    country_id: Mapped[int | None]
    channel_id: Mapped[int | None]
    first_of_day: Mapped[bool] = mapped_column(default=False)
    first_on_link: Mapped[bool] = mapped_column(default=False)
    # What the click cost, in millionths of a unit of its currency.
    cost_micros: Mapped[int | None] = mapped_column(BigInteger)
    cost_currency_id: Mapped[int | None]


class LoadedBatch(Base):
    """The loader's ledger: how far each spool segment has been stored, committed together with the events."""

    __tablename__ = "loaded_batches"
    segment: Mapped[str] = mapped_column(String(64), primary_key=True)
    end: Mapped[int] = mapped_column(BigInteger)
    loaded_at: Mapped[datetime] = mapped_column(Instant, default=_now)
