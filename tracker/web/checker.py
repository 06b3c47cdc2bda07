"""The page checker: an address or a link in, what is wrong with the page by name out."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import Blueprint, current_app, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm

from tracker import allowance, clickid, codes, links, utm
from tracker.checking import Kind, Severity, Site, Verdict, check
from tracker.edge import trial
from tracker.edge.core import Edge, match
from tracker.edge.decide import Moment
from tracker.errors import Busy, NotFound, Unfetchable
from tracker.events import Kind as EventKind
from tracker.extensions import db
from tracker.fetching import Journey
from tracker.models import Workspace
from tracker.services import services
from tracker.web.access import signed_in
from tracker.web.forms import select, text

pages = Blueprint("checker", __name__)

WORST_FIRST = tuple(reversed(Severity))
CHECKS_PER_MIN = 10  # of a workspace
ADDRESS_MAX = 8192
KINDS = {Kind.LANDING.value: "A landing page: where links lead", Kind.THANK_YOU.value: "A thank-you page: after a sale"}
# Faults of what was typed: they stand at the field.
TYPED = frozenset({"address_malformed", "address_credentials", "address_port", "address_own", "link_inactive"})
TYPED |= {"address_private", "name_unknown"}


class CheckForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    address = text(
        "Address or link", inputmode="url", placeholder="https://shop.example/sale", maxlength=str(ADDRESS_MAX)
    )
    kind = select("What kind of page it is", KINDS)


@dataclass
class Tried:
    """One run: the click id that is under way, and whether a link of ours has come by without one."""

    edge: Edge
    click_id: str = ""
    is_off: bool = False

    def moment(self) -> Moment:
        return self.edge.moment()

    def shortcut(self, url: str) -> str | None:
        """Where a short link of ours leads: following it over HTTP would be recorded as a bot's click."""
        if not services().own_domain.is_at(url):
            return None
        parts = utm.split(url)
        found = match("/" + parts.base.partition("://")[2].partition("/")[2])
        code = found[1] if found is not None and found[0] == EventKind.CLICK else ""
        key = services().settings.secrets.click_key
        tried = trial.follow(self.edge.cache, key, code, self.moment()) if code else None
        if tried is None:
            raise Unfetchable("address_own", "That is this tracker’s own address, and no short link.")
        if tried.location is None:
            raise Unfetchable("link_inactive", f"The link {code} is archived or has expired.")
        self.click_id, self.is_off = tried.click_id, not tried.click_id
        return tried.location


@dataclass(frozen=True)
class Shown:
    """What the page shows of a run."""

    journey: Journey
    verdict: Verdict
    has_click_id: bool
    counts: dict[Severity, int] = field(default_factory=dict)


@pages.get("/debugger/check")
@signed_in
def show(workspace: Workspace) -> ResponseReturnValue:  # noqa: ARG001
    """The form, filled in with what a link to this page brings along. Nothing is fetched."""
    form = CheckForm(formdata=None)
    form.address.data = request.args.get("address", "")[:ADDRESS_MAX]
    form.kind.data = request.args.get("kind", Kind.LANDING.value)
    return _page(form)


@pages.post("/debugger/check")
@signed_in
def run(workspace: Workspace) -> ResponseReturnValue:
    form = CheckForm()
    errors: dict[str, str] = {}
    if form.kind.data not in KINDS:
        errors["kind"] = "Say which kind of page it is."
    url = _start(workspace, form.address.data or "", errors)
    if errors:
        return _page(form, errors), 422
    # After the refusals: a typing error costs no turn.
    wait_ms = _wait_ms(workspace)
    if wait_ms:
        wait_s = -(-wait_ms // 1000)
        notice = f"{CHECKS_PER_MIN} pages a minute are checked for a workspace. The next one in {wait_s} s."
        return _page(form, notice=notice), 429, {"Retry-After": str(wait_s)}
    try:
        shown = _run(workspace, url, Kind(form.kind.data))
    except Busy as busy:
        return _page(form, notice=str(busy)), 503, {"Retry-After": "5"}
    problem = shown.journey.problem
    if problem is not None and not shown.journey.hops and problem.name in TYPED:
        return _page(form, {"address": str(problem)}, shown), 422
    return _page(form, shown=shown)


def _page(
    form: CheckForm, errors: dict[str, str] | None = None, shown: Shown | None = None, notice: str | None = None
) -> str:
    return render_template("debugger/check.html", form=form, errors=errors or {}, shown=shown, notice=notice)


def _start(workspace: Workspace, typed: str, errors: dict[str, str]) -> str:
    """The address to begin at. A bare code is a link's, and what has no scheme is taken for https."""
    typed = typed.strip()
    if not typed:
        errors["address"] = "Give the address of a page, or a link’s code."
    elif len(typed) > ADDRESS_MAX:
        errors["address"] = f"An address has at most {ADDRESS_MAX:,} characters."
    elif codes.is_code(typed):
        try:
            return f"{services().public_url}/{links.find(db.session(), workspace, typed).code}"
        except NotFound:
            errors["address"] = f"No link has the code “{typed}”. An address of a page has a dot in its host."
    return typed if "://" in typed else f"https://{typed}"


def _wait_ms(workspace: Workspace) -> int:
    path = services().settings.data_dir / "checks.json"
    return allowance.take(path, workspace.id, CHECKS_PER_MIN, _edge().moment().at_ms)


def _edge() -> Edge:
    edge: Edge = current_app.extensions["tracker_edge"]
    return edge


def _run(workspace: Workspace, url: str, kind: Kind) -> Shown:
    """Fetches and judges. Raises Busy."""
    tried = Tried(_edge())
    if kind == Kind.LANDING and not services().own_domain.is_at(url):
        url = _with_click_id(url, tried)
    # Whoever waits for a page must not keep a connection from those who show some.
    own, workspace = services().own_domain, _apart(workspace)
    journey = services().fetcher.follow(url, tried.shortcut)
    is_landing = kind == Kind.LANDING
    site = Site(workspace, own, tried.click_id if is_landing else "", is_off=is_landing and tried.is_off)
    verdict = check(kind, journey, site)
    counts = {severity: sum(found.severity == severity for found in verdict.findings) for severity in WORST_FIRST}
    return Shown(journey, verdict, bool(site.click_id), counts)


def _with_click_id(url: str, tried: Tried) -> str:
    """The address as one of our links would give it: with a click id that verifies, and is of no link."""
    moment = tried.moment()
    settings = services().settings
    tried.click_id = clickid.make(settings.secrets.click_key, 0, moment.at_ms, moment.nonce)
    parts = utm.split(url)
    rest = utm.without(parts.query, {settings.click_id_param}) if parts.query else None
    return parts._replace(query=utm.append(rest, f"{settings.click_id_param}={tried.click_id}")).join()


def _apart(workspace: Workspace) -> Workspace:
    """The workspace as a thing of its own, its session closed."""
    session = db.session()
    session.expunge(workspace)
    session.close()
    return workspace
