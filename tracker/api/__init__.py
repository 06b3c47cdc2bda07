"""The REST API under /api/v1/, and the public endpoints that Flask answers."""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from tracker.api import callback, campaigns, events, links, public
from tracker.api.openapi import PREFIX
from tracker.api.problems import problem


def register(app: Flask) -> None:
    """Adds the API. Its errors are problem details, those of routing too."""
    for blueprint in (links.blueprint, campaigns.blueprint, events.blueprint):
        app.register_blueprint(blueprint, url_prefix=PREFIX)
    app.register_blueprint(events.public, url_prefix=PREFIX)
    app.register_blueprint(callback.blueprint)
    app.register_blueprint(public.blueprint)
    app.register_error_handler(HTTPException, _http_error)


def _http_error(error: HTTPException) -> Response | HTTPException:
    """Paths of the API and the callback answer problem details, whatever went wrong; pages have their own handlers."""
    if request.path.startswith((PREFIX, "/c/")):
        response = problem(error.code or 500, error.name, detail=error.description)
        if error.response is None and (allow := getattr(error, "valid_methods", None)):
            response.headers["Allow"] = ", ".join(sorted(allow))
        return response
    return error
