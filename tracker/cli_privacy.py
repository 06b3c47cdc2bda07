"""The commands about one person: what is held of them, and that it be forgotten."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

import click
from sqlalchemy.orm import Session

from tracker import links, privacy
from tracker.errors import Invalid
from tracker.identities import Match
from tracker.installation import opened
from tracker.models import Conversion, LedgerEntry
from tracker.privacy import Held
from tracker.reported import Identity
from tracker.stores import EventId, open_store


@click.command()
@click.option("--customer", required=True, help="The customer, as the shop names them in its reports.")
def export(customer: str) -> None:
    """Print all that is held of a customer, as JSON: conversions with their ledger, reports, the visitor's events."""
    with opened() as (settings, engine, session, workspace):
        store = open_store(engine)
        held = privacy.of_customer(session, store, workspace, customer, settings.secrets.customer_key)
        click.echo(json.dumps(_shown(session, held), ensure_ascii=False, indent=2))


@click.command()
@click.option("--customer", help="The customer, as the shop names them in its reports.")
@click.option("--visitor", metavar="CLICK_ID", help="The visitor whose click this was, for that UTC day.")
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and erase nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print what was erased as JSON; needs --yes or --dry-run.")
def forget(customer: str | None, visitor: str | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase who somebody was. Counts, money, order numbers and the ledger stay.

    Visitors become random numbers without browser, language, country or referrer; conversions lose their customer,
    reports what the sender said. Backups and an access log are not touched.
    """
    if (customer is None) == (visitor is None):
        raise click.UsageError("Name one: --customer or --visitor.")
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json asks nothing: add --yes or --dry-run.")
    if customer is not None and not customer.strip():
        raise Invalid({"customer": "Name a customer."})
    with opened() as (settings, engine, session, workspace):
        store, secrets = open_store(engine), settings.secrets

        def look() -> Held:
            if customer is not None:
                return privacy.of_customer(session, store, workspace, customer, secrets.customer_key)
            return privacy.of_visitor(session, store, workspace, visitor or "", secrets)

        found = Found()
        found.add(held := look())
        if not as_json:
            _say(found.counts(), dry_run)
        is_erased = bool(held) and not dry_run
        if is_erased:
            if not yes:
                session.rollback()  # nothing is held of the database while somebody thinks
                click.confirm("Erase this? It cannot be taken back.", abort=True, err=True)
                held = look()
            # What came in meanwhile goes too, and what comes in while the rest is erased.
            is_left = bool(held)
            while is_left:
                found.add(held)
                privacy.forget(session, store, engine, held)
                held = look()
                is_left = found.lacks(held)
            if not as_json:
                click.echo("Erased. Counts and money are as they were.", err=True)
        if as_json:
            click.echo(json.dumps(found.counts() | {"erased": is_erased}))


@dataclass(slots=True)
class Found:
    """The ids of all that was found of a person, however often it was looked for."""

    visitors: set[EventId] = field(default_factory=set)
    events: set[EventId] = field(default_factory=set)
    conversions: set[int] = field(default_factory=set)
    reports: set[int] = field(default_factory=set)
    match_keys: set[str] = field(default_factory=set)

    def add(self, held: Held) -> None:
        self.visitors.update(held.visitors)
        self.events.update(held.events)
        self.conversions.update(each.id for each in held.conversions)
        self.reports.update(each.id for each in held.reports)
        self.match_keys.update(each.customer for each in held.match_keys)

    def lacks(self, held: Held) -> bool:
        """Whether something is held that was not erased; a visitor's click still leads to events that name nobody."""
        return (
            not self.events.issuperset(held.events)
            or any(each.customer is not None for each in held.conversions)
            or any(each.params for each in held.reports)
            or bool(held.match_keys)
        )

    def counts(self) -> dict[str, int]:
        return {name.name: len(getattr(self, name.name)) for name in fields(self)}


def _say(counts: dict[str, int], dry_run: bool) -> None:
    """What was found, each with what becomes of it."""
    if not any(counts.values()):
        click.echo("Nothing is held: there is nothing to erase.")
        return
    click.echo("Would be erased:" if dry_run else "To be erased:")
    click.echo(f"  {counts['visitors']:,} visitors with {counts['events']:,} events: who it was, browser, origin")
    click.echo(f"  {counts['conversions']:,} conversions: the customer")
    click.echo(f"  {counts['reports']:,} reports: what the sender said")
    if counts["match_keys"]:
        click.echo("  what advertising networks would match the customer by")


def _shown(session: Session, held: Held) -> dict[str, Any]:
    from tracker.api import shapes

    codes = links.codes_of(session, (event.link_id for event in held.events.values() if event.link_id))
    return {
        "conversions": [
            shapes.conversion(each) | _clicked(each) | {"customer": each.customer, "ledger": _ledger(each)}
            for each in held.conversions
        ],
        "reports": [shapes.report(report) for report in held.reports],
        "events": [
            shapes.event(held.events[event_id], codes) | {"visitor": held.events[event_id].visitor}
            for event_id in sorted(held.events)
        ],
        "match_keys": [_match_keys(identity) for identity in held.identities],
    }


def _match_keys(identity: Identity) -> dict[str, Any]:
    """What networks match a customer by, and whether the customer said no to it."""
    kept = {name: getattr(identity, name) for name in Match._fields}
    return kept | {"opted_out": identity.opted_out, "updated_at": identity.updated_at.isoformat()}


def _clicked(conversion: Conversion) -> dict[str, str | None]:
    """What was known of its click."""
    return {name: getattr(conversion, name) for name in privacy.NOTHING_KNOWN}


def _ledger(conversion: Conversion) -> list[dict[str, Any]]:
    return [_entry(entry) for entry in conversion.entries]


def _entry(entry: LedgerEntry) -> dict[str, Any]:
    return {"at": entry.at.isoformat(), "status": entry.status, "minor": entry.minor, "currency": entry.currency}
