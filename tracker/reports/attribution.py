"""What each model of attribution credits to a campaign and to its links, read from sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from tracker import summing
from tracker.credited import DAYS, QUARTERS
from tracker.credits import WHOLE, Model
from tracker.days import Span
from tracker.links import by_ids
from tracker.models import Link
from tracker.money import Money
from tracker.salesums import Axis, sale_days, sale_quarters


@dataclass(frozen=True, slots=True)
class Credit:
    """What a model gives: conversions in millionths, and their money in minor units by currency."""

    millionths: int
    minor: Mapping[str, int]

    @property
    def conversions(self) -> Decimal:
        """To two places, half away from zero as people round."""
        return (Decimal(self.millionths) / WHOLE).quantize(Decimal("0.01"), rounding="ROUND_HALF_UP")

    @property
    def revenue(self) -> list[Money]:
        return [Money(minor, currency) for currency, minor in sorted(self.minor.items())]

    def less(self, other: Credit) -> Credit:
        """The difference, in every currency that either came in."""
        currencies = self.minor.keys() | other.minor.keys()
        differences = {each: self.minor.get(each, 0) - other.minor.get(each, 0) for each in currencies}
        return Credit(self.millionths - other.millionths, differences)


NOTHING = Credit(0, {})


@dataclass(frozen=True, slots=True)
class Compared:
    """Models side by side: for the campaign, or for some of its links. `links` is empty for the campaign."""

    links: list[Link]
    of: Mapping[Model, Credit]

    @property
    def base(self) -> Credit:
        return self.of[Model.LAST_CLICK]


@dataclass(frozen=True, slots=True)
class Attribution:
    """The comparison for a campaign, and within it by link, those with most by any model first."""

    total: Compared
    by_link: list[Compared]

    def by_placement(self) -> list[tuple[tuple[str, str], Compared]]:
        """Links of one source and medium together, those with most first."""
        grouped: dict[tuple[str, str], list[Compared]] = {}
        for each in self.by_link:
            grouped.setdefault((each.links[0].source, each.links[0].medium), []).append(each)
        found = {
            key: Compared([link for each in some for link in each.links], _added(each.of for each in some))
            for key, some in grouped.items()
        }
        return sorted(found.items(), key=lambda item: (-_most(item[1]), item[0]))


def build(
    session: Session, campaign_id: int, spans: Sequence[Span], links: frozenset[int] | None = None
) -> Attribution:
    """Credits of touches in a period, of all links or of these. Touches carry the date, as clicks do elsewhere."""
    sums: dict[int, dict[Model, list[tuple[str, int, int]]]] = {}
    for model, link_id, currency, millionths, minor in _read(session, campaign_id, spans[0].start, spans[-1].end):
        if links is None or link_id in links:
            sums.setdefault(link_id, {}).setdefault(Model(model), []).append((currency, int(millionths), int(minor)))
    by_link = {link_id: {model: _credit(of.get(model, ())) for model in Model} for link_id, of in sums.items()}
    found = by_ids(session, by_link)
    compared = [Compared([found[link_id]], of) for link_id, of in by_link.items() if link_id in found]
    compared = [each for each in compared if any(of.millionths or any(of.minor.values()) for of in each.of.values())]
    compared.sort(key=lambda each: (-_most(each), each.links[0].id))
    return Attribution(Compared([], _added(by_link.values())), compared)


def views(session: Session, campaign_id: int, spans: Sequence[Span], links: frozenset[int] | None = None) -> Credit:
    """Conversions that only a view stands behind, by the day of the impression, and their money: in no other figure."""
    of = {"campaign_id": campaign_id, "axis": int(Axis.CLICK)}
    query, given = summing.over(sale_quarters, sale_days, ("link_id", "currency"), of, spans[0].start, spans[-1].end)
    return _credit(
        (currency, int(view_n) * WHOLE, int(view_minor))
        for link_id, currency, _, _, _, view_n, view_minor, _ in session.execute(query, given)
        if links is None or link_id in links
    )


def _read(session: Session, campaign_id: int, start: int, end: int) -> Iterable[Any]:
    """Sums over the buckets from `start` to before `end`."""
    keys = ("model", "link_id", "currency")
    return session.execute(*summing.over(QUARTERS, DAYS, keys, {"campaign_id": campaign_id}, start, end))


def _credit(rows: Iterable[tuple[str, int, int]]) -> Credit:
    """A currency that nothing came in is left out, and the amount of conversions without one is none."""
    millionths, minor = 0, dict[str, int]()
    for currency, more, money in rows:
        millionths += more
        if currency and (more or money):
            minor[currency] = minor.get(currency, 0) + money
    return Credit(millionths, minor)


def _added(credits: Iterable[Mapping[Model, Credit]]) -> Mapping[Model, Credit]:
    rows: dict[Model, list[tuple[str, int, int]]] = {model: [] for model in Model}
    for each in credits:
        for model, credit in each.items():
            rows[model].append(("", credit.millionths, 0))
            rows[model] += [(currency, 0, minor) for currency, minor in credit.minor.items()]
    return {model: _credit(some) for model, some in rows.items()}


def _most(compared: Compared) -> int:
    return max(credit.millionths for credit in compared.of.values())
