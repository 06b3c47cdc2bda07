"""What is known of a hit beyond its request: the visitor and where they came from. The address ends here."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import date, timedelta
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tracker.agents import describe
from tracker.days import DAY_MS
from tracker.events import Event
from tracker.extensions import insert_into
from tracker.models import Salt

HOST_MAX = 255
KNOWN_MAX = 50_000
SALT_BYTES = 32
EPOCH = date(1970, 1, 1)


@lru_cache(maxsize=10_000)
def network_of(address: str) -> str:
    """What stands for a household: an IPv4 address, or the /64 of an IPv6 one."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))


def referrer_host(referrer: str) -> str | None:
    try:
        return (urlsplit(referrer).hostname or "")[:HOST_MAX] or None
    except ValueError:
        return None


def storable(text: str | None) -> str | None:
    """The text as every store can keep it, `None` for an empty one: PostgreSQL has no NUL character."""
    return text.replace("\0", "\ufffd") if text and "\0" in text else text or None


class Known(NamedTuple):
    """What a request says of itself beyond the address, as it is stored."""

    agent: str | None
    referrer: str | None
    language: str | None
    device: str | None
    os: str | None
    browser: str | None


@lru_cache(maxsize=KNOWN_MAX)
def known_of(agent: str, referrer: str, language: str) -> Known:
    """Remembered as a whole: many hits of a minute are alike. Of a bot, too: its verdict may be revised."""
    facts = describe(agent)
    texts = (agent, referrer_host(referrer), language_of(language), *facts)
    return Known(*map(storable, texts))


def language_of(accepted: str) -> str | None:
    """The language asked for first (`de` of `de-AT,de;q=0.9`), without its region; `None` where none is named.

    Browsers send the preferred one first (RFC 9110, 12.5.4 weighs them by q, which begins at 1).
    """
    primary = accepted.partition(",")[0].partition(";")[0].strip().partition("-")[0].lower()
    return primary if primary.isascii() and primary.isalpha() and 2 <= len(primary) <= 3 else None


def _hash(salt: bytes, workspace_id: int, event: Event) -> int:
    text = f"{workspace_id}\n{network_of(event.address)}\n{event.agent}"
    return int.from_bytes(blake2b(text.encode(), key=salt, digest_size=8).digest(), "big") >> 1


class Visitors:
    """Hashes visitors under the salt of their UTC day; salts are shared by all loaders through the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._salts: dict[int, bytes] = {}

    def hash(self, workspace_id: int, event: Event) -> int | None:
        """63 bits that stand for (workspace, network, agent) on that day; `None` under Global Privacy Control."""
        if event.gpc:
            return None
        # A day of UTC, counted from 1970: the salt's day is nobody's local day.
        day = event.at_ms // DAY_MS
        salt = self._salts.get(day) or self._salt(day)
        return _hash(salt, workspace_id, event)

    def hash_before(self, workspace_id: int, event: Event) -> int | None:
        """What stood for the same visitor on the day before; `None` under GPC, and where that day's salt is gone."""
        if event.gpc:
            return None
        day = event.at_ms // DAY_MS - 1
        salt = self._salts.get(day) or self._stored_salt(day)
        return None if salt is None else _hash(salt, workspace_id, event)

    def _stored_salt(self, day: int) -> bytes | None:
        with Session(self._engine) as session:
            salt = session.scalar(select(Salt.salt).where(Salt.day == EPOCH + timedelta(days=day)))
        if salt is not None:
            self._salts[day] = salt
        return salt

    def meet(self, days: Iterable[int]) -> None:
        """Has the salts of these days at hand: making one needs the right to write, which its user may not let go."""
        for day in days:
            if day not in self._salts:
                self._salt(day)

    def _salt(self, day: int) -> bytes:
        on = EPOCH + timedelta(days=day)
        with Session(self._engine) as session:
            new = insert_into(self._engine.dialect.name, Salt).on_conflict_do_nothing()
            session.execute(new.values(day=on, salt=secrets.token_bytes(SALT_BYTES)))
            session.commit()
            salt = session.scalars(select(Salt.salt).where(Salt.day == on)).one()
        self._salts[day] = salt
        return salt

    def forget_before(self, day: date) -> None:
        """Drops salts from memory whose rows are, or are about to be, destroyed."""
        first = (day - EPOCH).days
        self._salts = {known: salt for known, salt in self._salts.items() if known >= first}
