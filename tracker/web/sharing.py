"""Who is shown what a campaign brought: secret links, made and taken back, and the list of those who get it by mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import BooleanField, DateField, FileField, PasswordField, StringField

from tracker import campaigns, days, mailing, shares, smtp
from tracker.campaigning import ReportMail, SharedReport
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Campaign, Workspace
from tracker.reports import filters
from tracker.reports.filters import NAMES
from tracker.services import services
from tracker.shares import ShareDraft
from tracker.smtp import NotSent
from tracker.web import breakdowns, responses
from tracker.web.access import signed_in
from tracker.web.breakdowns import Chip
from tracker.web.forms import select, text

pages = Blueprint("sharing", __name__)
responses.add_not_found(pages)

HOURS = {str(hour): f"{hour:02}:00" for hour in range(24)}
WEEKDAYS = {str(number): name for number, name in enumerate(mailing.WEEKDAYS)}
# The fields of the form for what the shared address calls otherwise.
FIELDS = {"from": "first", "to": "last"}


class ShareForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    title = text("Title")
    days = text("Last whole days", inputmode="numeric")
    first = DateField("First day")
    last = DateField("Last day")
    expires_on = DateField("Last day of the link")
    password = PasswordField("Password", render_kw={"autocomplete": "new-password"})
    logo = FileField("Logo", render_kw={"accept": "image/png,image/jpeg,image/webp"})
    shows_money = BooleanField("Show revenue and cost")

    def draft(self) -> ShareDraft:
        """What was typed. Filters and what else is kept come along in hidden fields."""
        typed = {name: _typed(self[name]) for name in ("days", "first", "last", "expires_on")}
        logo = request.files.get("logo")
        return ShareDraft(
            title=self.title.data or "",
            query={name: request.form.get(name) for name in (*NAMES, *shares.KEPT)}
            | {"days": typed["days"], "from": typed["first"], "to": typed["last"]},
            shows_money=bool(self.shows_money.data),
            password=self.password.data or "",
            expires_on=typed["expires_on"],
            logo=logo.stream.read(shares.LOGO_BYTES_MAX + 1) if logo else b"",
        )


class MailForm(FlaskForm):  # type: ignore[misc]
    recipient = StringField("E-mail address", render_kw={"type": "email", "autocomplete": "off"})
    weekday = select("Day", WEEKDAYS)
    hour = select("Time", HOURS)


@dataclass(frozen=True, slots=True)
class Shown:
    """A shared report in the list: what its link is, what it shows, in words."""

    share: SharedReport
    campaign: Campaign | None
    url: str
    days: str
    chips: list[Chip]
    last_day: date | None
    is_over: bool


@dataclass(frozen=True, slots=True)
class Mail:
    """Somebody on the list, and which report they get."""

    mail: ReportMail
    campaign: Campaign | None


@pages.get("/campaigns/<slug>/share")
@signed_in
def of_campaign(workspace: Workspace, slug: str) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    return _page(workspace, campaign)


@pages.post("/campaigns/<slug>/share")
@signed_in
def share_campaign(workspace: Workspace, slug: str) -> ResponseReturnValue:
    return _share(workspace, campaigns.find(db.session(), workspace, slug))


@pages.get("/shared")
@signed_in
def index(workspace: Workspace) -> ResponseReturnValue:
    return _page(workspace, None)


@pages.post("/shared")
@signed_in
def share_all(workspace: Workspace) -> ResponseReturnValue:
    return _share(workspace, None)


@pages.post("/shared/<int:share_id>/revoke")
@signed_in
def revoke(workspace: Workspace, share_id: int) -> ResponseReturnValue:
    gone = shares.revoke(db.session(), workspace, share_id, days.now())
    flash(f"“{gone.title}” is taken back: its link shows nothing any more.")
    return _back(gone.campaign_id, "shares")


@pages.post("/campaigns/<slug>/mails")
@signed_in
def mail_campaign(workspace: Workspace, slug: str) -> ResponseReturnValue:
    return _subscribe(workspace, campaigns.find(db.session(), workspace, slug))


@pages.post("/mails")
@signed_in
def mail_all(workspace: Workspace) -> ResponseReturnValue:
    return _subscribe(workspace, None)


@pages.post("/mails/<int:mail_id>/remove")
@signed_in
def unsubscribe(workspace: Workspace, mail_id: int) -> ResponseReturnValue:
    gone = mailing.remove(db.session(), workspace, mail_id)
    flash(f"{gone.recipient} gets this report no more.")
    return _back(gone.campaign_id, "mails")


@pages.post("/mails/<int:mail_id>/send")
@signed_in
def send_now(workspace: Workspace, mail_id: int) -> ResponseReturnValue:
    """One at once, beside its regular time, which stays."""
    mail = mailing.get(db.session(), workspace, mail_id)
    settings, campaign_id = services().settings, mail.campaign_id
    try:
        if settings.smtp is None:
            raise NotSent("no mail server is set.")
        with smtp.connected(settings.smtp) as connection:
            url = services().public_url
            mailing.send(db.session(), db.engine, settings, connection, mail, days.now(), url, may_retry=False)
    except NotSent as error:
        flash(f"It was not sent: {error}")
    else:
        flash(f"Sent to {mail.recipient}.")
    return _back(campaign_id, "mails")


def _share(workspace: Workspace, campaign: Campaign | None) -> ResponseReturnValue:
    form = ShareForm()
    try:
        made = shares.create(db.session(), workspace, campaign, form.draft(), by=current_user.email, now=days.now())
    except Invalid as refusal:
        errors = {FIELDS.get(name, name): error for name, error in refusal.errors.items()}
        return _page(workspace, campaign, form=form, errors=errors), refusal.status
    flash("The link is made. Whoever has it can read this report, and nothing else.")
    return _back(made.campaign_id, f"share-{made.id}")


def _subscribe(workspace: Workspace, campaign: Campaign | None) -> ResponseReturnValue:
    form = MailForm()
    try:
        made = mailing.subscribe(
            db.session(),
            workspace,
            campaign,
            form.recipient.data or "",
            _number(form.weekday.data),
            _number(form.hour.data),
            by=current_user.email,
            now=days.now(),
        )
    except Invalid as refusal:
        return _page(workspace, campaign, mail_form=form, errors=refusal.errors), refusal.status
    flash(f"{made.recipient} gets the report from now on.")
    return _back(made.campaign_id, "mails")


def _typed(field: Any) -> str:
    """A field's text as it was typed: a date that cannot be read is refused where it is used, by name."""
    return str(field.raw_data[0]).strip() if field.raw_data else ""


