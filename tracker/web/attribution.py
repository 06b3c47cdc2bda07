"""The campaign page's part on attribution: models side by side, how long conversions take, by which paths they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracker.credits import Model
from tracker.money import Money
from tracker.reports.attribution import Attribution, Compared, Credit
from tracker.reports.journeys import Delay, Journeys, Way
from tracker.reports.metrics import Sales
from tracker.web import formats, words
from tracker.web.opened import Tab

PLACEMENTS_SHOWN = 8
PATHS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model's credit and how it differs from last click's, as texts; the first row has no difference."""

    name: str
    why: str
    conversions: str
    difference: str
    revenue: list[Money]
    revenue_difference: list[str]
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class PlacementRow:
    """A source and medium with its conversions by each model, in the order of the models."""

    name: str
    conversions: list[str]


@dataclass(frozen=True, slots=True)
class Models:
    """What each model gives to whom. `placements_left` more are not shown."""

    rows: list[ModelRow]
    placements: list[PlacementRow]
    placements_left: int
    views: int
    views_revenue: list[Money]


@dataclass(frozen=True, slots=True)
class Paths:
    """By which clicks conversions came, and how long after theirs."""

    journeys: Journeys
    rows: list[tuple[Way, list[str]]]
    delay: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Shown:
    """What of that part is open."""

    tabs: list[Tab]
    models: Models | None
    paths: Paths | None


def models(found: Attribution, views: Sales, chosen: str) -> Models:
    placements = found.by_placement()
    return Models(
        rows=[_row(found.total, model, chosen) for model in Model],
        placements=[
            PlacementRow(" / ".join(key), [formats.decimal(of.of[model].conversions) for model in Model])
            for key, of in placements[:PLACEMENTS_SHOWN]
        ],
        placements_left=max(len(placements) - PLACEMENTS_SHOWN, 0),
        views=views.conversions,
        views_revenue=[Money(minor, currency) for currency, minor in sorted(views.minor.items())],
    )


def paths(found: Journeys) -> Paths:
    return Paths(found, [(way, _steps(way)) for way in found.paths[:PATHS_SHOWN]], _delay(found.delay))


def _row(compared: Compared, model: Model, chosen: str) -> ModelRow:
    name, why = words.MODELS[model.word]
    credit, base = compared.of[model], compared.base
    differs = model is not Model.LAST_CLICK
    return ModelRow(
        name=name,
        why=why,
        conversions=formats.decimal(credit.conversions),
        difference=formats.signed_decimal(credit.less(base).conversions) if differs else "",
        revenue=credit.revenue,
        revenue_difference=_money_differences(credit.less(base)) if differs else [],
        is_chosen=model.word == chosen,
    )


def _money_differences(difference: Credit) -> list[str]:
    return [formats.signed_money(money) for money in difference.revenue if money.minor]


def _steps(way: Way) -> list[str]:
    """The steps of a path as texts, with a word for those that are not told."""
    steps = [" / ".join(placement) for placement in way.placements]
    if way.left_out:
        steps.insert(1, f"{formats.number(way.left_out)} more")
    return steps


def _delay(delay: Delay | None) -> list[tuple[str, str]]:
    """Shares by how long after the click, in words."""
    if delay is None:
        return []
    names: Sequence[str] = ("1 hour", "1 day", "7 days", "30 days")
    return [(name, formats.percent(share)) for name, share in zip(names, delay.within.values(), strict=True)]
