"""What a change was followed by: as many days before an instant against those after it, to the quarter hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.orm import Session

from tracker import changelog, days
from tracker.campaigning import ChangeEntry
from tracker.days import BUCKET_MS, Span
from tracker.models import Campaign
from tracker.reports import comparison, maturity, metrics
from tracker.reports.comparison import Difference
from tracker.reports.facts import gather
from tracker.salesums import Axis
from tracker.stores import ALL, EventStore, Selection

DAYS_DEFAULT = 7
DAYS_MAX = 90
DAY = 96  # in buckets
# A week holds each weekday once; less than a day does not even hold each hour.
WEEK = 7 * DAY


class Window(NamedTuple):
    """Buckets `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int

    @property
    def days(self) -> float:
        return (self.end - self.start) / DAY

    @property
    def from_ms(self) -> int:
        return self.start * BUCKET_MS

    @property
    def until_ms(self) -> int:
        return self.end * BUCKET_MS


class Windows(NamedTuple):
    """Two of the same length. The quarter hour of the change itself is in neither, for it holds some of both."""

    before: Window
    after: Window


@dataclass(frozen=True, slots=True)
class Compared:
    """The figures of a campaign, or of one link of it, on both sides of an instant. Conversions are by their click."""

    before: metrics.Totals
    after: metrics.Totals
    days: float

    @property
    def changes(self) -> dict[str, Difference | None]:
        return comparison.changes(self.after, self.before)

    @property
    def clicks_per_day(self) -> tuple[float, float]:
        return self.before.clicks / self.days, self.after.clicks / self.days

    @property
    def is_empty(self) -> bool:
        """Whether one side holds nothing, so that there is nothing to compare."""
        return not all(side.clicks or side.impressions for side in (self.before, self.after))


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """What is known of both sides of a change.

    `windows` is None where nothing can be compared: `too_early`, or nothing had happened before. `complete` is the
    share of the later conversions that has probably come in, None where that is not known; `open_days` is for how many
    days more some may come. `others` are changes beside this one that lie in either window.
    """

    wanted_days: int
    windows: Windows | None
    too_early: bool = False
    campaign: Compared | None = None
    link: Compared | None = None
    complete: float | None = None
    open_days: int = 0
    others: tuple[ChangeEntry, ...] = ()

    @property
    def is_immature(self) -> bool:
        """Whether later conversions are known to be missing, or may be and nothing tells how many."""
        return self.open_days > 0 and (self.complete is None or self.complete < maturity.WHOLE_FROM)


def windows(at_ms: int, now: datetime, days_wanted: int, first_bucket: int | None) -> Windows | None:
    """As many days on both sides, `days_wanted` at most and no more than there are; None where there are none."""
    end, start = at_ms // BUCKET_MS, -(-at_ms // BUCKET_MS)
    known_before = end - first_bucket if first_bucket is not None else 0
    length = min(days_wanted * DAY, days.bucket_of(now) - start, known_before)
    if length <= 0:
        return None
    return Windows(Window(end - length, end), Window(start, start + length))


def compare(
    session: Session,
    store: EventStore,
    campaign: Campaign,
    entry: ChangeEntry,
    *,
    now: datetime,
    days_wanted: int = DAYS_DEFAULT,
) -> BeforeAfter:
    """Both sides of an entry's instant for its campaign and, where it was about one link, for that link alone."""
    found = windows(entry.at_ms, now, days_wanted, store.first_bucket(campaign.id))
    if found is None:
        return BeforeAfter(days_wanted, None, too_early=-(-entry.at_ms // BUCKET_MS) >= days.bucket_of(now))
    now_ms = days.to_ms(now)
    curve = maturity.curve(session, campaign, now)
    closes_ms = found.after.until_ms + campaign.click_window_days * days.DAY_MS
    others = changelog.beside(session, campaign, entry, found.before.from_ms, found.after.until_ms)
    return BeforeAfter(
        wanted_days=days_wanted,
        windows=found,
        campaign=_compared(session, store, campaign, found, None),
        link=_compared(session, store, campaign, found, entry.link_id) if entry.link_id is not None else None,
        complete=curve.complete(found.after.from_ms, found.after.until_ms, now_ms) if curve else None,
        open_days=max(0, -(-(closes_ms - now_ms) // days.DAY_MS)),
        others=tuple(others),
    )


def _compared(session: Session, store: EventStore, campaign: Campaign, both: Windows, link_id: int | None) -> Compared:
    selection = ALL if link_id is None else Selection(frozenset((link_id,)), of_link=True)

    def of(window: Window) -> metrics.Totals:
        spans = [Span(window.start, window.end, 0)]
        facts = gather(session, store, campaign.id, spans, selection=selection, axis=Axis.CLICK)
        return metrics.totals(facts.cells, facts.sales, of_link=link_id is not None)

    return Compared(of(both.before), of(both.after), both.before.days)
