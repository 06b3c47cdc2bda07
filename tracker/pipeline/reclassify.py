"""Stored events judged anew, in the order of time, by today's lists and limits: as if they came in now.

What only the edge or the address could tell stays as it is, and a click that converted is not left out.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tracker import __version__
from tracker.events import Kind, Verdict
from tracker.models import Workspace
from tracker.pipeline import rules
from tracker.pipeline.attribution import CONVERTED, REVISABLE, converted
from tracker.pipeline.judging import REVISED_AT_ONCE, judged, revise
from tracker.pipeline.rules import Rules
from tracker.pipeline.verdicts import JUDGED_BY_AGENT, Judgement, of_agent
from tracker.pipeline.windows import HITS_MAX, SWEEP_REACH_MS, Windows
from tracker.stores import EventStore, Revision, StoredEvent

PAGE = 2_000
# What an event is by its request or its sender's address, neither of which is stored.
STAYS = frozenset(
    {Verdict.HEAD, Verdict.PREFETCH, Verdict.INTERNAL, Verdict.UNKNOWN_CODE, Verdict.INACTIVE, Verdict.TEST}
)
MARKS = ("reclassify_since", "reclassify_until", "reclassify_rules", "reclassify_at")

Id = tuple[int, int]


class Held(NamedTuple):
    """What an event is and what it is to be, as long as a later sweep may still change that."""

    kind: int
    was: Judgement
    now: Judgement


@dataclass
class Changes:
    """How many events were looked at, and of those that are otherwise now: from which verdict to which."""

    events: int = 0
    verdicts: Counter[tuple[int, int]] = field(default_factory=Counter)
    # The verdict stays; what it rests on has another name.
    relabelled: int = 0

    def note(self, was: int, now: int) -> None:
        if was == now:
            self.relabelled += 1
        else:
            self.verdicts[was, now] += 1


class Reclassification:
    """One run over the events from an instant to before another, both in milliseconds since 1970.

    How far it has come is remembered with each thousand changes: a run over the same span and by the same rules that
    was ended goes on from there. `until_ms` is None for all there is.
    """

    def __init__(
        self, engine: Engine, store: EventStore, since_ms: int, until_ms: int | None, *, now_ms: int, dry_run: bool
    ) -> None:
        self._engine = engine
        self._store = store
        self._dry_run = dry_run
        self._rules = _rules_of_all(engine)
        self._until_ms = now_ms if until_ms is None else until_ms
        prints = sorted((workspace_id, each.fingerprint) for workspace_id, each in self._rules.items())
        self._run = dict(zip(MARKS, (since_ms, until_ms or 0, crc32(f"{__version__} {prints}".encode())), strict=False))
        self._began_ms = since_ms
        self.resumed_ms = None if dry_run else self._left_off()
        self._from_ms = since_ms if self.resumed_ms is None else self.resumed_ms
        self._windows = Windows()
        self._held: OrderedDict[Id, Held] = OrderedDict()
        self._changed: list[tuple[Id, Held]] = []
        self.changes = Changes()

    def _left_off(self) -> int | None:
        known = {name: self._store.mark(name) for name in MARKS}
        at_ms = known.pop(MARKS[-1])
        return at_ms if known == self._run else None

    def run(self, progress: Callable[[float], None] = lambda _done: None) -> Changes:
        """Judges everything; `progress` is told the part of the span that is done, from 0 to 1."""
        after = (self._from_ms - SWEEP_REACH_MS, -1)
        before = (self._until_ms, 0)
        while page := self._store.between(after, before, PAGE):
            for event in page:
                self._take(event)
            after = page[-1][:2]
            self._release(after[0] - SWEEP_REACH_MS)
            progress((after[0] - self._began_ms) / max(1, self._until_ms - self._began_ms))
        self._release(self._until_ms)
        self._write(self._until_ms)
        if not self._dry_run:
            self._store.set_marks(dict.fromkeys(MARKS))
        progress(1.0)
        return self.changes

    def _take(self, event: StoredEvent) -> None:
        own = self._rules.get(event.workspace_id or 0, rules.DEFAULT)
        was = judgement = Judgement(event.verdict, event.detail, event.rule)
        # Without an agent it is a bot's already, or somebody's who was forgotten: both stay what they are.
        if event.kind in JUDGED_BY_AGENT and event.verdict not in STAYS and event.agent is not None:
            judgement = of_agent(event.agent, event.referrer, event.kind, own)
        judgement = self._windows.judge(judged(event, judgement), own) or judgement
        for revision in self._windows.take_revisions():
            if held := self._held.get(revision[:2]):
                self._held[revision[:2]] = held._replace(now=Judgement(*revision[2:]))
        # Those before were judged in an earlier run, or are not to be: they only show who is who.
        if event.at_ms >= self._from_ms:
            self.changes.events += 1
            self._held[event[:2]] = Held(event.kind, was, judgement)

    def _release(self, before_ms: int) -> None:
        """Lets go of what no sweep can reach any more, and writes it down as it adds up."""
        while self._held:
            first = next(iter(self._held))
            if first[0] >= before_ms and len(self._held) <= HITS_MAX:
                break
            own, held = self._held.popitem(last=False)
            if held.was != held.now:
                self._changed.append((own, held))
                if len(self._changed) >= REVISED_AT_ONCE:
                    self._write(first[0])

    def _write(self, upto_ms: int) -> None:
        """Stores what has changed up to an instant, and then how far that is: a crash between does some of it again."""
        changed, self._changed = self._changed, []
        with Session(self._engine) as session:
            kept = converted(session, [own for own, held in changed if _leaves_out(held)])
        revisions = []
        for own, held in changed:
            now = held.now
            if own in kept and _leaves_out(held):
                if held.was.verdict == Verdict.COUNTED:
                    continue
                now = Judgement(Verdict.COUNTED, None, CONVERTED)
            self.changes.note(held.was.verdict, now.verdict)
            revisions.append(Revision(*own, now.verdict, now.detail, now.rule))
        if not self._dry_run:
            revise(self._engine, self._store, revisions)
            self._store.set_marks(self._run | {MARKS[-1]: upto_ms})


def _leaves_out(held: Held) -> bool:
    return held.kind == Kind.CLICK and held.now.verdict in REVISABLE


def _rules_of_all(engine: Engine) -> dict[int, Rules]:
    with Session(engine) as session:
        return rules.of_workspaces(session, list(session.scalars(select(Workspace.id))))
