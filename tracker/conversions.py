"""Conversions: matched to their click, recorded once, changed by a ledger that is only added to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session

from tracker import days, ledger, matching, received, signing
from tracker.claims import CALLBACK, CLOCK_TOLERANCE_S, PIXEL, Claim, Sighting, understand
from tracker.config import Keys
from tracker.errors import Invalid, NotAllowed, Unverified
from tracker.extensions import insert_into
from tracker.ledger import COUNTING as COUNTING
from tracker.matching import HINTS, Found
from tracker.models import Campaign, Conversion, Report, Workspace
from tracker.received import Outcome as Outcome
from tracker.stores import Dimension, StoredEvent

SETTLE_WITHIN = timedelta(days=7)  # as long as a click may wait in a spool
SETTLE_MAX = 500
JUDGED_AGAIN = ("unmatched", "refused", "test")


def record(
    session: Session, workspace: Workspace, params: Mapping[str, str], sighting: Sighting, keys: Keys
) -> Outcome:
    """Records a report: the same event again changes nothing, the same sale again makes no second one.

    The caller commits; until then whoever reports the same sale waits.
    """
    seen = received.find(session, sighting)
    if seen is not None:
        return received.outcome_of(seen)
    try:
        if sighting.signature is not None:
            signing.spend(session, workspace, sighting.signature)
        outcome, claim = _judge(session, workspace, params, sighting, keys)
    except Unverified as error:
        sighting = sighting._replace(signed=False)
        outcome, claim = Outcome("refused", reason=error.reason, errors=error.errors), None
    return received.keep(session, workspace, params, sighting, keys, outcome, claim)


def refuse(
    session: Session,
    workspace: Workspace,
    params: Mapping[str, str],
    sighting: Sighting,
    keys: Keys,
    error: Unverified | NotAllowed,
) -> Outcome:
    """Keeps a report from somebody who may not send any, for whoever looks into it; the caller commits."""
    seen = received.find(session, sighting)
    if seen is not None:
        return received.outcome_of(seen)
    outcome = Outcome("refused", reason=error.reason, errors=error.errors)
    return received.keep(session, workspace, params, sighting, keys, outcome, None)


def retry(session: Session, report: Report, keys: Keys) -> Outcome:
    """Judges a stored report again by what is known now, where nothing came of it so far; the caller commits.

    It stays the one report that it was, and says what became of it and when it was tried.
    """
    received.hold(session, report)
    if report.result not in JUDGED_AGAIN:
        return received.outcome_of(report)
    workspace = session.get_one(Workspace, report.workspace_id)
    try:
        outcome, claim = _judge(session, workspace, received.params_of(report), received.sighting_of(report), keys)
    except Unverified as error:
        outcome, claim = Outcome("refused", reason=error.reason, errors=error.errors), None
    return received.renew(session, report, outcome, claim)


def give(
    session: Session, report: Report, keys: Keys, *, click_id: str | None = None, campaign: Campaign | None = None
) -> Outcome:
    """Credits a stored report by hand, to a click or to a campaign alone; the caller commits.

    A sale that is known already stays where it is and takes the report's news. Raises Invalid, naming the field, for a
    report that is recorded already or cannot be understood, and for a click id or campaign of somebody else.
    """
    received.hold(session, report)
    if report.result not in JUDGED_AGAIN:
        raise Invalid({"report": "This report belongs to a conversion already."})
    workspace = session.get_one(Workspace, report.workspace_id)
    claim = understand(received.params_of(report), workspace, received.sighting_of(report), keys.customer)
    if claim.test:
        raise Invalid({"test": HINTS["test"]})
    found = _given(session, workspace, claim, keys, click_id, campaign)
    return received.renew(session, report, _settle_on(session, workspace, claim, found), claim)


def _given(
    session: Session,
    workspace: Workspace,
    claim: Claim,
    keys: Keys,
    click_id: str | None,
    campaign: Campaign | None,
) -> Found:
    if click_id is not None:
        match = matching.by_click_id(session, workspace, click_id.strip(), keys.click)
        if match.found is None:
            raise Invalid({"click_id": HINTS[match.reason or ""]})
        return match.found._replace(by=matching.HAND)
    if campaign is None or campaign.workspace_id != workspace.id:
        raise Invalid({"campaign": "There is no such campaign."})
    return Found(matching.HAND, campaign, None, None, claim.at_ms, 0)


def _judge(
    session: Session, workspace: Workspace, params: Mapping[str, str], sighting: Sighting, keys: Keys
) -> tuple[Outcome, Claim | None]:
    """What a report says and what becomes of that. The conversion is written, the report is not."""
    try:
        claim = understand(params, workspace, sighting, keys.customer)
        if claim.test:
            return Outcome("test", reason="test"), claim
        unsigned = workspace.signature_mode == "required" and not claim.signed
        if unsigned and claim.via == CALLBACK:
            raise signing.missing()
        match = matching.by_click_id(session, workspace, claim.cid, keys.click)
        found = match.found
        if unsigned and claim.via == PIXEL:
            known = _known(session, workspace, claim, found)
            news = None if known is None else _news(session, known, claim)
            return news or Outcome("unmatched", reason="signature_required"), claim
        if found is None:
            # A later word on a known sale needs no click id: shops send refunds by order alone.
            if (known := _known(session, workspace, claim, None)) is not None:
                return _news(session, known, claim), claim
            found = matching.by_customer(session, workspace, claim)
        if found is None:
            return Outcome("unmatched", reason=match.reason), claim
        return _settle_on(session, workspace, claim, found), claim
    except Unverified:
        raise
    except Invalid as error:
        return Outcome("refused", reason="bad_value", errors=error.errors), None


def _settle_on(session: Session, workspace: Workspace, claim: Claim, found: Found) -> Outcome:
    """Makes the sale's one row, credited to a click, or brings the claim's news to the row that is there."""
    _check_instant(claim, found.at_ms)
    made = _insert(session, workspace, claim, found)
    if made is not None:
        ledger.open_with(session, made, claim.via)
        return Outcome("recorded", made.id, found.campaign.slug)
    known = _known(session, workspace, claim, found)
    assert known is not None  # noqa: S101 (narrows the type: it is what the insertion ran into, and none is deleted)
    return _news(session, known, claim)


def _news(session: Session, conversion: Conversion, claim: Claim) -> Outcome:
    """A further report of a conversion that is known and held."""
    if conversion.click_id is not None:
        _check_instant(claim, conversion.click_at_ms)
    changed = ledger.respect(session, conversion, claim)
    if not matching.is_repeat(session, conversion, claim):
        changed |= ledger.apply(session, conversion, claim)
    slug = session.get_one(Campaign, conversion.campaign_id).slug
    return Outcome("updated" if changed else "duplicate", conversion.id, slug)


def _check_instant(claim: Claim, click_at_ms: int) -> None:
    """Raises Invalid for a sale that names an instant before its click: a clock or a zone is wrong, or the click is."""
    if claim.told_at_ms is not None and claim.told_at_ms < click_at_ms - CLOCK_TOLERANCE_S * 1000:
        raise Invalid({"ts": "The instant lies before the click. It is in seconds since 1970, in UTC."})


def _insert(session: Session, workspace: Workspace, claim: Claim, found: Found) -> Conversion | None:
    """The sale's row, if it is new. UNIQUE decides which report makes it: two that race both try, one inserts."""
    converted_at_ms = max(claim.at_ms, found.at_ms)
    new = (
        insert_into(session.get_bind().dialect.name, Conversion)
        .values(
            workspace_id=workspace.id,
            campaign_id=found.campaign.id,
            link_id=found.link_id,
            goal=claim.goal,
            dedup_key=matching.dedup_key(claim, found),
            order_id=claim.order,
            click_id=found.click_id,
            matched_by=found.by,
            click_at_ms=found.at_ms,
            click_nonce=found.nonce,
            status=claim.status or "approved",
            minor=claim.amount.minor if claim.amount else None,
            currency=claim.amount.currency if claim.amount else None,
            customer=claim.customer,
            outside_window=matching.is_outside(found.campaign, found.at_ms, converted_at_ms),
            is_test=False,
            gpc=claim.gpc,
            click_settled=found.click_id is None,
            path_settled=False,
            converted_at_ms=converted_at_ms,
            told_at_ms=claim.told_at_ms,
            created_at=days.now(),
        )
        .on_conflict_do_nothing()
        .returning(Conversion)
    )
    made: Conversion | None = session.scalar(new)
    return made


def _known(session: Session, workspace: Workspace, claim: Claim, found: Found | None) -> Conversion | None:
    """The conversion that a claim is another report of, held until the commit.

    Of two reports at once each reads what the other left, or the ledger's differences would not add up. An update that
    changes nothing holds the row in any database; SQLite knows no other lock. A row that it did not see is not known,
    even if it can be read a moment later: nobody would hold it.
    """
    here = and_(
        Conversion.workspace_id == workspace.id,
        Conversion.goal == claim.goal,
        Conversion.dedup_key == matching.dedup_key(claim, found),
    )
    held = session.scalar(update(Conversion).where(here).values(goal=Conversion.goal).returning(Conversion.id))
    return None if held is None else session.get_one(Conversion, held, populate_existing=True)


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
