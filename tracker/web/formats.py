"""How values are written on a page: numbers, rates, money and instants, in the reader's way of writing them."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_interval, format_skeleton, format_timedelta
from babel.numbers import format_currency, format_decimal
from babel.units import format_unit
from flask import Flask, g, has_request_context, request

from tracker import clickcost, days
from tracker.models import Workspace
from tracker.money import Money, Price
from tracker.reports.campaign import Period
from tracker.reports.comparison import Difference
from tracker.reports.metrics import Rate
from tracker.web import words


class ReaderLocale(Locale):
    """One object for each language tag: what is remembered by it is found without comparing parts, a thousand times a
    page.
    """

    __hash__ = object.__hash__
    __eq__ = object.__eq__


ENGLISH = ReaderLocale("en")
MISSING = "–"
MINUS = "−"
LANGUAGES_READ_MAX = 5
JUST_NOW_S = 5
SMALL_RATE = 0.01
NUMBERS_TRIED = (1000, 9999, 10_000, 123_456, 1_234_567, 12_345_678_901, -1000, -1_234_567)
SMALL_POINTS = 0.001
SHORT_MAX = 80  # characters of an address

_number_locale: ContextVar[Locale | None] = ContextVar("number_locale", default=None)


@lru_cache(maxsize=512)
def _locale_of(tag: str) -> Locale | None:
    try:
        return ReaderLocale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return None


def number_locale() -> Locale:
    """The first of the browser's languages that is known: digits are grouped its way. Found once for each request."""
    # A variable of our own, not one of Flask's: a page asks for it a thousand times.
    found = _number_locale.get()
    if found is not None:
        return found
    if not has_request_context():
        return ENGLISH
    tags = list(request.accept_languages.values())[:LANGUAGES_READ_MAX]
    found = next(filter(None, map(_locale_of, tags)), ENGLISH)
    _number_locale.set(found)
    return found


def _forget_locale(_: BaseException | None = None) -> None:
    _number_locale.set(None)


def date_locale() -> Locale:
    """Dates carry words, and the pages are in English: the reader's English, else the one that puts the day first."""
    found = number_locale()
    return found if found.language == "en" and found.territory else Locale("en", "GB")


def zone() -> ZoneInfo:
    workspace = g.get("workspace")
    return ZoneInfo(workspace.timezone if isinstance(workspace, Workspace) else "UTC")


@lru_cache(maxsize=4096)
def _decimal(value: float | Decimal, pattern: str, locale: Locale) -> str:
    """Remembered, because a page says the same few figures often and writing one costs a tenth of a millisecond."""
    return format_decimal(value, format=pattern, locale=locale)


@lru_cache(maxsize=512)
def _mark(locale: Locale) -> str | None:
    """What a language puts between thousands, if it does nothing else to a number."""
    mark = format_decimal(1234567, locale=locale)[1:2]
    plain = all(format_decimal(n, locale=locale) == f"{n:,}".replace(",", mark) for n in NUMBERS_TRIED)
    return mark if plain else None


def number(n: int) -> str:
    if -1000 < n < 1000:
        return str(n)
    locale = number_locale()
    mark = _mark(locale)
    # Babel takes forty times as long, and a page has hundreds.
    return format_decimal(n, locale=locale) if mark is None else f"{n:,}".replace(",", mark)


def _scaled(value: float, digits: int, locale: Locale | None = None) -> str:
    return _decimal(value * 100, "#,##0." + "0" * digits, locale or number_locale())


def scaled(value: float, digits: int) -> str:
    """A fraction in hundredths, without a sign of percent: points."""
    return f"{MINUS if value < 0 else ''}{_scaled(abs(value), digits)}"


def signed_scaled(value: float, digits: int) -> str:
    return f"{_sign(value)}{_scaled(abs(value), digits)}"


def _digits(value: float) -> int:
    return 2 if 0 < abs(value) < SMALL_RATE else 1


def percent(value: float | None) -> str:
    """A fraction as `4.0 %`; small ones get a second place, so that display advertising does not read as 0.3 %."""
    return MISSING if value is None else f"{_scaled(value, _digits(value))} %"


