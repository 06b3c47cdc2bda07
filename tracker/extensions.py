"""Flask's extensions and the database beneath them: one Base, one naming convention, one way to open an engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from zlib import crc32

from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from sqlalchemy import ColumnElement, Connection, Engine, MetaData, bindparam, create_engine, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase

BUSY_TIMEOUT_MS = 5000
# PostgreSQL's: how long to wait for a connection, for a lock that somebody holds, for a peer that fell silent.
CONNECT_WITHIN_S = 2
LOCK_WITHIN_MS = 5000
SILENT_MAX_MS = 10_000


class Base(DeclarativeBase):
    """Models derive from this and not from `db.Model`, whose type strict checking cannot see."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)
csrf = CSRFProtect()
login = LoginManager()


@event.listens_for(Engine, "connect")
def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """WAL lets pages read while the loader writes; NORMAL outlasts a killed process, the spool covers more."""
    if not type(connection).__module__.startswith("sqlite3"):
        return
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        # What is deleted is overwritten: a salt, a visitor who is to be forgotten. Debian's SQLite does so by default.
        "secure_delete=ON",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def engine_options(database_url: str) -> dict[str, Any]:
    """What every engine of ours is made with, Flask's and those of the loader and the link cache alike.

    An error's message is logged: it must not carry the values of the statement that failed.
    """
    if database_url.startswith("sqlite"):
        return {"hide_parameters": True}
    arguments = {
        "connect_timeout": CONNECT_WITHIN_S,
        "tcp_user_timeout": SILENT_MAX_MS,
        "options": f"-c lock_timeout={LOCK_WITHIN_MS} -c timezone=UTC",
    }
    return {"hide_parameters": True, "pool_pre_ping": True, "pool_recycle": 1800, "connect_args": arguments}


def open_engine(database_url: str) -> Engine:
    return create_engine(database_url, **engine_options(database_url))


def empty_journal(engine: Engine) -> None:
    """Writes SQLite's journal into the database, so that nothing erased is left in it, where nobody reads it just now.

    PostgreSQL recycles its own, and vacuums rows that were replaced.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def hold(connection: Connection, name: str) -> None:
    """Keeps others who hold the same name waiting until this transaction ends.

    SQLite has one writer at a time anyhow, whose lock comes with its first change.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(crc32(name.encode()))))


def in_list(column: Any, numbers: Iterable[int]) -> ColumnElement[bool]:
    """Whether a column has one of these numbers, however many: they are written out, for parameters are limited."""
    listed: Any = bindparam(None, sorted(numbers), expanding=True, literal_execute=True, unique=True)
    condition: ColumnElement[bool] = column.in_(listed)
    return condition


def in_given(column: Any, name: str) -> ColumnElement[bool]:
    """The same of numbers that are given under this name when the statement runs, so that it can be kept."""
    condition: ColumnElement[bool] = column.in_(bindparam(name, expanding=True, literal_execute=True))
    return condition


def insert_into(dialect: str, table: Any) -> Any:
    """An INSERT that knows ON CONFLICT: SQLAlchemy keeps one for each database that has it."""
    return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect](table)
