"""How a claim finds its click: by the click id, by the order that is known, or by the customer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import clickid
from tracker.claims import Claim
from tracker.days import DAY_MS
from tracker.models import Campaign, Conversion, Link, Report, Workspace
from tracker.salesums import VIEW

_MACRO = re.compile(r"\{\{?[\w.]+\}?\}|\[\w+\]|%7B\w+%7D|<\w+>|\$\{?\w+\}?", re.IGNORECASE)
CLICK, CUSTOMER, HAND = "click", "customer", "hand"
CANDIDATES_MAX = 50  # conversions of one customer that are looked at for a click

HINTS = {
    "no_click_id": "The report has no cid. Pass on the cid that the landing page got in its URL.",
    "macro_not_replaced": "The cid is still a placeholder: the sender did not put the click id in its place.",
    "bad_click_id": "The cid is not one of ours: cut short, changed on the way, or made up.",
    "foreign_click_id": "The cid belongs to another workspace: check the key in the address.",
    "unknown_link": "The cid is genuine, but its link is no longer stored.",
    "signature_required": "Sales are taken from signed callbacks only: what a pixel says is kept, and fills in theirs.",
    "test": "The report carries test and is kept out of every figure.",
}


class Found(NamedTuple):
    """What a conversion is credited to. Given to a campaign alone it has neither click id nor link."""

    by: str
    campaign: Campaign
    link_id: int | None
    click_id: str | None
    at_ms: int
    nonce: int


class Match(NamedTuple):
    """Where a claim's click is, or why there is none."""

    found: Found | None
    reason: str | None = None


def is_placeholder(text: str) -> bool:
    """Whether a text holds what a sender should have put a value in the place of."""
    return _MACRO.search(text) is not None


def by_click_id(session: Session, workspace: Workspace, cid: str, keys: Mapping[int, bytes]) -> Match:
    """The click of a click id. The id verifies itself: a forged one costs no look-up."""
    if not cid:
        return Match(None, "no_click_id")
    click = clickid.read(cid, keys)
    if click is None:
        return Match(None, "macro_not_replaced" if is_placeholder(cid) else "bad_click_id")
    link = session.get(Link, click.link_id)
    if link is None:
        return Match(None, "unknown_link")
    if link.workspace_id != workspace.id:
        return Match(None, "foreign_click_id")
    return Match(Found(CLICK, link.campaign, link.id, cid, click.at_ms, click.nonce))


def by_customer(session: Session, workspace: Workspace, claim: Claim) -> Found | None:
    """The latest click before the sale that a conversion of the same customer came from, within its window.

    Only where an order or an event id tells this sale from the next: a customer alone may buy twice.
    """
    if claim.customer is None or not (claim.order or claim.event_id):
        return None
    query = (
        select(Conversion, Campaign)
        .join(Campaign, Campaign.id == Conversion.campaign_id)
        .where(Conversion.workspace_id == workspace.id, Conversion.customer == claim.customer)
        .where(Conversion.matched_by.in_((CLICK, CUSTOMER)), Conversion.click_id.is_not(None))
        .where(Conversion.is_test.is_(False), Conversion.click_at_ms <= claim.at_ms)
        .order_by(Conversion.click_at_ms.desc(), Conversion.id)
        .limit(CANDIDATES_MAX)
    )
    for known, campaign in session.execute(query):
        if not is_outside(campaign, known.click_at_ms, claim.at_ms):
            return Found(CUSTOMER, campaign, known.link_id, known.click_id, known.click_at_ms, known.click_nonce)
    return None


def is_outside(campaign: Campaign, click_at_ms: int, converted_at_ms: int, by: str = CLICK) -> bool:
    """Whether a conversion came later after its click, or by view after its impression, than its campaign allows."""
    window_days = campaign.view_window_days if by == VIEW else campaign.click_window_days
    return converted_at_ms - click_at_ms > window_days * DAY_MS


def move(conversion: Conversion, found: Found) -> None:
    """A click beats the view that a conversion was credited to. Its money stays, and so does the ledger."""
    conversion.matched_by, conversion.campaign_id, conversion.link_id = found.by, found.campaign.id, found.link_id
    conversion.click_id, conversion.click_at_ms, conversion.click_nonce = found.click_id, found.at_ms, found.nonce
    conversion.converted_at_ms = max(conversion.converted_at_ms, found.at_ms)
    conversion.outside_window = is_outside(found.campaign, found.at_ms, conversion.converted_at_ms)
    conversion.click_settled = found.click_id is None


def dedup_key(claim: Claim, found: Found | None) -> str:
    """What a second report of the same sale has in common with the first; UNIQUE by workspace and goal.

    Without an order it is the click id, else the event id; a report that names none of them is a sale of its own.
    """
    if claim.order:
        return f"o:{claim.order}"
    if found is not None and found.by != CUSTOMER and found.click_id:
        return f"c:{found.click_id}"
    if claim.event_id:
        return f"e:{claim.event_id}"
    return f"r:{claim.received_at_ms}-{claim.received_nonce}"


def is_repeat(session: Session, conversion: Conversion, claim: Claim) -> bool:
    """Whether all that a claim says has been said of this conversion before, or its event has.

    A sender that is not sure tries again: whatever has come in between stands. The pixel and the callback may share
    an event id, and the second fills what the first left out.
    """
    of_it = select(Report.id).where(Report.conversion_id == conversion.id).limit(1)
    same = of_it.where(Report.workspace_id == conversion.workspace_id, Report.digest == claim.digest)
    if session.scalar(same) is not None:
        return True
    if claim.event_id is None:
        return False
    return session.scalar(of_it.where(Report.event_id == claim.event_id, Report.via == claim.via)) is not None
