"""The page of variants, its short form and the API, on an experiment in which one of three is clearly ahead."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask, render_template
from flask.testing import FlaskClient
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from tests import databases
from tests.conftest import BASE_URL, Api
from tests.crowd import Clock, Crowd
from tests.databases import Database
from tests.lab import PATH, Lab, compared, page_of
from tracker import accounts, days, links
from tracker.app import create_app
from tracker.config import Settings
from tracker.destinations import OwnDomain
from tracker.extensions import db, open_engine
from tracker.links import LinkDraft
from tracker.models import Campaign, Link, Workspace
from tracker.pipeline.loader import Loader
from tracker.reports import campaign as campaign_report
from tracker.reports.filters import Filters
from tracker.stores import EventStore, open_store
from tracker.web import variants

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def fresh_database(fresh_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The experiment, played once and copied for each test."""
    database = databases.of(tmp_path_factory.mktemp("experiment") / "data", like=fresh_database)
    settings = Settings.from_env(database.environ | {"TRACKER_BASE_URL": BASE_URL})
    engine, clock, app = open_engine(settings.database_url), Clock(), create_app(settings)
    app.extensions["tracker_edge"]._clock_ms = clock
    with Session(engine) as session:
        workspace = accounts.ensure_workspace(session)
        session.commit()
        lab = Lab(Crowd(app, clock), workspace.key, Loader(settings, engine, open_store(engine)).drain)
        for code, clicked, bought in (("hero-a", 5, 2), ("hero-b", 45, 20), ("text-only", 6, 1)):
            draft = LinkDraft(
                destination="https://shop.example/",
                campaign="spring-sale",
                source="n",
                medium="m",
                content=code,
                code=code,
            )
            links.create(session, workspace, draft, OwnDomain((BASE_URL,)))
            lab.play(code, 60, clicked, bought)
    lab.load()
    app.extensions["tracker"].spool.close()
    app.extensions["tracker_edge"].cache.close()
    with app.app_context():
        db.engine.dispose()
    engine.dispose()
    yield database
    database.drop()


def test_the_experiment_is_that_of_the_hits_and_says_so(api: Api) -> None:
    (found,) = compared(api)["comparisons"]
    counts = {
        each["key"]: (each["impressions"], each["unique_clicks"], each["converted_clicks"])
        for each in found["variants"]
    }
    assert counts == {"hero-a": (60, 5, 2), "hero-b": (60, 45, 20), "text-only": (60, 6, 1)}
    ctr = found["metrics"]["ctr"]
    assert (ctr["verdict"], ctr["leader"]) == ("best", "hero-b")
    pairs = {(pair["link"], pair["against"]): pair for pair in ctr["pairs"]}
    assert pairs.keys() == {("hero-b", "hero-a"), ("hero-b", "text-only"), ("text-only", "hero-a")}
    ahead = pairs["hero-b", "hero-a"]
    assert ahead["settled"]
    assert 0 < ahead["difference"]["low"] < 40 / 60 < ahead["difference"]["high"]
    assert ahead["lift"]["value"] == 8
    assert ahead["p"] <= 0.05
    assert pairs["text-only", "hero-a"]["too_early"]
    assert ctr["chance_to_be_best"]["hero-b"] == pytest.approx(1, abs=0.001)
    assert found["metrics"]["conversion_rate"]["verdict"] == "too_early"
    assert found["holds_at_every_look"]


def test_the_page_says_it_in_a_sentence(owner: FlaskClient) -> None:
    page = page_of(owner)
    assert "hero-b is ahead of all others. Its click-through rate is" in page
    assert "above hero-a, and this holds however often you look." in page
    assert "Too early to tell. To compare conversion rates each variant should be good for 20 conversions;" in page
    assert "so far there are 2, 20 and 1." in page
    assert re.search(
        r"hero-b hero-b · make it the control 60 45 75\.0 % 62\.8 – 84\.2 above \+\d+\.\d to \+\d+\.\d pt", page
    )


def test_another_control_changes_no_verdict(api: Api, owner: FlaskClient) -> None:
    (usual,), (other,) = (compared(api, **query)["comparisons"] for query in ({}, {"control": "hero-b"}))
    assert (usual["control"], other["control"]) == ("hero-a", "hero-b")
    assert usual["metrics"] == other["metrics"]
    page = page_of(owner, control="hero-b")
    assert re.search(r"hero-a hero-a · make it the control 60 5 8\.3 % 3\.6 – 18\.1 below −", page)


def test_days_that_began_after_the_links_hold_for_one_look_only(api: Api, owner: FlaskClient, session: Session) -> None:
    today = days.now().date()
    for link in session.scalars(select(Link)):
        link.created_at = days.now() - timedelta(days=9)
    session.commit()
    query = {"from": str(today - timedelta(days=3)), "to": str(today)}
    (found,) = compared(api, **query)["comparisons"]
    assert (found["holds_at_every_look"], found["some_are_younger"]) == (False, False)
    page = page_of(owner, **query)
    assert "above hero-a in these days." in page
    assert "The links are older than these days" in page
    (found,) = compared(api, **{"from": str(today - timedelta(days=9))})["comparisons"]
    assert found["holds_at_every_look"]


