"""What a further report of a known sale changes, and the ledger that is only ever added to."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tracker import customers, matchkeys
from tracker.claims import PIXEL, Claim
from tracker.matching import HAND, is_outside
from tracker.models import Campaign, Conversion, LedgerEntry, Report
from tracker.money import Money
from tracker.salesums import COUNTING, SaleSums

# How far along a sale is: a report without an instant that says an earlier stage may only have come late.
STAGES = {"pending": 0, "approved": 1, "rejected": 2, "refunded": 2}
SAID_MAX = 1_000  # reports of one sale that are looked at for what has been said of it, the newest


class Balance(NamedTuple):
    """What the ledger's rows of a conversion add up to, in its currency, and the status that it stands at."""

    status: str
    minor: int
    currency: str | None


def balance(conversion: Conversion) -> Balance:
    counted = (conversion.minor or 0) if conversion.status in COUNTING else 0
    return Balance(conversion.status, counted, conversion.currency)


def open_with(session: Session, conversion: Conversion, via: str) -> None:
    """The first row of a new conversion."""
    _write(session, conversion, Balance(conversion.status, 0, conversion.currency), via)


def apply(session: Session, conversion: Conversion, claim: Claim) -> bool:
    """Brings a claim's news into a known conversion, with ledger rows for any change of status or value.

    Answers whether anything changed. A pixel fills what is missing and changes nothing that is known.
    """
    before, amount_before = balance(conversion), conversion.money
    changed = _fill_missing(conversion, claim)
    changed |= _date_back(session, conversion, claim)
    if claim.speaks:
        _change_known(session, conversion, claim)
    if conversion.money != amount_before or balance(conversion) != before:
        _write(session, conversion, before, claim.via)
        changed = True
    return changed


def correct(session: Session, conversion: Conversion, status: str, amount: Money | None, sums: SaleSums) -> bool:
    """Sets status and value as somebody said by hand, without an amount the status alone; whether that is a change."""
    # Held first, as a further report holds it: what is read then is what the difference is made to.
    session.execute(update(Conversion).where(Conversion.id == conversion.id).values(goal=Conversion.goal))
    session.refresh(conversion)
    sums.before(conversion)
    before, amount_before = balance(conversion), conversion.money
    conversion.status = status
    if amount is not None:
        conversion.minor, conversion.currency = amount
    conversion.path_settled = False  # what models of attribution credit is found anew
    sums.after(conversion)
    if conversion.money == amount_before and balance(conversion) == before:
        return False
    _write(session, conversion, before, HAND)
    return True


def _write(session: Session, conversion: Conversion, before: Balance, via: str) -> None:
    """Rows that make the ledger's sums true again: one, or one in each currency where that changed."""
    after = balance(conversion)
    differences = [(after.minor - before.minor, after.currency)]
    if before.minor and before.currency != after.currency:
        differences = [(-before.minor, before.currency), (after.minor, after.currency)]
    for minor, currency in differences:
        entry = LedgerEntry(conversion=conversion, status=after.status, minor=minor, currency=currency, via=via)
        session.add(entry)


def respect(session: Session, conversion: Conversion, claim: Claim) -> bool:
    """Takes the customer from a sale once any report of it came under Global Privacy Control; whether that is new.

    Whoever any report of such a sale names, before or after, has said no for all their sales.
    """
    named = {claim.customer} if conversion.gpc else set()
    is_new = claim.gpc and not conversion.gpc
    if is_new:
        named.add(conversion.customer)
        conversion.gpc, conversion.customer = True, None
        for report in session.scalars(select(Report).where(Report.conversion_id == conversion.id)):
            named.add(report.params.get(customers.NAME))
            report.params = {name: value for name, value in report.params.items() if name != customers.NAME}
    matchkeys.opt_out(session, conversion.workspace_id, named)
    return is_new


