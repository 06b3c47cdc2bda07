"""Links: checked and made, edited, archived. The page, the API and the command line all come through here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from ada_url import URL
from slugify import slugify
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker import codes, days, utm
from tracker.config import clickid_param_ok
from tracker.errors import Invalid, NotFound, Taken
from tracker.models import DESTINATION_MAX, NAME_MAX, UTM_MAX, Campaign, Link, LinkChange, Workspace

REDIRECT_CODES = (302, 301, 307, 308)
QUERY_MODES = ("link_wins", "visitor_wins", "drop")
REFERRER_POLICIES = (
    "unsafe-url",
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
)
CODE_TRIES = 8
TAGS_MAX = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDraft:
    """A link as somebody typed it, not yet checked. `click_id_param`: None for the setting's name, empty for none."""

    destination: str
    campaign: str
    source: str
    medium: str
    term: str | None = None
    content: str | None = None
    id: str | None = None
    code: str | None = None
    title: str | None = None
    tags: tuple[str, ...] = ()
    expires_at: datetime | None = None
    redirect_code: int = 302
    query_mode: str = "link_wins"
    click_id_param: str | None = None
    referrer_policy: str = "unsafe-url"
    fallback_url: str | None = None

    @property
    def tagged_url(self) -> str:
        return utm.tag(self.destination, {field: getattr(self, field) for field in utm.FIELDS})


@dataclass(frozen=True, slots=True)
class OwnDomain:
    """The addresses this tracker answers at: no link may lead back to them."""

    origins: tuple[str, ...]

    def holds(self, url: URL) -> bool:
        host = _host(url.hostname)
        port = url.port or _default_port(url.protocol)
        return any(self._same(host, port, urlsplit(origin)) for origin in self.origins)

    @staticmethod
    def _same(host: str, port: str, own: Any) -> bool:
        own_host = _host(URL(own.geturl()).hostname)
        own_port = str(own.port or "") or _default_port(own.scheme + ":")
        same_host = host == own_host or {host, own_host} <= _LOOPBACK
        return same_host and (port == own_port or {port, own_port} == {"80", "443"})


def _host(name: str) -> str:
    return name.rstrip(".").lower()


def _default_port(protocol: str) -> str:
    return "443" if protocol == "https:" else "80"


def destination_refusal(text: str, own: OwnDomain) -> str | None:
    """Why a URL cannot be a destination, as a sentence; `None` when it can. Parsed as browsers do (WHATWG URL)."""
    if not text:
        return "A destination is needed."
    if len(text) > DESTINATION_MAX:
        return f"A destination has at most {DESTINATION_MAX:,} characters; this one has {len(text):,}."
    if _CONTROL.search(text):
        return "The destination contains a line break or another control character."
    if not _encodable(text):
        return "The destination contains half a character (a lone surrogate); copy it again."
    scheme, mark, rest = text.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return "A destination starts with http:// or https://."
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return "A destination carries no user name or password."
    if not authority or "\\" in authority or "{" in authority or authority[0] == ":":
        return "The destination has no valid host after http:// or https://."
    try:
        url = URL(text)
    except ValueError:
        return "The destination is not a valid URL; check its host and port."
    if url.username or url.password:
        return "A destination carries no user name or password."
    if not url.hostname:
        return "The destination has no host."
    if own.holds(url):
        return "The destination leads back to this tracker's own short domain."
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _text_refusal(label: str, text: str | None, *, needed: bool, size_max: int = UTM_MAX) -> str | None:
    if not text:
        return f"{label} is needed." if needed else None
    if len(text) > size_max:
        return f"{label} has at most {size_max} characters; this has {len(text)}."
    if _CONTROL.search(text) or not _encodable(text):
        return f"{label} contains a line break or another control character."
    return None


