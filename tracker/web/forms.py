"""The forms: fields, labels and what was typed. Whether a value will do is decided where it is stored, not here."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from flask_wtf import FlaskForm
from wtforms import PasswordField, SelectField, StringField, TextAreaField

from tracker import callers
from tracker.campaigning import ChangeEntry
from tracker.campaigns import Budget
from tracker.changelog import NOTE_MAX
from tracker.errors import Invalid
from tracker.filters import Typed
from tracker.links import QUERY_MODES, REDIRECT_CODES, REFERRER_POLICIES, LinkDraft
from tracker.models import Campaign, Link, Workspace
from tracker.web import words

PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
CLICK_ID_CHOICES = {
    "default": "Add it under the usual name",
    "named": "Add it under another name",
    "off": "Do not add it",
}
# Fields that lie in the folded part of the form: an error in one of them opens it.
FOLDED = frozenset(
    {"code", "id", "title", "tags", "expires_at", "fallback_url"}
    | {"query_mode", "redirect_code", "click_id", "click_id_param", "referrer_policy", "cost_param", "cost_currency"}
)
ZONES = sorted(available_timezones() - {"localtime"})
LOCAL_TIME = "%Y-%m-%dT%H:%M"


def text(label: str, **attributes: str) -> StringField:
    return StringField(label, render_kw=PLAIN | attributes)


def lines(label: str) -> TextAreaField:
    """A list with an entry a line."""
    return TextAreaField(label, render_kw=PLAIN | {"rows": "4"})


def select(label: str, options: dict[str, str]) -> SelectField:
    """A choice of values, each with its label."""
    choices: Any = options  # the stubs know only the spellings that WTForms has deprecated
    return SelectField(label, choices=choices)


class LinkForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """A link as it is typed. Field names are LinkDraft's, so that its errors find their field."""

    destination = text("Destination", inputmode="url", placeholder="https://shop.example/sale")
    campaign = text("Campaign", list="campaigns")
    source = text("Source", placeholder="newsletter")
    medium = text("Medium", placeholder="email")
    content = text("Content")
    term = text("Term")
    code = text("Short code")
    id = text("Campaign id")
    title = text("Title")
    tags = text("Tags")
    expires_at = StringField("Expires", render_kw={"type": "datetime-local"})
    fallback_url = text("Where to once it has expired", inputmode="url")
    query_mode = select("The visitor's parameters", {mode: words.QUERY_MODES[mode] for mode in QUERY_MODES})
    redirect_code = select("Redirect", {str(n): words.REDIRECT_CODES[n] for n in REDIRECT_CODES})
    click_id = select("Click id", CLICK_ID_CHOICES)
    click_id_param = text("Name of the click id")
    referrer_policy = select("Referrer policy", dict(zip(REFERRER_POLICIES, REFERRER_POLICIES, strict=True)))
    cost_param = text("Cost of a click", placeholder="cost")
    cost_currency = text("Currency of the cost", list="currencies", maxlength="3")

    def draft(self, zone: ZoneInfo) -> LinkDraft:
        """What was typed, as a draft. Raises Invalid for an instant that cannot be read."""
        return LinkDraft(
            destination=self.destination.data or "",
            campaign=self.campaign.data or "",
            source=self.source.data or "",
            medium=self.medium.data or "",
            term=self.term.data or None,
            content=self.content.data or None,
            id=self.id.data or None,
            code=self.code.data or None,
            title=self.title.data or None,
            tags=tuple((self.tags.data or "").split(",")),
            expires_at=_instant(self.expires_at.data, zone),
            redirect_code=_whole(self.redirect_code.data or str(REDIRECT_CODES[0])),
            query_mode=self.query_mode.data or QUERY_MODES[0],
            click_id_param=self._click_id_param(),
            referrer_policy=self.referrer_policy.data or REFERRER_POLICIES[0],
            fallback_url=self.fallback_url.data or None,
            cost_param=self.cost_param.data or None,
            cost_currency=self.cost_currency.data or None,
        )

    def changes(self, draft: LinkDraft) -> dict[str, Any]:
        """What an edit changes: everything but the code, which has no field there."""
        return {field.name: getattr(draft, field.name) for field in fields(draft) if field.name != "code"}

    def _click_id_param(self) -> str | None:
        if self.click_id.data == "named":
            return (self.click_id_param.data or "").strip() or None
        return "" if self.click_id.data == "off" else None

    def show(self, link: Link, zone: ZoneInfo) -> None:
        """Fills the fields from a stored link."""
        same = "destination", "source", "medium", "content", "term", "title", "fallback_url", "code"
        for name in (*same, "cost_param", "cost_currency"):
            self[name].data = getattr(link, name)
        self.campaign.data, self.id.data, self.tags.data = link.campaign.utm_campaign, link.utm_id, ", ".join(link.tags)
        self.query_mode.data, self.referrer_policy.data = link.query_mode, link.referrer_policy
        self.redirect_code.data = str(link.redirect_code)
        self.expires_at.data = link.expires_at.astimezone(zone).strftime(LOCAL_TIME) if link.expires_at else ""
        self.click_id.data = "default" if link.click_id_param is None else "named" if link.click_id_param else "off"
        self.click_id_param.data = link.click_id_param


def _whole(typed: str) -> int:
    """A number, or 0, which no field of ours accepts."""
    return int(typed) if typed.isascii() and typed.isdecimal() and len(typed) < 10 else 0


