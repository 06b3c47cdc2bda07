"""The commands about costs: an export of an advertising network brought in."""

from __future__ import annotations

import json
from typing import BinaryIO

import click

from tracker import costfile, costsheet, days
from tracker.costfile import Plan
from tracker.errors import Invalid
from tracker.installation import opened


@click.group("cost")
def group() -> None:
    """Costs: bring in a file of them."""


@group.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--source", default="", help="The utm_source that all of it was spent on.")
@click.option("--map", "mapped", multiple=True, metavar="NAME=SLUG", help="Which campaign a name in the file means.")
@click.option("--day-first/--month-first", default=None, help="How dates like 11/7/2026 are meant.")
@click.option("--dry-run", is_flag=True, help="Say what would become of it, and store nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what became of it as JSON.")
def bring_in(
    file: BinaryIO, source: str, mapped: tuple[str, ...], day_first: bool | None, dry_run: bool, as_json: bool
) -> None:
    """Store the costs of a CSV FILE (- for standard input), all or none.

    Exports of Google Ads, Meta Ads Manager and Microsoft Advertising are recognised by their columns; so is a plain
    file with campaign, day (or from and to) and amount. The same file again changes nothing.
    """
    choices = dict(_pair(text) for text in mapped)
    with opened() as (_, _, session, workspace):
        content = file.read(costfile.BYTES_MAX + 1)
        if len(content) > costfile.BYTES_MAX:
            raise Invalid({"file": f"A file has at most {costfile.BYTES_MAX:,} bytes; cut it in two."})
        sheet = costsheet.read(content, workspace.currency, day_first=day_first)
        plan = costfile.plan(session, workspace, sheet, source=source, choices=choices)
        _tell(plan)
        if sheet.asks_order:
            raise Invalid({"file": "No date tells which it is: say --day-first or --month-first."})
        if plan.faults:
            raise Invalid({"file": "Nothing is stored while there are rows that cannot be read."})
        if not dry_run and plan.planned:
            costfile.store(session, workspace, plan, now=days.now())
        counts = {name: plan.counts[name] for name in ("new", "replaced", "unchanged")}
        left_out = sum(len(each.rows) for each in plan.unmatched)
        if as_json:
            click.echo(json.dumps({"format": sheet.format.origin, **counts, "left_out": left_out}))
        else:
            told = ", ".join(f"{n:,} {name}" for name, n in counts.items())
            click.echo(
                f"{sheet.format.title}: {'would be ' if dry_run else ''}{told}; {left_out:,} rows left out.", err=True
            )


def _pair(text: str) -> tuple[str, str]:
    name, sign, slug = text.rpartition("=")
    if not sign:
        raise click.BadParameter("A name and a slug are parted by “=”, as Brand=spring-sale.", param_hint="--map")
    return name, slug


def _tell(plan: Plan) -> None:
    for fault in plan.faults:
        click.echo(f"row {fault.row}: {fault.reason}", err=True)
    for each in plan.unmatched:
        sums = ", ".join(f"{amount.amount} {amount.currency}" for amount in each.sums)
        click.echo(f"“{each.name}” is left out, {sums}: {each.reason}", err=True)
