"""Tags a destination with `utm_*`: everything that need not change stays byte-exact.

A query is handled as the raw text between `?` and `#`, cut at `&`. Names are compared after decoding, so `utm%5Fsource`
is recognised as `utm_source`; what is written back is the visitor's or the marketer's own bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

FIELDS = ("source", "medium", "campaign", "term", "content", "id")
NAMES = tuple(f"utm_{field}" for field in FIELDS)
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*")


class Parts(NamedTuple):
    """A URL cut at its first `#` and, before that, its first `?`; `None` means that the mark was not there."""

    base: str
    query: str | None
    fragment: str | None

    def join(self) -> str:
        query = "" if self.query is None else f"?{self.query}"
        return self.base + query + ("" if self.fragment is None else f"#{self.fragment}")


def split(url: str) -> Parts:
    before, mark, fragment = url.partition("#")
    base, question, query = before.partition("?")
    return Parts(base, query if question else None, fragment if mark else None)


def name_of(pair: str) -> str:
    """The decoded name of one raw `name=value` piece of a query."""
    name = pair.partition("=")[0]
    return unquote_plus(name) if "%" in name or "+" in name else name


def encode(value: str) -> str:
    """Percent-encodes a value so that it is safe anywhere in a URL (RFC 3986 unreserved characters stay)."""
    return value if _UNRESERVED.fullmatch(value) else quote(value, safe="")


def append(query: str | None, pairs: str) -> str:
    """Adds raw pairs behind a raw query; an existing query keeps each of its bytes, a trailing `&` included."""
    return f"{query}&{pairs}" if query else pairs


def replace(query: str | None, values: Mapping[str, str]) -> str | None:
    """Sets raw `name=value` pairs: in the place of the first equal name, later equal names go, new names come last."""
    if not values:
        return query
    left = dict(values)
    kept: list[str] = []
    for pair in query.split("&") if query else ():
        name = name_of(pair)
        if name not in values:
            kept.append(pair)
        elif name in left:
            kept.append(left.pop(name))
    head = "&".join(kept)
    new = "&".join(left.values())
    return append(head, new) if new and kept else head or new


def tag(destination: str, values: Mapping[str, str | None]) -> str:
    """The destination with `utm_*` set from `values`, keyed by field (`source`, `medium` …); empty values are left out.

    Own names replace equal ones in the destination; all else, order, duplicates, `+`, empty and valueless keys and the
    fragment, is kept to the byte.
    """
    pairs = {f"utm_{field}": f"utm_{field}={encode(value)}" for field in FIELDS if (value := values.get(field))}
    parts = split(destination)
    return Parts(parts.base, replace(parts.query, pairs), parts.fragment).join()


def names_in(query: str | None) -> frozenset[str]:
    """The `utm_*` names that a raw query carries."""
    return frozenset(name for name in map(name_of, query.split("&")) if name in NAMES) if query else frozenset()


def without(query: str, names: Collection[str]) -> str:
    """A raw query less every pair with one of these names."""
    return "&".join(pair for pair in query.split("&") if name_of(pair) not in names)


def visitor_wins(query: str | None, visitor: str) -> str:
    """Merges a visitor's raw query into a link's: the visitor's `utm_*` replace equal names, all else is appended."""
    own: dict[str, str] = {}
    rest: list[str] = []
    for pair in visitor.split("&"):
        name = name_of(pair)
        if name in NAMES:
            own.setdefault(name, pair)
        else:
            rest.append(pair)
    merged = replace(query, own)
    return append(merged, "&".join(rest)) if rest else merged or ""
