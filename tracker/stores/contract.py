"""What every event store does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from tracker.days import Span
from tracker.stores.values import (
    Batch,
    CampaignCost,
    CampaignStep,
    Cell,
    ClickCost,
    Dimension,
    Drift,
    EventId,
    Flow,
    Hits,
    Last,
    LinkSum,
    Orphan,
    Part,
    Reason,
    Revision,
    Search,
    Selected,
    Selection,
    Step,
    StoredEvent,
    Wanted,
)


class EventStore(Protocol):
    """The contract of every store; one test suite runs against each."""

    def position(self, segment: str) -> int:
        """How many bytes of a spool segment are stored."""
        ...

    def append(self, batch: Batch) -> None:
        """Stores a batch with its rollups and its place in the ledger, all or nothing. Raises StaleBatch."""
        ...

    def rehearse(self, batch: Batch) -> None:
        """Does what `append` does and takes all of it back: raises what that would raise."""
        ...

    def forget_segment(self, segment: str) -> None:
        """Drops the ledger row of a segment whose file is gone."""
        ...

    def totals(self, campaign_id: int, start: int, end: int) -> list[Cell]:
        """Sums over the buckets from `start` to before `end`."""
        ...

    def series(
        self, campaign_id: int, spans: Sequence[Span], step: int, links: frozenset[int] | None = None
    ) -> list[Step]:
        """Counted impressions and clicks in steps of `step` buckets, local to each span's offset; of all links, or of
        these."""
        ...

    def totals_of(self, campaign_ids: Sequence[int], start: int, end: int) -> list[LinkSum]:
        """Counted impressions and clicks of several campaigns over the buckets from `start` to before `end`."""
        ...

    def series_of(self, campaign_ids: Sequence[int], spans: Sequence[Span], step: int, kind: int) -> list[CampaignStep]:
        """Counted events of one kind of several campaigns, in steps as `series` has them."""
        ...

    def flows(self, campaign_ids: Collection[int], runs: Sequence[tuple[int, int]]) -> list[Flow]:
        """What counted of several campaigns in runs of buckets, each from its first to before its second; where nothing
        did, there is no flow."""
        ...

    def breakdowns(
        self, campaign_id: int, start: int, end: int, dimensions: Sequence[Dimension]
    ) -> dict[Dimension, list[Part]]:
        """Counted impressions and clicks by the values of each dimension; those without a value are left out."""
        ...

    def click_costs(self, campaign_id: int, start: int, end: int) -> list[ClickCost]:
        """What counted clicks said they cost, over the buckets from `start` to before `end`."""
        ...

    def click_costs_of(self, campaign_ids: Sequence[int], start: int, end: int) -> list[CampaignCost]:
        """The same of several campaigns; of one whose clicks said nothing there is none."""
        ...

    def select(
        self,
        campaign_id: int,
        spans: Sequence[Span],
        step: int,
        selection: Selection,
        dimensions: Sequence[Dimension] = (),
    ) -> Selected:
        """Sums of selected impressions and clicks from raw events: only of those that retention has left."""
        ...

    def raw_since_ms(self) -> int:
        """The instant before which raw events have been deleted; 0 where none have been."""
        ...

    def first_bucket(self, campaign_id: int) -> int | None:
        """The first bucket that holds anything of a campaign."""
        ...

    def recent(self, workspace_id: int, *, before: tuple[int, int] | None, limit: int) -> list[StoredEvent]:
        """Events of a workspace, newest first, older than the id `before` where one is given."""
        ...

    def between(
        self, after: tuple[int, int], before: tuple[int, int], limit: int, *, newest: bool = False
    ) -> list[StoredEvent]:
        """Events of all workspaces after one id and before another, in the order of time: the first, or the newest."""
        ...

    def reasons_of(self, campaign_ids: Sequence[int], start: int, end: int) -> list[Reason]:
        """Impressions and clicks of several campaigns, left out or counted with a remark, by what that rests on."""
        ...

    def hits_of(self, campaign_ids: Sequence[int], start: int, end: int) -> list[Hits]:
        """Impressions and clicks of several campaigns together, by verdict."""
        ...

    def search(self, workspace_id: int, wanted: Wanted, *, before: EventId | None, limit: int) -> Search:
        """Events of a workspace that are as wanted, newest first, older than the id `before` where one is given."""
        ...

    def tests(self, workspace_id: int, code: str | None, *, since_ms: int, limit: int) -> list[StoredEvent]:
        """Test hits with a code that was issued, or (`None`) with another, newest first; no more work than they are."""
        ...

    def last_seen(self, campaign_id: int, link_ids: Sequence[int], today: int, *, looked_at_max: int) -> list[Last]:
        """What last counted on links of a campaign within LAST_DAYS_MAX days up to `today`, a UTC day since 1970.

        An instant is known where its hit is among the last `looked_at_max` of its quarter, of whatever workspace.
        """
        ...

    def orphans(self, workspace_id: int, first_day: int, last_day: int, limit: int) -> list[Orphan]:
        """Unknown codes by frequency, over UTC days counted from 1970, both inclusive."""
        ...

    def forget_orphans(self, before_day: int) -> None:
        """Drops how often unknown codes were asked for on earlier days, counted from 1970."""
        ...

    def find_click(self, at_ms: int, nonce: int) -> StoredEvent | None:
        """The click of a click id."""
        ...

    def find_clicks(self, ids: Sequence[tuple[int, int]]) -> dict[tuple[int, int], StoredEvent]:
        """Those of these clicks that are stored, by their ids."""
        ...

    def find_events(self, ids: Sequence[EventId]) -> dict[EventId, StoredEvent]:
        """Those of these events that are stored, of whatever kind, by their ids."""
        ...

    def clicks_of(self, visitor: int, until: EventId, limit: int) -> list[StoredEvent]:
        """Counted clicks of a visitor on the UTC day of an id and up to it: the latest, in the order of time."""
        ...

    def views_of(self, visitors: Collection[int], since_ms: int, until_ms: int) -> list[StoredEvent]:
        """Counted impressions of any of these visitors in [since_ms, until_ms], the latest first.

        One with a remark came over a proxy, which is nobody's browser. Reads all that is stored of the time between.
        """
        ...

    def revise(self, revisions: Sequence[Revision]) -> int:
        """Changes stored verdicts, rollups in the same transaction, all or nothing; answers how many did change."""
        ...

    def mark(self, name: str) -> int | None:
        """A number that was remembered under this name; at most 32 characters."""
        ...

    def set_marks(self, numbers: Mapping[str, int | None]) -> None:
        """Remembers numbers by their names, all or nothing; `None` forgets one."""
        ...

    def prune(self, before: datetime) -> int:
        """Deletes raw events older than this; rollups stay. Answers how many."""
        ...

    def of_visitor(self, at_ms: int, nonce: int, limit: int) -> list[StoredEvent]:
        """The event of an id and all others of its visitor on that UTC day, in the order of time."""
        ...

    def forget_visitor(self, at_ms: int, nonce: int) -> int:
        """Erases who made those events, and by what browser; no count changes. Answers how many events that were."""
        ...

    def forget_visitors(self, before_day: int) -> None:
        """Drops who has been seen on days (counted from 1970, UTC) whose salt is gone."""
        ...

    def pack(self, now: datetime, within_s: float) -> int:
        """Copies events of quarters that are long over, the latest first, so that `select` reads them more quickly.

        Goes on for so long; answers how many runs of quarters are done, 0 where nothing is left to do. What is changed
        afterwards is copied anew. It may be stopped at any time.
        """
        ...

    def whole_days(self) -> Sequence[int]:
        """The UTC days, counted from 1970, that hold anything and whose raw events are all still there."""
        ...

    def drifts(self, day: int) -> list[Drift]:
        """Where the rollups of a UTC day are not what its raw events add up to; empty when all is well."""
        ...

    def repair(self, day: int) -> None:
        """Makes the rollups of a UTC day anew from its raw events, while others may go on storing."""
        ...
