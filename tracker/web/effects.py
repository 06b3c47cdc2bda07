"""What a change was followed by, in words and rows that claim no more than the figures do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tracker import days
from tracker.campaigning import ChangeEntry
from tracker.reports.beforeafter import DAY, WEEK, BeforeAfter, Compared, Windows
from tracker.reports.comparison import Difference
from tracker.reports.metrics import Rate, Totals
from tracker.web import changes, formats, words
from tracker.web.changes import Change
from tracker.web.changewords import Row

OTHERS_SHOWN = 5
HOUR_S, DAY_S = 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric on both sides. `limits` are a rate's interval, `sentence` what can be said of its change."""

    name: str
    before: str
    after: str
    change: Change | None
    before_limits: str | None = None
    after_limits: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """The figures of a campaign or of one link; `why_none` where they are not shown."""

    is_link: bool
    figures: list[Figure]
    sentences: list[str]
    why_none: str | None = None


@dataclass(frozen=True, slots=True)
class Beside:
    """A change near the one that is looked at, and where it lies from it: `2 days later`."""

    row: Row
    distance: str
    is_note: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """All that a page says of what followed a change."""

    windows: Windows | None
    tables: list[Table]
    cautions: list[str]
    others: list[Beside]
    others_left: int
    why_none: str | None


def shown(found: BeforeAfter, entry: ChangeEntry, others: Sequence[Row]) -> Effect:
    if found.windows is None:
        return Effect(None, [], [], [], 0, _why_none(found, entry))
    tables = [_table(found, found.link, True)] if found.link else []
    if found.campaign:
        tables.append(_table(found, found.campaign, False))
    beside = [
        Beside(row, _distance((row.entry.at_ms - entry.at_ms) / 1000), row.entry.kind == "note") for row in others
    ]
    beside.sort(key=lambda each: abs(each.row.entry.at_ms - entry.at_ms))
    return Effect(
        found.windows,
        tables,
        _cautions(found, found.windows, beside),
        beside[:OTHERS_SHOWN],
        max(0, len(beside) - OTHERS_SHOWN),
        None,
    )


def _why_none(found: BeforeAfter, entry: ChangeEntry) -> str:
    if not found.too_early:
        return "Nothing had happened on this campaign before: there is nothing to compare with."
    if entry.at > days.now():
        return "This is still to come."
    return "It is too early: the quarter hour in which this was changed has to pass, and another one after it."


def _cautions(found: BeforeAfter, both: Windows, others: Sequence[Beside]) -> list[str]:
    """What keeps the figures from saying that it was this change, the gravest first."""
    said = []
    length = both.after.end - both.after.start
    if length < DAY:
        said.append(
            f"Only {_length(both)} can be compared so far, and they are other hours of the day: wait for whole days."
        )
    elif length % WEEK:
        short = length < found.wanted_days * DAY
        said.append(
            f"{'Only ' if short else ''}{_length(both)} on each side{' can be compared so far' if short else ''}: "
            f"they hold other days of the week."
        )
    changed = [each for each in others if not each.is_note]
    if changed:
        nearest = changed[0].distance
        more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
        said.append(f"Another change {nearest}{more}: not only this one can be behind a difference.")
    if found.is_immature:
        said.append(_still_to_come(found))
    return said


def _still_to_come(found: BeforeAfter) -> str:
    n = found.open_days
    window = f"for {n} {words.times(n, 'day', 'days')} more"
    if found.complete is None:
        return f"Conversions of the clicks after it may come in {window}: their rate can only rise."
    share = formats.share(found.complete)
    return f"About {share} of the conversions after it have come in so far; some may come {window}."


def _length(both: Windows) -> str:
    return formats.duration((both.after.end - both.after.start) * days.BUCKET_S)


def _distance(seconds: float) -> str:
    size = abs(seconds)
    for unit_s, one, many in ((DAY_S, "day", "days"), (HOUR_S, "hour", "hours"), (60, "minute", "minutes")):
        if size >= unit_s:
            n = round(size / unit_s)
            return f"{formats.number(n)} {words.times(n, one, many)} {'later' if seconds > 0 else 'before'}"
    return "at the same time"


def _table(found: BeforeAfter, compared: Compared, is_link: bool) -> Table:
    if compared.is_empty:
        side = "before" if not (compared.before.clicks or compared.before.impressions) else "since"
        return Table(is_link, [], [], f"Nothing happened {side}: there is nothing to compare.")
    before, after = compared.before, compared.after
    rates = compared.changes
    per_day_before, per_day = compared.clicks_per_day
    figures = [
        Figure(
            "Clicks a day", _per_day(per_day_before), _per_day(per_day), changes.of_count(after.clicks, before.clicks)
        ),
        _rate("CTR", before.ctr, after.ctr, rates["ctr"]),
        _conversions(found, before.conversions, after.conversions),
        _rate("Conversion rate", before.conversion_rate, after.conversion_rate, rates["conversion_rate"]),
    ]
    if before.impressions or after.impressions:
        figures.insert(0, _count("Impressions", before.impressions, after.impressions))
    return Table(is_link, figures, _sentences(found, before, after, rates))


def _per_day(value: float) -> str:
    return formats.number(round(value)) if value >= 100 else f"{value:.1f}"


def _count(name: str, before: int, after: int) -> Figure:
    return Figure(name, formats.number(before), formats.number(after), changes.of_count(after, before))


def _conversions(found: BeforeAfter, before: int, after: int) -> Figure:
    """Fewer are no fall while more of them are to come."""
    figure = _count("Conversions", before, after)
    if after < before and found.is_immature and figure.change is not None:
        return replace(figure, change=replace(figure.change, direction="level"))
    return figure


def _rate(name: str, before: Rate, after: Rate, difference: Difference | None) -> Figure:
    change = changes.of_rate_shortly(difference)
    if change is not None:
        change = replace(change, text=f"{change.text} points")
    return Figure(
        name, formats.rate(before), formats.rate(after), change, formats.limits(before), formats.limits(after)
    )


def _sentences(found: BeforeAfter, before: Totals, after: Totals, rates: dict[str, Difference | None]) -> list[str]:
    said = []
    for name, title in (("ctr", "CTR"), ("conversion_rate", "Conversion rate")):
        difference = rates[name]
        if difference is None:
            continue
        told = changes.of_rate(difference, getattr(after, name), getattr(before, name))
        if told is not None:
            verdict = _verdict(found, name, difference, told.verdict)
            said.append(f"{title}: {told.text}{f': {verdict}' if verdict else ''}.")
    return said


def _verdict(found: BeforeAfter, name: str, difference: Difference, usual: str | None) -> str | None:
    """A rate that seems to have fallen while conversions still come in has perhaps not fallen at all."""
    if name == "conversion_rate" and found.is_immature and difference.difference < 0:
        return "too early to say, for conversions are still coming in"
    return usual
