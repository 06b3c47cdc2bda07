"""The loader: spool to store, exactly once. It reads, judges, enriches, attributes and appends; nobody waits for it."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from tracker import clickcost, days
from tracker.channels import channel_of
from tracker.config import Settings
from tracker.countries import open_countries
from tracker.days import DAY_MS
from tracker.events import Event, Kind, Verdict, encode
from tracker.jobs import Installation, Schedule, oldest_salt
from tracker.metering import Meters
from tracker.pipeline import segments
from tracker.pipeline.attribution import Place, Places, Settling, apply_conversion
from tracker.pipeline.enrich import Visitors, known_of, storable
from tracker.pipeline.judging import Judge, Row
from tracker.pipeline.paths import Paths
from tracker.pipeline.strangers import UnknownCodes
from tracker.pipeline.verdicts import judge
from tracker.pipeline.views import Views
from tracker.salesums import SaleSums
from tracker.stores import Batch, EventStore, StaleBatch, StoredEvent

BATCH_BYTES = 1024 * 1024
SEGMENTS_MAX = 8  # of one pass, in turn; each edge process writes one at a time
IDLE_S = 0.2
RETRY_S = 1.0
COMMITTED_AT_ONCE = 500  # events; who reports one of their sales again waits for them
GARBAGE_MIN = 200_000  # objects made and not freed before a collection looks for circles among them

log = logging.getLogger(__name__)


# The database's or the disk's: what failed is tried again.
NOT_THE_RECORDS_FAULT = (OperationalError, InterfaceError, OSError)

# A conversion's address and referrer are a shop's.
HITS = frozenset({int(Kind.IMPRESSION), int(Kind.CLICK), int(Kind.HONEYPOT)})
REPORTS = frozenset({int(Kind.CONVERSION), int(Kind.CALLBACK)})

Record = tuple[int, Event]


def collect_rarely() -> None:
    """For a process that does little but load: looking through a batch's events for circles, of which they have none,
    took a quarter of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_MIN)


