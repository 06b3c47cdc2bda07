"""Every metric, defined once, with what it is when there is no data. Rates are made of counts and never averaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from tracker.events import Kind, Verdict
from tracker.money import Money, Price, price
from tracker.reports.statistics import wilson
from tracker.stores import Cell

# The README's table of metrics is held to this one by a test.
DEFINITIONS = {
    "impressions": "impression events with the verdict `counted`",
    "clicks": "click events with the verdict `counted`",
    "unique_clicks": "first counted click of a visitor on the campaign that day; in a table by link, on the link",
    "conversions": "conversions inside the window, net of rejected and refunded ones, by the day of their click",
    "approved": "those of the conversions whose status is `approved`, the others being `pending`",
    "ctr": "clicks / impressions, over links that have impressions; none without impressions",
    "conversion_rate": "conversions / clicks; none without clicks",
    "revenue": "money of those conversions, net of refunds, in each currency it came in",
    "cost": "what was spent on these days, in each currency; none where that cannot be told of what filters leave",
    "cost_total": "that in the workspace's currency, by the rates of its days; what has no rate is named and left out",
    "revenue_total": "the same of revenue, by the rates of the days of the clicks",
    "cost_without_rate": "what of the cost has no rate, and is not in its total; there is no metric of that total then",
    "revenue_without_rate": "the same of revenue",
    "cpc": "cost_total / clicks",
    "cpm": "cost_total / impressions × 1,000; none where some clicks came by links without impressions",
    "cpa": "cost_total / conversions",
    "epc": "revenue_total / clicks: the cost per click at which cost and revenue are even",
    "aov": "revenue_total / conversions: the cost per conversion at which cost and revenue are even",
    "roas": "revenue_total / cost_total; none unless something was spent. Even at 1, with a margin of m at 1 / m",
    "roi": "(revenue_total − cost_total) / cost_total; none unless something was spent",
    "filtered": "impressions and clicks left out, by verdict",
}


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` out of `trials`. Without trials there is no rate: `value` is None, never 0."""

    hits: int
    trials: int

    @property
    def value(self) -> float | None:
        return self.hits / self.trials if self.trials else None

    @property
    def is_proportion(self) -> bool:
        """False where there are more hits than trials (pixels blocked, two orders of one click): no interval then."""
        return 0 < self.trials >= self.hits

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval."""
        return wilson(self.hits, self.trials) if self.is_proportion else None


@dataclass(frozen=True, slots=True)
class Sales:
    """Conversions of one link: how many, their money by currency in minor units, and how many of them are approved.

    `approved` is None where that is not known.
    """

    conversions: int = 0
    minor: Mapping[str, int] = field(default_factory=dict)
    approved: int | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """The metrics of one campaign, link or group over one period. What is not known is None: `filtered`, `approved`.

    `cost` is None where nothing tells what was spent on a filter or group, and empty where nothing was entered; then,
    and where none of it has a rate, `cost_total` is None. What is reckoned from a total is None as well while a part of
    it has no rate: `cost_without_rate` and `revenue_without_rate` say which.
    """

    impressions: int
    clicks: int
    unique_clicks: int
    conversions: int
    approved: int | None
    ctr: Rate
    conversion_rate: Rate
    revenue: list[Money]
    filtered: dict[str, int] | None
    cost: list[Money] | None = None
    cost_total: Money | None = None
    revenue_total: Money | None = None
    cost_without_rate: list[Money] = field(default_factory=list)
    revenue_without_rate: list[Money] = field(default_factory=list)

    @property
    def _spent(self) -> Money | None:
        """The cost, if all of it is in `cost_total`."""
        return None if self.cost_without_rate else self.cost_total

    @property
    def _earned(self) -> Money | None:
        """The revenue, if all of it is in `revenue_total`; conversions without a value brought nothing."""
        return None if self.revenue_without_rate else self.revenue_total

    @property
    def cpc(self) -> Price | None:
        return _per(self._spent, self.clicks)

    @property
    def cpm(self) -> Price | None:
        """None where clicks came by links without impressions: their cost would be put on the others' impressions."""
        found = _per(self._spent, self.impressions) if self.ctr.hits == self.clicks else None
        return found._replace(value=found.value * 1000) if found else None

    @property
    def cpa(self) -> Price | None:
        return _per(self._spent, self.conversions)

    @property
    def epc(self) -> Price | None:
        return _per(self._earned, self.clicks)

    @property
    def aov(self) -> Price | None:
        return _per(self._earned, self.conversions)

    @property
    def roas(self) -> Decimal | None:
        if self._spent is None or self._earned is None or self._spent.minor <= 0:
            return None
        return Decimal(self._earned.minor) / self._spent.minor

    @property
    def roi(self) -> Decimal | None:
        return None if self.roas is None else self.roas - 1


