"""Costs as advertising networks export them: files of Google Ads, Meta and Microsoft, and a plain one of our own.

A file is read and held against the campaigns first. What would be stored, replaced or left out is a Plan, which changes
nothing; `store` carries it out, all of it or none.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import IO, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import costs, days, money, sheets
from tracker.costs import Entry, Stored
from tracker.destinations import text_refusal
from tracker.errors import Invalid, NotFound
from tracker.models import Campaign, Link, Workspace
from tracker.money import MINOR_MAX, Money

FOLDER = "cost-imports"
BYTES_MAX = 10_000_000
ROWS_MAX = 50_000
WAITING_MAX = 20  # files of one workspace
KEPT_S = 86_400
HEADER_WITHIN = 30  # rows; titles and time ranges stand above it
FAULTS_MAX = 100
CAMPAIGNS_MAX = 20_000  # the newest, among which a name is looked for
_NAME = re.compile(r"w(\d{1,19})-(\d{13})-([0-9a-f]{6})")
_DELIMITERS = (",", ";", "\t")

CAMPAIGN, DAY, FIRST, LAST, AMOUNT, MICROS, CURRENCY = [
    "campaign",
    "day",
    "first",
    "last",
    "amount",
    "micros",
    "currency",
]
SOURCE, LINK, IMPRESSIONS, CLICKS = ["source", "link", "impressions", "clicks"]


class Format(NamedTuple):
    """What tells a file: how its columns are called, in lower case, the first of each being looked for first."""

    origin: str
    title: str
    columns: Mapping[str, tuple[str, ...]]


_DAYS = ("day", "date", "tag", "datum")
_SEEN = ("impr.", "impressions", "impressionen")
_CODES = ("currency code", "currency", "währungscode", "währung")
# Names as the networks' exports in English and German have them. A bracketed currency is cut off before.
FORMATS = (
    Format(
        "meta",
        "Meta Ads Manager",
        {
            CAMPAIGN: ("campaign name", "kampagnenname", "name der kampagne"),
            DAY: _DAYS,
            FIRST: ("reporting starts", "berichtsstart", "auswertungsstart", "beginn der berichterstattung"),
            LAST: ("reporting ends", "berichtsende", "auswertungsende", "ende der berichterstattung"),
            AMOUNT: ("amount spent", "ausgegebener betrag"),
            CURRENCY: _CODES,
            IMPRESSIONS: _SEEN,
            CLICKS: ("link clicks", "link-klicks", "linkklicks", "clicks (all)", "klicks (alle)"),
        },
    ),
    Format(
        "microsoft",
        "Microsoft Advertising",
        {
            CAMPAIGN: ("campaign name", "campaign", "kampagnenname", "kampagne"),
            DAY: ("gregorian date", "time period", "gregorianisches datum", "zeitraum", *_DAYS),
            AMOUNT: ("spend", "ausgaben"),
            CURRENCY: _CODES,
            IMPRESSIONS: _SEEN,
            CLICKS: ("clicks", "klicks"),
        },
    ),
    Format(
        "google",
        "Google Ads",
        {
            CAMPAIGN: ("campaign", "campaign name", "kampagne"),
            DAY: _DAYS,
            AMOUNT: ("cost", "kosten"),
            MICROS: ("cost (micros)", "cost_micros", "metrics.cost_micros"),
            CURRENCY: _CODES,
            IMPRESSIONS: _SEEN,
            CLICKS: ("clicks", "klicks"),
        },
    ),
    Format(
        "csv",
        "plain file",
        {
            CAMPAIGN: ("campaign",),
            DAY: ("day",),
            FIRST: ("from",),
            LAST: ("to",),
            AMOUNT: ("amount",),
            CURRENCY: ("currency",),
            SOURCE: ("source",),
            LINK: ("link",),
            IMPRESSIONS: ("impressions",),
            CLICKS: ("clicks",),
        },
    ),
)
_GERMAN = frozenset(
    {"tag", "datum", "kosten", "ausgaben", "ausgegebener betrag", "kampagne", "kampagnenname", "gregorianisches datum"}
)
_BRACKETED = re.compile(r"(.+?) ?\(([A-Z]{3})\)")
_TOTALS = ("total", "gesamt", "overall total", "summe", "gesamtsumme")
_NOTHING = ("", "-", "--", "–", "—")
_ISO = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_NUMBER = re.compile(r"-?[0-9][0-9.,]*")
_AROUND = re.compile(r"[\s'’\u00a0\u202f€$£¥]|^[A-Z]{3}|[A-Z]{3}$")


class Fault(NamedTuple):
    """A row that cannot be read, and why."""

    row: int
    reason: str


class Line(NamedTuple):
    """A row of costs; `campaign` as the file calls it, `link` a short code."""

    row: int
    campaign: str
    first: date
    last: date
    amount: Decimal
    currency: str
    source: str
    link: str
    impressions: int | None
    clicks: int | None


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a file says. `asks_order`: its dates are like 11/7/2026 and none tells whether the day comes first."""

    format: Format
    lines: list[Line]
    faults: list[Fault]
    skipped: int
    asks_order: bool
    has_currency: bool


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


