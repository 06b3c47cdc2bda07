"""The inbox of reports: what came in and what it became, looked through by filters; judged again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, selectinload

from tracker import conversions, days
from tracker.claims import CALLBACK, GOAL_DEFAULT, IMPORT, PIXEL
from tracker.config import Keys
from tracker.conversions import JUDGED_AGAIN
from tracker.errors import NotFound
from tracker.matching import HINTS
from tracker.models import ID_MAX, Conversion, Link, Report, Workspace
from tracker.reported import Touch
from tracker.salesums import SaleSums

RESULTS = ("recorded", "updated", "duplicate", "unmatched", "refused", "test")
# Why nothing came of a report: no click, or a word of whoever refused it.
REASONS = (*HINTS, "bad_value", "bad_signature", "replayed", "address_not_allowed")
VIAS = (PIXEL, CALLBACK, IMPORT)
MATCHED_BY = ("click", "customer", "view", "hand")
GOALS_MAX = 255  # offered
RECENT_MAX = 10_000  # conversions that are looked at for them
RETRIED_AT_ONCE = 200  # reports, in one transaction
SALES_OF_REPORT_MAX = 200  # reports shown of one conversion


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedReports:
    """What is looked for among reports; `None` is any. `sale` is an order or a click id, exactly; `until` is not in.

    `goal` and `status` are those of the conversion that a report belongs to, or else what it said itself.
    """

    result: str | None = None
    reason: str | None = None
    via: str | None = None
    goal: str | None = None
    status: str | None = None
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
    whose = selectinload(Report.conversion).load_only(Conversion.gpc)
    query = select(Report).options(whose).where(*_of_reports(workspace, wanted))
    if before_id is not None:
        query = query.where(Report.id < before_id)
    return list(session.scalars(query.order_by(Report.id.desc()).limit(limit)).unique())


def _of_reports(workspace: Workspace, wanted: WantedReports) -> Iterator[ColumnElement[bool]]:
    yield Report.workspace_id == workspace.id
    for column, value in (
        (Report.result, wanted.result),
        (Report.reason, wanted.reason),
        (Report.via, wanted.via),
    ):
        if value is not None:
            yield column == value
    yield from _of_sales(workspace, wanted)
    if wanted.sale is not None:
        # Of a sale that is known by its conversion; else by what the report said, which few reports are asked for.
        known = select(Conversion.id).where(Conversion.workspace_id == workspace.id, _names(wanted.sale))
        said = or_(*(Report.params[name].as_string() == wanted.sale for name in ("order", "cid")))
        yield or_(Report.conversion_id.in_(known), Report.result.in_(JUDGED_AGAIN) & said)
    if wanted.since is not None:
        yield Report.at_ms >= days.to_ms(wanted.since)
    if wanted.until is not None:
        yield Report.at_ms < days.to_ms(wanted.until)


def _of_sales(workspace: Workspace, wanted: WantedReports) -> Iterator[ColumnElement[bool]]:
    """What the conversion has to be, or else the report has to say, where any of that is asked for."""
    of, said = [Conversion.workspace_id == workspace.id], []
    for name, column, default in (("goal", Conversion.goal, GOAL_DEFAULT), ("status", Conversion.status, "approved")):
        if (value := getattr(wanted, name)) is not None:
            of.append(column == value)
            said.append(func.coalesce(func.nullif(Report.params[name].as_string(), ""), default) == value)
    if wanted.campaign_id is not None:
        of.append(Conversion.campaign_id == wanted.campaign_id)
    if len(of) == 1:
        return
    known = Report.conversion_id.in_(select(Conversion.id).where(*of))
    # A report without a conversion is of no campaign.
    yield known if wanted.campaign_id is not None else or_(known, and_(Report.conversion_id.is_(None), *said))


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
    shown = (selectinload(Conversion.campaign), selectinload(Conversion.link).lazyload(Link.campaign))
    query = select(Conversion).options(*shown).where(Conversion.workspace_id == workspace.id)
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
    """What a slice of a replay came to: how many were judged by result, and the id of the last; `None` without any."""

    results: Mapping[str, int]
    last_id: int | None


def retry_some(
    session: Session, workspace: Workspace, wanted: WantedReports, keys: Keys, *, before_id: int | None = None
) -> Retried:
    """Judges the next reports again of which nothing came so far, the newest first; commits.

    To be called again below `last_id` until `left` says 0. Whoever else does the same meanwhile doubles nothing.
    """
    query = select(Report).where(*_open(workspace, wanted, before_id)).order_by(Report.id.desc())
    found = list(session.scalars(query.limit(RETRIED_AT_ONCE)).unique())
    return Retried(_retried(session, found, keys), found[-1].id if found else None)


def left(session: Session, workspace: Workspace, wanted: WantedReports, before_id: int | None) -> int:
    """How many reports a replay has still to go through."""
    return session.scalar(select(func.count(Report.id)).where(*_open(workspace, wanted, before_id))) or 0


def _open(workspace: Workspace, wanted: WantedReports, before_id: int | None) -> Iterator[ColumnElement[bool]]:
    yield from _of_reports(workspace, wanted)
    yield Report.result.in_(JUDGED_AGAIN)
    if before_id is not None:
        yield Report.id < before_id


def retry_these(session: Session, workspace: Workspace, ids: Iterable[int], keys: Keys) -> Mapping[str, int]:
    """Judges some reports again, by their ids; commits, and answers how many came to what. Raises NotFound."""
    return _retried(session, [report(session, workspace, each) for each in sorted(ids)], keys)


def _retried(session: Session, found: Iterable[Report], keys: Keys) -> Mapping[str, int]:
    sums = SaleSums()
    results = Counter(conversions.retry(session, each, keys, sums).result for each in found)
    sums.write(session)
    session.commit()
    return results


class Step(NamedTuple):
    """A click or an impression that led to a conversion."""

    touch: Touch
    link: Link


def way_of(session: Session, found: Conversion) -> list[Step]:
    """The clicks and impressions that led to a conversion, the earliest first; none before the loader has looked."""
    query = select(Touch, Link).join(Link, Link.id == Touch.link_id).where(Touch.conversion_id == found.id)
    return [Step(touch, link) for touch, link in session.execute(query.order_by(Touch.position)).unique()]


def goals(session: Session, workspace: Workspace) -> list[str]:
    """The goals that recent conversions had, `GOALS_MAX` of them at most."""
    recent = select(Conversion.goal).where(Conversion.workspace_id == workspace.id).order_by(Conversion.id.desc())
    goal = recent.limit(RECENT_MAX).subquery().c.goal
    return sorted(session.scalars(select(goal).distinct().limit(GOALS_MAX)))


def any_of(session: Session, model: Any, workspace: Workspace) -> bool:
    """Whether the workspace has any report, or any conversion."""
    return session.scalar(select(model.id).where(model.workspace_id == workspace.id).limit(1)) is not None
