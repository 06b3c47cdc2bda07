"""What to paste where, filled in with the workspace's own key."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from tracker import snippets
from tracker.models import Workspace
from tracker.services import services
from tracker.web.access import signed_in

pages = Blueprint("install", __name__)


@pages.get("/install")
@signed_in
def install(workspace: Workspace) -> ResponseReturnValue:
    return render_template(
        "install/index.html",
        workspace=workspace,
        site=snippets.of_workspace(workspace, services().public_url, services().settings.click_id_param),
    )
