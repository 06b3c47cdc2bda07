"""Reports by e-mail: who is on the list, when a mail is due, what it says, and how a real mail server gets it."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.databases import Database
from tests.mailserver import MailServer, mail_server
from tests.test_pages import error_of, figure, value_of
from tracker import days, mailing, smtp
from tracker.campaigning import ReportMail
from tracker.config import Settings
from tracker.errors import Invalid, NotFound, Taken
from tracker.jobs import TABLE, Installation, postman, send_mails
from tracker.models import Campaign, Link, Workspace
from tracker.services import Services
from tracker.stores import EventStore

CERTIFICATE = Path(__file__).parent / "certificates" / "localhost.pem"  # signed by itself
TO = "bob@example.org"
FROM = "Reports <reports@example.org>"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)  # a Friday

MakeLink = Callable[..., Link]


@pytest.fixture
def campaign(client: FlaskClient, make_link: MakeLink, crowd: Any, load: Callable[[], int]) -> Campaign:
    """A campaign with an impression and two clicks of yesterday, and an unread one beside it."""
    link = make_link(code="hero", title="Hero <b>")
    for n, path in enumerate(("i/hero.gif", "hero", "hero")):
        crowd.get(f"/{path}", address=f"192.0.2.{n}")
    load()
    return link.campaign


@pytest.fixture
def subscribe(session: Session, workspace: Workspace) -> Callable[..., ReportMail]:
    def subscribe(campaign: Campaign | None = None, to: str = TO, **given: Any) -> ReportMail:
        when = {"weekday": 0, "hour": 8, "now": days.now() - timedelta(days=8)} | given
        return mailing.subscribe(session, workspace, campaign, to, by="ada@example.org", **when)

    return subscribe


@pytest.fixture
def sending(database: Database) -> Callable[..., Settings]:
    """Settings with a mail server."""

    def sending(server: MailServer, scheme: str = "smtp", login: str = "", options: str = "?starttls=off") -> Settings:
        url = f"{scheme}://{login}localhost:{server.port}{options}"
        given = {"TRACKER_SMTP_URL": url, "TRACKER_MAIL_FROM": FROM, "TRACKER_BASE_URL": "https://go.example"}
        return Settings.from_env(database.environ | given)

    return sending


def state(session: Session, mail: ReportMail) -> ReportMail:
    session.rollback()
    session.expire_all()
    return session.get_one(ReportMail, mail.id)


def text_of(message: EmailMessage, kind: str = "plain") -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


# When


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("zone", "weekday", "hour", "after", "expected"),
    [
        ("UTC", 4, 13, "2026-11-20T12:00+00:00", "2026-11-20T13:00+00:00"),
        ("UTC", 4, 12, "2026-11-20T12:00+00:00", "2026-11-27T12:00+00:00"),
        ("Pacific/Auckland", 0, 8, "2026-11-22T18:30+00:00", "2026-11-22T19:00+00:00"),
        # Clocks are put forward at two on 29 March: there is no such hour, the next one stands for it.
        ("Europe/Berlin", 6, 2, "2026-03-28T12:00+00:00", "2026-03-29T01:00+00:00"),
        # And back at three on 25 October: two comes twice, and the mail once.
        ("Europe/Berlin", 6, 2, "2026-10-24T12:00+00:00", "2026-10-25T00:00+00:00"),
        ("Europe/Berlin", 6, 2, "2026-10-25T00:00+00:00", "2026-11-01T01:00+00:00"),
        ("Europe/Berlin", 0, 8, "2026-03-23T07:00+00:00", "2026-03-30T06:00+00:00"),
    ],
)
def test_the_next_time_is_by_the_clocks_of_the_zone(
    zone: str, weekday: int, hour: int, after: str, expected: str
) -> None:
    found = mailing.next_at(weekday, hour, ZoneInfo(zone), datetime.fromisoformat(after))
    assert found == datetime.fromisoformat(expected)
    assert found.utcoffset() == timedelta()


@pytest.mark.any_database
def test_a_year_of_weeks_has_one_mail_each_at_the_same_hour() -> None:
    zone, at, found = ZoneInfo("America/New_York"), NOW, []
    for _ in range(52):
        at = mailing.next_at(2, 9, zone, at)
        found.append(at.astimezone(zone))
    assert {(each.weekday(), each.hour, each.minute) for each in found} == {(2, 9, 0)}
    assert {(later.date() - earlier.date()).days for earlier, later in pairwise(found)} == {7}


# What it says


@pytest.mark.any_database
def test_a_mail_has_the_figures_of_the_page_of_the_same_days(
    owner: FlaskClient,
    session: Session,
    engine: Engine,
    campaign: Campaign,
    subscribe: Callable[..., ReportMail],
    sending: Callable[..., Settings],
) -> None:
    now = days.now()
    mail = subscribe(campaign)
    with mail_server() as server:
        assert mailing.send_due(sending(server), engine, now) == 1
    [(sender, recipient, message)] = server.mails
    assert (sender, recipient) == ("reports@example.org", TO)
    last = now.date() - timedelta(days=1)
    page = owner.get(f"/app/campaigns/spring-sale?from={last - timedelta(days=6)}&to={last}").text
    plain, rich = text_of(message), text_of(message, "html")
    for name, metric in [
        ("Impressions", "impressions"),
        ("Clicks", "clicks"),
        ("Daily unique clicks", "unique_clicks"),
        ("Click-through rate", "ctr"),
        ("Conversions", "conversions"),
        ("Conversion rate", "conversion_rate"),
    ]:
        told = figure(page, metric)
        assert re.search(rf"^{name} +{re.escape(told)}   before", plain, re.MULTILINE), (name, told)
        assert re.search(rf">{name}</th><td[^>]*>{re.escape(told)}</td>", rich), (name, told)
    assert figure(page, "clicks") == "2"
    assert "https://go.example/app/campaigns/spring-sale" in plain
    assert "Hero &lt;b&gt;" in rich
    assert "<script" not in rich
    assert state(session, mail).sent_at == now


@pytest.mark.any_database
def test_its_headers_are_those_of_a_list_one_can_leave(
    session: Session, engine: Engine, subscribe: Callable[..., ReportMail], sending: Callable[..., Settings]
) -> None:
    mail = subscribe()
    with mail_server() as server:
        mailing.send_due(sending(server), engine, days.now())
    message = server.mails[0][2]
    assert message["From"] == FROM
    assert message["To"] == TO
    assert message["List-Unsubscribe"] == f"<https://go.example/s/mail/{mail.token}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"].endswith("@example.org>")
    assert mail.token not in message["Message-ID"]
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert f"https://go.example/s/mail/{mail.token}" in text_of(message)


@pytest.mark.any_database
def test_the_mail_of_all_campaigns_has_one_entry_each(
    engine: Engine, campaign: Campaign, subscribe: Callable[..., ReportMail], sending: Callable[..., Settings]
) -> None:
    subscribe(None)
    with mail_server() as server:
        mailing.send_due(sending(server), engine, days.now())
    plain = text_of(server.mails[0][2])
    assert "spring-sale\r\n  Clicks 2 · CTR 200.0 % · Conversions 0" in plain
    assert "Clicks against before +2" in plain


@pytest.mark.any_database
def test_a_name_that_would_begin_another_header_sends_nothing(
    session: Session,
    engine: Engine,
    campaign: Campaign,
    subscribe: Callable[..., ReportMail],
    sending: Callable[..., Settings],
) -> None:
    mail = subscribe(campaign)
    session.get_one(Campaign, campaign.id).name = "Sale\r\nBcc: eve@example.org"
    session.commit()
    with mail_server() as server:
        assert mailing.send_due(sending(server), engine, days.now()) == 0
    assert server.mails == []
    assert "could not be made" in (state(session, mail).failure or "")


@pytest.mark.any_database
@pytest.mark.parametrize(
    "typed",
    [
        "bob@example.org\r\nBcc: eve@example.org",
        "bob@example.org, eve@example.org",
        "Bob <bob@example.org>",
        "bob@example.org\0",
        "bob",
        "@example.org",
        "bob@",
        "bob@exa mple.org",
        "bob@-example.org",
        "b@b@example.org",
        "bö@example.org",
        f"{'b' * 250}@example.org",
    ],
)
def test_a_recipient_is_one_plain_address(session: Session, subscribe: Callable[..., ReportMail], typed: str) -> None:
    with pytest.raises(Invalid) as refusal:
        subscribe(to=typed)
    assert set(refusal.value.errors) == {"recipient"}
    assert session.scalars(select(ReportMail)).all() == []


# How it goes out


def test_what_is_due_is_sent_once_and_again_a_week_later(
    session: Session, engine: Engine, subscribe: Callable[..., ReportMail], sending: Callable[..., Settings]
) -> None:
    mail = subscribe(now=NOW)
    monday = datetime(2026, 11, 23, 8, tzinfo=UTC)
    with mail_server() as server:
        settings = sending(server)
        sent = [
            mailing.send_due(settings, engine, at)
            for at in (monday - timedelta(seconds=1), monday, monday, monday + timedelta(days=6), monday + timedelta(7))
        ]
    assert sent == [0, 1, 0, 0, 1]
    assert state(session, mail).next_at == monday + timedelta(days=14)


def test_of_two_machines_one_sends_it(session: Session, engine: Engine, subscribe: Callable[..., ReportMail]) -> None:
    mail, now = subscribe(), days.now()
    with Session(engine) as here, Session(engine) as there:
        seen = there.get_one(ReportMail, mail.id)
        assert seen.next_at <= now
        assert mailing.take(here, mail.id, now) is not None
        # It has read the row before the other took it.
        there.expunge(seen)
        assert not mailing._move(there, seen, now + timedelta(days=7))
        assert mailing.take(there, mail.id, now) is None


@pytest.mark.any_database
def test_with_a_login_and_starttls_nothing_is_said_in_clear(
    session: Session, engine: Engine, subscribe: Callable[..., ReportMail], sending: Callable[..., Settings]
) -> None:
    subscribe()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with mail_server(tls=tls, wants_login=("ada", "p@ss/word")) as server:
        settings = sending(server, login="ada:p%40ss%2Fword@", options="")
        trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
        assert mailing.send_due(settings, engine, days.now(), trusting) == 1
    assert server.logins == [("ada", "p@ss/word")]
    assert server.tls_used == [True]


@pytest.mark.any_database
@pytest.mark.parametrize("case", ["no starttls", "unknown certificate", "wrong password", "nobody there"])
def test_a_server_that_cannot_be_used_gets_nothing_and_the_mail_waits(
    session: Session,
    engine: Engine,
    subscribe: Callable[..., ReportMail],
    sending: Callable[..., Settings],
    case: str,
) -> None:
    mail, now = subscribe(), days.now()
    given: dict[str, Any] = {}
    if case == "unknown certificate":
        given["tls"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        given["tls"].load_cert_chain(CERTIFICATE)
    if case == "wrong password":
        given["wants_login"] = ("ada", "another")
    with mail_server(**given) as server:
        options = "?starttls=off" if case == "wrong password" else ""
        settings = sending(server, login="ada:secret@", options=options)
        if case != "nobody there":
            assert mailing.send_due(settings, engine, now) == 0
    if case == "nobody there":
        assert mailing.send_due(settings, engine, now) == 0
    assert server.mails == []
    found = state(session, mail)
    assert (found.sent_at, found.failed_at, found.attempts) == (None, now, 1)
    assert found.next_at == now + mailing.RETRIES[0]
    assert found.failure
    assert "secret" not in found.failure


def test_a_failure_is_tried_again_later_and_later_and_then_next_week(
    session: Session, engine: Engine, subscribe: Callable[..., ReportMail], sending: Callable[..., Settings]
) -> None:
    mail, now = subscribe(now=NOW), datetime(2026, 11, 23, 8, tzinfo=UTC)
    with mail_server(refused={TO: "450 4.2.1 busy, come back"}) as server:
        settings, waits = sending(server), []
        for _ in range(4):
            mailing.send_due(settings, engine, now)
            again = state(session, mail).next_at
            waits.append(again - now)
            now = again
        server.refused.clear()
        assert waits[:3] == list(mailing.RETRIES)
        assert now == datetime(2026, 11, 30, 8, tzinfo=UTC)
        assert state(session, mail).failure == f"{TO} is refused: 450 4.2.1 busy, come back"
        assert mailing.send_due(settings, engine, now) == 1
    found = state(session, mail)
    assert (found.failure, found.attempts, found.sent_at) == (None, 0, now)


@pytest.mark.any_database
def test_who_is_refused_for_good_is_not_tried_again_and_keeps_nobody_else_waiting(
    session: Session, engine: Engine, subscribe: Callable[..., ReportMail], sending: Callable[..., Settings]
) -> None:
    gone, there, now = (
        subscribe(now=NOW),
        subscribe(to="eve@example.org", now=NOW),
        datetime(2026, 11, 23, 8, tzinfo=UTC),
    )
    with mail_server(refused={TO: "550 5.1.1 no such user"}) as server:
        assert mailing.send_due(sending(server), engine, now) == 1
    assert [recipient for _, recipient, _ in server.mails] == ["eve@example.org"]
    assert state(session, gone).next_at == now + timedelta(days=7)
    assert state(session, gone).failure == f"{TO} is refused: 550 5.1.1 no such user"
    assert state(session, there).failure is None


@pytest.mark.any_database
def test_a_server_that_says_nothing_holds_up_nobody(
    session: Session,
    engine: Engine,
    store: EventStore,
    subscribe: Callable[..., ReportMail],
    sending: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mail, now = subscribe(), days.now()
    assert (send_mails, 60) in TABLE
    with mail_server(silent=threading.Event()) as server:
        on = Installation(sending(server), engine, store)
        send_mails(on, now)
        # The job is back while the server still has the line open and has not said a word.
        assert server.reached.wait(60)
        assert state(session, mail).failure is None
        send_mails(on, now)
        assert server.silent is not None
        server.silent.set()
        postman.wait()
    assert "cannot be reached" in (state(session, mail).failure or "")


@pytest.mark.any_database
def test_talking_to_a_server_has_a_limit_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "TIMEOUT_S", 0.05)
    with mail_server(silent=threading.Event()) as server:
        found = smtp.read(f"smtp://localhost:{server.port}?starttls=off")
        with pytest.raises(smtp.NotSent, match="timed out"), smtp.connected(found):
            pass


# The list, and leaving it


@pytest.mark.any_database
def test_an_owner_puts_somebody_on_the_list_and_takes_them_off(
    owner: FlaskClient, session: Session, campaign: Campaign
) -> None:
    typed = {"recipient": TO, "weekday": "4", "hour": "17"}
    assert owner.post("/app/campaigns/spring-sale/mails", data=typed).status_code == 303
    mail = session.scalars(select(ReportMail)).one()
    assert (mail.recipient, mail.weekday, mail.hour, mail.created_by) == (TO, 4, 17, "ada@example.org")
    assert (mail.next_at.weekday(), mail.next_at.hour, mail.next_at > days.now()) == (4, 17, True)
    page = owner.get("/app/campaigns/spring-sale/share").text
    assert TO in page
    assert "TRACKER_SMTP_URL" in page
    again = owner.post("/app/campaigns/spring-sale/mails", data=typed)
    assert (again.status_code, error_of(again.text, "recipient")) == (409, f"{TO} gets this report already.")
    assert owner.post(f"/app/mails/{mail.id}/remove").status_code == 303
    owner.get("/app/campaigns/spring-sale/share")  # says so once
    assert TO not in owner.get("/app/campaigns/spring-sale/share").text


@pytest.mark.any_database
def test_a_bad_address_is_told_at_its_field(owner: FlaskClient, campaign: Campaign) -> None:
    page = owner.post("/app/mails", data={"recipient": "bob", "weekday": "0", "hour": "8"})
    assert page.status_code == 422
    assert error_of(page.text, "recipient") == "Give one e-mail address, like ada@example.org."
    assert value_of(page.text, "recipient") == "bob"


def test_nobody_is_on_a_list_twice(session: Session, subscribe: Callable[..., ReportMail], campaign: Campaign) -> None:
    subscribe(None)
    subscribe(campaign)
    for of in (None, campaign):
        with pytest.raises(Taken):
            subscribe(of)


@pytest.mark.any_database
def test_one_is_sent_at_once_where_that_is_asked_for(
    app: Flask,
    owner: FlaskClient,
    session: Session,
    subscribe: Callable[..., ReportMail],
    sending: Callable[..., Settings],
) -> None:
    mail = subscribe()
    due_at, services = mail.next_at, app.extensions["tracker"]
    with mail_server() as server:
        app.extensions["tracker"] = Services(sending(server), services.store, services.spool)
        answer = owner.post(f"/app/mails/{mail.id}/send", follow_redirects=True)
        assert f"Sent to {TO}." in answer.text
        server.refused[TO] = "550 no"
        answer = owner.post(f"/app/mails/{mail.id}/send", follow_redirects=True)
        assert "It was not sent" in answer.text
    app.extensions["tracker"] = services
    assert len(server.mails) == 1
    assert state(session, mail).next_at == due_at


@pytest.mark.any_database
def test_leaving_asks_first_and_takes_no_account(
    client: FlaskClient, session: Session, subscribe: Callable[..., ReportMail]
) -> None:
    mail, other = subscribe(), subscribe(to="eve@example.org")
    page = client.get(f"/s/mail/{mail.token}")
    assert page.status_code == 200
    assert '<form method="post">' in page.text
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert len(session.scalars(select(ReportMail)).all()) == 2
    assert "no more" in client.post(f"/s/mail/{mail.token}").text
    session.expire_all()
    assert [left.id for left in session.scalars(select(ReportMail))] == [other.id]


@pytest.mark.any_database
def test_a_mail_program_unsubscribes_by_itself_and_twice_is_as_good_as_once(
    app: Flask, session: Session, subscribe: Callable[..., ReportMail]
) -> None:
    token = subscribe().token
    app.config["WTF_CSRF_ENABLED"] = True
    stranger = app.test_client(use_cookies=False)
    for _ in range(2):
        answer = stranger.post(f"/s/mail/{token}", data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers
    assert session.scalars(select(ReportMail)).all() == []


@pytest.mark.any_database
def test_another_workspaces_list_is_not_ours(
    session: Session, workspace: Workspace, subscribe: Callable[..., Any]
) -> None:
    mail = subscribe()
    other = Workspace(name="Next door", key="w_nextdoor")
    session.add(other)
    session.commit()
    assert mailing.listed(session, other) == []
    for act in (mailing.get, mailing.remove):
        with pytest.raises(NotFound):
            act(session, other, mail.id)
    assert mailing.listed(session, workspace) == [mail]


# The setting


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smtp://mail.example", ("mail.example", 587, "", "", "starttls")),
        ("smtp://ada:p%40ss@mail.example:2525?starttls=required", ("mail.example", 2525, "ada", "p@ss", "starttls")),
        ("smtps://ada:secret@mail.example", ("mail.example", 465, "ada", "secret", "tls")),
        ("smtp://relay.internal:25?starttls=off", ("relay.internal", 25, "", "", "off")),
        ("smtp://[::1]:25?starttls=off", ("::1", 25, "", "", "off")),
    ],
)
def test_a_mail_server_is_named_by_an_address(text: str, expected: tuple[Any, ...]) -> None:
    assert tuple(smtp.read(text)) == expected


@pytest.mark.any_database
@pytest.mark.parametrize(
    "text",
    [
        "mail.example",
        "http://mail.example",
        "smtp://",
        "smtp://mail.example/box",
        "smtp://mail.example:0",
        "smtp://mail.example:70000",
        "smtp://mail.example?starttls=maybe",
        "smtp://mail.example?tls=1",
        "smtps://mail.example?starttls=off",
        "smtp://ada@mail.example",
        "smtp://ada:secret@mail.example?starttls=off",
        "smtp://[mail.example",
    ],
)
def test_a_malformed_mail_server_is_refused_without_its_password(database: Database, text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        smtp.read(text)
    with pytest.raises(Exception, match="TRACKER_SMTP_URL") as refusal:
        Settings.from_env(database.environ | {"TRACKER_SMTP_URL": text, "TRACKER_MAIL_FROM": FROM})
    assert "secret" not in str(refusal.value)


@pytest.mark.any_database
@pytest.mark.parametrize(
    "sender", [None, "reports", "a@b.example, c@d.example", "Reports <a@b.example", "R\n <a@b.example>"]
)
def test_whom_mail_comes_from_is_one_address(database: Database, sender: str | None) -> None:
    given = {"TRACKER_SMTP_URL": "smtp://mail.example"} | ({"TRACKER_MAIL_FROM": sender} if sender else {})
    with pytest.raises(Exception, match="TRACKER_MAIL_FROM"):
        Settings.from_env(database.environ | given)


@pytest.mark.any_database
def test_the_address_of_the_mail_server_can_come_from_a_file(database: Database, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("smtps://ada:secret@mail.example\n")
    given = {"TRACKER_SMTP_URL_FILE": str(tmp_path / "url"), "TRACKER_MAIL_FROM": "reports@example.org"}
    found = Settings.from_env(database.environ | given)
    assert (found.smtp and found.smtp.host, found.mail_from) == ("mail.example", "reports@example.org")
