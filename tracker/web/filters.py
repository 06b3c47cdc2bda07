"""What counts: the workspace's lists and limits, and whether this browser is counted."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from tracker import filters
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Workspace
from tracker.services import services
from tracker.web import optout
from tracker.web.access import signed_in
from tracker.web.forms import FiltersForm

pages = Blueprint("filters", __name__)


@pages.get("/settings/filters")
@signed_in
def show(workspace: Workspace) -> ResponseReturnValue:
    form = FiltersForm(formdata=None)
    form.show(workspace)
    return _page(form)


@pages.post("/settings/filters")
@signed_in
def save(workspace: Workspace) -> ResponseReturnValue:
    form = FiltersForm()
    try:
        filters.edit(db.session(), workspace, form.typed())
    except Invalid as refusal:
        return _page(form, refusal.errors), refusal.status
    flash("Saved. Hits are judged by this from now on.")
    return redirect(url_for("filters.show"), code=303)


@pages.post("/settings/filters/opt-out")
@signed_in
def opt_out(_workspace: Workspace) -> ResponseReturnValue:
    response = _back("This browser is not counted any more.")
    optout.leave_out(response)
    return response


@pages.post("/settings/filters/opt-in")
@signed_in
def opt_in(_workspace: Workspace) -> ResponseReturnValue:
    response = _back("This browser is counted again.")
    optout.count_again(response)
    return response


def _back(message: str) -> Response:
    flash(message)
    return redirect(url_for("filters.show", _anchor="browser"), code=303)


def _page(form: FiltersForm, errors: Mapping[str, str] | None = None) -> str:
    short = urlsplit(services().public_url)
    return render_template(
        "settings/filters.html",
        form=form,
        errors=errors or {},
        address=request.remote_addr,
        is_opted_out=optout.is_out(),
        # A cookie goes to the host that set it, whatever the port.
        is_at_short_domain=short.hostname == urlsplit(f"//{request.host}").hostname,
        public_url=services().public_url,
    )
