"""Who may see a page: somebody signed in, and of their own workspace only. And what a query is read for, with care."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec
from urllib.parse import unquote, urlsplit

from flask import abort, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from werkzeug.wrappers import Response

from tracker import accounts, changelog
from tracker.extensions import db
from tracker.models import ID_MAX, Workspace

P = ParamSpec("P")
PAGE_SIZE = 25
NEXT_MAX = 2048


def signed_in(view: Callable[Concatenate[Workspace, P], ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Hands the visitor's workspace to a view; asks a stranger to sign in first."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        if not current_user.is_authenticated:
            return to_sign_in()
        workspace = accounts.workspace_of(db.session(), current_user)
        if workspace is None:
            abort(403)
        g.workspace = workspace
        changelog.act_as(db.session(), current_user.email)
        return view(workspace, *args, **kwargs)

    return guarded


def to_sign_in() -> Response:
    """To the sign-in page, and back here afterwards; not back to a POST, whose body would be gone."""
    back = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("account.sign_in", next=back), code=303)


def local_path(text: str | None) -> str | None:
    """A path of our own pages, or None: whatever names another host in any spelling is refused."""
    if not text or len(text) > NEXT_MAX or not text.isprintable() or "\\" in text:
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    ours = parts.path == "/app" or parts.path.startswith("/app/")
    # A browser resolves dots before it asks, and a short link may lie where they lead.
    straight = "//" not in parts.path and not {".", ".."} & set(unquote(parts.path).split("/"))
    return text if ours and straight and not parts.scheme and not parts.netloc else None


def id_from_query(name: str) -> int | None:
    """A row id as a cursor; None for anything that is not one."""
    text = request.args.get(name, "")
    if not text.isascii() or not text.isdecimal() or len(text) > 19:
        return None
    return int(text) if 0 < int(text) <= ID_MAX else None
