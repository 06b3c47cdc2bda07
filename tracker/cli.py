"""The commands, thin: each reads its arguments, calls what the pages and the API call, and prints.

What only one command needs, the server above all, is imported when it runs: the others start in half the time.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import ExitStack
from dataclasses import fields
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tracker import (
    __version__,
    accounts,
    bulk,
    campaigns,
    cli_conversions,
    cli_costs,
    cli_keys,
    cli_privacy,
    cli_rollups,
    days,
    linkfile,
    links,
    printing,
    sheets,
    snippets,
)
from tracker.config import Settings, ensure_data_dir
from tracker.destinations import OwnDomain
from tracker.errors import Invalid, TrackerError
from tracker.installation import alone
from tracker.installation import opened as _workspace
from tracker.links import LinkDraft
from tracker.pipeline.segments import lag_s
from tracker.reports import campaign as reports
from tracker.reports.filters import NAMES, Filters, read
from tracker.stores import open_store

ERRORS_SHOWN_MAX = 50


class Commands(click.Group):
    """Turns our own errors into a sentence on standard error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Invalid as error:
            for field, message in islice(error.errors.items(), ERRORS_SHOWN_MAX):
                click.echo(f"{field}: {message}", err=True)
            if (left := len(error.errors) - ERRORS_SHOWN_MAX) > 0:
                click.echo(f"… and {left:,} more", err=True)
            ctx.exit(1)
        except TrackerError as error:
            click.echo(str(error), err=True)
            ctx.exit(1)


@click.group(cls=Commands)
@click.version_option(__version__)
def main() -> None:
    """Tag destinations, make short links, count what they bring."""
    os.umask(0o077)  # what is stored is nobody else's to read


main.add_command(cli_conversions.group)
main.add_command(cli_costs.group)
main.add_command(cli_privacy.export)
main.add_command(cli_privacy.forget)
main.add_command(cli_keys.keys)
main.add_command(cli_rollups.group)


def _print_json(content: Any) -> None:
    click.echo(json.dumps(content, ensure_ascii=False))


@main.command()
def serve() -> None:
    """Serve pages, redirects and pixels, and load what they count."""
    from tracker import server

    # A malformed setting is told of in one line, before gunicorn starts.
    ensure_data_dir(Settings.from_env().data_dir)
    server.serve()


@main.command()
@click.option("--follow", is_flag=True, help="Go on loading until interrupted.")
def load(follow: bool) -> None:
    """Load the spool into the store, for a server that brings no loader of its own."""
    from tracker.pipeline.loader import Loader, collect_rarely

    with _workspace() as (settings, engine, _, _):
        loader = Loader(settings, engine, open_store(engine))
        collect_rarely()
        stop = threading.Event()
        if follow:
            try:
                loader.run(stop)
            except KeyboardInterrupt:
                stop.set()
            return
        click.echo(f"{loader.drain()} events loaded")


@main.command("demo")
@click.option("--seed", default=1, show_default=True, help="The same number makes the same month.")
def demo_command(seed: int) -> None:
    """Fill the workspace with a month of plausible traffic."""
    from tracker import demo

    with _workspace() as (settings, engine, session, workspace):
        console = Console(stderr=True)
        result = demo.fill(settings, engine, session, workspace, seed=seed, console=console)
        for slug in result.campaigns:
            click.echo(f"{settings.public_url}/app/campaigns/{slug}")


@main.group()
def link() -> None:
    """Make and list links."""


