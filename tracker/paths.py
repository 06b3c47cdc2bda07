"""Paths: the touches that led to each conversion, stored in order, and credited in the same transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import Table, delete, select, update
from sqlalchemy.orm import Session

from tracker import credited
from tracker.credited import Changes, Step, Worth
from tracker.days import BUCKET_MS
from tracker.models import Conversion
from tracker.reported import Touch

TOUCHES_MAX = 50  # of one conversion: its first and the latest others
WAITING_MAX = 5_000  # conversions whose path is to be looked for, told at once
IN_MAX = 500
REPORT, SCRIPT, CUSTOMER, VISITOR = "report", "script", "customer", "visitor"
FORGOTTEN = "forgotten"  # whose touch it was, and so how it was known, has been erased


def waiting(session: Session, after_id: int) -> list[tuple[int, datetime]]:
    """Conversions whose path has not been looked for since their last report, in the order of their ids, with when they
    were made."""
    query = select(Conversion.id, Conversion.created_at).where(
        Conversion.path_settled.is_(False), Conversion.id > after_id
    )
    return [(row[0], row[1]) for row in session.execute(query.order_by(Conversion.id).limit(WAITING_MAX))]


def held(session: Session, ids: Collection[int], before: datetime) -> list[Conversion]:
    """Those of these conversions that came before an instant and still wait, held until the commit.

    What somebody else holds is left to the next time: a report of it is being recorded.
    """
    credited.begin(session)
    query = (
        select(Conversion)
        .where(Conversion.id.in_(ids), Conversion.path_settled.is_(False), Conversion.created_at <= before)
        .order_by(Conversion.id)
        .with_for_update(skip_locked=True, of=Conversion)
    )
    return list(session.scalars(query))


def rewrite(session: Session, paths: Mapping[int, Sequence[Step]], conversions: Iterable[Conversion]) -> None:
    """Puts these paths in the place of those that are stored, and credits them; the caller commits.

    What was credited before is taken back exactly, whatever has changed of the conversion since.
    """
    conversions = list(conversions)
    ids = [conversion.id for conversion in conversions]
    before, worths, changes = credited.paths_of(session, ids), credited.worths(session, ids), Changes()
    now: dict[int, Worth | None] = {}
    moved: dict[int, Sequence[Step]] = {}
    for conversion in conversions:
        old, new = before.get(conversion.id, []), paths[conversion.id]
        had, has = worths.get(conversion.id), credited.worth_of(conversion)
        if list(new) != old:
            moved[conversion.id] = new
        elif had == has:
            continue
        changes.add(had, old, -1)
        changes.add(has, new)
        now[conversion.id] = has
    _replace(session, moved)
    credited.settle(session, now)
    changes.write(session)


def _replace(session: Session, paths: Mapping[int, Sequence[Step]]) -> None:
    touches = cast(Table, Touch.__table__)
    session.execute(delete(touches).where(touches.c.conversion_id.in_(list(paths))))
    rows = [
        {"conversion_id": conversion_id, "position": position, **step._asdict()}
        for conversion_id, path in paths.items()
        for position, step in enumerate(path)
    ]
    if rows:
        session.execute(touches.insert(), rows)


def forget(session: Session, ids: Sequence[int]) -> None:
    """Erases which clicks led to these conversions; the caller commits.

    The links stay, and the quarter of an hour: so do the credits, but for what time decay makes of minutes.
    """
    if not ids:
        return
    credited.begin(session)
    for start in range(0, len(ids), IN_MAX):
        some = ids[start : start + IN_MAX]
        # A conversion whose path is being looked for is waited for: what is found now must not come after.
        session.execute(update(Conversion).where(Conversion.id.in_(some)).values(path_settled=True))
        query = select(Conversion).where(Conversion.id.in_(some)).execution_options(populate_existing=True)
        paths = {each: list(map(_blurred, path)) for each, path in credited.paths_of(session, some).items()}
        rewrite(session, {each: paths.get(each, []) for each in some}, session.scalars(query))


def _blurred(touch: Step) -> Step:
    return touch._replace(at_ms=touch.at_ms // BUCKET_MS * BUCKET_MS, nonce=0, via=FORGOTTEN)
