"""The database's schema: brought up to date once, by one process, before anything serves."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from tracker.config import Settings, ensure_data_dir
from tracker.extensions import open_engine

MIGRATIONS = Path(__file__).resolve().parent / "migrations"


def _config(settings: Settings) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", settings.database_url.replace("%", "%%"))
    return config


def is_current(engine: Engine, settings: Settings) -> bool:
    """Whether the stored revision is the newest there is."""
    heads = set(ScriptDirectory.from_config(_config(settings)).get_heads())
    with engine.connect() as connection:
        return set(MigrationContext.configure(connection).get_current_heads()) == heads


def upgrade(settings: Settings) -> bool:
    """Brings the database up to date; False where it was already. Makes the data folder, readable by its owner only."""
    ensure_data_dir(settings.data_dir)
    engine = open_engine(settings.database_url)
    try:
        if is_current(engine, settings):
            return False
    finally:
        engine.dispose()
    command.upgrade(_config(settings), "head")
    return True
