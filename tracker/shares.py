"""Reports shown to whoever has their secret link: made, found by the link, taken back."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from tracker import accounts, days
from tracker.campaigning import WHO_MAX, SharedReport
from tracker.destinations import text_refusal
from tracker.errors import Invalid, NotFound
from tracker.models import ID_MAX, NAME_MAX, Campaign, Workspace
from tracker.reports import campaign as reports
from tracker.reports import filters
from tracker.reports.filters import NAMES

TOKEN_BYTES = 24  # 192 bits
TOKEN_MAX = 64
SHARES_MAX = 200  # of a workspace, taken back ones left out
PASSWORD_MIN = 8
PASSWORD_MAX = accounts.PASSWORD_MAX
LOGO_BYTES_MAX = 200_000
DAYS_DEFAULT = reports.DAYS_DEFAULT
# What else of a campaign page's address a shared report keeps; each value is judged where it is used.
KEPT = ("interval", "metric", "by", "compare", "compare_from", "all")
KEPT_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareDraft:
    """A shared report as it is typed.

    `query`: `days` (so many whole ones, rolling) or `from` and `to`, filters and what else a page's address says.
    `expires_on`: the last local day on which the link works; empty for no end.
    """

    title: str = ""
    query: Mapping[str, str | None]
    shows_money: bool = True
    password: str = ""
    expires_on: str = ""
    logo: bytes = b""


def create(
    session: Session, workspace: Workspace, campaign: Campaign | None, draft: ShareDraft, *, by: str, now: datetime
) -> SharedReport:
    """Stores a shared report of a campaign, or of the whole workspace, and commits. Raises Invalid."""
    errors: dict[str, str] = {}
    title = draft.title.strip() or (campaign.name if campaign else workspace.name)
    if message := text_refusal("A title", title, needed=True, size_max=NAME_MAX):
        errors["title"] = message
    query = _query(workspace, draft.query, errors, now, has_filters=campaign is not None)
    expires_at = _expiry(workspace, draft.expires_on.strip(), errors, now)
    if draft.password and not PASSWORD_MIN <= len(draft.password) <= PASSWORD_MAX:
        errors["password"] = f"A password has {PASSWORD_MIN} to {PASSWORD_MAX} characters."
    logo_type = _logo_type(draft.logo, errors) if draft.logo else None
    live = select(func.count(SharedReport.id)).where(
        SharedReport.workspace_id == workspace.id, SharedReport.revoked_at.is_(None)
    )
    if session.scalars(live).one() >= SHARES_MAX:
        errors["title"] = f"There are {SHARES_MAX} shared reports already; take one back first."
    if errors:
        raise Invalid(errors)
    made = SharedReport(
        workspace_id=workspace.id,
        campaign_id=campaign.id if campaign else None,
        token=secrets.token_urlsafe(TOKEN_BYTES),
        title=title,
        query=query,
        shows_money=draft.shows_money,
        password_hash=accounts.hash_password(draft.password) if draft.password else None,
        logo=draft.logo or None,
        logo_type=logo_type,
        created_by=by[:WHO_MAX],
        expires_at=expires_at,
    )
    session.add(made)
    session.commit()
    return made


def find(session: Session, token: str, now: datetime) -> SharedReport:
    """The report behind a link. Raises NotFound, the same for one that never was, is over, or was taken back.

    The index finds it by its whole token: no comparison of ours tells by its time how much of one was right.
    """
    if not token.isascii() or len(token) > TOKEN_MAX:
        raise NotFound("No such report.")
    found = session.scalar(
        select(SharedReport).where(
            SharedReport.token == token,
            SharedReport.revoked_at.is_(None),
            or_(SharedReport.expires_at.is_(None), SharedReport.expires_at > now),
        )
    )
    if found is None:
        raise NotFound("No such report.")
    return found


def listed(session: Session, workspace: Workspace, campaign: Campaign | None = None) -> list[SharedReport]:
    """Those that were not taken back, newest first: of a campaign, or all of a workspace."""
    query = select(SharedReport).where(SharedReport.workspace_id == workspace.id, SharedReport.revoked_at.is_(None))
    if campaign is not None:
        query = query.where(SharedReport.campaign_id == campaign.id)
    return list(session.scalars(query.order_by(SharedReport.id.desc()).limit(SHARES_MAX)))


def get(session: Session, workspace: Workspace, share_id: int) -> SharedReport:
    """One by its id. Raises NotFound where it is another workspace's or was taken back."""
    found = session.get(SharedReport, share_id) if 0 < share_id <= ID_MAX else None
    if found is None or found.workspace_id != workspace.id or found.revoked_at is not None:
        raise NotFound("There is no such shared report.")
    return found


