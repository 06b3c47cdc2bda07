"""Many links at once: every one is checked before any is stored, and all of them are stored or none.

What was checked is gathered in a temporary table, which keeps nobody waiting, and moved from there by one statement. Of
100,000 links, gathering takes 13 s and moving 1 s; inserted straight, they would hold SQLite's only write lock for 5 s,
and the loader with it. Whatever ends an import before that statement is committed leaves nothing behind: the same file
can be imported again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, and_, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker import campaigns, changelog, changes, codes, days, links
from tracker.destinations import OwnDomain
from tracker.errors import Invalid, Taken
from tracker.links import LinkDraft
from tracker.models import UTM_MAX, Campaign, Instant, Link, Workspace

LINKS_MAX = 200_000
CAMPAIGNS_NEW_MAX = 1_000
CHUNK = 5_000

_TWICE = "“{}” is given to another link before this one."
# As links.columns_of orders them.
_COPIED = (
    *("code", "destination", "tagged_url", "source", "medium", "term", "content", "utm_id", "title", "tags"),
    *("expires_at", "redirect_code", "query_mode", "click_id_param", "referrer_policy", "fallback_url"),
    *("cost_param", "cost_currency"),
)
_links = Link.metadata.tables[Link.__tablename__]
_gathered = Table(
    "links_gathered",
    MetaData(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("chosen", Boolean),  # whether the code is somebody's choice
    Column("utm_campaign", String(UTM_MAX)),
    *(Column(name, _links.c[name].type) for name in _COPIED),
    prefixes=["TEMPORARY"],
)

# A number to be named by, and a draft or, of what could not be read as one, a sentence for each field.
Given = tuple[int, LinkDraft | Mapping[str, str]]


class Made(NamedTuple):
    """One of the links that were made."""

    code: str
    tagged_url: str


def create_many(
    session: Session,
    workspace: Workspace,
    given: Iterable[Given],
    own: OwnDomain,
    *,
    name: Callable[[int, str], str],
    dry_run: bool = False,
    on_chunk: Callable[[int], object] = lambda _: None,
) -> list[Made]:
    """Stores links in the order given, with campaigns where they are new, and commits; answers them in that order.

    Numbers rise; `name` makes an error's field of a number and a field of LinkDraft. Raises Invalid with what is wrong
    with any of them, or Taken where nothing is but codes that exist. `on_chunk` hears how many more have been checked.
    With `dry_run` nothing is stored, and generated codes are none that a link will have.
    """
    with session.get_bind().engine.connect() as connection:
        # Never back to the pool: the temporary table ends with its connection.
        connection.detach()
        with Session(connection, info=session.info) as gathering:
            batch = _Batch(gathering, workspace, name)
            batch.gather(given, own, on_chunk)
            return batch.made() if dry_run else batch.store()


class _Batch:
    """The gathered links, on a connection of their own."""

    def __init__(self, session: Session, workspace: Workspace, name: Callable[[int, str], str]) -> None:
        self._session = session
        self._workspace = workspace
        self._name = name
        self._codes: set[str] = set()
        self._faults: list[tuple[int, str, str]] = []
        _gathered.create(session.connection())

    def gather(self, given: Iterable[Given], own: OwnDomain, on_chunk: Callable[[int], object]) -> None:
        """Checks everything, so that everything is told at once. Raises Invalid or Taken."""
        rows: list[tuple[Any, ...]] = []
        count = 0
        for count, (number, entry) in enumerate(given, start=1):
            if count > LINKS_MAX:
                raise Invalid({"links": f"At most {LINKS_MAX:,} links can be made at once."})
            row = self._row(number, entry, own)
            if row is not None:
                rows.append(row)
            if count % CHUNK == 0:
                self._keep(rows)
                on_chunk(CHUNK)
                rows = []
        self._keep(rows)
        on_chunk(count % CHUNK)
        is_bad = bool(self._faults)
        self._settle_codes()
        if self._faults:
            named = {self._name(number, field): text for number, field, text in sorted(self._faults)}
            raise (Invalid if is_bad else Taken)(named)
        self._new_campaigns()

    def _row(self, number: int, entry: LinkDraft | Mapping[str, str], own: OwnDomain) -> tuple[Any, ...] | None:
        if isinstance(entry, LinkDraft):
            draft = links.tidy(entry)
            errors: Mapping[str, str] = links.check(draft, own)
            if not errors and draft.code in self._codes:
                errors = {"code": _TWICE.format(draft.code)}
            if not errors:
                code = self._claimed(draft.code or codes.generate())
                return number, draft.code is not None, draft.campaign, code, *links.columns_of(draft).values()
        else:
            errors = entry
        self._faults += ((number, field, text) for field, text in errors.items())
        return None

    def _claimed(self, code: str) -> str:
        while code in self._codes:
            code = codes.generate()
        self._codes.add(code)
        return code

    def _keep(self, rows: list[tuple[Any, ...]]) -> None:
        """Hands rows straight to the driver: SQLAlchemy's way with parameters costs more than their insertion."""
        if rows:
            connection = self._session.connection()
            dialect = connection.dialect
            names = [column.name for column in _gathered.columns]
            processors = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in _gathered.columns]
            columns = [
                map(process, values) if process else values
                for process, values in zip(processors, zip(*rows, strict=True), strict=True)
            ]
            compiled = cast(Any, insert(_gathered)).compile(dialect=dialect, column_keys=names)
            ready = zip(*columns, strict=True)
            connection.exec_driver_sql(
                str(compiled),
                list(ready) if compiled.positional else [dict(zip(names, row, strict=True)) for row in ready],
            )
        self._session.commit()

    def _settle_codes(self) -> None:
        """Generated codes that exist are drawn again, chosen ones are faults."""
        query = select(_gathered.c.number, _gathered.c.code, _gathered.c.chosen)
        for number, code, chosen in self._session.execute(query.join(_links, _links.c.code == _gathered.c.code)).all():
            if chosen:
                self._faults.append((number, "code", links.TAKEN.format(code)))
            else:
                drawn = self._claimed(codes.generate())
                self._session.execute(update(_gathered).where(_gathered.c.number == number).values(code=drawn))
        self._session.commit()

    def _new_campaigns(self) -> list[str]:
        """Values that no campaign has yet. Raises Invalid for so many that a column must have been mistaken."""
        query = select(_gathered.c.utm_campaign).distinct().outerjoin(Campaign, self._of_campaign())
        new = list(self._session.scalars(query.where(Campaign.id.is_(None)).order_by(_gathered.c.utm_campaign)))
        self._session.commit()
        if len(new) > CAMPAIGNS_NEW_MAX:
            raise Invalid({"campaign": f"At most {CAMPAIGNS_NEW_MAX:,} new campaigns at once; here are {len(new):,}."})
        return new

    def _of_campaign(self) -> Any:
        return and_(Campaign.workspace_id == self._workspace.id, Campaign.utm_campaign == _gathered.c.utm_campaign)

    def store(self) -> list[Made]:
        for _ in range(links.CODE_TRIES):
            try:
                self._move(self._new_campaigns())
                return self.made()
            except IntegrityError:
                # UNIQUE has decided a race for a code: somebody else's link was there first.
                self._session.rollback()
                self._settle_codes()
                if self._faults:
                    raise Taken({self._name(number, field): text for number, field, text in self._faults}) from None
        raise Invalid({"code": "No free code was found; try again."})

    def _move(self, new_campaigns: list[str]) -> None:
        for value in new_campaigns:
            campaigns.ensure(self._session, self._workspace, value)
        now = literal(days.now(), Instant())
        chosen = (
            select(literal(self._workspace.id), Campaign.id, now, now, *(_gathered.c[name] for name in _COPIED))
            .join_from(_gathered, Campaign, self._of_campaign())
            .order_by(_gathered.c.number)
        )
        into = ["workspace_id", "campaign_id", "created_at", "updated_at", *_COPIED]
        self._session.execute(insert(_links).from_select(into, chosen))
        self._note()
        # One change for all: no edge can know a new code but as unknown. One for each would take a worker seconds to
        # poll.
        changes.announce(self._session, [changes.UNKNOWN_CODES])
        self._session.commit()

    def _note(self) -> None:
        """One entry of the change log for each campaign, however many links it got."""
        query = select(Campaign.id, func.count()).join_from(_gathered, Campaign, self._of_campaign())
        for campaign_id, n in self._session.execute(query.group_by(Campaign.id).order_by(Campaign.id)).all():
            changelog.record(
                self._session,
                workspace_id=self._workspace.id,
                kind="link",
                campaign_id=campaign_id,
                fields=[(changelog.LINKS_MADE, None, str(n))],
            )

    def made(self) -> list[Made]:
        query = select(_gathered.c.code, _gathered.c.tagged_url).order_by(_gathered.c.number)
        return [Made(code, tagged_url) for code, tagged_url in self._session.execute(query)]
