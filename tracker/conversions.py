"""Conversions: matched to their click, recorded once, changed by a ledger that is only added to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session

from tracker import clickid, customers, days
from tracker.claims import ALIASES, TEXT_MAX, Claim, Sighting, understand
from tracker.errors import Invalid
from tracker.extensions import insert_into
from tracker.models import Campaign, Conversion, LedgerEntry, Link, Report, Workspace
from tracker.stores import Dimension, StoredEvent

COUNTING = ("approved", "pending")
WINDOW = timedelta(days=30)
SETTLE_WITHIN = timedelta(days=7)  # as long as a click may wait in a spool
SETTLE_MAX = 500
NAME_MAX = 64  # characters of a parameter's name that are kept
NOT_KEPT = "(not kept)"
_MACRO = re.compile(r"\{\{?[\w.]+\}?\}|\[\w+\]|%7B\w+%7D|<\w+>|\$\{?\w+\}?", re.IGNORECASE)

HINTS = {
    "no_click_id": "The report has no cid. Pass on the cid that the landing page got in its URL.",
    "macro_not_replaced": "The cid is still a placeholder: the sender did not put the click id in its place.",
    "bad_click_id": "The cid is not one of ours: cut short, changed on the way, or made up.",
    "foreign_click_id": "The cid belongs to another workspace: check the key in the address.",
    "unknown_link": "The cid is genuine, but its link is no longer stored.",
    "test": "The report carries test and is kept out of every figure.",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a report. `errors` are sentences by field where it was refused."""

    result: str
    conversion_id: int | None = None
    campaign: str | None = None
    reason: str | None = None
    errors: Mapping[str, str] | None = None

    @property
    def hint(self) -> str | None:
        return HINTS.get(self.reason or "")


def record(
    session: Session,
    workspace: Workspace,
    params: Mapping[str, str],
    sighting: Sighting,
    click_keys: Mapping[int, bytes],
    customer_key: bytes,
) -> Outcome:
    """Records a report: the same event again changes nothing, the same sale again makes no second one.

    The caller commits; until then whoever reports the same sale waits.
    """
    seen = session.scalar(select(Report).where(Report.at_ms == sighting.at_ms, Report.nonce == sighting.nonce))
    if seen is not None:
        slug = seen.conversion.campaign.slug if seen.conversion else None
        return Outcome(seen.result, seen.conversion_id, slug, seen.reason)
    try:
        claim = understand(params, workspace, sighting, customer_key)
    except Invalid as error:
        return _keep(session, workspace, params, sighting, Outcome("refused", reason="bad_value", errors=error.errors))
    reason, click, link = _match(session, workspace, claim, click_keys)
    if click is not None and link is not None:
        conversion, is_new = _claim_row(session, workspace, claim, click, link)
    else:
        # A later word on a known order needs no click id: shops send refunds by order alone.
        known = _known(session, workspace, claim) if claim.order and not claim.test else None
        if known is None:
            return _keep(session, workspace, params, sighting, Outcome("unmatched", reason=reason), claim)
        conversion, is_new = known, False
    changed = _apply(session, conversion, claim, sighting, is_new)
    result = "recorded" if is_new else "updated" if changed else "duplicate"
    slug = session.get_one(Campaign, conversion.campaign_id).slug
    return _keep(session, workspace, params, sighting, Outcome(result, conversion.id, slug), claim)


def _match(
    session: Session, workspace: Workspace, claim: Claim, keys: Mapping[int, bytes]
) -> tuple[str | None, clickid.Click | None, Link | None]:
    """The click and link of a claim, or why there is none. The id verifies itself: a forged one costs no look-up."""
    if claim.test:
        return "test", None, None
    if not claim.cid:
        return "no_click_id", None, None
    click = clickid.read(claim.cid, keys)
    if click is None:
        return "macro_not_replaced" if _MACRO.search(claim.cid) else "bad_click_id", None, None
    link = session.get(Link, click.link_id)
    if link is None:
        return "unknown_link", None, None
    if link.workspace_id != workspace.id:
        return "foreign_click_id", None, None
    return None, click, link


def _claim_row(
    session: Session, workspace: Workspace, claim: Claim, click: clickid.Click, link: Link
) -> tuple[Conversion, bool]:
    """The sale's one row. UNIQUE decides which report makes it: two that race both try, one inserts."""
    status = claim.status or "approved"
    new = (
        insert_into(session.get_bind().dialect.name, Conversion)
        .values(
            workspace_id=workspace.id,
            campaign_id=link.campaign_id,
            link_id=link.id,
            goal=claim.goal,
            dedup_key=_dedup_key(claim),
            order_id=claim.order,
            click_id=claim.cid,
            click_at_ms=click.at_ms,
            click_nonce=click.nonce,
            status=status,
            minor=claim.amount.minor if claim.amount else None,
            currency=claim.amount.currency if claim.amount else None,
            customer=claim.customer,
            outside_window=claim.converted_at - days.from_ms(click.at_ms) > WINDOW,
            click_settled=False,
            converted_at_ms=days.to_ms(claim.converted_at),
            created_at=days.now(),
        )
        .on_conflict_do_nothing()
        .returning(Conversion)
    )
    made = session.scalar(new)
    if made is not None:
        return made, True
    known = _known(session, workspace, claim)
    assert known is not None  # noqa: S101 (narrows the type: it is what the insertion ran into, and none is deleted)
    return known, False


def _dedup_key(claim: Claim) -> str:
    return f"o:{claim.order}" if claim.order else f"c:{claim.cid}"


