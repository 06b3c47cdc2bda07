"""A month of mixed traffic whose truth is known, through the whole application: what is reported is what people did."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.traffic import Hit, Month
from tracker import days
from tracker.audit import Audit
from tracker.models import Link, Workspace
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

CLICK_ERROR_MAX = 0.01
IMPRESSION_ERROR_MAX = 0.01
RATE_ERROR_MAX = 0.015
# Whoever counts every request is off by at least this: else the month would prove nothing.
NAIVE_ERROR_MIN = 0.3


def asking(app: Flask, clock: list[int]) -> Callable[[Hit], str]:
    """Plays hits through the application's own WSGI callable."""

    def ask(hit: Hit) -> str:
        clock[0] = hit.at_ms
        path, _, query = hit.path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": hit.method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_ADDR": hit.address,
            "SERVER_NAME": "go.example",
            "SERVER_PORT": "443",
        }
        if hit.agent:
            environ["HTTP_USER_AGENT"] = hit.agent
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in hit.headers.items()}
        said: list[tuple[str, str]] = []
        app.wsgi_app(environ, lambda _status, headers: said.extend(headers))
        return dict(said).get("Location", "")

    return ask


@pytest.mark.timeout(300)
def test_a_month_is_reported_as_people_lived_it(
    app: Flask,
    api: Api,
    load: Callable[[], int],
    make_link: Callable[..., Link],
    session: Session,
    workspace: Workspace,
    engine: Engine,
    store: EventStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mail = [make_link(campaign="mail", content=f"place-{n}").code for n in range(10)]
    shared = [
        make_link(campaign="shared", source="social", medium="social", content=f"post-{n}").code for n in range(5)
    ]
    session.commit()
    first = days.now().date() - timedelta(days=30)
    start_ms = (first - date(1970, 1, 1)).days * 86_400_000
    clock = [start_ms]
    monkeypatch.setattr(app.extensions["tracker_edge"], "_clock_ms", lambda: clock[0])
    month = Month(mail, shared, workspace.key, start_ms)
    sent = month.play(asking(app, clock))
    assert load() == sent, "each request is one event"
    span = f"from={first}&to={first + timedelta(days=30)}"
    off = {}
    for campaign, truth in month.truth.items():
        totals = api("GET", f"/campaigns/{campaign}/stats?{span}").json["totals"]
        naive = month.naive[campaign]
        assert totals["conversions"] == truth["conversions"]
        for metric in ("clicks", "impressions"):
            if truth[metric]:
                off[campaign, metric] = totals[metric] / truth[metric] - 1
                off[campaign, metric, "naive"] = naive[metric] / truth[metric] - 1
        rate = truth["conversions"] / truth["clicks"]
        off[campaign, "conversion_rate"] = totals["conversion_rate"]["value"] / rate - 1
    if "TRACKER_SHOW" in os.environ:
        print(*(f"{' '.join(name)}: {value:+.2%}" for name, value in off.items()), sep="\n")
    for name, value in off.items():
        if name[-1] == "naive":
            assert value > NAIVE_ERROR_MIN, name
        else:
            wanted = {"clicks": CLICK_ERROR_MAX, "impressions": IMPRESSION_ERROR_MAX}.get(name[1], RATE_ERROR_MAX)
            assert abs(value) <= wanted, f"{name}: {value:+.2%}"
    audit = Audit(engine, store)
    assert [drift for day in audit.days for drift in audit.drifts(day)] == []
