"""Who may use the API: whoever holds a token, for the workspace the token belongs to."""

from __future__ import annotations

from flask import Blueprint, g, request

from tracker import accounts, changelog
from tracker.api.problems import of_error
from tracker.errors import Forbidden, TrackerError
from tracker.extensions import csrf, db
from tracker.models import Workspace


def authenticate() -> None:
    """Before each request. Raises Forbidden."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Forbidden("Send the header Authorization: Bearer and a token.")
    token = accounts.token_of(db.session(), secret.strip())
    changelog.act_as(db.session(), f"token {token.name}")
    g.workspace = token.workspace


def protected(name: str, module: str) -> Blueprint:
    """A blueprint that asks for a token, which stands for a form token too, and answers errors as problem details."""
    blueprint = Blueprint(name, module)
    blueprint.before_request(authenticate)
    blueprint.register_error_handler(TrackerError, of_error)
    csrf.exempt(blueprint)
    return blueprint


def workspace() -> Workspace:
    found = g.workspace
    assert isinstance(found, Workspace)  # noqa: S101 (narrows the type: authenticate put it there)
    return found
