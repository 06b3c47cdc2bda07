"""Links: the list, the builder with its preview, one link with what to paste, and its edits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from tracker import campaigns, days, links, snippets
from tracker.errors import Invalid, NotFound
from tracker.extensions import db
from tracker.models import Link, Workspace
from tracker.reports import clickcosts, lastseen
from tracker.services import services
from tracker.web import preview, responses
from tracker.web.access import PAGE_SIZE, id_from_query, signed_in
from tracker.web.forms import FOLDED, LinkForm
from tracker.web.preview import Preview

pages = Blueprint("links", __name__)
responses.add_not_found(pages)

CAMPAIGNS_OFFERED = 200
KEPT_FOR_ANOTHER = ("destination", "campaign", "source", "medium", "term")


@pages.get("/links")
@signed_in
def index(workspace: Workspace) -> ResponseReturnValue:
    found = links.listed(db.session(), workspace, before_id=id_from_query("before"), limit=PAGE_SIZE + 1)
    return render_template(
        "links/index.html",
        links=found[:PAGE_SIZE],
        next_before=found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None,
        public_url=services().public_url,
    )


@pages.get("/links/new")
@signed_in
def new(workspace: Workspace) -> ResponseReturnValue:
    """The empty form, or one with what the link made just before had."""
    form = LinkForm(formdata=None)
    for name in KEPT_FOR_ANOTHER:
        form[name].data = request.args.get(name, "")
    form.code.data = request.args.get("code", "")
    return _builder(workspace, form, made=_made(workspace, request.args.get("made", "")))


@pages.post("/links/new")
@signed_in
def create(workspace: Workspace) -> ResponseReturnValue:
    form = LinkForm()
    try:
        draft = form.draft(ZoneInfo(workspace.timezone))
        link = links.create(db.session(), workspace, draft, services().own_domain)
    except Invalid as refusal:
        return _builder(workspace, form, refusal.errors), refusal.status
    if "another" in request.form:
        kept: dict[str, Any] = {name: request.form.get(name, "") for name in KEPT_FOR_ANOTHER}
        return redirect(url_for("links.new", made=link.code, **kept), code=303)
    flash("The link is made. What to paste is below.")
    return redirect(url_for("links.show", code=link.code), code=303)


@pages.get("/links/preview")
@signed_in
def preview_of(workspace: Workspace) -> ResponseReturnValue:
    """The preview alone, for the builder's script. Stores nothing."""
    form = LinkForm(formdata=request.args, meta={"csrf": False})
    return render_template("links/_preview.html", preview=_preview(workspace, form))


@pages.get("/links/<code>")
@signed_in
def show(workspace: Workspace, code: str) -> ResponseReturnValue:
    link, now = links.find(db.session(), workspace, code), days.now()
    return render_template(
        "links/show.html",
        link=link,
        pieces=preview.pieces(link.destination, link.tagged_url),
        snippets=snippets.of_link(link, services().public_url),
        site=snippets.of_workspace(workspace, services().public_url, services().settings.click_id_param),
        click_id_param=services().settings.click_id_param if link.click_id_param is None else link.click_id_param,
        last_seen=lastseen.of_links(db.session(), services().store, [link], now)[link.id],
        is_old=lastseen.may_be_older(link, now),
        currency=workspace.currency,
        costs=clickcosts.of_link(services().store, link, now) if link.cost_param else None,
    )


@pages.get("/links/<code>/edit")
@signed_in
def edit(workspace: Workspace, code: str) -> ResponseReturnValue:
    link = links.find(db.session(), workspace, code)
    form = LinkForm(formdata=None)
    form.show(link, ZoneInfo(workspace.timezone))
    return _builder(workspace, form, link=link)


@pages.post("/links/<code>/edit")
@signed_in
def save(workspace: Workspace, code: str) -> ResponseReturnValue:
    link = links.find(db.session(), workspace, code)
    form = LinkForm()
    try:
        draft = form.draft(ZoneInfo(workspace.timezone))
        links.edit(db.session(), workspace, link, form.changes(draft), services().own_domain)
    except Invalid as refusal:
        return _builder(workspace, form, refusal.errors, link=link), refusal.status
    flash("The changes are saved; the link uses them within a second.")
    return redirect(url_for("links.show", code=link.code), code=303)


@pages.post("/links/<code>/archive")
@signed_in
def archive(workspace: Workspace, code: str) -> ResponseReturnValue:
    return _set_archived(workspace, code, True, "The link is archived: it no longer leads anywhere.")


@pages.post("/links/<code>/unarchive")
@signed_in
def unarchive(workspace: Workspace, code: str) -> ResponseReturnValue:
    return _set_archived(workspace, code, False, "The link works again.")


def _set_archived(workspace: Workspace, code: str, archived: bool, message: str) -> ResponseReturnValue:
    links.set_archived(db.session(), links.find(db.session(), workspace, code), archived)
    flash(message)
    return redirect(url_for("links.show", code=code), code=303)


def _builder(
    workspace: Workspace,
    form: LinkForm,
    errors: Mapping[str, str] | None = None,
    *,
    link: Link | None = None,
    made: Link | None = None,
) -> str:
    return render_template(
        "links/form.html",
        form=form,
        errors=errors or {},
        unfolded=bool(FOLDED.intersection(errors or {}) or (link is None and form.code.data)),
        link=link,
        made=made,
        preview=_preview(workspace, form),
        campaigns=campaigns.listed(db.session(), workspace, before_id=None, limit=CAMPAIGNS_OFFERED),
        public_url=services().public_url,
        click_id_param=services().settings.click_id_param,
        currency=workspace.currency,
    )


def _preview(workspace: Workspace, form: LinkForm) -> Preview:
    try:
        draft = form.draft(ZoneInfo(workspace.timezone))
    except Invalid as refusal:
        return Preview([], [preview.Check("wrong", text) for text in refusal.errors.values()])
    return preview.of(draft, services().own_domain, services().settings.click_id_param)


def _made(workspace: Workspace, code: str) -> Link | None:
    """The link that was made before this one, so that it can be copied here."""
    try:
        return links.find(db.session(), workspace, code) if code else None
    except NotFound:
        return None