@link.command("add")
@click.argument("destination")
@click.option("--campaign", required=True)
@click.option("--source", required=True)
@click.option("--medium", required=True)
@click.option("--term")
@click.option("--content")
@click.option("--id", "id_", help="utm_id")
@click.option("--code", help="A short code of your own.")
@click.option("--title")
@click.option("--tag", "tags", multiple=True)
@click.option("--expires-at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]))
@click.option("--redirect-code", type=int, default=302, show_default=True)
@click.option("--query-mode", default="link_wins", show_default=True)
@click.option("--click-id-param", help="The click id's parameter; empty for none.")
@click.option("--fallback-url")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def link_add(id_: str | None, as_json: bool, **given: Any) -> None:
    """Make a link to DESTINATION and print its short URL."""
    with _workspace() as (settings, _, session, workspace):
        own = OwnDomain((settings.public_url,))
        made = links.create(session, workspace, LinkDraft(id=id_, **given), own)
        pasted = snippets.of_link(made, settings.public_url)
        if as_json:
            _print_json(
                {
                    "code": made.code,
                    "destination": made.destination,
                    "tagged_url": made.tagged_url,
                    "campaign": {"slug": made.campaign.slug, "name": made.campaign.name},
                    **{field.name: getattr(pasted, field.name) for field in fields(pasted)},
                }
            )
        else:
            click.echo(pasted.short_url)


@link.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Check everything, store nothing.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the CSV goes.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON; the CSV goes to --output alone.")
def link_import(file: BinaryIO, dry_run: bool, output: Path | None, as_json: bool) -> None:
    """Make all links of a CSV FILE, or none (- for standard input), and print their codes and URLs as CSV.

    The header names what `link add` takes: destination, campaign, source, medium and, as wanted, term, content, id,
    code, title, tags (parted by |), expires_at, redirect_code, query_mode, click_id_param, referrer_policy,
    fallback_url, cost_param, cost_currency.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with _workspace() as (settings, _, session, workspace), ExitStack() as stack:
        written: TextIO | None = None
        if output and not dry_run:
            # Before anything is stored: a path that cannot be written must not cost the codes of links that were made.
            written = stack.enter_context(output.open("w", encoding="utf-8", newline=""))
        elif not dry_run and not as_json:
            written = sys.stdout
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
            checking = progress.add_task("Links checked:", total=None)
            made = bulk.create_many(
                session,
                workspace,
                linkfile.read(file),
                OwnDomain((settings.public_url,)),
                name=sheets.name,
                dry_run=dry_run,
                on_chunk=lambda checked: progress.advance(checking, checked),
            )
        if written:
            linkfile.write(written, made, settings.public_url)
        if as_json:
            _print_json({"links": len(made), "stored": not dry_run})
        else:
            click.echo(f"{len(made):,} links {'can be' if dry_run else 'were'} made.", err=True)


@link.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 500))
@click.option("--json", "as_json", is_flag=True)
def link_list(limit: int, as_json: bool) -> None:
    """List links, newest first."""
    with _workspace() as (settings, _, session, workspace):
        found = links.listed(session, workspace, before_id=None, limit=limit)
        rows = [
            {
                "short_url": snippets.of_link(each, settings.public_url).short_url,
                "campaign": each.campaign.slug,
                "tagged_url": each.tagged_url,
            }
            for each in found
        ]
        _print_json(rows) if as_json else printing.links(Console(), rows)


@main.command()
@click.argument("campaign")
@click.option("--from", "first", help="First local date, inclusive.")
@click.option("--to", "last", help="Last local date, inclusive.")
@click.option("--group-by", type=click.Choice(list(reports.GROUPS)), default="link", show_default=True)
@click.option(
    "--only", multiple=True, metavar="NAME=VALUE", help="Only what has this value, as country=DE; repeatable."
)
@click.option(
    "--by", type=click.Choice(list(reports.AXES)), default="click", show_default=True, help="The date of conversions."
)
@click.option(
    "--compare",
    type=click.Choice([*reports.COMPARISONS, "none"]),
    default="previous",
    show_default=True,
    help="With as many days directly before, with the same a year before, or from --compare-from on.",
)
@click.option("--compare-from", help="First local date of the days to compare with, for --compare custom.")
@click.option(
    "--interval",
    type=click.Choice(list(reports.INTERVALS)),
    help="Print the series too, in such steps; in JSON by day.",
)
@click.option("--json", "as_json", is_flag=True)
def report(
    campaign: str,
    first: str | None,
    last: str | None,
    group_by: str,
    only: tuple[str, ...],
    by: str,
    compare: str,
    compare_from: str | None,
    interval: str | None,
    as_json: bool,
) -> None:
    """Print what CAMPAIGN (its slug) brought: by default the last 14 whole days, and today so far."""
    from tracker.api import shapes

    wanted = _filters(only)

    with _workspace() as (settings, engine, session, workspace):
        store = open_store(engine)
        found = campaigns.find(session, workspace, campaign)
        now = days.now()
        period = reports.read_period(workspace, first, last, now)
        if interval == "hour" and period.length > reports.HOURLY_DAYS_MAX:
            raise Invalid({"interval": f"By the hour, a report covers at most {reports.HOURLY_DAYS_MAX} days."})
        before = reports.read_comparison(period, None if compare == "none" else compare, compare_from)
        axis = reports.AXES[by]
        build = partial(reports.build, session, store, workspace, found, now=now, filters=wanted, axis=axis)
        built = build(period, compare=before or False, group_by=[group_by], interval=interval or "day")
        lag = lag_s(settings.spool_dir, store.position, days.to_ms(now))
        if as_json:
            _print_json(shapes.stats(built, lag, group_by))
            return
        printing.report(Console(), built, group_by, lag)
        if interval:
            printing.series(Console(), built, interval)
        if not first and not last:
            printing.today(Console(), build(reports.today(workspace, now)))


def _filters(only: tuple[str, ...]) -> Filters:
    """Filters from texts like `country=DE`. Raises Invalid for a name or a value that cannot be one."""
    given: dict[str, str] = {}
    for name, _, value in (text.partition("=") for text in only):
        if name not in NAMES or not value:
            raise Invalid({name: f"Cut down by {', '.join(NAMES)}, as country=DE; (none) is for what has no value."})
        if name in given:
            raise Invalid({name: "A report is cut down to one value of each."})
        given[name] = value
    return read(given)


@main.command()
@click.option("--since", required=True, type=click.DateTime(["%Y-%m-%d"]), help="First local date, inclusive.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last local date, inclusive; left out, up to now.")
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@click.option("--json", "as_json", is_flag=True)
def reclassify(since: datetime, until: datetime | None, dry_run: bool, as_json: bool) -> None:
    """Judge stored events anew by the lists and limits of today. It may be stopped at any time, and goes on there."""
    from tracker.pipeline.reclassify import Reclassification

    with _workspace() as (settings, engine, _, workspace), ExitStack() as stack:
        if not dry_run:
            # How far a run has come is noted in one place: two would take each other's note for their own.
            lock = settings.data_dir / "reclassify.lock"
            stack.enter_context(alone(lock, "Another reclassify is at work. Wait until it is done, or stop it first."))
        zone = ZoneInfo(workspace.timezone)
        since_ms = days.to_ms(days.start_of(since.date(), zone))
        until_ms = days.to_ms(days.start_of(until.date() + timedelta(days=1), zone)) if until else None
        now_ms = days.to_ms(days.now())
        run = Reclassification(engine, open_store(engine), since_ms, until_ms, now_ms=now_ms, dry_run=dry_run)
        if run.resumed_ms is not None:
            click.echo(
                f"Going on at {days.from_ms(run.resumed_ms):%Y-%m-%d %H:%M} UTC, where it was stopped.", err=True
            )
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
            judging = progress.add_task("Judging anew", total=1.0)
            try:
                changes = run.run(lambda done: progress.update(judging, completed=done))
            except KeyboardInterrupt:
                click.echo("Stopped. The same command goes on from here.", err=True)
                sys.exit(130)
        _print_json(printing.changes_as_json(changes)) if as_json else printing.changes(
            Console(), changes, dry_run=dry_run
        )


@main.group()
def token() -> None:
    """API tokens."""


@token.command("create")
@click.argument("name")
def token_create(name: str) -> None:
    """Make an API token called NAME and print it, this once."""
    with _workspace() as (_, _, session, workspace):
        click.echo(accounts.create_token(session, workspace, name))


@main.group()
def user() -> None:
    """Accounts."""


@user.command("create")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def user_create(email: str, password_stdin: bool) -> None:
    """Make an account for EMAIL; asks for the password."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    with _workspace() as (_, _, session, workspace):
        made = accounts.create_user(session, workspace, email, password)
        click.echo(f"{made.email} can sign in.", err=True)


if __name__ == "__main__":
    main()