def axis_percent(value: float) -> str:
    """A fraction on an axis: round ones without places, `0.25 %` where they are needed."""
    return f"{_decimal(value * 100, '#,##0.##', number_locale())} %"


def share(value: float) -> str:
    """An estimate, to whole percents."""
    return f"{number(round(value * 100))} %"


def rate(value: Rate) -> str:
    return percent(value.value)


def limits(value: Rate) -> str | None:
    """A rate's 95 % interval as `3.7 – 4.4 %`; None where there is none."""
    return _limits(value, number_locale())


@lru_cache(maxsize=2048)
def _limits(value: Rate, locale: Locale) -> str | None:
    """Remembered, because a template asks for it to see whether there is one, and again to show it."""
    if value.interval is None:
        return None
    low, high = value.interval
    digits = _digits(value.value or high)
    return f"{_scaled(low, digits, locale)} – {_scaled(high, digits, locale)} %"


def signed_number(n: int) -> str:
    return f"{_sign(n)}{number(abs(n))}"


def signed_percent(value: float) -> str:
    """A relative change in whole percent: `+8 %`."""
    rounded = round(value * 100)
    return f"{_sign(rounded)}{number(abs(rounded))} %"


def points(difference: Difference) -> str:
    """A difference of two rates in percentage points: `+0.6 points`."""
    return f"{signed_points(difference.difference)} points"


def signed_points(value: float) -> str:
    """A difference of fractions in percentage points, without the word: `+0.6`; 0 has no sign."""
    digits = 2 if 0 < abs(value) < SMALL_POINTS else 1
    text = _scaled(abs(value), digits)
    return text if not round(abs(value) * 100, digits) else f"{_sign(value)}{text}"


def _sign(value: float) -> str:
    return "+" if value > 0 else MINUS if value < 0 else ""


@lru_cache(maxsize=2048)
def _currency(amount: str, currency: str, locale: Locale) -> str:
    """Remembered by the amount's text: 0.05 and 0.0500 would be the same key, with places that differ."""
    return format_currency(Decimal(amount), currency, locale=locale, decimal_quantization=False)


def money(value: Money) -> str:
    # The currency's own number of places is settled in `amount`; CLDR's would drop the fillér of a forint.
    return _currency(value.amount, value.currency, number_locale())


def click_cost(micros: int, currency: str) -> str:
    """What one click cost, with all of its places."""
    return _currency(clickcost.amount(micros), currency, number_locale())


def price(value: Price) -> str:
    """Money for one of something, rounded for people."""
    return _currency(f"{value.rounded:f}", value.currency, number_locale())


def decimal(value: Decimal) -> str:
    """A number with two places."""
    return _decimal(value, "#,##0.00", number_locale())


def signed_decimal(value: Decimal) -> str:
    return f"{_sign(float(value))}{decimal(abs(value))}"


def signed_money(value: Money) -> str:
    return f"{_sign(value.minor)}{money(Money(abs(value.minor), value.currency))}"


def duration(seconds: float) -> str:
    """A length of time in the largest unit that it has two of."""
    for size_s, name, places in ((86_400, "days", 1), (3_600, "hours", 1), (60, "minutes", None)):
        if seconds >= 2 * size_s:
            return f"{format_decimal(round(seconds / size_s, places), locale=number_locale())} {name}"
    n = round(seconds)
    return f"{number(n)} {words.times(n, 'second', 'seconds')}"


@lru_cache(maxsize=2048)
def _date(skeleton: str, value: date, locale: Locale) -> str:
    """Remembered, for the same few days stand all over a page."""
    return format_skeleton(skeleton, value, locale=locale)


def day(value: date) -> str:
    """`7 Nov`; with the year where it is not this one."""
    skeleton = "MMMd" if value.year == days.today(zone(), days.now()).year else "yMMMd"
    return _date(skeleton, value, date_locale())


def full_day(value: date) -> str:
    return format_date(value, "full", locale=date_locale())


