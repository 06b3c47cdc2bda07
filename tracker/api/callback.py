"""The conversion callback `/c/{key}`: recorded at once, or kept in the spool while the database is away."""

from __future__ import annotations

from urllib.parse import urlencode

import orjson
from flask import Blueprint, Response, current_app, g, request
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from tracker import claims, conversions, customers
from tracker.api.problems import answer, problem, refused
from tracker.claims import Sighting
from tracker.conversions import Outcome
from tracker.edge.core import Edge
from tracker.errors import Invalid
from tracker.events import AGENT_MAX, CODE_MAX, Event, Kind, Verdict, encode
from tracker.extensions import csrf, db
from tracker.models import Conversion, Workspace
from tracker.services import services

blueprint = Blueprint("callback", __name__)
csrf.exempt(blueprint)


@blueprint.after_request
def _headers(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.route("/c/<key>", methods=["GET", "POST"])
def report(key: str) -> Response:
    """Answers what became of the report. HEAD is answered like GET and records nothing."""
    edge: Edge = current_app.extensions["tracker_edge"]
    moment = edge.moment()
    event = Event(
        kind=Kind.CALLBACK,
        at_ms=moment.at_ms,
        nonce=moment.nonce,
        verdict=Verdict.HEAD if request.method == "HEAD" else Verdict.COUNTED,
        link_id=0,
        code=key[:CODE_MAX],
        address=request.remote_addr or "",
        agent=request.user_agent.string[:AGENT_MAX],
        referrer="",
        language="",
        gpc=request.headers.get("Sec-GPC") == "1",
        applied=True,
    )
    try:
        params = claims.read_params(request.query_string.decode("utf-8", "replace"), *_body())
    except Invalid as error:
        return refused(error)
    if event.gpc:
        # A browser can call this address too, and its visitor has asked to be nobody's customer.
        params = customers.seal_params(params, None)
    response, event = _record(event, params)
    g.verdict = Verdict(event.verdict).word
    services().spool.append(encode(event))
    return response


def _body() -> tuple[bytes, str]:
    """The body and its type; a multipart form as the plain one it stands for."""
    kind = request.headers.get("Content-Type", "")
    if request.mimetype == "multipart/form-data":
        return urlencode(list(request.form.items(multi=True))).encode(), "application/x-www-form-urlencoded"
    return request.get_data(), kind


def _record(event: Event, params: dict[str, str]) -> tuple[Response, Event]:
    """The answer, and the event as the loader should find it."""
    secrets = services().settings.secrets
    try:
        workspace = db.session.scalar(select(Workspace).where(Workspace.key == event.code))
        if workspace is None:
            unknown = event._replace(verdict=int(Verdict.UNKNOWN_CODE))
            return problem(404, "Unknown key", {"key": "No workspace has this key."}), unknown
        if event.verdict == Verdict.HEAD:
            return answer(200, {"result": "ignored"}), event
        sighting = Sighting(event.at_ms, event.nonce, claims.CALLBACK, event.gpc, event.agent)
        outcome = conversions.record(db.session(), workspace, params, sighting, secrets.keys)
        link_id = _link_id(outcome)
        db.session.commit()
        return _answer(outcome), event._replace(link_id=link_id)
    except DBAPIError:
        # The event carries the report now: the loader records it when the database is back, under the same id.
        db.session.rollback()
        sealed = customers.seal_params(params, secrets.customer_key)
        queued = event._replace(params=orjson.dumps(sealed).decode(), applied=False)
        return answer(202, {"result": "queued"}), queued


def _link_id(outcome: Outcome) -> int:
    return db.session.get_one(Conversion, outcome.conversion_id).link_id or 0 if outcome.conversion_id else 0


def _answer(outcome: Outcome) -> Response:
    if outcome.errors:
        return problem(422, "Some fields need another look", outcome.errors)
    if outcome.result in ("unmatched", "test"):
        return answer(202, {"result": "unmatched", "reason": outcome.reason, "hint": outcome.hint})
    return answer(200, {"result": outcome.result, "conversion_id": outcome.conversion_id, "campaign": outcome.campaign})
