"""What networks match customers by, over HTTP: kept where the workspace asks for it, and of nobody who said no."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.databases import Database
from tracker import aside, conversions, customers, days, jobs, matchkeys
from tracker.cli import main
from tracker.config import Settings
from tracker.models import Conversion, Link, Report, Workspace
from tracker.pipeline import segments
from tracker.reported import Identity
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Load = Callable[[], int]
ADA = "Ada@Example.org"
GPC = {"Sec-GPC": "1"}


def sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


ADA_SHA = sha("ada@example.org")


@pytest.fixture
def keeping(session: Session, workspace: Workspace) -> Workspace:
    """A workspace that asked for it."""
    matchkeys.set_keeping(session, workspace, True)
    return workspace


@pytest.fixture
def cid(client: FlaskClient, make_link: MakeLink) -> str:
    return client.get(f"/{make_link().code}").headers["Location"].partition("cid=")[2][:28]


def kept(session: Session) -> list[tuple[str | None, str | None, str | None, str | None, bool]]:
    session.rollback()
    session.expire_all()
    found = session.scalars(select(Identity).order_by(Identity.customer))
    return [(i.meta_email, i.meta_phone, i.google_email, i.google_phone, i.opted_out) for i in found]


def everywhere(settings: Settings, session: Session) -> str:
    """All that lies in the spool's files and in the database."""
    folder = settings.spool_dir
    spool = "".join((folder / name).read_text() for name in segments.names(folder))
    rows = [json.dumps([report.params, report.hint]) for report in session.scalars(select(Report))]
    return spool + "".join(rows)


class Shop:
    """Reports a sale in each of the ways there are."""

    def __init__(self, client: FlaskClient, workspace: Workspace, load: Load) -> None:
        self._client, self._key, self._load = client, workspace.key, load

    def pixel(self, headers: dict[str, str] | None = None, **said: str) -> None:
        self._client.get(f"/c/{self._key}.gif", query_string=said, headers=headers)
        self._load()

    def callback(self, headers: dict[str, str] | None = None, **said: str) -> Any:
        return self._client.post(f"/c/{self._key}", json=said, headers=headers).json


@pytest.fixture
def shop(client: FlaskClient, workspace: Workspace, load: Load) -> Shop:
    return Shop(client, workspace, load)


@pytest.mark.parametrize("way", ["pixel", "callback"])
def test_nothing_is_kept_unless_the_workspace_asks_for_it(
    shop: Shop, session: Session, workspace: Workspace, cid: str, way: str
) -> None:
    getattr(shop, way)(cid=cid, order="1", value="5", customer=ADA)
    assert session.scalar(select(Conversion.customer)) is not None
    assert kept(session) == []


@pytest.mark.parametrize("way", ["pixel", "callback"])
def test_what_networks_match_a_customer_by_is_kept_beside_the_hash(
    shop: Shop, session: Session, keeping: Workspace, cid: str, way: str
) -> None:
    getattr(shop, way)(cid=cid, order="1", value="5", customer=f" {ADA} ")
    getattr(shop, way)(order="2", value="5", customer="4711")
    assert kept(session) == [(ADA_SHA, None, ADA_SHA, None, False)]
    getattr(shop, way)(order="3", value="5", customer="+1 650 555 1212")
    assert (None, sha("16505551212"), None, sha("+16505551212"), False) in kept(session)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_queued_callback_carries_it_through_the_spool_and_no_further(
    shop: Shop,
    settings: Settings,
    session: Session,
    database: Database,
    workspace: Workspace,
    cid: str,
    load: Load,
    keeps: bool,
) -> None:
    matchkeys.set_keeping(session, workspace, keeps)
    session.rollback()
    database.stop()
    answer = shop.callback(cid=cid, order="1", customer=ADA, Customer=ADA, customer_match=f"{'0' * 64}.-.-.-")
    database.start()
    assert answer == {"result": "queued"}
    spool = everywhere(settings, session)
    assert ADA_SHA in spool
    assert "xample.org" not in spool
    assert "0" * 64 not in spool
    load()
    assert kept(session) == ([(ADA_SHA, None, ADA_SHA, None, False)] if keeps else [])


