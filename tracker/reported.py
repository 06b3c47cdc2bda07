"""The tables around reported conversions: who may report, what is only tried out, which ways led there, who bought."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from tracker.extensions import Base
from tracker.models import NAME_MAX, Instant


def _now() -> datetime:
    return datetime.now(UTC)


class SigningSecret(Base):
    """A secret that callbacks are signed with. Several are in force at once, so that a sender can change over."""

    __tablename__ = "signing_secrets"
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    secret: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)


class SeenSignature(Base):
    """A signature that has been used, kept until it is too old to be taken: it opens the door once."""

    __tablename__ = "seen_signatures"
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(Instant, index=True)


class TestCode(Base):
    """Hits and reports that carry this code are shown in the debugger and counted nowhere."""

    __tablename__ = "test_codes"
    __test__ = False  # no test, whatever its name begins with
    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)
    expires_at: Mapped[datetime] = mapped_column(Instant)


class Touch(Base):
    """A click, or an impression, that led to a conversion; `position` counts from 0, the earliest.

    `via` says how it is known: `report` (the report named it), `script` (t.js kept it), `customer` (another device of
    the same customer) or `visitor` (the same visitor on the same day).
    """

    __tablename__ = "touches"
    __table_args__ = (Index("ix_touches_campaign", "campaign_id", "at_ms"),)
    conversion_id: Mapped[int] = mapped_column(ForeignKey("conversions.id"), primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    nonce: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[int]
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    link_id: Mapped[int] = mapped_column(ForeignKey("links.id"))
    via: Mapped[str] = mapped_column(String(16))


class Credited(Base):
    """What the sums of credits hold of a conversion, so that exactly that can be taken back when it changes.

    A row for each that is in them: where and when it was clicked, where no touch is known, and its money.
    """

    __tablename__ = "credited"
    conversion_id: Mapped[int] = mapped_column(ForeignKey("conversions.id"), primary_key=True, autoincrement=False)
    campaign_id: Mapped[int]
    at_ms: Mapped[int] = mapped_column(BigInteger)
    minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))


class ViewWait(Base):
    """A pixel report without a click id that waits until every impression before it is stored; named by its event.

    Who it was is known under the salts of that day and of the day before; 0 where that one was gone.
    """

    __tablename__ = "view_waits"
    at_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    nonce: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    visitor: Mapped[int] = mapped_column(BigInteger)
    visitor_before: Mapped[int] = mapped_column(BigInteger)


class Identity(Base):
    """What advertising networks know a customer by: SHA-256 in hexadecimal, each normalised as its network says.

    Kept where the workspace asks for it. `opted_out` once any report of the customer came under GPC.
    """

    __tablename__ = "identities"
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    customer: Mapped[str] = mapped_column(String(32), primary_key=True)
    meta_email: Mapped[str | None] = mapped_column(String(64))
    meta_phone: Mapped[str | None] = mapped_column(String(64))
    google_email: Mapped[str | None] = mapped_column(String(64))
    google_phone: Mapped[str | None] = mapped_column(String(64))
    opted_out: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[datetime] = mapped_column(Instant, default=_now)


class Audience(Base):
    """A group of customers, told by rules."""

    __tablename__ = "audiences"
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX))
    rules: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    created_at: Mapped[datetime] = mapped_column(Instant, default=_now)
    updated_at: Mapped[datetime] = mapped_column(Instant, default=_now)
