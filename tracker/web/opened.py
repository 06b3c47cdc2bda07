"""Which tables of a campaign's page are open: those that answer the same question share a card, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracker.reports.filters import DIMENSIONS

OPEN = "open"  # the name in the query: tables with commas between, of cards where another is open than the first
EVERY = "all"
LENGTH_MAX = 100
# The cards below the table of links, in their order on the page, each with its tables.
BREAKDOWNS = ("tags", "origins", "places", "devices")
ATTRIBUTION = "attribution"
CARDS: Mapping[str, tuple[str, ...]] = {
    "tags": ("source", "medium", "content", "term"),
    "origins": ("channel", "referrer"),
    "places": ("country", "language"),
    "devices": ("device", "os", "browser"),
    ATTRIBUTION: ("models", "paths"),
}
CARD_OF = {name: card for card, names in CARDS.items() for name in names}


@dataclass(frozen=True, slots=True)
class Tab:
    """A table of a card; `open` is what the query has to say to open it, the other cards staying as they are."""

    name: str
    open: str | None
    is_open: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """`asked`: the tables asked for, by card. `is_all`: every table is open, with a card of its own."""

    asked: Mapping[str, str]
    is_all: bool = False

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What hits have to be grouped by."""
        names = CARD_OF if self.is_all else [self.of(card) for card in CARDS]
        return tuple(name for name in names if name in DIMENSIONS)

    def of(self, card: str, present: Sequence[str] = ()) -> str:
        """The open table of a card, of those `present` where only some of them say anything."""
        names = present or CARDS[card]
        asked = self.asked.get(card, names[0])
        return asked if asked in names else names[0]

    def shows(self, name: str) -> bool:
        return self.is_all or self.of(CARD_OF[name]) == name

    @property
    def query(self) -> str | None:
        """What the query says for it; `None` where nothing has to be said."""
        return EVERY if self.is_all else ",".join(_told(self.asked)) or None

    def tabs(self, card: str, present: Sequence[str] = ()) -> list[Tab]:
        """None where there is nothing to choose from."""
        names = present or CARDS[card]
        if self.is_all or len(names) < 2:
            return []
        now = self.of(card, names)
        return [Tab(name, ",".join(_told({**self.asked, card: name})) or None, name == now) for name in names]


def opened(args: Mapping[str, str]) -> Opened:
    """What a page's query asks for; names that no table has are passed over."""
    typed = args.get(OPEN, "")[:LENGTH_MAX]
    if typed == EVERY:
        return Opened({}, is_all=True)
    return Opened({CARD_OF[name]: name for name in typed.split(",") if name in CARD_OF})


def _told(asked: Mapping[str, str]) -> list[str]:
    return [asked[card] for card, names in CARDS.items() if asked.get(card, names[0]) != names[0]]
