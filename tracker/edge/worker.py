"""gunicorn's ASGI worker with the fast lane before its own protocol."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from gunicorn.workers import gasgi

from tracker.edge.app import AsgiEdge
from tracker.edge.lane import Lane, Turn

SWEEP_S = 1.0
_gasgi: Any = gasgi  # the stubs leave out what is needed of it


class EdgeWorker(gasgi.ASGIWorker):
    """Serves like its parent; connections that ask for links and pixels alone never reach the parent's protocol."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lanes: set[Lane] = set()

    async def _serve(self) -> None:
        # The parent makes its protocols by this name. Should it cease to, requests still get their answers, only more
        # slowly; a test would tell.
        usual = _gasgi.ASGIProtocol
        edge = self._application.edge
        turn = Turn(edge, self._application.log)
        if not self.cfg.accesslog:
            _gasgi.ASGIProtocol = lambda worker: Lane(turn, edge, self, lambda: usual(worker))
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
            since = time.monotonic() - (self.cfg.keepalive if self.alive else 0)
            for lane in tuple(self._lanes):
                lane.close_if_idle(since)
            if self.nr >= self.max_requests:
                self.alive = False
