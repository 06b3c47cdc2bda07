"""An installation as a command finds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tracker import accounts, changelog, schema
from tracker.config import Settings
from tracker.errors import Busy
from tracker.extensions import open_engine
from tracker.models import Workspace


@contextmanager
def opened() -> Iterator[tuple[Settings, Engine, Session, Workspace]]:
    """The database brought up to date, and the installation's workspace."""
    settings = Settings.from_env()
    if "PORT" not in os.environ:
        settings = settings.as_served()
    schema.upgrade(settings)
    engine = open_engine(settings.database_url)
    try:
        with Session(engine) as session:
            changelog.act_as(session, changelog.COMMAND_LINE)
            workspace = accounts.ensure_workspace(session)
            session.commit()
            yield settings, engine, session, workspace
    finally:
        engine.dispose()


@contextmanager
def alone(lock: Path, refusal: str) -> Iterator[None]:
    """Keeps a second process out, on this machine, for as long as the first one lives. Raises Busy with the refusal."""
    file = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(refusal) from None
        yield
    finally:
        os.close(file)
