"""What the pages call an entry of the change log: its title, its fields and their values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tracker import money
from tracker.campaigning import ChangeEntry
from tracker.changelog import LINKS_MADE
from tracker.models import Campaign
from tracker.web import formats, words

NAME_SHOWN_MAX = 40  # characters of a link's name in a title
TITLE_MAX = 80  # characters of a title
FIELDS_NAMED_MAX = 2  # of one title; more are counted
LINES_SHOWN_MAX = 12  # of a list that has changed

KINDS = {
    "link": "links",
    "campaign": "campaign",
    "budget": "budget",
    "cost": "cost",
    "rule": "rules",
    "workspace": "settings",
    "note": "notes",
}
FIELDS = {
    "code": "short code",
    "id": "campaign id",
    "expires_at": "expiry",
    "fallback_url": "fallback",
    "query_mode": "visitor's parameters",
    "redirect_code": "redirect",
    "click_id_param": "name of the click id",
    "cost_param": "cost parameter",
    "attribution_model": "model of attribution",
    "click_window_days": "days after a click",
    "view_window_days": "days after a view",
    "excluded_ranges": "excluded addresses",
    "blocked_agents": "blocked user agents",
    "allowed_agents": "allowed user agents",
    "double_click_s": "double click, in seconds",
    "flood_per_min": "hits a minute",
    "signature_mode": "signatures",
    "signing_secret": "secret for signatures",
    "callback_ranges": "callback addresses",
    "callbacks_per_min": "reports a minute",
    "timezone": "time zone",
    "keeps_identities": "match keys kept",
    LINKS_MADE: "links made",
}
LISTS = frozenset({"tags", "excluded_ranges", "blocked_agents", "allowed_agents", "callback_ranges"})


@dataclass(frozen=True, slots=True)
class Line:
    """A field that changed: what it was and what it became; of a list, what was taken out and what came in."""

    name: str
    was: str | None
    is_now: str | None
    removed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed_left: int = 0
    added_left: int = 0

    @property
    def is_list(self) -> bool:
        return bool(self.removed or self.added)


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as a page shows it."""

    entry: ChangeEntry
    title: str
    lines: list[Line]
    campaign: Campaign | None
    link: Any

    @property
    def says_more(self) -> bool:
        """Whether its lines tell what its title does not."""
        return len(self.lines) > 1 or self.entry.kind not in ("budget", "cost")

    @property
    def is_made(self) -> bool:
        """Whether it tells of something new, which has no values from before."""
        return all(line.was is None and not line.is_list for line in self.lines)


def row(entry: ChangeEntry, campaign: Campaign | None, link: Any) -> Row:
    return Row(entry, title(entry, link), _lines(entry), campaign, link)


def label(name: str) -> str:
    return FIELDS.get(name, name.replace("_", " "))


def title(entry: ChangeEntry, link: Any) -> str:
    """An entry in one line; `link` is the one it is about, where it is about one."""
    if entry.kind == "note":
        return cropped((entry.note or "").partition("\n")[0], TITLE_MAX)
    fields = {name: (was, is_now) for name, was, is_now in _triples(entry)}
    if LINKS_MADE in fields:
        n = int(fields[LINKS_MADE][1] or 0)
        return f"{formats.number(n)} {words.times(n, 'link', 'links')} made at once"
    if entry.kind == "link":
        return f"{_link_name(link)}: {_of_link(fields)}"
    if entry.kind == "campaign" and fields.get("campaign", ("", ""))[0] is None:
        return "campaign made"
    if len(fields) == 1 and entry.kind in ("budget", "cost"):
        ((name, (was, is_now)),) = fields.items()
        named = label(name) if entry.kind == "budget" else f"cost, {name}:"
        return cropped(_moved(named, _value(name, was), _value(name, is_now)), TITLE_MAX)
    if entry.kind == "cost":
        return f"cost: {len(fields)} entries changed"
    return f"{KINDS.get(entry.kind, entry.kind)}: {_changed(fields)}" if len(fields) > 1 else _changed(fields)


def cropped(text: str, size_max: int) -> str:
    return text if len(text) <= size_max else f"{text[: size_max - 1]}…"


def _link_name(link: Any) -> str:
    return "link" if link is None else cropped(link.content or link.title or link.code, NAME_SHOWN_MAX)


def _of_link(fields: dict[str, tuple[str | None, str | None]]) -> str:
    if fields.get("code", ("", ""))[0] is None:
        return "made"
    if "archived" in fields:
        return "archived" if fields["archived"][1] == "yes" else "back in use"
    if "campaign" in fields:
        was, is_now = fields["campaign"]
        return cropped(f"moved from {was} to {is_now}", TITLE_MAX)
    return _changed(fields)


def _changed(fields: dict[str, Any]) -> str:
    if len(fields) > FIELDS_NAMED_MAX:
        return f"{len(fields)} fields changed"
    return f"{' and '.join(map(label, fields))} changed"


def _moved(name: str, was: str | None, is_now: str | None) -> str:
    if was is None:
        return f"{name} set to {is_now}"
    return f"{name} {was} taken away" if is_now is None else f"{name} {was} → {is_now}"


def _triples(entry: ChangeEntry) -> list[tuple[str, str | None, str | None]]:
    return [(str(triple[0]), triple[1], triple[2]) for triple in entry.fields]


def _lines(entry: ChangeEntry) -> list[Line]:
    return [_line(name, was, is_now) for name, was, is_now in _triples(entry)]


def _line(name: str, was: str | None, is_now: str | None) -> Line:
    if name in LISTS:
        before, after = (text.split("\n") if text else [] for text in (was, is_now))
        removed = [each for each in before if each not in set(after)]
        added = [each for each in after if each not in set(before)]
        return Line(
            label(name),
            None,
            None,
            removed[:LINES_SHOWN_MAX],
            added[:LINES_SHOWN_MAX],
            max(0, len(removed) - LINES_SHOWN_MAX),
            max(0, len(added) - LINES_SHOWN_MAX),
        )
    return Line(label(name), _value(name, was), _value(name, is_now))


def _value(name: str, value: str | None) -> str | None:
    """A value as the forms call it; a click id's name says something even where there is none."""
    if name == "click_id_param":
        return "the usual one" if value is None else value or "none: no click id is added"
    if value is None:
        return None
    if name == "budget":
        amount, _, currency = value.partition(" ")
        return formats.money(money.parse(amount, currency))
    if name == "expires_at":
        return formats.moment(datetime.fromisoformat(value))
    if name in ("click_window_days", "view_window_days"):
        return f"{value} {words.times(int(value), 'day', 'days')}"
    named = {
        "attribution_model": {word: names[0] for word, names in words.MODELS.items()},
        "query_mode": words.QUERY_MODES,
        "signature_mode": words.SIGNATURE_MODES,
    }.get(name, {})
    return named.get(value, value)
