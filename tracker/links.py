"""Links: checked and made, edited, archived. The page, the API and the command line all come through here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker import campaigns, changelog, changes, codes, days, money, utm
from tracker.config import param_ok
from tracker.destinations import OwnDomain, destination_refusal, text_refusal
from tracker.errors import Invalid, NotFound, Taken
from tracker.events import TEST_PARAM
from tracker.extensions import in_list
from tracker.models import Campaign, Link, Workspace

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
TAKEN = "“{}” is taken; choose another code."
TAGS_MAX = 20
SOUGHT_MAX = 20_000  # links that are looked through for a text


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDraft:
    """A link as somebody typed it, not yet checked. `click_id_param`: None for the setting's name, empty for none.

    `cost_param` names the parameter of the link's query that says what a click cost, in `cost_currency` or (None) the
    workspace's.
    """

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
    cost_param: str | None = None
    cost_currency: str | None = None

    @property
    def tagged_url(self) -> str:
        return utm.tag(self.destination, {field: getattr(self, field) for field in utm.FIELDS})


# The texts of a draft, and what an empty one becomes: an empty `click_id_param` says something, others do not.
_TEXTS = tuple(
    (field.name, None if field.default is None and field.name != "click_id_param" else "")
    for field in fields(LinkDraft)
    if field.name not in ("tags", "expires_at", "redirect_code")
)


def check(draft: LinkDraft, own: OwnDomain) -> dict[str, str]:
    """A sentence for each field that cannot stay as it is; empty when the draft can become a link."""
    found = {
        "destination": destination_refusal(draft.destination, own),
        "campaign": text_refusal("A campaign", draft.campaign, needed=True),
        "source": text_refusal("A source", draft.source, needed=True),
        "medium": text_refusal("A medium", draft.medium, needed=True),
        "term": text_refusal("A term", draft.term, needed=False),
        "content": text_refusal("A content", draft.content, needed=False),
        "id": text_refusal("An id", draft.id, needed=False),
        "title": text_refusal("A title", draft.title, needed=False),
        "code": codes.refusal(draft.code) if draft.code is not None else None,
        "fallback_url": destination_refusal(draft.fallback_url, own) if draft.fallback_url else None,
    }
    if draft.redirect_code not in REDIRECT_CODES:
        found["redirect_code"] = f"A redirect code is one of {', '.join(map(str, sorted(REDIRECT_CODES)))}."
    if draft.query_mode not in QUERY_MODES:
        found["query_mode"] = f"A query mode is one of {', '.join(QUERY_MODES)}."
    if draft.referrer_policy not in REFERRER_POLICIES:
        found["referrer_policy"] = f"A referrer policy is one of {', '.join(REFERRER_POLICIES)}."
    if draft.click_id_param and not param_ok(draft.click_id_param):
        found["click_id_param"] = "The click id's name is 1 to 32 letters, digits, “-” or “_”, and no utm_ name."
    if draft.cost_param:
        found["cost_param"] = _cost_param_refusal(draft)
    if draft.cost_currency and not money.is_currency(draft.cost_currency):
        found["cost_currency"] = "A currency is an ISO 4217 code with a minor unit, like EUR."
    if draft.expires_at and not _in_range(draft.expires_at):
        found["expires_at"] = "An expiry lies between the years 1971 and 9000."
    if len(draft.tags) > TAGS_MAX or any(text_refusal("A tag", tag, needed=True, size_max=64) for tag in draft.tags):
        found["tags"] = f"At most {TAGS_MAX} tags, each of 1 to 64 characters."
    return {field: message for field, message in found.items() if message}


def _cost_param_refusal(draft: LinkDraft) -> str | None:
    name = draft.cost_param or ""
    if not param_ok(name):
        return "A cost's name is 1 to 32 letters, digits, “-” or “_”, and no utm_ name."
    if name in (TEST_PARAM, draft.click_id_param):
        return f"“{name}” says something else already; choose another name."
    return None


def _in_range(at: datetime) -> bool:
    """Whether an instant can be counted in any zone."""
    return datetime(1971, 1, 1, tzinfo=UTC) <= at < datetime(9000, 1, 1, tzinfo=UTC)


def tidy(draft: LinkDraft) -> LinkDraft:
    """The draft less the white space that pasting leaves around a value; inside a value nothing changes."""
    cleaned: dict[str, Any] = {}
    for name, empty in _TEXTS:
        value = getattr(draft, name)
        if value is not None and ((stripped := value.strip()) != value or not value):
            cleaned[name] = stripped or empty
    if draft.cost_currency and (currency := draft.cost_currency.strip().upper()) != draft.cost_currency:
        cleaned["cost_currency"] = currency or None
    tags = tuple(tag.strip() for tag in draft.tags if tag.strip()) if draft.tags else ()
    # A copy costs ten times the look: of an import's rows hardly one needs it.
    return replace(draft, **cleaned, tags=tags) if cleaned or tags != draft.tags else draft


def create(session: Session, workspace: Workspace, draft: LinkDraft, own: OwnDomain) -> Link:
    """Stores a link, with its campaign where that is new, and commits. Raises Invalid or Taken, naming each field."""
    draft = tidy(draft)
    if errors := check(draft, own):
        raise Invalid(errors)
    for _ in range(CODE_TRIES):
        campaign = campaigns.ensure(session, workspace, draft.campaign)
        link = Link(workspace_id=workspace.id, campaign=campaign, code=draft.code or codes.generate())
        _fill(link, draft)
        session.add(link)
        try:
            # UNIQUE decides, not a look beforehand: two requests for one code race, and one of them must lose.
            session.flush()
            changelog.record(
                session,
                workspace_id=workspace.id,
                kind="link",
                campaign_id=campaign.id,
                link_id=link.id,
                fields=[("code", None, link.code), *_given(draft)],
            )
            changes.announce(session, [link.code])
            session.commit()
        except IntegrityError:
            session.rollback()
            if draft.code and session.scalar(select(Link.id).where(Link.code == draft.code)):
                raise Taken({"code": TAKEN.format(draft.code)}) from None
        else:
            return link
    raise Invalid({"code": "No free code was found; try again."})


def _given(draft: LinkDraft) -> list[changelog.Field]:
    """What a new link has beyond what every link has; its code is told apart."""
    values = {field.name: (getattr(draft, field.name), field.default) for field in fields(draft)}
    return [
        (name, None, changelog.text(value))
        for name, (value, usual) in values.items()
        if name != "code" and value != usual
    ]


def _fill(link: Link, draft: LinkDraft) -> None:
    for name, value in columns_of(draft).items():
        setattr(link, name, value)
    link.updated_at = days.now()


def columns_of(draft: LinkDraft) -> dict[str, Any]:
    """What a checked draft stores, by the column of `links` that holds it; code and campaign are not of it."""
    return {
        "destination": draft.destination,
        "tagged_url": draft.tagged_url,
        "source": draft.source,
        "medium": draft.medium,
        "term": draft.term,
        "content": draft.content,
        "utm_id": draft.id,
        "title": draft.title,
        "tags": list(draft.tags),
        "expires_at": draft.expires_at,
        "redirect_code": draft.redirect_code,
        "query_mode": draft.query_mode,
        "click_id_param": draft.click_id_param,
        "referrer_policy": draft.referrer_policy,
        "fallback_url": draft.fallback_url,
        "cost_param": draft.cost_param,
        "cost_currency": draft.cost_currency,
    }


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
        cost_param=link.cost_param,
        cost_currency=link.cost_currency,
    )


def edit(session: Session, workspace: Workspace, link: Link, given: Mapping[str, Any], own: OwnDomain) -> Link:
    """Applies what is given by LinkDraft's fields, and commits. The code stays, it is in print. Raises Invalid."""
    if "code" in given and given["code"] != link.code:
        raise Invalid({"code": "A code cannot be changed; make a new link."})
    draft = tidy(replace(draft_of(link), **given))
    # A link made before its code was reserved keeps it.
    if errors := {field: text for field, text in check(draft, own).items() if field != "code"}:
        raise Invalid(errors)
    changelog.hold_row(session, link)
    before, left = draft_of(link), link.campaign_id
    draft = tidy(replace(before, **given))
    link.campaign = campaigns.ensure(session, workspace, draft.campaign)
    _fill(link, draft)
    differences = changelog.differences(asdict(before), asdict(draft))
    # A link that moves is told of where it went and where it left.
    for campaign_id in dict.fromkeys((left, link.campaign.id)):
        changelog.record(
            session,
            workspace_id=workspace.id,
            kind="link",
            campaign_id=campaign_id,
            link_id=link.id,
            fields=differences,
            at=link.updated_at,
        )
    changes.announce(session, [link.code])
    session.commit()
    return link


