"""Links of a campaign that differ in one thing, compared: on a page of their own, and in short on the campaign's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from tracker import campaigns, days
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Campaign, Workspace
from tracker.reports import experiment
from tracker.reports.campaign import CampaignReport
from tracker.reports.comparable import Near
from tracker.reports.experiment import Comparison, Experiment, Variant, Wish
from tracker.reports.metrics import Rate
from tracker.salesums import Axis
from tracker.services import services
from tracker.web import charts, formats, periods, responses, trialwords
from tracker.web.access import signed_in
from tracker.web.charts import Band
from tracker.web.kept import until_changed
from tracker.web.periods import Choice, Preset
from tracker.web.trialwords import Said

pages = Blueprint("variants", __name__)
responses.add_not_found(pages)

SHOWN_IN_SUMMARY = 3
TITLES = {"ctr": "Click-through rate", "conversion_rate": "Conversion rate"}
KEPT = ("links", "control", "split")


@dataclass(frozen=True, slots=True)
class Row:
    """One variant in a table of one metric. `against` are the limits of its difference from the control, in points."""

    name: str
    variant: Variant
    rate: Rate
    band: Band | None
    is_control: bool
    is_leader: bool
    standing: str
    against: str
    chance: str


@dataclass(frozen=True, slots=True)
class Table:
    """One metric of a comparison: what is said of it, and its rows; `top` is where the drawn scale ends."""

    metric: str
    title: str
    said: Said
    rows: list[Row]
    top: float
    hits: str
    trials: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One comparison, ready to be shown. `notes` are what to know before one believes it."""

    comparison: Comparison
    title: str
    alike: str
    tables: list[Table]
    missing: list[str]
    warnings: list[str]
    notes: list[str]
    ratio: str | None
    codes: str

    @property
    def main(self) -> Table | None:
        return self.tables[0] if self.tables else None


@dataclass(frozen=True, slots=True)
class Summary:
    """The short form: the first comparisons, how many more there are, and where all are; `near` where there is none."""

    shown: list[Shown]
    more: int
    near: list[tuple[Near, str]]
    href: str | None


@pages.get("/campaigns/<slug>/variants")
@signed_in
@until_changed
def show(workspace: Workspace, slug: str) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    now = days.now()
    wish, refused = _wish()
    choice = _choice(workspace, campaign, now)
    found, more = _read(workspace, campaign, choice, wish)
    errors = {**refused, **more}
    page = render_template(
        "variants/show.html",
        campaign=campaign,
        timezone=workspace.timezone,
        choice=choice,
        wish=wish,
        errors=errors,
        typed={name: request.args.get(name, "") for name in KEPT},
        comparisons=[shown(each) for each in found.comparisons],
        near=_near(found),
        left=found.left,
        links=found.links,
        split_max=experiment.VARIANTS_MAX,
        lag_s=services().lag_s(days.to_ms(now)),
    )
    return page, 422 if errors or choice.errors else 200


def summary(report: CampaignReport, *, with_link: bool = True) -> Summary | None:
    """What a campaign's page says of its variants, from the groups by link that its report has.

    None for a report that is cut down by filters, dated by conversions or without these groups: rates of people need
    clicks and what became of these clicks. Two small queries read who converted and what was led elsewhere; the event
    store is not asked.
    """
    groups = report.groups.get("link")
    if groups is None or report.filters.given or report.axis is not Axis.CLICK:
        return None
    zone, period = ZoneInfo(report.timezone), report.period
    found = experiment.compare(
        db.session(),
        report.campaign,
        groups,
        period.spans(zone),
        experiment.Days(period.first, period.last, zone),
    )
    if not found.comparisons and not found.near:
        return None
    at: dict[str, Any] = {"from": period.first.isoformat(), "to": period.last.isoformat()}
    return Summary(
        shown=[shown(each, in_short=True) for each in found.comparisons[:SHOWN_IN_SUMMARY]],
        more=len(found.comparisons) + found.left - SHOWN_IN_SUMMARY,
        near=[] if found.comparisons else _near(found),
        href=url_for("variants.show", slug=report.campaign.slug, **at) if with_link else None,
    )


