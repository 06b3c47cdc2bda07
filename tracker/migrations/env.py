"""Alembic's environment: the same for our own start-up and for `flask db`, which developers use to write revisions."""

from __future__ import annotations

from typing import Literal

from alembic import context
from sqlalchemy import Connection

from tracker import campaigning, models, reported, sums
from tracker.extensions import Base, hold, open_engine

_TABLES = (campaigning, models, reported, sums)  # all must be known before anything is compared


def _render(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Revisions name the database's own types: a migration must not change when our code does."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, models.Instant) else False


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Each week's table of events is made by the store and is no business of a revision."""
    return not (kind == "table" and (name or "").startswith("events_w"))


def _run(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        # A table that is made anew is dropped in between, and rows that point at it are not to stand in the way.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
        render_item=_render,
        include_name=_is_ours,
    )
    with context.begin_transaction():
        hold(connection, "migrations")
        context.run_migrations()


def _url() -> str:
    url = context.config.get_main_option("sqlalchemy.url")
    if url:
        return url
    from flask import current_app

    return str(current_app.config["SQLALCHEMY_DATABASE_URI"])


engine = open_engine(_url())
with engine.connect() as connection:
    _run(connection)
engine.dispose()