def _fill_missing(conversion: Conversion, claim: Claim) -> bool:
    if conversion.minor is None and claim.amount is not None:
        conversion.minor, conversion.currency = claim.amount
    if conversion.customer is None and claim.customer is not None and not conversion.gpc:
        conversion.customer = claim.customer
        return True
    return False


def _date_back(session: Session, conversion: Conversion, claim: Claim) -> bool:
    """A sale was made when the earliest report of it says, whichever came first; its window is judged by that."""
    by_hand_alone = conversion.matched_by == HAND and conversion.click_id is None
    at_ms = claim.at_ms if by_hand_alone else max(claim.at_ms, conversion.click_at_ms)
    if at_ms >= conversion.converted_at_ms:
        return False
    conversion.converted_at_ms = at_ms
    if by_hand_alone:
        conversion.click_at_ms = at_ms
    campaign = session.get_one(Campaign, conversion.campaign_id)
    conversion.outside_window = is_outside(campaign, conversion.click_at_ms, at_ms, conversion.matched_by)
    return True


def _change_known(session: Session, conversion: Conversion, claim: Claim) -> None:
    """The latest word on the status holds, and the latest on the value. A refund in part is a smaller value.

    The value that comes with a refund or a rejection is not what the sale was worth: it fills a gap and no more.
    """
    later = _said_later(session, conversion, claim)
    if "value" not in later and claim.amount is not None and claim.status in (None, *COUNTING):
        conversion.minor, conversion.currency = claim.amount
    status = claim.status
    if status is None and conversion.status == "pending" and not _has_spoken(session, conversion):
        status = "approved"  # what a callback says by saying nothing; only a pixel knew otherwise
    if status is not None and "status" not in later and not _came_late(session, conversion, status, claim):
        conversion.status = status
    if claim.told_at_ms is not None:
        conversion.told_at_ms = max(claim.told_at_ms, conversion.told_at_ms or 0)


def _said_later(session: Session, conversion: Conversion, claim: Claim) -> frozenset[str]:
    """Of status and value those on which a report that names a later instant has spoken already."""
    if claim.told_at_ms is None or conversion.told_at_ms is None or claim.told_at_ms >= conversion.told_at_ms:
        return frozenset()
    later = set()
    for params in _said(session, conversion):
        if not params:  # its time is over: what it said is not known any more, and stands
            return frozenset({"status", "value"})
        ts = params.get("ts", "").strip()
        if ts.isdecimal() and int(ts) * 1000 > claim.told_at_ms:
            status = params.get("status", "").strip().lower()
            later |= {"status"} if status else set()
            later |= {"value"} if params.get("value", "").strip() and status in ("", *COUNTING) else set()
    return frozenset(later)


def _came_late(session: Session, conversion: Conversion, status: str, claim: Claim) -> bool:
    """Whether a report of an earlier stage is one that a later stage has overtaken.

    Of two that name the same instant the later stage stands. Where no instant is named, the sale can only go back to a
    stage that it has been at: the first word on it was under way when the other came.
    """
    if STAGES[status] >= STAGES[conversion.status]:
        return False
    if claim.told_at_ms is not None:
        return claim.told_at_ms == conversion.told_at_ms
    been = select(LedgerEntry.id).where(LedgerEntry.conversion_id == conversion.id, LedgerEntry.status == status)
    if session.scalar(been.limit(1)) is not None:
        return False
    # By default a sale is approved, and that is no word on it.
    return any(params.get("status", "").strip() for params in _said(session, conversion))


def _said(session: Session, conversion: Conversion) -> list[dict[str, str]]:
    query = select(Report.params).where(Report.conversion_id == conversion.id, Report.via != PIXEL)
    return list(session.scalars(query.order_by(Report.id.desc()).limit(SAID_MAX)))


def _has_spoken(session: Session, conversion: Conversion) -> bool:
    query = select(Report.id).where(Report.conversion_id == conversion.id, Report.via != PIXEL).limit(1)
    return session.scalar(query) is not None
