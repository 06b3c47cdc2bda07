"""Audiences: the list of them, the builder of their rules, what one is made of, and its lists for networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import days, money
from tracker.audiences import insights, lists, rules, store, who
from tracker.audiences.rules import Clicked, Converted, Rule
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Campaign, Conversion, Workspace
from tracker.reported import Audience
from tracker.web import rulewords
from tracker.web.access import id_from_query, signed_in
from tracker.web.responses import add_not_found

pages = Blueprint("audiences", __name__)
add_not_found(pages)
CAMPAIGNS_MAX = 500  # that can be chosen from, the newest
RECENT_MAX = 10_000  # conversions that are looked at for goals and currencies to suggest
SUGGESTED_MAX = 50
TYPED_MAX = 300  # characters of a text


@dataclass(slots=True)
class Typed:
    """An audience as it is typed: its name, and the texts of each rule."""

    name: str = ""
    rows: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def posted(cls) -> Typed:
        """What the form holds, at most one rule more than there may be, so that it is refused by name."""
        numbers = request.form.getlist("row")[: rules.RULES_MAX + 1]
        return cls(request.form.get("name", "")[:TYPED_MAX], [_posted_row(number) for number in numbers])


def _posted_row(number: str) -> dict[str, str]:
    names = ("kind", "negated", *rulewords.PARAMETERS)
    texts = {name: request.form.get(f"{name}-{number}", "")[:TYPED_MAX] for name in names}
    return {name: text for name, text in texts.items() if text}


@pages.get("/audiences")
@signed_in
def index(workspace: Workspace) -> ResponseReturnValue:
    session = db.session()
    audiences = store.all_of(session, workspace)
    names = _names(workspace, [row for audience in audiences for row in audience.rules])
    shown = [(audience, _told(rules.read(audience.rules, names), names)) for audience in audiences]
    return render_template("audiences/index.html", audiences=shown, starts=rulewords.STARTS, workspace=workspace)


@pages.get("/audiences/new")
@signed_in
def new(workspace: Workspace) -> ResponseReturnValue:
    newest = next((str(campaign.id) for campaign in _campaigns(workspace)), "")
    typed = Typed(*rulewords.start(request.args.get("start"), newest, workspace.currency))
    return _builder(workspace, typed, None)


@pages.post("/audiences/new")
@signed_in
def create(workspace: Workspace) -> ResponseReturnValue:
    return _on_posted(workspace, None)


@pages.get("/audiences/<int:audience_id>")
@signed_in
def show(workspace: Workspace, audience_id: int) -> ResponseReturnValue:
    session, now = db.session(), days.now()
    audience = store.get(session, workspace, audience_id)
    found = _rules_of(workspace, audience)
    beside = _beside(workspace, found)
    return render_template(
        "audiences/show.html",
        audience=audience,
        told=_told(found, _names(workspace, audience.rules)),
        size=who.size(session, workspace, found, now),
        limit=lists.LIST_MAX,
        currencies=_suggested(workspace, Conversion.currency) or [workspace.currency],
        workspace=workspace,
        insights=insights.describe(session, workspace, found, beside, now),
        people_min=insights.PEOPLE_MIN,
        beside=beside,
        campaigns=_campaigns(workspace),
        words_of=rulewords,
    )


@pages.get("/audiences/<int:audience_id>/edit")
@signed_in
def edit(workspace: Workspace, audience_id: int) -> ResponseReturnValue:
    audience = store.get(db.session(), workspace, audience_id)
    return _builder(workspace, Typed(audience.name, [dict(row) for row in audience.rules]), audience)


@pages.post("/audiences/<int:audience_id>/edit")
@signed_in
def save(workspace: Workspace, audience_id: int) -> ResponseReturnValue:
    return _on_posted(workspace, store.get(db.session(), workspace, audience_id))


@pages.post("/audiences/<int:audience_id>/delete")
@signed_in
def delete(workspace: Workspace, audience_id: int) -> ResponseReturnValue:
    store.delete(db.session(), store.get(db.session(), workspace, audience_id))
    flash("The audience is deleted. Its customers and what they bought stay.")
    return redirect(url_for("audiences.index"), code=303)


@pages.get("/audiences/<int:audience_id>/<network>.csv")
@signed_in
def export(workspace: Workspace, audience_id: int, network: str) -> ResponseReturnValue:
    """A customer list, sent as it is read; whatever is wrong shows before the first line is sent."""
    now, audience = days.now(), store.get(db.session(), workspace, audience_id)
    currency = request.args.get("currency", workspace.currency)
    if network not in lists.HEADERS:
        abort(404)
    if not money.is_currency(currency):
        abort(400)
    found = _lines(workspace, _rules_of(workspace, audience), network, currency, now)
    first = next(found)
    response = Response(chain([first], found), mimetype="text/csv")
    name = lists.file_name(audience, network, now, ZoneInfo(workspace.timezone))
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _lines(workspace: Workspace, found: Sequence[Rule], network: str, currency: str, now: datetime) -> Iterator[str]:
    """The lines of a list, by a session of its own: that of the request has ended when they are sent."""
    with Session(db.engine) as session:
        yield from lists.pages(session, workspace, found, network, currency, now)


def _on_posted(workspace: Workspace, audience: Audience | None) -> ResponseReturnValue:
    """What the pressed button asks for: a row more or less, a look at the size, or that it be stored."""
    typed, wanted = Typed.posted(), request.form.get("do", "save")
    if wanted == "add":
        # One more than may be is shown as it is refused.
        kind = request.form.get("kind", "")
        typed.rows += [{"kind": kind}] if kind in rulewords.KINDS and len(typed.rows) < rules.RULES_MAX else []
        return _builder(workspace, typed, audience)
    if wanted.startswith("remove-"):
        typed.rows = [row for number, row in enumerate(typed.rows) if wanted != f"remove-{number}"]
        return _builder(workspace, typed, audience)
    if wanted == "preview":
        return _builder(workspace, typed, audience, tells_errors=True)
    try:
        audience = _store(workspace, audience, typed)
    except Invalid as refusal:
        return _builder(workspace, typed, audience, errors=refusal.errors), refusal.status
    flash("The audience is saved.")
    return redirect(url_for("audiences.show", audience_id=audience.id), code=303)


def _store(workspace: Workspace, audience: Audience | None, typed: Typed) -> Audience:
    session = db.session()
    if audience is None:
        return store.create(session, workspace, typed.name, typed.rows)
    store.edit(session, workspace, audience, typed.name, typed.rows)
    return audience


def _builder(
    workspace: Workspace,
    typed: Typed,
    audience: Audience | None,
    *,
    errors: Mapping[str, str] | None = None,
    tells_errors: bool = False,
) -> str:
    """The form with what was typed, and how many it would be where its rules can be read."""
    session = db.session()
    size = None
    try:
        found = store.read(session, workspace, typed.rows)
        size = who.size(session, workspace, found, days.now())
    except Invalid as refusal:
        errors = errors or (refusal.errors if tells_errors else {})
    return render_template(
        "audiences/form.html",
        audience=audience,
        typed=typed,
        errors=errors or {},
        size=size,
        campaigns=_campaigns(workspace, {row.get("campaign", "") for row in typed.rows}),
        goals=_suggested(workspace, Conversion.goal),
        currencies=_suggested(workspace, Conversion.currency) or [workspace.currency],
        words_of=rulewords,
        parameters=rules.PARAMETERS,
        needed=rules.NEEDED,
        rules_max=rules.RULES_MAX,
        workspace=workspace,
    )


def _rules_of(workspace: Workspace, audience: Audience) -> list[Rule]:
    """The rules of a stored audience, which were right when it was stored."""
    return store.read(db.session(), workspace, audience.rules)


def _told(found: Sequence[Rule], names: Mapping[int, str]) -> list[tuple[bool, str]]:
    """Rules in words, and whether each is negated."""
    return [(rule.negated, rulewords.sentence(rule.condition, names)) for rule in found]


def _names(workspace: Workspace, rows: Sequence[Mapping[str, str]]) -> dict[int, str]:
    """The names of the workspace's campaigns that rules speak of."""
    return {campaign.id: campaign.name for campaign in _of_ids(workspace, {row.get("campaign", "") for row in rows})}