def _per(total: Money | None, n: int) -> Price | None:
    return None if total is None else price(total, n)


def totals(cells: Iterable[Cell], sales: Mapping[int, Sales], *, of_link: bool = False) -> Totals:
    """Sums rollup cells and the sales of their links. `sales` holds the links of the group, keyed by link id.

    `of_link`: the cells are one link's, and its unique clicks are the first of each visitor on it.
    """
    impressions: dict[int, int] = {}
    clicks: dict[int, int] = {}
    unique = 0
    filtered: dict[str, int] = {}
    for cell in cells:
        if cell.verdict != Verdict.COUNTED:
            if cell.n and cell.kind in (Kind.IMPRESSION, Kind.CLICK):
                word = Verdict(cell.verdict).word
                filtered[word] = filtered.get(word, 0) + cell.n
        elif cell.kind == Kind.IMPRESSION:
            impressions[cell.link_id] = impressions.get(cell.link_id, 0) + cell.n
        elif cell.kind == Kind.CLICK:
            clicks[cell.link_id] = clicks.get(cell.link_id, 0) + cell.n
            unique += cell.unique_on_link_n if of_link else cell.unique_n
    seen, clicked = sum(impressions.values()), sum(clicks.values())
    converted = sum(sale.conversions for sale in sales.values())
    return Totals(
        impressions=seen,
        clicks=clicked,
        unique_clicks=unique,
        conversions=converted,
        approved=_approved(sales.values()),
        ctr=Rate(sum(n for link, n in clicks.items() if impressions.get(link)), seen),
        conversion_rate=Rate(converted, clicked),
        revenue=_revenue(sales.values()),
        filtered=dict(sorted(filtered.items(), key=lambda item: (-item[1], item[0]))),
    )


def of_hits(seen: int, clicked: int, unique: int, sales: Sales, *, comparable: bool) -> Totals:
    """The metrics of hits that share a value of a dimension. What was left out is not known by value.

    `comparable`: every click came by a link that has impressions. Else there is no CTR: which link a hit of this value
    was on is not known, and so not which to leave out.
    """
    return Totals(
        impressions=seen,
        clicks=clicked,
        unique_clicks=unique,
        conversions=sales.conversions,
        approved=sales.approved,
        ctr=Rate(clicked, seen) if comparable else Rate(0, 0),
        conversion_rate=Rate(sales.conversions, clicked),
        revenue=_revenue([sales]),
        filtered=None,
    )


def together(sales: Iterable[Sales]) -> Sales:
    """Several links' sales as one."""
    sales = list(sales)
    money = {each.currency: each.minor for each in _revenue(sales)}
    return Sales(sum(sale.conversions for sale in sales), money, _approved(sales))


def _approved(sales: Iterable[Sales]) -> int | None:
    """None where it is not known of each."""
    known = [sale.approved for sale in sales if sale.conversions or sale.approved is not None]
    return None if None in known else sum(n for n in known if n is not None)


def _revenue(sales: Iterable[Sales]) -> list[Money]:
    sums: dict[str, int] = {}
    for sale in sales:
        for currency, minor in sale.minor.items():
            sums[currency] = sums.get(currency, 0) + minor
    return [Money(minor, currency) for currency, minor in sorted(sums.items())]
