"""The conversion callback `/c/{key}`: recorded at once, or kept in the spool while the database is away."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, Response, current_app, g, request
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import RequestEntityTooLarge

from tracker import callers, claims, conversions, customers
from tracker.api.gate import Gate
from tracker.api.openapi import operation
from tracker.api.problems import answer, problem, refused
from tracker.api.schemas import ConversionReport
from tracker.callers import Call, Queued
from tracker.claims import BODY_MAX_BYTES, Sighting
from tracker.conversions import Outcome
from tracker.edge.core import Edge, without_port
from tracker.errors import Invalid, Malformed, NotAllowed, TooMany, Unverified
from tracker.events import AGENT_MAX, CODE_MAX, Event, Kind, Verdict, encode, storable
from tracker.extensions import csrf, db
from tracker.models import Conversion, Workspace
from tracker.services import services
from tracker.signing import HEADER

blueprint = Blueprint("callback", __name__)
csrf.exempt(blueprint)

RETRY_AFTER_S = 5


class Message(NamedTuple):
    """A callback as it was read: its parameters, and what is looked at of whoever sent it."""

    params: dict[str, str]
    call: Call


@blueprint.after_request
def _headers(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.route("/c/<key>", methods=["GET", "POST"])
@operation(
    "Report a conversion; for GET in the query",
    query=ConversionReport,
    body=ConversionReport,
    answers={
        200: "Recorded, updated, or a duplicate",
        202: "Unmatched, with reason and hint, or queued",
        401: "The signature does not hold",
        403: "Not from this address",
        413: "Too long",
        422: "A value cannot be meant",
        429: "Too many a minute; Retry-After tells when to come again",
    },
)
def report(key: str) -> Response:
    """Answers what became of the report. HEAD is answered like GET and records nothing.

    Whatever the answer, the request becomes one event.
    """
    edge: Edge = current_app.extensions["tracker_edge"]
    moment = edge.moment()
    event = Event(
        kind=Kind.CALLBACK,
        at_ms=moment.at_ms,
        nonce=moment.nonce,
        verdict=Verdict.HEAD if request.method == "HEAD" else Verdict.COUNTED,
        link_id=0,
        code=storable(key[:CODE_MAX]),
        address=without_port(request.remote_addr or ""),
        agent=request.user_agent.string[:AGENT_MAX],
        referrer="",
        language="",
        gpc=request.headers.get("Sec-GPC") == "1",
        applied=True,
    )
    try:
        response, event = _answer(event, _read(event))
    except Invalid as error:
        response = refused(error)
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = HEADER
    g.verdict = Verdict(event.verdict).word
    services().spool.append(encode(event))
    return response


def _read(event: Event) -> Message:
    """The message of a request. Raises Malformed, or TooLong before more than that is read.

    What a signature is of is all that is read: parameters that stand elsewhere could be anybody's.
    """
    # One more than is taken: of a body that announces no length Werkzeug cuts off the rest without a word.
    request.max_content_length = BODY_MAX_BYTES + 1
    signature = request.headers.get(HEADER, "")
    query = request.query_string.decode("utf-8", "replace")
    try:
        raw = request.get_data()
    except RequestEntityTooLarge:
        raise claims.too_long() from None
    if len(raw) > BODY_MAX_BYTES:
        raise claims.too_long()
    payload = raw if request.method == "POST" else request.query_string
    if signature and (query if request.method == "POST" else raw):
        unsigned = "query" if request.method == "POST" else "body"
        raise Malformed({unsigned: "A signed report is all in what is signed: the body, or for GET the query."})
    params = claims.read_params(query, *_body(raw))
    if event.gpc:
        # A browser can call this address too, and its visitor has asked to be nobody's customer.
        params = customers.seal_params(params, None)
    return Message(params, Call(event.address, signature, payload, event.at_ms))


def _body(raw: bytes) -> tuple[bytes, str]:
    """The body and its type; a multipart form as the plain one it stands for."""
    if request.mimetype == "multipart/form-data":
        return urlencode(list(request.form.items(multi=True))).encode(), claims.FORM
    return raw, request.headers.get("Content-Type", "")


def _answer(event: Event, message: Message) -> tuple[Response, Event]:
    """The answer, and the event as the loader should find it."""
    try:
        workspace = db.session.scalar(select(Workspace).where(Workspace.key == event.code))
        if workspace is None:
            unknown = event._replace(verdict=int(Verdict.UNKNOWN_CODE))
            return problem(404, "Unknown key", {"key": "No workspace has this key."}), unknown
        if event.verdict == Verdict.HEAD:
            return answer(200, {"result": "ignored"}), event
        return _record(event, message, workspace)
    except DBAPIError:
        db.session.rollback()
        return _queue(event, message)


def _gate() -> Gate:
    found = current_app.extensions["tracker_gate"]
    assert isinstance(found, Gate)  # noqa: S101 (narrows the type: the factory put it there)
    return found


def _record(event: Event, message: Message, workspace: Workspace) -> tuple[Response, Event]:
    gate, keys = _gate(), services().settings.secrets.keys
    rules = callers.rules_of(db.session(), workspace)
    gate.learn(event.code, rules)
    sighting = Sighting(event.at_ms, event.nonce, claims.CALLBACK, event.gpc, event.agent)
    try:
        signature = callers.check(rules, message.call)
        gate.count(event.code, rules)
    except TooMany as error:
        return _too_many(error), event._replace(verdict=int(Verdict.FLOOD))
    except (Unverified, NotAllowed) as error:
        if gate.keeps_refused(event.code):
            conversions.refuse(db.session(), workspace, message.params, sighting, keys, error)
            db.session.commit()
        return refused(error), event
    sighting = sighting._replace(signed=signature is not None, signature=signature)
    outcome = conversions.record(db.session(), workspace, message.params, sighting, keys)
    link_id = _link_id(outcome)
    db.session.commit()
    return _told(outcome), event._replace(link_id=link_id)


def _queue(event: Event, message: Message) -> tuple[Response, Event]:
    """The event carries the report now: the loader records it when the database is back, under the same id."""
    gate = _gate()
    rules = gate.remembered(event.code)
    sealed = customers.seal_params(message.params, None if event.gpc else services().settings.secrets.customer_key)
    if rules is not None:
        try:
            signature = callers.check(rules, message.call)
            gate.count(event.code, rules)
        except TooMany as error:
            return _too_many(error), event._replace(verdict=int(Verdict.FLOOD))
        except (Unverified, NotAllowed) as error:
            return refused(error), event
        queued = Queued(sealed, signature)
    elif message.call.signature and not callers.may_queue_unread(message.params, message.call.payload):
        # Nobody here can check the signature now, and what it is of must not lie on a disk: it names a customer.
        response = problem(503, "The database is away", detail="Nothing was kept of this report: send it again.")
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response, event
    else:
        call = message.call if message.call.signature else message.call._replace(payload=b"")
        queued = Queued(sealed, call=call)
    return answer(202, {"result": "queued"}), event._replace(params=queued.encode(), applied=False)


def _too_many(error: TooMany) -> Response:
    response = refused(error)
    response.headers["Retry-After"] = str(max(1, round(error.retry_after_s + 0.5)))
    return response


def _link_id(outcome: Outcome) -> int:
    return db.session.get_one(Conversion, outcome.conversion_id).link_id or 0 if outcome.conversion_id else 0


def _told(outcome: Outcome) -> Response:
    if outcome.errors:
        return refused(Unverified(outcome.errors, "") if HEADER in outcome.errors else Invalid(outcome.errors))
    if outcome.result in ("unmatched", "test"):
        return answer(202, {"result": "unmatched", "reason": outcome.reason, "hint": outcome.hint})
    return answer(200, {"result": outcome.result, "conversion_id": outcome.conversion_id, "campaign": outcome.campaign})
