"""Sums of what each model of attribution credits: kept up by differences, held against the touches, made anew.

A credit's date is its touch's own instant, as a conversion's is its click's. Where no touch is known, of a conversion
given to a campaign by hand, all models credit that campaign at the conversion's own instant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import Engine, Table, delete, exists, literal, select, union
from sqlalchemy.orm import Session

from tracker import credits, summing
from tracker.credits import Model
from tracker.days import BUCKET_MS, DAY_MS
from tracker.events import Kind
from tracker.extensions import hold, in_list
from tracker.models import Campaign, Conversion
from tracker.reported import Credited, Touch
from tracker.salesums import COUNTING, VIEW
from tracker.stores import Drift
from tracker.summing import DAY
from tracker.sums import CreditDay, CreditQuarter

IN_MAX = 500
WRITER = "credits"  # whoever writes these sums holds this name: each change is read, taken back and made anew

QUARTERS = cast(Table, CreditQuarter.__table__)
DAYS = cast(Table, CreditDay.__table__)


class Worth(NamedTuple):
    """What of a conversion is credited: where and when, should no touch be known, and its money."""

    campaign_id: int
    at_ms: int
    minor: int
    currency: str


class Step(NamedTuple):
    """A touch of a path, as `Touch` keeps it."""

    at_ms: int
    nonce: int
    kind: int
    campaign_id: int
    link_id: int
    via: str


class Share(NamedTuple):
    """What one model gives one touch."""

    campaign_id: int
    at_ms: int
    model: int
    link_id: int
    currency: str
    millionths: int
    minor: int


# By campaign, step of time, model, link and currency: millionths and minor units.
Key = tuple[int, int, int, int, str]


def worth_of(conversion: Conversion) -> Worth | None:
    """`None` for a conversion that no figure counts; one that only a view stands behind has no click to be credited."""
    counts = conversion.status in COUNTING and not conversion.is_test and not conversion.outside_window
    if not counts or conversion.matched_by == VIEW:
        return None
    money = (conversion.minor or 0, conversion.currency or "") if conversion.minor is not None else (0, "")
    return Worth(conversion.campaign_id, conversion.click_at_ms, *money)


def shares(worth: Worth, steps: Sequence[Step]) -> Iterator[Share]:
    """What every model gives the touches of a conversion, those that get nothing left out.

    Clicks are credited and no impressions. Without any the conversion itself stands for one.
    """
    steps = [step for step in steps if step.kind == Kind.CLICK] or [
        Step(worth.at_ms, 0, Kind.CLICK, worth.campaign_id, 0, "")
    ]
    instants = [step.at_ms for step in steps]
    for model in Model:
        weights = credits.weights(model, instants)
        credited, money = credits.share(credits.WHOLE, weights), credits.share(worth.minor, weights)
        for step, millionths, minor in zip(steps, credited, money, strict=True):
            if millionths or minor:
                yield Share(step.campaign_id, step.at_ms, model, step.link_id, worth.currency, millionths, minor)


class Changes:
    """What sums are to change by, added up before they are written."""

    def __init__(self) -> None:
        self._sums: dict[Table, dict[Key, list[int]]] = {QUARTERS: {}, DAYS: {}}

    def add(self, worth: Worth | None, steps: Sequence[Step], sign: int = 1) -> None:
        """Adds what a conversion's touches are given, or with -1 takes it back."""
        if worth is None:
            return
        for share in shares(worth, steps):
            for table, step_ms in ((QUARTERS, BUCKET_MS), (DAYS, DAY_MS)):
                key = (share.campaign_id, share.at_ms // step_ms, share.model, share.link_id, share.currency)
                kept = self._sums[table].setdefault(key, [0, 0])
                kept[0] += sign * share.millionths
                kept[1] += sign * share.minor

    def write(self, session: Session) -> None:
        for table, sums in self._sums.items():
            rows = [(*key, *sums[key]) for key in sorted(sums) if any(sums[key])]
            if rows:
                summing.add(session.connection(), table, rows)


def begin(session: Session) -> None:
    """Comes first in a transaction that changes these sums: until it ends nobody else does."""
    hold(session.connection(), WRITER)
    # SQLite's one lock comes with the first change, and is refused to who has read before another wrote.
    session.execute(delete(Credited).where(Credited.conversion_id == -1))


def worths(session: Session, ids: Sequence[int]) -> dict[int, Worth]:
    """What the sums hold of these conversions, by their ids."""
    columns = (Credited.campaign_id, Credited.at_ms, Credited.minor, Credited.currency)
    found: dict[int, Worth] = {}
    for start in range(0, len(ids), IN_MAX):
        query = select(Credited.conversion_id, *columns).where(Credited.conversion_id.in_(ids[start : start + IN_MAX]))
        found.update((row[0], Worth(*row[1:])) for row in session.execute(query))
    return found


def paths_of(session: Session, ids: Sequence[int]) -> dict[int, list[Step]]:
    """The paths that are stored of these conversions, the earliest touch first."""
    columns = [getattr(Touch, name) for name in Step._fields]
    found: dict[int, list[Step]] = {}
    for start in range(0, len(ids), IN_MAX):
        query = select(Touch.conversion_id, *columns).where(Touch.conversion_id.in_(ids[start : start + IN_MAX]))
        for row in session.execute(query.order_by(Touch.conversion_id, Touch.position)):
            found.setdefault(row[0], []).append(Step(*row[1:]))
    return found


# What holds the sums against what they are of.


def days_held(engine: Engine) -> list[int]:
    """The UTC days, counted from 1970, that have sums or should have."""
    day_of = (column // literal(DAY_MS, literal_execute=True) for column in (Touch.at_ms, Credited.at_ms))
    with engine.connect() as connection:
        return sorted(connection.scalars(union(select(DAYS.c.day), *(select(day) for day in day_of))))


def drifts(session: Session, day: int) -> list[Drift]:
    """Where the sums of a UTC day (from 1970) differ from the touches of it, and conversions from what is credited."""
    should, found = _counted(session, day), []
    for table, column, first, last in _ranges(day):
        query = select(table).where(column >= first, column < last)
        has: dict[Any, tuple[int, int]] = {}
        for row in session.execute(query):
            if any(row[5:]):
                has[tuple(row[:5])] = (int(row[5]), int(row[6]))
        want = {key: (sums[0], sums[1]) for key, sums in should[table].items() if any(sums)}
        for key in sorted(has.keys() | want.keys()):
            if (kept := has.get(key, (0, 0))) != (counted := want.get(key, (0, 0))):
                found.append(Drift(table.name, key, kept, counted))
    return found + [_drift(*each) for each in _stale(session, day)]


def repair(session: Session, day: int) -> None:
    """Makes the sums of a UTC day anew and commits; what changed unseen is looked at again by the loader."""
    begin(session)
    should = _counted(session, day)
    for table, column, first, last in _ranges(day):
        session.execute(delete(table).where(column >= first, column < last))
        rows = [
            dict(zip((each.name for each in table.columns), (*key, *sums), strict=True))
            for key, sums in sorted(should[table].items())
            if any(sums)
        ]
        if rows:
            session.connection().execute(table.insert(), rows)
    for conversion, _, _ in _stale(session, day):
        conversion.path_settled = False
    session.commit()


def _ranges(day: int) -> Iterator[tuple[Table, Any, int, int]]:
    yield QUARTERS, QUARTERS.c.bucket, day * DAY, (day + 1) * DAY
    yield DAYS, DAYS.c.day, day, day + 1


def _counted(session: Session, day: int) -> Mapping[Table, dict[Key, list[int]]]:
    """What the touches of a day add up to."""
    changes, ids = _Within(day), sorted(_credited_on(session, day))
    for start in range(0, len(ids), IN_MAX):
        some = ids[start : start + IN_MAX]
        touches, known = paths_of(session, some), worths(session, some)
        for each in some:
            changes.add(known[each], touches.get(each, ()))
    return changes.sums


class _Within(Changes):
    """Of all that conversions are credited only what falls on one day."""

    def __init__(self, day: int) -> None:
        super().__init__()
        self._day = day

    @property
    def sums(self) -> Mapping[Table, dict[Key, list[int]]]:
        return {
            QUARTERS: {key: sums for key, sums in self._sums[QUARTERS].items() if key[1] // DAY == self._day},
            DAYS: {key: sums for key, sums in self._sums[DAYS].items() if key[1] == self._day},
        }


def _credited_on(session: Session, day: int) -> set[int]:
    """Credited conversions that a touch of a day belongs to, or that are credited on it without one."""
    within = day * DAY_MS, (day + 1) * DAY_MS
    # By campaign and time there is an index; by time alone there is none.
    campaigns = list(session.scalars(select(Campaign.id)))
    touched = select(Touch.conversion_id).where(
        in_list(Touch.campaign_id, campaigns), Touch.at_ms >= within[0], Touch.at_ms < within[1]
    )
    found = set(session.scalars(touched.where(exists().where(Credited.conversion_id == Touch.conversion_id))))
    alone = select(Credited.conversion_id).where(Credited.at_ms >= within[0], Credited.at_ms < within[1])
    return found.union(session.scalars(alone))


def _stale(session: Session, day: int) -> list[tuple[Conversion, Worth | None, Worth | None]]:
    """Settled conversions of clicks of a day that are not credited as they are: as credited, and as they should be."""
    query = select(Conversion).where(
        Conversion.click_at_ms >= day * DAY_MS,
        Conversion.click_at_ms < (day + 1) * DAY_MS,
        Conversion.path_settled,
    )
    settled = list(session.scalars(query))
    known = worths(session, [each.id for each in settled])
    pairs = ((each, known.get(each.id), worth_of(each)) for each in settled)
    return [(each, has, want) for each, has, want in pairs if has != want]


def _drift(conversion: Conversion, has: Worth | None, want: Worth | None) -> Drift:
    """As counted money: -1 for what is not credited."""
    return Drift("credited", (conversion.id,), (has.minor if has else -1,), (want.minor if want else -1,))


def settle(session: Session, worths_now: Mapping[int, Worth | None]) -> None:
    """Writes down what the sums hold of conversions from now on."""
    session.execute(delete(Credited).where(Credited.conversion_id.in_(list(worths_now))))
    rows = [{"conversion_id": each, **worth._asdict()} for each, worth in worths_now.items() if worth is not None]
    if rows:
        session.execute(cast(Table, Credited.__table__).insert(), rows)
