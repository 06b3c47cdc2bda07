"""Costs brought in as an export of an advertising network: looked at first, then stored as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from tracker import costfile, costsheet, days
from tracker.costfile import Plan, Upload
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import UTM_MAX, Campaign, Workspace
from tracker.services import services
from tracker.web import responses
from tracker.web.access import signed_in

pages = Blueprint("costimports", __name__)
responses.add_not_found(pages)

FORM_BYTES = 262_144  # what a form has around its file, or of choices
CAMPAIGNS_MAX = 500  # that can be chosen from, the newest
SHOWN_MAX = 100
UNMATCHED_MAX = 100
ORDERS = {"": None, "day": True, "month": False}


@pages.get("/costs/import")
@signed_in
def new(_workspace: Workspace) -> ResponseReturnValue:
    return _form({})


def _form(errors: Mapping[str, str]) -> ResponseReturnValue:
    page = render_template(
        "costs/import.html", errors=errors, bytes_max=costfile.BYTES_MAX, rows_max=costsheet.ROWS_MAX
    )
    return page, 422 if errors else 200


@pages.url_value_preprocessor
def form_size(endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """Comes before whatever looks into the form, as the check of its token does."""
    if endpoint == "costimports.upload":
        request.max_content_length = costfile.BYTES_MAX + FORM_BYTES


@pages.post("/costs/import")
@signed_in
def upload(workspace: Workspace) -> ResponseReturnValue:
    """Keeps a file that can be read; one that cannot is forgotten at once."""
    file = request.files.get("file")
    if file is None or not file.filename:
        return _form({"file": "Choose a CSV file."})
    kept = None
    try:
        kept = costfile.keep(services().settings.data_dir, workspace, file.stream, days.now())
        costsheet.read(kept.content(), workspace.currency)
    except Invalid as refusal:
        if kept:
            kept.drop()
        return _form(refusal.errors)
    return redirect(url_for("costimports.show", name=kept.name), code=303)


@pages.get("/costs/import/<name>")
@signed_in
def show(workspace: Workspace, name: str) -> ResponseReturnValue:
    return _page(workspace, _find(workspace, name))


@pages.post("/costs/import/<name>")
@signed_in
def choose(workspace: Workspace, name: str) -> ResponseReturnValue:
    """Stores the file, or shows what would become of it by other choices."""
    kept = _find(workspace, name)
    if request.form.get("do") != "store":
        return _page(workspace, kept)
    try:
        found = _plan(workspace, kept)
        stored = costfile.store(db.session(), workspace, found, now=days.now())
    except Invalid as refusal:
        return _page(workspace, kept, refusal.errors)
    kept.drop()
    left = sum(len(each.rows) for each in found.unmatched)
    told = f"{stored.added:,} new, {stored.replaced:,} changed, {stored.unchanged:,} as they were"
    flash(f"The costs are stored: {told}{f'; {left:,} rows left out' if left else ''}.")
    slugs = {each.campaign.slug for each in found.planned}
    if len(slugs) == 1:
        return redirect(url_for("costs.index", slug=slugs.pop()), code=303)
    return redirect(url_for("costimports.new"), code=303)


@pages.post("/costs/import/<name>/drop")
@signed_in
def drop(workspace: Workspace, name: str) -> ResponseReturnValue:
    _find(workspace, name).drop()
    return redirect(url_for("costimports.new"), code=303)


def _find(workspace: Workspace, name: str) -> Upload:
    return costfile.find(services().settings.data_dir, workspace, name)


def _plan(workspace: Workspace, kept: Upload) -> Plan:
    """By the choices of this request. Raises Invalid."""
    order = ORDERS.get(request.form.get("order", ""))
    sheet = costsheet.read(kept.content(), workspace.currency, day_first=order)
    source = request.form.get("source", "")[: UTM_MAX + 1]
    return costfile.plan(db.session(), workspace, sheet, source=source, choices=_choices())


def _choices() -> dict[str, str]:
    """By a name in the file the slug of the campaign that it means."""
    names, slugs = request.form.getlist("name"), request.form.getlist("campaign")
    return {name: slug for name, slug in zip(names, slugs, strict=False) if slug}


def _page(workspace: Workspace, kept: Upload, errors: Mapping[str, str] | None = None) -> ResponseReturnValue:
    errors = errors or {}
    try:
        found = _plan(workspace, kept)
    except Invalid as refusal:
        errors = refusal.errors
        found = Plan(costsheet.read(kept.content(), workspace.currency))
    query = select(Campaign).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id.desc())
    page = render_template(
        "costs/plan.html",
        name=kept.name,
        plan=found,
        counts=found.counts,
        errors=errors,
        source=request.form.get("source", "")[:UTM_MAX],
        order=request.form.get("order", ""),
        choices=_choices(),
        campaigns=list(db.session().scalars(query.limit(CAMPAIGNS_MAX))),
        currency=workspace.currency,
        shown=found.planned[:SHOWN_MAX],
        unmatched=found.unmatched[:UNMATCHED_MAX],
    )
    return page, 422 if errors else 200
