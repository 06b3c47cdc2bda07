"""What needs somebody is said everywhere: by /readyz, on the overview, in the settings and to Prometheus."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.databases import Database
from tracker import aside, days
from tracker.config import Settings
from tracker.edge.spool import Spool
from tracker.events import Event, Kind, Verdict, encode
from tracker.losses import Note
from tracker.models import Link
from tracker.pipeline import segments

pytestmark = pytest.mark.any_database


def ready(client: FlaskClient) -> tuple[int, dict[str, object]]:
    found = client.get("/readyz")
    return found.status_code, found.json


def test_all_is_well(client: FlaskClient, owner: FlaskClient, settings: Settings) -> None:
    status, state = ready(client)
    assert (status, state.pop("lag_s")) == (200, 0.0)
    assert str(state.pop("countries")).startswith("Regional Internet Registries")
    assert state == {
        "status": "ready",
        "database": "ok",
        "spool": "ok",
        "loader": "ok",
        "spool_bytes": 0,
        "spool_bytes_max": settings.spool_bytes_max,
        "lost": 0,
        "set_aside": 0,
    }
    assert "notice" not in owner.get("/app/").text
    assert "0 MB of at most 8.6 GB" in owner.get("/app/settings").text


def test_lost_hits_are_told_until_somebody_has_seen_them(
    client: FlaskClient, owner: FlaskClient, settings: Settings
) -> None:
    settings.spool_dir.mkdir()
    note = Note(settings.spool_dir)
    hour_ago = days.to_ms(days.now()) - 3_600_000
    note.add(7, hour_ago)
    assert ready(client)[1] | {"lag_s": 0} == {**ready(client)[1], "status": "ready", "lost": 7, "lag_s": 0}
    for page in ("/app/", "/app/settings"):
        assert "<strong>7</strong> hits were answered but could not" in owner.get(page).text
    note.add(1, days.to_ms(days.now()))
    status, state = ready(client)
    assert (status, state["spool"], state["lost"]) == (503, "losing", 8)
    assert "tracker_spool_lost_events 8.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("held_mb", "spool", "status", "said"),
    [(0, "ok", 200, ""), (0.85, "filling", 200, "Beyond that"), (1, "full", 503, "are being lost")],
)
def test_a_spool_that_fills_is_told_before_it_is_full(
    client: FlaskClient,
    owner: FlaskClient,
    settings: Settings,
    app: Flask,
    held_mb: float,
    spool: str,
    status: int,
    said: str,
) -> None:
    app.extensions["tracker"].settings.__dict__["spool_max_mb"] = 1
    settings.spool_dir.mkdir()
    (settings.spool_dir / "1.spool").write_bytes(b"x" * int(held_mb * 1024 * 1024))
    assert ready(client)[0] == status
    assert ready(client)[1]["spool"] == spool
    assert said in owner.get("/app/").text


def test_hits_at_a_full_spool_are_answered_counted_and_told(
    client: FlaskClient, make_link: Callable[..., Link], app: Flask, settings: Settings
) -> None:
    link = make_link()
    spool: Spool = app.extensions["tracker"].spool
    client.get(f"/{link.code}")
    spool._bytes_max = 1
    spool.look_at_room()
    assert client.get(f"/{link.code}").status_code == 302
    assert client.get(f"/i/{link.code}.gif").status_code == 200
    assert ready(client)[1]["lost"] == 2


def test_a_loader_that_is_behind_and_a_record_set_aside_are_told(
    client: FlaskClient, owner: FlaskClient, make_link: Callable[..., Link], settings: Settings, load: Callable[[], int]
) -> None:
    client.get(f"/{make_link().code}")
    (segment,) = segments.names(settings.spool_dir)
    path = settings.spool_dir / segment
    line = path.read_bytes()
    path.write_bytes(line + b"torn")
    load()
    aside.keep(settings.spool_dir, "x.bad", b"x")
    assert ready(client)[1]["set_aside"] == 1
    assert "<strong>1</strong> record of the spool was" in owner.get("/app/").text


def test_a_loader_that_is_behind_is_told(
    client: FlaskClient, owner: FlaskClient, make_link: Callable[..., Link], app: Flask
) -> None:
    link = make_link()
    ten_minutes_ago = days.to_ms(days.now()) - 600_000
    event = Event(Kind.CLICK, ten_minutes_ago, 1, Verdict.COUNTED, link.id, link.code, "192.0.2.1", "x", "", "", False)
    app.extensions["tracker"].spool.append(encode(event))
    assert ready(client)[1]["loader"] == "behind"
    assert "Figures are 10 min behind" in owner.get("/app/").text


def test_without_its_database_it_says_so(client: FlaskClient, database: Database, app: Flask) -> None:
    client.get("/readyz")
    app.extensions["tracker_edge"].cache.close()
    database.stop()
    try:
        status, state = ready(client)
    finally:
        database.start()
    assert (status, state["status"], state["database"]) == (503, "not ready", "away")
    assert "lag_s" not in state
