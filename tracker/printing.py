"""Reports and lists on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from tracker.events import Verdict
from tracker.money import Money
from tracker.reports.campaign import CampaignReport
from tracker.reports.comparison import Difference
from tracker.reports.filters import DIMENSIONS
from tracker.reports.metrics import Rate, Totals
from tracker.salesums import Axis
from tracker.stores import Drift

if TYPE_CHECKING:
    from tracker.pipeline.reclassify import Changes

COLUMNS = ("Impressions", "Clicks", "Unique", "CTR", "Conversions", "Rate", "Revenue")
NARROW = ("Seen", "Clicks", "Uniq.", "CTR", "Conv.", "Rate", "Revenue")
WIDE = 100
LONGEST = 1_000  # characters of a line


def percent(rate: Rate) -> str:
    """`4.0 %` above its interval `3.7–4.4`, or a dash where there is no rate."""
    if rate.value is None:
        return "–"
    interval = rate.interval
    limits = f"\n{interval[0] * 100:.1f}–{interval[1] * 100:.1f}" if interval else ""
    return f"{rate.value * 100:.1f} %{limits}"


def _cells(found: Totals) -> list[str]:
    return [
        f"{found.impressions:,}",
        f"{found.clicks:,}",
        f"{found.unique_clicks:,}",
        percent(found.ctr),
        f"{found.conversions:,}",
        percent(found.conversion_rate),
        "\n".join(f"{money.amount} {money.currency}" for money in found.revenue) or "–",
    ]


def _table(console: Console, first: str) -> Table:
    is_wide = console.width >= WIDE
    table = Table(header_style="bold", box=box.SIMPLE, padding=(0, 1) if is_wide else (0, 1, 0, 0), pad_edge=is_wide)
    table.add_column(first, overflow="fold", min_width=8)
    for column in COLUMNS if is_wide else NARROW:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _show(console: Console, table: Table) -> None:
    """A table with figures, none of which may be cut off: where there is no room, lines are longer."""
    console.width = max(console.width, console.measure(table, options=console.options.update(width=LONGEST)).maximum)
    console.print(table)


def _change(name: str, change: Difference | None) -> str:
    if change is None:
        return f"{name}: no comparison"
    limits = (
        ""
        if change.low is None or change.high is None
        else f", between {change.low * 100:+.2f} and {change.high * 100:+.2f}"
    )
    verdict = "likely real" if change.is_real else "could be chance"
    return f"{name}: {change.difference * 100:+.2f} points{limits}: {verdict}"


def report(console: Console, built: CampaignReport, group_by: str, lag_s: float) -> None:
    period = built.period
    console.print(
        f"[bold]{built.campaign.name}[/bold]  {period.first} to {period.last}, {built.timezone}, {lag_s:.1f} s behind"
    )
    if built.axis == Axis.CONVERSION:
        console.print("Conversions by their own date and not their click's")
    if given := built.filters.given:
        console.print("Only", ", ".join(f"{name}={value}" for name, value in given.items()))
    table = _table(console, group_by.capitalize())
    unknown = "not known" if group_by in DIMENSIONS else "–"
    for group in built.groups[group_by]:
        table.add_row(group.key or unknown, *_cells(group.totals))
    table.add_section()
    table.add_row("All", *_cells(built.totals), style="bold")
    if built.previous and built.previous_period:
        table.add_row("Before", *_cells(built.previous))
    _show(console, table)
    if built.previous_period:
        console.print(f"Before: {built.previous_period.first} to {built.previous_period.last}")
    for name, change in (built.changes or {}).items():
        console.print(_change(name.replace("_", " "), change))
    _money(console, built.totals, built.not_assigned.get(group_by, []))
    left_out = ", ".join(f"{n} {verdict.replace('_', ' ')}" for verdict, n in (built.totals.filtered or {}).items())
    console.print(f"Left out: {left_out or 'nothing'}")


def _money(console: Console, found: Totals, not_assigned: Sequence[Money]) -> None:
    """What was spent and what that comes to, where anything was."""
    if found.approved is not None and found.approved != found.conversions:
        console.print(f"Approved: {found.approved:,} of {found.conversions:,} conversions")
    if found.cost:
        console.print(f"Spent: {_amounts(found.cost)}")
    if not_assigned:
        console.print(f"Of it in no row: {_amounts(not_assigned)}")
    prices = {"CPC": found.cpc, "CPM": found.cpm, "CPA": found.cpa, "EPC": found.epc, "AOV": found.aov}
    told = [f"{name} {price.rounded:f} {price.currency}" for name, price in prices.items() if price]
    told += [f"{name} {value:.2f}" for name, value in (("ROAS", found.roas), ("ROI", found.roi)) if value is not None]
    if told:
        console.print(", ".join(told))
    for what, amounts in (("cost", found.cost_without_rate), ("revenue", found.revenue_without_rate)):
        if amounts:
            console.print(f"Without a rate, and in no total of the {what}: {_amounts(amounts)}")


def _amounts(amounts: Sequence[Money]) -> str:
    return ", ".join(f"{money.amount} {money.currency}" for money in amounts)


def series(console: Console, built: CampaignReport, interval: str) -> None:
    """The steps of a report, one a row."""
    table = Table(header_style="bold", box=box.SIMPLE)
    table.add_column(interval.capitalize())
    for column in ("Impressions", "Clicks", "Conversions"):
        table.add_column(column, justify="right")
    for point in built.series:
        at = point.at.strftime("%Y-%m-%d %H:%M") if isinstance(point.at, datetime) else str(point.at)
        table.add_row(at, f"{point.impressions:,}", f"{point.clicks:,}", f"{point.conversions:,}")
    _show(console, table)


def today(console: Console, built: CampaignReport) -> None:
    table = _table(console, "Today so far")
    table.add_row(str(built.period.first), *_cells(built.totals))
    _show(console, table)


def links(console: Console, rows: Sequence[Mapping[str, str]]) -> None:
    if not rows:
        console.print("No links yet: tracker link add DESTINATION --campaign … --source … --medium …")
        return
    table = Table(header_style="bold")
    for name in rows[0]:
        table.add_column(name.replace("_", " ").capitalize(), overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)


DRIFTS_SHOWN_MAX = 50


def drifts(console: Console, found: Sequence[tuple[date, Sequence[Drift]]]) -> None:
    """Where rollups differ from what they are sums of, and that they do not elsewhere."""
    wrong = [(day, drift) for day, several in found for drift in several]
    if wrong:
        table = Table(box=box.SIMPLE, header_style="bold")
        for column in ("UTC day", "Rollup", "Key", "Kept", "Counted"):
            table.add_column(column)
        for day, drift in wrong[:DRIFTS_SHOWN_MAX]:
            kept, counted = (" ".join(map(str, sums)) for sums in (drift.kept, drift.counted))
            table.add_row(str(day), drift.rollup, str(drift.key), kept, counted)
        console.print(table)
        if len(wrong) > DRIFTS_SHOWN_MAX:
            console.print(f"… and {len(wrong) - DRIFTS_SHOWN_MAX} more")
    count = "1 difference" if len(wrong) == 1 else f"{len(wrong) or 'no'} differences"
    console.print(f"{len(found)} days held against their raw events and conversions: {count}.")
    if wrong:
        console.print("`tracker rollups repair` makes the rollups of those days anew.")


def changes(console: Console, found: Changes, *, dry_run: bool) -> None:
    """What judging anew has changed, or would."""
    verdicts = sum(found.verdicts.values())
    console.print(f"{found.events:,} events judged anew, {verdicts:,} {'would change' if dry_run else 'changed'}.")
    if found.verdicts:
        table = Table(box=box.SIMPLE, pad_edge=False)
        table.add_column("Was")
        table.add_column("Is")
        table.add_column("Events", justify="right")
        for (was, now), n in sorted(found.verdicts.items()):
            table.add_row(Verdict(was).word, Verdict(now).word, f"{n:,}")
        console.print(table)
    if found.relabelled:
        console.print(f"{found.relabelled:,} more have the same verdict for a reason of another name.")


def changes_as_json(found: Changes) -> dict[str, Any]:
    """The same for a program."""
    verdicts = [
        {"was": Verdict(was).word, "is": Verdict(now).word, "events": n}
        for (was, now), n in sorted(found.verdicts.items())
    ]
    return {"events": found.events, "changed": verdicts, "relabelled": found.relabelled}
