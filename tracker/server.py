"""gunicorn's settings and the processes it keeps: edge workers and the loader, one tree under one arbiter."""

from __future__ import annotations

import logging
import os
import sys
import threading
from hashlib import blake2s
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.dirty.app import DirtyApp
from sqlalchemy.orm import Session

from tracker import accounts, app, metering, schema
from tracker.config import Settings
from tracker.extensions import open_engine
from tracker.pipeline.loader import Loader, collect_rarely
from tracker.stores import open_store

CLOSE_WITHIN_S = 3
WATCH_S = 0.5
REQUEST_LINE_MAX_BYTES = 65536


class LoaderApp(DirtyApp):
    """The loader as a thread of gunicorn's dirty worker: the arbiter starts it again when it dies."""

    def init(self) -> None:
        settings = Settings.from_env()
        engine = open_engine(settings.database_url)
        self._stop = threading.Event()
        self._loader = Loader(settings, engine, open_store(engine))
        collect_rarely()
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)
        self._thread.start()

    def watch(self, arbiter: int) -> None:
        """Without its arbiter this process would live on, and hold the port it has inherited.

        Whose it is says who made it: asked for here, it could be gone already, and whoever inherited this process
        would be taken for it.
        """
        threading.Thread(target=self._watch, args=(arbiter,), name="watch", daemon=True).start()

    def _watch(self, arbiter: int) -> None:
        while os.getppid() == arbiter:
            if self._stop.wait(WATCH_S):
                return
        self.close()
        os._exit(1)

    def _run(self) -> None:
        """A loader that ended without being told to takes its process with it, and the arbiter starts another."""
        try:
            self._loader.run(self._stop)
        finally:
            if not self._stop.is_set():
                logging.getLogger(__name__).exception("the loader ended")
                os._exit(1)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(CLOSE_WITHIN_S)


def create_asgi() -> Any:
    """Called in each worker, after the fork."""
    return app.create_asgi()


def prepare(settings: Settings) -> str:
    """Secrets, schema and the set-up token, in the arbiter and so once; answers what to tell whoever started it."""
    _ = settings.secrets
    schema.upgrade(settings)
    settings.remember_port()
    engine = open_engine(settings.database_url)
    with Session(engine) as session:
        token = accounts.setup_token(session)
    engine.dispose()
    if token:
        return f"First account: {settings.public_url}/app/setup/{token} (works once)"
    return f"Pages: {settings.public_url}/app/"


def process_name(settings: Settings) -> str:
    """Tells installations on one machine apart: gunicorn ends a loader that an earlier process of this name left."""
    place = f"{settings.data_dir}:{settings.port}"
    return f"tracker-{blake2s(place.encode(), digest_size=6).hexdigest()}"


def gunicorn_settings(settings: Settings) -> dict[str, Any]:
    """What `gunicorn.conf.py` holds."""
    said: list[str] = []
    name = process_name(settings)

    def on_starting(_server: Any) -> None:
        # gunicorn would end whatever process has the number that a killed predecessor left here, ours or not.
        Path(gettempdir(), f"gunicorn-dirty-{name}.pid").unlink(missing_ok=True)
        said.append(prepare(settings))
        metering.begin(settings.metrics_dir)

    def when_ready(_server: Any) -> None:
        print(f"Tracker is ready on port {settings.port}. {said[-1]}", flush=True)

    def dirty_worker_init(worker: Any) -> None:
        for loader in worker.apps.values():
            loader.watch(worker.ppid)

    def child_exit(_server: Any, worker: Any) -> None:
        metering.forget(worker.pid)

    return {
        "bind": [f"0.0.0.0:{settings.port}"],
        "wsgi_app": "tracker.server:create_asgi()",
        "worker_class": "tracker.edge.worker.EdgeWorker",
        "workers": settings.workers,
        "asgi_lifespan": "off",
        "dirty_apps": ["tracker.server:LoaderApp"],
        "dirty_workers": 1,
        "dirty_worker_init": dirty_worker_init,
        "dirty_graceful_timeout": CLOSE_WITHIN_S + 1,
        "graceful_timeout": CLOSE_WITHIN_S,
        "limit_request_line": REQUEST_LINE_MAX_BYTES,
        "control_socket_disable": True,
        "keepalive": 5,
        "loglevel": "warning",
        "proc_name": name,
        "on_starting": on_starting,
        "when_ready": when_ready,
        "child_exit": child_exit,
    }


def serve() -> None:
    """Becomes gunicorn's arbiter in this very process, with `gunicorn.conf.py` where there is one; does not return."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    conf = Path(__file__).resolve().parent.parent / "gunicorn.conf.py"
    location = str(conf) if conf.is_file() else "python:tracker.gunicorn_conf"
    # What gunicorn starts itself again with when it is asked to replace its own binary.
    sys.argv = [str(Path(sys.executable).with_name("gunicorn")), "-c", location]
    WSGIApplication("%(prog)s").run()
