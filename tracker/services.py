"""What a request may use besides the database session: settings, event store, spool; and what follows from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from flask import current_app, has_request_context, request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from tracker import aside, days, losses
from tracker.config import Settings
from tracker.countries import CountrySource, NoCountries, Origin
from tracker.destinations import OwnDomain
from tracker.edge.spool import Spool
from tracker.fetching import Fetcher
from tracker.losses import Losses
from tracker.models import Campaign, Workspace
from tracker.pipeline import segments
from tracker.reports.attention import Attention, Needs
from tracker.reports.benchmarks import Benchmark, Benchmarks
from tracker.reports.grouping import Group
from tracker.stores import EventStore

LAG_MAX_S = 60
FILLING = 0.8  # of its bound: time to look after it
LOSING_MS = 60_000


class Health(NamedTuple):
    """How this machine is. `lag_s` is None where the database is away, and with it the answer."""

    now_ms: int
    lag_s: float | None
    can_write: bool
    spool_bytes: int
    spool_bytes_max: int
    losses: Losses
    set_aside: int

    @property
    def database(self) -> str:
        return "ok" if self.lag_s is not None else "away"

    @property
    def loader(self) -> str:
        return "behind" if self.lag_s is not None and self.lag_s > LAG_MAX_S else "ok"

    @property
    def spool(self) -> str:
        if self.spool_bytes >= self.spool_bytes_max:
            return "full"
        if not self.can_write or (self.losses.n and self.now_ms - self.losses.last_ms < LOSING_MS):
            return "losing"
        return "filling" if self.spool_bytes > FILLING * self.spool_bytes_max else "ok"

    @property
    def is_ready(self) -> bool:
        """Whether everything works: a spool that merely fills still keeps every hit."""
        return (self.database, self.loader) == ("ok", "ok") and self.spool in ("ok", "filling")


@dataclass(frozen=True)
class Services:
    """Made once by the application's factory."""

    settings: Settings
    store: EventStore
    spool: Spool
    countries: CountrySource = field(default_factory=NoCountries)
    fetcher: Fetcher = field(default_factory=Fetcher)
    attention: Attention = field(default_factory=Attention)
    benchmarks: Benchmarks = field(default_factory=Benchmarks)

    @property
    def public_url(self) -> str:
        """Where short links live: as configured, else wherever this request came in."""
        if self.settings.base_url is None and has_request_context():
            return request.host_url.rstrip("/")
        return self.settings.public_url

    @property
    def own_domain(self) -> OwnDomain:
        return OwnDomain(tuple(dict.fromkeys((self.settings.public_url, self.public_url))))

    def fresh_countries(self) -> Origin:
        """Where countries come from at this moment."""
        self.countries.refresh()
        return self.countries.origin

    def health(self, now_ms: int) -> Health:
        folder = self.settings.spool_dir
        try:
            lag = self.lag_s(now_ms)
            self.store.position("")  # without a segment nothing was asked so far
        except SQLAlchemyError:
            lag = None
        return Health(
            now_ms=now_ms,
            lag_s=lag,
            can_write=os.access(folder if folder.exists() else folder.parent, os.W_OK),
            spool_bytes=sum(segments.sizes(folder).values()),
            spool_bytes_max=self.settings.spool_bytes_max,
            losses=losses.read(folder),
            set_aside=aside.count(folder),
        )

    def needs(self, session: Session, workspace: Workspace, now: datetime) -> Needs:
        """What needs somebody: of this machine and of the workspace's campaigns."""
        return self.attention.needs(session, self.store, workspace, now, self.health(days.to_ms(now)))

    def benchmark(
        self, session: Session, workspace: Workspace, campaign: Campaign, by_medium: Sequence[Group], now: datetime
    ) -> Benchmark | None:
        """How a campaign stands beside the workspace's others of its medium."""
        return self.benchmarks.of(session, self.store, workspace, campaign, by_medium, now)

    def lag_s(self, now_ms: int) -> float:
        """Seconds since the oldest hit of this machine that reports do not show yet; 0 when there is none."""
        return segments.lag_s(self.settings.spool_dir, self.store.position, now_ms)


def services() -> Services:
    found = current_app.extensions["tracker"]
    assert isinstance(found, Services)  # noqa: S101 (narrows the type: the factory put it there)
    return found
