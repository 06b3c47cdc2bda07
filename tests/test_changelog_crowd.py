"""Several who edit one link at once: each entry begins where the one before it ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tracker import links
from tracker.campaigning import ChangeEntry
from tracker.destinations import OwnDomain
from tracker.models import Link, Workspace

EDITORS, EDITS = 4, 10


def test_entries_of_edits_at_once_follow_one_another(
    engine: Engine, session: Session, make_link: Callable[..., Link]
) -> None:
    link = make_link()
    link_id, workspace_id = link.id, link.workspace_id

    def work(editor: int) -> None:
        for number in range(EDITS):
            with Session(engine) as own:
                mine = own.get_one(Link, link_id)
                workspace = own.get_one(Workspace, workspace_id)
                links.edit(own, workspace, mine, {"source": f"{editor}-{number}"}, OwnDomain(()))

    with ThreadPoolExecutor(EDITORS) as pool:
        list(pool.map(work, range(EDITORS)))
    session.rollback()
    session.refresh(link)
    entries = session.scalars(select(ChangeEntry).where(ChangeEntry.link_id == link_id).order_by(ChangeEntry.id)).all()
    edits = [tuple(field) for entry in entries for field in entry.fields if field[1] is not None]
    assert len(edits) == EDITORS * EDITS
    assert [was for _, was, _ in edits] == ["newsletter", *(is_now for _, _, is_now in edits[:-1])]
    assert edits[-1][2] == link.source
