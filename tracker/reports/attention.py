"""What of a workspace needs somebody: what it is, since when, what it means and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import changes, days, destinationchecks
from tracker.losses import Losses
from tracker.models import Report, Workspace
from tracker.reports import budgets
from tracker.reports.watched import Named, look_at
from tracker.stores import EventStore

NEEDS_MAX = 12
KEPT_FOR = timedelta(seconds=30)
UNMATCHED_DAYS = 7
UNMATCHED_MAX = 5_000  # that are counted, the latest
CODES_SHOWN_MAX = 3
TOGETHER = timedelta(hours=12)  # within which the last hits of campaigns lie that stopped at once


class Severity(IntEnum):
    """`BAD`: hits, sales or visitors are being lost. `WARNING`: look at it."""

    BAD = 0
    WARNING = 1

    @property
    def word(self) -> str:
        return self.name.lower()


# Every kind in the order of a list: how bad, what it means, and what to do.
KINDS: dict[str, tuple[Severity, str, str]] = {
    "losing_full": (
        Severity.BAD,
        "Links still redirect, but hits are being lost.",
        "Make sure that the loader runs and the database answers; TRACKER_SPOOL_MAX_MB sets the bound.",
    ),
    "losing": (Severity.BAD, "Hits are being lost.", "Look at the data folder’s rights and the disk."),
    "destination_failing": (
        Severity.BAD,
        "Whoever is led there finds no page.",
        "Repair the page, or lead its links elsewhere: an edit is in force within a second.",
    ),
    "all_silent": (
        Severity.BAD,
        "No campaign counted anything since: more likely the tracker than the campaigns.",
        "Open a short link yourself, and look whether its domain still leads here.",
    ),
    "impressions_silent": (
        Severity.BAD,
        "Clicks go on, so people see it: the pixel has gone, and no click-through rate can be told.",
        "Look whether the impression pixel still stands beside the links.",
    ),
    "clicks_silent": (
        Severity.BAD,
        "Impressions go on, so people see it: they cannot click, or are led past the tracker.",
        "Follow the link where it is published.",
    ),
    "conversions_silent": (
        Severity.BAD,
        "Clicks go on: the pixel or callback has gone from the thank-you page, or the page sells nothing.",
        "Check the thank-you page.",
    ),
    "lost": (Severity.WARNING, "The disk refused, or the spool had reached its bound. No report has them.", ""),
    "filling": (
        Severity.WARNING,
        "Beyond that, hits are lost.",
        "Make sure that the loader runs and the database answers.",
    ),
    "behind": (
        Severity.WARNING,
        "The loader has not stored what came in since. Nothing is lost, it waits in the spool.",
        "",
    ),
    "set_aside": (
        Severity.WARNING,
        "They were damaged or cut short, and lie unread in spool/aside of the data folder. "
        "What may hold an address is emptied after a day.",
        "This notice goes with the files.",
    ),
    "campaign_silent": (
        Severity.WARNING,
        "It counted regularly until then, and would have at this time of the week.",
        "Look whether its ads still run.",
    ),
    "budget_spent": (
        Severity.WARNING,
        "By what was entered until today and what clicks said they cost, in the budget’s currency.",
        "Stop its ads, or raise the budget.",
    ),
    "clicks_dropped": (
        Severity.WARNING,
        "Less than half of the lowest of the same weekday in the weeks before, and more than chance.",
        "See which links or sources lost.",
    ),
    "ctr_dropped": (
        Severity.WARNING,
        "Far under each of the same weekdays before, and more than chance: seen as ever, clicked less.",
        "See which links or sources lost.",
    ),
    "conversion_rate_dropped": (
        Severity.WARNING,
        "Far under each of the same weekdays before, and more than chance: clicked as ever, bought less.",
        "See which links or sources lost, and look at the landing page.",
    ),
    "unmatched": (
        Severity.WARNING,
        "These sales are in no campaign’s figures. They are kept, and can be judged again.",
        "See why",
    ),
}
ORDER = {kind: number for number, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Need:
    """One thing. `links` are codes; `facts` are the numbers and words of its sentence, by name."""

    kind: str
    campaign: Named | None = None
    links: tuple[str, ...] = ()
    since: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind][0]

    @property
    def means(self) -> str:
        return KINDS[self.kind][1]

    @property
    def todo(self) -> str:
        return KINDS[self.kind][2]


class Needs(NamedTuple):
    """The worst first, at most NEEDS_MAX; `more` are those left off."""

    shown: list[Need]
    more: int


class Machine(Protocol):
    """How this machine is, as `services` finds it."""

    @property
    def lag_s(self) -> float | None: ...
    @property
    def can_write(self) -> bool: ...
    @property
    def spool_bytes(self) -> int: ...
    @property
    def spool_bytes_max(self) -> int: ...
    @property
    def losses(self) -> Losses: ...
    @property
    def set_aside(self) -> int: ...
    @property
    def spool(self) -> str: ...
    @property
    def loader(self) -> str: ...


class Attention:
    """One a process. What is read of campaigns is kept for KEPT_FOR, or until a link is edited anywhere.

    A page that asks each second costs no more than one that asks twice a minute.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[datetime, int, list[Need]]] = {}

    def needs(
        self, session: Session, store: EventStore, workspace: Workspace, now: datetime, machine: Machine
    ) -> Needs:
        edits = changes.newest(session)
        kept = self._kept.get(workspace.id)
        if kept is None or kept[1] != edits or not timedelta() <= now - kept[0] < KEPT_FOR:
            # What waits in the spool has not come to be counted: its absence says nothing.
            until = now - timedelta(seconds=machine.lag_s or 0)
            found = [
                *_failing(session, store, workspace, now),
                *_of_campaigns(session, store, workspace, until),
                *_budgets(session, store, workspace, now),
            ]
            kept = self._kept[workspace.id] = (now, edits, found)
        found = [*of_machine(machine), *kept[2], *_unmatched(session, workspace, now)]
        found.sort(key=lambda need: ORDER[need.kind])
        return Needs(found[:NEEDS_MAX], max(0, len(found) - NEEDS_MAX))


