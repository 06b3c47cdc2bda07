"""What a request may use besides the database session: settings, event store, spool; and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app, has_request_context, request

from tracker.config import Settings
from tracker.destinations import OwnDomain
from tracker.edge.spool import Spool
from tracker.pipeline.segments import lag_s
from tracker.stores import EventStore


@dataclass(frozen=True)
class Services:
    """Made once by the application's factory."""

    settings: Settings
    store: EventStore
    spool: Spool

    @property
    def public_url(self) -> str:
        """Where short links live: as configured, else wherever this request came in."""
        if self.settings.base_url is None and has_request_context():
            return request.host_url.rstrip("/")
        return self.settings.public_url

    @property
    def own_domain(self) -> OwnDomain:
        return OwnDomain(tuple(dict.fromkeys((self.settings.public_url, self.public_url))))

    def lag_s(self, now_ms: int) -> float:
        """Seconds since the oldest hit of this machine that reports do not show yet; 0 when there is none."""
        return lag_s(self.settings.spool_dir, self.store.position, now_ms)


def services() -> Services:
    found = current_app.extensions["tracker"]
    assert isinstance(found, Services)  # noqa: S101 (narrows the type: the factory put it there)
    return found
