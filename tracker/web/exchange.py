"""Exchange rates: what other currencies are worth in the workspace's."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import StringField

from tracker import rates
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Workspace
from tracker.web import forms, responses
from tracker.web.access import signed_in

pages = Blueprint("exchange", __name__)
responses.add_not_found(pages)

SHOWN_MAX = 200


class RateForm(FlaskForm):  # type: ignore[misc]
    """Names are those that `rates.check` names in its errors."""

    currency = StringField("Currency", render_kw={"list": "currencies", "maxlength": "3", "autocomplete": "off"})
    from_on = StringField("From this day on", render_kw={"type": "date"})
    rate = forms.text("One unit is worth", inputmode="decimal", placeholder="0.9215")


@pages.get("/settings/rates")
@signed_in
def show(workspace: Workspace) -> ResponseReturnValue:
    return _page(workspace, RateForm(formdata=None))


@pages.post("/settings/rates")
@signed_in
def save(workspace: Workspace) -> ResponseReturnValue:
    form = RateForm()
    try:
        typed = (form.currency.data or "", form.from_on.data or "", form.rate.data or "")
        rates.put(db.session(), workspace, [rates.check(workspace, *typed)])
    except Invalid as refusal:
        return _page(workspace, form, refusal.errors), refusal.status
    flash("The rate is stored. Reports reckon with it from now on, those of past days as well.")
    return redirect(url_for("exchange.show"), code=303)


@pages.post("/settings/rates/remove")
@signed_in
def remove(workspace: Workspace) -> ResponseReturnValue:
    day = rates.day_of(request.form.get("from_on", ""))
    if day is not None:
        rates.put(db.session(), workspace, [], [(request.form.get("currency", "")[:3], day)])
    flash("The rate is gone.")
    return redirect(url_for("exchange.show"), code=303)


def _page(workspace: Workspace, form: RateForm, errors: Mapping[str, str] | None = None) -> str:
    found = rates.listed(db.session(), workspace)
    return render_template(
        "settings/rates.html",
        base=workspace.currency,
        form=form,
        errors=errors or {},
        rates=found[:SHOWN_MAX],
        left=max(len(found) - SHOWN_MAX, 0),
    )