class Loader:
    """One per spool; a lock on the spool keeps a second one out."""

    def __init__(self, settings: Settings, engine: Engine, store: EventStore, meters: Meters | None = None) -> None:
        self._settings = settings
        self._engine = engine
        self._store = store
        self._meters = meters or Meters()
        self._folder = settings.spool_dir
        self._visitors = Visitors(engine)
        self._judge = Judge(engine, store)
        self._countries = open_countries(settings.geo_db, settings.data_dir)
        self._unknown_codes = UnknownCodes()
        self._positions: dict[str, int] = {}
        self._sums = SaleSums()
        self._settling = Settling(engine, store)
        self._views = Views(engine, store, self._visitors, settings.secrets.keys)
        self._paths = Paths(engine, store, settings.secrets.keys)
        self._schedule = Schedule(Installation(settings, engine, store))

    def run(self, stop: threading.Event) -> None:
        """Loads until told to stop. After an error it tries again: meanwhile the spool grows and nothing is lost."""
        lock = self._open_lock()
        try:
            while not stop.is_set() and not _locked(lock):
                stop.wait(IDLE_S)
            while not stop.is_set():
                try:
                    pause_s = 0 if self.load_once() else IDLE_S
                    now = days.now()
                    self._schedule.run_due(now)
                    self._visitors.forget_before(oldest_salt(now))
                    self._meters.loader_succeeded()
                except Exception:
                    self._meters.loader_failed()
                    log.exception("the loader could not store; it tries again")
                    pause_s = RETRY_S
                stop.wait(pause_s)
        finally:
            os.close(lock)

    def _open_lock(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        return os.open(self._folder / "loader.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def drain(self, progress: Callable[[int], None] = lambda _stored: None) -> int:
        """Loads until nothing is left; answers how many events were stored, and tells `progress` of each batch.

        Where a server's loader is at work it waits until that one is done.
        """
        stored = 0
        lock = self._open_lock()
        try:
            while not _locked(lock):
                if not self._left():
                    return stored
                time.sleep(IDLE_S)
            while loaded := self.load_once():
                stored += loaded
                progress(loaded)
        finally:
            os.close(lock)
        return stored

    def _left(self) -> bool:
        """Whether the spool holds anything that is not stored."""
        return any(
            (self._folder / segment).stat().st_size > self._store.position(segment)
            for segment in segments.names(self._folder)
        )

    def _is_left(self, segment: str) -> bool:
        """Whether a segment goes on beyond what is stored of it, as this loader has it in mind."""
        return (self._folder / segment).stat().st_size > self._position(segment)

    def load_once(self) -> int:
        """Takes one batch from each segment that has one; answers how many events were stored."""
        self._countries.refresh()
        segment_names = segments.names(self._folder)
        # Asked before reading: whatever a writer wrote before it let go is then certain to be seen.
        complete = [segment for segment in segment_names if segments.is_complete(self._folder / segment)]
        waiting = [(segment, self._position(segment)) for segment in segment_names if self._is_left(segment)]
        taken = segments.due(self._folder, waiting, SEGMENTS_MAX)
        runs, torn = segments.read_runs(self._folder, taken, BATCH_BYTES)
        loaded = self._load(runs) if runs or not self._judge.is_warm else 0
        for segment in complete:
            # At once where nothing is left: on a full disk every segment that goes makes room.
            if segment in torn or not self._is_left(segment):
                position = self._positions.pop(segment)
                segments.finish(self._folder, segment, position)
                if position:
                    self._store.forget_segment(segment)
        self._settling.go_on()
        self._views.go_on(self._stored_upto_ms)
        self._paths.go_on(self._stored_upto_ms)
        return loaded

    def _stored_upto_ms(self) -> int:
        """The instant before which nothing is left in the spool."""
        now_ms = days.to_ms(days.now())
        return now_ms - int(segments.lag_s(self._folder, self._position, now_ms) * 1000)

    def _position(self, segment: str) -> int:
        if segment not in self._positions:
            self._positions[segment] = self._store.position(segment)
        return self._positions[segment]

    def _load(self, runs: Sequence[segments.Run]) -> int:
        """Judges the runs together, in the order of time, and stores each."""
        found = [segments.events_of(self._folder, run) for run in runs]
        stored = 0
        try:
            with Session(self._engine, expire_on_commit=False) as session:
                prepared = self._prepare(session, runs, found)
                for rows in prepared:
                    for row in rows:
                        row.stored = self._unknown_codes.bound(row.stored)
                self._judge.take(session, [row for rows in prepared for row in rows])
            for run, rows in zip(runs, prepared, strict=True):
                stored += self._store_run(run, rows)
            self._judge.revise()
        except BaseException:
            self._judge.forget()
            self._sums.clear()
            raise
        return stored

    def _store_run(self, run: segments.Run, rows: list[Row]) -> int:
        try:
            kept = self._append(run, rows)
        except StaleBatch:
            # Committed, though the answer was lost: the ledger tells how far.
            self._positions[run.segment] = self._store.position(run.segment)
            self._judge.forget()
            return 0
        self._positions[run.segment] = run.end
        self._meters.stored((row.stored.kind, row.stored.verdict) for row in kept)
        return len(kept)

    def _prepare(
        self, session: Session, runs: Sequence[segments.Run], found: Sequence[Sequence[Record]]
    ) -> list[list[Row]]:
        """Judges each event by itself, enriches, and records conversions, many with one commit.

        Where that goes wrong it is done again, one by one: a conversion that is recorded already stays as it is.
        """
        self._visitors.meet({event.at_ms // DAY_MS for records in found for _, event in records})
        places = Places(session, [event for records in found for _, event in records])
        self._judge.read_rules(session, places.workspaces)
        return [self._prepare_run(session, places, *each) for each in zip(runs, found, strict=True)]

    def _prepare_run(self, session: Session, places: Places, run: segments.Run, found: Sequence[Record]) -> list[Row]:
        rows = []
        try:
            hits = self._hits(session, places, found)
            for number, (offset, event) in enumerate(found, 1):
                rows.append(Row(offset, event, hits.get(offset) or self._row(session, places, event)))
                if not number % COMMITTED_AT_ONCE:
                    self._commit(session)
            self._commit(session)
        except NOT_THE_RECORDS_FAULT:
            raise
        except Exception:
            self._roll_back(session)
            return self._prepare_singly(session, places, run, found)
        return rows

    def _hits(self, session: Session, places: Places, found: Sequence[Record]) -> dict[int, StoredEvent]:
        """The hits of a run as they are to be stored, by offset.

        Before any conversion is recorded: from then to the commit others may not write, and to read a user agent for
        the first time takes a millisecond. What is known of a conversion's own is remembered until its turn.
        """
        hits = {}
        for offset, event in found:
            if event.kind in REPORTS:
                known_of(event.agent, event.referrer, event.language)
            else:
                hits[offset] = self._row(session, places, event)
        return hits

    def _prepare_singly(
        self, session: Session, places: Places, run: segments.Run, found: Sequence[Record]
    ) -> list[Row]:
        """A record that cannot be judged or recorded is set aside: it must not hold up what comes behind it."""
        rows = []
        for offset, event in found:
            try:
                rows.append(Row(offset, event, self._row(session, places, event)))
                self._commit(session)
            except NOT_THE_RECORDS_FAULT:
                raise
            except Exception as error:
                self._roll_back(session)
                segments.set_record_aside(self._folder, run, offset, encode(event), error)
        return rows

    def _commit(self, session: Session) -> None:
        self._sums.write(session)
        session.commit()

    def _roll_back(self, session: Session) -> None:
        self._sums.clear()
        session.rollback()

    def _append(self, run: segments.Run, rows: list[Row]) -> list[Row]:
        """Stores a batch; what the store refuses of it is set aside. Answers what was stored."""
        try:
            self._store.append(_batch(run, rows))
        except (*NOT_THE_RECORDS_FAULT, StaleBatch):
            raise
        except Exception as error:
            refused = set(self._refused(run, rows))
            if not refused:
                raise
            for row in refused:
                segments.set_record_aside(self._folder, run, row.offset, encode(row.event), error)
            rows = [row for row in rows if row not in refused]
            self._store.append(_batch(run, rows))
        return rows

    def _refused(self, run: segments.Run, rows: list[Row]) -> list[Row]:
        """The rows that the store refuses, each by itself; found by trying halves and taking all of it back."""
        try:
            self._store.rehearse(_batch(run, rows))
        except (*NOT_THE_RECORDS_FAULT, StaleBatch):
            raise
        except Exception:
            if len(rows) == 1:
                return rows
            middle = len(rows) // 2
            return self._refused(run, rows[:middle]) + self._refused(run, rows[middle:])
        return []

    def _row(self, session: Session, places: Places, event: Event) -> StoredEvent:
        place = self._place(session, places, event)
        workspace_id = place.workspace_id if place else places.first_workspace
        known = known_of(event.agent, event.referrer, event.language)
        judgement = judge(event, self._judge.rules(workspace_id), known.referrer, known=place is not None)
        if judgement.verdict == Verdict.TEST:
            judgement = places.issued.check(judgement, event, workspace_id)
        is_hit = event.kind in HITS
        has_cost = event.cost != "" and event.kind == Kind.CLICK
        # By position, in the order of StoredEvent's fields: names cost a microsecond here.
        return StoredEvent(
            event.at_ms,
            event.nonce,
            event.kind,
            judgement.verdict,
            workspace_id,
            place.campaign_id if place else None,
            place.link_id if place else None,
            self._visitors.hash(workspace_id, event) if workspace_id else None,
            known.agent,
            storable(judgement.detail),
            judgement.rule,
            known.referrer,
            known.language,
            known.device,
            known.os,
            known.browser,
            self._countries.code(event.address) if is_hit else None,
            channel_of(known.referrer, place.medium) if is_hit and place else None,
            place.currency if has_cost and place else None,
            clickcost.micros(event.cost) if has_cost else None,
        )

    def _place(self, session: Session, places: Places, event: Event) -> Place | None:
        if event.kind not in REPORTS:
            return places.of(event)
        if event.applied:
            return places.of(event) if event.link_id else places.workspace_of(event)
        return apply_conversion(session, places, event, self._settings.secrets, self._sums, self._views)


def _batch(run: segments.Run, rows: Sequence[Row]) -> Batch:
    return Batch(run.segment, run.start, run.end, [row.stored for row in rows])


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
