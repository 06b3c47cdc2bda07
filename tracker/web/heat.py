"""The hours of the week as a table whose cells are the deeper, the more happened in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracker.reports.weekhours import HOURS, WeekHour
from tracker.web import formats
from tracker.web.drawing import NOUNS

LEVELS = 7  # 0 is nothing, the last the fullest hours
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Cell:
    """One hour of one weekday: how many, and how deep."""

    n: int
    level: int


@dataclass(frozen=True, slots=True)
class Heat:
    """Rows of hours with a cell for each weekday, of one metric; `busiest` is a sentence, or None without anything."""

    noun: str
    rows: list[tuple[str, list[Cell]]]
    busiest: str | None


def draw(week: Sequence[WeekHour], metric: str) -> Heat:
    """Of a metric that is a rate the clicks are drawn: an hour of a week has too few of them for rates."""
    metric = metric if metric in NOUNS else "clicks"
    counts = [getattr(hour, metric) for hour in week]
    top = max(counts, default=0)
    cells = [Cell(n, min(1 + n * (LEVELS - 1) // top, LEVELS) if n else 0) for n in counts]
    rows = [(f"{hour:02}", cells[hour::HOURS]) for hour in range(HOURS)]
    busiest = week[counts.index(top)] if top else None
    return Heat(NOUNS[metric][1], rows, _said(busiest, top, metric) if busiest else None)


def _name(hour: WeekHour) -> str:
    return f"{WEEKDAYS[hour.weekday]} {hour.hour:02}–{hour.hour + 1:02}"


def _said(hour: WeekHour, n: int, metric: str) -> str:
    return f"Most {NOUNS[metric][1]} came on {_name(hour)} o’clock: {formats.number(n)}."
