"""The commands about conversions: a file of them brought in."""

from __future__ import annotations

import json
import time
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tracker import conversionfile, days
from tracker.installation import opened

# Between slices: whoever waits for SQLite's write lock looks for it every tenth of a second, and would hardly ever find
# it free. The loader gives up after five seconds, callbacks are late.
PAUSE_S = 0.15


@click.group("conversions")
def group() -> None:
    """Conversions: bring in a file of them."""


@group.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Say what would become of each row, and store nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what became of each row as JSON.")
def bring_in(file: BinaryIO, dry_run: bool, as_json: bool) -> None:
    """Record the conversions and corrections of a CSV FILE (- for standard input).

    The header names parameters of the callback: order, cid, value, currency, status, goal, customer, ts, event_id. The
    same file again changes nothing.
    """
    console = Console(stderr=True)
    columns = (TextColumn("Rows:"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with opened() as (settings, _, session, workspace):
        keys = settings.secrets.keys
        upload = conversionfile.keep(settings.data_dir, workspace, file, keys, days.now())
        try:
            state = conversionfile.progress(upload, dry_run=dry_run)
            with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
                rows = shown.add_task("", total=state.rows)
                done = 0
                while done < state.rows:
                    done = conversionfile.go_on(session, workspace, upload, keys, dry_run=dry_run)
                    shown.update(rows, completed=done)
                    if done < state.rows:
                        time.sleep(PAUSE_S)
            state = conversionfile.progress(upload, dry_run=dry_run)
            if as_json:
                found = conversionfile.lines(upload, dry_run=dry_run)
                click.echo(json.dumps([conversionfile.as_row(line) for line in found], ensure_ascii=False))
            else:
                for fault in state.faults:
                    click.echo(f"row {fault.row}: {fault.result}. {conversionfile.told(fault)}", err=True)
                told = ", ".join(f"{n:,} {result}" for result, n in sorted(state.results.items()))
                click.echo(f"{'Would be: ' if dry_run else ''}{told}.", err=True)
        finally:
            upload.drop()
