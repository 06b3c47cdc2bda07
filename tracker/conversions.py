"""Conversions: matched to their click, recorded once, changed by a ledger that is only added to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import Select, and_, bindparam, exists, func, literal, or_, select, update
from sqlalchemy.orm import Session

from tracker import clickid, customers, days, ledger, matching, matchkeys, received, signing
from tracker.claims import CALLBACK, CLOCK_TOLERANCE_S, GOAL_DEFAULT, PIXEL, Claim, Sighting, understand
from tracker.config import Keys
from tracker.errors import Invalid, NotAllowed, Unverified
from tracker.extensions import insert_into
from tracker.matching import HINTS, Found, Match
from tracker.models import Campaign, Conversion, Report, Workspace
from tracker.received import Outcome as Outcome
from tracker.salesums import COUNTING as COUNTING
from tracker.salesums import VIEW, SaleSums
from tracker.stores import StoredEvent

WAITED = timedelta(days=30)  # that an unmatched report is tried again by itself
TRIED_AGAIN_AFTER = timedelta(hours=1)
KEYS_SPREAD_WITHIN = timedelta(days=1)  # over all machines
LOOKED_AT_MAX = 10_000  # unmatched reports, the latest, in one run
RETRIED_MAX = 500
JUDGED_AGAIN = ("unmatched", "refused", "test")


def record(
    session: Session,
    workspace: Workspace,
    params: Mapping[str, str],
    sighting: Sighting,
    keys: Keys,
    sums: SaleSums | None = None,
) -> Outcome:
    """Records a report: the same event again changes nothing, the same sale again makes no second one.

    The caller commits; until then whoever reports the same sale waits. Who records several with one commit gives
    `sums`, and writes them last of all: else each report writes its own, and two who do so may wait for each other.
    """
    seen = received.find(session, sighting)
    if seen is not None:
        return received.outcome_of(seen)
    changed = SaleSums() if sums is None else sums
    try:
        if sighting.signature is not None:
            signing.spend(session, workspace, sighting.signature)
        outcome, claim = _judge(session, workspace, params, sighting, keys, changed)
    except Unverified as error:
        sighting = sighting._replace(signed=False)
        outcome, claim = Outcome("refused", reason=error.reason, errors=error.errors), None
    if claim is not None and not claim.test:
        matchkeys.keep(session, workspace, claim.customer, customers.match_of(params))
    received.keep(session, workspace, params, sighting, keys, outcome, claim)
    if sums is None:
        changed.write(session)
    return outcome


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


def retry(session: Session, report: Report, keys: Keys, sums: SaleSums | None = None) -> Outcome:
    """Judges a stored report again by what is known now, where nothing came of it so far; the caller commits.

    It stays the one report that it was, and says what became of it and when it was tried. For `sums` see `record`.
    """
    received.hold(session, report)
    if report.result not in JUDGED_AGAIN:
        return received.outcome_of(report)
    workspace = session.get_one(Workspace, report.workspace_id)
    changed = SaleSums() if sums is None else sums
    params, sighting = received.params_of(report), received.sighting_of(report)
    try:
        outcome, claim = _judge(session, workspace, params, sighting, keys, changed)
    except Unverified as error:
        outcome, claim = Outcome("refused", reason=error.reason, errors=error.errors), None
    received.renew(session, report, outcome, claim)
    if sums is None:
        changed.write(session)
    return outcome


def give(
    session: Session,
    report: Report,
    keys: Keys,
    *,
    click_id: str | None = None,
    campaign: Campaign | None = None,
    sums: SaleSums | None = None,
) -> Outcome:
    """Credits a stored report by hand, to a click or to a campaign alone; the caller commits.

    A sale that is known already stays where it is and takes the report's news. Raises Invalid, naming the field, for a
    report that is recorded already or cannot be understood, and for a click id or campaign of somebody else. For `sums`
    see `record`.
    """
    received.hold(session, report)
    if report.result not in JUDGED_AGAIN:
        raise Invalid({"report": "This report belongs to a conversion already."})
    workspace = session.get_one(Workspace, report.workspace_id)
    claim = understand(received.params_of(report), workspace, received.sighting_of(report), keys.customer)
    if claim.test:
        raise Invalid({"test": HINTS["test"]})
    found = _given(session, workspace, claim, keys, click_id, campaign)
    changed = SaleSums() if sums is None else sums
    outcome = received.renew(session, report, _settle_on(session, workspace, claim, found, changed), claim)
    if sums is None:
        changed.write(session)
    return outcome


def credit_view(session: Session, report: Report, keys: Keys, view: StoredEvent) -> Outcome:
    """Credits a report that no click led to, to an impression before it; the caller commits.

    An order or an event id tells its sale from the next. Raises Invalid for a report that cannot be understood.
    """
    received.hold(session, report)
    if report.result != "unmatched":
        return received.outcome_of(report)
    workspace = session.get_one(Workspace, report.workspace_id)
    claim = understand(received.params_of(report), workspace, received.sighting_of(report), keys.customer)
    campaign, sums = session.get_one(Campaign, view.campaign_id), SaleSums()
    found = Found(VIEW, campaign, view.link_id, None, view.at_ms, view.nonce)
    outcome = received.renew(session, report, _settle_on(session, workspace, claim, found, sums), claim)
    sums.write(session)
    return outcome


def waiting(session: Session, now: datetime, keys_changed_at: datetime) -> list[int]:
    """Ids of reports without a click that may have one now, the earliest first: `RETRIED_MAX` at most.

    Their order, click id or event is known from another report by now, or their customer is, or their link was missing;
    one that was tried and came to nothing waits an hour. Or they came about the time at which keys of click ids were
    added, and have not been tried since. Only the latest are looked at, so that senders who are wrong for good cost
    no more.
    """
    latest = (
        select(Report.id)
        # Unmatched ones are few. By workspace and result there is an index; SQLite would rather read all reports, each
        # minute, by the instant or the id, if these stood there as they are.
        .where(Report.workspace_id.in_(select(Workspace.id)), Report.result == "unmatched")
        .where(Report.at_ms + 0 >= days.to_ms(now - WAITED))
        .where(or_(Report.retried_at.is_(None), Report.retried_at < now - TRIED_AGAIN_AFTER))
        .order_by(-Report.id)
        .limit(LOOKED_AT_MAX)
    )
    said = {name: Report.params[name].as_string() for name in ("order", "cid", "event_id", "goal", "customer")}
    same = [literal(prefix) + said[name] for prefix, name in (("o:", "order"), ("c:", "cid"), ("e:", "event_id"))]
    ours = Conversion.workspace_id == Report.workspace_id
    goal = func.coalesce(func.nullif(said["goal"], ""), GOAL_DEFAULT)
    sale = exists().where(ours, Conversion.goal == goal, Conversion.dedup_key.in_(same))
    named = or_(said["order"] != "", said["event_id"] != "")
    buyer = and_(named, exists().where(ours, Conversion.customer == said["customer"], Conversion.click_id.is_not(None)))
    untried = or_(Report.retried_at.is_(None), Report.retried_at < keys_changed_at)
    other_key = and_(
        Report.reason == "bad_click_id",
        func.length(said["cid"]) == clickid.LENGTH,
        Report.at_ms < days.to_ms(keys_changed_at + KEYS_SPREAD_WITHIN),
        untried,
    )
    missing = Report.reason == "unknown_link"
    query = select(Report.id).where(Report.id.in_(latest), or_(missing, other_key, sale, buyer))
    return list(session.scalars(query.order_by(Report.id).limit(RETRIED_MAX)))


def rehearse(session: Session, report: Report, keys: Keys) -> tuple[Claim, Match]:
    """What a stored report says and which click it names, as if it came in now and were no test; nothing is written.

    Raises Invalid where it would be refused.
    """
    workspace = session.get_one(Workspace, report.workspace_id)
    claim = understand(received.params_of(report), workspace, received.sighting_of(report), keys.customer)
    if workspace.signature_mode == "required" and not claim.signed:
        if claim.via == CALLBACK:
            raise signing.missing()
        if claim.via == PIXEL:
            return claim, Match(None, "signature_required")
    match = matching.by_click_id(session, workspace, claim.cid, keys.click)
    if match.found is None and (found := matching.by_customer(session, workspace, claim)) is not None:
        match = Match(found)
    if match.found is not None:
        _check_instant(claim, match.found.at_ms)
    return claim, match


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
    session: Session,
    workspace: Workspace,
    params: Mapping[str, str],
    sighting: Sighting,
    keys: Keys,
    sums: SaleSums,
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
            news = None if known is None else _news(session, known, claim, sums)
            return news or Outcome("unmatched", reason="signature_required"), claim
        if found is None:
            # A later word on a known sale needs no click id: shops send refunds by order alone.
            known = _known(session, workspace, claim, None) if claim.order or claim.event_id else None
            if known is not None:
                return _news(session, known, claim, sums), claim
            found = matching.by_customer(session, workspace, claim)
        if found is None:
            return Outcome("unmatched", reason=match.reason), claim
        return _settle_on(session, workspace, claim, found, sums), claim
    except Unverified:
        raise
    except Invalid as error:
        return Outcome("refused", reason="bad_value", errors=error.errors), None


def _settle_on(session: Session, workspace: Workspace, claim: Claim, found: Found, sums: SaleSums) -> Outcome:
    """Makes the sale's one row, credited to a click, or brings the claim's news to the row that is there."""
    _check_instant(claim, found.at_ms)
    made = _insert(session, workspace, claim, found)
    if made is not None:
        ledger.open_with(session, made, claim.via)
        sums.after(made)
        return Outcome("recorded", made.id, found.campaign.slug)
    known = _known(session, workspace, claim, found)
    assert known is not None  # noqa: S101 (narrows the type: it is what the insertion ran into, and none is deleted)
    if known.matched_by == VIEW and found.by != VIEW:
        sums.before(known)
        matching.move(known, found)
        sums.after(known)
        return replace(_news(session, known, claim, sums), result="updated")
    return _news(session, known, claim, sums)


def _news(session: Session, conversion: Conversion, claim: Claim, sums: SaleSums) -> Outcome:
    """A further report of a conversion that is known and held."""
    if conversion.click_id is not None:
        _check_instant(claim, conversion.click_at_ms)
    conversion.path_settled = False
    sums.before(conversion)
    changed = ledger.respect(session, conversion, claim)
    if not matching.is_repeat(session, conversion, claim):
        changed |= ledger.apply(session, conversion, claim)
    sums.after(conversion)
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
            outside_window=matching.is_outside(found.campaign, found.at_ms, converted_at_ms, found.by),
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
    return session.scalar(_unmatched(), {"workspace": workspace.id}) or 0


@cache
def _unmatched() -> Select[int]:
    return select(func.count(Report.id)).where(
        Report.workspace_id == bindparam("workspace"), Report.result == "unmatched"
    )