def _beside(workspace: Workspace, found: Sequence[Rule]) -> Campaign | None:
    """The campaign that is compared with: the one asked for, else the only one that the rules name."""
    asked = id_from_query("beside")
    if asked is None and "beside" not in request.args:
        named = {
            rule.condition.campaign_id
            for rule in found
            if isinstance(rule.condition, Clicked | Converted) and not rule.negated and rule.condition.campaign_id
        }
        asked = named.pop() if len(named) == 1 else None
    campaign = None if asked is None else db.session().get(Campaign, asked)
    return campaign if campaign is not None and campaign.workspace_id == workspace.id else None


def _campaigns(workspace: Workspace, chosen: Set[str] = frozenset()) -> list[Campaign]:
    """Campaigns to choose from, the newest first, and those that are chosen already."""
    own = select(Campaign).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id.desc())
    found = list(db.session().scalars(own.limit(CAMPAIGNS_MAX)))
    return found + _of_ids(workspace, chosen - {str(campaign.id) for campaign in found})


def _of_ids(workspace: Workspace, texts: Set[str]) -> list[Campaign]:
    """The workspace's campaigns of these ids, as they are typed or kept."""
    ids = sorted(int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) < 10)
    own = select(Campaign).where(Campaign.workspace_id == workspace.id, Campaign.id.in_(ids))
    return list(db.session().scalars(own)) if ids else []


def _suggested(workspace: Workspace, column: Any) -> list[str]:
    """Values that recent conversions have, by name."""
    recent = select(column.label("value")).where(Conversion.workspace_id == workspace.id, column.is_not(None))
    some = recent.order_by(Conversion.id.desc()).limit(RECENT_MAX).subquery()
    return list(db.session().scalars(select(some.c.value).distinct().order_by(some.c.value).limit(SUGGESTED_MAX)))
