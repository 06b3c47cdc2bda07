"""What Prometheus reads at `/metrics`: exactly what happened, for those who may, whatever else is broken."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.conftest import BROWSER
from tests.serving import Server
from tests.test_serve import SPRING, eventually
from tracker import accounts, metering
from tracker.app import create_app
from tracker.config import Settings
from tracker.edge.core import Edge
from tracker.edge.decide import Request
from tracker.events import Kind, Verdict
from tracker.metering import DEFINITIONS, FOLDER_VARIABLE, Meters, Tally
from tracker.models import Link, Workspace
from tracker.pipeline.loader import Loader
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
BOT = {"User-Agent": "Slackbot-LinkExpanding 1.0"}


def read(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Each figure by its name and the values of its labels, which come in alphabetical order."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def scrape(client: FlaskClient) -> dict[str, dict[tuple[str, ...], float]]:
    response = client.get("/metrics")
    assert response.status_code == 200, response.text
    return read(response.text)


def single(client: FlaskClient, name: str) -> float:
    return scrape(client)[name][()]


def edge_of(app: Flask) -> Edge:
    edge = app.extensions["tracker_edge"]
    assert isinstance(edge, Edge)
    return edge


def test_requests_are_counted_by_endpoint_status_and_the_edges_verdict(
    client: FlaskClient, make_link: MakeLink, workspace: Workspace
) -> None:
    link, gone = (
        make_link(),
        make_link(fallback_url="https://shop.example/gone", expires_at=datetime(2020, 1, 1, tzinfo=UTC)),
    )
    for _ in range(3):
        client.get(f"/{link.code}")
    client.get(f"/{link.code}", headers=BOT)
    client.head(f"/{link.code}")
    client.get(f"/{link.code}", headers={"Sec-Purpose": "prefetch"})
    client.get(f"/{gone.code}")
    client.get("/nobodys")
    client.post(f"/{link.code}")
    client.get(f"/i/{link.code}.gif")
    client.get(f"/i/{link.code}.gif")
    client.get(f"/h/{link.code}")
    client.get(f"/c/{workspace.key}.gif?order=1")
    client.post(f"/c/{workspace.key}", data={"order": "2"})
    client.head(f"/c/{workspace.key}")
    client.post("/c/w_nobodys", data={"order": "3"})
    client.get("/api/v1/links")
    client.get("/app/login")
    client.get("/healthz")
    assert scrape(client)["tracker_requests_total"] == {
        # The agent is the loader's affair: to the edge, a bot's click counts.
        ("click", "302", "counted"): 4,
        ("click", "302", "head"): 1,
        ("click", "503", "prefetch"): 1,
        ("click", "302", "inactive"): 1,
        ("click", "404", "unknown_code"): 1,
        ("click", "405", ""): 1,
        ("impression", "200", "counted"): 2,
        ("honeypot", "204", "scanner"): 1,
        ("conversion", "200", "counted"): 1,
        ("callback", "202", "counted"): 1,
        ("callback", "200", "head"): 1,
        ("callback", "404", "unknown_code"): 1,
        ("api", "401", ""): 1,
        ("page", "200", ""): 1,
        ("other", "200", ""): 1,
    }
    assert scrape(client)["tracker_requests_total"]["other", "200", ""] == 2


def test_what_the_loader_stored_is_told_with_its_own_verdicts(
    app: Flask, client: FlaskClient, make_link: MakeLink, settings: Settings, engine: Engine, store: EventStore
) -> None:
    link = make_link()
    client.get(f"/{link.code}")
    client.get(f"/{link.code}", headers=BOT)
    client.get(f"/i/{link.code}.gif")
    loader = Loader(settings, engine, store, edge_of(app).meters)
    before = scrape(client)
    assert before["tracker_spool_waiting_bytes"] == before["tracker_spool_bytes"] != {(): 0}
    assert before["tracker_lag_seconds"][()] > 0
    loader.drain()
    after = scrape(client)
    stored = {("click", "counted"): 1, ("click", "bot"): 1, ("impression", "counted"): 1}
    assert after["tracker_events_stored_total"] == stored
    assert after["tracker_loader_batches_total"][()] == 1
    assert (after["tracker_spool_waiting_bytes"][()], after["tracker_lag_seconds"][()]) == (0, 0)
    assert after["tracker_spool_segments"][()] == 1


def test_a_look_up_is_a_miss_and_all_else_a_hit(client: FlaskClient, make_link: MakeLink) -> None:
    link = make_link(destination="https://shop.example/?on={device}")
    for _ in range(3):
        client.get(f"/{link.code}")
    client.get(f"/i/{link.code}.gif")
    client.get("/nobodys")
    client.get("/nobodys")
    found = scrape(client)
    assert found["tracker_link_cache_misses_total"][()] == 2
    assert found["tracker_link_cache_hits_total"][()] == 4
    assert found["tracker_link_cache_entries"][()] == 2


def test_a_look_up_in_flight_never_passes_for_a_hit() -> None:
    meters, tally = Meters(), Tally()
    for _ in range(3):
        tally.misses += 1
        meters.carry_over(tally, lost=0, entries=0)
        tally.requests[int(Kind.CLICK), int(Verdict.COUNTED), 302] += 1
        meters.carry_over(tally, lost=0, entries=0)
        tally.requests[int(Kind.CLICK), int(Verdict.COUNTED), 302] += 1
        meters.carry_over(tally, lost=0, entries=0)
    found = read(meters.exposition(CollectorRegistry(), "")[0].decode())
    assert found["tracker_link_cache_misses_total"][()] == found["tracker_link_cache_hits_total"][()] == 3


def test_events_that_the_disk_refuses_and_records_set_aside_are_told(
    client: FlaskClient, make_link: MakeLink, settings: Settings
) -> None:
    link = make_link()
    settings.spool_dir.write_text("in the way")
    client.get(f"/{link.code}")
    client.get(f"/{link.code}")
    settings.spool_dir.unlink()
    (settings.spool_dir / "aside").mkdir(parents=True)
    (settings.spool_dir / "aside" / "one.bad").write_text("")
    assert single(client, "tracker_events_lost_total") == 2
    assert single(client, "tracker_spool_set_aside_records") == 1


def test_exceptions_are_counted_wherever_they_come_from(app: Flask, client: FlaskClient, workspace: Workspace) -> None:
    def broken() -> str:
        raise ZeroDivisionError

    app.view_functions["public.healthz"] = broken
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert client.get("/healthz").status_code == 500
    edge, nonsense = edge_of(app), Request(False, "", "", "", "", "", "", False)
    with pytest.raises(AttributeError):
        edge.answer(Kind.CLICK, "abc", nonsense, None)  # type: ignore[arg-type]
    found = scrape(client)
    assert found["tracker_exceptions_total"][()] == 2
    assert found["tracker_requests_total"] == {("other", "500", ""): 1}


def test_with_the_database_away_all_else_is_still_told(settings: Settings, tmp_path: Path) -> None:
    app = create_app(replace(settings, database_url=f"sqlite:///{tmp_path}/nowhere/tracker.sqlite3"))
    client = app.test_client()
    assert client.get("/unseen").status_code == 503
    assert client.get("/i/unseen.gif").status_code == 200
    found = scrape(client)
    assert found["tracker_database_up"][()] == 0
    assert {"tracker_lag_seconds", "tracker_spool_waiting_bytes"}.isdisjoint(found)
    assert found["tracker_spool_bytes"][()] > 0
    assert found["tracker_link_cache_misses_total"][()] == 2
    assert found["tracker_requests_total"] == {
        ("click", "503", "unknown_code"): 1,
        ("impression", "200", "counted"): 1,
    }
    token = client.get("/metrics", headers={"Authorization": "Bearer x", "X-Forwarded-For": "203.0.113.9"})
    assert (token.status_code, token.mimetype) == (503, "application/problem+json")
    app.extensions["tracker"].spool.close()
    edge_of(app).cache.close()


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        ({}, "192.0.2.1"),
        ({}, ""),
        ({"X-Forwarded-For": "127.0.0.1"}, "127.0.0.1"),
        ({"Forwarded": "for=127.0.0.1"}, "127.0.0.1"),
        ({"Via": "1.1 proxy"}, "127.0.0.1"),
        ({"Authorization": "Bearer trk_forged"}, "192.0.2.1"),
        ({"Authorization": "Basic YTpi"}, "192.0.2.1"),
    ],
)
def test_a_stranger_is_refused(client: FlaskClient, headers: dict[str, str], peer: str) -> None:
    response = client.get("/metrics", headers=headers, environ_overrides={"REMOTE_ADDR": peer})
    assert (response.status_code, response.mimetype) == (401, "application/problem+json")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "tracker_" not in response.text


@pytest.mark.parametrize("proxies", [0, 1])
def test_a_proxy_that_is_trusted_makes_nobody_local(settings: Settings, proxies: int) -> None:
    app = create_app(replace(settings, trusted_proxies=proxies))
    response = app.test_client().get("/metrics", headers={"X-Forwarded-For": "203.0.113.9, 127.0.0.1"})
    assert response.status_code == 401
    edge_of(app).cache.close()


def test_a_token_opens_it_from_anywhere_and_this_machine_needs_none(
    client: FlaskClient, owner: FlaskClient, session: Session, workspace: Workspace
) -> None:
    token = accounts.create_token(session, workspace, "prometheus")
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "203.0.113.9"}
    assert client.get("/metrics", headers=headers, environ_overrides={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200
    for peer in ("127.0.0.1", "127.8.8.8", "::1"):
        assert client.get("/metrics", environ_overrides={"REMOTE_ADDR": peer}).status_code == 200
    # A session is for pages: signing in does not make a person a machine.
    assert owner.get("/metrics", environ_overrides={"REMOTE_ADDR": "192.0.2.1"}).status_code == 401


def test_one_of_several_processes_does_not_speak_for_all(client: FlaskClient) -> None:
    response = client.get("/metrics", environ_overrides={"wsgi.multiprocess": True})
    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert FOLDER_VARIABLE in response.json["detail"]


def test_it_is_told_in_the_form_that_was_asked_for(client: FlaskClient) -> None:
    plain = client.get("/metrics")
    assert plain.content_type.startswith("text/plain; version=0.0.4")
    assert plain.headers["Cache-Control"] == "no-store"
    newer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert newer.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert newer.text.endswith("# EOF\n")


def test_the_readmes_table_is_the_codes_and_every_figure_is_in_it(client: FlaskClient) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    table = readme.partition("## Watching it")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)) == DEFINITIONS
    told = dict(re.findall(r"^# HELP (\w+) (.+)$", client.get("/metrics").text, re.MULTILINE))
    assert told == DEFINITIONS


def test_a_server_begins_with_an_empty_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "somebody else's")
    folder = tmp_path / "metrics"
    folder.mkdir(mode=0o755)
    (folder / "counter_1.db").write_text("old")
    metering.begin(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == []
    assert os.environ[FOLDER_VARIABLE] == str(folder)


def test_a_disk_without_room_costs_the_counts_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    meters = Meters()
    meters.carry_over(Tally(), lost=1, entries=0)
    assert not meters.are_shared


def test_several_workers_are_told_as_one_and_a_killed_ones_counts_stay(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        code = server.api("POST", "/links", SPRING)["code"]

        def figures() -> Any:
            return read(server.request("GET", "/metrics").body.decode())

        def clicks() -> float:
            return figures()["tracker_requests_total"].get(("click", "302", "counted"), 0)

        def ask(times: int) -> None:
            for _ in range(times):
                assert server.request("GET", f"/{code}", {"User-Agent": BROWSER}).status == 302

        def workers() -> set[int]:
            """Who has codes in memory, and is not marked dead."""
            return {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_livesum_*.db")} - {loader}

        folder, loader = server.data_dir / "metrics", server.loader_pid()
        ask(60)
        eventually(clicks, 60.0)
        first = workers()
        assert len(first) == 2
        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed in workers(), False)
        eventually(lambda: len(workers()), 2)
        ask(40)
        eventually(clicks, 100.0)
        eventually(lambda: sum(figures().get("tracker_events_stored_total", {}).values()), 100.0)
        found = figures()
        hits, misses = found["tracker_link_cache_hits_total"][()], found["tracker_link_cache_misses_total"][()]
        assert hits + misses == 100
        assert found["tracker_link_cache_entries"][()] <= 2
        assert found["tracker_loader_last_success_timestamp_seconds"][()] > 0
        assert (folder / f"counter_{killed}.db").exists()
        assert set(found) == set(DEFINITIONS)
