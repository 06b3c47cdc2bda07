"""The loader: spool to store, exactly once. It reads, judges, enriches, attributes and appends; nobody waits for it."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from tracker import days
from tracker.config import Settings
from tracker.events import Event, Kind, encode
from tracker.jobs import Installation, Schedule, oldest_salt
from tracker.metering import Meters
from tracker.pipeline import segments
from tracker.pipeline.attribution import Place, Places, apply_conversion, settle_clicks, workspace_place
from tracker.pipeline.enrich import Visitors, known_of, storable
from tracker.pipeline.strangers import UnknownCodes
from tracker.pipeline.verdicts import judge
from tracker.stores import Batch, EventStore, StaleBatch, StoredEvent

BATCH_BYTES = 1024 * 1024
IDLE_S = 0.2
RETRY_S = 1.0

log = logging.getLogger(__name__)


# The database's or the disk's: what failed is tried again.
NOT_THE_RECORDS_FAULT = (OperationalError, InterfaceError, OSError)

Record = tuple[int, Event]


class Row(NamedTuple):
    """An event of a run with its offset, as it was read and as it is to be stored."""

    offset: int
    event: Event
    stored: StoredEvent


class Loader:
    """One per spool; a lock on the spool keeps a second one out."""

    def __init__(self, settings: Settings, engine: Engine, store: EventStore, meters: Meters | None = None) -> None:
        self._settings = settings
        self._engine = engine
        self._store = store
        self._meters = meters or Meters()
        self._folder = settings.spool_dir
        self._visitors = Visitors(engine)
        self._unknown_codes = UnknownCodes()
        self._positions: dict[str, int] = {}
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

    def load_once(self) -> int:
        """Takes one batch from each segment that has one; answers how many events were stored."""
        loaded = 0
        for segment in segments.names(self._folder):
            # Asked before reading: whatever a writer wrote before it let go is then certain to be seen.
            complete = segments.is_complete(self._folder / segment)
            position = self._positions.get(segment)
            if position is None:
                position = self._store.position(segment)
            run = segments.read_run(self._folder, segment, position, BATCH_BYTES)
            if run is not None:
                loaded += self._load(run)
                position = self._positions[segment]
            # At once where nothing is left: on a full disk every segment that goes makes room.
            if complete and (run is None or position == (self._folder / segment).stat().st_size):
                segments.finish(self._folder, segment, position)
                if position:
                    self._store.forget_segment(segment)
                self._positions.pop(segment, None)
        settle_clicks(self._engine, self._store)
        return loaded

    def _load(self, run: segments.Run) -> int:
        found = segments.events_of(self._folder, run)
        with Session(self._engine) as session:
            rows = self._prepare(session, run, found)
        rows = [row._replace(stored=self._unknown_codes.bound(row.stored)) for row in rows]
        try:
            stored = self._append(run, rows)
        except StaleBatch:
            # Committed, though the answer was lost: the ledger tells how far.
            self._positions[run.segment] = self._store.position(run.segment)
            return 0
        self._positions[run.segment] = run.end
        self._meters.stored((row.stored.kind, row.stored.verdict) for row in stored)
        return len(stored)

    def _prepare(self, session: Session, run: segments.Run, found: Sequence[Record]) -> list[Row]:
        """Judges and enriches. A record that cannot be is set aside: it must not hold up what comes behind it."""
        places = Places(session, [event for _, event in found])
        rows = []
        for offset, event in found:
            try:
                rows.append(Row(offset, event, self._row(session, places, event)))
            except NOT_THE_RECORDS_FAULT:
                raise
            except Exception as error:
                session.rollback()
                segments.set_record_aside(self._folder, run, offset, encode(event), error)
        return rows

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
        judgement = judge(event, known=place is not None)
        workspace_id = place.workspace_id if place else places.first_workspace
        known = known_of(event.agent, event.referrer, event.language)
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
            None,
            known.referrer,
            known.language,
            known.device,
            known.os,
            known.browser,
            None,
            None,
        )

    def _place(self, session: Session, places: Places, event: Event) -> Place | None:
        if event.kind not in (Kind.CONVERSION, Kind.CALLBACK):
            return places.of(event)
        if event.applied:
            return places.of(event) if event.link_id else workspace_place(session, event)
        return apply_conversion(session, event, self._settings.secrets)


def _batch(run: segments.Run, rows: Sequence[Row]) -> Batch:
    return Batch(run.segment, run.start, run.end, [row.stored for row in rows])


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
