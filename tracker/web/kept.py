"""Pages that are kept until anything is stored: whoever asks again, or leaves a page open, costs next to nothing."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import wraps
from threading import Lock
from typing import Concatenate, ParamSpec

from flask import Flask, current_app, make_response, request, session
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import generate_csrf
from werkzeug.wrappers import Response

from tracker import days
from tracker.dataversion import DataVersion
from tracker.extensions import db
from tracker.models import Workspace
from tracker.services import services

P = ParamSpec("P")
BYTES_MAX = 8_000_000  # of pages kept in one process, before compression
# What else a page tells (how much of the latest conversions is in, how this machine is) changes with time alone.
KEPT_MS = 10_000
TAG_LENGTH = 32


@dataclass(frozen=True, slots=True)
class _Kept:
    version: str
    body: bytes
    tag: str


class KeptPages:
    """The pages of one process that were asked for last, by what they depend on beside the database."""

    def __init__(self) -> None:
        self.version = DataVersion()
        self._pages: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def find(self, key: Hashable, version: str) -> _Kept | None:
        with self._lock:
            found = self._pages.get(key)
            if found is None or found.version != version:
                return None
            self._pages.move_to_end(key)
            return found

    def keep(self, key: Hashable, page: _Kept) -> None:
        if len(page.body) > BYTES_MAX:
            return
        with self._lock:
            self._drop(key)
            self._pages[key] = page
            self._bytes += len(page.body)
            while self._bytes > BYTES_MAX:
                self._drop(next(iter(self._pages)))

    def clear(self) -> None:
        with self._lock:
            self._pages.clear()
            self._bytes = 0

    def _drop(self, key: Hashable) -> None:
        if (old := self._pages.pop(key, None)) is not None:
            self._bytes -= len(old.body)


def until_changed(
    view: Callable[Concatenate[Workspace, P], ResponseReturnValue],
) -> Callable[Concatenate[Workspace, P], ResponseReturnValue]:
    """For pages of somebody signed in that only read: what `answer` does for them."""

    @wraps(view)
    def kept(workspace: Workspace, /, *args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        # A message is shown once.
        if session.get("_flashes"):
            return view(workspace, *args, **kwargs)
        # Made first, for the forms of the page carry it.
        token = generate_csrf()
        reader = (current_user.get_id(), session["csrf_token"])
        return answer(workspace, lambda: view(workspace, *args, **kwargs), reader, token)

    return kept


def answer(
    workspace: Workspace, make: Callable[[], ResponseReturnValue], reader: Hashable = None, token: str = ""
) -> ResponseReturnValue:
    """The same page as long as nothing was stored, and 304 to a browser that has it already.

    `reader` tells for whom it is made, `token` is what differs each time that it is made. The page's tag is of what it
    says: so it holds in all processes, and after a change that does not concern the page.
    """
    pages: KeptPages = current_app.extensions["tracker_kept"]
    key, version = (reader, *_surroundings(workspace)), pages.version.read(db.session())
    found = pages.find(key, version)
    took_ms = 0.0
    if found is None:
        began = time.perf_counter()
        made = make_response(make())
        if made.status_code != 200:
            return made
        body = made.get_data()
        found = _Kept(version, body, hashlib.sha256(body.replace(token.encode(), b"")).hexdigest()[:TAG_LENGTH])
        pages.keep(key, found)
        took_ms = (time.perf_counter() - began) * 1000
    response = Response(found.body, mimetype="text/html")
    response.set_etag(found.tag, weak=True)
    response.headers["Server-Timing"] = f"page;dur={took_ms:.1f}"
    return response.make_conditional(request)


def _surroundings(workspace: Workspace) -> tuple[Hashable, ...]:
    """What a page is made of beside what is stored."""
    now_ms = days.to_ms(days.now())
    # Hits that reports do not show yet: as long as there are any, a page says by the second how late it is.
    lag_s = round(services().lag_s(now_ms))
    return workspace.id, request.url, request.headers.get("Accept-Language"), lag_s, now_ms // KEPT_MS


def register(app: Flask) -> None:
    app.extensions["tracker_kept"] = KeptPages()
