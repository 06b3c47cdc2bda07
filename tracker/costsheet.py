"""Files of costs as advertising networks export them: Google Ads, Meta, Microsoft, and a plain one of our own.

Titles above the table, sums and what stands below it are passed over. What parts cents and in which order days are
written is told by those cells of a file that can only be read one way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from tracker import money, sheets
from tracker.costs import SPAN_DAYS_MAX
from tracker.destinations import text_refusal
from tracker.errors import Invalid
from tracker.rates import FIRST_DAY, LAST_DAY

ROWS_MAX = 50_000
HEADER_WITHIN = 30  # rows; titles and time ranges stand above it
FAULTS_MAX = 100
_DELIMITERS = (",", ";", "\t")

CAMPAIGN, DAY, FIRST, LAST, SOURCE, LINK = ("campaign", "day", "first", "last", "source", "link")
AMOUNT, MICROS, CURRENCY, IMPRESSIONS, CLICKS = ("amount", "micros", "currency", "impressions", "clicks")


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
    day = next((cells[name] for name in (DAY, FIRST) if cells.get(name, "") not in _NOTHING), "")
    if day[:1].isdecimal():
        # Meta's first row sums up all campaigns, and has the days of the report.
        return found.origin == "meta" and not cells[CAMPAIGN]
    told = (filled[0].lower(), cells[CAMPAIGN].lower(), day.lower())
    return len(filled) == 1 or any(text.startswith(("©", *_TOTALS)) for text in told)


def _mark(amounts: Iterable[str], default: str) -> str:
    """What parts euros from cents, told by those amounts of a file that can only be read one way."""
    votes: Counter[str] = Counter()
    for text in amounts:
        number = _AROUND.sub("", text)
        marks = [mark for mark in number if mark in ".,"]
        if len(set(marks)) == 2:
            votes[marks[-1]] += 1
        elif len(marks) > 1:
            # Twice the same can only part thousands, if it is a number at all.
            if all(len(group) == 3 for group in number.split(marks[0])[1:]):
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
        if last < first or (last - first).days >= SPAN_DAYS_MAX:
            raise ValueError(f"A span runs from its first day to its last, over at most {SPAN_DAYS_MAX:,} days.")
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
        if not FIRST_DAY <= found <= LAST_DAY:
            raise ValueError(f"A day lies between {FIRST_DAY} and {LAST_DAY}.")
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
