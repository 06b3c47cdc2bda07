"""Fixtures: a fresh installation in a temporary folder, its people, and the way from a request to the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests import compiled, databases
from tests.crowd import BROWSER, Clock, Crowd
from tests.databases import Database
from tracker import accounts, links, schema
from tracker.app import create_app
from tracker.config import Settings
from tracker.destinations import OwnDomain
from tracker.extensions import db, open_engine
from tracker.links import LinkDraft
from tracker.models import Link, Report, Workspace
from tracker.pipeline.loader import Loader
from tracker.stores import EventStore, open_store

BASE_URL = "https://go.example"
OWNER = "ada@example.org"
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """argon2 as it is, with the least work it can be told to do: each sign-in would take a third of a second."""
    monkeypatch.setattr(accounts, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    with compiled.routes(), compiled.templates(), compiled.statements():
        yield


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A migrated, empty database; copied for each test, which is quicker than migrating for each."""
    database = databases.of(tmp_path_factory.mktemp("schema"))
    schema.upgrade(Settings.from_env(database.environ))
    return database


@pytest.fixture
def database(tmp_path: Path, fresh_database: Database) -> Iterator[Database]:
    database = databases.of(tmp_path / "data", like=fresh_database)
    yield database
    database.drop()


@pytest.fixture
def settings(database: Database) -> Settings:
    return Settings.from_env(database.environ | {"TRACKER_BASE_URL": BASE_URL})


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = open_engine(settings.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@pytest.fixture
def workspace(session: Session) -> Workspace:
    workspace = accounts.ensure_workspace(session)
    session.commit()
    return workspace


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    app = create_app(settings)
    app.config.update(TESTING=True, WTF_CSRF_ENABLED=False)
    app.extensions["tracker_edge"].cache.poll_s = 0
    yield app
    app.extensions["tracker"].spool.close()
    app.extensions["tracker_edge"].cache.close()
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A stranger with a browser."""
    client = app.test_client()
    client.environ_base["HTTP_USER_AGENT"] = BROWSER
    return client


@pytest.fixture
def crowd(app: Flask) -> Crowd:
    """Anybody, at any time."""
    clock = Clock()
    app.extensions["tracker_edge"]._clock_ms = clock
    return Crowd(app, clock)


@pytest.fixture
def owner(app: Flask, session: Session, workspace: Workspace) -> FlaskClient:
    """The workspace's owner, signed in."""
    accounts.create_user(session, workspace, OWNER, PASSWORD)
    client = app.test_client()
    response = client.post("/app/login", data={"email": OWNER, "password": PASSWORD})
    assert response.status_code == 303, response.text
    return client


class Api:
    """A client with a token."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"}

    def __call__(self, method: str, path: str, content: Any = None, **options: Any) -> Any:
        headers = self._headers | options.pop("headers", {})
        return self._client.open(f"/api/v1{path}", method=method, json=content, headers=headers, **options)


@pytest.fixture
def api(app: Flask, session: Session, workspace: Workspace) -> Api:
    return Api(app.test_client(), accounts.create_token(session, workspace, "tests"))


@pytest.fixture
def click(client: FlaskClient, make_link: Callable[..., Link]) -> Callable[..., str]:
    """Follows a link and answers the click id that the landing page gets."""

    def click(link: Link | None = None, **headers: str) -> str:
        location = client.get(f"/{(link or make_link()).code}", headers=headers).headers["Location"]
        return str(location.partition("cid=")[2][:28])

    return click


@pytest.fixture
def send(client: FlaskClient, workspace: Workspace) -> Callable[..., Any]:
    """Reports a conversion by callback."""
    return lambda **params: client.post(f"/c/{workspace.key}", data=params)


def lost(session: Session) -> Report:
    """The one report that found no click."""
    session.expire_all()
    return session.scalars(select(Report).where(Report.result == "unmatched")).one()


@pytest.fixture
def store(engine: Engine) -> EventStore:
    return open_store(engine)


@pytest.fixture
def load(app: Flask, settings: Settings, engine: Engine, store: EventStore) -> Callable[[], int]:
    """Takes everything that is in the spool, as the loader's process would."""
    loader = Loader(settings, engine, store)
    return loader.drain


@pytest.fixture
def make_link(session: Session, workspace: Workspace) -> Callable[..., Link]:
    def make(**given: Any) -> Link:
        draft = {
            "destination": "https://shop.example/sale?ref=1#top",
            "campaign": "spring-sale",
            "source": "newsletter",
            "medium": "email",
        }
        return links.create(session, workspace, LinkDraft(**draft | given), OwnDomain((BASE_URL,)))

    return make
