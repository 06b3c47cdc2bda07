"""A value that is another one as soon as anybody has stored anything: what was made of the database is kept by it."""

from __future__ import annotations

from threading import Lock
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session


class DataVersion:
    """Read before what is to be kept: then that is never older than its version says."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._watching: Any = None

    def read(self, session: Session) -> str:
        """Equal to an earlier one of this process only if nothing was committed between.

        Of PostgreSQL: which transactions had ended (`pg_current_snapshot`). Of SQLite: `PRAGMA data_version`, which
        tells one connection of what all others committed, and so needs one that never writes.
        """
        engine = session.get_bind()
        if engine.dialect.name == "postgresql":
            return str(session.scalar(text("SELECT pg_current_snapshot()::text")))
        with self._lock:
            if self._watching is None:
                assert isinstance(engine, Engine)  # noqa: S101 (narrows the type: no session of ours has a connection)
                self._watching = engine.raw_connection()
                self._watching.detach()
            return str(self._watching.execute("PRAGMA data_version").fetchall()[0][0])
