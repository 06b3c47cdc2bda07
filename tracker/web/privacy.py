"""The public page on privacy: what this installation keeps, for how long, and a button to stay out of its figures.

It asks for no login, sets no cookie of its own accord and needs no database. A form token would need a session's
cookie; instead, a post from another site is told by its origin, which every browser names.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from tracker.edge.decide import OPT_OUT_COOKIE
from tracker.extensions import csrf
from tracker.services import services
from tracker.web import optout, responses

pages = Blueprint("privacy", __name__)
csrf.exempt(pages)


@pages.after_request
def _secure(response: Response) -> Response:
    for name, value in responses.HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@pages.get("/privacy")
def show() -> ResponseReturnValue:
    return render_template(
        "privacy/index.html",
        retention_days=services().settings.retention_days,
        param=services().settings.click_id_param,
        has_log=services().settings.access_log is not None,
        is_out=optout.is_out(),
        cookie=OPT_OUT_COOKIE,
        has_gpc=request.headers.get("Sec-GPC") == "1",
    )


@pages.post("/privacy/opt-out")
def opt_out() -> ResponseReturnValue:
    if not _is_from_here():
        return _refused()
    response = redirect(url_for("privacy.show"), code=303)
    optout.leave_out(response)
    return response


@pages.post("/privacy/opt-in")
def opt_in() -> ResponseReturnValue:
    if not _is_from_here():
        return _refused()
    response = redirect(url_for("privacy.show"), code=303)
    optout.count_again(response)
    return response


def _is_from_here() -> bool:
    """Whether the form stood on this very host; a browser that names no origin is taken at its fetch metadata."""
    origin = request.headers.get("Origin")
    if origin is None:
        return request.headers.get("Sec-Fetch-Site") in ("same-origin", None)
    try:
        own = {request.host.lower(), urlsplit(services().public_url).netloc.lower()}
        return urlsplit(origin).netloc.lower() in own
    except ValueError:
        return False


def _refused() -> ResponseReturnValue:
    return responses.problem_page(403, "This form was not ours", "Open the privacy page itself and press its button.")
