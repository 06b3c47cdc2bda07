"""`/metrics` for Prometheus: what was counted, and what lies on this machine at the moment of asking."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from time import time_ns

from flask import Blueprint, Flask, Response, current_app, g, got_request_exception, request
from flask.sansio.blueprints import BlueprintSetupState
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from tracker.api.access import authenticate
from tracker.api.problems import of_error, problem
from tracker.edge.core import Edge
from tracker.errors import TrackerError
from tracker.metering import DEFINITIONS, FOLDER_VARIABLE
from tracker.pipeline import segments
from tracker.services import services

blueprint = Blueprint("watching", __name__)
blueprint.register_error_handler(TrackerError, of_error)
ENDPOINTS = {"c": "callback", "api": "api", "app": "page", "static": "static"}
# Whoever passes a request on says so in one of these.
PROXY_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")


def _edge(app: Flask) -> Edge:
    found = app.extensions["tracker_edge"]
    assert isinstance(found, Edge)  # noqa: S101 (narrows the type: the factory put it there)
    return found


@blueprint.get("/metrics")
def metrics() -> Response:
    """For whoever asks on this machine itself, and for whoever has a token."""
    if not _is_from_here():
        try:
            authenticate()
        except SQLAlchemyError:
            return problem(503, "The database is away", detail="The token cannot be checked. This machine needs none.")
    edge = _edge(current_app)
    if request.environ["wsgi.multiprocess"] and not edge.meters.are_shared:
        # One process's counts, now of this one, now of that one, would be worse than none.
        return problem(503, "No shared counts", detail=f"Set {FOLDER_VARIABLE} to an empty folder for all processes.")
    edge.carry_over()
    content, content_type = edge.meters.exposition(_Sizes(), request.headers.get("Accept", ""))
    response = Response(content, content_type=content_type)
    response.headers["Cache-Control"] = "no-store"
    return response


def _is_from_here() -> bool:
    """Whether the request comes from this machine, and not merely from a proxy on it."""
    if any(name in request.headers for name in PROXY_HEADERS):
        return False
    try:
        return ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


class _Sizes(Collector):
    """Worked out anew each time, and so the same whichever process is asked."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = services().health(time_ns() // 1_000_000)
        sizes = segments.sizes(services().settings.spool_dir)
        yield _gauge("tracker_spool_bytes", found.spool_bytes)
        yield _gauge("tracker_spool_max_bytes", found.spool_bytes_max)
        yield _gauge("tracker_spool_segments", len(sizes))
        yield _gauge("tracker_spool_set_aside_records", found.set_aside)
        yield _gauge("tracker_spool_lost_events", found.losses.n)
        yield _gauge("tracker_database_up", int(found.lag_s is not None))
        if found.lag_s is None:
            return
        yield _gauge("tracker_lag_seconds", found.lag_s)
        try:
            position = services().store.position
            waiting = sum(max(0, size - position(segment)) for segment, size in sizes.items())
        except SQLAlchemyError:
            return  # it went away in between
        yield _gauge("tracker_spool_waiting_bytes", waiting)


def _gauge(name: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, DEFINITIONS[name], value)


@blueprint.after_app_request
def _count(response: Response) -> Response:
    """Everything that Flask answers; the edge counts for itself."""
    endpoint = ENDPOINTS.get(request.path[1:].partition("/")[0], "other")
    _edge(current_app).meters.answered(endpoint, g.get("verdict", ""), response.status_code)
    return response


@blueprint.record
def _watch(state: BlueprintSetupState) -> None:
    got_request_exception.connect(_count_exception, state.app)


def _count_exception(sender: Flask, **_: object) -> None:
    _edge(sender).meters.failed()
