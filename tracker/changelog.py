"""The change log: who edited what and when, each field from what to what, and notes that somebody wrote.

An entry belongs to the transaction of the edit it tells of: both are stored or neither. On whose behalf a session works
is said once, where the request or the command begins, and kept with that session: no edit can be made out of reach of
it, and none has to pass it on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Executable, Select, Text, bindparam, cast, select, update
from sqlalchemy.orm import Session

from tracker import days
from tracker.campaigning import WHO_MAX, ChangeEntry
from tracker.destinations import text_refusal
from tracker.errors import Invalid, NotFound, NotYours
from tracker.extensions import in_given
from tracker.models import ID_MAX, Campaign, Link, Workspace

KINDS = ("link", "campaign", "budget", "cost", "rule", "workspace", "note")
LINKS_MADE = "links_made"  # the one field of an import: how many
NOTE_MAX = 1_000  # characters
MARKERS_MAX = 300  # of one chart: the newest
OTHERS_MAX = 100  # changes beside one that is looked at
COMMAND_LINE = "command line"
ITSELF = "tracker"  # who it was where nobody is behind it
NOTE_FROM, NOTE_BEFORE = days.from_ms(315_532_800_000), days.from_ms(4_102_444_800_000)  # 1980 to 2100

# A field's name, what it was and what it became; None where there was nothing.
Field = tuple[str, str | None, str | None]


class Cursor(NamedTuple):
    """Where a list of entries goes on: before this instant, and of those at it before this id."""

    at_ms: int
    id: int


def act_as(session: Session, who: str) -> None:
    """From now on this session works on somebody's behalf: an e-mail address, `token NAME`, `command line`."""
    session.info["who"] = who[:WHO_MAX]


def actor(session: Session) -> str:
    return str(session.info.get("who", ITSELF))


def hold_row(session: Session, row: Campaign | Link | Workspace) -> None:
    """Keeps others from changing a row until the commit, and reads it anew.

    Of two people who edit the same, the second would otherwise tell of a value that is no longer there.
    """
    table = type(row)
    query = update(table).where(table.id == row.id).values(id=table.id)
    session.execute(query, execution_options={"synchronize_session": False})
    session.refresh(row)


def text(value: object) -> str | None:
    """A value as the log keeps it: instants in ISO 8601, lists with an entry a line, nothing as None."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value)) or None
    return str(value)


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> list[Field]:
    """The fields whose values differ, in their order."""
    found = ((name, text(before.get(name)), text(value)) for name, value in after.items())
    return [(name, was, is_now) for name, was, is_now in found if was != is_now]


def record(
    session: Session,
    *,
    workspace_id: int,
    kind: str,
    fields: Iterable[Field],
    campaign_id: int | None = None,
    link_id: int | None = None,
    who: str | None = None,
    at: datetime | None = None,
) -> ChangeEntry | None:
    """Adds an entry to the caller's transaction; without any field nothing was changed, and nothing is added.

    `who` is the one the session acts for unless it is told.
    """
    told = [list(field) for field in fields]
    if not told:
        return None
    entry = ChangeEntry(
        workspace_id=workspace_id,
        at_ms=days.to_ms(at or days.now()),
        who=(who or actor(session))[:WHO_MAX],
        kind=kind,
        campaign_id=campaign_id,
        link_id=link_id,
        fields=told,
    )
    session.add(entry)
    return entry


def set_of_workspace(session: Session, workspace: Workspace, kind: str, values: Mapping[str, object]) -> list[str]:
    """Sets columns of a workspace with the entry of it, in the caller's transaction; answers which of them changed."""
    hold_row(session, workspace)
    fields = differences({name: getattr(workspace, name) for name in values}, values)
    for name, value in values.items():
        setattr(workspace, name, value)
    record(session, workspace_id=workspace.id, kind=kind, fields=fields)
    return [name for name, _, _ in fields]


