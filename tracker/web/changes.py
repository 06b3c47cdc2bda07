"""What became of a figure since the period before, in words that claim no more than the numbers do."""

from __future__ import annotations

from dataclasses import dataclass

from tracker.money import Money
from tracker.reports.comparison import Difference
from tracker.reports.metrics import Rate, Totals
from tracker.web import formats

MARKS = {"up": "▲", "down": "▼", "level": "■"}


@dataclass(frozen=True, slots=True)
class Change:
    """`direction` is `up`, `down` or `level`; `verdict` says whether a rate's change is more than chance."""

    direction: str
    text: str
    verdict: str | None = None

    @property
    def mark(self) -> str:
        return MARKS[self.direction]


def of_count(now: int, before: int) -> Change:
    """In percent where the figures are large enough for that to mean something, else as a plain difference."""
    if before < 10:
        return Change(_direction(now - before), formats.signed_number(now - before) if now != before else "±0")
    relative = (now - before) / before
    return Change(_direction(round(relative * 100)), formats.signed_percent(relative))


def of_rate(difference: Difference | None, now: Rate, before: Rate) -> Change | None:
    """`2.1 % → 2.6 %, +0.5 points, between +0.1 and +0.9: likely real`.

    Only a change whose interval leaves out zero is shown as a rise or a fall.
    """
    if difference is None:
        return None
    text = f"{formats.rate(before)} → {formats.rate(now)}, {formats.points(difference)}"
    if difference.low is None or difference.high is None:
        return Change("level", text)
    text += f", between {formats.signed_points(difference.low)} and {formats.signed_points(difference.high)}"
    if not difference.is_real:
        return Change("level", text, "could be chance")
    return Change(_direction(difference.difference), text, "likely real")


def of_rate_shortly(difference: Difference | None) -> Change | None:
    """The points alone, for a table; whether they are more than chance decides how it is marked."""
    if difference is None:
        return None
    direction = _direction(difference.difference) if difference.is_real else "level"
    return Change(direction, formats.signed_points(difference.difference))


def of_money(now: Money, before: list[Money]) -> Change | None:
    """Against the same currency; None where it brought nothing before."""
    known = next((money for money in before if money.currency == now.currency), None)
    if known is None or known.minor <= 0:
        return None
    relative = (now.minor - known.minor) / known.minor
    return Change(_direction(round(relative * 100)), formats.signed_percent(relative))


def of_finances(now: Totals, before: Totals) -> dict[str, Change | None]:
    """Of the cost, whose rise is neither good nor bad, and of the return on it."""
    spent = of_money(now.cost_total, [before.cost_total]) if now.cost_total and before.cost_total else None
    found: dict[str, Change | None] = {"cost": spent and Change("level", spent.text)}
    if now.roas is not None and before.roas is not None:
        difference = round(now.roas - before.roas, 2)
        found["roas"] = Change(
            _direction(float(difference)), formats.signed_decimal(difference) if difference else "±0"
        )
    return found


def _direction(value: float) -> str:
    return "up" if value > 0 else "down" if value < 0 else "level"