def hour(value: datetime) -> str:
    """The clock's time at the offset the value carries."""
    return value.strftime("%H:%M")


def period(value: Period) -> str:
    """`7–20 Nov`, with the year where it is not this one; a single day in full."""
    if value.first == value.last:
        return day(value.first)
    this_year = days.today(zone(), days.now()).year
    skeleton = "MMMd" if value.first.year == value.last.year == this_year else "yMMMd"
    return format_interval(value.first, value.last, skeleton, locale=date_locale())


def moment(value: datetime | int) -> str:
    """An instant (or milliseconds since 1970) to the second in the workspace's zone."""
    at = days.from_ms(value) if isinstance(value, int) else value
    local = at.astimezone(zone())
    return f"{_date('yMMMd', local.date(), date_locale())}, {local:%H:%M:%S}"


def since(value: datetime) -> str:
    """An instant to the minute in the workspace's zone: `14:05`, with the day where it is not today."""
    local = value.astimezone(zone())
    is_today = local.date() == days.today(zone(), days.now())
    return f"{local:%H:%M}" if is_today else f"{day(local.date())}, {local:%H:%M}"


def weekday(value: date) -> str:
    """`Saturday, 28 Nov`."""
    return f"{format_date(value, 'EEEE', locale=date_locale())}, {day(value)}"


def short(url: str) -> str:
    """An address without its scheme, as a sentence may hold it."""
    text = url.partition("://")[2] or url
    return text if len(text) <= SHORT_MAX else f"{text[: SHORT_MAX - 1]}…"


def iso(value: datetime | int) -> str:
    at = days.from_ms(value) if isinstance(value, int) else value
    return at.isoformat(timespec="seconds")


def ago(value: datetime | int) -> str:
    """How long an instant is past, in words: `3 minutes ago`."""
    at = days.from_ms(value) if isinstance(value, int) else value
    past = days.now() - at
    if past.total_seconds() < JUST_NOW_S:
        return "just now"
    return format_timedelta(-past, add_direction=True, locale=ENGLISH)


def lag(seconds: float) -> str:
    """How far a report is behind, in words."""
    if seconds < 60:
        return f"{format_decimal(round(seconds, 1), locale=number_locale())} s behind"
    if seconds < 7200:
        return f"{number(round(seconds / 60))} min behind"
    return f"{number(round(seconds / 3600))} hours behind"


def size(n_bytes: int) -> str:
    """Bytes, in megabytes or gigabytes of ten."""
    exponent, unit = (9, "digital-gigabyte") if n_bytes >= 10**9 else (6, "digital-megabyte")
    return format_unit(round(n_bytes / 10**exponent, 1), unit, length="short", locale=number_locale())


@lru_cache(maxsize=4096)
def value(name: str, key: str | None) -> str:
    """What a value of a dimension, or of a link's field, is called; the pages are in English."""
    if key is None:
        return f"without {name}" if name in words.FIELDS else words.UNKNOWN.get(name, "not known")
    names: Mapping[str, str] = {
        "country": ENGLISH.territories,
        "language": ENGLISH.languages,
        "channel": words.CHANNELS,
        "device": words.DEVICES,
    }.get(name, {})
    return str(names.get(key, key))


def value_of(key: str | None, name: str) -> str:
    """The same where a template has the value first."""
    return value(name, key)


def multiple(times: float) -> str:
    """How many times as much: `1.4 ×`."""
    return f"{format_decimal(round(times, 1), format='#,##0.0', locale=number_locale())} ×"


def register(app: Flask) -> None:
    filters = (
        number,
        percent,
        share,
        rate,
        limits,
        money,
        click_cost,
        price,
        decimal,
        duration,
        day,
        full_day,
        period,
        moment,
        iso,
        ago,
        lag,
        signed_number,
        signed_percent,
        size,
        value_of,
        multiple,
        since,
        weekday,
        short,
    )
    app.jinja_env.filters.update({function.__name__: function for function in filters})
    app.jinja_env.globals.update(words=words, this_zone=zone)
    app.teardown_request(_forget_locale)