def note(
    session: Session, workspace: Workspace, campaign: Campaign | None, words: str, at: datetime | None = None
) -> ChangeEntry:
    """Keeps a note of a campaign or of the whole workspace, at an instant or now, and commits. Raises Invalid."""
    written = _checked(words, at)
    entry = ChangeEntry(
        workspace_id=workspace.id,
        at_ms=days.to_ms(at or days.now()),
        who=actor(session),
        kind="note",
        campaign_id=campaign.id if campaign else None,
        fields=[],
        note=written,
    )
    session.add(entry)
    session.commit()
    return entry


def edit_note(session: Session, entry: ChangeEntry, words: str, at: datetime | None = None) -> None:
    """Changes one's own note and commits; without an instant it stays where it is. Raises Invalid or NotYours."""
    _own_note(session, entry)
    entry.note = _checked(words, at)
    if at is not None:
        entry.at_ms = days.to_ms(at)
    session.commit()


def delete_note(session: Session, entry: ChangeEntry) -> None:
    """Takes back one's own note and commits. Raises NotYours."""
    _own_note(session, entry)
    session.delete(entry)
    session.commit()


def is_own_note(session: Session, entry: ChangeEntry) -> bool:
    return entry.kind == "note" and entry.who == actor(session)


def _own_note(session: Session, entry: ChangeEntry) -> None:
    if not is_own_note(session, entry):
        raise NotYours({"note": "Only whoever wrote a note can change it, and nothing else of the log can be."})


def _checked(words: str, at: datetime | None) -> str:
    """The note as it is kept. A break between lines is the one control character that it may have."""
    written = words.replace("\r\n", "\n").strip()
    errors = {}
    flat = written.replace("\n", " ").replace("\t", " ")
    if refusal := text_refusal("A note", flat, needed=True, size_max=NOTE_MAX):
        errors["note"] = refusal
    if at is not None and not NOTE_FROM <= at < NOTE_BEFORE:
        errors["at"] = "A note lies between the years 1980 and 2100."
    if errors:
        raise Invalid(errors)
    return written


def _of(workspace_id: int, kind: str | None, link_id: int | None) -> Select[ChangeEntry]:
    query = select(ChangeEntry).where(ChangeEntry.workspace_id == workspace_id)
    if kind is not None:
        query = query.where(ChangeEntry.kind == kind)
    return query if link_id is None else query.where(ChangeEntry.link_id == link_id)


def listed(
    session: Session,
    workspace: Workspace,
    *,
    campaign: Campaign | None = None,
    kind: str | None = None,
    link_id: int | None = None,
    before: Cursor | None = None,
    limit: int,
) -> list[ChangeEntry]:
    """Entries, the latest first, `limit` at most, from before the cursor where there is one.

    Those of a campaign are its own and those of the whole workspace, which bear on it too.
    """
    query = _of(workspace.id, kind, link_id)
    if before is not None:
        query = query.where(
            ChangeEntry.at_ms <= before.at_ms, (ChangeEntry.at_ms < before.at_ms) | (ChangeEntry.id < before.id)
        )
    return _latest(session, query, campaign, limit)


def markers(session: Session, campaign: Campaign, since: datetime, until: datetime) -> list[ChangeEntry]:
    """What a chart from `since` to before `until` marks, in the order of time; of more than MARKERS_MAX the latest."""
    given = {"workspace": campaign.workspace_id, "campaign": campaign.id}
    given |= {"since_ms": days.to_ms(since), "until_ms": days.to_ms(until)}
    found = [entry for own in (True, False) for entry in session.scalars(_marked(own=own), given)]
    return sorted(found, key=lambda entry: (entry.at_ms, entry.id))[-MARKERS_MAX:]


@cache
def _marked(*, own: bool) -> Select[ChangeEntry]:
    """The latest of a campaign's own or of the workspace's: each question has an index that ends it early."""
    query = select(ChangeEntry).where(
        ChangeEntry.workspace_id == bindparam("workspace"),
        ChangeEntry.campaign_id == bindparam("campaign") if own else ChangeEntry.campaign_id.is_(None),
        ChangeEntry.at_ms >= bindparam("since_ms"),
        ChangeEntry.at_ms < bindparam("until_ms"),
    )
    return query.order_by(ChangeEntry.at_ms.desc(), ChangeEntry.id.desc()).limit(MARKERS_MAX)


