"""Exchange rates that the user supplies, and what amounts in several currencies come to in one of them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session, aliased

from tracker import changelog
from tracker.campaigning import ExchangeRate
from tracker.errors import Invalid
from tracker.extensions import insert_into
from tracker.models import Workspace
from tracker.money import Money, exponent, is_currency

AT_ONCE_MAX = 2_000
TOLD_MAX = 50  # rates that one change names
RATES_MAX = 20_000  # of a workspace, of one currency that all are told in
FIRST_DAY, LAST_DAY = date(1980, 1, 1), date(2100, 1, 1)
MICRO_PLACES = 6  # no currency has more than four
_RATE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
# A sum of 64 bits times a rate of 24 digits, without a digit lost before it is rounded.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_SUM_PLACES = Decimal(1)
ONE = Decimal(1)

# Millionths by the currency they are in and the rate that holds for them, `None` where there is none.
Purse = dict[tuple[str, Decimal | None], int]


class Rate(NamedTuple):
    """One unit of `currency` is worth `rate` units of the workspace's from a local day on."""

    currency: str
    from_on: date
    rate: Decimal


class Piece(NamedTuple):
    """Days, both inclusive, over which one rate holds, or none."""

    first: date
    last: date
    rate: Decimal | None


@dataclass(frozen=True, slots=True)
class Settled:
    """`amounts` in the currencies they came in; their `total` in one, `None` where nothing could be converted.

    `without_rate` are those of the amounts that are not in the total, for there is no rate for their days.
    """

    amounts: list[Money]
    total: Money | None
    without_rate: list[Money]


class Table:
    """Rates into `base`, each from its day until the next of its currency."""

    def __init__(self, base: str, rates: Iterable[Rate] = ()) -> None:
        self.base = base
        self._days: dict[str, list[date]] = {}
        self._rates: dict[str, list[Decimal]] = {}
        for rate in sorted(rates):
            self._days.setdefault(rate.currency, []).append(rate.from_on)
            self._rates.setdefault(rate.currency, []).append(rate.rate)

    def on(self, currency: str, day: date) -> Decimal | None:
        """The rate of a day; `None` before the first one begins."""
        if currency == self.base:
            return ONE
        place = bisect_right(self._days.get(currency, []), day)
        return self._rates[currency][place - 1] if place else None

    def pieces(self, currency: str, first: date, last: date) -> list[Piece]:
        """The days from `first` to `last`, cut where the currency's rate changes. Mostly they are one piece."""
        changes = self._days.get(currency, [])
        starts = [first, *changes[bisect_right(changes, first) : bisect_right(changes, last)]]
        ends = [*(day - timedelta(days=1) for day in starts[1:]), last]
        return [Piece(start, end, self.on(currency, start)) for start, end in zip(starts, ends, strict=True)]


def micros(minor: int, currency: str) -> int:
    """Minor units as millionths of the unit, exactly."""
    return int(minor * 10 ** (MICRO_PLACES - exponent(currency)))


def merge(purses: Iterable[Mapping[tuple[str, Decimal | None], int]]) -> Purse:
    found: Purse = {}
    for purse in purses:
        for key, n in purse.items():
            found[key] = found.get(key, 0) + n
    return found


def settle(purse: Purse, base: str) -> Settled:
    """What a purse holds, each currency for itself, and what it comes to in `base`.

    Rounded half to even, once for each currency and rate, and nowhere else: half a minor unit is lost at most.
    """
    sums: dict[str, int] = {}
    left: dict[str, int] = {}
    total = None
    for (currency, rate), n in purse.items():
        sums[currency] = sums.get(currency, 0) + n
        if rate is None and n:
            left[currency] = left.get(currency, 0) + n
        else:  # nothing is nothing in any currency
            total = (total or 0) + _minor(_EXACT.multiply(Decimal(n), rate or ONE), base)
    return Settled(
        [Money(_minor(Decimal(n), currency), currency) for currency, n in sorted(sums.items())],
        None if total is None else Money(total, base),
        [Money(_minor(Decimal(n), currency), currency) for currency, n in sorted(left.items())],
    )


def _minor(millionths: Decimal, currency: str) -> int:
    scaled = millionths.scaleb(exponent(currency) - MICRO_PLACES, _EXACT)
    return int(scaled.quantize(_SUM_PLACES, context=_EXACT))


