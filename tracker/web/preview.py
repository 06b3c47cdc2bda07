"""What the builder shows while somebody types: the tagged URL with what was added, and what would spoil a report."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tracker import links, utm
from tracker.destinations import OwnDomain, destination_refusal
from tracker.links import LinkDraft

EMAIL = re.compile(r"[^\s@/?&=#:;,]+@[^\s@/?&=#:;,]+\.[^\W\d_]{2,}")
PERSONAL_NAMES = frozenset({"email", "e-mail", "mail", "phone", "firstname", "lastname", "first_name", "last_name"})


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the tagged URL. `added`: not in the destination as it was typed."""

    text: str
    added: bool


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checks. `state` is `ok`, `warning` or `wrong`."""

    state: str
    text: str


@dataclass(frozen=True, slots=True)
class Preview:
    """`pieces` put together are the tagged URL; none while the destination cannot be used."""

    pieces: list[Piece]
    checks: list[Check]

    @property
    def url(self) -> str:
        return "".join(piece.text for piece in self.pieces)


def of(draft: LinkDraft, own: OwnDomain, click_id_param: str) -> Preview:
    """`click_id_param` is the setting's name of the click id."""
    draft = links.tidy(draft)
    if not draft.destination:
        return Preview([], [])
    refusal = destination_refusal(draft.destination, own)
    if refusal:
        return Preview([], [Check("wrong", refusal)])
    tagged = draft.tagged_url
    checks = [
        *_writing(draft),
        *_replaced(draft),
        *_personal(tagged),
        *_click_id(draft, click_id_param),
        *_cost(draft, click_id_param),
    ]
    return Preview(pieces(draft.destination, tagged), checks)


def pieces(destination: str, tagged: str) -> list[Piece]:
    """Cuts the tagged URL where added parts begin and end; each `?` or `&` goes with the pair behind it."""
    before, after = utm.split(destination), utm.split(tagged)
    known = Counter((before.query or "").split("&")) if before.query is not None else Counter[str]()
    cut = [Piece(after.base, False)]
    for index, pair in enumerate(after.query.split("&") if after.query is not None else ()):
        added = not known[pair]
        known[pair] -= not added
        cut.append(Piece(("&" if index else "?") + pair, added))
    if after.fragment is not None:
        cut.append(Piece("#" + after.fragment, False))
    return _joined(cut)


def _joined(cut: list[Piece]) -> list[Piece]:
    found: list[Piece] = []
    for piece in cut:
        if found and found[-1].added == piece.added:
            found[-1] = Piece(found[-1].text + piece.text, piece.added)
        else:
            found.append(piece)
    return found


def _writing(draft: LinkDraft) -> list[Check]:
    """Analytics tools tell `Email` from `email`: a report then falls into two halves."""
    values = {field: getattr(draft, field) for field in utm.FIELDS if getattr(draft, field)}
    if not values:
        return []
    capitals = [f"“{value}” ({field})" for field, value in values.items() if value != value.lower()]
    spaces = [f"“{value}” ({field})" for field, value in values.items() if any(c.isspace() for c in value)]
    found = []
    if capitals:
        found.append(Check("warning", f"Capitals in {', '.join(capitals)}: reports keep “Email” and “email” apart."))
    if spaces:
        found.append(Check("warning", f"Spaces in {', '.join(spaces)}: they turn into %20; a hyphen reads better."))
    return found or [Check("ok", "Lower case, no spaces.")]


def _replaced(draft: LinkDraft) -> list[Check]:
    had = utm.names_in(utm.split(draft.destination).query)
    ours = {f"utm_{field}" for field in utm.FIELDS if getattr(draft, field)}
    found = []
    if lost := sorted(had & ours):
        found.append(Check("warning", f"The destination has {', '.join(lost)} already: the values above replace it."))
    if kept := sorted(had - ours):
        found.append(Check("warning", f"The destination brings its own {', '.join(kept)}, which stays."))
    return found


def _personal(tagged: str) -> list[Check]:
    """An address in a URL ends up in every log and analytics account on the way; most forbid it in their terms."""
    names = {utm.name_of(pair).lower() for pair in (utm.split(tagged).query or "").split("&")}
    if EMAIL.search(unquote(tagged)):
        return [Check("wrong", "The URL holds an e-mail address. Personal data does not belong there.")]
    if found := sorted(names & PERSONAL_NAMES):
        return [Check("warning", f"The URL has a parameter “{found[0]}”: personal data does not belong there.")]
    return [Check("ok", "Nothing personal in the URL.")]


def _click_id(draft: LinkDraft, usual: str) -> list[Check]:
    name = usual if draft.click_id_param is None else draft.click_id_param
    if not name:
        return [Check("warning", "No click id will be added: conversions cannot be matched to clicks.")]
    if "{clickid}" in draft.destination:
        return [Check("ok", "The click id takes the place of {clickid}.")]
    query = utm.split(draft.destination).query
    if query and name in map(utm.name_of, query.split("&")):
        return [Check("wrong", f"The destination has “{name}” already: take it out or rename the click id.")]
    insecure = urlsplit(draft.destination).scheme.lower() == "http"
    found = [Check("ok", f"A click id will be added as {name}.")]
    return [*found, Check("warning", "The destination is http://, not https://.")] if insecure else found


def _cost(draft: LinkDraft, usual: str) -> list[Check]:
    if not draft.cost_param:
        return []
    if draft.cost_param == (usual if draft.click_id_param is None else draft.click_id_param):
        return [Check("wrong", f"“{draft.cost_param}” is the click id's name: choose another one for the cost.")]
    return [Check("ok", f"What a click cost is read from ?{draft.cost_param}=… and goes no further.")]
