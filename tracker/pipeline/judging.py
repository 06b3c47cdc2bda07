"""The loader's judgement: each workspace's rules, and the windows over what is stored and what is about to be."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tracker.events import Event, Verdict
from tracker.pipeline import rules
from tracker.pipeline.attribution import CONVERTED, REVISABLE, converted
from tracker.pipeline.rules import Rules
from tracker.pipeline.verdicts import Judgement
from tracker.pipeline.windows import SWEEP_REACH_MS, Windows
from tracker.stores import EventStore, Revision, StoredEvent

# Stored events that are looked at again after a start or a failure: all of a light load's window, seconds of a heavy's.
WARM_MAX = 20_000
REVISED_AT_ONCE = 1_000
FIRST, LAST = (0, 0), (2**63 - 1, 0)


class Row:
    """An event of a run with its offset, as it was read and as it is to be stored."""

    __slots__ = ("event", "offset", "stored")

    def __init__(self, offset: int, event: Event, stored: StoredEvent) -> None:
        self.offset = offset
        self.event = event
        self.stored = stored


class Judge:
    """What the windows remember is at any time what a look at the store would tell, or is forgotten and looked up anew.

    So a batch that is tried again is judged as if for the first time, and what a crash left undone is found again.
    """

    def __init__(self, engine: Engine, store: EventStore) -> None:
        self._engine = engine
        self._store = store
        self._rules: dict[int, Rules] = {}
        self._windows: Windows | None = None

    @property
    def is_warm(self) -> bool:
        return self._windows is not None

    def forget(self) -> None:
        self._windows = None

    def read_rules(self, session: Session, workspaces: Collection[int]) -> None:
        """Asked with each batch and not with each event: a change is in force with the next."""
        self._rules = rules.of_workspaces(session, workspaces)

    def rules(self, workspace_id: int | None) -> Rules:
        return self._rules.get(workspace_id or 0, rules.DEFAULT)

    def take(self, session: Session, rows: Sequence[Row]) -> None:
        """Judges rows beside one another and beside what is stored, in the order of time."""
        rows = sorted(rows, key=lambda row: row.stored[:2])
        windows = self._windows or self._warmed(session, rows[0].stored.at_ms if rows else None)
        self._windows = windows
        for row in rows:
            event = row.stored
            if judgement := windows.judge(event, self.rules(event.workspace_id)):
                row.stored = judged(event, judgement)

    def _warmed(self, session: Session, first_ms: int | None) -> Windows:
        """Windows over what was stored last, before or about the first hit that is to be judged."""
        windows = Windows()
        before = LAST if first_ms is None else (first_ms + SWEEP_REACH_MS, 0)
        newest = self._store.between(FIRST, before, 1, newest=True)
        if not newest:
            return windows
        since = (newest[0].at_ms - SWEEP_REACH_MS, 0)
        recent = self._store.between(since, before, WARM_MAX, newest=True)
        known = rules.of_workspaces(session, {row.workspace_id for row in recent if row.workspace_id})
        for row in recent:
            windows.judge(row, known.get(row.workspace_id or 0, rules.DEFAULT), is_final=True)
        return windows

    def revise(self) -> None:
        """Takes back what the windows found wrong of stored hits, once all that they know of is stored."""
        if self._windows is not None and (revisions := self._windows.take_revisions()):
            for start in range(0, len(revisions), REVISED_AT_ONCE):
                revise(self._engine, self._store, revisions[start : start + REVISED_AT_ONCE])


def judged(row: StoredEvent, judgement: Judgement) -> StoredEvent:
    """The event with another verdict."""
    return row._replace(verdict=judgement.verdict, detail=judgement.detail, rule=judgement.rule)


def revise(engine: Engine, store: EventStore, revisions: Sequence[Revision]) -> int:
    """Revises stored verdicts, but leaves no click out that converted; answers how many changed.

    Asked for conversions again afterwards: one may have been settled meanwhile, by the verdict there was before.
    """
    ids = [revision[:2] for revision in revisions if revision.verdict in REVISABLE]
    with Session(engine) as session:
        kept = converted(session, ids)
    changed = store.revise([revision for revision in revisions if revision[:2] not in kept])
    with Session(engine) as session:
        clicks = store.find_clicks(sorted(converted(session, ids)))
    wrong = [click for click, found in clicks.items() if found.verdict != Verdict.COUNTED]
    return changed + store.revise([Revision(*click, int(Verdict.COUNTED), None, CONVERTED) for click in wrong])
