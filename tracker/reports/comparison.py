"""What changed between two periods, and between which limits the change lies."""

from __future__ import annotations

from dataclasses import dataclass

from tracker.reports.metrics import Rate, Totals
from tracker.reports.statistics import newcombe


@dataclass(frozen=True, slots=True)
class Difference:
    """A rate less the rate before, as a fraction (0.006 is 0.6 points), with its 95 % interval where there is one."""

    difference: float
    low: float | None
    high: float | None

    @property
    def is_real(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def difference(now: Rate, before: Rate) -> Difference | None:
    """`None` where either period has no rate."""
    if now.value is None or before.value is None:
        return None
    if not (now.is_proportion and before.is_proportion):
        return Difference(now.value - before.value, None, None)
    low, high = newcombe(now.hits, now.trials, before.hits, before.trials)
    return Difference(now.value - before.value, low, high)


def changes(now: Totals, before: Totals) -> dict[str, Difference | None]:
    return {
        "ctr": difference(now.ctr, before.ctr),
        "conversion_rate": difference(now.conversion_rate, before.conversion_rate),
    }
