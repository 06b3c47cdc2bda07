"""What to paste where, filled in with the workspace's own key."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from tracker import snippets
from tracker.models import Workspace
from tracker.services import services
from tracker.web.access import signed_in

pages = Blueprint("install", __name__)
RECIPES = (
    "convert",
    "strict",
    "consent",
    "tagmanager",
    "tagmanager-sale",
    "woocommerce",
    "shopify-theme",
    "shopify-pixel",
    "flask",
    "php",
    "nginx",
)


@pages.get("/install")
@signed_in
def install(workspace: Workspace) -> ResponseReturnValue:
    public_url, param = services().public_url, services().settings.click_id_param
    return render_template(
        "install/index.html",
        workspace=workspace,
        site=snippets.of_workspace(workspace, public_url, param),
        recipes=recipes(snippets.Site(public_url, workspace.key, workspace.currency, param)),
    )


def recipes(site: snippets.Site) -> dict[str, str]:
    """Each recipe by its name, ready to be pasted. Files of their own, for they are code of other languages."""
    return {name: render_template(f"install/recipes/{name}.txt", site=site) for name in RECIPES}
