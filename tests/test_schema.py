"""Migrations: one line of them, and the same tables as the models."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import func, select, text

from tests import databases
from tests.serving import Server
from tracker import schema
from tracker.config import Settings
from tracker.days import Span
from tracker.extensions import open_engine
from tracker.models import Token, Workspace
from tracker.stores import open_store


def test_migrations_follow_one_another_and_make_the_models_tables(tmp_path: Path) -> None:
    settings = Settings.from_env(databases.of(tmp_path / "data").environ)
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


def test_coarser_rollups_are_made_of_those_that_were_there(tmp_path: Path) -> None:
    settings = Settings.from_env(databases.of(tmp_path).environ)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("sqlalchemy.url", settings.database_url)
    command.upgrade(config, "0001")
    engine = open_engine(settings.database_url)
    with engine.begin() as connection:
        rows = "(1, 96, 5, 2, 0, 3, 2), (1, 97, 5, 2, 0, 4, 1), (1, 97, 6, 2, 3, 9, 0), (1, 200, 5, 1, 0, 7, 0)"
        connection.exec_driver_sql(
            f"INSERT INTO rollups (campaign_id, bucket, link_id, kind, verdict, n, unique_n) VALUES {rows}"
        )
    assert schema.upgrade(settings)
    store = open_store(engine)
    assert sorted(store.totals(1, 0, 960)) == [(5, 1, 0, 7, 0, 0), (5, 2, 0, 7, 3, 0), (6, 2, 3, 9, 0, 0)]
    assert sorted(step[1:] for step in store.series(1, [Span(0, 960, 0)], 96)) == [(1, 2, 7), (2, 1, 7)]
    engine.dispose()


def test_reasons_codes_and_unique_clicks_are_counted_of_the_events_that_were_there(tmp_path: Path) -> None:
    settings = Settings.from_env(databases.of(tmp_path).environ)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("sqlalchemy.url", settings.database_url)
    command.upgrade(config, "0003")
    engine = open_engine(settings.database_url)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("CREATE TABLE events_w0 PARTITION OF events FOR VALUES FROM (0) TO (604800000)")
        connection.exec_driver_sql("INSERT INTO texts (id, text) VALUES (7, 'curl'), (8, 'lost')")
        names = "at_ms, nonce, kind, verdict, workspace_id, campaign_id, link_id, visitor, detail_id, first_of_day"
        rows = (
            "(10, 1, 2, 0, 1, 1, 5, 70, NULL, true), (11, 1, 2, 0, 1, 1, 5, 70, NULL, false), "
            "(12, 1, 2, 0, 1, 1, 6, 70, NULL, false), (13, 1, 2, 3, 1, 1, 6, 71, 7, false), "
            "(14, 1, 2, 9, 1, NULL, NULL, 70, 8, false)"
        )
        connection.exec_driver_sql(f"INSERT INTO events ({names}) VALUES {rows}")
        sums = "(1, 0, 5, 2, 0, 2, 1), (1, 0, 6, 2, 0, 1, 0), (1, 0, 6, 2, 3, 1, 0)"
        for table, step in (("rollups", "bucket"), ("rollup_days", "day")):
            connection.exec_driver_sql(
                f"INSERT INTO {table} (campaign_id, {step}, link_id, kind, verdict, n, unique_n) VALUES {sums}"
            )
        connection.exec_driver_sql("INSERT INTO rollup_steps (campaign_id, bucket, kind, n) VALUES (1, 0, 2, 3)")
        connection.exec_driver_sql("INSERT INTO visitor_days (day, campaign_id, visitor) VALUES (0, 1, 70)")
    assert schema.upgrade(settings)
    store = open_store(engine)
    assert store.drifts(0) == []
    assert store.reasons_of([1], 0, 1) == [(2, 3, "curl", 1)]
    assert store.orphans(1, 0, 0, 9) == [("lost", 1, 0)]
    assert sorted(cell[0::5] for cell in store.totals(1, 0, 1) if cell.verdict == 0) == [(5, 1), (6, 1)]
    engine.dispose()


def test_of_many_that_start_at_once_one_migrates_and_all_work(tmp_path: Path) -> None:
    database = databases.of(tmp_path / "data")
    command = [Server.COMMAND, "token", "create", "x"]
    started = [
        subprocess.Popen(command, env=os.environ | database.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    with Server(tmp_path / "data") as server:
        assert server.request("GET", "/readyz").status == 200
    told = [process.communicate(timeout=60) for process in started]
    assert [(process.returncode, said[1]) for process, said in zip(started, told, strict=True)] == [(0, b"")] * 4
    assert len({said[0] for said in told}) == 4
    engine = open_engine(Settings.from_env(database.environ).database_url)
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT version_num FROM alembic_version")).all() == [schema.newest()]
        assert connection.scalar(select(func.count()).select_from(Workspace)) == 1
        assert connection.scalar(select(func.count()).select_from(Token)) == 4 + 1
    engine.dispose()
