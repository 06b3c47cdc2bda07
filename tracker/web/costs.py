"""What was spent on a campaign: entered, listed, changed and taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from sqlalchemy import select
from wtforms import StringField

from tracker import campaigns, costs, days
from tracker.campaigning import Cost
from tracker.costs import Typed
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Campaign, Link, Workspace
from tracker.web import forms, responses, words
from tracker.web.access import PAGE_SIZE, id_from_query, signed_in

pages = Blueprint("costs", __name__)
responses.add_not_found(pages)

LINKS_MAX = 500  # that can be chosen from, the newest
MONTHS_SHOWN = 24
WHOLE = "The whole campaign"


class CostForm(FlaskForm):  # type: ignore[misc]
    """Names are those of `costs.Typed`, so that its errors find their field; `link` is a source or a link."""

    first_on = StringField("First day", render_kw={"type": "date"})
    last_on = StringField("Last day", render_kw={"type": "date"})
    amount = forms.text("Amount", inputmode="decimal")
    currency = StringField("Currency", render_kw={"list": "currencies", "maxlength": "3", "autocomplete": "off"})
    link = forms.select("Spent on", {})

    def typed(self) -> Typed:
        kind, _, value = (self.link.data or "").partition(":")
        return Typed(
            first_on=self.first_on.data or "",
            last_on=self.last_on.data or "",
            amount=self.amount.data or "",
            currency=self.currency.data or "",
            source=value if kind == "source" else "",
            link=value if kind == "link" else "",
        )

    def offer(self, campaign: Campaign, kept: str = "") -> None:
        """What it can be spent on: the campaign, one of its sources or links, or what is stored."""
        query = select(Link).where(Link.campaign_id == campaign.id).order_by(Link.id.desc()).limit(LINKS_MAX)
        links = list(db.session().scalars(query))
        sources = sorted({link.source for link in links})
        choices = {"": WHOLE} | {f"source:{source}": f"Source: {source}" for source in sources}
        choices |= {f"link:{link.code}": f"Link: {_called(link)}" for link in links}
        if kept not in choices:
            choices[kept] = kept.replace(":", ": ", 1).capitalize()
        self.link.choices = list(choices.items())


def _called(link: Link) -> str:
    where = " / ".join(filter(None, (link.source, link.medium, link.content)))
    return f"{link.title or link.code} ({where})"


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry as it stands in the list."""

    cost: Cost
    spent_on: str

    @property
    def origin(self) -> str:
        return words.COST_ORIGINS[self.cost.origin]


@pages.get("/campaigns/<slug>/costs")
@signed_in
def index(workspace: Workspace, slug: str) -> ResponseReturnValue:
    return _page(workspace, campaigns.find(db.session(), workspace, slug))


@pages.post("/campaigns/<slug>/costs")
@signed_in
def add(workspace: Workspace, slug: str) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    form = CostForm()
    try:
        entry = costs.check(db.session(), workspace, campaign, form.typed())
        stored = costs.put(db.session(), workspace, [entry], origin="form", now=days.now())
    except Invalid as refusal:
        return _page(workspace, campaign, form, refusal.errors), refusal.status
    flash("The cost is stored." if stored.added else "It took the place of the cost of the same days.")
    return redirect(url_for("costs.index", slug=slug), code=303)


@pages.get("/campaigns/<slug>/costs/<int:cost_id>")
@signed_in
def show(workspace: Workspace, slug: str, cost_id: int) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    cost = costs.find(db.session(), campaign, cost_id)
    form = CostForm(formdata=None)
    form.first_on.data, form.last_on.data = cost.first_on.isoformat(), cost.last_on.isoformat()
    form.amount.data, form.currency.data = cost.money.amount, cost.currency
    form.link.data = _chosen(cost)
    return _edit_page(campaign, cost, form)


@pages.post("/campaigns/<slug>/costs/<int:cost_id>")
@signed_in
def edit(workspace: Workspace, slug: str, cost_id: int) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    cost, form = costs.find(db.session(), campaign, cost_id), CostForm()
    try:
        counts = {name: str(n) for name in ("impressions", "clicks") if (n := getattr(cost, name)) is not None}
        entry = costs.check(db.session(), workspace, campaign, replace(form.typed(), **counts))
        costs.edit(db.session(), workspace, cost, entry, now=days.now())
    except Invalid as refusal:
        return _edit_page(campaign, cost, form, refusal.errors), refusal.status
    flash("The cost is changed.")
    return redirect(url_for("costs.index", slug=slug), code=303)


@pages.post("/campaigns/<slug>/costs/<int:cost_id>/remove")
@signed_in
def remove(workspace: Workspace, slug: str, cost_id: int) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    costs.remove(db.session(), workspace, costs.find(db.session(), campaign, cost_id))
    flash("The cost is gone.")
    return redirect(url_for("costs.index", slug=slug), code=303)


def _page(
    workspace: Workspace, campaign: Campaign, form: CostForm | None = None, errors: Mapping[str, str] | None = None
) -> str:
    session = db.session()
    if form is None:
        form = CostForm(formdata=None)
        form.currency.data = workspace.currency
    form.offer(campaign)
    found = costs.listed(session, campaign, before_id=id_from_query("before"), limit=PAGE_SIZE + 1)
    doubts = costs.doubts(session, campaign)
    called = _scopes({cost.scope for cost in found} | {doubt.scope for doubt in doubts})
    return render_template(
        "costs/index.html",
        campaign=campaign,
        form=form,
        errors=errors or {},
        rows=[Shown(cost, called[cost.scope]) for cost in found[:PAGE_SIZE]],
        next_before=found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None,
        months=costs.by_month(session, campaign)[:MONTHS_SHOWN],
        doubts=[
            (called[each.scope], [words.COST_ORIGINS[origin] for origin in each.origins], each)
            for each in doubts[: costs.DOUBTS_SHOWN]
        ],
        doubts_left=max(len(doubts) - costs.DOUBTS_SHOWN, 0),
    )


def _scopes(scopes: set[str]) -> dict[str, str]:
    """What each scope is called."""
    ids = [int(scope[5:]) for scope in scopes if scope.startswith("link:")]
    known = {f"link:{link.id}": _called(link) for link in db.session().scalars(select(Link).where(Link.id.in_(ids)))}
    return {scope: known.get(scope) or scope.replace(":", ": ", 1) or WHOLE.lower() for scope in scopes}


def _chosen(cost: Cost) -> str:
    """The value of the choice that an entry's scope is."""
    code = costs.codes(db.session(), [cost]).get(cost.link_id or 0)
    return f"link:{code}" if code else cost.scope


def _edit_page(campaign: Campaign, cost: Cost, form: CostForm, errors: Mapping[str, str] | None = None) -> str:
    form.offer(campaign, _chosen(cost))
    return render_template("costs/edit.html", campaign=campaign, cost=cost, form=form, errors=errors or {})