def check(draft: LinkDraft, own: OwnDomain) -> dict[str, str]:
    """A sentence for each field that cannot stay as it is; empty when the draft can become a link."""
    found = {
        "destination": destination_refusal(draft.destination, own),
        "campaign": _text_refusal("A campaign", draft.campaign, needed=True),
        "source": _text_refusal("A source", draft.source, needed=True),
        "medium": _text_refusal("A medium", draft.medium, needed=True),
        "term": _text_refusal("A term", draft.term, needed=False),
        "content": _text_refusal("A content", draft.content, needed=False),
        "id": _text_refusal("An id", draft.id, needed=False),
        "title": _text_refusal("A title", draft.title, needed=False),
        "code": codes.refusal(draft.code) if draft.code is not None else None,
        "fallback_url": destination_refusal(draft.fallback_url, own) if draft.fallback_url else None,
    }
    if draft.redirect_code not in REDIRECT_CODES:
        found["redirect_code"] = f"A redirect code is one of {', '.join(map(str, sorted(REDIRECT_CODES)))}."
    if draft.query_mode not in QUERY_MODES:
        found["query_mode"] = f"A query mode is one of {', '.join(QUERY_MODES)}."
    if draft.referrer_policy not in REFERRER_POLICIES:
        found["referrer_policy"] = f"A referrer policy is one of {', '.join(REFERRER_POLICIES)}."
    if draft.click_id_param and not clickid_param_ok(draft.click_id_param):
        found["click_id_param"] = "The click id's name is 1 to 32 letters, digits, “-” or “_”."
    if len(draft.tags) > TAGS_MAX or any(_text_refusal("A tag", tag, needed=True, size_max=64) for tag in draft.tags):
        found["tags"] = f"At most {TAGS_MAX} tags, each of 1 to 64 characters."
    return {field: message for field, message in found.items() if message}


def tidy(draft: LinkDraft) -> LinkDraft:
    """The draft less the white space that pasting leaves around a value; inside a value nothing changes."""
    cleaned: dict[str, Any] = {}
    for field in fields(draft):
        value = getattr(draft, field.name)
        if isinstance(value, str):
            optional = field.default is None and field.name != "click_id_param"
            cleaned[field.name] = value.strip() or (None if optional else "")
    return replace(draft, **cleaned, tags=tuple(tag.strip() for tag in draft.tags if tag.strip()))


def create(session: Session, workspace: Workspace, draft: LinkDraft, own: OwnDomain) -> Link:
    """Stores a link, with its campaign where that is new, and commits. Raises Invalid or Taken, naming each field."""
    draft = tidy(draft)
    if errors := check(draft, own):
        raise Invalid(errors)
    for _ in range(CODE_TRIES):
        campaign = ensure_campaign(session, workspace, draft.campaign)
        link = Link(workspace_id=workspace.id, campaign=campaign, code=draft.code or codes.generate())
        _fill(link, draft)
        session.add_all((link, LinkChange(code=link.code)))
        try:
            # UNIQUE decides, not a look beforehand: two requests for one code race, and one of them must lose.
            session.commit()
        except IntegrityError:
            session.rollback()
            if draft.code and session.scalar(select(Link.id).where(Link.code == draft.code)):
                raise Taken({"code": f"“{draft.code}” is taken; choose another code."}) from None
        else:
            return link
    raise Invalid({"code": "No free code was found; try again."})


def _fill(link: Link, draft: LinkDraft) -> None:
    link.destination, link.tagged_url = draft.destination, draft.tagged_url
    link.source, link.medium, link.term, link.content = draft.source, draft.medium, draft.term, draft.content
    link.utm_id, link.title, link.tags, link.expires_at = draft.id, draft.title, list(draft.tags), draft.expires_at
    link.redirect_code, link.query_mode = draft.redirect_code, draft.query_mode
    link.click_id_param, link.referrer_policy = draft.click_id_param, draft.referrer_policy
    link.fallback_url, link.updated_at = draft.fallback_url, days.now()


def draft_of(link: Link) -> LinkDraft:
    """The stored link as a draft, to be changed and checked again."""
    return LinkDraft(
        destination=link.destination,
        campaign=link.campaign.utm_campaign,
        source=link.source,
        medium=link.medium,
        term=link.term,
        content=link.content,
        id=link.utm_id,
        code=link.code,
        title=link.title,
        tags=tuple(link.tags),
        expires_at=link.expires_at,
        redirect_code=link.redirect_code,
        query_mode=link.query_mode,
        click_id_param=link.click_id_param,
        referrer_policy=link.referrer_policy,
        fallback_url=link.fallback_url,
    )


def edit(session: Session, workspace: Workspace, link: Link, changes: Mapping[str, Any], own: OwnDomain) -> Link:
    """Applies changes keyed by LinkDraft's fields and commits. The code stays, it is in print. Raises Invalid."""
    if "code" in changes and changes["code"] != link.code:
        raise Invalid({"code": "A code cannot be changed; make a new link."})
    draft = tidy(replace(draft_of(link), **changes))
    # A link made before its code was reserved keeps it.
    if errors := {field: text for field, text in check(draft, own).items() if field != "code"}:
        raise Invalid(errors)
    link.campaign = ensure_campaign(session, workspace, draft.campaign)
    _fill(link, draft)
    session.add(LinkChange(code=link.code))
    session.commit()
    return link


