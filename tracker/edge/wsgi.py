"""The edge before Flask in a plain WSGI server and in Flask's test client: the same decision, a simpler way to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from tracker.edge.core import Edge, match
from tracker.edge.decide import Answer, Orphan, Request, opted_out, raw_query
from tracker.edge.linkcache import DatabaseAway
from tracker.events import Event, Kind, encode

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


def _start(start_response: StartResponse, answer: Answer) -> list[bytes]:
    status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
    start_response(status, [(name.decode().title(), value.decode("latin-1")) for name, value in answer.headers])
    return [answer.body] if answer.body else []


class WsgiEdge:
    """Answers redirects and pixels once their event is in the spool; passes all else on."""

    def __init__(self, edge: Edge, behind: Application) -> None:
        self._edge = edge
        self._behind = behind

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        hot = match(environ.get("PATH_INFO", "/"))
        if hot is None:
            return self._behind(environ, start_response)
        kind, code = hot
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _start(start_response, self._edge.answer_wrong_method(kind))
        request = self._read(environ)
        answer, event = self._answer(kind, code, request)
        self._edge.spool.append(encode(event))
        # There is no loop here to do it later: this process may be idle for hours.
        self._edge.carry_over()
        return _start(start_response, answer._replace(body=b"") if request.is_head else answer)

    def _answer(self, kind: Kind, code: str, request: Request) -> tuple[Answer, Event]:
        edge = self._edge
        if kind == Kind.CONVERSION:
            return edge.answer(kind, code, request, Orphan(None))
        edge.poll_if_due()
        try:
            target = edge.cache.get(code) or edge.look_up(code)
        except DatabaseAway:
            return edge.answer_unavailable(kind, code, request)
        return edge.answer(kind, code, request, target)

    def _read(self, environ: Environ) -> Request:
        purposes = (
            environ.get(name, "") for name in ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")
        )
        return Request(
            is_head=environ["REQUEST_METHOD"] == "HEAD",
            query=raw_query(environ.get("QUERY_STRING", "").encode("latin-1")),
            address=self._edge.client_address(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", "")),
            agent=environ.get("HTTP_USER_AGENT", ""),
            referrer=environ.get("HTTP_REFERER", ""),
            language=environ.get("HTTP_ACCEPT_LANGUAGE", ""),
            purpose=" ".join(purposes).strip(),
            gpc=environ.get("HTTP_SEC_GPC") == "1",
            opted_out=opted_out(environ.get("HTTP_COOKIE", "")),
        )
