"""Signatures of callbacks: made with a secret that only the workspace and its sender know, good once and for minutes.

`X-Signature: t=<seconds since 1970>,v1=<hex HMAC-SHA256(secret, t + "." + payload)>`, where the payload is the body as
it was sent, or for GET the query string. A header may hold several `v1`, each under another secret.
"""

from __future__ import annotations

import hmac
import re
import secrets as random
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tracker import changelog, days
from tracker.errors import Invalid, NotFound, Unverified
from tracker.extensions import hold, insert_into
from tracker.models import ID_MAX, Workspace
from tracker.reported import SeenSignature, SigningSecret

HEADER = "X-Signature"
HEADER_MAX = 1024  # characters
TOLERANCE_S = 300  # that a signature may be old, or a sender's clock fast
KEPT = timedelta(hours=1)  # longer than any is taken, whatever a clock is off
SIGNATURES_MAX = 8  # in one header
SECRETS_MAX = 5  # in force at once
SPENT_AT_ONCE = 1_000
_T = re.compile(r"[0-9]{1,12}")
_V1 = re.compile(r"[0-9a-fA-F]{64}")


def sign(secret: str, t: str, payload: bytes) -> str:
    """The `v1` of a payload, in hexadecimal."""
    return hmac.new(secret.encode(), t.encode() + b"." + payload, sha256).hexdigest()


def header(secret: str, at_s: int, payload: bytes) -> str:
    """The whole header, as a sender makes it."""
    return f"t={at_s},v1={sign(secret, str(at_s), payload)}"


def verify(text: str, payload: bytes, secrets: Sequence[str], at_ms: int) -> bytes:
    """The digest of what was signed, by which it is known again. Raises Unverified, saying what is wrong.

    Every signature is compared with every secret, in a time that does not tell which of them was close.
    """
    t, signatures = _read(text)
    if abs(at_ms - int(t) * 1000) > TOLERANCE_S * 1000:
        raise _refusal(f"The signature's t is more than {TOLERANCE_S} seconds from our clock: sign each try anew.")
    wanted = [sign(secret, t, payload) for secret in secrets]
    hits = [hmac.compare_digest(one, other) for one in wanted for other in signatures]
    if not any(hits):
        raise _refusal(
            "No v1 is the HMAC-SHA256 of t, a point and the body (for GET: the query string) under a secret in force."
        )
    return sha256(t.encode() + b"." + payload).digest()


def _read(text: str) -> tuple[str, list[str]]:
    """`t` and each `v1`. Other schemes may stand beside them and are not looked at."""
    parts = [part.strip().partition("=") for part in text.split(",")] if len(text) <= HEADER_MAX else []
    instants = [value for name, _, value in parts if name == "t"]
    signatures = [value.lower() for name, _, value in parts if name == "v1"]
    fits = len(instants) == 1 and _T.fullmatch(instants[0]) and 0 < len(signatures) <= SIGNATURES_MAX
    if not fits or not all(map(_V1.fullmatch, signatures)):
        raise _refusal("A signature reads t=<seconds since 1970>,v1=<64 hexadecimal digits>.")
    return instants[0], signatures


def _refusal(message: str, reason: str = "bad_signature") -> Unverified:
    return Unverified({HEADER: message}, reason)


def missing() -> Unverified:
    return _refusal("Reports to this workspace have to be signed.", "signature_required")


def spend(session: Session, workspace: Workspace, digest: bytes) -> None:
    """Uses a signature up, together with whatever else the caller commits. Raises Unverified for one that is used."""
    new = (
        insert_into(session.get_bind().dialect.name, SeenSignature)
        .values(workspace_id=workspace.id, digest=digest, expires_at=days.now() + KEPT)
        .on_conflict_do_nothing()
        .returning(SeenSignature.digest)
    )
    if session.scalar(new) is None:
        raise _refusal("This signature has been used. What it signed has been taken; sign each try anew.", "replayed")


def forget_spent(session: Session, now: datetime) -> None:
    """Deletes signatures that are too old to be taken again; commits as it goes."""
    old = select(SeenSignature.workspace_id, SeenSignature.digest).where(SeenSignature.expires_at < now)
    while rows := session.execute(old.limit(SPENT_AT_ONCE)).all():
        digests = [row.digest for row in rows]
        session.execute(delete(SeenSignature).where(SeenSignature.expires_at < now, SeenSignature.digest.in_(digests)))
        session.commit()


def in_force(session: Session, workspace: Workspace) -> list[SigningSecret]:
    """Secrets that are not revoked, the oldest first; `SECRETS_MAX` at most."""
    query = select(SigningSecret).where(SigningSecret.workspace_id == workspace.id, SigningSecret.revoked_at.is_(None))
    return list(session.scalars(query.order_by(SigningSecret.id).limit(SECRETS_MAX)))


def create(session: Session, workspace: Workspace) -> str:
    """Makes a secret, commits and answers it: it is shown this once. Raises Invalid where there are enough of them."""
    hold(session.connection(), f"secrets of {workspace.id}")
    query = select(func.count(SigningSecret.id))
    query = query.where(SigningSecret.workspace_id == workspace.id, SigningSecret.revoked_at.is_(None))
    if (session.scalar(query) or 0) >= SECRETS_MAX:
        raise Invalid({"secret": f"At most {SECRETS_MAX} secrets are in force at once: revoke one first."})
    secret = random.token_urlsafe(32)
    made = SigningSecret(workspace_id=workspace.id, secret=secret)
    session.add(made)
    session.flush()
    _note(session, workspace, None, f"no. {made.id}")
    session.commit()
    return secret


def revoke(session: Session, workspace: Workspace, secret_id: int) -> None:
    """Takes a secret out of force at once and commits. Raises NotFound for somebody else's."""
    secret = session.get(SigningSecret, secret_id) if secret_id <= ID_MAX else None
    if secret is None or secret.workspace_id != workspace.id:
        raise NotFound("There is no such secret.")
    if secret.revoked_at is None:
        secret.revoked_at, secret.secret = days.now(), ""
        _note(session, workspace, f"no. {secret.id}", None)
        session.commit()


def _note(session: Session, workspace: Workspace, was: str | None, is_now: str | None) -> None:
    """The change log names a secret by its number: what it says is nobody's to read."""
    changelog.record(session, workspace_id=workspace.id, kind="rule", fields=[("signing_secret", was, is_now)])
