"""Who may report conversions by callback: signatures and their secrets, addresses, how often."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from tracker import callers, signing
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Workspace
from tracker.services import services
from tracker.web import responses
from tracker.web.access import signed_in
from tracker.web.forms import CallersForm

pages = Blueprint("callers", __name__)
responses.add_not_found(pages)


@pages.get("/settings/callback")
@signed_in
def show(workspace: Workspace) -> ResponseReturnValue:
    return _page(workspace)


@pages.post("/settings/callback")
@signed_in
def save(workspace: Workspace) -> ResponseReturnValue:
    form = CallersForm()
    try:
        callers.edit(db.session(), workspace, form.typed())
    except Invalid as refusal:
        return _page(workspace, form=form, errors=refusal.errors), refusal.status
    flash("Saved. Callbacks are judged by this from now on.")
    return redirect(url_for("callers.show"), code=303)


@pages.post("/settings/callback/secrets")
@signed_in
def create_secret(workspace: Workspace) -> ResponseReturnValue:
    """Answers with the page itself: a secret that went through a redirect would have to be kept on the way."""
    try:
        secret = signing.create(db.session(), workspace)
    except Invalid as refusal:
        return _page(workspace, errors=refusal.errors), refusal.status
    return _page(workspace, secret=secret), 201


@pages.post("/settings/callback/secrets/<int:secret_id>/revoke")
@signed_in
def revoke_secret(workspace: Workspace, secret_id: int) -> ResponseReturnValue:
    signing.revoke(db.session(), workspace, secret_id)
    flash("The secret is revoked: nothing that is signed with it is taken any more.")
    return redirect(url_for("callers.show", _anchor="secrets"), code=303)


def _page(
    workspace: Workspace,
    *,
    form: CallersForm | None = None,
    errors: Mapping[str, str] | None = None,
    secret: str | None = None,
) -> str:
    if form is None:
        form = CallersForm(formdata=None)
        form.show(workspace)
    return render_template(
        "settings/callback.html",
        workspace=workspace,
        form=form,
        errors=errors or {},
        secrets=signing.in_force(db.session(), workspace),
        secrets_max=signing.SECRETS_MAX,
        secret=secret,
        public_url=services().public_url,
    )
