"""What the clicks of a link said they cost, lately: whether the network's macro does what it should."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tracker import clickcost, days
from tracker.events import Kind, Verdict
from tracker.models import Link
from tracker.money import Money
from tracker.stores import EventStore
from tracker.summing import DAY

DAYS = 30


@dataclass(frozen=True, slots=True)
class ClickCosts:
    """Of `clicks` that counted in the last so many days `n` said what they cost, which is `sums` by currency."""

    days: int
    clicks: int
    n: int
    unread_n: int
    sums: list[Money]

    @property
    def silent(self) -> int:
        """Clicks that said nothing: of the link as it is pasted elsewhere, or from before it read a cost."""
        return self.clicks - self.n - self.unread_n


def of_link(store: EventStore, link: Link, now: datetime) -> ClickCosts:
    end = days.to_ms(now) // days.BUCKET_MS + 1
    span = (link.campaign_id, end - DAYS * DAY, end)
    costs = [each for each in store.click_costs(*span) if each.link_id == link.id]
    counted = (link.id, Kind.CLICK, Verdict.COUNTED)
    return ClickCosts(
        days=DAYS,
        clicks=sum(cell.n for cell in store.totals(*span) if cell[:3] == counted),
        n=sum(cost.n for cost in costs),
        unread_n=sum(cost.unread_n for cost in costs),
        sums=[clickcost.money_of(cost.micros, cost.currency) for cost in costs if cost.n],
    )
