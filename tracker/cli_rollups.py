"""The commands that keep what reports read as it should be: sums held against events, events packed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta

import click
from rich.console import Console
from rich.progress import Progress

from tracker import days, printing
from tracker.audit import Audit
from tracker.installation import opened
from tracker.stores import Drift, open_store


@click.group("rollups")
def group() -> None:
    """Hold the sums that reports read against the raw events and the conversions."""


@group.command("verify")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First UTC day, inclusive.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last UTC day, inclusive.")
@click.option("--json", "as_json", is_flag=True)
def rollups_verify(first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """Count each day's raw events and conversions anew and tell where a sum differs; then the exit code is 1."""
    found = _audit(first, last, Audit.drifts)
    if as_json:
        click.echo(
            json.dumps([drift._asdict() for _, drifts in found for drift in drifts], ensure_ascii=False, indent=2)
        )
    else:
        printing.drifts(Console(), found)
    if any(drifts for _, drifts in found):
        sys.exit(1)


@group.command("repair")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First UTC day, inclusive.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last UTC day, inclusive.")
def rollups_repair(first: datetime | None, last: datetime | None) -> None:
    """Make the rollups of each day that differs anew. It may be stopped at any time, and started again."""
    found = _audit(first, last, Audit.repair)
    mended = [day for day, drifts in found if drifts]
    click.echo(f"{len(found)} days looked at, the rollups of {len(mended)} made anew")


@group.command("pack")
def rollups_pack() -> None:
    """Pack at once what the server packs little by little: raw events that are long over, for filtered reports."""
    with opened() as (_, engine, _, _):
        store, now, done = open_store(engine), days.now(), 0
        with Console(stderr=True).status("Packing"):
            while runs := store.pack(now, 1):
                done += runs
        click.echo(f"{done} runs of quarters packed")


def _audit(
    first: datetime | None, last: datetime | None, look: Callable[[Audit, int], list[Drift]]
) -> list[tuple[date, list[Drift]]]:
    """Looks at each day that can be judged, in the order of time; progress goes to a terminal."""
    with opened() as (_, engine, _, _):
        audit = Audit(engine, open_store(engine))
        chosen = [(date(1970, 1, 1) + timedelta(days=day), day) for day in audit.days]
        chosen = [
            (on, day)
            for on, day in chosen
            if (first is None or on >= first.date()) and (last is None or on <= last.date())
        ]
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
            return [(on, look(audit, day)) for on, day in progress.track(chosen, description="Days")]
