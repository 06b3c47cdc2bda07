"""Migrations: one line of them, and the same tables as the models."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from tracker import schema
from tracker.config import Settings
from tracker.extensions import open_engine


def test_migrations_follow_one_another_and_make_the_models_tables(tmp_path: Path) -> None:
    settings = Settings.from_env({"TRACKER_DATA_DIR": str(tmp_path / "data")})
    assert schema.upgrade(settings)
    assert not schema.upgrade(settings)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("sqlalchemy.url", settings.database_url)
    assert ScriptDirectory.from_config(config).get_heads() == [schema.newest()]
    command.check(config)
    engine = open_engine(settings.database_url)
    assert schema.stored(engine) == schema.newest()
    engine.dispose()
