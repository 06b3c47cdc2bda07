"""Accounts: the first one by a one-time link, passwords, API tokens."""

from __future__ import annotations

import hashlib
import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Select, bindparam, delete, exists, func, insert, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker import changelog, changes, days, money
from tracker.destinations import OwnDomain, destination_refusal
from tracker.errors import Forbidden, Invalid, Taken
from tracker.extensions import hold
from tracker.models import NAME_MAX, Membership, SetupLink, Token, User, Workspace

PASSWORD_MIN = 10
PASSWORD_MAX = 256
EMAIL_MAX = 254
TOKEN_PREFIX = "trk_"  # noqa: S105 (a mark that secret scanners can look for, not a secret)

_hasher = PasswordHasher()


@cache
def _nobodys_hash() -> str:
    """Checked against when nobody has the address, so that a stranger cannot tell by the time it takes."""
    return _hasher.hash(secrets.token_urlsafe(16))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def hash_password(password: str) -> str:
    """What is stored of a password that something other than an account is locked by."""
    return _hasher.hash(password)


def is_password(hashed: str, password: str) -> bool:
    """Whether a password is the one that was hashed."""
    try:
        return _hasher.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def account_refusals(email: str, password: str) -> dict[str, str]:
    errors = {}
    name, at, host = email.partition("@")
    if not (name and at and host) or " " in email or len(email) > EMAIL_MAX:
        errors["email"] = "Give an e-mail address, like ada@example.org."
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        errors["password"] = f"A password has {PASSWORD_MIN} to {PASSWORD_MAX} characters."
    return errors


def ensure_workspace(session: Session, name: str = "My workspace") -> Workspace:
    """The installation's first workspace, made when there is none. The caller commits."""
    first = select(Workspace).order_by(Workspace.id).limit(1)
    workspace = session.scalar(first)
    if workspace is None:
        # Of two commands that find none, the second waits for the first and sees its row: on PostgreSQL here, on SQLite
        # at the INSERT, which takes the write lock before it looks.
        hold(session.connection(), "first workspace")
        key = "w_" + secrets.token_urlsafe(9).replace("-", "x").replace("_", "y")
        row = select(literal(name), literal(key)).where(~exists(select(Workspace.id)))
        session.execute(insert(Workspace).from_select(["name", "key"], row))
        workspace = session.scalars(first).one()
    return workspace


def setup_token(session: Session) -> str | None:
    """The one-time set-up token while no account exists, made on first call and then the same; commits."""
    if session.scalar(select(func.count(User.id))):
        return None
    ensure_workspace(session)
    # One statement, as for the workspace: of two servers that start at once, both print the same link.
    hold(session.connection(), "first workspace")
    row = select(literal(secrets.token_urlsafe(24))).where(~exists(select(SetupLink.id)))
    session.execute(insert(SetupLink).from_select(["token"], row))
    token = session.scalars(select(SetupLink.token).limit(1)).one()
    session.commit()
    return token


def is_setup_token(session: Session, token: str) -> bool:
    return session.scalar(select(SetupLink.id).where(SetupLink.token == token)) is not None


def set_up(
    session: Session, token: str, email: str, password: str, workspace: str, timezone: str, currency: str
) -> User:
    """Makes the first account and names the workspace; the link is used up. Raises Forbidden or Invalid; commits."""
    errors = account_refusals(email.strip(), password) | workspace_refusals(workspace, timezone, currency)
    if errors:
        raise Invalid(errors)
    # The deletion decides: of two people with the link, one finds a row to delete.
    used = session.execute(delete(SetupLink).where(SetupLink.token == token))
    if not getattr(used, "rowcount", 0):
        session.rollback()
        raise Forbidden("This set-up link has been used.")
    own = ensure_workspace(session)
    own.name, own.timezone, own.currency = workspace.strip(), timezone, currency
    return create_user(session, own, email, password)


