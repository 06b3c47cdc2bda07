"""Periodic work, as one table."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Engine, Text, cast, delete, or_, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tracker import aside, changes, conversionfile, conversions, days, losses, mailing, matchkeys, signing, testcodes
from tracker.config import Settings
from tracker.destinationchecks import DestinationChecks
from tracker.extensions import empty_journal
from tracker.models import Report, Salt
from tracker.stores import EventStore

DAYS_AHEAD_MAX = timedelta(days=2)  # of the oldest: tomorrow, for a clock that is a little fast at midnight
CHANGES_KEPT = timedelta(days=1)
SALTS_LOOKED_AT = timedelta(minutes=10)
ORPHANS_KEPT = timedelta(days=30)  # as many as their page shows
REPORTS_AT_ONCE = 1000
PACKED_WITHIN_S = 0.2  # and what was begun by then, which takes as long at most

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Installation:
    """What periodic work is done on."""

    settings: Settings
    engine: Engine
    store: EventStore
    checks: DestinationChecks = field(default_factory=DestinationChecks)


def oldest_salt(now: datetime) -> date:
    """The earliest UTC day whose salt may still exist: a salt goes just before the day after its own is over.

    Made at the earliest when its day began, it has lived for less than 48 hours then, whenever the job comes by.
    """
    return (now.astimezone(UTC) + SALTS_LOOKED_AT).date() - timedelta(days=1)


def destroy_salts(on: Installation, now: datetime) -> None:
    oldest = oldest_salt(now)
    with Session(on.engine) as session:
        # One of a day far ahead was made while a clock was wrong, and would outlive its two days by as much.
        old = or_(Salt.day < oldest, Salt.day > oldest + DAYS_AHEAD_MAX)
        destroyed = list(session.scalars(delete(Salt).where(old).returning(Salt.day)))
        session.commit()
    if destroyed:
        # Else its bytes stay in SQLite's journal, on a quiet site for days.
        empty_journal(on.engine)
    on.store.forget_visitors((oldest - date(1970, 1, 1)).days)


def apply_retention(on: Installation, now: datetime) -> None:
    """Deletes raw events past their time; rollups stay, so reports keep their figures."""
    if on.settings.retention_days:
        on.store.prune(now - timedelta(days=on.settings.retention_days))


def empty_reports(on: Installation, now: datetime) -> None:
    """Takes from conversion reports past their time what the sender said; what became of each stays."""
    if not on.settings.retention_days:
        return
    before_ms = days.to_ms(now - timedelta(days=on.settings.retention_days))
    old = select(Report.id).where(Report.at_ms < before_ms, cast(Report.params, Text) != "{}")
    while True:
        with Session(on.engine) as session:
            ids = list(session.scalars(old.limit(REPORTS_AT_ONCE)))
            session.execute(update(Report).where(Report.id.in_(ids)).values(params={}, agent=None))
            session.commit()
        if len(ids) < REPORTS_AT_ONCE:
            return


def forget_tests(on: Installation, now: datetime) -> None:
    with Session(on.engine) as session:
        testcodes.forget(session, now)


def clear_imports(on: Installation, now: datetime) -> None:
    conversionfile.clear(on.settings.data_dir, now)


def erase_match_keys(on: Installation, now: datetime) -> None:
    """Takes what networks match customers by, of those not heard of for the time that reports are kept."""
    kept_days = on.settings.retention_days
    with Session(on.engine) as session:
        matchkeys.tidy(session, now - timedelta(days=kept_days) if kept_days else None)


def trim_orphans(on: Installation, now: datetime) -> None:
    """Drops the sums of unknown codes that no page shows any more: codes come from strangers, without end."""
    on.store.forget_orphans((now.astimezone(UTC).date() - ORPHANS_KEPT - date(1970, 1, 1)).days)


def empty_aside(on: Installation, now: datetime) -> None:
    aside.tidy(on.settings.spool_dir, days.to_ms(now))


def trim_changes(on: Installation, now: datetime) -> None:
    """Edges poll every half second; a day of changes is more than any of them can be behind. The newest row stays."""
    with Session(on.engine) as session:
        changes.trim(session, now - CHANGES_KEPT)


def tidy_losses(on: Installation, now: datetime) -> None:
    losses.tidy(on.settings.spool_dir, days.to_ms(now))


def retry_unmatched(on: Installation, now: datetime) -> None:
    """Judges reports again whose click or sale came to be known since; each by itself, so that one bad cannot stop."""
    with Session(on.engine) as session:
        ids = conversions.waiting(session, now, on.settings.secrets_changed_at)
    for report_id in ids:
        try:
            with Session(on.engine) as session:
                conversions.retry(session, session.get_one(Report, report_id), on.settings.secrets.keys)
                session.commit()
        except OperationalError:
            raise  # the database is away: so it would be for all
        except Exception:
            log.exception("report %d cannot be judged again", report_id)
            with Session(on.engine) as session:  # it waits like one that came to nothing
                session.execute(update(Report).where(Report.id == report_id).values(retried_at=now))
                session.commit()


def forget_signatures(on: Installation, now: datetime) -> None:
    with Session(on.engine) as session:
        signing.forget_spent(session, now)


def check_destinations(on: Installation, now: datetime) -> None:
    """Others' servers take their time: a thread waits for them, and the loader goes on at once."""
    on.checks.start(on.settings, on.engine, on.store, now)


def pack_events(on: Installation, now: datetime) -> None:
    """A little at a time: the loader waits meanwhile."""
    on.store.pack(now, PACKED_WITHIN_S)


postman = mailing.Postman()


def send_mails(on: Installation, now: datetime) -> None:
    """Not here, where what is loaded would wait for a mail server."""
    postman.go(on.settings, on.engine, now)


Job = Callable[[Installation, datetime], None]

# What is done, and every how many seconds.
TABLE: tuple[tuple[Job, int], ...] = (
    (destroy_salts, int(SALTS_LOOKED_AT.total_seconds())),
    (apply_retention, 3600),
    (empty_reports, 6 * 3600),
    (erase_match_keys, 3600),
    (empty_aside, 3600),
    (trim_orphans, 3600),
    (trim_changes, 3600),
    (tidy_losses, 3600),
    (retry_unmatched, 60),
    (pack_events, 5),
    (send_mails, 60),
    (forget_tests, 3600),
    (forget_signatures, 3600),
    (clear_imports, 3600),
    (check_destinations, 300),
)


class Schedule:
    """Runs what is due. The loader's process is the only one that has one."""

    def __init__(self, on: Installation) -> None:
        self._on = on
        self._done_at: dict[Job, float] = {}

    def run_due(self, now: datetime) -> None:
        """A job that fails is told of and tried again when it is next due; the others run all the same."""
        for job, every_s in TABLE:
            if time.monotonic() - self._done_at.get(job, -every_s) < every_s:
                continue
            self._done_at[job] = time.monotonic()
            try:
                job(self._on, now)
            except Exception:
                log.exception("%s failed", job.__name__)
