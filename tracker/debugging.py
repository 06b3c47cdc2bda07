"""What came in under a test code, explained: what would have been recorded, what is missing, what came twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import conversions, customers, days, matching, received
from tracker.claims import ALIASES, PIXEL, Claim
from tracker.config import Keys
from tracker.errors import Invalid
from tracker.events import Kind, Verdict
from tracker.links import by_ids
from tracker.matching import HINTS, Found
from tracker.models import Conversion, Link, Report, Workspace
from tracker.money import Money
from tracker.reported import TestCode
from tracker.stores import EventId, EventStore, StoredEvent

SHOWN_MAX = 100  # hits of a code, and reports; the newest
STRAY_MAX = 20  # hits with a code that nobody has issued
STRAY_LOOKED_AT_MAX = 200
STRAY_FOR_MS = 7 * 86_400_000
HASHED = "given, hashed"
NAMES = sorted({*ALIASES, *(alias for others in ALIASES.values() for alias in others)})
# What a report may do without, at a price.
MISSING = {
    "order": "No order id: a repeated report cannot be told from a second sale. Add order=, the same in each report.",
    "value": "No value: the sale counts, without money. Add value=49.90.",
    "customer": "No customer: a sale on another device finds no click. Add customer=, a number or a mail address.",
}


class Fault(NamedTuple):
    """What is wrong with a parameter, or (`is_missing`) what would be better with it."""

    field: str
    text: str
    is_missing: bool = False


class Parameter(NamedTuple):
    """A parameter of a report as it is kept: without a value where only the name is."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class HitSeen:
    """An impression, a click or the scanner trap. `rule` says what it would be without its code, if not counted."""

    event: StoredEvent
    link: Link | None

    @property
    def id(self) -> EventId:
        return self.event[:2]


@dataclass(frozen=True, slots=True)
class ClickSeen:
    """The click that a report belongs to; `event` is None where it is not stored, or no longer."""

    found: Found
    link: Link | None
    event: StoredEvent | None
    is_of_test: bool


@dataclass(slots=True)
class ReportSeen:
    """A pixel or callback: `result` is what would have become of it, or what became of it where it was recorded.

    `of` is the first report of the same sale; `known` says that the sale had been recorded before the test.
    """

    report: Report
    result: str
    reason: str | None = None
    claim: Claim | None = None
    click: ClickSeen | None = None
    of: ReportSeen | None = None
    known: bool = False
    faults: list[Fault] = field(default_factory=list)

    @property
    def id(self) -> EventId:
        return self.report.at_ms, self.report.nonce

    @property
    def kind(self) -> Kind:
        return Kind.CONVERSION if self.report.via == PIXEL else Kind.CALLBACK

    @property
    def parameters(self) -> list[Parameter]:
        hidden = {customers.NAME: HASHED}
        return [
            Parameter(name, hidden.get(name, None if value == received.NOT_KEPT else value))
            for name, value in self.report.params.items()
        ]


@dataclass(frozen=True, slots=True)
class Findings:
    """All that came in under a code, newest first; `is_cut` where there was more than is shown."""

    hits: list[HitSeen]
    reports: list[ReportSeen]
    is_cut: bool

    @property
    def lines(self) -> list[HitSeen | ReportSeen]:
        return sorted((*self.hits, *self.reports), key=lambda line: line.id, reverse=True)

    def has(self, kind: Kind) -> bool:
        return any(hit.event.kind == kind for hit in self.hits)

    @property
    def is_matched(self) -> bool:
        return any(seen.click is not None for seen in self.reports)


