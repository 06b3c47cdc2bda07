"""The setting that lets what advertising networks match customers by be kept, or stops and erases it."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from tracker import matchkeys
from tracker.extensions import db
from tracker.models import Workspace
from tracker.web.access import signed_in

pages = Blueprint("identities", __name__)


@pages.post("/settings/match-keys")
@signed_in
def save(workspace: Workspace) -> ResponseReturnValue:
    keeps = request.form.get("keeps") == "1"
    matchkeys.set_keeping(db.session(), workspace, keeps)
    flash("Kept from the next report on." if keeps else "All of it is erased, and nothing more is kept.")
    return redirect(url_for("settings.show", _anchor="match-keys"), code=303)
