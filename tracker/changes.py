"""The change sequence: who changes a link announces it, and every edge reads what was announced since it last asked.

A reader asks for numbers above the last it has seen. That misses nothing only where numbers become visible in their
order, so on a database with several writers at once each takes a lock from drawing its number to its commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.orm import Session

from tracker.extensions import hold
from tracker.models import LinkChange

UNKNOWN_CODES = "?"  # whatever is remembered as no link's code must be forgotten
CHANGES_MAX = 10_000
Reader = Connection | Session


def announce(session: Session, codes: Iterable[str]) -> None:
    """Adds to the sequence. Belongs right before the commit: until then nobody else can announce anything."""
    hold(session.connection(), "link_changes")
    session.add_all(LinkChange(code=code) for code in codes)
    session.flush()


def newest(session: Reader) -> int:
    """The last number there is; 0 where there is none."""
    return session.scalar(select(func.max(LinkChange.seq))) or 0


def since(session: Reader, seq: int) -> tuple[int, set[str]]:
    """The codes announced after a number, CHANGES_MAX announcements at most, and the number to ask with next."""
    query = select(LinkChange.seq, LinkChange.code).where(LinkChange.seq > seq)
    found = session.execute(query.order_by(LinkChange.seq).limit(CHANGES_MAX)).all()
    return (found[-1].seq if found else seq), {row.code for row in found}


def trim(session: Session, before: datetime) -> None:
    """Drops announcements older than an instant and commits; the newest stays, its number is where readers begin."""
    session.execute(delete(LinkChange).where(LinkChange.at < before, LinkChange.seq < newest(session)))
    session.commit()