def read(content: bytes, currency: str, *, day_first: bool | None = None) -> Sheet:
    """The rows of an export, by its header. Amounts without a currency are in `currency`.

    `day_first` says how dates like 11/7/2026 are meant, where nothing in the file does. Raises Invalid for a file that
    is no export known here.
    """
    text = sheets.text_of(content)
    found, delimiter, above, names, own = _header(text)
    rows = [(number, cells) for number, cells in sheets.rows_of(text, delimiter) if number > above and any(cells)]
    if len(rows) > ROWS_MAX:
        raise Invalid({"file": f"At most {ROWS_MAX:,} rows; cut the file in two."})
    place = _places(found, names)
    is_german = delimiter == ";" or bool(_GERMAN & set(names))
    tables = [
        (number, {name: cells[at] if at < len(cells) else "" for name, at in place.items()}, cells)
        for number, cells in rows
    ]
    kept = [(number, cells) for number, cells, whole in tables if not _is_total(found, cells, whole)]
    mark = _mark((cells.get(AMOUNT, "") for _, cells in kept), "," if is_german else ".")
    order = _order(cells[name] for _, cells in kept for name in (DAY, FIRST, LAST) if name in cells)
    reading = _Reading(mark, order if order is not None else day_first, own or currency)
    lines, faults = [], []
    for number, cells in kept:
        try:
            lines.append(reading.line(number, cells))
        except ValueError as error:
            faults.append(Fault(number, str(error)))
    return Sheet(
        found,
        lines,
        faults[:FAULTS_MAX],
        len(tables) - len(kept),
        reading.asks_order,
        CURRENCY in place or own is not None,
    )


def _header(text: str) -> tuple[Format, str, int, list[str], str | None]:
    """The format, what parts cells, the header's row, its cells, and the currency that it names. Raises Invalid."""
    without_day = None
    for delimiter in _DELIMITERS:
        for number, cells in sheets.rows_of(text, delimiter):
            if number > HEADER_WITHIN:
                break
            bracketed = [_BRACKETED.fullmatch(cell) for cell in cells]
            names = [
                (match[1] if match and money.is_currency(match[2]) else cell).lower()
                for cell, match in zip(cells, bracketed, strict=True)
            ]
            for found in FORMATS:
                place = _places(found, names)
                if CAMPAIGN not in place or not {AMOUNT, MICROS} & set(place):
                    continue
                if {DAY, FIRST} & set(place):
                    paid_in = bracketed[place[AMOUNT]] if AMOUNT in place else None
                    return found, delimiter, number, names, paid_in[2] if paid_in else None
                without_day = without_day or found
    if without_day:
        raise Invalid({"file": f"This looks like an export of {without_day.title}, but has no day: add that column."})
    raise Invalid({"file": "No export of Google Ads, Meta Ads Manager or Microsoft Advertising, nor our own columns."})


def _places(found: Format, names: Sequence[str]) -> dict[str, int]:
    place = {}
    for name, candidates in found.columns.items():
        at = next((names.index(candidate) for candidate in candidates if candidate in names), None)
        if at is not None:
            place[name] = at
    return place


def _is_total(found: Format, cells: Mapping[str, str], whole: Sequence[str]) -> bool:
    """Sums, and what stands below the table: rows without a day that say so, or without a campaign."""
    filled = [cell for cell in whole if cell]
    if any(cells.get(name, "") not in _NOTHING for name in (DAY, FIRST)):
        # Meta's first row sums up all campaigns, and has the days of the report.
        return found.origin == "meta" and not cells[CAMPAIGN]
    first = filled[0].lower()
    return len(filled) == 1 or first.startswith(("©", *_TOTALS)) or cells[CAMPAIGN].lower().startswith(_TOTALS)


def _mark(amounts: Iterable[str], default: str) -> str:
    """What parts euros from cents, told by those amounts of a file that can only be read one way."""
    votes: Counter[str] = Counter()
    for text in amounts:
        number = _AROUND.sub("", text)
        marks = [mark for mark in number if mark in ".,"]
        if len(set(marks)) == 2:
            votes[marks[-1]] += 1
        elif len(marks) > 1:
            votes["." if marks[0] == "," else ","] += 1
        elif marks:
            before, _, after = number.lstrip("-").partition(marks[0])
            if len(after) != 3 or len(before) > 3 or before.startswith("0"):
                votes[marks[0]] += 1
    if len(votes) > 1:
        raise Invalid({"file": "Some amounts have a point before their cents and some a comma; export it anew."})
    return next(iter(votes), default)


