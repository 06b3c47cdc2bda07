"""Codes under which somebody tries an installation out: what carries one is shown in the debugger, counted nowhere."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tracker import codes
from tracker.errors import Invalid, NotFound
from tracker.models import Workspace
from tracker.reported import TestCode

LENGTH = 8
VALID_FOR = timedelta(hours=24)
KEPT_FOR = timedelta(days=7)  # after it has expired: so long what was tried out can be looked at
AT_ONCE_MAX = 20
SHOWN_MAX = 50


def start(session: Session, workspace: Workspace, now: datetime) -> TestCode:
    """Issues a code and commits. Raises Invalid where as many are in force as may be at once."""
    in_force = select(func.count()).where(TestCode.workspace_id == workspace.id, TestCode.expires_at > now)
    if (session.scalar(in_force) or 0) >= AT_ONCE_MAX:
        raise Invalid({"test": f"{AT_ONCE_MAX} tests are under way. End one of them, or use it."})
    code = TestCode(code=codes.generate(LENGTH), workspace_id=workspace.id, created_at=now, expires_at=now + VALID_FOR)
    session.add(code)
    session.commit()
    return code


def end(session: Session, code: TestCode, now: datetime) -> None:
    """Takes a code out of force and commits; what it brought can still be looked at."""
    code.expires_at = min(code.expires_at, now)
    session.commit()


def find(session: Session, workspace: Workspace, code: str) -> TestCode:
    """A code of a workspace, expired or not. Raises NotFound."""
    found = session.get(TestCode, code) if codes.is_code(code) else None
    if found is None or found.workspace_id != workspace.id:
        raise NotFound("There is no test with this code.")
    return found


def listed(session: Session, workspace: Workspace) -> list[TestCode]:
    """A workspace's codes, the latest first, expired ones among them."""
    mine = select(TestCode).where(TestCode.workspace_id == workspace.id)
    return list(session.scalars(mine.order_by(TestCode.created_at.desc(), TestCode.code).limit(SHOWN_MAX)))


def forget(session: Session, now: datetime) -> None:
    """Deletes codes that expired long ago and commits."""
    session.execute(delete(TestCode).where(TestCode.expires_at < now - KEPT_FOR))
    session.commit()
