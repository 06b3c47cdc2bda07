"""The inbox of reports: what came in, looked through by filters; judged again, given by hand, corrected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from tracker import clickid, conversions, days, ledger
from tracker.claims import CALLBACK, IMPORT, PIXEL, STATUSES, TEXT_MAX
from tracker.config import Keys
from tracker.conversions import JUDGED_AGAIN
from tracker.errors import Invalid, NotFound
from tracker.events import Kind, Verdict
from tracker.models import Campaign, Conversion, Link, Report, Workspace
from tracker.money import Money
from tracker.salesums import SaleSums
from tracker.stores import EventStore, StoredEvent, Wanted

RESULTS = ("recorded", "updated", "duplicate", "unmatched", "refused", "test")
VIAS = (PIXEL, CALLBACK, IMPORT)
MATCHED_BY = ("click", "customer", "view", "hand")
RETRIED_AT_ONCE = 200  # reports, in one transaction
CANDIDATES_MAX = 20  # clicks offered to match a report by hand
SALES_OF_REPORT_MAX = 200  # reports shown of one conversion
ID_MAX = 2**63 - 1
_DAY_MS = 86_400_000
_CANDIDATE_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedReports:
    """What is looked for among reports; `None` is any. `sale` is an order or a click id, exactly; `until` is not in."""

    result: str | None = None
    reason: str | None = None
    via: str | None = None
    campaign_id: int | None = None
    sale: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedConversions:
    """The same among conversions, by when they were made."""

    status: str | None = None
    goal: str | None = None
    matched_by: str | None = None
    campaign_id: int | None = None
    sale: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def reports(
    session: Session,
    workspace: Workspace,
    wanted: WantedReports,
    *,
    before_id: int | None = None,
    limit: int = 50,
) -> list[Report]:
    """Reports as they came in, newest first, `limit` at most, older than `before_id` where one is given."""
    query = select(Report).where(*_of_reports(workspace, wanted)).order_by(Report.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(Report.id < before_id)
    return list(session.scalars(query).unique())


def _of_reports(workspace: Workspace, wanted: WantedReports) -> Iterator[ColumnElement[bool]]:
    yield Report.workspace_id == workspace.id
    for column, value in (
        (Report.result, wanted.result),
        (Report.reason, wanted.reason),
        (Report.via, wanted.via),
    ):
        if value is not None:
            yield column == value
    if wanted.campaign_id is not None:
        of_campaign = select(Conversion.id).where(Conversion.campaign_id == wanted.campaign_id)
        yield Report.conversion_id.in_(of_campaign)
    if wanted.sale is not None:
        # Of a sale that is known by its conversion; else by what the report said, which few reports are asked for.
        known = select(Conversion.id).where(Conversion.workspace_id == workspace.id, _names(wanted.sale))
        said = or_(*(Report.params[name].as_string() == wanted.sale for name in ("order", "cid")))
        yield or_(Report.conversion_id.in_(known), Report.result.in_(JUDGED_AGAIN) & said)
    if wanted.since is not None:
        yield Report.at_ms >= days.to_ms(wanted.since)
    if wanted.until is not None:
        yield Report.at_ms < days.to_ms(wanted.until)


def _names(sale: str) -> ColumnElement[bool]:
    """A conversion by its order, whatever its goal, or by its click id."""
    return or_(Conversion.order_id == sale, Conversion.click_id == sale)


def recorded(
    session: Session,
    workspace: Workspace,
    wanted: WantedConversions,
    *,
    before_id: int | None = None,
    limit: int = 50,
) -> list[Conversion]:
    """Conversions, newest first, as `reports` finds reports."""
    query = select(Conversion).where(Conversion.workspace_id == workspace.id)
    for column, value in (
        (Conversion.status, wanted.status),
        (Conversion.goal, wanted.goal),
        (Conversion.matched_by, wanted.matched_by),
        (Conversion.campaign_id, wanted.campaign_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.sale is not None:
        query = query.where(_names(wanted.sale))
    if wanted.since is not None:
        query = query.where(Conversion.converted_at_ms >= days.to_ms(wanted.since))
    if wanted.until is not None:
        query = query.where(Conversion.converted_at_ms < days.to_ms(wanted.until))
    if before_id is not None:
        query = query.where(Conversion.id < before_id)
    return list(session.scalars(query.order_by(Conversion.id.desc()).limit(limit)).unique())


def report(session: Session, workspace: Workspace, report_id: int) -> Report:
    """One of the workspace's reports. Raises NotFound."""
    found = session.get(Report, report_id) if 0 < report_id <= ID_MAX else None
    if found is None or found.workspace_id != workspace.id:
        raise NotFound("There is no such report.")
    return found


def conversion(session: Session, workspace: Workspace, conversion_id: int) -> Conversion:
    """One of the workspace's conversions. Raises NotFound."""
    found = session.get(Conversion, conversion_id) if 0 < conversion_id <= ID_MAX else None
    if found is None or found.workspace_id != workspace.id:
        raise NotFound("There is no such conversion.")
    return found


