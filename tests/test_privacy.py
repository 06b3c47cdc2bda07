"""What is kept of people, over HTTP: no address anywhere, Global Privacy Control to its end, one person forgotten."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from tests.conftest import BROWSER, Api
from tests.databases import Database, PostgresDatabase, cluster
from tests.serving import Server
from tracker import aside, customers, days, jobs, privacy
from tracker.app import create_app
from tracker.cli import main
from tracker.config import Settings
from tracker.events import Event, Kind, Verdict, decode, encode
from tracker.extensions import db
from tracker.models import Conversion, LedgerEntry, Link, Report, Salt, Workspace
from tracker.pipeline import segments
from tracker.pipeline.loader import Loader
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Load = Callable[[], int]
ADA = "Ada@Example.org"


def drifts(store: EventStore) -> list[object]:
    return [drift for day in store.whole_days() for drift in store.drifts(day)]


def click_id(client: FlaskClient, code: str, **headers: str) -> str:
    found = re.search(r"cid=([\w-]{28})", client.get(f"/{code}", headers=headers).headers["Location"])
    assert found
    return found[1]


def spooled(settings: Settings) -> str:
    """All that lies in the spool and has not been loaded."""
    return "".join((settings.spool_dir / name).read_text() for name in segments.names(settings.spool_dir))


# A customer


@pytest.mark.parametrize(
    "query",
    [
        "customer=Ada%40Example.org",
        "c%75stomer=Ada@Example.org",
        "order=1&customer=Ada%40Example.org&value=2",
        "customer=+Ada%40Example.org&customer=Eve",
    ],
)
def test_a_customer_is_hashed_before_a_pixel_is_spooled(
    client: FlaskClient,
    api: Api,
    settings: Settings,
    session: Session,
    workspace: Workspace,
    make_link: MakeLink,
    load: Load,
    query: str,
) -> None:
    cid = click_id(client, make_link().code)
    client.get(f"/c/{workspace.key}.gif?cid={cid}&{query}")
    assert "example" not in spooled(settings).casefold()
    load()
    (conversion,) = session.query(Conversion).all()
    assert conversion.customer == customers.customer_hash("ada@example.org", settings.secrets.customer_key)
    (report,) = api("GET", "/conversions/reports").json["items"]
    assert report["params"]["customer"] == conversion.customer


def test_a_queued_callback_lies_in_the_spool_without_its_customer(
    client: FlaskClient,
    settings: Settings,
    session: Session,
    database: Database,
    workspace: Workspace,
    make_link: MakeLink,
    load: Load,
) -> None:
    cid, key = click_id(client, make_link().code), workspace.key
    session.rollback()
    database.stop()
    response = client.post(f"/c/{key}", data={"cid": cid, "order": "7", "customer": ADA})
    database.start()
    assert response.json == {"result": "queued"}
    assert "xample.org" not in spooled(settings)
    load()
    (conversion,) = session.query(Conversion).all()
    assert conversion.customer == customers.customer_hash(ADA, settings.secrets.customer_key)


def test_nobody_outside_can_name_a_customer_by_a_hash(
    client: FlaskClient, session: Session, workspace: Workspace, make_link: MakeLink, load: Load
) -> None:
    forged = f"customer_hash={'0' * 32}"
    link = make_link()
    client.post(f"/c/{workspace.key}?{forged}&cid={click_id(client, link.code)}&order=1")
    client.get(f"/c/{workspace.key}.gif?{forged}&cid={click_id(client, link.code)}&order=2")
    load()
    assert [each.customer for each in session.query(Conversion)] == [None, None]
    assert all("customer_hash" not in report.params for report in session.query(Report))


def test_of_a_parameter_that_is_not_ours_only_the_name_is_kept(
    client: FlaskClient, api: Api, workspace: Workspace
) -> None:
    client.post(f"/c/{workspace.key}", data={"order": "7", "email": ADA, "x" * 99: "1"})
    (report,) = api("GET", "/conversions/reports").json["items"]
    assert report["params"] == {"order": "7", "email": "(not kept)", "x" * 64: "(not kept)"}


@pytest.mark.parametrize("kind", ["text/xml", "application/x-www-form-urlencoded"])
def test_nobodys_address_is_kept_as_a_name(client: FlaskClient, api: Api, workspace: Workspace, kind: str) -> None:
    """An address has no "=" behind it where its own `&` was not encoded, or where the body is no form at all."""
    client.post(f"/c/{workspace.key}", data=f"order=7&shop=a&{ADA}&<name>{ADA}</name>", content_type=kind)
    (report,) = api("GET", "/conversions/reports").json["items"]
    assert report["params"] == {"order": "7", "shop": "(not kept)", "(no name)": "(not kept)"}


def test_only_the_customer_is_taken_out_of_a_query() -> None:
    untouched = ["", "a=1&&b=%20+x&a", "cid=1#", "%zz=1", "customers=1&xcustomer=2"]
    assert [customers.seal(query, b"k") for query in untouched] == untouched
    hashed = customers.customer_hash("x", b"k")
    assert customers.seal("a=%20&customer=X&b=+", b"k") == f"a=%20&customer_hash={hashed}&b=+"
    assert customers.seal("a=1&customer=X", None) == "a=1"
    assert customers.seal("customer=&customer&customer_hash=1", b"k") == ""
    assert customers.redact("GET /c/k.gif?a=1&c%75stomer=X HTTP/1.1") == "GET /c/k.gif?a=1&c%75stomer=- HTTP/1.1"
    assert customers.redact("GET /c/k.gif HTTP/1.1") == "GET /c/k.gif HTTP/1.1"


# One person shown, and forgotten


class Bought:
    """Ada clicked twice, bought by pixel and again by callback; Eve clicked and bought once."""

    def __init__(self, app: Flask, workspace: Workspace, link: Link, load: Load) -> None:
        self.ada, self.eve = (self._browser(app, name) for name in ("Ada", "Eve"))
        shop = self._browser(app, "shop")
        # Before anything is known of her: it stays unmatched.
        shop.post(f"/c/{workspace.key}", data={"order": "A9", "customer": ADA})
        self.ada.get(f"/i/{link.code}.gif")
        self.cids = [click_id(self.ada, link.code, Referer="https://mail.example/"), click_id(self.eve, link.code)]
        for browser, cid, customer in ((self.ada, self.cids[0], ADA), (self.eve, self.cids[1], "Eve")):
            browser.get(f"/c/{workspace.key}.gif?cid={cid}&order={customer[0]}1&value=10&customer={customer}")
        load()
        shop.post(f"/c/{workspace.key}", data={"order": "A1", "status": "refunded"})
        load()

    def _browser(self, app: Flask, name: str) -> FlaskClient:
        client = app.test_client()
        client.environ_base |= {"HTTP_USER_AGENT": f"{BROWSER} {name}", "HTTP_ACCEPT_LANGUAGE": "de"}
        return client


@pytest.fixture
def bought(app: Flask, workspace: Workspace, make_link: MakeLink, load: Load) -> Bought:
    return Bought(app, workspace, make_link(code="teapot"), load)


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A command in this process, for the installation of the test."""
    monkeypatch.setenv("TRACKER_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("TRACKER_DATABASE_URL", settings.database_url)

    def run(*arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(main, arguments, input=typed)

    return run


def test_all_that_is_held_of_a_customer_is_shown(run: Callable[..., Result], bought: Bought) -> None:
    found = json.loads(run("export", "--customer", ADA.lower()).stdout)
    assert [conversion["order"] for conversion in found["conversions"]] == ["A1"]
    assert [entry["minor"] for entry in found["conversions"][0]["ledger"]] == [1000, -1000]
    assert [report["params"]["order"] for report in found["reports"]] == ["A9", "A1", "A1"]
    assert [event["kind"] for event in found["events"]] == ["impression", "click", "conversion"]
    assert {event["agent"] for event in found["events"]} == {f"{BROWSER} Ada"}
    nobody = json.loads(run("export", "--customer", "nobody").stdout)
    assert nobody == {"conversions": [], "reports": [], "events": [], "match_keys": []}


@pytest.mark.parametrize("by", ["customer", "visitor"])
def test_a_person_is_forgotten_and_every_figure_stays(
    run: Callable[..., Result],
    api: Api,
    session: Session,
    store: EventStore,
    workspace: Workspace,
    engine: Engine,
    bought: Bought,
    by: str,
) -> None:
    named = ("--customer", ADA) if by == "customer" else ("--visitor", bought.cids[0])
    today = days.now().date()
    stats = f"/campaigns/spring-sale/stats?from={today}&to={today}"
    before = api("GET", stats).json["totals"]
    assert (before["conversions"], before["unique_clicks"]) == (1, 2)
    said = json.loads(run("forget", *named, "--dry-run", "--json").stdout)
    reports = {"customer": 3, "visitor": 2}[by]
    assert said == {
        "visitors": 1,
        "events": 3,
        "conversions": 1,
        "reports": reports,
        "match_keys": 0,
        "erased": False,
    }
    (sale,) = json.loads(run("export", "--customer", ADA).stdout)["conversions"]
    assert (sale["click_browser"], sale["click_language"]) == ("Firefox", "de")
    assert json.loads(run("forget", *named, "--yes", "--json").stdout) == said | {"erased": True}

    assert api("GET", stats).json["totals"] == before
    assert drifts(store) == []
    session.expire_all()
    ada, eve = session.query(Conversion).order_by(Conversion.order_id)
    assert (ada.order_id, ada.customer) == ("A1", None)
    assert {getattr(ada, name) for name in privacy.NOTHING_KNOWN} == {None}
    assert (eve.customer is not None, eve.click_browser) == (True, "Firefox")
    assert [entry.minor for entry in session.query(LedgerEntry).filter_by(conversion_id=ada.id)] == [1000, -1000]
    emptied = [report for report in session.query(Report) if not report.params]
    assert len(emptied) == reports
    events = store.recent(workspace.id, before=None, limit=50)
    assert sorted({event.agent or "" for event in events if event.kind != Kind.CALLBACK}) == ["", f"{BROWSER} Eve"]
    assert {event.referrer for event in events} == {None}
    judged = run("reclassify", "--since", str(today))
    assert judged.exit_code == 0, judged.output
    assert api("GET", stats).json["totals"] == before, "whoever is forgotten is no bot"
    again = run("forget", *named, "--yes")
    assert again.exit_code == 0
    if by == "customer":
        assert "Nothing is held" in again.stdout


def test_forgetting_asks_first(run: Callable[..., Result], session: Session, bought: Bought) -> None:
    refused = run("forget", "--customer", ADA, typed="n\n")
    assert refused.exit_code == 1
    assert "1 conversions: the customer" in refused.stdout
    assert all(conversion.customer for conversion in session.query(Conversion))
    session.rollback()
    assert run("forget", "--customer", ADA, typed="y\n").exit_code == 0
    assert sorted(bool(conversion.customer) for conversion in session.query(Conversion)) == [False, True]


@pytest.mark.parametrize("by", ["customer", "visitor"])
def test_what_comes_in_while_forgetting_asks_and_erases_is_forgotten_too(
    run: Callable[..., Result],
    session: Session,
    workspace: Workspace,
    bought: Bought,
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    orders = iter(["A2", "A3"])

    def buy() -> None:
        order = next(orders, None)
        if order:
            query = f"cid={bought.cids[0]}&order={order}&value=1&customer={ADA}"
            bought.ada.get(f"/c/{workspace.key}.gif?{query}")
            load()

    def answer(*_: object, **__: object) -> bool:
        buy()
        return True

    erase = privacy.forget

    def slowly(*given: Any) -> None:
        erase(*given)
        buy()

    monkeypatch.setattr("click.confirm", answer)
    monkeypatch.setattr(privacy, "forget", slowly)
    named = ("--customer", ADA) if by == "customer" else ("--visitor", bought.cids[0])
    assert run("forget", *named).exit_code == 0
    held = {conversion.order_id: conversion.customer for conversion in session.query(Conversion)}
    assert set(held) == {"A1", "A2", "A3", "E1"}
    assert [order for order, customer in held.items() if customer] == ["E1"]
    monkeypatch.setattr(privacy, "forget", erase)
    found = json.loads(run("export", "--customer", ADA).stdout)
    assert (found["conversions"], found["events"]) == ([], [])


def test_what_names_nobody_is_refused_by_name(run: Callable[..., Result], bought: Bought) -> None:
    for arguments, said in {
        (): "--customer or --visitor",
        ("--customer", "x", "--visitor", "y"): "--customer or --visitor",
        ("--customer", "x", "--json"): "--dry-run",
        ("--customer", " ", "--yes"): "customer: Name a customer.",
        ("--visitor", "x", "--yes"): "visitor: This is no click id of ours",
        ("--visitor", bought.cids[0][:-1] + "_", "--yes"): "no click id of ours",
    }.items():
        result = run("forget", *arguments)
        assert result.exit_code != 0, arguments
        assert said in result.stderr


# Global Privacy Control


def test_under_gpc_a_hit_counts_and_nobody_made_it(
    client: FlaskClient, owner: FlaskClient, api: Api, make_link: MakeLink, load: Load, store: EventStore
) -> None:
    link = make_link(code="teapot")
    for path in ("/teapot", "/i/teapot.gif"):
        answer = client.get(path, headers={"Sec-GPC": "1"})
        assert "cid=" not in answer.headers.get("Location", "")
        assert "Set-Cookie" not in answer.headers
    load()
    today = days.now().date()
    totals = api("GET", f"/campaigns/spring-sale/stats?from={today}&to={today}").json["totals"]
    assert (totals["clicks"], totals["impressions"], totals["unique_clicks"]) == (1, 1, 0)
    assert {event.visitor for event in store.recent(link.workspace_id, before=None, limit=9)} == {None}
    assert owner.get("/app/events").text.count(">Global Privacy Control<") == 2
    for path in ("/events/export.csv", "/events.csv"):
        assert "teapot" not in api("GET", path).text
    assert len(api("GET", "/events").json["items"]) == 2
    assert client.get("/.well-known/gpc.json").json["gpc"] is True


@pytest.mark.parametrize("way", ["pixel", "callback"])
def test_under_gpc_a_sale_is_recorded_and_no_customer(
    client: FlaskClient,
    session: Session,
    settings: Settings,
    workspace: Workspace,
    make_link: MakeLink,
    load: Load,
    store: EventStore,
    way: str,
) -> None:
    cid = click_id(client, make_link().code)
    query, gpc = f"cid={cid}&order=1&value=5&customer={ADA}", {"Sec-GPC": "1"}
    if way == "pixel":
        client.get(f"/c/{workspace.key}.gif?{query}", headers=gpc)
    else:
        client.post(f"/c/{workspace.key}", data=query, headers=gpc, content_type="text/plain")
        client.post(f"/c/{workspace.key}?{query}", headers=gpc)
    assert "xample.org" not in spooled(settings)
    load()
    (conversion,) = session.query(Conversion).all()
    assert (conversion.minor, conversion.customer) == (500, None)
    sales = [event for event in store.recent(workspace.id, before=None, limit=9) if event.kind != Kind.CLICK]
    assert {event.visitor for event in sales} == {None}
    assert all("customer" not in report.params for report in session.query(Report))


# The public page


def test_the_privacy_page_is_for_everybody_and_sets_no_cookie(client: FlaskClient) -> None:
    page = client.get("/privacy")
    assert page.status_code == 200
    assert "Set-Cookie" not in page.headers
    assert "until whoever runs this deletes them" in page.text
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"<style|<[^>]+ style=|<script(?! type=\"module\" src=)", page.text)
    assert "it is obeyed:</strong>" in client.get("/privacy", headers={"Sec-GPC": "1"}).text


def test_the_privacy_page_tells_the_retention_that_is_set(settings: Settings, database: Database) -> None:
    environ = database.environ | {"TRACKER_RETENTION_DAYS": "90"}
    app = create_app(Settings.from_env(environ))
    assert "deleted after 90 days" in app.test_client().get("/privacy").text
    app.extensions["tracker_edge"].cache.close()
    with app.app_context():
        db.engine.dispose()


def test_a_browser_opts_out_and_in_again(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = True
    client = app.test_client(use_cookies=True)
    out = client.post("/privacy/opt-out", headers={"Origin": "https://go.example"}, base_url="https://go.example")
    assert (out.status_code, out.location) == (303, "/privacy")
    cookie = out.headers["Set-Cookie"]
    assert cookie.startswith("tracker_optout=1; ")
    for part in ("Max-Age=31536000", "Path=/", "Secure", "SameSite=None"):
        assert part in cookie
    assert "This browser is left out" in client.get("/privacy", base_url="https://go.example").text
    back = client.post("/privacy/opt-in", base_url="https://go.example")
    assert "Max-Age=0" in back.headers["Set-Cookie"]
    assert "Leave this browser out" in client.get("/privacy", base_url="https://go.example").text


def test_what_the_button_promises_is_kept(
    client: FlaskClient, make_link: Callable[..., Link], load: Callable[[], int], api: Api
) -> None:
    code = make_link().code
    client.post("/privacy/opt-out")
    client.get(f"/{code}")
    client.get(f"/i/{code}.gif")
    client.post("/privacy/opt-in")
    client.get(f"/{code}")
    load()
    found = [(event["kind"], event["verdict"]) for event in api("GET", "/events").json["items"]]
    assert found == [("click", "counted"), ("impression", "internal"), ("click", "internal")]


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_another_site_cannot_press_the_button(client: FlaskClient, headers: dict[str, str]) -> None:
    for path in ("/privacy/opt-out", "/privacy/opt-in"):
        answer = client.post(path, headers=headers)
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers
        assert client.get(path).status_code == 405


def test_no_link_takes_the_page_s_place(api: Api, owner: FlaskClient) -> None:
    draft = {"destination": "https://x.example/", "campaign": "c", "source": "s", "medium": "m", "code": "Privacy"}
    assert api("POST", "/links", draft).status_code == 422
    assert 'href="/privacy"' in owner.get("/app/settings").text


# Nothing outlives its time


def test_what_could_not_be_read_is_emptied_after_a_day(settings: Settings, engine: Engine, store: EventStore) -> None:
    settings.spool_dir.mkdir(parents=True)
    aside.keep(settings.spool_dir, "a-1.torn", b"half a record of 192.0.2.1")
    aside.keep_record(settings.spool_dir, "a-2", b"00000000 [damaged, of 192.0.2.1]\n")
    on, now = jobs.Installation(settings, engine, store), days.now()
    folder = settings.spool_dir / aside.FOLDER
    jobs.empty_aside(on, now + timedelta(hours=23))
    assert all(path.stat().st_size for path in folder.iterdir())
    jobs.empty_aside(on, now + timedelta(hours=25))
    assert [path.stat().st_size for path in folder.iterdir()] == [0, 0]
    assert aside.count(settings.spool_dir) == 2


HASH = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("kind", "params", "kept"),
    [
        (
            Kind.CONVERSION,
            f"oid=A%31&Customer=ada%40x.example&customer[]=ada&customer=ada&c%75stomer=ada&mail=ada&customer_hash={HASH}",
            f"oid=A%31&customer_hash={HASH}",
        ),
        (Kind.CONVERSION, "customer_hash=ada&value=5&ada", "value=5"),
        (
            Kind.CALLBACK,
            f'{{"order":"A1","Customer":"ada","customer":"ada","mail":"ada","customer_hash":"{HASH}"}}',
            f'{{"order":"A1","customer_hash":"{HASH}"}}',
        ),
        (Kind.CALLBACK, '{"said":{"order":"A-1","mail":"ada"},"call":{"payload":"YWRh"}}', '{"order":"A-1"}'),
        (Kind.CALLBACK, '{"said":"ada"}', ""),
        (Kind.CALLBACK, "[ada]", ""),
        (Kind.CALLBACK, '["ada"]', ""),
        (Kind.CLICK, "prefetch", "prefetch"),
    ],
)
def test_of_a_record_set_aside_only_what_the_loader_understands_is_kept(
    settings: Settings, kind: Kind, params: str, kept: str
) -> None:
    settings.spool_dir.mkdir(parents=True)
    referrer = "https://ada:pw@shop.example:8443/thanks?mail=ada%40x.example#ada"
    event = Event(kind, 1, 2, Verdict.COUNTED, 0, "w_x", "192.0.2.1", "agent", referrer, "", False, params)
    aside.keep_record(settings.spool_dir, "a-1", encode(event))
    aside.keep_record(settings.spool_dir, "a-2", encode(event._replace(referrer="https://[ada")))
    first, second = sorted((settings.spool_dir / aside.FOLDER).iterdir())
    assert decode(first.read_bytes()) == event._replace(address="", referrer="https://shop.example/", params=kept)
    assert decode(second.read_bytes()).referrer == ""


def test_a_record_that_can_be_read_is_set_aside_without_its_address(
    settings: Settings, engine: Engine, store: EventStore
) -> None:
    settings.spool_dir.mkdir(parents=True)
    event = Event(Kind.CLICK, 1, 2, Verdict.COUNTED, 3, "x", "192.0.2.1", "agent", "", "", False)
    aside.keep_record(settings.spool_dir, "a-1", encode(event))
    (path,) = (settings.spool_dir / aside.FOLDER).iterdir()
    assert decode(path.read_bytes()) == event._replace(address="")
    on, now = jobs.Installation(settings, engine, store), days.now()
    jobs.empty_aside(on, now + timedelta(days=29))
    assert path.stat().st_size
    jobs.empty_aside(on, now + timedelta(days=31))
    assert path.stat().st_size == 0


def test_with_the_events_goes_what_reports_said(
    settings: Settings, engine: Engine, store: EventStore, session: Session, bought: Bought
) -> None:
    kept = jobs.Installation(settings, engine, store)
    limited = jobs.Installation(Settings(**{**vars_of(settings), "retention_days": 30}), engine, store)
    for on, after, emptied in ((kept, 99, 0), (limited, 29, 0), (limited, 31, 4), (limited, 31, 4)):
        jobs.empty_reports(on, days.now() + timedelta(days=after))
        session.expire_all()
        assert sum(not report.params for report in session.query(Report)) == emptied
        session.rollback()
    assert {report.result for report in session.query(Report)} == {"recorded", "updated", "unmatched"}


def vars_of(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def test_sums_of_unknown_codes_go_when_no_page_shows_them(
    client: FlaskClient, settings: Settings, engine: Engine, store: EventStore, workspace: Workspace, load: Load
) -> None:
    client.get("/nobody")
    load()
    on, today = jobs.Installation(settings, engine, store), days.to_ms(days.now()) // 86_400_000
    jobs.trim_orphans(on, days.now() + timedelta(days=29))
    assert store.orphans(workspace.id, today, today, 9)
    jobs.trim_orphans(on, days.now() + timedelta(days=31))
    assert store.orphans(workspace.id, today, today, 9) == []
    assert drifts(store) == []


def test_a_destroyed_salt_is_in_no_file(
    client: FlaskClient,
    make_link: MakeLink,
    load: Load,
    session: Session,
    settings: Settings,
    engine: Engine,
    store: EventStore,
) -> None:
    client.get(f"/{make_link().code}")
    load()
    salt = session.query(Salt).one().salt
    session.rollback()
    # PostgreSQL overwrites rows when it vacuums, and its journal as it goes on.
    held = [file for file in settings.data_dir.glob("tracker.sqlite3*") if salt in file.read_bytes()]
    assert held or engine.dialect.name == "postgresql"
    jobs.destroy_salts(jobs.Installation(settings, engine, store), days.now() + timedelta(days=3))
    assert session.query(Salt).count() == 0
    session.rollback()
    assert [file.name for file in held if salt in file.read_bytes()] == []


def test_an_error_of_the_database_tells_no_values(engine: Engine) -> None:
    with pytest.raises(Exception, match="nowhere") as failed, engine.connect() as connection:
        connection.execute(text("SELECT * FROM nowhere WHERE x = :x"), {"x": ADA})
    assert ADA not in str(failed.value)


# No address anywhere

FORWARDED = ["203.0.113.77", "2001:db8:dead:beef:1:2:3:4", "2001:db8:cafe:f00d::99"]
PEER = "127.0.0.77"
# As they are written, the network of an IPv6 one, and what of one may stand in a shorter spelling.
TRACES = (b"203.0.113", b"2001:db8", b"dead:beef", b"cafe:f00d", PEER.encode())


def held_anywhere(data_dir: Path, database: Database) -> Iterator[tuple[str, bytes]]:
    """Everything that an installation holds, by its name: each file, and of PostgreSQL a dump of every table."""
    for path in sorted(data_dir.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(data_dir)), path.read_bytes()
    if isinstance(database, PostgresDatabase):
        with cluster().connect(database._name) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            for (table,) in tables:
                with connection.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT".encode()) as rows:
                    yield str(table), b"".join(bytes(row) for row in rows)


def traces(data_dir: Path, database: Database) -> list[tuple[str, bytes]]:
    found = list(held_anywhere(data_dir, database))
    assert len(found) > 2
    return [(name, trace) for name, content in found for trace in TRACES if trace in content]


def test_no_address_is_left_of_any_kind_of_hit(
    settings: Settings, database: Database, store: EventStore, workspace: Workspace, make_link: MakeLink, engine: Engine
) -> None:
    code, key = make_link().code, workspace.key
    environ = database.environ | {"TRACKER_TRUSTED_PROXIES": "1", "TRACKER_BASE_URL": "https://go.example"}
    app = create_app(Settings.from_env(environ))
    for address in FORWARDED:
        client = app.test_client()
        client.environ_base |= {"HTTP_USER_AGENT": BROWSER, "HTTP_X_FORWARDED_FOR": f"198.51.100.1, {address}"}
        client.environ_base["REMOTE_ADDR"] = PEER
        cid = client.get(f"/{code}").headers["Location"].rpartition("cid=")[2][:28]
        client.get(f"/{code}", headers={"Sec-GPC": "1"})
        for path in (f"/i/{code}.gif", "/nobody", "/i/<x>.gif", f"/h/{code}", f"/c/{key}.gif?cid={cid}", "/c/x.gif"):
            client.get(path)
            client.head(path)
        client.post(f"/c/{key}", data={"cid": cid, "order": address[-1], "value": "5"})
        client.post(f"/c/{key}", data={"order": "y", "ip": address})
        client.post(f"/c/{key}", data={"order": "z", "value": "much"})
        client.post("/c/w_nobody", data={"order": "1"})
    spool = app.extensions["tracker"].spool
    poisoned = Event(Kind.CALLBACK, 1, 2, Verdict.COUNTED, 0, key, FORWARDED[0], "", "", "", False, "[not params]")
    damaged = encode(poisoned._replace(address=FORWARDED[1], params=""))[:-20] + b"\n"
    spool.append(encode(poisoned) + damaged)
    assert traces(settings.data_dir, database), "what is looked for is not found where it surely is"
    spool.close()
    torn = settings.spool_dir / f"{9:013d}-x.spool"
    torn.write_bytes(encode(poisoned)[:-30])
    loader = Loader(settings, engine, store)
    while segments.names(settings.spool_dir):
        loader.load_once()
    assert aside.count(settings.spool_dir) == 3
    unread = {path.name for path in (settings.spool_dir / aside.FOLDER).iterdir() if path.suffix != aside.READABLE}
    assert {Path(name).name for name, _ in traces(settings.data_dir, database)} == unread
    jobs.empty_aside(jobs.Installation(settings, engine, store), days.now() + timedelta(days=1))
    assert traces(settings.data_dir, database) == []
    app.extensions["tracker_edge"].cache.close()
    with app.app_context():
        db.engine.dispose()


def test_a_server_writes_no_address_and_no_customer_into_a_log(tmp_path: Path) -> None:
    log = tmp_path / "data" / "access.log"
    (tmp_path / "data").mkdir()
    environ = {"TRACKER_TRUSTED_PROXIES": "1", "TRACKER_ACCESS_LOG": str(log)}
    with Server(tmp_path / "data", **environ) as server:
        link = {"destination": "https://x.example/", "campaign": "c", "source": "s", "medium": "m", "code": "teapot"}
        server.api("POST", "/links", link)
        key = server.api("GET", "/workspace")["key"]
        for address in FORWARDED:
            headers = {"User-Agent": BROWSER, "X-Forwarded-For": address}
            pixel = f"/c/{key}.gif?order=1&customer={ADA}"
            for path in (
                "/teapot",
                "/i/teapot.gif",
                "/nobody",
                pixel,
                pixel + "&%",
                f"/c/{key}?order=2&customer={ADA}",
            ):
                assert server.request("GET", path, headers).status < 500
            server.request("POST", "/app/settings", headers, b"x=1")
            server.request("PUT", "/teapot", headers)
            head = f"GET /app/ HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n"
            for malformed in ("Bad Header: 1\r\n", "Content-Length: x\r\n", "\x00: 1\r\n", "Transfer-Encoding: x\r\n"):
                server.raw((head + malformed + "Connection: close\r\n\r\n").encode())
        server.request("GET", "/metrics")
        server.stop()
        said = server._read_log()
    server.run("load")
    written = log.read_text()
    assert f"/c/{key}.gif?order=1&customer=- HTTP/1.1" in written
    assert f"/c/{key}?order=2&customer=- HTTP/1.1" in written
    everything = dict(held_anywhere(tmp_path / "data", database_of(server)))
    everything["what the server said"] = said.encode()
    found = [
        (name, trace) for name, content in everything.items() for trace in (*TRACES, b"xample.org") if trace in content
    ]
    assert found == []
    assert os.path.getsize(log)


def database_of(server: Server) -> Database:
    from tests import databases

    return databases.of(server.data_dir)
