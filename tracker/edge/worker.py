"""gunicorn's ASGI worker with the fast lane before its own protocol."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import Any
from weakref import WeakSet

from gunicorn.workers import gasgi

from tracker.edge.app import AsgiEdge
from tracker.edge.lane import Lane, Turn

SWEEP_S = 1.0
# How long a page's thread may keep the interpreter from the event loop, which asks for it after each wait and write.
# Python's own 5 ms made redirects three to six times slower while a report was read.
SWITCH_S = 0.0002
# How long a worker that is to stop waits for the first request of a connection it has accepted: nobody asks again for
# one that a new connection lost.
FIRST_REQUEST_WITHIN_S = 1.0
GARBAGE_MIN = 20_000  # objects made and not freed before a collection looks for circles among them
_gasgi: Any = gasgi  # the stubs leave out what is needed of it


class EdgeWorker(gasgi.ASGIWorker):
    """Serves like its parent; connections that ask for links and pixels alone never reach the parent's protocol."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lanes: set[Lane] = set()
        self._handed_over: WeakSet[Any] = WeakSet()

    async def _serve(self) -> None:
        # The parent makes its protocols by this name. Should it cease to, requests still get their answers, only more
        # slowly; a test would tell.
        usual = _gasgi.ASGIProtocol
        sys.setswitchinterval(SWITCH_S)
        # What was loaded stays: no collection need look through it again. Redirects leave nothing behind to collect.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_MIN)
        edge = self._application.edge
        turn = Turn(edge, self._application.log)

        def hand_over() -> Any:
            successor = usual(self)
            self._handed_over.add(successor)
            return successor

        if not self.cfg.accesslog:
            _gasgi.ASGIProtocol = lambda _worker: Lane(turn, edge, self, hand_over)
        self._application.start_polling()
        sweeper = asyncio.get_running_loop().create_task(self._sweep())
        try:
            await super()._serve()  # type: ignore[misc]  # the stubs leave it out
        finally:
            sweeper.cancel()
            _gasgi.ASGIProtocol = usual
            edge.spool.close()
            self._application.log.close()
            edge.carry_over()

    @property
    def _application(self) -> AsgiEdge:
        application = self.asgi
        assert isinstance(application, AsgiEdge)  # noqa: S101 (narrows the type: the settings name it)
        return application

    def open_lane(self, lane: Lane) -> None:
        self.nr_conns += 1
        self._lanes.add(lane)

    def close_lane(self, lane: Lane) -> None:
        if lane in self._lanes:
            self._lanes.discard(lane)
            self.nr_conns -= 1

    async def _sweep(self) -> None:
        """Ends connections idle for longer than `keepalive`; once the worker is to stop, all idle ones."""
        while True:
            await asyncio.sleep(SWEEP_S if self.alive else SWEEP_S / 10)
            now = time.monotonic()
            for lane in tuple(self._lanes):
                stopping_s = FIRST_REQUEST_WITHIN_S if lane.is_new else 0
                lane.close_if_idle(now - (self.cfg.keepalive if self.alive else stopping_s))
            if not self.alive:
                for successor in tuple(self._handed_over):
                    _close_between_requests(successor)
            if self.nr >= self.max_requests:
                self.alive = False


def _close_between_requests(protocol: Any) -> None:
    """gunicorn would wait for the end of `keepalive`, which is later than its arbiter's patience with the worker.

    What is read of the protocol is its own affair: without these names its connections end as late as they used to.
    """
    if getattr(protocol, "_awaiting_request", False) and getattr(protocol, "req_count", 0) > 1:
        protocol.transport.close()