@dataclass(slots=True)
class _Sale:
    """What reports of the same sale have told of it so far."""

    first: ReportSeen
    amount: Money | None = None
    customer: str | None = None
    status: str = "approved"
    digests: set[bytes] = field(default_factory=set)

    def take(self, claim: Claim) -> bool:
        """Whether a report says anything new: a pixel fills gaps, a callback changes what is known."""
        before = (self.amount, self.customer, self.status)
        if claim.digest not in self.digests:
            self.amount = claim.amount if self.amount is None or (claim.speaks and claim.amount) else self.amount
            self.customer = self.customer or claim.customer
            self.status = claim.status if claim.speaks and claim.status else self.status
        self.digests.add(claim.digest)
        return before != (self.amount, self.customer, self.status)


def look_at(session: Session, store: EventStore, workspace: Workspace, code: TestCode, keys: Keys) -> Findings:
    """What came in under a code. The work grows with what is shown, and with nothing else."""
    since_ms = days.to_ms(code.created_at)
    events = store.tests(workspace.id, code.code, since_ms=since_ms, limit=SHOWN_MAX + 1)
    clicks = {event[:2] for event in events if event.kind == Kind.CLICK}
    reports = _reports(session, workspace, code, clicks)
    seen = _explained(session, workspace, reports[:SHOWN_MAX], keys)
    _add_clicks(store, code, seen)
    links = by_ids(session, {event.link_id for event in events if event.link_id})
    hits = [HitSeen(event, links.get(event.link_id or 0)) for event in events[:SHOWN_MAX]]
    return Findings(hits, seen, len(events) > SHOWN_MAX or len(reports) > SHOWN_MAX)


def stray_hits(session: Session, store: EventStore, workspace: Workspace, now_ms: int) -> list[HitSeen]:
    """Hits of the last days with a code that nobody has issued, or that had expired: a link went out with it."""
    events = store.tests(workspace.id, None, since_ms=now_ms - STRAY_FOR_MS, limit=STRAY_MAX)
    links = by_ids(session, {event.link_id for event in events if event.link_id})
    return [HitSeen(event, links.get(event.link_id or 0)) for event in events]


def stray_reports(session: Session, workspace: Workspace, codes: Sequence[TestCode], now_ms: int) -> list[Report]:
    """Reports of the last days that say they are tests and name none of these codes."""
    tests = select(Report).where(Report.workspace_id == workspace.id, Report.result == "test")
    newest = session.scalars(tests.order_by(Report.id.desc()).limit(STRAY_LOOKED_AT_MAX))
    issued = {code.code for code in codes}
    found = [each for each in newest if each.test_code not in issued and each.at_ms >= now_ms - STRAY_FOR_MS]
    return found[:STRAY_MAX]


def _reports(session: Session, workspace: Workspace, code: TestCode, clicks: set[EventId]) -> list[Report]:
    """Reports that carry the code, and those that came from its clicks without it, newest first."""
    mine = select(Report).where(Report.workspace_id == workspace.id).order_by(Report.id.desc()).limit(SHOWN_MAX + 1)
    found = {report.id: report for report in session.scalars(mine.where(Report.test_code == code.code))}
    if clicks:
        columns = (Conversion.id, Conversion.click_at_ms, Conversion.click_nonce)
        sold = select(*columns).where(Conversion.workspace_id == workspace.id)
        sold = sold.where(Conversion.click_at_ms.in_({at_ms for at_ms, _ in clicks}))
        ids = [row.id for row in session.execute(sold) if (row.click_at_ms, row.click_nonce) in clicks]
        found |= {report.id: report for report in session.scalars(mine.where(Report.conversion_id.in_(ids)))}
    return sorted(found.values(), key=lambda report: (report.at_ms, report.nonce), reverse=True)


def _explained(session: Session, workspace: Workspace, reports: Sequence[Report], keys: Keys) -> list[ReportSeen]:
    """Each report as if all of them had been recorded, in the order in which they came; answered newest first."""
    sales: dict[tuple[str, str], _Sale] = {}
    seen = [_explain(session, workspace, report, keys, sales) for report in reversed(reports)]
    return seen[::-1]


