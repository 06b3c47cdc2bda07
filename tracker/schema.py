"""The database's schema: brought up to date once, by one process, before anything serves.

Whether there is anything to do is asked without Alembic: loading it costs a server a fifth of a second at each start.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from sqlalchemy import Engine, inspect, text

from tracker.config import Settings, ensure_data_dir
from tracker.extensions import open_engine

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
LOCK = "schema.lock"


def newest() -> str:
    """The number of the newest revision: files are named `0001_what_it_does.py`, and each follows the one before."""
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def stored(engine: Engine) -> str | None:
    """The revision that the database is at; `None` for an empty one."""
    if not inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection:
        revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


def upgrade(settings: Settings) -> bool:
    """Brings the database up to date; False where it was already. Makes the data folder, readable by its owner only."""
    ensure_data_dir(settings.data_dir)
    if _is_current(settings):
        return False
    # Of two that start at once the second waits and finds nothing left to do. Machines that share a PostgreSQL
    # database have a lock of its own, in the migration's transaction.
    with (settings.data_dir / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_current(settings):
            return False
        _upgrade(settings)
    return True


def _is_current(settings: Settings) -> bool:
    engine = open_engine(settings.database_url)
    try:
        return stored(engine) == newest()
    finally:
        engine.dispose()


def _upgrade(settings: Settings) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", settings.database_url.replace("%", "%%"))
    command.upgrade(config, "head")
