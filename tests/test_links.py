"""What may become a link, and what is refused with which field named."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tracker import links
from tracker.destinations import OwnDomain, destination_refusal
from tracker.errors import Invalid, NotFound, Taken
from tracker.links import LinkDraft, check
from tracker.models import Campaign, Link, Workspace

pytestmark = pytest.mark.any_database

OWN = OwnDomain(("https://go.example", "http://localhost:8000"))
MakeLink = Callable[..., Link]


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example",
        "HTTPS://Shop.Example/",
        "http://shop.example:8080/?",
        "https://xn--mnchen-3ya.example/",
        "https://münchen.example/ü?ü#ü",
        "https://192.0.2.1/",
        "https://[2001:db8::1]:8443/x",
        "https://shop.example/a b",
        "https://shop.example/@user:pass",
        "https://shop.example/?u=https://u:p@x/",
        "https://shop.example./",
        "https://shop.example/%zz?%&&=#%",
        "https://shop.example/{clickid}?{unknown}",
        "https://shop.example/?" + "a" * 8100,
        "http://localhost:9100/",
        "https://notgo.example/",
        "https://go.example.org/",
        "https://go.example:8443/elsewhere",
    ],
)
def test_absolute_urls_with_a_host_are_destinations(url: str) -> None:
    assert destination_refusal(url, OWN) is None


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "needed"),
        ("shop.example", "http"),
        ("//shop.example/", "http"),
        ("/path", "http"),
        ("ftp://shop.example/", "http"),
        ("javascript:alert(1)", "http"),
        ("data:text/html,x", "http"),
        ("https:/shop.example/", "http"),
        ("https:shop.example", "http"),
        ("https://", "host"),
        ("https:///path", "host"),
        ("https://?q", "host"),
        ("https://:80/", "host"),
        ("https://user@shop.example/", "password"),
        ("https://user:pass@shop.example/", "password"),
        ("https://@shop.example/", "password"),
        ("https://shop.example\\@evil.example/", "password"),
        ("https://shop.example\\evil.example/", "host"),
        ("https://{source}.example/", "host"),
        ("https://shop.example:99999/", "valid"),
        ("https://shop.example:x/", "valid"),
        ("https://sh op.example/", "valid"),
        ("https://[::1/", "valid"),
        ("https://%00.example/", "valid"),
        ("https://shop.example/\r\nSet-Cookie: a=b", "control"),
        ("https://shop.example/\t", "control"),
        ("https://shop.example/\udc80", "character"),
        ("https://shop.example/?" + "a" * 8200, "8,192"),
        ("https://go.example/abc", "own short domain"),
        ("http://GO.example./abc", "own short domain"),
        ("https://go.example:443/", "own short domain"),
        ("https://g%6f.example/", "own short domain"),
        ("http://localhost:8000/x", "own short domain"),
        ("http://127.0.0.1:8000/x", "own short domain"),
        ("http://0x7f000001:8000/x", "own short domain"),
        ("http://[::ffff:127.0.0.1]:8000/x", "own short domain"),
        ("http://0:8000/x", "own short domain"),
        ("http://127.8.8.8:8000/x", "own short domain"),
    ],
)
def test_anything_else_is_refused_with_the_reason(url: str, word: str) -> None:
    refusal = destination_refusal(url, OWN)
    assert refusal is not None
    assert word in refusal


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("campaign", ""),
        ("campaign", "x" * 256),
        ("source", " "),
        ("medium", "a\nb"),
        ("term", "x" * 256),
        ("content", "\x00"),
        ("id", "x" * 256),
        ("title", "\x7f"),
        ("code", "a b"),
        ("code", "ü"),
        ("code", "x" * 65),
        ("code", "api"),
        ("code", "APP"),
        ("code", "healthz"),
        ("redirect_code", 200),
        ("query_mode", "mine"),
        ("referrer_policy", "none"),
        ("click_id_param", "a b"),
        ("click_id_param", "utm_source"),
        ("cost_param", "a b"),
        ("cost_param", "x" * 33),
        ("cost_param", "utm_cost"),
        ("cost_param", "tracker_test"),
        ("cost_currency", "EURO"),
        ("cost_currency", "XAU"),
        ("expires_at", datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=14)))),
        ("expires_at", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))),
        ("fallback_url", "go.example"),
        ("tags", ("",) * 30 + ("x" * 65,)),
    ],
)
def test_a_refusal_names_its_field_and_nothing_is_stored(
    session: Session, workspace: Workspace, field: str, value: Any
) -> None:
    given = {"destination": "https://shop.example/", "campaign": "c", "source": "s", "medium": "m"} | {field: value}
    with pytest.raises(Invalid) as refused:
        links.create(session, workspace, LinkDraft(**given), OWN)
    assert set(refused.value.errors) == {field}
    assert session.scalar(select(func.count(Link.id))) == 0
    assert session.scalar(select(func.count(Campaign.id))) == 0


def test_several_faults_are_named_at_once() -> None:
    draft = LinkDraft(destination="x", campaign="", source="s", medium="m", code="i")
    assert set(check(draft, OWN)) == {"destination", "campaign", "code"}


def test_codes_are_unique_case_sensitive_and_seven_letters_without_lookalikes(make_link: MakeLink) -> None:
    codes = {make_link().code for _ in range(50)}
    assert len(codes) == 50
    assert all(len(code) == 7 and not set(code) & set("0O1lI") for code in codes)
    make_link(code="Sale")
    assert make_link(code="sale").code == "sale"
    with pytest.raises(Taken) as taken:
        make_link(code="sale")
    assert "code" in taken.value.errors


def test_white_space_around_a_pasted_value_is_dropped(make_link: MakeLink) -> None:
    link = make_link(destination="  https://shop.example/ ", source=" news ", content=" ", code=" ")
    assert (link.destination, link.source, link.content, len(link.code)) == ("https://shop.example/", "news", None, 7)


def test_a_new_campaign_value_makes_a_campaign_with_a_slug_of_its_own(make_link: MakeLink) -> None:
    slugs = [
        make_link(campaign=name).campaign.slug for name in ("Spring Sale!", "spring sale", "Spring Sale!", "春", "!!!")
    ]
    assert slugs == ["spring-sale", "spring-sale-2", "spring-sale", "chun", "campaign"]


def test_an_edit_checks_again_and_keeps_the_code(make_link: MakeLink, session: Session, workspace: Workspace) -> None:
    link = make_link(code="fixed")
    edited = links.edit(session, workspace, link, {"destination": "https://new.example/", "content": "b"}, OWN)
    assert edited.tagged_url.startswith("https://new.example/?utm_source=newsletter")
    assert edited.tagged_url.endswith("utm_content=b")
    with pytest.raises(Invalid) as refused:
        links.edit(session, workspace, link, {"destination": "nowhere"}, OWN)
    assert "destination" in refused.value.errors
    with pytest.raises(Invalid) as refused:
        links.edit(session, workspace, link, {"code": "other"}, OWN)
    assert "code" in refused.value.errors


def test_another_workspace_does_not_see_a_link(make_link: MakeLink, session: Session) -> None:
    link = make_link()
    stranger = Workspace(name="Theirs", key="w_theirs")
    session.add(stranger)
    session.commit()
    with pytest.raises(NotFound):
        links.find(session, stranger, link.code)


@pytest.mark.parametrize("names", [["Same"] * 12, [f"Slug{'!' * n}" for n in range(12)]])
def test_links_made_at_once_share_a_new_campaign_or_number_its_slug(
    engine: Engine, workspace: Workspace, session: Session, names: list[str]
) -> None:
    workspace_id, start = workspace.id, threading.Barrier(len(names))
    session.rollback()
    failures: list[BaseException] = []

    def make(name: str) -> None:
        draft = LinkDraft(destination="https://shop.example/", campaign=name, source="s", medium="m")
        with Session(engine) as own:
            start.wait()
            try:
                links.create(own, own.get_one(Workspace, workspace_id), draft, OWN)
            except BaseException as failure:
                failures.append(failure)

    threads = [threading.Thread(target=make, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert session.scalar(select(func.count(Link.id))) == len(names)
    slugs = sorted(session.scalars(select(Campaign.slug)))
    assert len(slugs) == len(set(slugs)) == len(set(names))
