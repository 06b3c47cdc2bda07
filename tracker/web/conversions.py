"""The inbox of conversions: what was reported, what became of it, and what can be done about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from tracker import campaigns, conversions, corrections, days, inbox
from tracker.api import conversions as sales
from tracker.api.schemas import ConversionsQuery, ReportsQuery, load
from tracker.corrections import Foreseen
from tracker.errors import Invalid, NotFound
from tracker.extensions import db
from tracker.inbox import WantedConversions, WantedReports
from tracker.models import Conversion, Report, Workspace
from tracker.services import services
from tracker.web import responses, words
from tracker.web.access import PAGE_SIZE, id_from_query, signed_in

pages = Blueprint("conversions", __name__)
responses.add_not_found(pages)

REPORT_FILTERS = ("result", "reason", "via", "goal", "status", "campaign", "sale", "from", "to")
CONVERSION_FILTERS = ("status", "goal", "matched_by", "campaign", "sale", "from", "to")
TICKED_MAX = PAGE_SIZE
CAMPAIGNS_OFFERED = 200  # the newest
_SENTENCES = {
    "from": "“{}” is no day as 2027-01-31.",
    "to": "“{}” is no day as 2027-01-31.",
    "sale": "At most 200 characters, none of them a control character.",
    "goal": "At most 200 characters, none of them a control character.",
    "campaign": "There is no campaign “{}”.",
}
_CHOOSE = "“{}” is none of the list."
QUOTED_MAX = 40  # characters of what was asked for, in what is wrong with it


def _asked(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: text for name in names if (text := request.values.get(name, "").strip())}


def _sentences(errors: Mapping[str, str]) -> dict[str, str]:
    named = {"from" if name == "from_" else name for name in errors}
    return {name: _SENTENCES.get(name, _CHOOSE).format(request.values.get(name, "")[:QUOTED_MAX]) for name in named}


def _wanted_reports(workspace: Workspace) -> WantedReports:
    """Raises Invalid, a sentence a field of the form."""
    try:
        return sales.wanted_reports(db.session(), workspace, load(ReportsQuery, _asked(REPORT_FILTERS)))
    except Invalid as error:
        raise Invalid(_sentences(error.errors)) from None
    except NotFound:
        raise Invalid(_sentences({"campaign": ""})) from None


def _wanted_conversions(workspace: Workspace) -> WantedConversions:
    try:
        return sales.wanted_conversions(db.session(), workspace, load(ConversionsQuery, _asked(CONVERSION_FILTERS)))
    except Invalid as error:
        raise Invalid(_sentences(error.errors)) from None
    except NotFound:
        raise Invalid(_sentences({"campaign": ""})) from None


@pages.get("/conversions", endpoint="inbox")
@signed_in
def reports(workspace: Workspace) -> ResponseReturnValue:
    session, errors, found = db.session(), {}, []
    try:
        wanted = _wanted_reports(workspace)
        found = inbox.reports(session, workspace, wanted, before_id=id_from_query("before"), limit=PAGE_SIZE + 1)
    except Invalid as error:
        errors = error.errors
    page = render_template(
        "conversions/reports.html",
        reports=found[:PAGE_SIZE],
        before=found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None,
        has_any=bool(found) or inbox.any_of(session, Report, workspace),
        asked=_asked(REPORT_FILTERS),
        errors=errors,
        goals=inbox.goals(session, workspace),
        campaigns=campaigns.listed(session, workspace, before_id=None, limit=CAMPAIGNS_OFFERED),
        unmatched=conversions.unmatched_count(session, workspace),
        judged_again=conversions.JUDGED_AGAIN,
    )
    return page, 422 if errors else 200


@pages.get("/conversions/recorded")
@signed_in
def recorded(workspace: Workspace) -> ResponseReturnValue:
    session, errors, found = db.session(), {}, []
    try:
        wanted = _wanted_conversions(workspace)
        found = inbox.recorded(session, workspace, wanted, before_id=id_from_query("before"), limit=PAGE_SIZE + 1)
    except Invalid as error:
        errors = error.errors
    page = render_template(
        "conversions/recorded.html",
        conversions=found[:PAGE_SIZE],
        before=found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None,
        has_any=bool(found) or inbox.any_of(session, Conversion, workspace),
        asked=_asked(CONVERSION_FILTERS),
        errors=errors,
        goals=inbox.goals(session, workspace),
        campaigns=campaigns.listed(session, workspace, before_id=None, limit=CAMPAIGNS_OFFERED),
        unmatched=conversions.unmatched_count(session, workspace),
    )
    return page, 422 if errors else 200


@pages.get("/conversions/reports.csv")
@signed_in
def reports_csv(workspace: Workspace) -> ResponseReturnValue:
    try:
        return sales.reports_csv(workspace, _wanted_reports(workspace))
    except Invalid:
        return redirect(url_for("conversions.inbox", **_asked(REPORT_FILTERS)), code=303)


@pages.get("/conversions/recorded.csv")
@signed_in
def recorded_csv(workspace: Workspace) -> ResponseReturnValue:
    try:
        return sales.conversions_csv(workspace, _wanted_conversions(workspace))
    except Invalid:
        return redirect(url_for("conversions.recorded", **_asked(CONVERSION_FILTERS)), code=303)


@pages.post("/conversions/replay")
@signed_in
def replay(workspace: Workspace) -> ResponseReturnValue:
    """Judges a slice of the reports that a filter leaves again; the page that follows says how far it is."""
    so_far = _so_far(request.form)
    try:
        wanted = _wanted_reports(workspace)
    except Invalid:
        return redirect(url_for("conversions.inbox", **_asked(REPORT_FILTERS)), code=303)
    before_id = _number(request.form, "before") or None
    retried = inbox.retry_some(db.session(), workspace, wanted, services().settings.secrets.keys, before_id=before_id)
    so_far.update(retried.results)
    state: dict[str, Any] = {f"was_{name}": n for name, n in so_far.items() if n}
    state["before"] = retried.last_id or before_id or 1
    return redirect(url_for("conversions.replayed", **_asked(REPORT_FILTERS), **state), code=303)


@pages.get("/conversions/replay")
@signed_in
def replayed(workspace: Workspace) -> ResponseReturnValue:
    """How far a replay is: it may be reloaded, left, and gone on with at its address, by itself where it can."""
    try:
        wanted = _wanted_reports(workspace)
    except Invalid:
        return redirect(url_for("conversions.inbox", **_asked(REPORT_FILTERS)), code=303)
    before_id = _number(request.args, "before") or None
    return render_template(
        "conversions/replay.html",
        results=+_so_far(request.args),
        before=before_id,
        left=inbox.left(db.session(), workspace, wanted, before_id),
        asked=_asked(REPORT_FILTERS),
    )


def _so_far(values: Mapping[str, str]) -> Counter[str]:
    return Counter({name: _number(values, f"was_{name}") for name in inbox.RESULTS})


def _number(values: Mapping[str, str], name: str) -> int:
    text = values.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0


@pages.post("/conversions/replay/ticked")
@signed_in
def replay_ticked(workspace: Workspace) -> ResponseReturnValue:
    """Judges the ticked reports again."""
    ids = {int(text) for text in request.form.getlist("report")[:TICKED_MAX] if text.isdecimal() and len(text) <= 18}
    keys = services().settings.secrets.keys
    results = inbox.retry_these(db.session(), workspace, ids, keys)
    flash(_said(results) if ids else "Tick the reports that are to be judged again.")
    return redirect(url_for("conversions.inbox", **_asked(REPORT_FILTERS)), code=303)


def _said(results: Mapping[str, int]) -> str:
    return "Judged again: " + ", ".join(f"{n:,} {words.of_result(name)}" for name, n in sorted(results.items())) + "."


@pages.get("/conversions/reports/<int:report_id>")
@signed_in
def report(workspace: Workspace, report_id: int) -> ResponseReturnValue:
    return _report_page(workspace, inbox.report(db.session(), workspace, report_id), {}, {})


def _report_page(
    workspace: Workspace,
    found: Report,
    typed: Mapping[str, str],
    errors: Mapping[str, str],
    foreseen: Foreseen | None = None,
) -> ResponseReturnValue:
    session, secrets = db.session(), services().settings.secrets
    is_open = found.result in conversions.JUDGED_AGAIN
    page = render_template(
        "conversions/report.html",
        report=found,
        is_open=is_open,
        candidates=corrections.candidates(session, services().store, workspace, found, secrets.click_key)
        if is_open and not found.gpc
        else [],
        campaigns=campaigns.listed(session, workspace, before_id=None, limit=CAMPAIGNS_OFFERED),
        typed=typed,
        errors=errors,
        foreseen=foreseen,
    )
    return page, 422 if errors else 200


@pages.post("/conversions/reports/<int:report_id>/retry")
@signed_in
def retry(workspace: Workspace, report_id: int) -> ResponseReturnValue:
    found = inbox.report(db.session(), workspace, report_id)
    outcome = conversions.retry(db.session(), found, services().settings.secrets.keys)
    db.session.commit()
    flash(f"Judged again: {words.of_result(outcome.result)}. {outcome.hint or ''}".strip())
    return redirect(url_for("conversions.report", report_id=report_id), code=303)


@pages.post("/conversions/reports/<int:report_id>/match/try")
@signed_in
def try_match(workspace: Workspace, report_id: int) -> ResponseReturnValue:
    """Shows what would become of a report that is given to a click, chosen or typed, or to a campaign."""
    session, typed, errors, foreseen = db.session(), _typed_match(), {}, None
    found = inbox.report(session, workspace, report_id)
    try:
        foreseen = corrections.foresee_match(session, workspace, found, services().settings.secrets.keys, **typed)
    except Invalid as error:
        errors = dict(error.errors)
    return _report_page(workspace, inbox.report(session, workspace, report_id), typed, errors, foreseen)


@pages.post("/conversions/reports/<int:report_id>/match")
@signed_in
def match(workspace: Workspace, report_id: int) -> ResponseReturnValue:
    """Gives a report to a click or to a campaign."""
    found = inbox.report(db.session(), workspace, report_id)
    typed = _typed_match()
    try:
        outcome = corrections.match(db.session(), workspace, found, services().settings.secrets.keys, **typed)
    except Invalid as error:
        db.session.rollback()
        return _report_page(workspace, inbox.report(db.session(), workspace, report_id), typed, error.errors)
    told = f"Given by hand: {words.of_result(outcome.result)}, campaign {outcome.campaign}."
    flash(f"{told} To take a sale back, correct its status to rejected.")
    return redirect(url_for("conversions.show", conversion_id=outcome.conversion_id), code=303)


def _typed_match() -> dict[str, str]:
    typed = {name: request.form.get(name, "").strip() for name in ("click_id", "campaign")}
    return typed | {"click_id": typed["click_id"] or request.form.get("chosen", "")}


@pages.get("/conversions/<int:conversion_id>")
@signed_in
def show(workspace: Workspace, conversion_id: int) -> ResponseReturnValue:
    return _conversion_page(inbox.conversion(db.session(), workspace, conversion_id), {}, {})


def _conversion_page(
    found: Conversion, typed: Mapping[str, str], errors: Mapping[str, str], foreseen: Foreseen | None = None
) -> ResponseReturnValue:
    page = render_template(
        "conversions/show.html",
        conversion=found,
        reports=inbox.reports_of(db.session(), found),
        way=inbox.way_of(db.session(), found),
        clicked_at=days.from_ms(found.click_at_ms),
        typed=typed,
        errors=errors,
        foreseen=foreseen,
    )
    return page, 422 if errors else 200


@pages.post("/conversions/<int:conversion_id>/correct/try")
@signed_in
def try_correction(workspace: Workspace, conversion_id: int) -> ResponseReturnValue:
    """Shows the rows that a correction would add to the ledger."""
    session, errors, foreseen = db.session(), {}, None
    found = inbox.conversion(session, workspace, conversion_id)
    typed = _typed_correction()
    try:
        foreseen = corrections.foresee_correction(session, found, **_corrected(typed, found, workspace))
    except Invalid as error:
        errors = dict(error.errors)
    return _conversion_page(inbox.conversion(session, workspace, conversion_id), typed, errors, foreseen)


@pages.post("/conversions/<int:conversion_id>/correct")
@signed_in
def correct(workspace: Workspace, conversion_id: int) -> ResponseReturnValue:
    """Changes status and value by hand: a row more in the ledger."""
    found = inbox.conversion(db.session(), workspace, conversion_id)
    typed = _typed_correction()
    try:
        changed = corrections.correct(db.session(), found, **_corrected(typed, found, workspace))
    except Invalid as error:
        db.session.rollback()
        return _conversion_page(inbox.conversion(db.session(), workspace, conversion_id), typed, error.errors)
    flash("Corrected: a row more stands in the ledger." if changed else "That is how it was: nothing changed.")
    return redirect(url_for("conversions.show", conversion_id=conversion_id), code=303)


def _typed_correction() -> dict[str, str]:
    return {name: request.form.get(name, "").strip() for name in ("status", "value", "currency")}


def _corrected(typed: Mapping[str, str], found: Conversion, workspace: Workspace) -> dict[str, Any]:
    """Raises Invalid naming the field."""
    amount = sales.read_amount(typed["value"], typed["currency"], found, workspace)
    return {"status": typed["status"], "amount": amount}