def of_machine(machine: Machine) -> list[Need]:
    return sorted(_of_machine(machine), key=lambda need: ORDER[need.kind])


def _of_machine(machine: Machine) -> Iterator[Need]:
    size = {"bytes": machine.spool_bytes, "bytes_max": machine.spool_bytes_max}
    if machine.losses.n:
        span = {"first_ms": machine.losses.first_ms, "last_ms": machine.losses.last_ms}
        yield Need("lost", facts={"n": machine.losses.n} | span)
    if machine.spool == "full":
        yield Need("losing_full", facts=size)
    elif machine.spool == "filling":
        yield Need("filling", facts=size)
    elif not machine.can_write:
        yield Need("losing")
    if machine.loader == "behind":
        yield Need("behind", facts={"lag_s": machine.lag_s})
    if machine.set_aside:
        yield Need("set_aside", facts={"n": machine.set_aside})


def _failing(session: Session, store: EventStore, workspace: Workspace, now: datetime) -> Iterator[Need]:
    for found in destinationchecks.failing(session, workspace, now):
        campaigns = {link.campaign_id for link in found.links}
        since, end = days.bucket_of(found.since), days.bucket_of(now) + 1
        clicks = destinationchecks.clicks_by_link(store, campaigns, since, end)
        lost = sum(clicks[link.id] for link in found.links)
        campaign = found.links[0].campaign
        yield Need(
            "destination_failing",
            Named(campaign.slug, campaign.name) if len(campaigns) == 1 else None,
            tuple(link.code for link in found.links[:CODES_SHOWN_MAX]),
            found.since,
            {"url": found.url, "answer": found.answer, "clicks": lost, "links": len(found.links)},
        )


def _budgets(session: Session, store: EventStore, workspace: Workspace, now: datetime) -> Iterator[Need]:
    for each in budgets.nearly_spent(session, store, workspace, now):
        facts = {"spent": each.spent, "budget": each.budget, "percent": each.spent.minor * 100 // each.budget.minor}
        yield Need("budget_spent", Named(each.slug, each.name), facts=facts)


def _unmatched(session: Session, workspace: Workspace, now: datetime) -> Iterator[Need]:
    """Reports of the last days that found no click, and why most of them did not."""
    mine = select(Report.reason, Report.at_ms).where(Report.workspace_id == workspace.id, Report.result == "unmatched")
    latest = mine.order_by(Report.id.desc()).limit(UNMATCHED_MAX).subquery().c
    since = now - timedelta(days=UNMATCHED_DAYS)
    query = select(latest.reason, func.count()).where(latest.at_ms >= days.to_ms(since)).group_by(latest.reason)
    reasons = {reason: int(n) for reason, n in session.execute(query)}
    if reasons:
        # Of as many of two reasons the same one each time.
        most = max(reasons, key=lambda reason: (reasons[reason], reason or ""))
        facts = {"n": sum(reasons.values()), "reason": most, "reason_n": reasons[most], "days": UNMATCHED_DAYS}
        yield Need("unmatched", facts=facts)


def _of_campaigns(session: Session, store: EventStore, workspace: Workspace, until: datetime) -> list[Need]:
    watched = look_at(session, store, workspace, until)
    found = [
        Need(happened.what, campaign, since=happened.since, facts=happened.facts)
        for campaign, happened in watched.found
    ]
    ended = [need.since for need in found if need.kind == "campaign_silent" and need.since is not None]
    # Campaigns end one by one.
    if watched.is_all_silent and len(ended) > 1 and max(ended) - min(ended) <= TOGETHER:
        found = [need for need in found if need.kind != "campaign_silent"]
        found.append(Need("all_silent", since=max(ended), facts={"campaigns": len(ended)}))
    return found
