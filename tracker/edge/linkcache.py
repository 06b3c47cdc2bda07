"""Links as the edge needs them: bounded, kept while the database is away, brought up to date by a change sequence."""

from __future__ import annotations

import logging
from typing import Any

from ada_url import URL
from sqlalchemy import Connection, Engine, Row, bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from tracker import changes, days, utm
from tracker.agents import AgentFacts
from tracker.edge.decide import MACROS, Orphan, Target, header_safe
from tracker.models import Campaign, Link, Workspace

ENTRIES_MAX = 100_000
POLL_S = 0.4

log = logging.getLogger(__name__)


class DatabaseAway(Exception):
    """The code is not in the cache and the database does not answer."""


# Just the columns that a redirect needs: as an object with its campaign a link takes twice as long to read.
_LINK = (
    select(
        *(Link.id, Link.code, Link.tagged_url, Link.source, Link.medium, Link.term, Link.content),
        *(Link.redirect_code, Link.query_mode, Link.click_id_param, Link.referrer_policy, Link.fallback_url),
        *(Link.expires_at, Link.archived_at, Link.cost_param, Campaign.utm_campaign),
    )
    .join(Link.campaign)
    .where(Link.code == bindparam("code"))
)


def compile_target(link: Row[*tuple[Any, ...]], click_id_param: str) -> Target:
    """Works out all that a redirect of this link needs. The stored URL changes only where a header cannot carry it."""
    parts = utm.split(_ascii_url(link.tagged_url))
    marks = [name for name in MACROS if "{" + name + "}" in parts.join()]
    own = {
        "campaign": link.utm_campaign,
        "source": link.source,
        "medium": link.medium,
        "term": link.term or "",
        "content": link.content or "",
        "link": link.code,
        "variant": link.content or "",
    }
    param = click_id_param if link.click_id_param is None else link.click_id_param
    before_id = None
    if param and not marks:
        before_id = parts._replace(query=utm.append(parts.query, f"{param}="), fragment=None).join()
    return Target(
        link_id=link.id,
        code=link.code,
        status=link.redirect_code,
        query_mode=link.query_mode,
        click_id_param=param,
        referrer_policy=link.referrer_policy.encode("ascii"),
        base=parts.base,
        query=parts.query,
        fragment=parts.fragment,
        own_names=utm.names_in(parts.query),
        macros=own if marks else None,
        before_id=before_id,
        after_id="" if parts.fragment is None else f"#{parts.fragment}",
        wants_agent=not set(AgentFacts._fields).isdisjoint(marks),
        wants_country="country" in marks,
        cost_param=link.cost_param or "",
        expires_at_ms=days.to_ms(link.expires_at) if link.expires_at else None,
        archived=link.archived_at is not None,
        fallback_url=_ascii_url(link.fallback_url) if link.fallback_url else None,
    )


def _ascii_url(url: str) -> str:
    """The URL with an international host in its ASCII form and all else beyond ASCII percent-encoded."""
    if url.isascii():
        return header_safe(url)
    scheme, mark, rest = url.partition("://")
    end = next((i for i, c in enumerate(rest) if c in "/\\?#"), len(rest))
    host = rest[:end] if rest[:end].isascii() else URL(url).host
    return header_safe(scheme + mark + host + rest[end:])


class LinkCache:
    """Code to Target or Orphan. `get` never waits; `load` and `poll` ask the database and belong off the event loop."""

    def __init__(
        self, engine: Engine, click_id_param: str, *, entries_max: int = ENTRIES_MAX, poll_s: float = POLL_S
    ) -> None:
        self._engine = engine
        self._click_id_param = click_id_param
        self._entries_max = entries_max
        self._entries: dict[str, Target | Orphan] = {}
        self._seq: int | None = None
        self._generation = 0
        self.poll_s = poll_s

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, code: str) -> Target | Orphan | None:
        return self._entries.get(code)

    def load(self, code: str) -> Target | Orphan:
        """Reads one code and remembers it. Raises DatabaseAway."""
        try:
            with self._engine.connect() as connection:
                if self._seq is None:
                    self._seq = changes.newest(connection)
                while True:
                    generation = self._generation
                    entry = self._read(connection, code)
                    self._keep(code, entry)
                    # A change that was polled between our reading and our keeping would otherwise be missed for good.
                    if generation == self._generation:
                        return entry
                    connection.rollback()
        except SQLAlchemyError as error:
            log.warning("link %s cannot be read: %s", code, error)
            raise DatabaseAway from None

    def _read(self, connection: Connection, code: str) -> Target | Orphan:
        link = connection.execute(_LINK, {"code": code}).first()
        if link is not None:
            return compile_target(link, self._click_id_param)
        fallback = connection.scalar(select(Workspace.fallback_url).order_by(Workspace.id).limit(1))
        return Orphan(_ascii_url(fallback) if fallback else None)

    def _keep(self, code: str, entry: Target | Orphan) -> None:
        if code not in self._entries and len(self._entries) >= self._entries_max:
            # The oldest goes: dictionaries keep their order, and a link in use comes back with its next hit.
            self._entries.pop(next(iter(self._entries)), None)
        self._entries[code] = entry

    def _forget_unknown(self) -> None:
        """Whatever was unknown is looked up again when it is next asked for, and not before."""
        for code, entry in list(self._entries.items()):
            if isinstance(entry, Orphan):
                self._entries.pop(code, None)

    def poll(self) -> None:
        """Reads again what has changed since the last poll. With the database away everything stays as it is."""
        if self._seq is None:
            return
        try:
            with self._engine.connect() as connection:
                upto, codes = changes.since(connection, self._seq)
                if upto == self._seq:
                    return
                # From here on no reading that began before may be kept.
                self._generation += 1
                if changes.UNKNOWN_CODES in codes:
                    self._forget_unknown()
                for code in codes & self._entries.keys():
                    connection.rollback()
                    self._keep(code, self._read(connection, code))
                # Last: should the database go away in between, all of it is done again.
                self._seq = upto
        except SQLAlchemyError as error:
            log.warning("link changes cannot be read: %s", error)

    def close(self) -> None:
        self._engine.dispose()