def _instant(typed: str | None, zone: ZoneInfo, field: str = "expires_at") -> datetime | None:
    typed = (typed or "").strip()
    if not typed:
        return None
    try:
        local = datetime.fromisoformat(typed)
        return (local if local.tzinfo else local.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid({field: "An instant is written like 2026-12-31T23:59."}) from None


class SignInForm(FlaskForm):  # type: ignore[misc]
    email = StringField("E-mail address", render_kw={"type": "email", "autocomplete": "username"})
    password = PasswordField("Password", render_kw={"autocomplete": "current-password"})


class WorkspaceForm(FlaskForm):  # type: ignore[misc]
    workspace = StringField("Workspace", render_kw={"autocomplete": "organization"})
    timezone = select("Time zone", dict(zip(ZONES, ZONES, strict=True)))
    currency = StringField("Currency", render_kw={"list": "currencies", "maxlength": "3", "autocomplete": "off"})

    def values(self) -> tuple[str, str, str]:
        """Name, zone and currency as typed."""
        return self.workspace.data or "", self.timezone.data or "", (self.currency.data or "").strip().upper()


class SettingsForm(WorkspaceForm):
    fallback_url = text("Where unknown links lead", inputmode="url")


class FiltersForm(FlaskForm):  # type: ignore[misc]
    """Names are those of `filters.Typed`, so that its errors find their field."""

    excluded_ranges = lines("Excluded addresses")
    blocked_agents = lines("Blocked user agents")
    allowed_agents = lines("Allowed user agents")
    double_click_s = text("Double click, in seconds", inputmode="numeric")
    flood_per_min = text("Hits a minute", inputmode="numeric")

    def typed(self) -> Typed:
        """What was typed, as it is."""
        return Typed(**{field.name: self[field.name].data or "" for field in fields(Typed)})

    def show(self, workspace: Workspace) -> None:
        """Fills the fields from what is stored."""
        for field in fields(Typed):
            stored = getattr(workspace, field.name)
            self[field.name].data = "\n".join(stored) if isinstance(stored, list) else str(stored)


class CallersForm(FlaskForm):  # type: ignore[misc]
    """Names are those of `callers.Typed`, so that its errors find their field."""

    signature_mode = select("Signatures", words.SIGNATURE_MODES)
    callback_ranges = lines("Addresses")
    callbacks_per_min = text("Reports a minute", inputmode="numeric")

    def typed(self) -> callers.Typed:
        """What was typed, as it is."""
        return callers.Typed(**{field.name: self[field.name].data or "" for field in fields(callers.Typed)})

    def show(self, workspace: Workspace) -> None:
        """Fills the fields from what is stored."""
        for field in fields(callers.Typed):
            stored = getattr(workspace, field.name)
            self[field.name].data = "\n".join(stored) if isinstance(stored, list) else str(stored)


class CampaignForm(FlaskForm):  # type: ignore[misc]
    name = text("Name")
    attribution_model = select("Model of attribution", {word: names[0] for word, names in words.MODELS.items()})
    click_window_days = text("Days after a click", inputmode="numeric")
    view_window_days = text("Days after a view", inputmode="numeric")
    budget = text("Budget", inputmode="decimal", placeholder="1500.00")
    budget_currency = StringField("Currency", render_kw={"list": "currencies", "maxlength": "3", "autocomplete": "off"})

    def values(self) -> dict[str, Any]:
        """What was typed; days that are no number come out as one that no window has."""
        found: dict[str, Any] = {"name": self.name.data or "", "attribution_model": self.attribution_model.data}
        for field in (self.click_window_days, self.view_window_days):
            typed = (field.data or "").strip()
            found[field.short_name] = int(typed) if typed.isascii() and typed.isdecimal() and len(typed) < 6 else -1
        currency = (self.budget_currency.data or "").strip().upper()
        return found | {"budget": Budget((self.budget.data or "").strip(), currency)}

    def show(self, campaign: Campaign, currency: str) -> None:
        """Fills the fields from what is stored."""
        self.name.data, self.attribution_model.data = campaign.name, campaign.attribution_model
        self.click_window_days.data = str(campaign.click_window_days)
        self.view_window_days.data = str(campaign.view_window_days)
        self.budget.data = campaign.budget.amount if campaign.budget else ""
        self.budget_currency.data = campaign.budget.currency if campaign.budget else currency


class NoteForm(FlaskForm):  # type: ignore[misc]
    note = TextAreaField("Note", render_kw={"rows": "3", "maxlength": str(NOTE_MAX)})
    at = StringField("When", render_kw={"type": "datetime-local"})

    def instant(self, zone: ZoneInfo) -> datetime | None:
        """When it was, as typed in the workspace's zone; None for now. Raises Invalid."""
        return _instant(self.at.data, zone, "at")

    def show(self, entry: ChangeEntry, zone: ZoneInfo) -> None:
        """Fills the fields from what is stored."""
        self.note.data, self.at.data = entry.note, entry.at.astimezone(zone).strftime(LOCAL_TIME)


class SetUpForm(WorkspaceForm):
    email = StringField("E-mail address", render_kw={"type": "email", "autocomplete": "username"})
    password = PasswordField("Password", render_kw={"autocomplete": "new-password"})


class TokenForm(FlaskForm):  # type: ignore[misc]
    name = StringField("Name", render_kw={"autocomplete": "off", "placeholder": "nightly report"})