def read(session: Session, workspace: Workspace, currencies: Iterable[str], first: date, last: date) -> Table:
    """The rates that hold for days of a period, of these currencies into the workspace's."""
    foreign = sorted(set(currencies) - {workspace.currency})
    if not foreign:
        return Table(workspace.currency)
    earlier = aliased(ExchangeRate)
    began = (
        select(func.max(earlier.from_on))
        .where(
            earlier.workspace_id == workspace.id,
            earlier.base == workspace.currency,
            earlier.currency == ExchangeRate.currency,
            earlier.from_on <= first,
        )
        .correlate(ExchangeRate)
        .scalar_subquery()
    )
    query = select(ExchangeRate.currency, ExchangeRate.from_on, ExchangeRate.rate).where(
        *_own(workspace),
        ExchangeRate.currency.in_(foreign),
        ExchangeRate.from_on <= last,
        ExchangeRate.from_on >= func.coalesce(began, first),
    )
    return Table(workspace.currency, (Rate(code, day, Decimal(text)) for code, day, text in session.execute(query)))


def _text(rate: Decimal) -> str:
    return f"{rate:f}"


def _own(workspace: Workspace) -> tuple[ColumnElement[bool], ...]:
    return ExchangeRate.workspace_id == workspace.id, ExchangeRate.base == workspace.currency


def listed(session: Session, workspace: Workspace, currency: str | None = None) -> list[Rate]:
    """All rates into the workspace's currency, by currency, the newest first."""
    query = select(ExchangeRate.currency, ExchangeRate.from_on, ExchangeRate.rate).where(*_own(workspace))
    if currency is not None:
        query = query.where(ExchangeRate.currency == currency)
    found = session.execute(query.order_by(ExchangeRate.currency, ExchangeRate.from_on.desc()))
    return [Rate(code, day, Decimal(text)) for code, day, text in found]


def check(workspace: Workspace, currency: str, from_on: str, rate: str) -> Rate:
    """A rate from what was typed. Raises Invalid, naming `currency`, `from_on` and `rate`."""
    errors = {}
    currency, rate = currency.strip().upper(), rate.strip()
    if not is_currency(currency):
        errors["currency"] = "A currency is an ISO 4217 code, like USD."
    elif currency == workspace.currency:
        errors["currency"] = f"Figures are in {currency} already; give the rate of another currency."
    day = day_of(from_on)
    if day is None:
        errors["from_on"] = f"A day is written like 2026-11-07, from {FIRST_DAY} to {LAST_DAY}."
    if not _RATE.fullmatch(rate) or not Decimal(rate):
        errors["rate"] = "A rate is a decimal above 0 with a point, like 0.9215, with at most 12 digits on either side."
    if errors or day is None:
        raise Invalid(errors)
    return Rate(currency, day, Decimal(rate))


def day_of(text: str) -> date | None:
    """A day that is written in the one way there is; `None` for anything else."""
    text = text.strip()
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if found.isoformat() == text and FIRST_DAY <= found <= LAST_DAY else None


def put(
    session: Session,
    workspace: Workspace,
    given: Sequence[Rate],
    gone: Sequence[tuple[str, date]] = (),
    name: Callable[[str], str] = str,
) -> None:
    """Stores rates, in place of those of the same currency and day, takes away those that are `gone`, and commits.

    Raises Invalid where there would be too many.
    """
    connection = session.connection()
    before = {rate[:2]: _text(rate.rate) for rate in listed(session, workspace)}
    after = before | {rate[:2]: _text(rate.rate) for rate in given}
    after = {key: rate for key, rate in after.items() if key not in set(gone)}
    changed = [key for key in dict.fromkeys((*before, *after)) if before.get(key) != after.get(key)]
    fields = [
        (f"rate of {currency} from {day}", before.get((currency, day)), after.get((currency, day)))
        for currency, day in changed[:TOLD_MAX]
    ]
    if len(changed) > TOLD_MAX:
        fields.append((f"{len(changed) - TOLD_MAX:,} more rates", None, None))
    changelog.record(session, workspace_id=workspace.id, kind="workspace", fields=fields)
    for currency, day in gone:
        session.execute(
            delete(ExchangeRate).where(*_own(workspace), ExchangeRate.currency == currency, ExchangeRate.from_on == day)
        )
    if given:
        insert = insert_into(connection.dialect.name, ExchangeRate)
        keys = ["workspace_id", "base", "currency", "from_on"]
        rows = [
            {
                "workspace_id": workspace.id,
                "base": workspace.currency,
                "currency": rate.currency,
                "from_on": rate.from_on,
                "rate": _text(rate.rate),
            }
            for rate in given
        ]
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_={"rate": insert.excluded.rate}), rows)
    if len(after) > RATES_MAX:
        session.rollback()
        raise Invalid({name("rate"): f"A workspace has at most {RATES_MAX:,} rates; take old ones away first."})
    session.commit()