def _near(found: Experiment) -> list[tuple[Near, str]]:
    return [(each, trialwords.near(each)) for each in found.near]


def _choice(workspace: Workspace, campaign: Campaign, now: datetime) -> Choice:
    """The days shown: unless others are asked for, all since the campaign began, which no look can have moved."""
    whole = experiment.whole_period(services().store, campaign, workspace, now)
    given = {name: request.args[name] for name in ("from", "to") if request.args.get(name)}
    dates = given or {"from": whole.first.isoformat(), "to": whole.last.isoformat()}
    kept = {name: value for name in KEPT if (value := _joined(name))}
    choice = periods.choose(workspace, dates, now, began_today=False, kept=kept)
    return replace(
        choice,
        presets=[Preset("All", whole, choice.period == whole), *choice.presets],
        typed=choice.typed if given else {name: value for name, value in choice.typed.items() if name not in dates},
    )


def _joined(name: str) -> str:
    """The values of a name, which ticked boxes send one by one, as one."""
    return ",".join(part for part in request.args.getlist(name) if part)


def _wish() -> tuple[Wish, dict[str, str]]:
    """What is asked for, and why some of it cannot be used."""
    codes = tuple(code for part in _joined("links").split(",") if (code := part.strip()))
    control, errors = request.args.get("control") or None, {}
    split: tuple[float, ...] = ()
    try:
        split = experiment.read_split(_joined("split"))
    except Invalid as refusal:
        errors = dict(refusal.errors)
    return Wish(codes, control, split), errors


def _read(workspace: Workspace, campaign: Campaign, choice: Choice, wish: Wish) -> tuple[Experiment, Mapping[str, str]]:
    """The comparisons asked for; where these cannot be, the usual ones and why."""
    zone, period = ZoneInfo(workspace.timezone), choice.period
    read_by = (db.session(), services().store, campaign, period.spans(zone))
    shown_days = experiment.Days(period.first, period.last, zone)
    try:
        return experiment.read(*read_by, shown_days, wish), {}
    except Invalid as refusal:
        return experiment.read(*read_by, shown_days), refusal.errors


def shown(comparison: Comparison, *, in_short: bool = False) -> Shown:
    """All that is shown of a comparison; in short only the table of its main metric has rows, which take the time."""
    names = [trialwords.name(comparison, variant) for variant in comparison.variants]
    notes = []
    if any(variant.is_estimated for variant in comparison.variants):
        notes.append(trialwords.estimated())
    warnings = (trialwords.changed(comparison.differs), trialwords.moved(comparison))
    return Shown(
        comparison=comparison,
        title=trialwords.title(comparison),
        alike=trialwords.alike(comparison),
        tables=[
            table
            for metric in experiment.METRICS
            if (table := _table(comparison, metric, names, with_rows=not in_short or metric == comparison.main))
        ],
        missing=[text for metric in experiment.METRICS if (text := trialwords.missing(comparison, metric))],
        warnings=[text for text in warnings if text],
        notes=notes,
        ratio=trialwords.ratio(comparison.ratio, names, comparison.by) if comparison.ratio else None,
        codes=",".join(variant.links[0].code for variant in comparison.variants),
    )


def _table(comparison: Comparison, metric: str, names: Sequence[str], *, with_rows: bool) -> Table | None:
    trial, said = comparison.trials[metric], trialwords.verdict(comparison, metric)
    if trial is None or said is None:
        return None
    top = charts.band_top(trial.rates)
    _, hits, trials = trialwords.METRICS[metric]
    rows = []
    for place, (variant, rate) in enumerate(zip(comparison.variants, trial.rates, strict=True) if with_rows else ()):
        pair = None if place == comparison.control else trial.between(place, comparison.control)
        chance = trial.chances.get(place)
        rows.append(
            Row(
                name=names[place],
                variant=variant,
                rate=rate,
                band=charts.band(rate, top),
                is_control=place == comparison.control,
                is_leader=said.tone == "settled" and place == trial.leader,
                standing=trialwords.standing(pair),
                against=trialwords.limits(pair) if pair else "",
                chance=formats.MISSING if chance is None else trialwords.chance(chance),
            )
        )
    return Table(metric, TITLES[metric], said, rows, top, hits, trials)
