"""An installation as a command finds it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tracker import accounts, schema
from tracker.config import Settings
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
            workspace = accounts.ensure_workspace(session)
            session.commit()
            yield settings, engine, session, workspace
    finally:
        engine.dispose()
