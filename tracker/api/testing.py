"""Tests of an installation over REST: a code to carry, and what came in under it, explained."""

from __future__ import annotations

from typing import Any

from flask import Response

from tracker import days, debugging, links, snippets, testcodes
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import TestNew, read_body
from tracker.debugging import ClickSeen, Findings, HitSeen, ReportSeen
from tracker.events import Kind, Verdict
from tracker.extensions import db
from tracker.models import Link
from tracker.reported import TestCode
from tracker.services import services

blueprint = protected("api_testing", __name__)


def findings_of(code: TestCode) -> Findings:
    """What came in under a code of the workspace that asks."""
    return debugging.look_at(db.session(), services().store, workspace(), code, services().settings.secrets.keys)


@blueprint.post("/tests")
@operation(
    "Start a test: what carries its code is shown here and counted nowhere",
    body=TestNew,
    answers={201: "The code, with addresses that carry it", 404: "No such link", 422: "Too many tests are under way"},
)
def start() -> Response:
    """With a `link`, the addresses are that link's."""
    asked = read_body(TestNew).get("link")
    link = links.find(db.session(), workspace(), asked) if asked else None
    code = testcodes.start(db.session(), workspace(), days.now())
    response = answer(201, test(code) | {"addresses": _addresses(code, link)})
    response.headers["Location"] = f"/api/v1/tests/{code.code}"
    return response


@blueprint.get("/tests")
@operation("Tests that were started, the latest first")
def started() -> Response:
    return answer(200, {"items": [test(code) for code in testcodes.listed(db.session(), workspace())]})


@blueprint.get("/tests/<code>")
@operation("What came in under a test's code, newest first, with what would have become of it")
def look(code: str) -> Response:
    found = testcodes.find(db.session(), workspace(), code)
    return answer(200, test(found) | findings(findings_of(found)))


@blueprint.delete("/tests/<code>")
@operation("End a test: its code is not in force any more", answers={204: "Ended"})
def end(code: str) -> Response:
    testcodes.end(db.session(), testcodes.find(db.session(), workspace(), code), days.now())
    return Response(status=204)


def test(code: TestCode) -> dict[str, Any]:
    return {
        "code": code.code,
        "created_at": shapes.instant(code.created_at),
        "expires_at": shapes.instant(code.expires_at),
    }


def _addresses(code: TestCode, link: Link | None) -> dict[str, str]:
    found = snippets.of_test(code.code, workspace(), link, services().public_url)
    return {name: text for name in found.__slots__ if (text := getattr(found, name))}


def findings(found: Findings) -> dict[str, Any]:
    """The live list as JSON: hits and reports, newest first."""
    return {"items": [_line(line) for line in found.lines], "is_cut": found.is_cut}


def _line(line: HitSeen | ReportSeen) -> dict[str, Any]:
    return _report(line) if isinstance(line, ReportSeen) else _hit(line)


def _hit(seen: HitSeen) -> dict[str, Any]:
    event = seen.event
    return {
        "id": _id(seen),
        "at": shapes.instant(days.from_ms(event.at_ms)),
        "kind": Kind(event.kind).word,
        "verdict": Verdict(event.verdict).word,
        "otherwise": event.rule,
        **_place(seen.link),
        "agent": event.agent,
        **shapes.click_cost(event),
    }


def _report(seen: ReportSeen) -> dict[str, Any]:
    return {
        "id": _id(seen),
        "at": shapes.instant(days.from_ms(seen.report.at_ms)),
        "kind": seen.kind.word,
        "result": seen.result,
        "reason": seen.reason,
        **_place(seen.click.link if seen.click else None),
        "click": _click(seen.click) if seen.click else None,
        "duplicate_of": _id(seen.of) if seen.of else None,
        "recorded_before": seen.known,
        "params": dict(seen.parameters),
        "faults": [
            {"field": fault.field, "message": fault.text, "severity": "missing" if fault.is_missing else "wrong"}
            for fault in seen.faults
        ],
    }


def _id(seen: HitSeen | ReportSeen) -> str:
    return "{}-{}".format(*seen.id)


def _place(link: Link | None) -> dict[str, str | None]:
    return {"code": link.code if link else None, "campaign": link.campaign.slug if link else None}


def _click(click: ClickSeen) -> dict[str, Any]:
    return {
        "at": shapes.instant(days.from_ms(click.found.at_ms)),
        "matched_by": click.found.by,
        "verdict": None if click.event is None else Verdict(click.event.verdict).word,
        "is_of_test": click.is_of_test,
    }
