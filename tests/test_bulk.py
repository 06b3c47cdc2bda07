"""Many links at once: all or none, as one by one, in few statements, while others write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tracker import bulk, codes, links
from tracker.bulk import Given, create_many
from tracker.destinations import OwnDomain
from tracker.edge.decide import Orphan, Target
from tracker.edge.linkcache import LinkCache
from tracker.errors import Invalid, Taken
from tracker.links import LinkDraft
from tracker.models import Campaign, Link, LinkChange, Workspace

OWN = OwnDomain(("https://go.example",))
DRAFT = LinkDraft(destination="https://shop.example/?a=1#f", campaign="Spring Sale", source="s", medium="m")
MakeLink = Callable[..., Link]
Create = Callable[..., list[str]]


@pytest.fixture
def create(session: Session, workspace: Workspace) -> Create:
    """Makes links of drafts, or of whatever stands in the place of one, and answers their codes."""

    def create(*drafts: Any, **options: Any) -> list[str]:
        given: list[Given] = list(enumerate(drafts, start=1))
        made = create_many(session, workspace, given, OWN, name="{}.{}".format, **options)
        return [each.code for each in made]

    return create


def count(session: Session, what: Any) -> int | None:
    return session.scalar(select(func.count(what.id)))


def test_a_link_made_among_many_is_the_link_made_alone(create: Create, session: Session, workspace: Workspace) -> None:
    full = LinkDraft(
        destination=" https://münchen.example/{clickid}?x=1&&utm_source=old#top ",
        campaign="Frühling",
        source="news letter",
        medium="e-mail",
        term="t",
        content="ü",
        id="7",
        title="A title",
        tags=(" a ", "", "b"),
        expires_at=datetime(2030, 1, 1, 12, tzinfo=UTC),
        redirect_code=307,
        query_mode="drop",
        click_id_param="",
        referrer_policy="no-referrer",
        fallback_url="https://shop.example/gone",
        cost_param="cost",
        cost_currency="usd",
    )
    alone = links.create(session, workspace, replace(full, code="alone"), OWN)
    assert create(DRAFT, replace(full, code="many"), DRAFT)[1] == "many"
    among = links.find(session, workspace, "many")
    ignored = ("id", "code", "created_at", "updated_at")
    for column in Link.metadata.tables["links"].columns:
        name = column.name
        assert name in ignored or getattr(among, name) == getattr(alone, name), name
    assert among.created_at == among.updated_at >= alone.created_at


def test_links_are_stored_in_the_order_given_with_their_new_campaigns(create: Create, session: Session) -> None:
    names = ["Spring Sale!", "spring sale", "Spring Sale!", "other"]
    made = create(*(replace(DRAFT, campaign=name) for name in names))
    stored = session.scalars(select(Link).order_by(Link.id)).all()
    assert [link.code for link in stored] == made
    assert [link.campaign.utm_campaign for link in stored] == names
    assert len(set(session.scalars(select(Campaign.slug)))) == 3


def test_where_one_is_wrong_all_that_is_wrong_is_told_and_nothing_is_stored(
    create: Create, session: Session, make_link: MakeLink
) -> None:
    make_link(code="taken")
    with pytest.raises(Invalid) as refused:
        create(
            replace(DRAFT, code="taken"),
            DRAFT,
            replace(DRAFT, destination="https://go.example/x", source=""),
            {"expires_at": "Unreadable."},
            replace(DRAFT, code="twice"),
            replace(DRAFT, code="twice", campaign="new"),
        )
    assert not isinstance(refused.value, Taken)
    assert list(refused.value.errors) == ["1.code", "3.destination", "3.source", "4.expires_at", "6.code"]
    assert (count(session, Link), count(session, Campaign)) == (1, 1)


def test_codes_that_exist_are_taken(create: Create, session: Session, make_link: MakeLink) -> None:
    make_link(code="a")
    make_link(code="b")
    with pytest.raises(Taken) as taken:
        create(replace(DRAFT, code="b"), replace(DRAFT, code="B"), replace(DRAFT, code="a"))
    assert list(taken.value.errors) == ["1.code", "3.code"]
    assert count(session, Link) == 2


def test_a_generated_code_that_exists_is_drawn_again(
    create: Create, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_link(code="drawn")
    drawn = iter(["drawn", "chosen", "second", "third"])
    monkeypatch.setattr(codes, "generate", lambda: next(drawn))
    assert create(replace(DRAFT, code="chosen"), DRAFT, DRAFT) == ["chosen", "third", "second"]


@pytest.mark.parametrize("chosen", [True, False])
def test_in_a_race_for_a_code_the_later_loses_a_chosen_one_and_draws_another(
    create: Create, session: Session, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch, chosen: bool
) -> None:
    """Somebody else's link comes in after the codes were looked for and before they are stored."""
    draws = iter(["wanted", "another"])
    monkeypatch.setattr(codes, "generate", lambda: next(draws))
    move = bulk._Batch._move

    def overtaken(batch: bulk._Batch, new_campaigns: list[str]) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(codes, "generate", lambda: next(draws))
        make_link(code="wanted")
        move(batch, new_campaigns)

    monkeypatch.setattr(bulk._Batch, "_move", overtaken)
    if chosen:
        with pytest.raises(Taken):
            create(replace(DRAFT, code="wanted"))
        assert count(session, Link) == 1
    else:
        assert create(DRAFT) == ["another"]


def test_others_write_while_links_are_gathered(
    create: Create, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 2)
    heard = []

    def on_chunk(checked: int) -> None:
        heard.append(checked)
        make_link()

    assert len(create(*[DRAFT] * 5, on_chunk=on_chunk)) == 5
    assert heard == [2, 2, 1]


def test_a_dry_run_checks_and_stores_nothing(create: Create, session: Session) -> None:
    assert len(create(DRAFT, replace(DRAFT, code="mine"), dry_run=True)) == 2
    assert (count(session, Link), count(session, Campaign)) == (0, 0)
    with pytest.raises(Invalid):
        create(replace(DRAFT, source=""), dry_run=True)


def test_there_are_limits(create: Create, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "LINKS_MAX", 2)
    with pytest.raises(Invalid, match="At most 2 links"):
        create(DRAFT, DRAFT, DRAFT)
    monkeypatch.setattr(bulk, "CAMPAIGNS_NEW_MAX", 1)
    with pytest.raises(Invalid, match="here are 2"):
        create(DRAFT, replace(DRAFT, campaign="another"))
    assert count(session, Link) == 0
    assert len(create(DRAFT, DRAFT)) == 2


def test_an_edge_that_knew_a_code_as_unknown_forgets_that_and_keeps_its_links(
    create: Create, engine: Engine, session: Session, make_link: MakeLink
) -> None:
    known = make_link().code
    cache = LinkCache(engine, "cid")
    for code in (known, "soon", "never"):
        cache.load(code)
    before = cache.get(known)
    create(replace(DRAFT, code="soon"), DRAFT)
    assert isinstance(cache.get("soon"), Orphan)
    cache.poll()
    assert (cache.get("soon"), cache.get("never")) == (None, None)
    assert cache.get(known) is before
    assert isinstance(cache.load("soon"), Target)
    assert session.scalar(select(func.count(LinkChange.seq))) == 2
