"""Headers of every page, and the pages shown when something is wrong."""

from __future__ import annotations

import gzip

from flask import Blueprint, Flask, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from tracker.errors import NotFound

COMPRESSED = frozenset({"text/html", "text/csv", "application/json"})
COMPRESSED_FROM = 1_000  # bytes
GZIP_LEVEL = 4  # a millisecond for a hundred thousand bytes; the next levels take twice that for a few percent
CSP = (
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'; base-uri 'none'; "
    "object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}
PROBLEMS = {
    400: ("This request cannot be read", "Something in its address or form is malformed."),
    403: ("This is not yours to see", "Your account has no access here."),
    404: ("There is nothing here", "The address may be mistyped, or what it named belongs to another workspace."),
    405: ("That does not work here", "This address takes no request of that kind."),
    413: ("That is too much at once", "What was sent is larger than this page takes."),
    500: ("Something broke on our side", "It has been written to the log. Nothing you sent was half stored."),
}
CSRF_PROBLEM = (
    "This form is out of date",
    "It was open for long, or in a browser without cookies. Go back, reload the page and send it again.",
)


def is_page() -> bool:
    return request.path == "/app" or request.path.startswith("/app/")


def problem_page(status: int, title: str, advice: str) -> ResponseReturnValue:
    return render_template("problem.html", status=status, title=title, advice=advice), status


def of_http_error(error: HTTPException) -> ResponseReturnValue:
    """The page for an error under /app."""
    if isinstance(error, CSRFError):
        return problem_page(400, *CSRF_PROBLEM)
    status = error.code or 500
    return problem_page(status, *PROBLEMS.get(status, (error.name, ""))) if status >= 400 else error.get_response()


def add_not_found(area: Blueprint) -> None:
    """A thing of another workspace and a thing that does not exist look the same from outside."""
    area.register_error_handler(NotFound, _not_found)


def _not_found(error: NotFound) -> ResponseReturnValue:
    return problem_page(404, PROBLEMS[404][0], f"{error} It may be mistyped, or belong to another workspace.")


def _secure(response: Response) -> Response:
    if is_page():
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
    return response


def _compress(response: Response) -> Response:
    """A page or an answer of the API is a tenth of its size on the wire; a stream goes out as it is made."""
    if response.mimetype not in COMPRESSED or response.is_streamed or response.direct_passthrough:
        return response
    response.vary.add("Accept-Encoding")
    # Not by `best`: a client may well like something else better that we do not speak.
    if request.accept_encodings["gzip"] > 0 and (response.content_length or 0) > COMPRESSED_FROM:
        response.set_data(gzip.compress(response.get_data(), GZIP_LEVEL, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response


def register(app: Flask) -> None:
    # The last to be registered is the first to be run.
    app.after_request(_compress)
    app.after_request(_secure)
