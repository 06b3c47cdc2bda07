"""Who is in an audience: its rules as one statement, that any of our databases carries out.

A customer is known by the conversions that name them. Those of tests and those under Global Privacy Control are left
out, and so is everybody who said no by it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Select, and_, false, func, not_, or_, select, union_all
from sqlalchemy.orm import Session

from tracker import days
from tracker.audiences.rules import Bought, Came, Clicked, Condition, Converted, Dated, Rule, Top, Worth
from tracker.events import Kind
from tracker.models import Conversion, Link, Workspace
from tracker.reported import Identity, Touch
from tracker.salesums import COUNTING

Customers = Select[str | None]
AT_META: ColumnElement[bool] = or_(Identity.meta_email.is_not(None), Identity.meta_phone.is_not(None))
AT_GOOGLE: ColumnElement[bool] = or_(Identity.google_email.is_not(None), Identity.google_phone.is_not(None))
COUNTED = Conversion.status.in_(COUNTING)


class Size(NamedTuple):
    """How many customers an audience has, and how many of them each network can match."""

    customers: int
    at_meta: int
    at_google: int


def known(workspace: Workspace) -> ColumnElement[bool]:
    """The conversions of a workspace by which customers are known."""
    return and_(
        Conversion.workspace_id == workspace.id,
        Conversion.customer.is_not(None),
        Conversion.is_test.is_(False),
        Conversion.gpc.is_(False),
    )


def said_no(workspace: Workspace) -> Select[str]:
    """Customers of whom some report came under Global Privacy Control."""
    return select(Identity.customer).where(Identity.workspace_id == workspace.id, Identity.opted_out.is_(True))


def members(workspace: Workspace, rules: Sequence[Rule], now: datetime) -> Customers:
    """The customers who fulfil every rule, and none that is negated, each once."""
    sets = _Sets(workspace, now)
    query = select(Conversion.customer).where(known(workspace)).distinct()
    query = query.where(Conversion.customer.not_in(said_no(workspace)))
    for rule in rules:
        fulfilled = Conversion.customer.in_(sets.of(rule.condition))
        query = query.where(not_(fulfilled) if rule.negated else fulfilled)
    return query


def size(session: Session, workspace: Workspace, rules: Sequence[Rule], now: datetime) -> Size:
    found = members(workspace, rules, now).subquery()
    theirs = and_(Identity.workspace_id == workspace.id, Identity.customer == found.c.customer)
    counts = (func.count(), func.count().filter(AT_META), func.count().filter(AT_GOOGLE))
    query = select(*counts).select_from(found).outerjoin(Identity, theirs)
    return Size(*session.execute(query).one())


class _Sets:
    """The customers that each condition alone is true of."""

    def __init__(self, workspace: Workspace, now: datetime) -> None:
        self._workspace, self._now = workspace, now
        self._known = known(workspace)

    def of(self, condition: Condition) -> Any:
        match condition:
            case Clicked():
                return self._clicked(condition)
            case Converted():
                converted = self._converted(condition.goal, condition.campaign_id, condition.days)
                return select(Conversion.customer).where(converted)
            case Bought():
                bought = self._converted(condition.goal, None, condition.days)
                return self._those(bought, func.count() >= condition.times)
            case Worth():
                return self._those(self._spent_in(condition.currency), func.sum(Conversion.minor) >= condition.minor)
            case Top():
                return self._top(condition)
            case Dated():
                return self._dated(condition)
            case Came():
                return self._came(condition)

    def _since(self, column: ColumnElement[Any] | Any, n_days: int | None) -> list[ColumnElement[bool]]:
        """In the last so many times 24 hours; no condition without a number."""
        return [] if n_days is None else [column >= days.to_ms(self._now - timedelta(days=n_days))]

    def _those(self, where: ColumnElement[bool], having: ColumnElement[bool]) -> Customers:
        return select(Conversion.customer).where(where).group_by(Conversion.customer).having(having)

    def _clicked(self, condition: Clicked) -> Any:
        """By the click that a conversion came from, or by another on the way to it."""
        campaign = condition.campaign_id
        last = select(Conversion.customer).where(
            self._known,
            Conversion.campaign_id == campaign,
            Conversion.click_id.is_not(None),
            Conversion.matched_by != "view",
            *self._since(Conversion.click_at_ms, condition.days),
        )
        earlier = (
            select(Conversion.customer)
            .join(Touch, Touch.conversion_id == Conversion.id)
            .where(self._known, Touch.campaign_id == campaign, Touch.kind == int(Kind.CLICK))
            .where(*self._since(Touch.at_ms, condition.days))
        )
        return union_all(last, earlier)

    def _converted(self, goal: str | None, campaign_id: int | None, n_days: int | None) -> ColumnElement[bool]:
        conditions = [self._known, COUNTED, *self._since(Conversion.converted_at_ms, n_days)]
        if goal is not None:
            conditions.append(Conversion.goal == goal)
        if campaign_id is not None:
            conditions.append(Conversion.campaign_id == campaign_id)
        return and_(*conditions)

    def _spent_in(self, currency: str) -> ColumnElement[bool]:
        return and_(self._known, COUNTED, Conversion.currency == currency)

    def _top(self, condition: Top) -> Customers:
        """Ranked by what each spent; the last place is rounded up, and of equals the same ones are always in."""
        spent = func.sum(Conversion.minor)
        totals = (
            select(Conversion.customer, spent.label("total"))
            .where(self._spent_in(condition.currency), Conversion.customer.not_in(said_no(self._workspace)))
            .group_by(Conversion.customer)
            .having(spent > 0)
            .subquery()
        )
        place = func.row_number().over(order_by=(totals.c.total.desc(), totals.c.customer))
        ranked = select(totals.c.customer, place.label("place"), func.count().over().label("n")).subquery()
        return select(ranked.c.customer).where((ranked.c.place - 1) * 100 < ranked.c.n * condition.percent)

    def _dated(self, condition: Dated) -> Customers:
        start_ms = days.to_ms(days.start_of(condition.on, ZoneInfo(self._workspace.timezone)))
        of_all = func.min if condition.which == "first" else func.max
        at_ms = of_all(Conversion.converted_at_ms)
        return self._those(
            self._converted(condition.goal, None, None),
            at_ms < start_ms if condition.when == "before" else at_ms >= start_ms,
        )

    def _came(self, condition: Came) -> Customers:
        query = select(Conversion.customer).where(self._known)
        if condition.field in ("source", "medium"):
            column = Link.source if condition.field == "source" else Link.medium
            return query.join(Link, Link.id == Conversion.link_id).where(column == condition.value)
        columns = {"country": Conversion.click_country, "device": Conversion.click_device}
        column_of = columns.get(condition.field)
        return query.where(false() if column_of is None else column_of == condition.value)
