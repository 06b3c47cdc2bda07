"""Looks now and then whether the destinations that people are led to still answer.

A thread of its own does the looking, one address after another: whoever starts it waits for nothing. A wall against
bots, a private network and a machine that has no way out are no failures: there it cannot be told.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import Engine, delete, or_, select
from sqlalchemy.orm import Session

from tracker import __version__, days
from tracker.answers import Limits, Page
from tracker.campaigning import DestinationCheck
from tracker.config import Settings
from tracker.destinations import OwnDomain
from tracker.errors import Unfetchable
from tracker.events import Kind
from tracker.extensions import in_list, insert_into
from tracker.fetching import Fetcher
from tracker.models import Campaign, Link, Workspace
from tracker.stores import EventStore

AGENT = f"tracker/{__version__} (destination check; a short link leads to this page)"
LIMITS = Limits(body_bytes=0)  # the status is enough
AT_ONCE_MAX = 30  # addresses in one run
RUN_S = 120  # after that no further address is begun
CLICKED_WITHIN = timedelta(hours=24)
CAMPAIGNS_MAX = 1_000  # that are looked at, the newest
LINKS_MAX = 2_000  # the most clicked
LINKS_KEPT_MAX = 100  # of one address
CLAIMED_FOR = timedelta(minutes=15)  # so that another machine does not ask for the same
AGAIN_AFTER = timedelta(minutes=10)  # a first failure
FAILING_EVERY = timedelta(hours=1)
KEPT = timedelta(days=30)
FAILING_FROM = 2  # failures in a row
SHOWN_MAX = 20
IN_MAX = 500

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
# What a server may say to a machine and not to a person: 999 is LinkedIn's.
NOT_FOR_MACHINES = frozenset({401, 403, 405, 406, 407, 429, 451, 999})
# Headers of an answer that asks whoever it is to prove that it is a person.
CHALLENGES = ("cf-mitigated", "x-amzn-waf-action", "x-datadome", "x-sucuri-block")
FROM_THE_NETWORK = frozenset({"name_unknown", "unreachable", "too_slow"})
FAULTS = FROM_THE_NETWORK | {"certificate", "redirects_endless", "redirect_malformed"}
# Names that nobody can register and that stand for no host (RFC 2606, RFC 6761): those of examples and tests.
RESERVED = ("example", "invalid", "localhost", "test")
_MACRO = re.compile(r"\{\w+\}")
_REST = re.compile(r"[?#]")

log = logging.getLogger(__name__)


class Look(NamedTuple):
    """What came of one address: `outcome`, and the status or the name of what went wrong."""

    outcome: str
    answer: str


@dataclass(frozen=True, slots=True)
class Failing:
    """A destination that failed each time since an instant, and the links that still lead there."""

    url: str
    answer: str
    since: datetime
    checked_at: datetime
    links: Sequence[Link]


@dataclass(slots=True)
class _Due:
    workspace_id: int
    url: str
    link_ids: list[int] = field(default_factory=list)

    @property
    def key(self) -> tuple[int, bytes]:
        return self.workspace_id, _digest(self.url)


def address_of(destination: str) -> str | None:
    """What is asked for: the destination without its fragment and with macros left empty.

    `None` where a macro stands in its path, for then every click leads somewhere else.
    """
    head = _REST.split(destination, maxsplit=1)[0]
    query = destination[len(head) :].partition("#")[0]
    return None if _MACRO.search(head) else head + _MACRO.sub("", query)


def _digest(url: str) -> bytes:
    return sha256(url.encode()).digest()


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".")


class DestinationChecks:
    """One a process. Looks with `fetcher`, unless told with one of its own, within the limits of this module."""

    def __init__(self, fetcher: Fetcher | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self, settings: Settings, engine: Engine, store: EventStore, now: datetime) -> None:
        """Begins a run beside whoever calls; does nothing while one is going on, or where the setting says never."""
        if not settings.destination_checks_hours or not self._turn.acquire(blocking=False):
            return
        of_run = (settings, engine, store, now)
        self._thread = threading.Thread(target=self._run, args=of_run, name="destination checks", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Returns when the run that was begun is over."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, settings: Settings, engine: Engine, store: EventStore, now: datetime) -> None:
        try:
            self._look_at_due(settings, engine, store, now)
        except Exception:
            log.exception("destinations could not be checked")
        finally:
            self._turn.release()

    def _look_at_due(self, settings: Settings, engine: Engine, store: EventStore, now: datetime) -> None:
        with Session(engine) as session:
            due = _due(session, store, now)
            _claim(session, due, now)
        if self._fetcher is None:
            self._fetcher = Fetcher(settings.checker_allow, limits=LIMITS, agent=AGENT)
        own = OwnDomain((settings.public_url,))
        until = self._clock() + RUN_S
        looks: dict[tuple[int, bytes], Look] = {}
        by_url: dict[str, Look] = {}
        for each in due:
            if each.url not in by_url:
                if self._clock() >= until:
                    break
                by_url[each.url] = look_at(self._fetcher, each.url, own)
            looks[each.key] = by_url[each.url]
        if _has_no_way_out(by_url):
            looks = {key: Look(UNKNOWN, look.answer) for key, look in looks.items()}
        with Session(engine) as session:
            _note(session, looks, now, timedelta(hours=settings.destination_checks_hours))


def look_at(fetcher: Fetcher, url: str, own: OwnDomain) -> Look:
    """Asks for one address, redirects and all."""

    def shortcut(hop: str) -> str | None:
        if own.is_at(hop):  # asked for, it would be somebody's click
            raise Unfetchable("address_own", "It leads back to this tracker.")
        return None

    journey = fetcher.follow(url, shortcut)
    if journey.page is not None:
        return Look(_outcome_of(journey.page), str(journey.page.status))
    name = journey.problem.name if journey.problem else ""
    reserved = name == "name_unknown" and _host(journey.url).rpartition(".")[2] in RESERVED
    return Look(FAILED if name in FAULTS and not reserved else UNKNOWN, name)


def _outcome_of(page: Page) -> str:
    if page.status < 400:
        return OK
    challenged = page.status == 503 and any(page.header(name) for name in CHALLENGES)
    return UNKNOWN if challenged or page.status in NOT_FOR_MACHINES else FAILED


def _has_no_way_out(looks: dict[str, Look]) -> bool:
    """Whether it is this machine that reaches nobody: of several hosts not one answered."""
    hosts = {_host(url) for url in looks}
    return len(hosts) > 1 and all(look.answer in FROM_THE_NETWORK for look in looks.values())


def _active(now: datetime) -> list[Any]:
    alive = or_(Link.expires_at.is_(None), Link.expires_at > now)
    return [Link.archived_at.is_(None), alive, Campaign.archived_at.is_(None)]


def _active_links(session: Session, ids: Iterable[int], now: datetime) -> Iterator[Link]:
    query = select(Link).join(Campaign, Campaign.id == Link.campaign_id).where(in_list(Link.id, ids), *_active(now))
    return iter(session.scalars(query.order_by(Link.id)).unique())


def _due(session: Session, store: EventStore, now: datetime) -> list[_Due]:
    """The addresses to ask for now: what was clicked within a day or failed before; the longest unasked first."""
    campaigns = select(Campaign.id).where(Campaign.archived_at.is_(None)).order_by(Campaign.id.desc())
    ids = list(session.scalars(campaigns.limit(CAMPAIGNS_MAX)))
    since, end = days.bucket_of(now - CLICKED_WITHIN), days.bucket_of(now) + 1
    clicks = clicks_by_link(store, ids, since, end)
    wanted = {link for link, _ in clicks.most_common(LINKS_MAX)}
    failed = session.scalars(select(DestinationCheck.link_ids).where(DestinationCheck.failures > 0))
    wanted |= {link for links in failed for link in links}
    found: dict[tuple[int, bytes], _Due] = {}
    for link in _active_links(session, wanted, now):
        url = address_of(link.destination)
        if url is not None:
            each = _Due(link.workspace_id, url)
            found.setdefault(each.key, each).link_ids.append(link.id)
    known = _known(session, {digest for _, digest in found})
    due = [key for key in found if key not in known or known[key].next_at <= now]
    due.sort(key=lambda key: known[key].checked_at.timestamp() if key in known else 0)
    return [found[key] for key in due[:AT_ONCE_MAX]]


def _known(session: Session, digests: Collection[bytes]) -> dict[tuple[int, bytes], Any]:
    c = DestinationCheck
    query = select(c.workspace_id, c.digest, c.next_at, c.checked_at)
    found: dict[tuple[int, bytes], Any] = {}
    listed = sorted(digests)
    for start in range(0, len(listed), IN_MAX):
        some = session.execute(query.where(c.digest.in_(listed[start : start + IN_MAX])))
        found.update(((row.workspace_id, row.digest), row) for row in some)
    return found


def _claim(session: Session, due: Sequence[_Due], now: datetime) -> None:
    """Lets others leave these alone for a while; and drops what has long not been asked for."""
    session.execute(delete(DestinationCheck).where(DestinationCheck.checked_at < now - KEPT))
    new = insert_into(session.connection().dialect.name, DestinationCheck)
    claim = new.on_conflict_do_update(
        index_elements=["workspace_id", "digest"],
        set_={"next_at": new.excluded.next_at, "link_ids": new.excluded.link_ids},
    )
    for each in sorted(due, key=lambda each: each.key):
        workspace_id, digest = each.key
        session.execute(
            claim.values(
                workspace_id=workspace_id,
                digest=digest,
                url=each.url,
                link_ids=each.link_ids[:LINKS_KEPT_MAX],
                checked_at=now,
                next_at=now + CLAIMED_FOR,
                outcome=UNKNOWN,
                answer="",
                failures=0,
            )
        )
    session.commit()


def _note(session: Session, looks: dict[tuple[int, bytes], Look], now: datetime, every: timedelta) -> None:
    for (workspace_id, digest), look in sorted(looks.items()):
        here = (DestinationCheck.workspace_id == workspace_id, DestinationCheck.digest == digest)
        check = session.scalars(select(DestinationCheck).where(*here)).one_or_none()
        if check is None:
            continue
        failed = look.outcome == FAILED
        check.failures = check.failures + 1 if failed else 0
        check.failed_since = (check.failed_since or now) if failed else None
        check.outcome, check.answer, check.checked_at = look.outcome, look.answer, now
        again = AGAIN_AFTER if check.failures < FAILING_FROM else FAILING_EVERY
        check.next_at = now + (min(again, every) if failed else every)
    session.commit()


def clicks_by_link(store: EventStore, campaign_ids: Iterable[int], start: int, end: int) -> Counter[int]:
    """Counted clicks on each link of some campaigns, over the buckets from `start` to before `end`."""
    clicks: Counter[int] = Counter()
    for each in store.totals_of(sorted(campaign_ids), start, end):
        if each.kind == Kind.CLICK and each.n:
            # One that went over to another campaign has had clicks in both.
            clicks[each.link_id] += each.n
    return clicks


def failing(session: Session, workspace: Workspace, now: datetime) -> list[Failing]:
    """Destinations of active links that failed more than once in a row; the longest failing first."""
    query = select(DestinationCheck).where(
        DestinationCheck.workspace_id == workspace.id, DestinationCheck.failures >= FAILING_FROM
    )
    found = []
    for check in session.scalars(query.order_by(DestinationCheck.failed_since).limit(SHOWN_MAX)):
        # Whoever has led a link elsewhere since need not wait for the next look.
        links = [
            link
            for link in _active_links(session, check.link_ids, now)
            if link.workspace_id == workspace.id and address_of(link.destination) == check.url
        ]
        if links and check.failed_since is not None:
            found.append(Failing(check.url, check.answer, check.failed_since, check.checked_at, links))
    return found
