"""Destinations that people are led to are looked at: on a real server of somebody else's, with an injected clock."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_network
from itertools import count

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests import peers
from tests.conftest import BASE_URL
from tests.peers import Answer, Peer, answer, redirect
from tracker import days, destinationchecks, jobs, links
from tracker.answers import Limits
from tracker.campaigning import DestinationCheck
from tracker.config import Settings
from tracker.destinationchecks import AGENT, DestinationChecks, Failing, address_of
from tracker.destinations import OwnDomain
from tracker.fetching import Fetcher
from tracker.jobs import Installation
from tracker.models import Link, Workspace
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

OWN = OwnDomain((BASE_URL,))
NOT_FOUND = answer(b"nothing here", "404 Not Found")
NAMES = {name: ["127.0.0.1"] for name in ("shop.example", "other.example", "go.example")}
NAMES["inside.example"] = ["10.0.0.5"]


@pytest.fixture
def shop() -> Iterator[Peer]:
    with peers.peer() as found:
        yield found


@dataclass
class Watch:
    """Runs of the job, at any time after now."""

    on: Installation
    session: Session
    workspace: Workspace
    now: datetime

    def run(self, **later: float) -> None:
        jobs.check_destinations(self.on, self.now + timedelta(**later))
        self.on.checks.wait()
        self.session.expire_all()

    def failing(self, **later: float) -> list[Failing]:
        return destinationchecks.failing(self.session, self.workspace, self.now + timedelta(**later))

    @property
    def rows(self) -> list[DestinationCheck]:
        return list(self.session.scalars(select(DestinationCheck).order_by(DestinationCheck.url)))


@pytest.fixture
def watch(
    shop: Peer, settings: Settings, engine: Engine, store: EventStore, session: Session, workspace: Workspace
) -> Watch:
    fetcher = Fetcher(
        [ip_network("127.0.0.1/32")],
        resolve=lambda host: NAMES.get(host, []),
        ports={80, 443, shop.port},
        limits=Limits(body_bytes=0),
        agent=AGENT,
    )
    return Watch(Installation(settings, engine, store, DestinationChecks(fetcher)), session, workspace, days.now())


@pytest.fixture
def clicked(
    shop: Peer, client: FlaskClient, make_link: Callable[..., Link], load: Callable[[], int]
) -> Callable[..., Link]:
    """A link to a path of the shop, that somebody has just followed; each somebody else."""
    people = count(1)

    def clicked(path: str = "/sale", host: str = "shop.example", **given: str) -> Link:
        link = make_link(destination=shop.url(path, host), **given)
        who = {"REMOTE_ADDR": f"192.0.2.{next(people)}"}
        assert client.get(f"/{link.code}", environ_base=who).status_code == 302
        load()
        return link

    return clicked


def asked(shop: Peer) -> list[str]:
    return [request.split(" ")[1] for request in shop.requests]


def test_a_destination_fails_from_the_second_failure_on_and_is_well_again_after_one_answer(
    watch: Watch, shop: Peer, clicked: Callable[..., Link]
) -> None:
    link = clicked()
    shop.pages["/sale"] = answer(b"<p>Sale</p>")
    watch.run()
    assert [(row.outcome, row.answer, row.failures) for row in watch.rows] == [("ok", "200", 0)]
    shop.pages["/sale"] = NOT_FOUND
    watch.run(hours=6)
    assert watch.failing(hours=6) == []
    watch.run(hours=6, minutes=10)
    (found,) = watch.failing(hours=7)
    assert (found.url, found.answer) == (shop.url("/sale"), "404")
    assert found.since == watch.now + timedelta(hours=6)
    assert [each.code for each in found.links] == [link.code]
    shop.pages["/sale"] = answer(b"<p>Sale</p>")
    watch.run(hours=8)
    assert watch.failing(hours=8) == []


def test_nobody_is_asked_more_often_than_the_setting_says_and_failures_sooner(
    watch: Watch, shop: Peer, clicked: Callable[..., Link]
) -> None:
    clicked()
    shop.pages["/sale"] = answer(b"<p>Sale</p>")
    for minutes in (0, 5, 60, 359):
        watch.run(minutes=minutes)
    assert len(shop.requests) == 1
    shop.pages["/sale"] = NOT_FOUND
    watch.run(minutes=360)
    watch.run(minutes=369)
    assert len(shop.requests) == 2
    watch.run(minutes=370)
    watch.run(minutes=429)
    assert len(shop.requests) == 3
    watch.run(minutes=430)
    assert len(shop.requests) == 4


def test_it_says_who_asks_and_leaves_tags_out(watch: Watch, shop: Peer, clicked: Callable[..., Link]) -> None:
    clicked("/sale?ref=1&ad={clickid}#top")
    watch.run()
    assert asked(shop) == ["/sale?ref=1&ad="]
    assert f"User-Agent: {AGENT}\r\n" in shop.requests[0]


@pytest.mark.parametrize(
    ("destination", "address"),
    [
        ("https://shop.example/a?b={ts}&c=1#d", "https://shop.example/a?b=&c=1"),
        ("https://shop.example/a#{clickid}", "https://shop.example/a"),
        ("https://shop.example/{campaign}/a", None),
        ("https://shop.example", "https://shop.example"),
    ],
)
def test_macros_are_left_empty_and_a_path_with_one_is_not_asked_for(destination: str, address: str | None) -> None:
    assert address_of(destination) == address


def test_two_links_to_one_destination_ask_once(watch: Watch, shop: Peer, clicked: Callable[..., Link]) -> None:
    first, second = clicked(), clicked(medium="cpc")
    shop.pages["/sale"] = NOT_FOUND
    watch.run()
    watch.run(minutes=10)
    assert len(shop.requests) == 2
    assert [each.id for each in watch.failing()[0].links] == [first.id, second.id]


def hang_up(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize(
    ("given", "outcome", "said"),
    [
        (answer(b"%PDF", content_type="application/pdf"), "ok", "200"),
        (answer(b"{}", "500 Internal Server Error", content_type="application/json"), "failed", "500"),
        (answer(b"", "410 Gone"), "failed", "410"),
        (answer(b"", "503 Service Unavailable"), "failed", "503"),
        (answer(b"", "503 Service Unavailable", cf_mitigated="challenge"), "unknown", "503"),
        (answer(b"", "403 Forbidden"), "unknown", "403"),
        (answer(b"", "429 Too Many Requests"), "unknown", "429"),
        (redirect("/sale"), "failed", "redirects_endless"),
        (redirect("/missing"), "failed", "404"),
        (redirect("http://inside.example/"), "unknown", "address_private"),
        (redirect(f"{BASE_URL}/abc"), "unknown", "address_own"),
        (redirect("http://gone.example/"), "unknown", "name_unknown"),
        (redirect("http://gone.shop/"), "failed", "name_unknown"),
        (hang_up, "failed", "unreachable"),
    ],
)
def test_what_an_answer_says_of_a_destination(
    watch: Watch, shop: Peer, clicked: Callable[..., Link], given: Answer, outcome: str, said: str
) -> None:
    clicked()
    shop.pages["/sale"] = given
    watch.run()
    assert [(row.outcome, row.answer) for row in watch.rows] == [(outcome, said)]


def test_a_wall_after_a_failure_ends_the_row(watch: Watch, shop: Peer, clicked: Callable[..., Link]) -> None:
    clicked()
    for minutes, page in ((0, NOT_FOUND), (10, answer(b"", "403 Forbidden")), (400, NOT_FOUND)):
        shop.pages["/sale"] = page
        watch.run(minutes=minutes)
    assert [row.failures for row in watch.rows] == [1]
    assert watch.failing(minutes=400) == []


def test_a_certificate_that_is_not_valid_is_a_failure(
    settings: Settings, watch: Watch, clicked: Callable[..., Link], shop: Peer
) -> None:
    with peers.peer(secure=True) as secure:
        fetcher = Fetcher(
            [ip_network("127.0.0.1/32")], resolve=lambda host: ["127.0.0.1"], ports={secure.port, shop.port}
        )
        shop.pages["/sale"] = redirect(secure.url("/sale"))
        clicked()
        watch.on = replace(watch.on, checks=DestinationChecks(fetcher))
        watch.run()
    assert [(row.outcome, row.answer) for row in watch.rows] == [("failed", "certificate")]


def test_where_no_host_answers_it_is_this_machine_that_has_no_way_out(
    watch: Watch, shop: Peer, clicked: Callable[..., Link]
) -> None:
    clicked("/a")
    clicked("/b", host="other.example")
    shop.pages |= {"/a": hang_up, "/b": hang_up}
    watch.run()
    assert {row.outcome for row in watch.rows} == {"unknown"}
    shop.pages["/a"] = answer(b"well")
    watch.run(hours=6)
    assert {(row.url, row.outcome) for row in watch.rows} == {
        (shop.url("/a"), "ok"),
        (shop.url("/b", "other.example"), "failed"),
    }


def test_only_what_was_clicked_within_a_day_is_asked_for_and_what_fails_until_it_is_well(
    watch: Watch, shop: Peer, clicked: Callable[..., Link], make_link: Callable[..., Link]
) -> None:
    make_link(destination=shop.url("/idle"))
    clicked()
    watch.run(hours=25)
    assert shop.requests == []
    shop.pages["/sale"] = NOT_FOUND
    watch.run()
    watch.run(hours=30)
    watch.run(hours=60)
    assert asked(shop) == ["/sale"] * 3


def test_a_link_led_elsewhere_or_archived_needs_nobody_any_more(
    watch: Watch, shop: Peer, clicked: Callable[..., Link], session: Session, workspace: Workspace
) -> None:
    moved, kept = clicked(), clicked(medium="cpc")
    watch.run()
    watch.run(minutes=10)
    links.edit(session, workspace, moved, {"destination": shop.url("/better")}, OWN)
    assert [each.id for each in watch.failing()[0].links] == [kept.id]
    links.set_archived(session, kept, True)
    assert watch.failing() == []
    asked_before = len(shop.requests)
    watch.run(hours=2)
    assert asked(shop)[asked_before:] == ["/better"]


def test_a_failing_destination_of_another_workspace_is_not_shown(
    watch: Watch, clicked: Callable[..., Link], session: Session
) -> None:
    clicked()
    watch.run()
    watch.run(minutes=10)
    other = Workspace(name="Other", key="w_other0000000")
    session.add(other)
    session.commit()
    assert len(watch.failing()) == 1
    assert destinationchecks.failing(session, other, watch.now) == []


def test_with_zero_hours_nobody_is_asked(watch: Watch, shop: Peer, clicked: Callable[..., Link]) -> None:
    clicked()
    watch.on = replace(watch.on, settings=replace(watch.on.settings, destination_checks_hours=0))
    watch.run()
    assert shop.requests == []
    assert watch.rows == []


def test_the_job_returns_while_a_destination_has_not_answered_yet(
    watch: Watch, shop: Peer, clicked: Callable[..., Link]
) -> None:
    clicked()
    has_come, may_answer = threading.Event(), threading.Event()

    def wait(connection: socket.socket) -> None:
        has_come.set()
        may_answer.wait(30)
        connection.sendall(answer(b"at last"))

    shop.pages["/sale"] = wait
    jobs.check_destinations(watch.on, watch.now)
    assert has_come.wait(30)
    # Another run at the same time does nothing.
    jobs.check_destinations(watch.on, watch.now + timedelta(hours=1))
    assert [row.answer for row in watch.rows] == [""]
    may_answer.set()
    watch.on.checks.wait()
    watch.session.expire_all()
    assert [row.answer for row in watch.rows] == ["200"]
    assert len(shop.requests) == 1


def test_a_run_asks_for_so_many_and_the_next_for_those_that_waited_longest(
    watch: Watch, shop: Peer, clicked: Callable[..., Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("/a", "/b", "/c"):
        clicked(path)
        shop.pages[path] = answer(b"well")
    monkeypatch.setattr(destinationchecks, "AT_ONCE_MAX", 2)
    watch.run()
    assert len(shop.requests) == 2
    watch.run(hours=7)
    assert set(asked(shop)[:3]) == {"/a", "/b", "/c"}


def test_no_further_address_is_begun_when_the_time_of_a_run_is_over(
    watch: Watch, shop: Peer, clicked: Callable[..., Link]
) -> None:
    for path in ("/a", "/b", "/c"):
        clicked(path)
    ticks = iter((0, 0, 100, 121))
    fetcher = watch.on.checks._fetcher
    watch.on = replace(watch.on, checks=DestinationChecks(fetcher, clock=lambda: next(ticks)))
    watch.run()
    assert len(shop.requests) == 2


def test_what_was_not_asked_for_in_a_month_is_forgotten(watch: Watch, shop: Peer, clicked: Callable[..., Link]) -> None:
    shop.pages["/sale"] = answer(b"well")
    clicked()
    watch.run()
    watch.run(days=29)
    assert len(watch.rows) == 1
    watch.run(days=31)
    assert watch.rows == []