def reports_of(session: Session, found: Conversion) -> list[Report]:
    """What was reported of a conversion, the latest first, `SALES_OF_REPORT_MAX` at most."""
    query = select(Report).where(Report.conversion_id == found.id).order_by(Report.id.desc())
    return list(session.scalars(query.limit(SALES_OF_REPORT_MAX)))


class Retried(NamedTuple):
    """How far a replay has come: how many were judged by result, and the id to go on below; `None` at the end."""

    results: Mapping[str, int]
    go_on: int | None
    left: int


def retry_some(
    session: Session, workspace: Workspace, wanted: WantedReports, keys: Keys, *, before_id: int | None = None
) -> Retried:
    """Judges the next reports again of which nothing came so far, the newest first; commits.

    To be called again with `go_on` until that is `None`. Whoever else does the same meanwhile doubles nothing.
    """
    query = select(Report).where(*_of_reports(workspace, wanted), Report.result.in_(JUDGED_AGAIN))
    if before_id is not None:
        query = query.where(Report.id < before_id)
    found = list(session.scalars(query.order_by(Report.id.desc()).limit(RETRIED_AT_ONCE)).unique())
    results = _retried(session, found, keys)
    if len(found) < RETRIED_AT_ONCE:
        return Retried(results, None, 0)
    rest = select(func.count(Report.id)).where(*_of_reports(workspace, wanted), Report.result.in_(JUDGED_AGAIN))
    left = session.scalar(rest.where(Report.id < found[-1].id)) or 0
    return Retried(results, found[-1].id if left else None, left)


def retry_these(session: Session, workspace: Workspace, ids: Iterable[int], keys: Keys) -> Mapping[str, int]:
    """Judges some reports again, by their ids; commits, and answers how many came to what. Raises NotFound."""
    return _retried(session, [report(session, workspace, each) for each in sorted(ids)], keys)


def _retried(session: Session, found: Iterable[Report], keys: Keys) -> Mapping[str, int]:
    sums = SaleSums()
    results = Counter(conversions.retry(session, each, keys, sums).result for each in found)
    sums.write(session)
    session.commit()
    return results


class Candidate(NamedTuple):
    """A click that a report may have come from, with the click id that says so."""

    click: StoredEvent
    link: Link
    click_id: str


def candidates(
    session: Session, store: EventStore, workspace: Workspace, found: Report, key: clickid.Key
) -> list[Candidate]:
    """The last counted clicks before a report came in, the latest first; those under GPC have no click id."""
    wanted = Wanted(kind=Kind.CLICK, verdict=Verdict.COUNTED, since_ms=found.at_ms - _CANDIDATE_DAYS * _DAY_MS)
    before = store.search(workspace.id, wanted, before=(found.at_ms, found.nonce), limit=CANDIDATES_MAX)
    clicks = [click for click in before.events if click.link_id is not None and click.visitor is not None]
    ids = {click.link_id for click in clicks}
    links = {link.id: link for link in session.scalars(select(Link).where(Link.id.in_(ids))).unique()}
    return [
        Candidate(click, link, clickid.make(key, link.id, click.at_ms, click.nonce))
        for click in clicks
        if (link := links.get(click.link_id or 0)) is not None
    ]


def match(
    session: Session, workspace: Workspace, found: Report, keys: Keys, *, click_id: str, campaign: str
) -> conversions.Outcome:
    """Gives a report by hand to a click or to a campaign, by its slug; commits. Raises Invalid naming the field."""
    if bool(click_id.strip()) == bool(campaign):
        raise Invalid({"click_id": "Give a click id or a campaign, one of them."})
    if click_id.strip():
        outcome = conversions.give(session, found, keys, click_id=click_id)
    else:
        chosen = select(Campaign).where(Campaign.workspace_id == workspace.id, Campaign.slug == campaign)
        outcome = conversions.give(session, found, keys, campaign=session.scalar(chosen))
    session.commit()
    return outcome


def correct(session: Session, found: Conversion, *, status: str, amount: Money | None) -> bool:
    """Changes status and value by hand, with rows in the ledger; commits. False where that is how it was."""
    if status not in STATUSES:
        raise Invalid({"status": f"A status is one of {', '.join(STATUSES)}."})
    sums = SaleSums()
    changed = ledger.correct(session, found, status, amount, sums)
    sums.write(session)
    session.commit()
    return changed


def reasons(session: Session, workspace: Workspace) -> list[str]:
    """The reasons that there are to choose from."""
    query = select(Report.reason).where(Report.workspace_id == workspace.id, Report.result.in_(JUDGED_AGAIN))
    return sorted(reason for reason in session.scalars(query.distinct()) if reason)


def goals(session: Session, workspace: Workspace) -> list[str]:
    """The goals that conversions had, `TEXT_MAX` of them at most."""
    query = select(Conversion.goal).where(Conversion.workspace_id == workspace.id).distinct().limit(TEXT_MAX)
    return sorted(session.scalars(query))


def any_of(session: Session, model: Any, workspace: Workspace) -> bool:
    """Whether the workspace has any report, or any conversion."""
    return session.scalar(select(model.id).where(model.workspace_id == workspace.id).limit(1)) is not None
