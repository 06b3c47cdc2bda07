"""The change log as pages: who changed what, of one campaign or of the workspace, notes, and what each was followed by.

`markers` is what a campaign's chart marks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from tracker import campaigns, changelog, days, links
from tracker.api.events import read_id, write_id
from tracker.campaigning import ChangeEntry
from tracker.changelog import Cursor
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Campaign, Workspace
from tracker.reports import beforeafter
from tracker.reports.campaign import Period
from tracker.services import services
from tracker.web import changewords, effects, responses
from tracker.web.access import PAGE_SIZE, signed_in
from tracker.web.changewords import Row
from tracker.web.forms import NoteForm
from tracker.web.urls import url_for

pages = Blueprint("changelog", __name__)
responses.add_not_found(pages)

CAMPAIGNS_OFFERED = 50
DAYS_OFFERED = (1, 7, 14, 28)


@dataclass(frozen=True, slots=True)
class Marker:
    """A change on a chart: when (in the workspace's zone), in one line what, its kind, and the page that tells more."""

    at: datetime
    title: str
    href: str
    kind: str


def markers(session: Session, campaign: Campaign, period: Period, zone: ZoneInfo) -> list[Marker]:
    """What happened to a campaign in a period, in the order of time; `changelog.MARKERS_MAX` at most, the latest."""
    start, end = days.bucket_range(period.first, period.last, zone)
    since, until = days.from_ms(start * days.BUCKET_MS), days.from_ms(end * days.BUCKET_MS)
    entries = changelog.markers(session, campaign, since, until)
    known = links.by_ids(session, [entry.link_id for entry in entries if entry.link_id is not None])
    return [
        Marker(
            entry.at.astimezone(zone),
            changewords.title(entry, known.get(entry.link_id or 0)),
            url_for("changelog.show", slug=campaign.slug, entry_id=entry.id),
            entry.kind,
        )
        for entry in entries
    ]


@pages.get("/changes")
@pages.get("/campaigns/<slug>/changes")
@signed_in
def index(workspace: Workspace, slug: str | None = None) -> ResponseReturnValue:
    return _index(workspace, _campaign(workspace, slug), NoteForm(formdata=None))


@pages.post("/changes/notes")
@pages.post("/campaigns/<slug>/notes")
@signed_in
def add_note(workspace: Workspace, slug: str | None = None) -> ResponseReturnValue:
    campaign, form = _campaign(workspace, slug), NoteForm()
    try:
        at = form.instant(ZoneInfo(workspace.timezone))
        changelog.note(db.session(), workspace, campaign, form.note.data or "", at)
    except Invalid as refusal:
        return _index(workspace, campaign, form, refusal.errors), refusal.status
    flash("The note is kept.")
    return redirect(url_for("changelog.index", slug=slug), code=303)


@pages.get("/changes/<int:entry_id>")
@pages.get("/campaigns/<slug>/changes/<int:entry_id>")
@signed_in
def show(workspace: Workspace, entry_id: int, slug: str | None = None) -> ResponseReturnValue:
    campaign = _campaign(workspace, slug)
    entry = changelog.find(db.session(), workspace, entry_id, campaign)
    form = NoteForm(formdata=None)
    form.show(entry, ZoneInfo(workspace.timezone))
    return _entry(workspace, campaign, entry, form)


@pages.post("/changes/<int:entry_id>")
@pages.post("/campaigns/<slug>/changes/<int:entry_id>")
@signed_in
def edit_note(workspace: Workspace, entry_id: int, slug: str | None = None) -> ResponseReturnValue:
    campaign, form = _campaign(workspace, slug), NoteForm()
    entry = changelog.find(db.session(), workspace, entry_id, campaign)
    try:
        at = form.instant(ZoneInfo(workspace.timezone))
        # The field knows no seconds: left as it was, the note stays where it is.
        at = None if at == entry.at.replace(second=0, microsecond=0) else at
        changelog.edit_note(db.session(), entry, form.note.data or "", at)
    except Invalid as refusal:
        return _entry(workspace, campaign, entry, form, refusal.errors), refusal.status
    flash("The note is changed.")
    return redirect(url_for("changelog.show", slug=slug, entry_id=entry_id), code=303)


@pages.post("/changes/<int:entry_id>/delete")
@pages.post("/campaigns/<slug>/changes/<int:entry_id>/delete")
@signed_in
def delete_note(workspace: Workspace, entry_id: int, slug: str | None = None) -> ResponseReturnValue:
    campaign = _campaign(workspace, slug)
    entry = changelog.find(db.session(), workspace, entry_id, campaign)
    try:
        changelog.delete_note(db.session(), entry)
    except Invalid as refusal:
        form = NoteForm(formdata=None)
        return _entry(workspace, campaign, entry, form, refusal.errors), refusal.status
    flash("The note is deleted.")
    return redirect(url_for("changelog.index", slug=slug), code=303)


def _campaign(workspace: Workspace, slug: str | None) -> Campaign | None:
    return None if slug is None else campaigns.find(db.session(), workspace, slug)


def _index(
    workspace: Workspace, campaign: Campaign | None, form: NoteForm, errors: Mapping[str, str] | None = None
) -> str:
    asked = {name: text for name in ("kind", "link") if (text := request.args.get(name, "").strip())}
    before = read_id(request.args.get("before", ""))
    found = _listed(workspace, campaign, asked, Cursor(*before) if before else None)
    last = found[PAGE_SIZE - 1] if len(found) > PAGE_SIZE else None
    return render_template(
        "changelog/index.html",
        campaign=campaign,
        rows=_rows(found[:PAGE_SIZE]),
        form=form,
        errors=errors or {},
        asked=asked,
        kinds=list(changewords.KINDS.items()),
        is_first=before is None,
        next_before=write_id((last.at_ms, last.id)) if last else None,
    )


def _listed(
    workspace: Workspace, campaign: Campaign | None, asked: Mapping[str, str], before: Cursor | None
) -> list[ChangeEntry]:
    """One more than a page shows. A kind or a link that there is not has no entries."""
    kind = asked.get("kind")
    code = asked.get("link", "")
    link_id = links.id_of(db.session(), workspace, code) if code and code.isprintable() else None
    if (kind and kind not in changelog.KINDS) or (code and link_id is None):
        return []
    return changelog.listed(
        db.session(), workspace, campaign=campaign, kind=kind, link_id=link_id, before=before, limit=PAGE_SIZE + 1
    )


def _rows(entries: Sequence[ChangeEntry]) -> list[Row]:
    session = db.session()
    owners, known = changelog.campaigns_of(session, entries), changelog.links_of(session, entries)
    return [
        changewords.row(entry, owners.get(entry.campaign_id or 0), known.get(entry.link_id or 0)) for entry in entries
    ]


def _entry(
    workspace: Workspace,
    campaign: Campaign | None,
    entry: ChangeEntry,
    form: NoteForm,
    errors: Mapping[str, str] | None = None,
) -> str:
    session = db.session()
    (row,) = _rows([entry])
    of = campaign or row.campaign
    length = _days_wanted()
    effect = None
    if of is not None:
        found = beforeafter.compare(session, services().store, of, entry, now=days.now(), days_wanted=length)
        effect = effects.shown(found, entry, _rows(found.others))
    return render_template(
        "changelog/show.html",
        row=row,
        entry=entry,
        campaign=of,
        is_of_campaign=campaign is not None,
        effect=effect,
        days_wanted=length,
        days_offered=DAYS_OFFERED,
        is_own_note=changelog.is_own_note(session, entry),
        form=form,
        errors=errors or {},
        campaigns=[] if of else campaigns.listed(session, workspace, before_id=None, limit=CAMPAIGNS_OFFERED),
    )


def _days_wanted() -> int:
    """How many days are compared: as the query says, else a week."""
    text = request.args.get("days", "")
    wanted = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else beforeafter.DAYS_DEFAULT
    return wanted if 1 <= wanted <= beforeafter.DAYS_MAX else beforeafter.DAYS_DEFAULT