def _number(typed: str | None) -> int:
    """A choice's number; -1 for what is none, which nothing accepts."""
    typed = typed or ""
    return int(typed) if typed.isascii() and typed.isdecimal() and len(typed) < 4 else -1


def _back(campaign_id: int | None, anchor: str) -> Response:
    campaign = db.session().get(Campaign, campaign_id) if campaign_id else None
    where = url_for("sharing.of_campaign", slug=campaign.slug) if campaign else url_for("sharing.index")
    return redirect(f"{where}#{anchor}", code=303)


def _page(
    workspace: Workspace,
    campaign: Campaign | None,
    *,
    form: ShareForm | None = None,
    mail_form: MailForm | None = None,
    errors: Mapping[str, str] | None = None,
) -> str:
    kept = request.form if request.method == "POST" else request.args
    if form is None:
        form = ShareForm(formdata=None)
        _prefill(form, workspace, campaign)
    if mail_form is None:
        mail_form = MailForm(formdata=None)
        mail_form.weekday.data, mail_form.hour.data = "0", "8"
    return render_template(
        "shared/manage.html",
        campaign=campaign,
        form=form,
        mail_form=mail_form,
        errors=errors or {},
        kept={name: kept[name] for name in (*NAMES, *shares.KEPT) if kept.get(name)} if campaign else {},
        chips=_chips(kept) if campaign else [],
        shares=[_shown(workspace, share) for share in shares.listed(db.session(), workspace, campaign)],
        mails=[Mail(mail, _campaign(mail.campaign_id)) for mail in mailing.listed(db.session(), workspace, campaign)],
        has_smtp=services().settings.smtp is not None,
        limits=shares,
    )


def _prefill(form: ShareForm, workspace: Workspace, campaign: Campaign | None) -> None:
    """What the page that leads here shows: days that end yesterday go on rolling, others stay as they are."""
    form.title.data = campaign.name if campaign else workspace.name
    form.shows_money.data = True
    form.days.data = str(shares.DAYS_DEFAULT)
    yesterday = days.today(ZoneInfo(workspace.timezone), days.now()) - timedelta(days=1)
    first, last = request.args.get("from", type=date.fromisoformat), request.args.get("to", type=date.fromisoformat)
    if first is None or last is None or first > last:
        return
    if last == yesterday:
        form.days.data = str((last - first).days + 1)
    else:
        form.days.data, form.first.data, form.last.data = "", first, last


def _chips(kept: Mapping[str, str]) -> list[Chip]:
    try:
        return breakdowns.chips(filters.read(kept))
    except Invalid:
        return []


def _campaign(campaign_id: int | None) -> Campaign | None:
    return db.session().get(Campaign, campaign_id) if campaign_id else None


def _shown(workspace: Workspace, share: SharedReport) -> Shown:
    length = share.query.get("days")
    return Shown(
        share=share,
        campaign=_campaign(share.campaign_id),
        url=f"{services().public_url}{url_for('shared.show', token=share.token)}",
        days=f"The last {length} whole days" if length else f"{share.query['from']} to {share.query['to']}",
        chips=_chips(share.query),
        last_day=shares.last_day(share, workspace),
        is_over=share.expires_at is not None and share.expires_at <= days.now(),
    )
