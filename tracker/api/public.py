"""What anybody may ask the tracker itself: is it well, and the files that every site is expected to have."""

from __future__ import annotations

import os
from time import time_ns

from flask import Blueprint, Response, current_app, send_from_directory
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from tracker.api.problems import answer
from tracker.extensions import db
from tracker.pipeline.segments import aside_count
from tracker.services import services

blueprint = Blueprint("public", __name__)
LAG_MAX_S = 60
SCRIPT_AGE_S = 3600


@blueprint.get("/healthz")
def healthz() -> Response:
    return answer(200, {"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """The state of database, spool and loader; 503 when one of them needs somebody."""
    state: dict[str, object] = {"database": "ok", "spool": "ok", "loader": "ok"}
    folder = services().settings.spool_dir
    try:
        db.session.execute(text("SELECT 1"))
        lag = services().lag_s(time_ns() // 1_000_000)
        state["lag_s"] = round(lag, 3)
        if lag > LAG_MAX_S:
            state["loader"] = "behind"
    except SQLAlchemyError:
        state["database"] = "away"
    if services().spool.lost or not os.access(folder if folder.exists() else folder.parent, os.W_OK):
        state["spool"] = f"cannot write; {services().spool.lost} events lost by this process"
    state["set_aside"] = aside_count(folder)
    ready = (state["database"], state["spool"], state["loader"]) == ("ok", "ok", "ok")
    return answer(200 if ready else 503, {"status": "ready" if ready else "not ready", **state})


@blueprint.get("/robots.txt")
def robots() -> Response:
    return Response("User-agent: *\nDisallow: /\n", mimetype="text/plain")


@blueprint.get("/.well-known/gpc.json")
def gpc() -> Response:
    """Says that Global Privacy Control is honoured (the GPC specification, well-known resource)."""
    return answer(200, {"gpc": True, "lastUpdate": "2026-11-21"})


@blueprint.get("/favicon.ico")
def favicon() -> Response:
    return send_from_directory(_static(), "icon.svg", mimetype="image/svg+xml", max_age=86400)


@blueprint.get("/t.js")
def script() -> Response:
    response = send_from_directory(_static(), "t.js", mimetype="text/javascript", max_age=SCRIPT_AGE_S)
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def _static() -> str:
    return str(current_app.static_folder)
