"""Which hours of the week it happened in: a period's local hours, those of the same name added up."""

from __future__ import annotations

from dataclasses import dataclass

from tracker.events import Kind
from tracker.reports.facts import Facts
from tracker.reports.series import HOUR

HOURS = 24
WEEK = 7 * HOURS
THURSDAY = 3 * HOURS  # 1970-01-01 was one, and hours are counted from its midnight


@dataclass(frozen=True, slots=True)
class WeekHour:
    """One local hour of the week over a whole period. `weekday` is 0 for Monday."""

    weekday: int
    hour: int
    impressions: int
    clicks: int
    conversions: int

    @property
    def key(self) -> str:
        """ISO 8601's number of the weekday and the hour: `1T09` is Monday from nine to ten."""
        return f"{self.weekday + 1}T{self.hour:02}"


def of(facts: Facts) -> list[WeekHour]:
    """All 168 hours of the week, from Monday on. The facts were read by the hour."""
    if facts.step != HOUR:
        raise ValueError("only steps of an hour can be told apart in a week")
    sums = [[0, 0, 0] for _ in range(WEEK)]
    for step in facts.steps:
        sums[(step.number + THURSDAY) % WEEK][0 if step.kind == Kind.IMPRESSION else 1] += step.n
    for _, number, n in facts.sale_steps:
        sums[(number + THURSDAY) % WEEK][2] += n
    return [WeekHour(*divmod(index, HOURS), *three) for index, three in enumerate(sums)]
