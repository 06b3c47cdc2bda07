"""Before an experiment: how much traffic it takes to find a difference, and how many days that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from tracker.errors import Invalid
from tracker.models import Campaign, Workspace
from tracker.reports import campaign as campaign_report
from tracker.reports import statistics
from tracker.reports.experiment import METRICS, VARIANTS_MAX
from tracker.reports.metrics import Rate
from tracker.stores import EventStore
from tracker.summing import DAY

UNITS = ("relative", "points")
LONG_DAYS = 56  # who is looked at for longer is hardly the same public, on hardly the same devices
PER_DAY_MAX = 10**9
TEXT_MAX = 20
DEFAULTS = {"lift": "20", "unit": "relative", "power": "80", "significance": "5", "variants": "2"}
NUMBERS = ("baseline", "lift", "power", "significance", "variants", "daily")


@dataclass(frozen=True, slots=True)
class Needed:
    """Trials of each variant and of all, and how many days that takes; no days where the daily traffic is not known."""

    per_variant: int
    total: int
    days: int | None

    @property
    def weeks(self) -> int | None:
        """Whole ones: people do other things on a Sunday."""
        return None if self.days is None else ceil(self.days / 7)

    @property
    def is_long(self) -> bool:
        return self.days is not None and self.days > LONG_DAYS


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for, as fractions, and what it takes: for one look at the end, and for looking at any time.

    `level` is the significance of one pair: all pairs of variants share it. `any_time` is None where nobody could wait.
    """

    baseline: float
    expected: float
    power: float
    significance: float
    level: float
    variants: int
    daily: float | None
    at_end: Needed
    any_time: Needed | None


def plan(typed: Mapping[str, str | None]) -> Plan:
    """A plan from what was typed, rates and shares in percent. Raises Invalid, naming each field."""
    given = {name: typed.get(name) or DEFAULTS.get(name, "") for name in (*NUMBERS, "unit")}
    errors: dict[str, str] = {}
    baseline = _number(given, "baseline", 0, 100, errors, "A rate lies between 0 and 100 %, without these two.")
    lift = _number(given, "lift", 0, 10**6, errors, "The smallest lift worth having is above 0.")
    power = _number(given, "power", 50, 100, errors, "A power lies between 50 and 100 %, without these two.")
    significance = _number(given, "significance", 0, 50, errors, "A significance lies between 0 and 50 %.")
    variants = _number(given, "variants", 1, VARIANTS_MAX + 1, errors, f"From 2 to {VARIANTS_MAX} variants.")
    daily = None
    if given["daily"]:
        daily = _number(given, "daily", 0, PER_DAY_MAX, errors, "Daily traffic is a number above 0.")
    if given["unit"] not in UNITS:
        errors["unit"] = f"A lift is one of {', '.join(UNITS)}."
    if "variants" not in errors and variants != int(variants):
        errors["variants"] = f"From 2 to {VARIANTS_MAX} variants."
    expected = baseline * (1 + lift / 100) if given["unit"] == "relative" else baseline + lift
    if not errors and expected >= 100:
        errors["lift"] = "With this lift the rate would be 100 % or more."
    if errors:
        raise Invalid(errors)
    return _plan(baseline / 100, expected / 100, power / 100, significance / 100, int(variants), daily)


def _number(
    given: Mapping[str, str], name: str, above: float, below: float, errors: dict[str, str], refusal: str
) -> float:
    """What was typed as a number between two others; a comma may be its point."""
    text = given[name].strip().replace(",", ".")
    try:
        found = float(text) if len(text) <= TEXT_MAX and text.isascii() else 0.0
    except ValueError:
        found = 0.0
    if not above < found < below:
        errors[name] = refusal
        return (above + below) / 2
    return found


def _plan(
    baseline: float, expected: float, power: float, significance: float, variants: int, daily: float | None
) -> Plan:
    level = significance / (variants * (variants - 1) / 2)

    def needed(per_variant: int) -> Needed:
        days = statistics.days_needed(per_variant, variants, daily) if daily else None
        return Needed(per_variant, per_variant * variants, days)

    at_end = round(statistics.sample_size(baseline, expected, power=power, alpha=level))
    any_time = statistics.sequential_sample_size(baseline, expected, power=power, alpha=level)
    return Plan(
        baseline=baseline,
        expected=expected,
        power=power,
        significance=significance,
        level=level,
        variants=variants,
        daily=daily,
        at_end=needed(max(at_end, 1)),
        any_time=None if any_time is None else needed(any_time),
    )


def of_campaign(
    session: Session, store: EventStore, workspace: Workspace, campaign: Campaign, metric: str, now: datetime
) -> dict[str, str]:
    """Baseline (in percent) and daily traffic of the last whole days, as they would be typed; only what is known.

    The click-through rate is that of links with impressions; conversions are out of unique clicks, as variants have it.
    """
    period = campaign_report.default_period(workspace, now)
    totals = campaign_report.totals(session, store, workspace, campaign, period)
    first = store.first_bucket(campaign.id)
    if first is None:
        return {}
    spans = period.spans(ZoneInfo(workspace.timezone))
    lived_days = max((spans[-1].end - max(spans[0].start, first)) / DAY, 1)
    rate = totals.ctr if metric == METRICS[0] else Rate(totals.conversions, totals.unique_clicks)
    found = {}
    if rate.trials:
        found["daily"] = f"{max(round(rate.trials / lived_days), 1)}"
    if 0 < rate.hits < rate.trials:
        found["baseline"] = f"{rate.hits / rate.trials * 100:.2g}"
    return found
