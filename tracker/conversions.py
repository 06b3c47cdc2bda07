"""Conversions: matched to their click, recorded once, changed by a ledger that is only added to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session

from tracker import customers, days, ledger, matching, matchkeys
from tracker.claims import ALIASES, CLOCK_TOLERANCE_S, TEXT_MAX, Claim, Sighting, understand
from tracker.config import Keys
from tracker.errors import Invalid
from tracker.extensions import insert_into
from tracker.ledger import COUNTING as COUNTING
from tracker.matching import HINTS, Found
from tracker.models import Campaign, Conversion, Report, Workspace
from tracker.stores import Dimension, StoredEvent

SETTLE_WITHIN = timedelta(days=7)  # as long as a click may wait in a spool
SETTLE_MAX = 500
NAME_MAX = 64  # characters of a parameter's name that are kept
NOT_KEPT = "(not kept)"
CROPPED = "…"  # stands where a value was too long, so that it is still too long when it is judged again
JUDGED_AGAIN = ("unmatched", "refused", "test")
_TEST_CODE = re.compile(r"[A-Za-z0-9]{4,32}")


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
        return "; ".join(self.errors.values()) if self.errors else HINTS.get(self.reason or "")


def record(
    session: Session, workspace: Workspace, params: Mapping[str, str], sighting: Sighting, keys: Keys
) -> Outcome:
    """Records a report: the same event again changes nothing, the same sale again makes no second one.

    The caller commits; until then whoever reports the same sale waits.
    """
    seen = session.scalar(select(Report).where(Report.at_ms == sighting.at_ms, Report.nonce == sighting.nonce))
    if seen is not None:
        return _known_outcome(seen)
    outcome, claim = _judge(session, workspace, params, sighting, keys)
    if claim is not None and not claim.test:
        matchkeys.keep(session, workspace, claim.customer, customers.match_of(params))
    return _keep(session, workspace, params, sighting, keys, outcome, claim)


def retry(session: Session, report: Report, keys: Keys) -> Outcome:
    """Judges a stored report again by what is known now, where nothing came of it so far; the caller commits.

    It stays the one report that it was, and says what became of it and when it was tried.
    """
    if report.result not in JUDGED_AGAIN:
        return _known_outcome(report)
    workspace = session.get_one(Workspace, report.workspace_id)
    outcome, claim = _judge(session, workspace, _params_of(report), _sighting_of(report), keys)
    return _renew(session, report, outcome, claim)


def give(
    session: Session, report: Report, keys: Keys, *, click_id: str | None = None, campaign: Campaign | None = None
) -> Outcome:
    """Credits a stored report by hand, to a click or to a campaign alone; the caller commits.

    A sale that is known already stays where it is and takes the report's news. Raises Invalid, naming the field, for a
    report that is recorded already or cannot be understood, and for a click id or campaign of somebody else.
    """
    if report.result not in JUDGED_AGAIN:
        raise Invalid({"report": "This report belongs to a conversion already."})
    workspace = session.get_one(Workspace, report.workspace_id)
    claim = understand(_params_of(report), workspace, _sighting_of(report), keys.customer)
    if claim.test:
        raise Invalid({"test": HINTS["test"]})
    found = _given(session, workspace, claim, keys, click_id, campaign)
    return _renew(session, report, _settle_on(session, workspace, claim, found), claim)


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
        match = matching.by_click_id(session, workspace, claim.cid, keys.click)
        found = match.found
        if found is None:
            # A later word on a known sale needs no click id: shops send refunds by order alone.
            if (known := _known(session, workspace, claim, None)) is not None:
                return _news(session, known, claim), claim
            found = matching.by_customer(session, workspace, claim)
        if found is None:
            return Outcome("unmatched", reason=match.reason), claim
        return _settle_on(session, workspace, claim, found), claim
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


def _known_outcome(report: Report) -> Outcome:
    slug = report.conversion.campaign.slug if report.conversion else None
    return Outcome(report.result, report.conversion_id, slug, report.reason)


def _keep(
    session: Session,
    workspace: Workspace,
    params: Mapping[str, str],
    sighting: Sighting,
    keys: Keys,
    outcome: Outcome,
    claim: Claim | None,
) -> Outcome:
    """Writes the report down, whatever became of it. The customer stands in it hashed or not at all.

    Of a parameter that we do not know only the name is kept: its value may be anybody's e-mail address.
    """
    report = Report(
        workspace_id=workspace.id,
        at_ms=sighting.at_ms,
        nonce=sighting.nonce,
        via=sighting.via,
        params=_kept_params(params, None if sighting.gpc else keys.customer),
        agent=sighting.agent[:TEXT_MAX] or None,
        signed=sighting.signed,
        gpc=sighting.gpc,
    )
    session.add(report)
    return _write_down(session, report, outcome, claim)


def _kept_params(params: Mapping[str, str], customer_key: bytes | None) -> dict[str, str]:
    sealed = params.get(customers.SEALED, "")
    kept = {
        _storable(name[:NAME_MAX]): _storable(_cropped(value)) if name in ALIASES else NOT_KEPT
        for name, value in params.items()
        if name not in customers.NAMES
    }
    if customer_key is not None:
        if not customers.is_hash(sealed):
            sealed = customers.seal_params(params, customer_key).get(customers.SEALED, "")
        if sealed:
            kept[customers.NAME] = sealed
    return kept


def _storable(text: str) -> str:
    """PostgreSQL cannot look into JSON that holds a NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _cropped(value: str) -> str:
    return value if len(value) <= TEXT_MAX else value[:TEXT_MAX] + CROPPED


def _params_of(report: Report) -> dict[str, str]:
    """What a stored report said; its customer was hashed when it came in."""
    params = dict(report.params)
    if customer := params.pop(customers.NAME, ""):
        params[customers.SEALED] = customer
    return params


def _sighting_of(report: Report) -> Sighting:
    return Sighting(report.at_ms, report.nonce, report.via, report.gpc, report.agent or "", report.signed)


def _renew(session: Session, report: Report, outcome: Outcome, claim: Claim | None) -> Outcome:
    report.retried_at = days.now()
    return _write_down(session, report, outcome, claim)


def _write_down(session: Session, report: Report, outcome: Outcome, claim: Claim | None) -> Outcome:
    report.result, report.reason, report.hint = outcome.result, outcome.reason, outcome.hint
    report.conversion_id = outcome.conversion_id
    report.digest = claim.digest if claim else None
    report.event_id = claim.event_id if claim else None
    code = report.params.get("test", "")
    report.test_code = code if _TEST_CODE.fullmatch(code) else None
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
