"""Paths of our own pages, remembered: a page has hundreds of links, and each is built from the rules of all routes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import flask
from flask import Flask, has_request_context, request

REMEMBERED_MAX = 5_000  # half a kilobyte each at most, as a rule a tenth


def url_for(endpoint: str, /, **values: Any) -> str:
    """As Flask's, which is asked each time where the answer depends on more than what is given here."""
    plain = all(type(value) in (str, int) for value in values.values())
    if not plain or endpoint.startswith(".") or not has_request_context():
        return flask.url_for(endpoint, **values)
    return _path(request.script_root, endpoint, tuple(values.items()))


@lru_cache(maxsize=REMEMBERED_MAX)
def _path(_script_root: str, endpoint: str, values: tuple[tuple[str, Any], ...]) -> str:
    return flask.url_for(endpoint, **dict(values))


def register(app: Flask) -> None:
    app.jinja_env.globals["url_for"] = url_for
