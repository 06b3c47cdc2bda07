"""Answers of the API: JSON, and problem details (RFC 9457) that name each field at fault."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response

from tracker.errors import Forbidden, Invalid, NotFound, TrackerError


def answer(status: int, content: Any) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE), status=status, mimetype="application/json")


def problem(status: int, title: str, errors: Mapping[str, str] | None = None, detail: str | None = None) -> Response:
    """A problem details object; `errors` is a list of `{field, message}`, empty where no field is at fault."""
    content: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
    if detail:
        content["detail"] = detail
    content["errors"] = [{"field": field, "message": message} for field, message in (errors or {}).items()]
    return Response(orjson.dumps(content), status=status, mimetype="application/problem+json")


def refused(error: Invalid) -> Response:
    return problem(error.status, error.title, error.errors)


def of_error(error: TrackerError) -> Response:
    if isinstance(error, Invalid):
        return refused(error)
    if isinstance(error, NotFound):
        return problem(404, "Not found", detail=str(error))
    if isinstance(error, Forbidden):
        response = problem(401, "A valid token is needed", detail=str(error))
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    return problem(500, HTTPStatus(500).phrase)
