"""What was spent: entries by campaign, source or link over local days, stored, replaced and spread over their days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.orm import Session

from tracker import changelog, money
from tracker.campaigning import Cost
from tracker.destinations import text_refusal
from tracker.errors import Invalid, NotFound, Taken
from tracker.extensions import insert_into
from tracker.models import Campaign, Link, Workspace
from tracker.money import Money
from tracker.rates import FIRST_DAY, LAST_DAY, day_of

SPAN_DAYS_MAX = 1_100
AT_ONCE_MAX = 20_000  # entries in one go, all or none
COUNT_MAX = 10**12
DOUBTS_SHOWN = 5
LOOKED_AT_MAX = 5_000  # entries of a campaign, the newest, that are held against each other
TOLD_MAX = 50  # entries that one change names
ORIGINS = ("form", "api", "google", "meta", "microsoft", "csv")
_KEYS_AT_ONCE = 200

# What of an entry stands once for each origin: campaign, scope, first and last day.
Key = tuple[int, str, date, date]


@dataclass(frozen=True, slots=True)
class Typed:
    """An entry as it was typed or sent: text throughout. `link` is a short code; empty is not given."""

    first_on: str = ""
    last_on: str = ""
    amount: str = ""
    currency: str = ""
    source: str = ""
    link: str = ""
    impressions: str = ""
    clicks: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that can be stored. Days are local and inclusive, `impressions` and `clicks` what a network counted."""

    campaign_id: int
    first_on: date
    last_on: date
    spent: Money
    source: str | None = None
    link_id: int | None = None
    impressions: int | None = None
    clicks: int | None = None

    @property
    def scope(self) -> str:
        return scope_of(self.source, self.link_id)

    @property
    def key(self) -> Key:
        return self.campaign_id, self.scope, self.first_on, self.last_on


class Stored(NamedTuple):
    """How many entries were new, how many took another's place, and how many were there already as they are."""

    added: int
    replaced: int
    unchanged: int


class Doubt(NamedTuple):
    """Two entries, or runs of them, of one scope that share days: they add up, and may be the same money twice."""

    scope: str
    origins: tuple[str, str]
    first: date
    last: date
    days: int


def scope_of(source: str | None, link_id: int | None) -> str:
    return f"link:{link_id}" if link_id is not None else f"source:{source}" if source is not None else ""


def part(minor: int, first: date, last: date, start: date, end: date) -> int:
    """What of an amount, spent over `first` to `last`, falls on the days from `start` to `end`, all inclusive.

    Of n days the first k have floor(k × amount / n): so the days differ by one minor unit at most, what is left over is
    spread among them, and however a span is cut, its pieces add up to the whole.
    """
    days = (last - first).days + 1
    before = max((start - first).days, 0)
    until = min((end - first).days + 1, days)
    return until * minor // days - before * minor // days if until > before else 0


def check(session: Session, workspace: Workspace, campaign: Campaign, typed: Typed) -> Entry:
    """An entry from what was typed. Raises Invalid, naming fields of Typed. One day alone is its own last."""
    errors = {}
    first = day_of(typed.first_on)
    last = day_of(typed.last_on) if typed.last_on.strip() else first
    for field, day in (("first_on", first), ("last_on", last)):
        if day is None and (field == "first_on" or typed.last_on.strip()):
            errors[field] = f"A day is written like 2026-11-07, from {FIRST_DAY} to {LAST_DAY}."
    if first and last and last < first:
        errors["last_on"] = "The last day lies before the first."
    elif first and last and (last - first).days >= SPAN_DAYS_MAX:
        errors["last_on"] = f"An entry covers at most {SPAN_DAYS_MAX:,} days."
    currency = (typed.currency.strip() or workspace.currency).upper()
    spent = Money(0, currency)
    if not money.is_currency(currency):
        errors["currency"] = "A currency is an ISO 4217 code, like EUR."
    else:
        try:
            spent = money.parse(typed.amount.strip(), currency)
        except ValueError as refusal:
            errors["amount"] = str(refusal)
    source, code, link_id = typed.source.strip(), typed.link.strip(), None
    if source and code:
        errors["link"] = "It belongs to a source or to a link, not to both."
    elif source and (message := text_refusal("A source", source, needed=False)):
        errors["source"] = message
    elif code:
        link_id = _link_id(session, campaign, code)
        if link_id is None:
            errors["link"] = f"The campaign has no link “{code[:64]}”."
    counts = {field: _count(getattr(typed, field)) for field in ("impressions", "clicks")}
    for field, n in counts.items():
        if n is not None and not 0 <= n <= COUNT_MAX:
            errors[field] = "A whole number, or nothing."
    if errors or first is None or last is None:
        raise Invalid(errors)
    return Entry(campaign.id, first, last, spent, source or None, link_id, **counts)


