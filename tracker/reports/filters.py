"""What a report can be cut down to and grouped by: fields of links, and what is known of each hit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tracker.errors import Invalid
from tracker.models import Link
from tracker.stores import Dimension, Selection

# How what has no value is asked for: links without content, hits of no known country.
NONE = "(none)"
VALUE_MAX = 255
LINKS_MAX = 50_000

LINK_FIELDS: dict[str, Callable[[Link], str | None]] = {
    "link": lambda link: link.code,
    "content": lambda link: link.content,
    "source": lambda link: link.source,
    "medium": lambda link: link.medium,
    "term": lambda link: link.term,
}
DIMENSIONS = {
    dimension.word: dimension
    for dimension in (
        Dimension.CHANNEL,
        Dimension.REFERRER,
        Dimension.COUNTRY,
        Dimension.LANGUAGE,
        Dimension.DEVICE,
        Dimension.OS,
        Dimension.BROWSER,
    )
}
NAMES = (*LINK_FIELDS, *DIMENSIONS)


@dataclass(frozen=True, slots=True)
class Filters:
    """The values asked for, by name, in the order of NAMES; what bears all of them is in the report."""

    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_link(self) -> bool:
        return any(name in LINK_FIELDS for name in self.given)

    @property
    def by_hit(self) -> bool:
        """Whether only the hits themselves tell, so that rollups cannot."""
        return any(name in DIMENSIONS for name in self.given)

    @property
    def of_link(self) -> bool:
        """Whether a visitor's first click is the one on the link, as in the table of links."""
        return "link" in self.given

    def fits(self, link: Link) -> bool:
        return all(
            LINK_FIELDS[name](link) == (None if value == NONE else value)
            for name, value in self.given.items()
            if name in LINK_FIELDS
        )

    def selection(self, links: Iterable[Link]) -> Selection:
        """What the store is asked for, given the links of the campaign. Raises Invalid where too many fit."""
        chosen = frozenset(link.id for link in links if self.fits(link)) if self.by_link else None
        if chosen is not None and len(chosen) > LINKS_MAX:
            raise Invalid({next(iter(self.given)): f"More than {LINKS_MAX:,} links have this value; choose fewer."})
        return Selection(chosen, self.values, self.of_link)

    @property
    def values(self) -> dict[Dimension, str | None]:
        """What a hit has to have; None for what has no value."""
        given = ((DIMENSIONS[name], value) for name, value in self.given.items() if name in DIMENSIONS)
        return {dimension: None if value == NONE else value for dimension, value in given}


EVERYTHING = Filters()


def read(args: Mapping[str, str | None]) -> Filters:
    """The filters among the parameters of a request; empty ones are none. Raises Invalid, naming each it cannot use."""
    given = {name: value for name in NAMES if (value := args.get(name))}
    errors = {
        name: f"A filter's value has at most {VALUE_MAX} characters, none of them a control character."
        for name, value in given.items()
        if len(value) > VALUE_MAX or not value.isprintable()
    }
    if errors:
        raise Invalid(errors)
    if given.get("country", NONE) != NONE:
        given["country"] = given["country"].upper()
    return Filters(given)