def test_it_stands_in_no_report_list_export_or_page(
    shop: Shop,
    owner: FlaskClient,
    api: Api,
    session: Session,
    keeping: Workspace,
    cid: str,
) -> None:
    shop.pixel(cid=cid, order="1", customer=ADA)
    shop.pixel(order="2", customer=ADA)
    shop.callback(cid=cid, order="3", customer=ADA)
    shop.callback(cid=cid, value="much", customer=ADA)
    assert [sorted(report.params) for report in session.scalars(select(Report))] == [
        ["cid", "customer", "order"],
        ["customer", "order"],
        ["cid", "customer", "order"],
        ["cid", "customer", "value"],
    ]
    for path in ("/conversions", "/conversions.csv", "/conversions/reports", "/events", "/events.csv", "/orphans"):
        assert ADA_SHA not in api("GET", path).text, path
    for path in ("/app/conversions", "/app/events", "/app/orphans", "/app/filtered"):
        assert ADA_SHA not in owner.get(path).text, path


def test_a_record_that_is_set_aside_loses_it(
    client: FlaskClient, settings: Settings, workspace: Workspace, cid: str
) -> None:
    client.get(f"/c/{workspace.key}.gif?cid={cid}&order=1&customer={ADA}")
    folder = settings.spool_dir
    lines = [line for name in segments.names(folder) for line in (folder / name).read_bytes().splitlines(True)]
    (line,) = [line for line in lines if b"customer_match" in line]
    aside.keep_record(folder, "one", line)
    (path,) = (folder / aside.FOLDER).iterdir()
    assert path.suffix == aside.READABLE
    assert b"customer_hash" in path.read_bytes()
    assert ADA_SHA.encode() not in path.read_bytes()


@pytest.mark.parametrize("way", ["pixel", "callback"])
def test_nobody_outside_can_say_what_a_customer_is_matched_by(
    shop: Shop, session: Session, keeping: Workspace, cid: str, way: str
) -> None:
    getattr(shop, way)(cid=cid, order="1", customer="4711", customer_match=f"{'0' * 64}.-.{'0' * 64}.-")
    assert kept(session) == []
    getattr(shop, way)(cid=cid, order="2", customer=ADA, customer_match=f"{'0' * 64}.-.{'0' * 64}.-")
    assert kept(session) == [(ADA_SHA, None, ADA_SHA, None, False)]


def test_a_test_names_nobody(shop: Shop, session: Session, keeping: Workspace, cid: str) -> None:
    shop.callback(cid=cid, order="1", customer=ADA, test="1")
    assert kept(session) == []


# Global Privacy Control


def test_who_said_no_once_is_kept_of_by_no_other_sale(
    shop: Shop, session: Session, keeping: Workspace, cid: str
) -> None:
    shop.callback(cid=cid, order="1", value="5", customer=ADA)
    shop.callback(order="1", customer="eve@example.org")
    assert len(kept(session)) == 2
    shop.pixel(GPC, cid=cid, order="1", customer=ADA)
    assert kept(session) == [(None, None, None, None, True)] * 2
    assert session.scalar(select(Conversion.customer)) is None
    shop.callback(cid=cid, order="2", value="5", customer=ADA)
    shop.pixel(cid=cid, order="3", value="5", customer=ADA)
    assert kept(session) == [(None, None, None, None, True)] * 2


@pytest.mark.parametrize("keeps", [True, False])
def test_a_sale_under_gpc_says_no_for_whoever_the_shop_names_later(
    shop: Shop, session: Session, workspace: Workspace, cid: str, keeps: bool
) -> None:
    matchkeys.set_keeping(session, workspace, keeps)
    shop.pixel(GPC, cid=cid, order="1", value="5")
    shop.callback(cid=cid, order="1", value="5", customer=ADA)
    assert kept(session) == [(None, None, None, None, True)]
    matchkeys.set_keeping(session, workspace, True)
    shop.callback(cid=cid, order="2", value="5", customer=ADA)
    assert kept(session) == [(None, None, None, None, True)]


def test_what_was_kept_unmatched_is_no_longer_once_its_sale_turns_out_to_be_under_gpc(
    shop: Shop, session: Session, settings: Settings, keeping: Workspace, cid: str
) -> None:
    shop.callback(order="1", value="5", customer=ADA)
    assert kept(session) == [(ADA_SHA, None, ADA_SHA, None, False)]
    shop.pixel(GPC, cid=cid, order="1", value="5")
    report = session.scalars(select(Report).where(Report.result == "unmatched")).one()
    assert conversions.retry(session, report, settings.secrets.keys).result in ("duplicate", "updated")
    session.commit()
    assert kept(session) == [(None, None, None, None, True)]