def set_archived(session: Session, link: Link, archived: bool) -> None:
    """Takes a link out of service or back into it, and commits. Archiving twice keeps the first instant."""
    changelog.hold_row(session, link)
    if archived != (link.archived_at is not None):
        link.archived_at = days.now() if archived else None
        changelog.record(
            session,
            workspace_id=link.workspace_id,
            kind="link",
            campaign_id=link.campaign_id,
            link_id=link.id,
            fields=changelog.differences({"archived": not archived}, {"archived": archived}),
        )
        changes.announce(session, [link.code])
    session.commit()


def find(session: Session, workspace: Workspace, code: str) -> Link:
    link = session.scalar(select(Link).where(Link.code == code, Link.workspace_id == workspace.id))
    if link is None:
        raise NotFound(f"There is no link “{code}”.")
    return link


def id_of(session: Session, workspace: Workspace, code: str) -> int | None:
    """The id of a link; `None` where the workspace has none of this code."""
    return session.scalar(select(Link.id).where(Link.code == code, Link.workspace_id == workspace.id))


def having(
    session: Session, workspace: Workspace, campaign: Campaign | None, values: Mapping[str, str | None], limit: int
) -> list[int]:
    """The ids of the newest links with these values in their columns, of one campaign or of all."""
    query = select(Link.id).where(Link.workspace_id == workspace.id)
    if campaign is not None:
        query = query.where(Link.campaign_id == campaign.id)
    query = query.where(*(getattr(Link, name) == value for name, value in values.items()))
    return list(session.scalars(query.order_by(Link.id.desc()).limit(limit)))


