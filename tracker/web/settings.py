"""The workspace's settings and its API tokens."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from tracker import accounts, days
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Workspace
from tracker.reports import attention
from tracker.services import services
from tracker.web.access import signed_in
from tracker.web.forms import SettingsForm, TokenForm

pages = Blueprint("settings", __name__)


@pages.get("/settings")
@signed_in
def show(workspace: Workspace) -> ResponseReturnValue:
    return _page(workspace)


@pages.post("/settings")
@signed_in
def save(workspace: Workspace) -> ResponseReturnValue:
    form = SettingsForm()
    name, timezone, currency = form.values()
    fallback_url, own = form.fallback_url.data or "", services().own_domain
    try:
        accounts.edit_workspace(db.session(), workspace, name, timezone, currency, fallback_url, own)
    except Invalid as refusal:
        return _page(workspace, form=form, errors=refusal.errors), refusal.status
    flash("The settings are saved.")
    return redirect(url_for("settings.show"), code=303)


@pages.post("/settings/tokens")
@signed_in
def create_token(workspace: Workspace) -> ResponseReturnValue:
    """Answers with the page itself: a token that went through a redirect would have to be kept somewhere on the way."""
    form = TokenForm()
    try:
        secret = accounts.create_token(db.session(), workspace, form.name.data or "")
    except Invalid as refusal:
        return _page(workspace, token_form=form, errors=refusal.errors), refusal.status
    return _page(workspace, secret=secret), 201


@pages.post("/settings/tokens/<int:token_id>/revoke")
@signed_in
def revoke_token(workspace: Workspace, token_id: int) -> ResponseReturnValue:
    accounts.revoke_token(db.session(), workspace, token_id)
    flash("The token is revoked.")
    return redirect(url_for("settings.show"), code=303)


def _page(
    workspace: Workspace,
    *,
    form: SettingsForm | None = None,
    token_form: TokenForm | None = None,
    errors: Mapping[str, str] | None = None,
    secret: str | None = None,
) -> str:
    if form is None:
        form = SettingsForm(formdata=None)
        form.workspace.data, form.timezone.data = workspace.name, workspace.timezone
        form.currency.data, form.fallback_url.data = workspace.currency, workspace.fallback_url
    health = services().health(days.to_ms(days.now()))
    return render_template(
        "settings/index.html",
        workspace=workspace,
        form=form,
        token_form=token_form or TokenForm(formdata=None),
        errors=errors or {},
        health=health,
        needs=attention.of_machine(health),
        tokens=accounts.tokens(db.session(), workspace),
        secret=secret,
        public_url=services().public_url,
        countries=services().fresh_countries(),
    )
