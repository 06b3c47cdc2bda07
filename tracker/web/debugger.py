"""The debugger: an installation tried out under a code, and how well what comes in can be matched."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from tracker import days, debugging, links, snippets, testcodes
from tracker.api.problems import answer
from tracker.api.tables import csv_answer
from tracker.api.testing import findings, findings_of, test
from tracker.debugging import Findings
from tracker.errors import Invalid, NotFound
from tracker.events import Kind
from tracker.extensions import db
from tracker.models import Link, Workspace
from tracker.reports import lastseen, quality
from tracker.services import services
from tracker.web import responses
from tracker.web.access import PAGE_SIZE, id_from_query, signed_in

pages = Blueprint("debugger", __name__)
responses.add_not_found(pages)

LINKS_OFFERED = 50
SOUGHT_MAX = 100  # characters
SOURCES_NAMED = 3  # in one sentence


@pages.get("/debugger")
@signed_in
def index(workspace: Workspace) -> ResponseReturnValue:
    return _index(workspace)


def _index(workspace: Workspace, refusal: Invalid | None = None) -> ResponseReturnValue:
    session, store, now = db.session(), services().store, days.now()
    now_ms = days.to_ms(now)
    codes = testcodes.listed(session, workspace)
    sought, before = request.args.get("q", "").strip()[:SOUGHT_MAX], id_from_query("before")
    found = _found(workspace, sought, before)
    shown = found[:PAGE_SIZE]
    page = render_template(
        "debugger/index.html",
        tests=codes,
        now=now,
        errors=refusal.errors if refusal else {},
        stray_hits=debugging.stray_hits(session, store, workspace, now_ms),
        stray_reports=debugging.stray_reports(session, workspace, codes, now_ms),
        links=shown,
        sought=sought,
        sought_max=SOUGHT_MAX,
        last_seen=lastseen.of_links(session, store, shown, now),
        may_be_older=lastseen.may_be_older,
        next_before=shown[-1].id if len(found) > PAGE_SIZE else None,
        **_quality(workspace, now),
    )
    return page, refusal.status if refusal else 200


def _found(workspace: Workspace, sought: str, before: int | None) -> list[Link]:
    if sought and sought.isprintable():
        return links.sought(db.session(), workspace, sought, before_id=before, limit=PAGE_SIZE + 1)
    return [] if sought else links.listed(db.session(), workspace, before_id=before, limit=PAGE_SIZE + 1)


def _quality(workspace: Workspace, now: datetime) -> dict[str, Any]:
    """What the section on match quality shows. A query that makes no sense is taken for the usual one."""
    asked_days, asked_by = request.args.get("days", ""), request.args.get("by", "")
    n_days = next((n for n in quality.DAYS if str(n) == asked_days), quality.DAYS[0])
    by = quality.By(asked_by) if asked_by in list(quality.By) else quality.By.WAY
    settings = services().settings
    # What was said in older reports has been deleted.
    known_days = min(n_days, settings.retention_days or n_days)
    found = quality.of_sources(db.session(), workspace, settings.secrets.click_keys, now, known_days, by)
    return {
        "quality": found,
        "quality_days": quality.DAYS,
        "quality_shares": quality.SHARES,
        "sources_named": SOURCES_NAMED,
        "chosen_days": n_days,
        "chosen_by": by.value,
    }


@pages.get("/debugger/quality.csv")
@signed_in
def quality_csv(workspace: Workspace) -> ResponseReturnValue:
    return csv_answer(quality.csv_rows(_quality(workspace, days.now())["quality"].rows))


@pages.post("/debugger/tests")
@signed_in
def start(workspace: Workspace) -> ResponseReturnValue:
    """Issues a code. A link's page sends the link's own, whose addresses are shown then."""
    try:
        code = testcodes.start(db.session(), workspace, days.now())
    except Invalid as refusal:
        return _index(workspace, refusal)
    link = request.form.get("link") or None
    return redirect(url_for("debugger.show", code=code.code, link=link), code=303)


@pages.get("/debugger/tests/<code>")
@signed_in
def show(workspace: Workspace, code: str) -> ResponseReturnValue:
    """The live list of a test, with addresses that carry its code: those of a link, the newest where none is named."""
    found = testcodes.find(db.session(), workspace, code)
    offered = links.listed(db.session(), workspace, before_id=None, limit=LINKS_OFFERED)
    errors: dict[str, str] = {}
    link = next((each for each in offered if _is_active(each)), None)
    if asked := request.args.get("link", "").strip():
        try:
            link = links.find(db.session(), workspace, asked)
        except NotFound as refusal:
            errors["link"] = str(refusal)
    seen = findings_of(found)
    page = render_template(
        "debugger/test.html",
        test=found,
        is_over=found.expires_at <= days.now(),
        link=link,
        asked=asked,
        errors=errors,
        offered=offered,
        addresses=snippets.of_test(found.code, workspace, link, services().public_url),
        findings=seen,
        steps=_steps(seen),
        lag_s=services().lag_s(days.to_ms(days.now())),
    )
    return page, 422 if errors else 200


@pages.get("/debugger/tests/<code>.json")
@signed_in
def look(workspace: Workspace, code: str) -> ResponseReturnValue:
    """The live list for programs that are signed in."""
    found = testcodes.find(db.session(), workspace, code)
    return answer(200, test(found) | findings(findings_of(found)))


@pages.post("/debugger/tests/<code>/end")
@signed_in
def end(workspace: Workspace, code: str) -> ResponseReturnValue:
    testcodes.end(db.session(), testcodes.find(db.session(), workspace, code), days.now())
    flash("The test is over: hits that still carry its code count nowhere and are shown as strays.")
    return redirect(url_for("debugger.show", code=code), code=303)


def _is_active(link: Link) -> bool:
    return link.archived_at is None and (link.expires_at is None or link.expires_at > days.now())


def _steps(seen: Findings) -> dict[str, bool]:
    """What a whole test goes through, and whether it has."""
    return {
        "impression": seen.has(Kind.IMPRESSION),
        "click": seen.has(Kind.CLICK),
        "report": bool(seen.reports),
        "matched": seen.is_matched,
    }
