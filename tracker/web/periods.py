"""Which days a report shows: read from the query, with the presets to choose from and how finely a chart can be cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

from tracker import days
from tracker.errors import Invalid
from tracker.models import Workspace
from tracker.reports import campaign as campaign_report
from tracker.reports.campaign import COMPARISONS, Period
from tracker.reports.filters import NAMES

BARS_MAX = 120
STEP_DAYS = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 28.0}
COUNTS = ("clicks", "impressions", "conversions")
RATES = ("ctr", "conversion_rate")
METRICS = (*COUNTS, *RATES)
PRESET_DAYS = (7, 14, 30, 90)
NO_COMPARISON = "none"
OWN = ("from", "to", "compare", "compare_from", "interval", "metric")


@dataclass(frozen=True, slots=True)
class Preset:
    """A period one click away."""

    name: str
    period: Period
    chosen: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What the query asks for, and what of it is shown. `errors` belong to the fields of the custom period.

    `compare` says how `comparison` was chosen, which is None for none.
    """

    period: Period
    compare: str
    comparison: Period | None
    presets: list[Preset]
    interval: str
    intervals: list[str]
    metric: str
    began_today: bool
    shows_today: bool
    typed: Mapping[str, str]
    kept: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_custom(self) -> bool:
        return self.compare != COMPARISONS[0] or not any(preset.chosen for preset in self.presets)

    def query(self, **changes: str | None) -> dict[str, str]:
        """The query of this page with some of it changed; None leaves a name out."""
        wanted: dict[str, str | None] = {**self.typed, **changes}
        return {name: value for name, value in wanted.items() if value}

    def href(self, **changes: str | None) -> str:
        """That query as the address of this same page; some of them stand on every line of a table."""
        return "?" + "&".join(_said(name, value) for name, value in self.query(**changes).items())

    def without_filters(self) -> dict[str, str]:
        """The query of this page showing everything."""
        return self.query(**dict.fromkeys(NAMES))


@lru_cache(maxsize=4096)
def _said(name: str, value: str) -> str:
    return f"{quote_plus(name)}={quote_plus(value)}"


def choose(
    workspace: Workspace, args: Mapping[str, str], now: datetime, *, began_today: bool, kept: Mapping[str, str]
) -> Choice:
    """Reads the parameters of OWN. A period that cannot be read is answered with the default one.

    `kept` is what else the page's own links and forms have to say.
    """
    today = days.today(ZoneInfo(workspace.timezone), now)
    first, last = args.get("from", "").strip(), args.get("to", "").strip()
    errors: Mapping[str, str] = {}
    try:
        period = campaign_report.read_period(workspace, first, last, now)
    except Invalid as refusal:
        period, errors = campaign_report.default_period(workspace, now), refusal.errors
    fresh = began_today and not first and not last
    if fresh:
        period = Period(today, today)
    compare, comparison, refused = _comparison(period, args)
    intervals = _intervals(period)
    interval = args.get("interval", "")
    return Choice(
        period=period,
        compare=compare,
        comparison=comparison,
        presets=_presets(period, today),
        interval=interval if interval in intervals else _usual_interval(period, intervals),
        intervals=intervals,
        metric=args["metric"] if args.get("metric") in METRICS else METRICS[0],
        began_today=fresh,
        shows_today=period.last < today,
        typed={name: args[name] for name in OWN if args.get(name)} | dict(kept),
        kept=kept,
        errors={**errors, **refused},
    )


def _comparison(period: Period, args: Mapping[str, str]) -> tuple[str, Period | None, Mapping[str, str]]:
    """What the period is compared with: how that was chosen, the other period, and why it could not be read."""
    how = args.get("compare", "").strip() or COMPARISONS[0]
    if how == NO_COMPARISON:
        return how, None, {}
    try:
        return how, campaign_report.read_comparison(period, how, args.get("compare_from", "").strip()), {}
    except Invalid as refusal:
        return COMPARISONS[0], period.before, refusal.errors


def _presets(period: Period, today: date) -> list[Preset]:
    yesterday = today - timedelta(days=1)
    choices = [("Today", Period(today, today))]
    choices += [(f"{n} d", Period(today - timedelta(days=n), yesterday)) for n in PRESET_DAYS]
    return [Preset(name, choice, choice == period) for name, choice in choices]


def _intervals(period: Period) -> list[str]:
    """The steps that give a chart more than one bar and fewer than can be told apart."""
    found = []
    for interval, step_days in STEP_DAYS.items():
        bars = period.length / step_days
        too_long = interval == "hour" and period.length > campaign_report.HOURLY_DAYS_MAX
        if (bars > 1 or interval == "day") and bars <= BARS_MAX and not too_long:
            found.append(interval)
    return found


def _usual_interval(period: Period, intervals: list[str]) -> str:
    if period.length == 1:
        return "hour"
    return next((name for name in ("day", "week", "month") if name in intervals), intervals[0])
