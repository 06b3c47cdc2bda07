"""Flask's extensions and the database beneath them: one Base, one naming convention, one way to open an engine."""

from __future__ import annotations

from typing import Any

from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase

BUSY_TIMEOUT_MS = 5000


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
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def engine_options(database_url: str) -> dict[str, Any]:
    """What every engine of ours is made with, Flask's and those of the loader and the link cache alike."""
    return {"pool_pre_ping": not database_url.startswith("sqlite"), "pool_recycle": 1800}


def open_engine(database_url: str) -> Engine:
    return create_engine(database_url, **engine_options(database_url))


def insert_into(dialect: str, table: Any) -> Any:
    """An INSERT that knows ON CONFLICT: SQLAlchemy keeps one for each database that has it."""
    return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect](table)
