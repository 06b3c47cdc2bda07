"""What anybody may ask the tracker itself: is it well, and the files that every site is expected to have."""

from __future__ import annotations

from time import time_ns

from flask import Blueprint, Response, abort, current_app, request, send_from_directory

from tracker import snippets
from tracker.api.problems import answer
from tracker.services import services

blueprint = Blueprint("public", __name__)
SCRIPT_AGE_S = 3600
RELEASED_AGE_S = 365 * 86400


@blueprint.get("/healthz")
def healthz() -> Response:
    return answer(200, {"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """The state of database, spool and loader; 503 when one of them needs somebody."""
    found = services().health(time_ns() // 1_000_000)
    state: dict[str, object] = {
        "status": "ready" if found.is_ready else "not ready",
        "database": found.database,
        "spool": found.spool,
        "loader": found.loader,
        "spool_bytes": found.spool_bytes,
        "spool_bytes_max": found.spool_bytes_max,
        "lost": found.losses.n,
        "set_aside": found.set_aside,
        "countries": str(services().fresh_countries()),
    }
    if found.lag_s is not None:
        state["lag_s"] = round(found.lag_s, 3)
    return answer(200 if found.is_ready else 503, state)


@blueprint.get("/robots.txt")
def robots() -> Response:
    return Response("User-agent: *\nDisallow: /\n", mimetype="text/plain")


@blueprint.get("/.well-known/gpc.json")
def gpc() -> Response:
    """Says that Global Privacy Control is honoured (the GPC specification, well-known resource)."""
    return answer(200, {"gpc": True, "lastUpdate": "2026-11-21"})


@blueprint.get("/favicon.ico")
def favicon() -> Response:
    return send_from_directory(_static(), "icon.svg", mimetype="image/svg+xml", max_age=86400)


@blueprint.get("/t.js")
def script() -> Response:
    """The newest version, which pages have within the hour."""
    return _script(snippets.SCRIPT_VERSION, max_age=SCRIPT_AGE_S)


@blueprint.get("/t.<int:version>.js")
def script_of_version(version: int) -> Response:
    """One version as it was released: its bytes never change, so a page may name their hash (`integrity`)."""
    if version not in snippets.RELEASED or request.path != f"/t.{version}.js":
        abort(404)
    response = _script(version, max_age=RELEASED_AGE_S)
    response.cache_control.public = True
    response.cache_control.immutable = True
    return response


def _script(version: int, max_age: int) -> Response:
    response = send_from_directory(_static(), f"t.{version}.js", mimetype="text/javascript", max_age=max_age)
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def _static() -> str:
    return str(current_app.static_folder)
