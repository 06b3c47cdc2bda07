"""The rules of an audience: what each is called, what it takes, and how it is read, from a form or from the database.

Both hold a rule as texts by name (`{"kind": "clicked", "campaign": "3", "days": "30"}`), so one reader checks both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from tracker import money
from tracker.errors import Invalid

RULES_MAX = 20
DAYS_MAX = 3650
TIMES_MAX = 1000
TEXT_MAX = 255
FIELDS = ("source", "medium", "country", "device")
_GOAL = re.compile(r"[\w.:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Clicked:
    """A click on a campaign is known of them, in the last `days` where those are set."""

    campaign_id: int
    days: int | None


@dataclass(frozen=True, slots=True)
class Converted:
    """They converted, not taken back since: to a goal, by a campaign, in the last `days`, each where it is set."""

    goal: str | None
    campaign_id: int | None
    days: int | None


@dataclass(frozen=True, slots=True)
class Bought:
    """They converted so often at least."""

    times: int
    goal: str | None
    days: int | None


@dataclass(frozen=True, slots=True)
class Top:
    """They are among the best `percent` of those who spent anything in a currency, by what they spent in it."""

    percent: int
    currency: str


@dataclass(frozen=True, slots=True)
class Worth:
    """What they spent in a currency comes to so much at least, in its minor units."""

    minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Dated:
    """Their `first` or `last` conversion was `before` a local day, or `since` its beginning."""

    which: str
    when: str
    on: date
    goal: str | None


@dataclass(frozen=True, slots=True)
class Came:
    """A click they converted after had this source, medium, country or device."""

    field: str
    value: str


Condition = Clicked | Converted | Bought | Top | Worth | Dated | Came


class Rule(NamedTuple):
    """A condition that members fulfil, or, `negated`, that none of them does."""

    negated: bool
    condition: Condition


# What is asked for, by kind, in this order.
PARAMETERS = {
    "clicked": ("campaign", "days"),
    "converted": ("goal", "campaign", "days"),
    "bought": ("times", "goal", "days"),
    "top": ("percent", "currency"),
    "worth": ("amount", "currency"),
    "dated": ("which", "when", "on", "goal"),
    "came": ("field", "value"),
}
NEEDED = frozenset({"times", "percent", "currency", "amount", "which", "when", "on", "field", "value"})


def read(rows: Sequence[Mapping[str, str]], campaigns: Collection[int]) -> list[Rule]:
    """Rules from their texts; `campaigns` are the ids that may be named.

    Raises Invalid, each error by the name of its text and the number of its row (`days-0`), `rules` for the whole.
    """
    errors: dict[str, str] = {}
    if not rows:
        errors["rules"] = "Add a rule: without one this would be everybody."
    if len(rows) > RULES_MAX:
        errors["rules"] = f"At most {RULES_MAX} rules."
        rows = rows[:RULES_MAX]
    found = [_Row(row, number, campaigns, errors).rule() for number, row in enumerate(rows)]
    if errors:
        raise Invalid(errors)
    return [rule for rule in found if rule is not None]


class _Row:
    """One rule's texts, read one after the other; what is wrong is noted and read as something harmless."""

    def __init__(self, row: Mapping[str, str], number: int, campaigns: Collection[int], errors: dict[str, str]) -> None:
        self._row, self._number, self._campaigns, self._errors = row, number, campaigns, errors

    def rule(self) -> Rule | None:
        readers: dict[str, Callable[[], Condition]] = {
            "clicked": lambda: Clicked(self._campaign(required=True) or 0, self._days()),
            "converted": lambda: Converted(self._goal(), self._campaign(), self._days()),
            "bought": lambda: Bought(self._whole("times", TIMES_MAX), self._goal(), self._days()),
            "top": lambda: Top(self._whole("percent", 100), self._currency()),
            "worth": self._worth,
            "dated": lambda: Dated(
                self._choice("which", ("first", "last")),
                self._choice("when", ("before", "since")),
                self._date(),
                self._goal(),
            ),
            "came": self._came,
        }
        reader = readers.get(self._text("kind"))
        if reader is None:
            self._refuse("kind", "There is no such rule.")
            return None
        return Rule(self._text("negated") == "1", reader())

    def _text(self, name: str) -> str:
        return self._row.get(name, "").strip()

    def _refuse(self, name: str, why: str) -> None:
        self._errors.setdefault(f"{name}-{self._number}", why)

    def _whole(self, name: str, most: int) -> int:
        text = self._text(name)
        if text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most:
            return int(text)
        self._refuse(name, f"A whole number from 1 to {most}.")
        return 1

    def _days(self) -> int | None:
        return self._whole("days", DAYS_MAX) if self._text("days") else None

    def _goal(self) -> str | None:
        goal = self._text("goal")
        if goal and not _GOAL.fullmatch(goal):
            self._refuse("goal", "A goal is 1 to 64 letters, digits, “.”, “:”, “-” or “_”.")
        return goal or None

    def _campaign(self, *, required: bool = False) -> int | None:
        text = self._text("campaign")
        if not text and not required:
            return None
        if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) in self._campaigns:
            return int(text)
        self._refuse("campaign", "Choose a campaign.")
        return None

    def _choice(self, name: str, choices: Sequence[str]) -> str:
        if self._text(name) not in choices:
            self._refuse(name, f"Choose one of {', '.join(choices)}.")
        return self._text(name)

    def _currency(self) -> str:
        currency = self._text("currency").upper()
        if not money.is_currency(currency):
            self._refuse("currency", "A currency is an ISO 4217 code, like EUR.")
            return "EUR"
        return currency

    def _worth(self) -> Worth:
        currency = self._currency()
        try:
            minor = money.parse(self._text("amount"), currency).minor
        except ValueError as error:
            self._refuse("amount", str(error))
            return Worth(1, currency)
        if minor < 1:
            self._refuse("amount", "An amount above zero.")
        return Worth(minor, currency)

    def _date(self) -> date:
        try:
            return date.fromisoformat(self._text("on"))
        except ValueError:
            self._refuse("on", "A day is written like 2026-12-31.")
            return date(2000, 1, 1)

    def _came(self) -> Came:
        value = self._text("value")
        if not value or len(value) > TEXT_MAX or not value.isprintable():
            self._refuse("value", f"1 to {TEXT_MAX} characters, none of them a control character.")
        field = self._choice("field", FIELDS)
        # As they are stored: countries as ISO 3166 codes, devices in lower case, sources and mediums as typed.
        return Came(field, {"country": value.upper(), "device": value.lower()}.get(field, value))


def stored(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The texts of rules that have been read, as they are kept: of each only what its kind takes."""
    kept = []
    for row in rows:
        names = ("kind", "negated", *PARAMETERS[row["kind"]])
        kept.append({name: row[name].strip() for name in names if row.get(name, "").strip()})
    return kept
