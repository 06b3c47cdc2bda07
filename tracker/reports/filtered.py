"""What was left out, and what was counted with a remark: by verdict, under it by label, each with a few samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import days
from tracker.events import Kind, Verdict
from tracker.models import Campaign, Workspace
from tracker.reports.campaign import Period
from tracker.stores import EventStore, StoredEvent, Wanted

SAMPLES_MAX = 3  # for each label
SAMPLED_MAX = 200  # events looked at for all of them
LABELS_MAX = 30  # for each verdict; the others are one row together


@dataclass(slots=True)
class Label:
    """Hits that rest on the same: a bot's name, a rule's limit. `name` is None where the verdict says it all."""

    name: str | None
    impressions: int = 0
    clicks: int = 0
    samples: list[StoredEvent] = field(default_factory=list)

    @property
    def n(self) -> int:
        return self.impressions + self.clicks

    @property
    def rule(self) -> str | None:
        """The rule that fired last; others of the same label may have had another."""
        return next((sample.rule for sample in self.samples if sample.rule), None)


@dataclass(slots=True)
class Group:
    """A verdict with its labels, the most frequent first; `more_*` are of labels rarer than those."""

    verdict: Verdict
    impressions: int
    clicks: int
    labels: list[Label]
    more_labels: int = 0
    more_impressions: int = 0
    more_clicks: int = 0

    @property
    def n(self) -> int:
        return self.impressions + self.clicks

    @property
    def more_n(self) -> int:
        return self.more_impressions + self.more_clicks


@dataclass(slots=True)
class Filtered:
    """All impressions and clicks of a period are `hits`; those of `left_out` do not count, those of `remarked` do."""

    period: Period
    hits: int
    left_out: list[Group]
    remarked: Group | None

    @property
    def left_out_n(self) -> int:
        return sum(group.n for group in self.left_out)

    def share(self, n: int) -> float | None:
        return n / self.hits if self.hits else None


def campaign_ids(session: Session, workspace: Workspace) -> list[int]:
    """All that a workspace has, archived ones too: they had hits."""
    return list(session.scalars(select(Campaign.id).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id)))


def build(
    store: EventStore, workspace: Workspace, ids: Sequence[int], period: Period, *, with_hits: bool = True
) -> Filtered:
    """The report over campaigns, read from rollups; `add_samples` looks at raw events. Without `hits` no shares."""
    start, end = days.bucket_range(period.first, period.last, ZoneInfo(workspace.timezone))
    found: dict[int, dict[str | None, Label]] = {}
    for reason in store.reasons_of(ids, start, end):
        label = found.setdefault(reason.verdict, {}).setdefault(reason.detail, Label(reason.detail))
        if reason.kind == Kind.IMPRESSION:
            label.impressions += reason.n
        elif reason.kind == Kind.CLICK:
            label.clicks += reason.n
    groups = [_group(Verdict(verdict), labels.values()) for verdict, labels in found.items()]
    groups = sorted((group for group in groups if group.n), key=lambda group: (-group.n, group.verdict))
    return Filtered(
        period=period,
        hits=sum(hits.n for hits in store.hits_of(ids, start, end)) if with_hits else 0,
        left_out=[group for group in groups if group.verdict != Verdict.COUNTED],
        remarked=next((group for group in groups if group.verdict == Verdict.COUNTED), None),
    )


def _group(verdict: Verdict, labels: Iterable[Label]) -> Group:
    ordered = sorted((label for label in labels if label.n), key=lambda label: (-label.n, label.name or ""))
    rest = ordered[LABELS_MAX:]
    return Group(
        verdict=verdict,
        impressions=sum(label.impressions for label in ordered),
        clicks=sum(label.clicks for label in ordered),
        labels=ordered[:LABELS_MAX],
        more_labels=len(rest),
        more_impressions=sum(label.impressions for label in rest),
        more_clicks=sum(label.clicks for label in rest),
    )


def add_samples(store: EventStore, workspace: Workspace, report: Filtered, campaign_id: int | None) -> None:
    """Gives each label its most recent events, as far as they are among the last of the period."""
    if not (report.left_out or report.remarked):
        return
    start, end = days.bucket_range(report.period.first, report.period.last, ZoneInfo(workspace.timezone))
    wanted = Wanted(campaign_id=campaign_id, since_ms=start * days.BUCKET_MS, noted=True)
    search = store.search(workspace.id, wanted, before=(end * days.BUCKET_MS, 0), limit=SAMPLED_MAX)
    groups = [*report.left_out, *([report.remarked] if report.remarked else [])]
    places = {(group.verdict, label.name): label.samples for group in groups for label in group.labels}
    for event in search.events:
        samples = places.get((Verdict(event.verdict), event.detail))
        if samples is not None and len(samples) < SAMPLES_MAX and event.link_id is not None:
            samples.append(event)
