"""The values that go in and out of an event store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

# Rows looked at in one search, of whatever workspace: some tenths of a second at worst.
SEARCHED_MAX = 100_000
# How far back it is looked for when something last happened on a link.
LAST_DAYS_MAX = 400


class Dimension(IntEnum):
    """What counted events can be broken down by besides their link. Numbers are stored: never renumber."""

    REFERRER = 1
    LANGUAGE = 2
    DEVICE = 3
    OS = 4
    BROWSER = 5
    COUNTRY = 6
    CHANNEL = 7

    @property
    def word(self) -> str:
        return self.name.lower()


class StoredEvent(NamedTuple):
    """An event as the loader leaves it: judged, enriched, without an address. Strings are interned by the store.

    `detail` is what the verdict rests on (a bot's name, an unknown code), `rule` the rule that said so. `cost_micros`
    are millionths of a unit of `cost_currency`; a currency without them says that what was said could not be read.
    """

    at_ms: int
    nonce: int
    kind: int
    verdict: int
    workspace_id: int | None
    campaign_id: int | None
    link_id: int | None
    visitor: int | None
    agent: str | None
    detail: str | None
    rule: str | None
    referrer: str | None
    language: str | None
    device: str | None
    os: str | None
    browser: str | None
    country: str | None
    channel: str | None
    cost_currency: str | None = None
    cost_micros: int | None = None


class ClickCost(NamedTuple):
    """What counted clicks of a link cost in one currency: `n` said so, `unread_n` said what could not be read."""

    link_id: int
    currency: str
    n: int
    micros: int
    unread_n: int


class CampaignCost(NamedTuple):
    """The same of a whole campaign: millionths of what its clicks said they cost in one currency."""

    campaign_id: int
    currency: str
    micros: int


# The instant and the nonce.
EventId = tuple[int, int]


class Batch(NamedTuple):
    """A run of spool records, fixed before its first try: loading it twice changes nothing."""

    segment: str
    start: int
    end: int
    events: Sequence[StoredEvent]


class Cell(NamedTuple):
    """Events of one link, kind and verdict over a period.

    `unique_n` of them were their visitor's first of the day on the campaign, `unique_on_link_n` on the link.
    """

    link_id: int
    kind: int
    verdict: int
    n: int
    unique_n: int
    unique_on_link_n: int


class LinkSum(NamedTuple):
    """Counted events of one kind on one link of a campaign over a period; `unique_n` were their visitor's first."""

    campaign_id: int
    link_id: int
    kind: int
    n: int
    unique_n: int


class CampaignStep(NamedTuple):
    """Counted events of one kind on a campaign in one step of a series, as Step has them."""

    campaign_id: int
    offset: int
    number: int
    n: int


class Step(NamedTuple):
    """Counted events of one kind in one step of a series. `number` counts local steps since 1970 at this `offset`."""

    offset: int
    number: int
    kind: int
    n: int


class Part(NamedTuple):
    """Counted events of one kind with one value of a dimension; `unique_n` of them were their visitor's first."""

    value: str
    kind: int
    n: int
    unique_n: int


class Selection(NamedTuple):
    """Which hits of a campaign: those on these links (`None`: on any) that have all of these values (`None`: none).

    `of_link`: in parts, unique clicks are a visitor's first on the link and not on the campaign.
    """

    links: frozenset[int] | None = None
    values: Mapping[Dimension, str | None] = {}
    of_link: bool = False


ALL = Selection()


class Selected(NamedTuple):
    """Sums of selected hits: as `totals`, `series` and `breakdowns` give them of all."""

    cells: list[Cell]
    steps: list[Step]
    parts: Mapping[Dimension, list[Part]]


class Reason(NamedTuple):
    """Events of one kind and verdict that rest on the same: a bot's name, or `None` where the verdict says it all."""

    kind: int
    verdict: int
    detail: str | None
    n: int


class Hits(NamedTuple):
    """How many impressions or clicks have a verdict."""

    kind: int
    verdict: int
    n: int


class Flow(NamedTuple):
    """Counted impressions and clicks of a campaign in one of several runs of buckets, named by its number."""

    campaign_id: int
    run: int
    impressions: int
    clicks: int


class Wanted(NamedTuple):
    """Which events of a workspace are looked for; `None` leaves all in.

    With `code`, hits that asked for it when no link had it come beside those of `link_id`. `noted` leaves only
    impressions and clicks of links that do not count, or count with a remark, and no tests. `links` are the only ones,
    `values` what a hit has to have by dimension, `None` for what has no value.
    """

    kind: int | None = None
    verdict: int | None = None
    detail: str | None = None
    link_id: int | None = None
    code: str | None = None
    campaign_id: int | None = None
    since_ms: int | None = None
    noted: bool = False
    links: frozenset[int] | None = None
    values: tuple[tuple[Dimension, str | None], ...] = ()


class Search(NamedTuple):
    """Events that were found, newest first, and the id to look on from; `None` where there is nothing more to look at.

    A search looks at a bounded number of events: it may have found fewer than were asked for, and there are more.
    """

    events: list[StoredEvent]
    go_on: EventId | None


class Last(NamedTuple):
    """When an impression, a click or a conversion last counted on a link: the quarter, and the instant if it is known.

    A conversion's instant is not: the store has its sums alone.
    """

    link_id: int
    kind: int
    bucket: int
    at_ms: int | None


class Orphan(NamedTuple):
    """A code that no link has, how often it was asked for, and the last UTC day it was (counted from 1970)."""

    code: str
    n: int
    last_day: int


class Revision(NamedTuple):
    """What a stored event is to be: its id, its verdict from now on and what that rests on."""

    at_ms: int
    nonce: int
    verdict: int
    detail: str | None = None
    rule: str | None = None


class Drift(NamedTuple):
    """A row of a rollup that is not what the raw events add up to: its sums as kept and as counted."""

    rollup: str
    key: tuple[int | str, ...]
    kept: tuple[int, ...]
    counted: tuple[int, ...]


class StaleBatch(Exception):
    """The ledger stands elsewhere than where the batch begins: it, or a part of it, is stored already."""