def _explain(
    session: Session, workspace: Workspace, report: Report, keys: Keys, sales: dict[tuple[str, str], _Sale]
) -> ReportSeen:
    try:
        claim, match = conversions.rehearse(session, report, keys)
    except Invalid as refusal:
        faults = [Fault(name, text) for name, text in refusal.errors.items()]
        return ReportSeen(report, "refused", "bad_value", faults=[*faults, *_strange(report)])
    found = match.found
    seen = ReportSeen(report, "unmatched", match.reason, claim, faults=_faults(report, claim, match.reason, found))
    if found is not None:
        link = session.get(Link, found.link_id) if found.link_id else None
        seen.click = ClickSeen(found, link, None, False)
    key = (claim.goal, matching.dedup_key(claim, found))
    sale = sales.get(key)
    seen.known = sale is None and report.conversion_id is None and _is_known(session, workspace, key)
    if found is None and sale is None and not seen.known:
        return seen
    if found is None:  # a later word on a sale needs no click id
        seen.reason, seen.faults = None, [fault for fault in seen.faults if fault.field != "cid"]
    if sale is None:
        sale = sales[key] = _Sale(seen)
        sale.take(claim)
        seen.result = "duplicate" if seen.known else "recorded"
    else:
        seen.of = sale.first
        seen.result = "updated" if sale.take(claim) else "duplicate"
    return seen


def _is_known(session: Session, workspace: Workspace, key: tuple[str, str]) -> bool:
    """Whether a sale had been recorded for good before it was tried out."""
    known = select(Conversion.id).where(Conversion.workspace_id == workspace.id, Conversion.is_test.is_(False))
    known = known.where(Conversion.goal == key[0], Conversion.dedup_key == key[1], Conversion.click_settled)
    return session.scalar(known) is not None


def _add_clicks(store: EventStore, code: TestCode, seen: Sequence[ReportSeen]) -> None:
    """Looks up the clicks that reports belong to, all at once."""
    wanted = {(each.click.found.at_ms, each.click.found.nonce) for each in seen if each.click}
    stored = store.find_clicks(sorted(wanted))
    for each in seen:
        if each.click is not None:
            found = each.click.found
            event = stored.get((found.at_ms, found.nonce))
            is_of_test = event is not None and (event.verdict, event.detail) == (Verdict.TEST, code.code)
            each.click = ClickSeen(found, each.click.link, event, is_of_test)


def _faults(report: Report, claim: Claim, reason: str | None, found: Found | None) -> list[Fault]:
    """What is wrong with a report that can be understood, and what it lacks."""
    params = report.params
    faults = [Fault("cid", HINTS[reason])] if reason in HINTS else []
    if found is not None and matching.is_outside(found.campaign, found.at_ms, claim.at_ms):
        faults.append(
            Fault("ts", f"Later after its click than the {found.campaign.click_window_days} days that count.")
        )
    faults += _strange(report)
    given = {"order": claim.order, "value": claim.amount, "customer": claim.customer or report.gpc or None}
    faults += [Fault(name, MISSING[name], True) for name, value in given.items() if value is None]
    if claim.amount is not None and not params.get("currency"):
        faults.append(Fault("currency", f"No currency: {claim.amount.currency}, the workspace’s, is taken.", True))
    if report.gpc:
        faults.append(Fault("customer", "Global Privacy Control: no customer is kept of this report.", True))
    return faults


def _strange(report: Report) -> list[Fault]:
    """Values that a sender has not put in, and names that we do not know."""
    faults = []
    for name, value in report.params.items():
        if name in ALIASES:
            if name != "cid" and matching.is_placeholder(value):
                faults.append(Fault(name, "Still a placeholder: the sender did not put its value in."))
        elif name != customers.SEALED:
            near = get_close_matches(name.lower(), NAMES, n=1, cutoff=0.75)
            meant = f" Is {near[0]} meant?" if near else ""
            faults.append(Fault(name, f"Not a name that we know: its value is not kept.{meant}", True))
    return faults
