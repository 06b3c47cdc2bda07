"""What whoever has a secret link sees: one report, as it was shared. The query is the share's; the visitor has none.

A viewer has no account. Nothing is written on a view, and nothing in these pages leads into /app.
"""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.wrappers import Response

from tracker import accounts, allowance, days, mailing, shares
from tracker.campaigning import SharedReport
from tracker.errors import NotFound
from tracker.extensions import csrf, db
from tracker.models import Campaign, Workspace
from tracker.services import services
from tracker.web import exports, kept, overall, reportpage, responses
from tracker.web.opened import EVERY, OPEN

pages = Blueprint("shared", __name__, url_prefix="/s")
# A form token would need a session's cookie. There is nothing to forge: who unlocks a report must know its password,
# and a mail is unsubscribed by a secret that only its reader has, without a page before it (RFC 8058).
csrf.exempt(pages)

COOKIE = "tracker_share"
UNLOCKED_S = 8 * 3600
TRIES_PER_MIN = 10  # of one report, whoever tries
TRIES_FILE = "share-tries.json"
# The link is the secret: no other site must learn it, and no cache keep what it shows.
HEADERS = responses.HEADERS | {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}
GONE = (
    "This report cannot be shown",
    "Its link may be mistyped, it may have expired, or it was taken back. Ask whoever sent it to you.",
)
LOCKED = ("This report asks for its password", "Open its page and give the password there first.")


@pages.after_request
def _secure(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    return response


@pages.errorhandler(NotFound)
def _gone(_error: NotFound) -> ResponseReturnValue:
    return _said(404, *GONE)


@pages.get("/<token>")
def show(token: str) -> ResponseReturnValue:
    share = _find(token)
    if not _is_open(share):
        return render_template("shared/locked.html", share=share, error=None)
    template = f"shared/{'report' if share.campaign_id else 'overall'}.html"
    return kept.answer(g.workspace, lambda: render_template(template, **_shown(share, request.args.get(OPEN, ""))))


@pages.post("/<token>")
def unlock(token: str) -> ResponseReturnValue:
    share = _find(token)
    if not share.password_hash:
        return redirect(url_for("shared.show", token=token), code=303)
    wait_ms = allowance.take(services().settings.data_dir / TRIES_FILE, share.id, TRIES_PER_MIN, days.to_ms(days.now()))
    if wait_ms:
        error = "Too many tries. Wait a minute, then try again."
        return (
            render_template("shared/locked.html", share=share, error=error),
            429,
            {"Retry-After": f"{-(-wait_ms // 1000)}"},
        )
    typed = request.form.get("password", "")
    if len(typed) > shares.PASSWORD_MAX or not accounts.is_password(share.password_hash, typed):
        return render_template("shared/locked.html", share=share, error="This is not the password."), 422
    response = redirect(url_for("shared.show", token=token), code=303)
    response.set_cookie(
        COOKIE,
        _signer().dumps(_stamp(share)),
        max_age=UNLOCKED_S,
        path=url_for("shared.show", token=token),
        httponly=True,
        secure=request.is_secure or services().public_url.startswith("https:"),
        samesite="Lax",
    )
    return response


# Below the page's own path, where the cookie of an unlocked report comes along.
@pages.get("/<token>/report.json", endpoint="as_json")
@pages.get("/<token>.json", endpoint="short_json")
def as_json(token: str) -> ResponseReturnValue:
    share = _find(token)
    return exports.json_file(_exported(share), "report") if _is_open(share) else _said(403, *LOCKED)


@pages.get("/<token>/report.csv", endpoint="as_csv")
@pages.get("/<token>.csv", endpoint="short_csv")
def as_csv(token: str) -> ResponseReturnValue:
    share = _find(token)
    if not _is_open(share):
        return _said(403, *LOCKED)
    found = _exported(share)
    return exports.csv_file(exports.rows(found) if share.campaign_id else found["campaigns"], "report")


@pages.get("/<token>/logo")
def logo(token: str) -> ResponseReturnValue:
    share = _find(token)
    if not (share.logo and share.logo_type and _is_open(share)):
        raise NotFound("No such picture.")
    return Response(share.logo, mimetype=share.logo_type)


@pages.get("/mail/<token>")
def leave(token: str) -> ResponseReturnValue:
    """Asks first: mail scanners follow every link."""
    return render_template("shared/leave.html", is_known=mailing.is_known(db.session(), token), token=token)


@pages.post("/mail/<token>")
def left(token: str) -> ResponseReturnValue:
    """By the page's button, or by a mail program itself. Doing it twice is as good as once."""
    mailing.unsubscribe(db.session(), token)
    return _said(200, "You get this report no more", "No further mail of it will be sent to you.")


def _find(token: str) -> SharedReport:
    share = shares.find(db.session(), token, days.now())
    g.workspace = db.session().get_one(Workspace, share.workspace_id)
    return share


def _is_open(share: SharedReport) -> bool:
    """Whether it has no password, or this browser has given it, and it is still that one."""
    if not share.password_hash:
        return True
    try:
        found = _signer().loads(request.cookies.get(COOKIE, ""), max_age=UNLOCKED_S)
    except BadSignature:
        return False
    return bool(found == _stamp(share))


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(services().settings.secrets.session_key, salt="shared report")


def _stamp(share: SharedReport) -> list[Any]:
    return [share.id, hashlib.sha256((share.password_hash or "").encode()).hexdigest()[:32]]


def _shown(share: SharedReport, opened: str) -> dict[str, Any]:
    """What the page is made of, with those tables open that whoever reads it chose: all of them are shared."""
    workspace: Workspace = g.workspace
    now = days.now()
    asked = shares.args(share, workspace, now)
    frame = {
        "share": share,
        "workspace": workspace,
        "last_day": shares.last_day(share, workspace),
        "is_shared": True,
        "hides_money": not share.shows_money,
        "export": {
            "csv": url_for("shared.as_csv", token=share.token),
            "json": url_for("shared.as_json", token=share.token),
        },
    }
    hides_money = not share.shows_money
    if share.campaign_id is None:
        return overall.context(workspace, asked, now, hides_money=hides_money) | frame
    campaign, asked = db.session().get_one(Campaign, share.campaign_id), {**asked, OPEN: opened}
    return reportpage.context(workspace, campaign, asked, now, is_shared=True, hides_money=hides_money) | frame


def _exported(share: SharedReport) -> dict[str, Any]:
    shown = _shown(share, EVERY)
    hides_money = not share.shows_money
    if share.campaign_id is None:
        return overall.content(shown, hides_money=hides_money)
    return exports.content(shown, hides_money=hides_money)


def _said(status: int, title: str, advice: str) -> ResponseReturnValue:
    return render_template("shared/said.html", title=title, advice=advice), status
