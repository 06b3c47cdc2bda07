"""What sets an audience's conversions apart: where and when they came about, beside those of a campaign or of all.

Net of what was taken back, whenever it was and inside a window or not. A group of few people is not shown: it might
be told who they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Row, Select, and_, case, distinct, func, literal, select
from sqlalchemy.orm import Session

from tracker import days
from tracker.audiences import who
from tracker.audiences.rules import Rule
from tracker.models import Campaign, Conversion, Link, Workspace

PEOPLE_MIN = 10  # of a group that is shown
GROUPS_MAX = 10  # of a dimension; hours are shown all
HOURS = 24
DIMENSIONS = ("device", "country", "hour", "source")


class Group(NamedTuple):
    """One value with its share of the audience's conversions and of those beside it; shares are fractions."""

    value: str | int | None
    conversions: int
    share: float
    beside: float

    @property
    def times(self) -> float | None:
        """How many times as often as beside it; None where it never occurs there."""
        return self.share / self.beside if self.beside else None


@dataclass(frozen=True, slots=True)
class Insight:
    """The groups of one dimension, largest first or by the hour; `hidden` more values have too few people."""

    dimension: str
    groups: list[Group]
    hidden: int
    more: int


def describe(
    session: Session, workspace: Workspace, rules: Sequence[Rule], campaign: Campaign | None, now: datetime
) -> list[Insight]:
    """Each dimension of an audience's conversions beside a campaign's, or beside all of the workspace's.

    Nothing of an audience of fewer than ten people.
    """
    beside = [Conversion.workspace_id == workspace.id, Conversion.is_test.is_(False), who.COUNTED]
    if campaign is not None:
        beside.append(Conversion.campaign_id == campaign.id)
    theirs = and_(who.known(workspace), who.COUNTED, Conversion.customer.in_(who.members(workspace, rules, now)))
    people = session.scalar(select(func.count(distinct(Conversion.customer))).where(theirs)) or 0
    if people < PEOPLE_MIN:
        return []
    return [_insight(session, workspace, dimension, theirs, and_(*beside)) for dimension in DIMENSIONS]


def _insight(
    session: Session, workspace: Workspace, dimension: str, theirs: ColumnElement[bool], beside: ColumnElement[bool]
) -> Insight:
    value = _hour(session, workspace) if dimension == "hour" else _COLUMNS[dimension]
    found = list(session.execute(_grouped(value, theirs, dimension).order_by(func.count().desc(), value)))
    average = {key: n for key, n, _ in session.execute(_grouped(value, beside, dimension))}
    total, total_beside = sum(n for _, n, _ in found), sum(average.values())
    shown = _those_with_many(found)
    groups = [
        Group(key, n, n / total, average.get(key, 0) / total_beside if total_beside else 0.0) for key, n, _ in shown
    ]
    hidden = len(found) - len(shown)
    if dimension == "hour":
        return Insight(dimension, sorted(groups, key=lambda group: int(group.value or 0)), hidden, 0)
    return Insight(dimension, groups[:GROUPS_MAX], hidden, len(groups[GROUPS_MAX:]))


_COLUMNS: dict[str, Any] = {
    "device": Conversion.click_device,
    "country": Conversion.click_country,
    "source": Link.source,
}


def _grouped(value: Any, where: ColumnElement[bool], dimension: str) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]] = select(value, func.count(), func.count(distinct(Conversion.customer)))
    if dimension == "source":
        query = query.outerjoin(Link, Link.id == Conversion.link_id)
    return query.select_from(Conversion).where(where).group_by(value)


def _those_with_many(found: Sequence[Row[*tuple[Any, ...]]]) -> list[tuple[Any, int, int]]:
    """Groups of enough people. One group alone is not left out: what is missing to the whole would tell of it."""
    shown = [(key, n, people) for key, n, people in found if people >= PEOPLE_MIN]
    hidden_people = sum(people for _, _, people in found if people < PEOPLE_MIN)
    if 0 < hidden_people < PEOPLE_MIN and shown:
        shown.remove(min(shown, key=lambda group: group[2]))
    return shown


def _hour(session: Session, workspace: Workspace) -> ColumnElement[Any]:
    """The hour of the workspace's clock at which a conversion was made: its zone's offsets, one after the other."""
    zone = ZoneInfo(workspace.timezone)
    bounds = select(func.min(Conversion.converted_at_ms), func.max(Conversion.converted_at_ms))
    first, last = session.execute(bounds.where(Conversion.workspace_id == workspace.id)).one()
    bucket: Any = Conversion.converted_at_ms // days.BUCKET_MS
    start, end = first // days.BUCKET_MS, last // days.BUCKET_MS + 1
    spans = list(days.spans(start, end, zone))
    offset: Any = literal(spans[-1].offset)
    if len(spans) > 1:
        offset = case(*((bucket < span.end, span.offset) for span in spans[:-1]), else_=spans[-1].offset)
    quarters = int(timedelta(hours=1).total_seconds()) // days.BUCKET_S
    # A day more, for a shop may date a sale to the first hours of 1970, and remainders of negative numbers differ.
    hour: ColumnElement[Any] = (bucket + offset + HOURS * quarters) // quarters % HOURS
    return hour