def of_codes(session: Session, codes: Iterable[str]) -> dict[str, Link]:
    """Links by code, for as many codes as one request may name."""
    return {link.code: link for link in session.scalars(select(Link).where(Link.code.in_(codes)))}


def listed(session: Session, workspace: Workspace, *, before_id: int | None, limit: int) -> list[Link]:
    """Links, newest first, `limit` at most, older than `before_id` where one is given."""
    query = select(Link).where(Link.workspace_id == workspace.id).order_by(Link.id.desc()).limit(limit)
    return list(session.scalars(query if before_id is None else query.where(Link.id < before_id)))


def sought(session: Session, workspace: Workspace, text: str, *, before_id: int | None, limit: int) -> list[Link]:
    """Links with a text in their code, title, destination or campaign, in any case; newest first.

    Of so many links, the newest; by its whole code any link is found.
    """
    mine = select(Link.id).where(Link.workspace_id == workspace.id)
    if before_id is not None:
        mine = mine.where(Link.id < before_id)
    newest = mine.order_by(Link.id.desc()).limit(SOUGHT_MAX)
    fields = (Link.code, Link.title, Link.destination, Campaign.utm_campaign)
    fits = and_(Link.id.in_(newest), or_(*(field.icontains(text, autoescape=True) for field in fields)))
    named = and_(Link.id.in_(mine), Link.code == text)
    query = select(Link).join(Campaign, Campaign.id == Link.campaign_id).where(or_(fits, named))
    return list(session.scalars(query.order_by(Link.id.desc()).limit(limit)))


def by_ids(session: Session, ids: Iterable[int]) -> dict[int, Link]:
    """Links by their ids, however many and of whatever workspace; those that this session has are not read again."""
    had = {link_id: session.identity_map.get(session.identity_key(Link, link_id)) for link_id in set(ids)}
    found = {link_id: link for link_id, link in had.items() if isinstance(link, Link)}
    if missing := had.keys() - found.keys():
        found |= {link.id: link for link in session.scalars(select(Link).where(in_list(Link.id, missing)))}
    return found


def codes_of(session: Session, ids: Iterable[int]) -> dict[int, str]:
    """Codes by link id, for a page of events."""
    query = select(Link.id, Link.code).where(Link.id.in_(set(ids)))
    return {row.id: row.code for row in session.execute(query)}
