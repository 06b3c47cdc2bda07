"""Migrations: one line of them, and the same tables as the models."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, Table, func, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests import databases
from tests.serving import Server
from tracker import saleaudit, schema
from tracker.config import Settings
from tracker.days import Span
from tracker.extensions import open_engine
from tracker.models import Conversion, LedgerEntry, Token, Workspace
from tracker.stores import Dimension, open_store
from tracker.sums import SaleDay, SalePartDay

DAY_MS = 86_400_000


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


def _insert(connection: Connection, table: str, **given: Any) -> None:
    """A row of a table as it is at this revision; what must have a value and is not given gets an empty one."""
    found = Table(table, MetaData(), autoload_with=connection)
    empty: dict[Any, Any] = {
        bool: False,
        int: 0,
        str: "",
        dict: {},
        object: {},
        datetime: datetime.fromisoformat("2026-01-01"),
    }
    others = {
        column.name: empty[column.type.python_type]
        for column in found.columns
        if not column.nullable and column.server_default is None and not column.primary_key
    }
    connection.execute(found.insert().values(others | given))


def _shape(engine: Engine) -> dict[str, Any]:
    """The columns, indexes and foreign keys of the tables that hold conversions and what was said of them."""
    found = inspect(engine)
    return {
        table: (
            {(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)},
            {(index["name"], tuple(index["column_names"])) for index in found.get_indexes(table)},
            {(key["name"], key["referred_table"]) for key in found.get_foreign_keys(table)},
        )
        for table in ("workspaces", "campaigns", "links", "conversions", "ledger", "reports")
    }


# At 0005: what was converted when, by click, link, status and whether beyond the window.
SALES = (
    ("2026-11-05 13:59:59.999", 900_000, 1, "approved", 4990, "EUR", False, "DE"),
    ("2026-11-05 13:59:59.999", 900_001, 1, "pending", 10, "EUR", False, None),
    ("2026-11-06 00:00:00.000", 86_400_000, 2, "approved", None, None, False, "DE"),
    ("2026-11-06 00:00:00.123", 86_400_000, 2, "approved", 7, "JPY", True, "FR"),
    ("2026-11-06 00:00:00.124", 86_400_000, 2, "refunded", 9, "EUR", False, "FR"),
)


def test_conversions_are_summed_up_and_dated_to_the_millisecond_and_come_back_as_they_were(tmp_path: Path) -> None:
    settings = Settings.from_env(databases.of(tmp_path).environ)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("sqlalchemy.url", settings.database_url)
    command.upgrade(config, "0005")
    engine = open_engine(settings.database_url)
    shape = _shape(engine)
    with engine.begin() as connection:
        _insert(connection, "workspaces", id=1, key="k", currency="EUR", timezone="UTC")
        _insert(connection, "campaigns", id=1, workspace_id=1, slug="c")
        for number in (1, 2):
            _insert(connection, "links", id=number, workspace_id=1, campaign_id=1, code=f"l{number}")
        for number, (at, click_at_ms, link_id, status, minor, currency, outside, country) in enumerate(SALES, 1):
            own = {"workspace_id": 1, "campaign_id": 1, "link_id": link_id, "goal": "purchase", "status": status}
            own |= {"minor": minor, "currency": currency, "outside_window": outside, "click_at_ms": click_at_ms}
            own |= {"id": number, "dedup_key": f"o:{number}", "click_id": str(number), "click_country": country}
            _insert(connection, "conversions", **own, converted_at=datetime.fromisoformat(at))
            _insert(connection, "ledger", id=number, conversion_id=number, status=status, minor=minor or 0)
            _insert(connection, "reports", id=number, workspace_id=1, at_ms=number, conversion_id=number)
    before = _rows(engine)

    assert schema.upgrade(settings)
    first = int(datetime(2026, 11, 5, 13, 59, 59, tzinfo=UTC).timestamp()) * 1000 + 999
    later = int(datetime(2026, 11, 6, tzinfo=UTC).timestamp()) * 1000
    with Session(engine) as session:
        sales = session.scalars(select(Conversion).order_by(Conversion.id)).all()
        assert [sale.converted_at_ms for sale in sales] == [first, first, later, later + 123, later + 124]
        assert {(sale.matched_by, sale.is_test, len(sale.entries)) for sale in sales} == {("click", False, 1)}
        by_click = select(SaleDay).where(SaleDay.axis == 0).order_by(SaleDay.day, SaleDay.currency)
        assert [
            (row.day, row.link_id, row.currency, row.n, row.minor, row.outside_n, row.view_n)
            for row in session.scalars(by_click)
        ] == [(0, 1, "EUR", 2, 5000, 0, 0), (1, 2, "", 1, 0, 0, 0), (1, 2, "JPY", 0, 0, 1, 0)]
        of_country = select(SalePartDay).where(SalePartDay.dimension == Dimension.COUNTRY)
        parts = session.scalars(of_country.order_by(SalePartDay.day, SalePartDay.value))
        assert [(row.day, row.value, row.n, row.minor) for row in parts] == [
            (0, "", 1, 10),
            (0, "DE", 1, 4990),
            (1, "DE", 1, 0),
        ]
    assert saleaudit.days(engine) == [0, 1, first // DAY_MS, later // DAY_MS]
    assert [drift for day in saleaudit.days(engine) for drift in saleaudit.drifts(engine, day)] == []
    with engine.connect() as connection, pytest.raises(IntegrityError):
        _insert(connection, "ledger", id=99, conversion_id=99)

    with Session(engine) as session:
        own = {"workspace_id": 1, "campaign_id": 1, "goal": "g", "status": "approved", "matched_by": "hand"}
        given_by_hand = Conversion(id=9, **own, dedup_key="o:9", click_at_ms=1, click_nonce=0, converted_at_ms=1)
        session.add(given_by_hand)
        session.flush()
        session.add(LedgerEntry(id=9, conversion_id=9, status="approved", minor=0))
        session.commit()
    command.downgrade(config, "0005")
    assert _shape(engine) == shape
    assert _rows(engine) == before
    with engine.connect() as connection, pytest.raises(IntegrityError):
        _insert(connection, "ledger", id=99, conversion_id=99)

    assert schema.upgrade(settings)
    command.check(config)
    assert [drift for day in saleaudit.days(engine) for drift in saleaudit.drifts(engine, day)] == []
    engine.dispose()


def _rows(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        tables = {
            name: Table(name, MetaData(), autoload_with=connection) for name in ("conversions", "ledger", "reports")
        }
        return {
            name: [dict(row._mapping) for row in connection.execute(select(table).order_by(table.c.id))]
            for name, table in tables.items()
        }


@databases.of_a_server
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