def beside(session: Session, campaign: Campaign, entry: ChangeEntry, since_ms: int, until_ms: int) -> list[ChangeEntry]:
    """What else bears on a campaign between two instants, in the order of time; OTHERS_MAX at most."""
    query = _of(campaign.workspace_id, None, None).where(
        ChangeEntry.at_ms >= since_ms, ChangeEntry.at_ms < until_ms, ChangeEntry.id != entry.id
    )
    return _latest(session, query, campaign, OTHERS_MAX)[::-1]


def destinations_changed(
    session: Session, link_ids: Iterable[int], since_ms: int, until_ms: int
) -> dict[int, datetime]:
    """When each of these links was last led elsewhere, from one instant to before another; those that were not, not."""
    given = {"links": sorted(link_ids), "since_ms": since_ms, "until_ms": until_ms}
    return {
        link_id: days.from_ms(at_ms)
        for link_id, at_ms, fields in session.execute(_destinations_changed(), given)
        if link_id is not None and any(name == "destination" and was is not None for name, was, _ in fields)
    }


@cache
def _destinations_changed() -> Executable:
    query = select(ChangeEntry.link_id, ChangeEntry.at_ms, ChangeEntry.fields).where(
        in_given(ChangeEntry.link_id, "links"),
        ChangeEntry.kind == "link",
        ChangeEntry.at_ms >= bindparam("since_ms"),
        ChangeEntry.at_ms < bindparam("until_ms"),
        # Found by the text first, where a new link has null: each has one such entry, and to read JSON takes long.
        cast(ChangeEntry.fields, Text).like('%["destination", "%'),
    )
    return query.order_by(ChangeEntry.at_ms)


def _latest(session: Session, query: Select[ChangeEntry], campaign: Campaign | None, limit: int) -> list[ChangeEntry]:
    """A campaign's own and the workspace's are asked for one by one: each question has an index that ends it early."""
    order = ChangeEntry.at_ms.desc(), ChangeEntry.id.desc()
    parts = [query] if campaign is None else [query.where(ChangeEntry.campaign_id == campaign.id)]
    if campaign is not None:
        parts.append(query.where(ChangeEntry.campaign_id.is_(None)))
    found = [entry for part in parts for entry in session.scalars(part.order_by(*order).limit(limit))]
    return sorted(found, key=lambda entry: (entry.at_ms, entry.id), reverse=True)[:limit]


def find(session: Session, workspace: Workspace, entry_id: int, campaign: Campaign | None = None) -> ChangeEntry:
    """An entry; of a campaign, one of its own or of the whole workspace. Raises NotFound."""
    entry = session.get(ChangeEntry, entry_id) if entry_id <= ID_MAX else None
    is_there = entry is not None and entry.workspace_id == workspace.id
    if entry is None or not is_there or (campaign and entry.campaign_id not in (None, campaign.id)):
        raise NotFound("There is no such change.")
    return entry


def campaigns_of(session: Session, entries: Iterable[ChangeEntry]) -> dict[int, Campaign]:
    """The campaigns that a page of entries names, by id."""
    ids = {entry.campaign_id for entry in entries if entry.campaign_id is not None}
    return {found.id: found for found in session.scalars(select(Campaign).where(Campaign.id.in_(ids)))} if ids else {}


def links_of(session: Session, entries: Iterable[ChangeEntry]) -> dict[int, Any]:
    """The links that a page of entries names, by id: code, title and content."""
    ids = {entry.link_id for entry in entries if entry.link_id is not None}
    query = select(Link.id, Link.code, Link.title, Link.content, Link.campaign_id).where(Link.id.in_(ids))
    return {row.id: row for row in session.execute(query)} if ids else {}