# Erased


def test_a_workspace_that_stops_keeping_has_nothing_and_remembers_who_said_no(
    shop: Shop, session: Session, keeping: Workspace, cid: str, settings: Settings
) -> None:
    shop.callback(cid=cid, order="1", customer=ADA)
    shop.callback(cid=cid, order="2", customer="eve@example.org")
    shop.pixel(GPC, cid=cid, order="2")
    matchkeys.set_keeping(session, keeping, False)
    assert kept(session) == [(None, None, None, None, True)]
    if settings.database_url.startswith("sqlite"):
        path = settings.data_dir / "tracker.db"
        files = [path, *path.parent.glob(f"{path.name}-*")]
        assert not any(ADA_SHA.encode() in file.read_bytes() for file in files if file.exists())


def test_what_came_in_as_keeping_stopped_goes_within_the_hour(
    shop: Shop, session: Session, keeping: Workspace, cid: str, settings: Settings, engine: Engine, store: EventStore
) -> None:
    shop.callback(cid=cid, order="1", customer=ADA)
    session.execute(text("UPDATE workspaces SET keeps_identities = false"))
    session.commit()
    jobs.erase_match_keys(jobs.Installation(settings, engine, store), days.now())
    assert kept(session) == []


def test_retention_erases_what_is_kept_of_customers_not_heard_of_since(
    shop: Shop,
    session: Session,
    keeping: Workspace,
    cid: str,
    database: Database,
    engine: Engine,
    store: EventStore,
) -> None:
    settings = Settings.from_env(database.environ | {"TRACKER_RETENTION_DAYS": "90"})
    on = jobs.Installation(settings, engine, store)
    shop.callback(cid=cid, order="1", customer=ADA)
    jobs.erase_match_keys(on, days.now() + timedelta(days=89))
    assert len(kept(session)) == 1
    session.execute(text("UPDATE identities SET updated_at = :then"), {"then": "2020-01-01 00:00:00"})
    session.commit()
    shop.callback(cid=cid, order="2", customer=ADA)
    jobs.erase_match_keys(on, days.now() + timedelta(days=89))
    assert len(kept(session)) == 1, "heard of again"
    jobs.erase_match_keys(on, days.now() + timedelta(days=91))
    assert kept(session) == []


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("TRACKER_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("TRACKER_DATABASE_URL", settings.database_url)
    return lambda *arguments: CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("by", ["customer", "visitor"])
def test_it_is_shown_and_forgotten_with_the_customer(
    run: Callable[..., Result], shop: Shop, session: Session, keeping: Workspace, cid: str, load: Load, by: str
) -> None:
    shop.pixel(cid=cid, order="1", customer=ADA)
    shop.callback(cid=cid, order="2", customer="eve@example.org")
    (shown,) = json.loads(run("export", "--customer", ADA).stdout)["match_keys"]
    assert (shown["meta_email"], shown["google_phone"], shown["opted_out"]) == (ADA_SHA, None, False)
    named = ("--customer", ADA) if by == "customer" else ("--visitor", cid)
    told = json.loads(run("forget", *named, "--yes", "--json").stdout)
    assert told["match_keys"] == (1 if by == "customer" else 2)
    left = kept(session)
    assert left == ([(sha("eve@example.org"), None, sha("eve@example.org"), None, False)] if by == "customer" else [])


def test_that_somebody_said_no_is_not_forgotten_with_them(
    run: Callable[..., Result], shop: Shop, session: Session, settings: Settings, keeping: Workspace, cid: str
) -> None:
    shop.callback(cid=cid, order="1", customer=ADA)
    shop.pixel(GPC, cid=cid, order="1")
    assert json.loads(run("forget", "--customer", ADA, "--yes", "--json").stdout)["erased"] is False
    assert kept(session) == [(None, None, None, None, True)]
    hashed = session.scalar(select(Identity.customer))
    assert hashed == customers.customer_hash(ADA, settings.secrets.customer_key)
