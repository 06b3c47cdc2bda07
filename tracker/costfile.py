"""What would become of a file of costs, held against the campaigns, and carrying it out: all of it or none.

A Plan says what would be stored, replaced or left out, and changes nothing.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import IO, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import costs, days, money
from tracker.costs import Entry, Stored
from tracker.costsheet import FAULTS_MAX, Fault, Line, Sheet
from tracker.destinations import text_refusal
from tracker.errors import Invalid, NotFound
from tracker.models import Campaign, Link, Workspace
from tracker.money import MINOR_MAX, Money

FOLDER = "cost-imports"
BYTES_MAX = 10_000_000
WAITING_MAX = 20  # files of one workspace
KEPT_S = 86_400
CAMPAIGNS_MAX = 20_000  # the newest, among which a name is looked for
_NAME = re.compile(r"w(\d{1,19})-(\d{13})-([0-9a-f]{6})")


class Unmatched(NamedTuple):
    """Rows whose campaign is not known here, or may be several."""

    name: str
    rows: Sequence[int]
    sums: Sequence[Money]
    reason: str


class Planned(NamedTuple):
    """An entry that would be stored, and what stands in its place now."""

    entry: Entry
    campaign: Campaign
    before: Money | None

    @property
    def changes(self) -> bool:
        return self.before != self.entry.spent


@dataclass(frozen=True, slots=True)
class Plan:
    """What would become of a file. With faults, nothing."""

    sheet: Sheet
    planned: list[Planned] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    unmatched: list[Unmatched] = field(default_factory=list)

    @property
    def may_be_stored(self) -> bool:
        return bool(self.planned) and not self.faults and not self.sheet.asks_order

    @property
    def counts(self) -> Counter[str]:
        """How many entries are `new`, `replaced` and `unchanged`."""
        return Counter(
            "new" if each.before is None else "replaced" if each.changes else "unchanged" for each in self.planned
        )

    @property
    def sums(self) -> list[Money]:
        return _sums(each.entry.spent for each in self.planned)


def _sums(amounts: Iterable[Money]) -> list[Money]:
    found: Counter[str] = Counter()
    for amount in amounts:
        found[amount.currency] += amount.minor
    return [Money(minor, currency) for currency, minor in sorted(found.items())]


def plan(
    session: Session,
    workspace: Workspace,
    sheet: Sheet,
    *,
    source: str = "",
    choices: Mapping[str, str] | None = None,
) -> Plan:
    """What would become of a sheet. `choices` say by slug which campaign a name in the file means.

    Rows that name no source or link of their own belong to `source`, or without one to their whole campaign. Raises
    Invalid for a source that cannot be one.
    """
    source = source.strip()
    if source and (refusal := text_refusal("A source", source, needed=False)):
        raise Invalid({"source": refusal})
    matching = _Matching(session, workspace, choices or {})
    faults = list(sheet.faults)
    unmatched: dict[str, list[Line]] = {}
    sums: dict[costs.Key, list[Line]] = {}
    of: dict[costs.Key, tuple[str | None, int | None]] = {}
    for line in sheet.lines:
        campaign = matching.campaign(line.campaign)
        if campaign is None:
            unmatched.setdefault(line.campaign, []).append(line)
            continue
        link_id = matching.link_id(campaign, line.link) if line.link else None
        if line.link and link_id is None:
            faults.append(Fault(line.row, f"The campaign has no link “{line.link[:64]}”."))
            continue
        own = line.source or ("" if link_id is not None else source) or None
        key = (campaign.id, costs.scope_of(own, link_id), line.first, line.last)
        sums.setdefault(key, []).append(line)
        of[key] = own, link_id
    entries = []
    for key, lines in sums.items():
        try:
            entries.append(_entry(key, lines, *of[key]))
        except ValueError as error:
            faults.append(Fault(lines[-1].row, str(error)))
    if len(entries) > costs.AT_ONCE_MAX:
        raise Invalid({"file": f"At most {costs.AT_ONCE_MAX:,} days of campaigns at once; cut the file in two."})
    before = costs.foreseen(session, entries, sheet.format.origin)
    planned = [Planned(entry, matching.of_id[entry.campaign_id], before.get(entry.key)) for entry in entries]
    planned.sort(key=lambda each: (each.campaign.name, each.entry.first_on, each.entry.scope))
    return Plan(
        sheet,
        planned,
        sorted(faults)[:FAULTS_MAX],
        [
            Unmatched(name, [line.row for line in lines], _told(lines), matching.reason(name))
            for name, lines in unmatched.items()
        ],
    )


def _told(lines: Sequence[Line]) -> list[Money]:
    return _sums(Money(_minor(line.amount, line.currency), line.currency) for line in lines)


def _minor(amount: Decimal, currency: str) -> int:
    return int(amount.scaleb(money.exponent(currency)).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def _entry(key: costs.Key, lines: Sequence[Line], source: str | None, link_id: int | None) -> Entry:
    """Rows of one campaign and day as one entry, rounded once to minor units. Raises ValueError."""
    currencies = sorted({line.currency for line in lines})
    if len(currencies) > 1:
        raise ValueError(f"One campaign has amounts in {' and '.join(currencies)} on the same day.")
    spent = Money(_minor(sum((line.amount for line in lines), Decimal(0)), currencies[0]), currencies[0])
    if abs(spent.minor) > MINOR_MAX:
        raise ValueError(f"An amount is at most {Money(MINOR_MAX, spent.currency).amount} {spent.currency}.")
    seen = [line.impressions for line in lines if line.impressions is not None]
    clicked = [line.clicks for line in lines if line.clicks is not None]
    counts = sum(seen) if seen else None, sum(clicked) if clicked else None
    return Entry(key[0], key[2], key[3], spent, source, link_id, *counts)


class _Matching:
    """Finds the campaign that a name means: by `utm_campaign`, name or slug, in any case of letters."""

    def __init__(self, session: Session, workspace: Workspace, choices: Mapping[str, str]) -> None:
        self._session = session
        query = select(Campaign).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id.desc())
        self.of_id = {each.id: each for each in session.scalars(query.limit(CAMPAIGNS_MAX))}
        by_slug = {each.slug: each for each in self.of_id.values()}
        self._chosen = {name: by_slug[slug] for name, slug in choices.items() if slug in by_slug}
        self._exact = {each.utm_campaign: each for each in self.of_id.values()}
        self._loose: dict[str, set[int]] = {}
        for each in self.of_id.values():
            for name in (each.utm_campaign, each.name, each.slug):
                self._loose.setdefault(name.strip().casefold(), set()).add(each.id)
        self._links: dict[int, dict[str, int]] = {}

    def campaign(self, name: str) -> Campaign | None:
        found = self._chosen.get(name) or self._exact.get(name)
        if found is None and len(ids := self._loose.get(name.casefold(), ())) == 1:
            found = self.of_id[next(iter(ids))]
        return found

    def reason(self, name: str) -> str:
        several = sorted(self.of_id[each].slug for each in self._loose.get(name.casefold(), ()))
        return f"It may be {', '.join(several[:5])}." if several else "No campaign is called so."

    def link_id(self, campaign: Campaign, code: str) -> int | None:
        if campaign.id not in self._links:
            query = select(Link.code, Link.id).where(Link.campaign_id == campaign.id)
            self._links[campaign.id] = {row.code: row.id for row in self._session.execute(query)}
        return self._links[campaign.id].get(code)


def store(session: Session, workspace: Workspace, found: Plan, now: datetime) -> Stored:
    """Carries out a plan and commits. Raises Invalid for one with faults, of which nothing is stored."""
    if not found.may_be_stored:
        raise Invalid({"file": "Nothing of this file can be stored as it is."})
    entries = [each.entry for each in found.planned]
    return costs.put(session, workspace, entries, origin=found.sheet.format.origin, now=now)


class Upload(NamedTuple):
    """A file that waits to be looked at."""

    name: str
    path: Path

    def content(self) -> bytes:
        return self.path.read_bytes()

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)


def keep(data_dir: Path, workspace: Workspace, file: IO[bytes], now: datetime) -> Upload:
    """Keeps an uploaded file for a day. Raises Invalid for one that is too large, and for one too many."""
    folder = data_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    for path in _waiting(folder):
        if days.to_ms(now) - int(path.stem.split("-")[1]) > KEPT_S * 1000:
            path.unlink(missing_ok=True)
    if sum(path.name.startswith(f"w{workspace.id}-") for path in _waiting(folder)) >= WAITING_MAX:
        raise Invalid({"file": f"{WAITING_MAX} files wait already; each is kept for a day."})
    content = file.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise Invalid({"file": f"A file has at most {BYTES_MAX:,} bytes; cut it in two."})
    name = f"w{workspace.id}-{days.to_ms(now)}-{secrets.token_hex(3)}"
    upload = Upload(name, folder / f"{name}.csv")
    upload.path.touch(mode=0o600)
    upload.path.write_bytes(content)
    return upload


def _waiting(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*.csv") if _NAME.fullmatch(path.stem))


def find(data_dir: Path, workspace: Workspace, name: str) -> Upload:
    """A file that waits, by its name. Raises NotFound."""
    match = _NAME.fullmatch(name)
    path = data_dir / FOLDER / f"{name}.csv"
    if match is None or int(match[1]) != workspace.id or not path.is_file():
        raise NotFound("There is no such file: files are kept for a day, on the machine that took them.")
    return Upload(name, path)
