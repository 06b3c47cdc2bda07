"""The codes that a batch's hits carry, held against those that their workspaces have issued.

Codes come from strangers, as many as they like: only one that was issued is kept as such.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import days
from tracker.events import Event, Verdict
from tracker.pipeline.verdicts import Judgement
from tracker.reported import TestCode

IN_MAX = 500
NOT_ISSUED = "test: nobody has issued this code"
EXPIRED = "test: the code has expired"


class IssuedCodes:
    """Asked for once a batch, and of most batches not at all: few hits are tests."""

    def __init__(self, session: Session, batch: Iterable[Event]) -> None:
        self._expires_at_ms: dict[tuple[int, str], int] = {}
        wanted = sorted({event.params for event in batch if event.verdict == Verdict.TEST and event.params})
        for start in range(0, len(wanted), IN_MAX):
            query = select(TestCode).where(TestCode.code.in_(wanted[start : start + IN_MAX]))
            for each in session.scalars(query):
                self._expires_at_ms[each.workspace_id, each.code] = days.to_ms(each.expires_at)

    def check(self, judgement: Judgement, event: Event, workspace_id: int | None) -> Judgement:
        """The judgement of a test with its code; without one where its workspace has issued none like it by then."""
        if judgement.verdict != Verdict.TEST:
            return judgement
        expires_at_ms = self._expires_at_ms.get((workspace_id or 0, event.params))
        if expires_at_ms is None:
            return Judgement(Verdict.TEST, None, NOT_ISSUED)
        return judgement if event.at_ms < expires_at_ms else Judgement(Verdict.TEST, None, EXPIRED)