def revoke(session: Session, workspace: Workspace, share_id: int, now: datetime) -> SharedReport:
    """Takes a shared report back and commits: its link shows nothing from now on. Raises NotFound."""
    found = get(session, workspace, share_id)
    found.revoked_at, found.logo, found.password_hash = now, None, None
    session.commit()
    return found


def args(share: SharedReport, workspace: Workspace, now: datetime) -> dict[str, str]:
    """What a campaign page's address would say for this report at this moment: `days` become two dates."""
    query = {name: str(value) for name, value in share.query.items()}
    length = query.pop("days", None)
    if length is not None:
        last = days.today(ZoneInfo(workspace.timezone), now) - timedelta(days=1)
        query |= {"from": (last - timedelta(days=int(length) - 1)).isoformat(), "to": last.isoformat()}
    return query


def last_day(share: SharedReport, workspace: Workspace) -> date | None:
    """The last local day on which the link works; None without an end."""
    if share.expires_at is None:
        return None
    return (share.expires_at - timedelta(seconds=1)).astimezone(ZoneInfo(workspace.timezone)).date()


def _query(
    workspace: Workspace, given: Mapping[str, str | None], errors: dict[str, str], now: datetime, *, has_filters: bool
) -> dict[str, str]:
    """What is kept of a page's query; what cannot be used goes to `errors`."""
    kept: dict[str, str] = {}
    first, last, length = (str(given.get(name) or "").strip() for name in ("from", "to", "days"))
    if first or last:
        try:
            period = reports.read_period(workspace, first, last, now)
            kept |= {"from": period.first.isoformat(), "to": period.last.isoformat()}
        except Invalid as refusal:
            errors |= refusal.errors
    elif (n := _whole(length or str(DAYS_DEFAULT))) and n <= reports.DAYS_MAX:
        kept["days"] = str(n)
    else:
        errors["days"] = f"A report covers 1 to {reports.DAYS_MAX} days."
    if has_filters:
        try:
            kept |= filters.read({name: given.get(name) for name in NAMES}).given
        except Invalid as refusal:
            errors |= refusal.errors
    if "days" in kept and given.get("compare") == "custom":
        errors["days"] = (
            "Rolling days are compared with those before or a year before; give two dates for a chosen period."
        )
    for name in KEPT:
        value = str(given.get(name) or "")
        if value and len(value) <= KEPT_MAX and value.isprintable():
            kept[name] = value
    return kept


def _whole(text: str) -> int:
    """A number, or 0, of which there are no days."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


def _expiry(workspace: Workspace, text: str, errors: dict[str, str], now: datetime) -> datetime | None:
    """The instant at which the day named is over in the workspace's zone."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        expires_at = days.start_of(day + timedelta(days=1), ZoneInfo(workspace.timezone)).astimezone(UTC)
    except (ValueError, OverflowError):
        errors["expires_on"] = "A date is written like 2026-11-07."
        return None
    if not now < expires_at or day > reports.LAST_DAY:
        errors["expires_on"] = f"The last day is today or later, and no later than {reports.LAST_DAY}."
    return expires_at


def _logo_type(logo: bytes, errors: dict[str, str]) -> str | None:
    """What kind of picture it is, by how it begins. SVG is none of them: it can carry scripts."""
    if len(logo) > LOGO_BYTES_MAX:
        errors["logo"] = f"A logo has at most {LOGO_BYTES_MAX // 1000} kB."
        return None
    if logo.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if logo.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if logo[:4] == b"RIFF" and logo[8:12] == b"WEBP":
        return "image/webp"
    errors["logo"] = "A logo is a PNG, JPEG or WebP picture."
    return None