def _order(dates: Iterable[str]) -> bool | None:
    """Whether the day comes first in dates like 25/11/2026; `None` where none of them tells."""
    for text in dates:
        if match := _SLASHED.fullmatch(text):
            if int(match[1]) > 12:
                return True
            if int(match[2]) > 12:
                return False
    return None


class _Reading:
    """How the cells of one file are read."""

    def __init__(self, mark: str, day_first: bool | None, currency: str) -> None:
        self._mark, self._day_first, self._currency = mark, day_first, currency
        self.asks_order = False

    def line(self, row: int, cells: Mapping[str, str]) -> Line:
        """Raises ValueError with a sentence."""
        name = cells[CAMPAIGN]
        if not name:
            raise ValueError("There is no campaign in this row.")
        day = cells.get(DAY, "")
        first = self._day(day if day not in _NOTHING else cells.get(FIRST, ""))
        last = first if day not in _NOTHING or not cells.get(LAST) else self._day(cells[LAST])
        if last < first or (last - first).days >= costs.SPAN_DAYS_MAX:
            raise ValueError(f"A span runs from its first day to its last, over at most {costs.SPAN_DAYS_MAX:,} days.")
        currency = cells.get(CURRENCY, "").upper()
        currency = self._currency if currency in _NOTHING else currency
        if not money.is_currency(currency):
            raise ValueError(f"“{currency[:20]}” is no currency, as EUR is one.")
        source, link = cells.get(SOURCE, ""), cells.get(LINK, "")
        if source and link:
            raise ValueError("It belongs to a source or to a link, not to both.")
        if source and (refusal := text_refusal("A source", source, needed=False)):
            raise ValueError(refusal)
        return Line(
            row,
            name,
            first,
            last,
            self._amount(cells),
            currency,
            source,
            link,
            _whole(cells.get(IMPRESSIONS, "")),
            _whole(cells.get(CLICKS, "")),
        )

    def _day(self, text: str) -> date:
        match = _SLASHED.fullmatch(text)
        if match and self._day_first is None:
            self.asks_order = True
        if match:
            day, month = (match[1], match[2]) if self._day_first else (match[2], match[1])
            numbers = match[3], month, day
        elif match := _ISO.fullmatch(text):
            numbers = match[1], match[2], match[3]
        elif match := _DOTTED.fullmatch(text):
            numbers = match[3], match[2], match[1]
        else:
            raise ValueError(f"“{text[:40]}” is no day, like 2026-11-07.")
        try:
            found = date(*map(int, numbers))
        except ValueError:
            raise ValueError(f"There is no day “{text}”.") from None
        if not costs.FIRST_DAY <= found <= costs.LAST_DAY:
            raise ValueError(f"A day lies between {costs.FIRST_DAY} and {costs.LAST_DAY}.")
        return found

    def _amount(self, cells: Mapping[str, str]) -> Decimal:
        if cells.get(AMOUNT) is None:
            millionths = cells[MICROS]
            if not re.fullmatch(r"-?[0-9]{1,24}", millionths):
                raise ValueError(f"“{millionths[:40]}” is no number of millionths.")
            return Decimal(millionths).scaleb(-6)
        text = cells[AMOUNT]
        if text in _NOTHING:
            return Decimal(0)
        number = _AROUND.sub("", text).replace("\u2212", "-")
        whole, _, parts = number.partition(self._mark)
        other = "," if self._mark == "." else "."
        grouped = whole.lstrip("-").split(other)
        sound = _NUMBER.fullmatch(number) and not parts.strip("0123456789") and len(parts) <= 8 and len(whole) <= 20
        if not sound or (len(grouped) > 1 and any(len(group) != 3 for group in grouped[1:])):
            raise ValueError(f"“{text[:40]}” is no amount.")
        return Decimal(f"{whole.replace(other, '')}.{parts or 0}")


def _whole(text: str) -> int | None:
    """A count; what is none is left out, for it decides nothing."""
    digits = re.sub(r"[.,'’\s\u00a0\u202f](?=\d{3})", "", text)
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 13 else None


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
            self._links[campaign.id] = {code: link_id for code, link_id in self._session.execute(query)}
        return self._links[campaign.id].get(code)


def store(session: Session, workspace: Workspace, found: Plan, *, who: str, now: datetime) -> Stored:
    """Carries out a plan and commits. Raises Invalid for one with faults, of which nothing is stored."""
    if not found.may_be_stored:
        raise Invalid({"file": "Nothing of this file can be stored as it is."})
    entries = [each.entry for each in found.planned]
    return costs.put(session, workspace, entries, origin=found.sheet.format.origin, who=who, now=now)


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
