"""The change log over REST: who edited what, notes, and what an edit was followed by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from tracker import campaigns, changelog, days, links
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.events import read_id, write_id
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import (
    CampaignChangesQuery,
    ChangesQuery,
    EffectQuery,
    NoteEdit,
    NoteNew,
    read_body,
    read_query,
)
from tracker.api.tables import page_answer, wants_csv
from tracker.campaigning import ChangeEntry
from tracker.changelog import Cursor
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Campaign
from tracker.reports import beforeafter
from tracker.reports.beforeafter import BeforeAfter, Compared, Window
from tracker.services import services

blueprint = protected("api_changelog", __name__)


@blueprint.get("/changes")
@blueprint.get("/changes.csv")
@operation("Who changed what in the workspace, the latest first", query=ChangesQuery)
def listed() -> Response:
    query = read_query(ChangesQuery)
    slug = query["campaign"]
    return _page(query, campaigns.find(db.session(), workspace(), slug) if slug else None)


@blueprint.get("/campaigns/<slug>/changes")
@blueprint.get("/campaigns/<slug>/changes.csv")
@operation("Who changed what of a campaign, or of the workspace it is in, the latest first", query=CampaignChangesQuery)
def listed_of(slug: str) -> Response:
    return _page(read_query(CampaignChangesQuery), campaigns.find(db.session(), workspace(), slug))


@blueprint.get("/campaigns/<slug>/changes/<int:entry_id>")
@operation("A change and what it was followed by: as many days before it against those after", query=EffectQuery)
def show(slug: str, entry_id: int) -> Response:
    query, session = read_query(EffectQuery), db.session()
    campaign = campaigns.find(session, workspace(), slug)
    entry = changelog.find(session, workspace(), entry_id, campaign)
    found = beforeafter.compare(session, services().store, campaign, entry, now=days.now(), days_wanted=query["days"])
    return answer(200, _shapes(session, [entry])[0] | {"before_after": _effect(session, found)})


@blueprint.post("/notes")
@operation("Write a note on the whole workspace", body=NoteNew, answers={201: "The note"})
def create_note() -> Response:
    return _create(None)


@blueprint.post("/campaigns/<slug>/notes")
@operation("Write a note on a campaign", body=NoteNew, answers={201: "The note"})
def create_note_of(slug: str) -> Response:
    return _create(campaigns.find(db.session(), workspace(), slug))


def _create(campaign: Campaign | None) -> Response:
    content = read_body(NoteNew)
    entry = changelog.note(db.session(), workspace(), campaign, content["note"], content.get("at"))
    return answer(201, _shapes(db.session(), [entry])[0])


@blueprint.patch("/notes/<int:entry_id>")
@operation("Change a note that was written with the same token", body=NoteEdit, answers={200: "OK", 403: "Not yours"})
def edit_note(entry_id: int) -> Response:
    content = read_body(NoteEdit)
    entry = changelog.find(db.session(), workspace(), entry_id)
    changelog.edit_note(db.session(), entry, content.get("note", entry.note or ""), content.get("at"))
    return answer(200, _shapes(db.session(), [entry])[0])


@blueprint.delete("/notes/<int:entry_id>")
@operation("Delete a note that was written with the same token", answers={204: "Deleted", 403: "Not yours"})
def delete_note(entry_id: int) -> Response:
    changelog.delete_note(db.session(), changelog.find(db.session(), workspace(), entry_id))
    return Response(status=204)


def _page(query: Mapping[str, Any], campaign: Campaign | None) -> Response:
    session, cursor = db.session(), query["cursor"]
    before = read_id(cursor) if cursor is not None else None
    if cursor is not None and before is None:
        raise Invalid({"cursor": "Take the cursor from the page before."})
    link_id = links.find(session, workspace(), query["link"]).id if query["link"] else None
    found = changelog.listed(
        session,
        workspace(),
        campaign=campaign,
        kind=query["kind"],
        link_id=link_id,
        before=Cursor(*before) if before else None,
        limit=query["limit"],
    )
    last = found[-1] if len(found) == query["limit"] else None
    rows = _shapes(session, found)
    if wants_csv():
        rows = [row | {"fields": [_line(each) for each in row["fields"]]} for row in rows]
    return page_answer(rows, write_id((last.at_ms, last.id)) if last else None)


def _line(field: Mapping[str, str | None]) -> str:
    return f"{field['field']}: {field['from'] or '–'} → {field['to'] or '–'}"


def _shapes(session: Session, entries: Sequence[ChangeEntry]) -> list[dict[str, Any]]:
    owners, known = changelog.campaigns_of(session, entries), changelog.links_of(session, entries)
    return [
        {
            "id": entry.id,
            "at": shapes.instant(entry.at),
            "who": entry.who,
            "kind": entry.kind,
            "campaign": owners[entry.campaign_id].slug if entry.campaign_id else None,
            "link": known[entry.link_id].code if entry.link_id else None,
            "note": entry.note,
            "fields": [{"field": name, "from": was, "to": is_now} for name, was, is_now in entry.fields],
        }
        for entry in entries
    ]


def _effect(session: Session, found: BeforeAfter) -> dict[str, Any] | None:
    """None where there is nothing to compare: too early, or nothing had happened before."""
    if found.windows is None or found.campaign is None:
        return None
    return {
        "days": round(found.windows.before.days, 4),
        "before": _window(found.windows.before),
        "after": _window(found.windows.after),
        "campaign": _compared(found.campaign),
        "link": _compared(found.link) if found.link else None,
        "conversions_complete": None if found.complete is None else round(found.complete, shapes.COMPLETE_PLACES),
        "conversions_open_days": found.open_days,
        "other_changes": _shapes(session, found.others),
    }


def _window(window: Window) -> dict[str, str | None]:
    return {
        "from": shapes.instant(days.from_ms(window.from_ms)),
        "to": shapes.instant(days.from_ms(window.until_ms)),
    }


def _compared(found: Compared) -> dict[str, Any]:
    before, after = found.clicks_per_day
    return {
        "before": shapes.totals(found.before) | {"clicks_per_day": round(before, 2)},
        "after": shapes.totals(found.after) | {"clicks_per_day": round(after, 2)},
        "changes": {name: shapes.difference(change) for name, change in found.changes.items()},
    }