def workspace_refusals(name: str, timezone: str, currency: str) -> dict[str, str]:
    errors = {}
    if not 0 < len(name.strip()) <= NAME_MAX:
        errors["workspace"] = f"A workspace's name has 1 to {NAME_MAX} characters."
    if not days.is_zone(timezone):
        errors["timezone"] = "Choose a time zone like Europe/Berlin."
    if not money.is_currency(currency):
        errors["currency"] = "Give a currency as its ISO 4217 code, like EUR."
    return errors


def edit_workspace(
    session: Session, workspace: Workspace, name: str, timezone: str, currency: str, fallback_url: str, own: OwnDomain
) -> None:
    """Changes a workspace and commits; edges hear of it by the change sequence. Raises Invalid, naming each field."""
    errors = workspace_refusals(name, timezone, currency)
    fallback_url = fallback_url.strip()
    if fallback_url and (refusal := destination_refusal(fallback_url, own)):
        errors["fallback_url"] = refusal
    if errors:
        raise Invalid(errors)
    values = {"name": name.strip(), "timezone": timezone, "currency": currency, "fallback_url": fallback_url or None}
    changed = changelog.set_of_workspace(session, workspace, "workspace", values)
    if "fallback_url" in changed:
        changes.announce(session, [changes.UNKNOWN_CODES])
    session.commit()


def create_user(session: Session, workspace: Workspace, email: str, password: str, role: str = "owner") -> User:
    """Stores an account with a membership, and commits. Raises Invalid or Taken."""
    email = email.strip().lower()
    if errors := account_refusals(email, password):
        raise Invalid(errors)
    user = User(email=email, password_hash=_hasher.hash(password))
    session.add(user)
    try:
        session.flush()
        session.add(Membership(user_id=user.id, workspace_id=workspace.id, role=role))
        session.execute(delete(SetupLink))
        session.commit()
    except IntegrityError:
        session.rollback()
        raise Taken({"email": f"There is an account for {email} already."}) from None
    return user


def sign_in(session: Session, email: str, password: str) -> User | None:
    """The user of this address and password; takes as long for a stranger. Rehashes, and commits, when argon2 asks."""
    # PostgreSQL refuses a NUL even in a question.
    user = None if "\0" in email else session.scalar(select(User).where(User.email == email.strip().lower()))
    try:
        _hasher.verify(user.password_hash if user else _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return None
    if user and _hasher.check_needs_rehash(user.password_hash):
        user.password_hash = _hasher.hash(password)
        session.commit()
    return user


def workspace_of(session: Session, user: User) -> Workspace | None:
    """The workspace a user works in: the first of theirs."""
    return session.scalar(_workspaces(), {"user": user.id})


@cache
def _workspaces() -> Select[Workspace]:
    """Put together once: every page asks."""
    query = select(Workspace).join(Membership, Membership.workspace_id == Workspace.id)
    return query.where(Membership.user_id == bindparam("user")).order_by(Workspace.id).limit(1)


def create_token(session: Session, workspace: Workspace, name: str) -> str:
    """Makes an API token and commits; the token itself is shown this once and never stored."""
    name = name.strip()
    if not 0 < len(name) <= NAME_MAX:
        raise Invalid({"name": f"A token's name has 1 to {NAME_MAX} characters."})
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    session.add(Token(workspace_id=workspace.id, name=name, digest=_digest(secret)))
    session.commit()
    return secret


def tokens(session: Session, workspace: Workspace) -> list[Token]:
    return list(session.scalars(select(Token).where(Token.workspace_id == workspace.id).order_by(Token.id)))


def revoke_token(session: Session, workspace: Workspace, token_id: int) -> None:
    session.execute(delete(Token).where(Token.id == token_id, Token.workspace_id == workspace.id))
    session.commit()


def token_of(session: Session, secret: str) -> Token:
    """The token of this secret, and with it the workspace that it opens. Raises Forbidden."""
    token = session.scalar(select(Token).where(Token.digest == _digest(secret)))
    if token is None:
        raise Forbidden("The token is not valid.")
    return token
