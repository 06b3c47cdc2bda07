"""Which days a report shows: read from the query, with the presets to choose from and how finely a chart can be cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from tracker import days
from tracker.errors import Invalid
from tracker.models import Workspace
from tracker.reports import campaign as campaign_report
from tracker.reports.campaign import Period
from tracker.reports.filters import NAMES

BARS_MAX = 120
STEP_DAYS = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 28.0}
METRICS = ("clicks", "impressions", "conversions")


@dataclass(frozen=True, slots=True)
class Preset:
    """A period one click away."""

    name: str
    period: Period
    chosen: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What the query asks for, and what of it is shown. `errors` belong to the fields of the custom period."""

    period: Period
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
        return not any(preset.chosen for preset in self.presets)

    def query(self, **changes: str | None) -> dict[str, str]:
        """The query of this page with some of it changed; None leaves a name out."""
        wanted: dict[str, str | None] = {**self.typed, **changes}
        return {name: value for name, value in wanted.items() if value}

    def without_filters(self) -> dict[str, str]:
        """The query of this page showing everything."""
        return self.query(**dict.fromkeys(NAMES))


def choose(
    workspace: Workspace, args: Mapping[str, str], now: datetime, *, began_today: bool, kept: Mapping[str, str]
) -> Choice:
    """Reads `from`, `to`, `interval` and `metric`. A period that cannot be read is answered with the default one.

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
    intervals = _intervals(period)
    interval = args.get("interval", "")
    return Choice(
        period=period,
        presets=_presets(period, today),
        interval=interval if interval in intervals else _usual_interval(period, intervals),
        intervals=intervals,
        metric=args["metric"] if args.get("metric") in METRICS else METRICS[0],
        began_today=fresh,
        shows_today=period.last < today,
        typed={name: args[name] for name in ("from", "to", "interval", "metric") if args.get(name)} | dict(kept),
        kept=kept,
        errors=errors,
    )


def _presets(period: Period, today: date) -> list[Preset]:
    yesterday = today - timedelta(days=1)
    choices = [(f"{n} d", Period(today - timedelta(days=n), yesterday)) for n in (7, 14, 30)]
    choices.append(("Today", Period(today, today)))
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