def _count(text: str) -> int | None:
    """What was typed, -1 for what is no number."""
    text = text.strip()
    if not text:
        return None
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else -1


def _link_id(session: Session, campaign: Campaign, code: str) -> int | None:
    if not code.isprintable():
        return None
    return session.scalar(select(Link.id).where(Link.campaign_id == campaign.id, Link.code == code))


def put(session: Session, workspace: Workspace, entries: Sequence[Entry], *, origin: str, now: datetime) -> Stored:
    """Stores entries, each in the place of one of the same scope, days and origin, and commits: all or none.

    Raises Invalid for too many, and where two of them have the same place.
    """
    if len(entries) > AT_ONCE_MAX:
        raise Invalid({"costs": f"At most {AT_ONCE_MAX:,} entries at once."})
    by_key = {entry.key: entry for entry in entries}
    if len(by_key) < len(entries):
        raise Invalid({"costs": "Two entries are of the same scope and days; make one of them."})
    known = _known(session, by_key, origin)
    changed = [entry for key, entry in by_key.items() if key not in known or _differs(known[key], entry)]
    if changed:
        insert = insert_into(session.get_bind().dialect.name, Cost)
        key = ["campaign_id", "scope", "first_on", "last_on", "origin"]
        rows = [_row(workspace, entry, origin, now) for entry in changed]
        values = {name: insert.excluded[name] for name in rows[0] if name not in (*key, "workspace_id")}
        session.connection().execute(insert.on_conflict_do_update(index_elements=key, set_=values), rows)
        before = {key: Money(row.minor, row.currency) for key, row in known.items()}
        _record(session, workspace, origin, [(entry, before.get(entry.key), entry.spent) for entry in changed])
    session.commit()
    replaced = sum(entry.key in known for entry in changed)
    return Stored(len(changed) - replaced, replaced, len(by_key) - len(changed))


def foreseen(session: Session, entries: Sequence[Entry], origin: str) -> dict[Key, Money]:
    """What the places of entries hold by now: those that would be replaced, by their key."""
    keys = {entry.key: entry for entry in entries}
    return {key: Money(row.minor, row.currency) for key, row in _known(session, keys, origin).items()}


def _known(session: Session, entries: Mapping[Key, Entry], origin: str) -> dict[Key, Any]:
    columns = (Cost.campaign_id, Cost.scope, Cost.first_on, Cost.last_on)
    query = select(*columns, Cost.minor, Cost.currency, Cost.impressions, Cost.clicks).where(Cost.origin == origin)
    found: dict[Key, Any] = {}
    keys = list(entries)
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = tuple_(*columns).in_(keys[start : start + _KEYS_AT_ONCE])
        for row in session.execute(query.where(some)):
            found[row.campaign_id, row.scope, row.first_on, row.last_on] = row
    return found


def _differs(row: Any, entry: Entry) -> bool:
    return tuple(row[4:]) != (entry.spent.minor, entry.spent.currency, entry.impressions, entry.clicks)


def _row(workspace: Workspace, entry: Entry, origin: str, now: datetime) -> dict[str, Any]:
    return {
        "workspace_id": workspace.id,
        "campaign_id": entry.campaign_id,
        "link_id": entry.link_id,
        "source": entry.source,
        "scope": entry.scope,
        "first_on": entry.first_on,
        "last_on": entry.last_on,
        "minor": entry.spent.minor,
        "currency": entry.spent.currency,
        "origin": origin,
        "impressions": entry.impressions,
        "clicks": entry.clicks,
        "updated_at": now,
    }


def edit(session: Session, workspace: Workspace, cost: Cost, entry: Entry, *, now: datetime) -> None:
    """Puts another entry in the place of one, whatever its days, and commits; its origin stays.

    Raises Taken where those days have an entry of their own.
    """
    if entry.key != (cost.campaign_id, cost.scope, cost.first_on, cost.last_on):
        if _known(session, {entry.key: entry}, cost.origin):
            raise Taken({"first_on": "These days have an entry of this scope already; change that one."})
        _record(session, workspace, cost.origin, [(as_entry(cost), cost.money, None)])
        session.delete(cost)
        session.flush()
    put(session, workspace, [entry], origin=cost.origin, now=now)


def remove(session: Session, workspace: Workspace, cost: Cost) -> None:
    """Deletes an entry and commits."""
    _record(session, workspace, cost.origin, [(as_entry(cost), cost.money, None)])
    session.execute(delete(Cost).where(Cost.id == cost.id))
    session.commit()


def as_entry(cost: Cost) -> Entry:
    return Entry(
        cost.campaign_id,
        cost.first_on,
        cost.last_on,
        cost.money,
        cost.source,
        cost.link_id,
        cost.impressions,
        cost.clicks,
    )


