"""The REST API under /api/v1/, and the public endpoints that Flask answers."""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from tracker.api import (
    attention,
    attribution,
    callback,
    campaigns,
    changelog,
    conversions,
    costs,
    events,
    filtered,
    links,
    public,
    shares,
    testing,
    variants,
    watching,
)
from tracker.api.gate import Gate
from tracker.api.openapi import PREFIX
from tracker.api.problems import problem


def register(app: Flask) -> None:
    """Adds the API."""
    for area in (
        *(links, campaigns, changelog, costs, shares, variants, attention, attribution),
        *(conversions, events, filtered, testing),
    ):
        app.register_blueprint(area.blueprint, url_prefix=PREFIX)
    app.register_blueprint(events.public, url_prefix=PREFIX)
    app.register_blueprint(callback.blueprint)
    app.extensions["tracker_gate"] = Gate()
    app.register_blueprint(public.blueprint)
    app.register_blueprint(watching.blueprint)


def is_api() -> bool:
    return request.path.startswith((PREFIX, "/c/"))


def of_http_error(error: HTTPException) -> Response:
    """Problem details for whatever went wrong at a path of the API or the callback."""
    response = problem(error.code or 500, error.name, detail=error.description)
    if allow := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(allow))
    return response
