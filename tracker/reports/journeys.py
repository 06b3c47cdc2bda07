"""How conversions came about: by which paths, and how long after their click. Told from the newest, and said so."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from statistics import quantiles
from typing import Any

from sqlalchemy import Executable, bindparam, select
from sqlalchemy.orm import Session

from tracker.days import BUCKET_MS, Span
from tracker.extensions import in_given
from tracker.links import by_ids
from tracker.models import Conversion
from tracker.money import Money
from tracker.reported import Touch
from tracker.salesums import COUNTING, VIEW

SAMPLE_MAX = 200  # conversions, the newest by their click
TOUCHES_READ_MAX = 1_000
STEPS_MAX = 8  # of one path that are told apart: the first, and the latest others
HOUR_MS = 3_600_000
WITHIN_H = (1, 24, 7 * 24, 30 * 24)

Placement = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Delay:
    """Time from the click to the conversion, in seconds, of `n` conversions; `within` are shares by hours."""

    n: int
    lower_s: float
    median_s: float
    upper_s: float
    within: dict[int, float]


@dataclass(frozen=True, slots=True)
class Way:
    """A path by source and medium, repeats in a row as one; how many conversions it led to, and their money.

    `left_out` touches between the first and those that are shown are not told.
    """

    placements: tuple[Placement, ...]
    left_out: int
    n: int
    revenue: list[Money]


@dataclass(frozen=True, slots=True)
class Journeys:
    """`looked_at` conversions, which are all of the period unless `is_sample`. `paths` are the commonest first."""

    looked_at: int
    is_sample: bool
    delay: Delay | None
    paths: list[Way]


@dataclass(frozen=True, slots=True)
class _Sale:
    id: int
    delay_ms: int
    minor: int
    currency: str


def build(session: Session, campaign_id: int, spans: Sequence[Span], links: frozenset[int] | None = None) -> Journeys:
    """Of a campaign's conversions that count, by the day of their click; of all links, or of these."""
    given: dict[str, Any] = {"start_ms": spans[0].start * BUCKET_MS, "end_ms": spans[-1].end * BUCKET_MS}
    given |= {"campaign": campaign_id} | ({} if links is None else {"links": sorted(links)})
    newest, touches = _queries(of_links=links is not None)
    found = [_Sale(row[0], int(row[1]), row[2] or 0, row[3] or "") for row in session.execute(newest, given).all()]
    sales = found[:SAMPLE_MAX]
    return Journeys(
        looked_at=len(sales),
        is_sample=len(found) > SAMPLE_MAX,
        delay=_delay(sorted(sale.delay_ms for sale in sales)),
        paths=_paths(session, session.execute(touches, given).all(), sales),
    )


@cache
def _queries(*, of_links: bool) -> tuple[Executable, Executable]:
    """The newest conversions and their touches, put together once.

    One conversion more than a sample has tells whether it is one. Touches are asked for by the query that found their
    conversions: a thousand numbers in a list cost more than finding them twice.
    """
    newest = select(
        Conversion.id, Conversion.converted_at_ms - Conversion.click_at_ms, Conversion.minor, Conversion.currency
    ).where(
        Conversion.campaign_id == bindparam("campaign"),
        Conversion.click_at_ms >= bindparam("start_ms"),
        Conversion.click_at_ms < bindparam("end_ms"),
        Conversion.status.in_(COUNTING),
        Conversion.outside_window.is_(False),
        Conversion.is_test.is_(False),
        Conversion.matched_by != VIEW,
        Conversion.click_id.is_not(None),
    )
    if of_links:
        newest = newest.where(in_given(Conversion.link_id, "links"))
    newest = newest.order_by(Conversion.click_at_ms.desc()).limit(SAMPLE_MAX + 1)
    ids = newest.subquery()
    touches = (
        select(Touch.conversion_id, Touch.link_id)
        .join(ids, ids.c.id == Touch.conversion_id)
        .order_by(Touch.conversion_id.desc(), Touch.position)
        .limit(TOUCHES_READ_MAX)
    )
    return newest, touches


def _delay(delays_ms: Sequence[int]) -> Delay | None:
    """`None` where there is nothing to tell. Quartiles include both ends, as spreadsheets have them."""
    if not delays_ms:
        return None
    cuts = quantiles(delays_ms, n=4, method="inclusive") if len(delays_ms) > 1 else [float(delays_ms[0])] * 3
    n = len(delays_ms)
    return Delay(
        n=n,
        lower_s=cuts[0] / 1000,
        median_s=cuts[1] / 1000,
        upper_s=cuts[2] / 1000,
        within={hours: bisect_right(delays_ms, hours * HOUR_MS) / n for hours in WITHIN_H},
    )


def _paths(session: Session, touches: Sequence[Any], sales: Sequence[_Sale]) -> list[Way]:
    """Paths of these sales. One that has none stored yet is left out; its turn comes with the loader's next."""
    by_id = {sale.id: sale for sale in sales}
    rows = [row for row in touches if row[0] in by_id]
    if len(rows) == TOUCHES_READ_MAX:
        # The last one may have been cut off.
        rows = [row for row in rows if row[0] != rows[-1][0]]
    known = by_ids(session, (row[1] for row in rows))
    placements = {link_id: (link.source, link.medium) for link_id, link in known.items()}
    counts: dict[tuple[tuple[Placement, ...], int], list[_Sale]] = {}
    for conversion_id, path in groupby(rows, key=lambda row: int(row[0])):
        key = _shown([place for place, _ in groupby(placements[row[1]] for row in path)])
        counts.setdefault(key, []).append(by_id[conversion_id])
    ways = [Way(steps, left_out, len(some), _revenue(some)) for (steps, left_out), some in counts.items()]
    return sorted(ways, key=lambda way: (-way.n, len(way.placements), way.placements))


def _shown(steps: list[Placement]) -> tuple[tuple[Placement, ...], int]:
    if len(steps) <= STEPS_MAX:
        return tuple(steps), 0
    return (steps[0], *steps[-(STEPS_MAX - 1) :]), len(steps) - STEPS_MAX


def _revenue(sales: Iterable[_Sale]) -> list[Money]:
    sums: dict[str, int] = {}
    for sale in sales:
        if sale.currency:
            sums[sale.currency] = sums.get(sale.currency, 0) + sale.minor
    return [Money(minor, currency) for currency, minor in sorted(sums.items())]