def find(session: Session, campaign: Campaign, cost_id: int) -> Cost:
    """Raises NotFound."""
    found = session.scalar(select(Cost).where(Cost.campaign_id == campaign.id, Cost.id == cost_id))
    if found is None:
        raise NotFound("There is no such cost.")
    return found


def listed(session: Session, campaign: Campaign, *, before_id: int | None, limit: int) -> list[Cost]:
    """Entries of a campaign, those stored last first."""
    query = select(Cost).where(Cost.campaign_id == campaign.id).order_by(Cost.id.desc()).limit(limit)
    return list(session.scalars(query if before_id is None else query.where(Cost.id < before_id)))


def codes(session: Session, costs: Iterable[Cost]) -> dict[int, str]:
    """The short codes of the links that costs belong to."""
    ids = sorted({cost.link_id for cost in costs if cost.link_id is not None})
    return {found.id: found.code for found in session.scalars(select(Link).where(Link.id.in_(ids)))} if ids else {}


def by_month(session: Session, campaign: Campaign) -> list[tuple[date, list[Money]]]:
    """What every month cost, the latest first, spans cut where months end."""
    columns = (Cost.first_on, Cost.last_on, Cost.currency)
    query = select(*columns, func.sum(Cost.minor)).where(Cost.campaign_id == campaign.id)
    # Of a span that several entries cover, each is spread for itself.
    sums: dict[date, dict[str, int]] = {}
    for first, last, currency, minor in session.execute(query.group_by(Cost.id, *columns)):
        start = first.replace(day=1)
        while start <= last:
            after = (start + timedelta(days=32)).replace(day=1)
            own = sums.setdefault(start, {})
            own[currency] = own.get(currency, 0) + part(int(minor), first, last, start, after - timedelta(days=1))
            start = after
    return [
        (month, [Money(minor, currency) for currency, minor in sorted(own.items())])
        for month, own in sorted(sums.items(), reverse=True)
    ]


def doubts(session: Session, campaign: Campaign) -> list[Doubt]:
    """Where entries of one scope share days: from different origins, or spans that overlap."""
    query = (
        select(Cost.scope, Cost.first_on, Cost.last_on, Cost.origin)
        .where(Cost.campaign_id == campaign.id)
        .order_by(Cost.id.desc())
        .limit(LOOKED_AT_MAX)
    )
    return overlaps((scope, first, last, origin) for scope, first, last, origin in session.execute(query))


def overlaps(spans: Iterable[tuple[str, date, date, str]]) -> list[Doubt]:
    """Doubts among spans of scope, first day, last day and origin, the latest first."""
    found: dict[tuple[str, tuple[str, str]], list[tuple[date, date]]] = {}
    latest: dict[str, dict[str, date]] = {}
    for scope, first, last, origin in sorted(spans):
        # By origin the last day so far: whatever begins before it shares days with it.
        for other, until in latest.setdefault(scope, {}).items():
            if first <= until:
                pair = (min(origin, other), max(origin, other))
                found.setdefault((scope, pair), []).append((first, min(last, until)))
        latest[scope][origin] = max(last, latest[scope].get(origin, date.min))
    doubts = []
    for (scope, pair), shared in found.items():
        days, reached = 0, date.min
        for first, last in shared:
            start = max(first, reached + timedelta(days=1)) if reached > date.min else first
            days += max((last - start).days + 1, 0)
            reached = max(reached, last)
        doubts.append(Doubt(scope, pair, shared[0][0], reached, days))
    return sorted(doubts, key=lambda doubt: (doubt.last, doubt.scope), reverse=True)


def _record(
    session: Session, workspace: Workspace, origin: str, told: Sequence[tuple[Entry, Money | None, Money | None]]
) -> None:
    """Tells the change log of entries, each with what it was and what it became: one change of each campaign."""
    by_campaign: dict[int, list[tuple[Entry, Money | None, Money | None]]] = {}
    for each in told:
        by_campaign.setdefault(each[0].campaign_id, []).append(each)
    for campaign_id, some in by_campaign.items():
        fields = [(_name(entry, origin), _amount(was), _amount(is_now)) for entry, was, is_now in some[:TOLD_MAX]]
        if len(some) > TOLD_MAX:
            fields.append((f"{len(some) - TOLD_MAX:,} more", None, None))
        changelog.record(session, workspace_id=workspace.id, kind="cost", campaign_id=campaign_id, fields=fields)


def _name(entry: Entry, origin: str) -> str:
    until = f" to {entry.last_on}" if entry.last_on != entry.first_on else ""
    return f"{entry.first_on}{until}, {entry.scope or 'whole campaign'}, {origin}"


def _amount(spent: Money | None) -> str | None:
    return f"{spent.amount} {spent.currency}" if spent else None
