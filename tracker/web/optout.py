"""The cookie by which a browser stays out of all figures: set and taken away by a button, obeyed by the edge."""

from __future__ import annotations

from flask import request
from werkzeug.wrappers import Response

from tracker.edge.decide import OPT_OUT_COOKIE
from tracker.services import services

# Browsers keep no cookie for longer than 400 days (RFC 6265bis).
KEPT_S = 365 * 86_400


def is_out() -> bool:
    return request.cookies.get(OPT_OUT_COOKIE) == "1"


def leave_out(response: Response) -> None:
    """Pixels are fetched from other sites' pages and from mails: only marked as None is it sent along there."""
    secure = _is_secure()
    response.set_cookie(
        OPT_OUT_COOKIE, "1", max_age=KEPT_S, httponly=True, secure=secure, samesite="None" if secure else "Lax"
    )


def count_again(response: Response) -> None:
    secure = _is_secure()
    response.delete_cookie(OPT_OUT_COOKIE, httponly=True, secure=secure, samesite="None" if secure else "Lax")


def _is_secure() -> bool:
    """Whether the visitor's browser speaks https, be it to us or to a proxy before us."""
    return request.is_secure or services().public_url.startswith("https:")
