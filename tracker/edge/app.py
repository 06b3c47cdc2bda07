"""The edge as an ASGI application: hot paths here, everything else to Flask behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tracker import customers
from tracker.edge.accesslog import AccessLog, Hit, NoLog
from tracker.edge.core import Edge, match, origin_form
from tracker.edge.decide import Answer, Orphan, Request, opted_out, raw_query
from tracker.events import encode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_NOWHERE = Orphan(None)
log = logging.getLogger(__name__)


async def _send(send: Send, answer: Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


class AsgiEdge:
    """Answers redirects and pixels once their event is in the spool; passes all else on."""

    log: AccessLog | NoLog = NoLog()

    def __init__(self, edge: Edge, behind: Application) -> None:
        self.edge = edge
        self._behind = behind
        self._poller: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/"):
            scope = {**scope, "path": origin_form(scope["path"])}
        hot = match(scope["path"]) if scope["type"] == "http" else None
        if hot is None:
            await self._behind(scope, receive, send)
            return
        kind, code = hot
        if scope["method"] not in ("GET", "HEAD"):
            await _send(send, self.edge.answer_wrong_method(kind))
            return
        self.start_polling()
        request = self._read(scope)
        decided = self.edge.answer_at_once(kind, code, request) or await self.edge.answer_later(kind, code, request)
        answer, event = decided
        await self.edge.spool.append_soon(encode(event))
        await _send(send, answer._replace(body=b"") if request.is_head else answer)

    def _read(self, scope: Scope) -> Request:
        headers: dict[bytes, bytes] = dict(scope["headers"])

        def text(name: bytes) -> str:
            return headers[name].decode("latin-1") if name in headers else ""

        client = scope.get("client")
        forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        purposes = (text(b"sec-purpose"), text(b"purpose"), text(b"x-purpose"), text(b"x-moz"))
        return Request(
            is_head=scope["method"] == "HEAD",
            query=raw_query(scope["query_string"]),
            address=self.edge.client_address(client[0] if client else "", forwarded.decode("latin-1")),
            agent=text(b"user-agent"),
            referrer=text(b"referer"),
            language=text(b"accept-language"),
            purpose=" ".join(purposes).strip(),
            gpc=headers.get(b"sec-gpc") == b"1",
            # Over HTTP/2 a browser may send each cookie in a header of its own.
            opted_out=any(name == b"cookie" and opted_out(value.decode("latin-1")) for name, value in scope["headers"]),
        )

    def start_polling(self) -> None:
        if self._poller is None:
            self._poller = asyncio.get_running_loop().create_task(self._poll())

    async def _poll(self) -> None:
        """Keeps the edge and Prometheus' counters current for as long as the worker lives."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.edge.cache.poll_s)
            try:
                self.edge.carry_over()
                await loop.run_in_executor(None, self.edge.poll)
            except Exception:
                # Whatever it was: without the next look, no edit of a link would be noticed any more.
                log.exception("the edge could not be brought up to date; it tries again")


class LoggedEdge(AsgiEdge):
    """The same, with a line in the access log for each request, once its answer has gone out."""

    def __init__(self, edge: Edge, behind: Application, log: AccessLog) -> None:
        super().__init__(edge, behind)
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        status, size = 0, 0

        async def count(message: MutableMapping[str, Any]) -> None:
            nonlocal status, size
            await send(message)
            status = message.get("status", status)
            size += len(message.get("body", b""))

        try:
            await super().__call__(scope, receive, count)
        except Exception:
            # The server answers in our stead.
            status = status or 500
            raise
        finally:
            if status:
                self.log.keep([_hit(scope, status, size)])


def _hit(scope: Scope, status: int, size: int) -> Hit:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    target = (scope.get("raw_path") or scope["path"].encode()) + query
    return (
        customers.redact(f"{scope['method']} {target.decode('latin-1')} HTTP/{scope['http_version']}"),
        status,
        size,
        headers.get(b"referer", b"").decode("latin-1"),
        headers.get(b"user-agent", b"").decode("latin-1"),
    )