def set_archived(session: Session, link: Link, archived: bool) -> None:
    """Takes a link out of service or back into it, and commits. Archiving twice keeps the first instant."""
    if archived != (link.archived_at is not None):
        link.archived_at = days.now() if archived else None
        session.add(LinkChange(code=link.code))
        session.commit()


def find(session: Session, workspace: Workspace, code: str) -> Link:
    link = session.scalar(select(Link).where(Link.code == code, Link.workspace_id == workspace.id))
    if link is None:
        raise NotFound(f"There is no link “{code}”.")
    return link


def listed(session: Session, workspace: Workspace, *, before_id: int | None, limit: int) -> list[Link]:
    """Links, newest first, `limit` at most, older than `before_id` where one is given."""
    query = select(Link).where(Link.workspace_id == workspace.id).order_by(Link.id.desc()).limit(limit)
    return list(session.scalars(query if before_id is None else query.where(Link.id < before_id)))


def slug_of(text: str) -> str:
    return slugify(text, max_length=NAME_MAX - 8) or "campaign"


def ensure_campaign(session: Session, workspace: Workspace, utm_campaign: str) -> Campaign:
    """The campaign of this exact `utm_campaign` value, made when it is new. The caller commits."""
    known = session.scalar(
        select(Campaign).where(Campaign.workspace_id == workspace.id, Campaign.utm_campaign == utm_campaign)
    )
    return known or _new_campaign(session, workspace, utm_campaign, name=utm_campaign)


def _new_campaign(session: Session, workspace: Workspace, utm_campaign: str, name: str) -> Campaign:
    slug = slug_of(utm_campaign)
    taken = set(
        session.scalars(
            select(Campaign.slug).where(Campaign.workspace_id == workspace.id, Campaign.slug.startswith(slug))
        )
    )
    choices: Iterable[str] = (slug, *(f"{slug}-{n}" for n in range(2, len(taken) + 3)))
    campaign = Campaign(
        workspace_id=workspace.id,
        slug=next(choice for choice in choices if choice not in taken),
        name=name,
        utm_campaign=utm_campaign,
    )
    session.add(campaign)
    session.flush()
    return campaign


def create_campaign(session: Session, workspace: Workspace, utm_campaign: str, name: str | None = None) -> Campaign:
    """Stores a campaign and commits. Raises Invalid, or Taken where the value has one already."""
    utm_campaign, name = utm_campaign.strip(), (name or "").strip() or utm_campaign.strip()
    found = {
        "campaign": _text_refusal("A campaign", utm_campaign, needed=True),
        "name": _text_refusal("A name", name, needed=False),
    }
    if errors := {field: message for field, message in found.items() if message}:
        raise Invalid(errors)
    taken = Taken({"campaign": f"There is a campaign “{utm_campaign}” already."})
    if session.scalar(
        select(Campaign.id).where(Campaign.workspace_id == workspace.id, Campaign.utm_campaign == utm_campaign)
    ):
        raise taken
    try:
        campaign = _new_campaign(session, workspace, utm_campaign, name)
        session.commit()
    except IntegrityError:
        session.rollback()
        raise taken from None
    return campaign


def edit_campaign(session: Session, campaign: Campaign, name: str) -> Campaign:
    """Renames a campaign and commits; its slug and its `utm_campaign` stay. Raises Invalid."""
    name = name.strip()
    if message := _text_refusal("A name", name, needed=True):
        raise Invalid({"name": message})
    campaign.name = name
    session.commit()
    return campaign


def find_campaign(session: Session, workspace: Workspace, slug: str) -> Campaign:
    campaign = session.scalar(select(Campaign).where(Campaign.workspace_id == workspace.id, Campaign.slug == slug))
    if campaign is None:
        raise NotFound(f"There is no campaign “{slug}”.")
    return campaign


def campaigns(session: Session, workspace: Workspace, *, before_id: int | None, limit: int) -> list[Campaign]:
    """Campaigns, newest first, `limit` at most, older than `before_id` where one is given."""
    query = select(Campaign).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id.desc()).limit(limit)
    return list(session.scalars(query if before_id is None else query.where(Campaign.id < before_id)))


def codes_of(session: Session, ids: Iterable[int]) -> dict[int, str]:
    """Codes by link id, for a page of events."""
    query = select(Link.id, Link.code).where(Link.id.in_(set(ids)))
    return {row.id: row.code for row in session.execute(query)}
