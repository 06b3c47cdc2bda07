"""Signing in and out, and the first account by the one-time link."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user

from tracker import accounts
from tracker.errors import Forbidden, Invalid
from tracker.extensions import db, login
from tracker.models import User
from tracker.web.access import local_path, to_sign_in
from tracker.web.forms import SetUpForm, SignInForm

pages = Blueprint("account", __name__)

login.login_view = "account.sign_in"
login.unauthorized_handler(to_sign_in)

WRONG = "The e-mail address or the password is not right."


@login.user_loader  # type: ignore[untyped-decorator]  # Flask-Login ships no types
def load_user(user_id: str) -> User | None:
    return db.session.get(User, int(user_id)) if user_id.isascii() and user_id.isdecimal() else None


@pages.get("/login")
def sign_in() -> ResponseReturnValue:
    if current_user.is_authenticated:
        return redirect(_back(), code=303)
    return render_template("account/login.html", form=SignInForm(), errors={})


@pages.post("/login")
def start_session() -> ResponseReturnValue:
    form = SignInForm()
    user = accounts.sign_in(db.session(), form.email.data or "", form.password.data or "")
    if user is None:
        return render_template("account/login.html", form=form, errors={"password": WRONG}), 422
    login_user(user)
    return redirect(_back(), code=303)


@pages.post("/logout")
def sign_out() -> ResponseReturnValue:
    logout_user()
    flash("You are signed out.")
    return redirect(url_for("account.sign_in"), code=303)


@pages.get("/setup/<token>")
def set_up(token: str) -> ResponseReturnValue:
    if not accounts.is_setup_token(db.session(), token):
        return _used_up()
    form = SetUpForm(formdata=None)
    form.workspace.data, form.timezone.data, form.currency.data = "My workspace", "UTC", "EUR"
    return _set_up_page(form, {})


@pages.post("/setup/<token>")
def make_account(token: str) -> ResponseReturnValue:
    form = SetUpForm()
    try:
        user = accounts.set_up(db.session(), token, form.email.data or "", form.password.data or "", *form.values())
    except Invalid as refusal:
        return _set_up_page(form, refusal.errors), refusal.status
    except Forbidden:
        return _used_up()
    login_user(user)
    return redirect(url_for("dashboard.overview"), code=303)


def _back() -> str:
    return local_path(request.args.get("next")) or url_for("dashboard.overview")


def _set_up_page(form: SetUpForm, errors: Mapping[str, str]) -> str:
    return render_template("account/setup.html", form=form, errors=errors)


def _used_up() -> ResponseReturnValue:
    return render_template("account/used_up.html"), 404
