"""What a network says of a click's cost: `?cost=0.45` in the place of `?cost={cost}`, taken out of a query and read.

Millionths of a unit of the currency, as integers: networks bid in fractions of a cent.
"""

from __future__ import annotations

import re
from decimal import Decimal
from urllib.parse import unquote_plus

from tracker import utm
from tracker.money import Money, exponent

# Characters of a value as it stands in the query. One more is kept of a longer value, which so cannot be read: cut off,
# a number would be another number.
SAID_MAX = 48
PLACES = 6
MICROS = 10**PLACES  # of one unit
COST_MAX = 10_000 * MICROS
_AMOUNT = re.compile(rf"([0-9]{{1,9}})(?:[.,]([0-9]{{1,{PLACES}}}))?")


def take(query: str, name: str) -> tuple[str, str]:
    """A raw query less every pair of this name, and the value of the first, raw; empty where there is none."""
    # What bears the name stands there in plain letters, or with a percent sign.
    if name not in query and "%" not in query:
        return query, ""
    left: list[str] = []
    said: str | None = None
    for pair in query.split("&"):
        if utm.name_of(pair) == name:
            said = pair.partition("=")[2][: SAID_MAX + 1] if said is None else said
        else:
            left.append(pair)
    return ("&".join(left), said or "") if said is not None else (query, "")


def micros(said: str) -> int | None:
    """Millionths of what a raw value says: a decimal with a point or a comma, of at most six places and 10,000 units.

    `None` for whatever else: a macro that nobody replaced, a sign, an exponent, separators between thousands.
    """
    if len(said) > SAID_MAX:
        return None
    found = _AMOUNT.fullmatch(unquote_plus(said).strip(" "))
    if found is None:
        return None
    cost = int(found[1]) * MICROS + int((found[2] or "").ljust(PLACES, "0"))
    return cost if cost <= COST_MAX else None


def amount(cost_micros: int) -> str:
    """Millionths as a plain decimal with no more places than they need: `0.45`, `0.0035`, `12`."""
    return f"{Decimal(cost_micros).scaleb(-PLACES).normalize():f}"


def money_of(cost_micros: int, currency: str) -> Money:
    """Millionths in minor units of their currency, to the nearest one, half to even. To be asked of sums alone."""
    return Money(round(Decimal(cost_micros).scaleb(exponent(currency) - PLACES)), currency)