def _known(session: Session, workspace: Workspace, claim: Claim) -> Conversion | None:
    """The conversion that a claim is another report of, held until the commit.

    Of two reports at once each reads what the other left, or the ledger's differences would not add up. An update that
    changes nothing holds the row in any database; SQLite knows no other lock. A row that it did not see is not known,
    even if it can be read a moment later: nobody would hold it.
    """
    here = and_(
        Conversion.workspace_id == workspace.id,
        Conversion.goal == claim.goal,
        Conversion.dedup_key == _dedup_key(claim),
    )
    held = session.scalar(update(Conversion).where(here).values(goal=Conversion.goal).returning(Conversion.id))
    return None if held is None else session.get_one(Conversion, held, populate_existing=True)


def _apply(session: Session, conversion: Conversion, claim: Claim, sighting: Sighting, is_new: bool) -> bool:
    """Brings a claim's news into the conversion, with a ledger row for any change; answers whether there was one.

    Anybody with the page open can send a pixel: it fills what is missing and changes nothing that is known.
    """
    before = 0 if is_new else _counted(conversion)
    changed = False
    if not is_new:
        changed = _fill_missing(conversion, claim)
        if sighting.via == "callback":
            changed |= _change_known(conversion, claim)
    if is_new or changed:
        entry = LedgerEntry(
            conversion_id=conversion.id,
            status=conversion.status,
            minor=_counted(conversion) - before,
            currency=conversion.currency,
        )
        session.add(entry)
    return changed


def _counted(conversion: Conversion) -> int:
    return (conversion.minor or 0) if conversion.status in COUNTING else 0


def _fill_missing(conversion: Conversion, claim: Claim) -> bool:
    changed = False
    if conversion.minor is None and claim.amount is not None:
        conversion.minor, conversion.currency = claim.amount
        changed = True
    if conversion.customer is None and claim.customer is not None:
        conversion.customer = claim.customer
        changed = True
    return changed


def _change_known(conversion: Conversion, claim: Claim) -> bool:
    """A callback's status and value win; both may change again. A refund in part is a smaller value."""
    was = (conversion.status, conversion.minor, conversion.currency)
    conversion.status = claim.status or conversion.status
    if claim.amount is not None and conversion.status in COUNTING:
        conversion.minor, conversion.currency = claim.amount
    return was != (conversion.status, conversion.minor, conversion.currency)


def _keep(
    session: Session,
    workspace: Workspace,
    params: Mapping[str, str],
    sighting: Sighting,
    outcome: Outcome,
    claim: Claim | None = None,
) -> Outcome:
    """Writes the report down, whatever became of it. The customer stands in it hashed or not at all.

    Of a parameter that we do not know only the name is kept: its value may be anybody's e-mail address.
    """
    kept = {
        name[:NAME_MAX]: value[:TEXT_MAX] if name in ALIASES else NOT_KEPT
        for name, value in params.items()
        if name not in (customers.NAME, customers.SEALED)
    }
    if claim and claim.customer:
        kept[customers.NAME] = claim.customer
    hint = "; ".join(outcome.errors.values()) if outcome.errors else outcome.hint
    session.add(
        Report(
            workspace_id=workspace.id,
            at_ms=sighting.at_ms,
            nonce=sighting.nonce,
            via=sighting.via,
            params=kept,
            result=outcome.result,
            reason=outcome.reason,
            hint=hint,
            conversion_id=outcome.conversion_id,
        )
    )
    session.flush()
    return outcome


def recent(
    session: Session, workspace: Workspace, *, before_id: int | None = None, limit: int = 50
) -> list[Conversion]:
    """Conversions, newest first, `limit` at most, older than `before_id` where one is given."""
    return _page(session, Conversion, workspace, before_id, limit)


def recent_reports(
    session: Session, workspace: Workspace, *, before_id: int | None = None, limit: int = 50
) -> list[Report]:
    """Reports as they came in, newest first: matched, unmatched and refused."""
    return _page(session, Report, workspace, before_id, limit)


def _page(session: Session, model: Any, workspace: Workspace, before_id: int | None, limit: int) -> list[Any]:
    query = select(model).where(model.workspace_id == workspace.id).order_by(model.id.desc()).limit(limit)
    return list(session.scalars(query if before_id is None else query.where(model.id < before_id)).unique())


def unmatched_count(session: Session, workspace: Workspace) -> int:
    query = select(func.count(Report.id)).where(Report.workspace_id == workspace.id, Report.result == "unmatched")
    return session.scalar(query) or 0


class Unsettled(NamedTuple):
    """A conversion whose click has not been looked at yet."""

    id: int
    click_at_ms: int
    click_nonce: int


def unsettled(session: Session, now: datetime, after_id: int) -> list[Unsettled]:
    """Conversions whose click has not been looked at yet, in the order of their ids: it may still be in the spool."""
    columns = (Conversion.id, Conversion.click_at_ms, Conversion.click_nonce)
    fresh = and_(Conversion.click_settled.is_(False), Conversion.created_at >= now - SETTLE_WITHIN)
    query = select(*columns).where(fresh, Conversion.id > after_id).order_by(Conversion.id).limit(SETTLE_MAX)
    return [Unsettled(*row) for row in session.execute(query)]


def settle(session: Session, clicks: Mapping[int, StoredEvent]) -> None:
    """Marks conversions, by id, whose click has been found and, where need was, counted; commits.

    What is known of the click is copied to the conversion, which breaks down by it from then on.
    """
    rows = [
        {"id": conversion_id, "click_settled": True}
        | {f"click_{dimension.word}": getattr(click, dimension.word) for dimension in Dimension}
        for conversion_id, click in clicks.items()
    ]
    session.execute(update(Conversion), rows)
    session.commit()
