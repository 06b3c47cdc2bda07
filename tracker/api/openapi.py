"""The API describes itself: operations are declared beside their views, the document is made from the routes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from marshmallow import Schema

from tracker import __version__

V = TypeVar("V", bound=Callable[..., Any])
PREFIX = "/api/v1"
_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Operation:
    """What the document says of one view."""

    summary: str
    body: type[Schema] | None
    query: type[Schema] | None
    answers: dict[int, str]


_operations: dict[str, Operation] = {}


def operation(
    summary: str,
    *,
    body: type[Schema] | None = None,
    query: type[Schema] | None = None,
    answers: dict[int, str] | None = None,
) -> Callable[[V], V]:
    """Declares a view's place in the document."""

    def declare(view: V) -> V:
        _operations[f"{view.__module__}.{view.__name__}"] = Operation(summary, body, query, answers or {200: "OK"})
        return view

    return declare


def operation_of(app: Flask, endpoint: str) -> Operation | None:
    view = app.view_functions[endpoint]
    return _operations.get(f"{view.__module__}.{view.__name__}")


def document(app: Flask) -> dict[str, Any]:
    spec = APISpec(
        title="Tracker",
        version=__version__,
        openapi_version="3.1.0",
        info={
            "description": "Links, campaigns and what they brought. Instants are ISO 8601, lists are paged by cursor."
        },
        servers=[{"url": PREFIX}],
        security=[{"token": []}],
        plugins=[MarshmallowPlugin()],
    )
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    spec.components.schema("Problem", _PROBLEM)
    for rule in app.url_map.iter_rules():
        found = operation_of(app, rule.endpoint)
        if found is None:
            continue
        path = _VARIABLE.sub(r"{\1}", rule.rule.removeprefix(PREFIX))
        methods = sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        operations = {method.lower(): _described(found, path, rule.endpoint) for method in methods}
        if not rule.rule.startswith(PREFIX):
            for method, described in operations.items():
                described |= _PUBLIC | {"operationId": f"{described['operationId']}_{method}"}
                if method == "get":
                    described.pop("requestBody", None)
        spec.path(path, operations=operations)
    content: dict[str, Any] = spec.to_dict()
    return content


# Of what lies outside the API and asks for no token.
_PUBLIC: dict[str, Any] = {"servers": [{"url": "/"}], "security": []}
_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def _described(found: Operation, path: str, endpoint: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": found.summary,
        "operationId": re.sub(r"\W+", "_", f"{endpoint}{'_csv' if path.endswith('.csv') else ''}"),
        "parameters": [
            {"in": "path", "name": name, "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", path)
        ],
        "responses": {
            **{str(status): {"description": text} for status, text in found.answers.items()},
            "default": {
                "description": "Refused",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if found.query:
        described["parameters"].append({"in": "query", "schema": found.query})
    if found.body:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": found.body}}}
    return described