def test_a_younger_link_is_told_of(api: Api, owner: FlaskClient, session: Session) -> None:
    today = days.now().date()
    session.scalars(select(Link).where(Link.code == "hero-a")).one().created_at = days.now() - timedelta(days=9)
    session.commit()
    query = {"from": str(today - timedelta(days=9)), "to": str(today)}
    (found,) = compared(api, **query)["comparisons"]
    assert (found["some_are_younger"], found["begins"]) == (True, str(today))
    assert "Not all of these links existed before" in page_of(owner, **query)


def test_without_dates_all_days_since_the_campaign_began_are_compared(
    api: Api, owner: FlaskClient, crowd: Crowd
) -> None:
    first = days.from_ms(crowd.clock.now_ms).date()
    found = compared(api)
    assert (found["from"], found["to"]) == (str(first), str(days.now().date()))
    assert compared(api, **{"from": "2026-01-01", "to": "2026-01-02"})["comparisons"] == []
    page = owner.get(f"/app{PATH}").text
    assert re.search(r'aria-current="true">All<', page)
    assert "Nothing to compare in these days" in page_of(owner, **{"from": "2026-01-01", "to": "2026-01-02"})


def test_a_split_that_came_out_otherwise_is_warned_of(api: Api, owner: FlaskClient) -> None:
    (found,) = compared(api, split="1,1,1")["comparisons"]
    ratio = found["sample_ratio"]
    assert (ratio["by"], ratio["observed"], ratio["mismatch"]) == ("impressions", [60, 60, 60], False)
    assert "The traffic came as it was split. Impressions: 60 of hero-a" in page_of(owner, split="1,1,1")
    (found,) = compared(api, split="1:2:3")["comparisons"]
    assert found["sample_ratio"]["mismatch"]
    assert found["sample_ratio"]["p"] < 0.001
    assert "The traffic did not come as it was split." in page_of(owner, split="10, 20, 30")
    assert compared(api)["comparisons"][0]["sample_ratio"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"split": "50,50"}, "split"),
        ({"split": "half, half, none"}, "split"),
        ({"split": "0,1,2"}, "split"),
        ({"split": "nan,1,2"}, "split"),
        ({"control": "nobody"}, "control"),
        ({"links": "hero-a"}, "links"),
        ({"links": "hero-a,hero-a"}, "links"),
        ({"links": "hero-a,nobody"}, "links"),
        ({"links": ",".join(f"l{n}" for n in range(9))}, "links"),
    ],
)
def test_what_cannot_be_compared_is_refused_at_its_field(
    api: Api, owner: FlaskClient, query: dict[str, str], field: str
) -> None:
    refused = api("GET", PATH, query_string=query)
    assert (refused.status_code, [error["field"] for error in refused.json["errors"]]) == (422, [field])
    page = owner.get(f"/app{PATH}", query_string=query)
    assert page.status_code == 422
    assert f'href="#{field}"' in page.text
    assert "hero-b is ahead" in page.text


def test_variants_come_as_csv_with_a_row_for_each_metric(api: Api) -> None:
    rows = list(csv.DictReader(io.StringIO(api("GET", f"{PATH}.csv").text)))
    assert [(row["link"], row["metric"], row["hits"], row["trials"]) for row in rows[:3]] == [
        ("hero-a", "ctr", "5", "60"),
        ("hero-b", "ctr", "45", "60"),
        ("text-only", "ctr", "6", "60"),
    ]
    assert (rows[0]["control"], rows[0]["difference"]) == ("True", "")
    assert float(rows[1]["difference_low"]) > 0
    assert rows[1]["settled"] == "True"
    assert len(rows) == 6


def test_a_report_s_groups_are_all_that_the_short_form_asks_the_store_for(
    app: Flask, session: Session, store: EventStore, workspace: Workspace
) -> None:
    campaign = session.scalars(select(Campaign)).one()
    now = days.now()
    period = campaign_report.read_period(workspace, str((now - timedelta(days=2)).date()), None, now)
    report = campaign_report.build(session, store, workspace, campaign, period, now=now, group_by=["link"])
    asked: list[str] = []
    with app.test_request_context():
        db.session.get(Campaign, campaign.id)
        event.listen(db.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
        found = variants.summary(report)
        seen = len(asked)
        page = render_template("variants/_summary.html", variants=found)
        assert render_template("variants/_summary.html", variants=None).strip() == ""
    assert found is not None
    (shown,) = found.shown
    assert shown.main is not None
    assert shown.main.said.head == "hero-b is ahead of all others."
    assert found.more <= 0
    assert "<strong>hero-b is ahead of all others.</strong>" in page
    assert page.count("<tr") == 4
    assert "/app/campaigns/spring-sale/variants?from=" in page
    assert seen == 2
    assert "conversions" in asked[0]
    assert "change_log" in asked[1]
    assert "rollup" not in "".join(asked[:seen])


def test_a_report_that_is_cut_down_has_no_short_form(
    session: Session, store: EventStore, workspace: Workspace, app: Flask
) -> None:
    campaign, now = session.scalars(select(Campaign)).one(), days.now()
    period = campaign_report.today(workspace, now)
    with app.test_request_context():
        report = campaign_report.build(session, store, workspace, campaign, period, now=now)
        assert variants.summary(report) is None
        by_link = campaign_report.build(
            session,
            store,
            workspace,
            campaign,
            campaign_report.Period(period.first, period.last),
            now=now,
            group_by=["link"],
            filters=Filters({"source": "newsletter"}),
        )
        assert variants.summary(by_link) is None
