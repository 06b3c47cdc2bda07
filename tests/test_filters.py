"""The page of lists and limits: what it takes, what it refuses by name, and that a browser can leave itself out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.conftest import BROWSER
from tracker.events import Verdict
from tracker.filters import AGENTS_MAX
from tracker.models import Link, Workspace
from tracker.stores import EventStore
from tracker.web import words

pytestmark = pytest.mark.any_database

PATH = "/app/settings/filters"
FORM = {
    "allowed_agents": "",
    "blocked_agents": "",
    "excluded_ranges": "",
    "double_click_s": "2",
    "flood_per_min": "20",
}


@pytest.mark.any_database
def test_no_verdict_is_explained_by_a_limit_that_can_be_changed() -> None:
    for name, _, why in words.VERDICTS.values():
        assert not re.search(r"\d|second", why), name


@pytest.mark.parametrize("path", ["", "/opt-out", "/opt-in"])
def test_a_stranger_is_sent_to_the_login(client: FlaskClient, path: str) -> None:
    answers = [client.post(PATH + path, data=FORM)] + ([] if path else [client.get(PATH)])
    for answer in answers:
        assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (303, "/app/login")
        assert "tracker_optout" not in answer.headers.get("Set-Cookie", "")


def test_lists_and_limits_are_kept_a_line_each(owner: FlaskClient, session: Session, workspace: Workspace) -> None:
    typed = FORM | {
        "allowed_agents": " OurApp/ \r\n\r\nOurApp/\r\n",
        "blocked_agents": "acme-monitor\nuptime",
        "excluded_ranges": "192.0.2.7\n10.1.2.3/16\n2001:db8::/48\n::ffff:198.51.100.1\n",
        "double_click_s": "5",
        "flood_per_min": "0",
    }
    assert owner.post(PATH, data=typed).status_code == 303
    session.refresh(workspace)
    assert workspace.allowed_agents == ["OurApp/"]
    assert workspace.blocked_agents == ["acme-monitor", "uptime"]
    assert workspace.excluded_ranges == ["192.0.2.7", "10.1.0.0/16", "2001:db8::/48", "198.51.100.1"]
    assert (workspace.double_click_s, workspace.flood_per_min) == (5, 0)
    page = owner.get(PATH).text
    assert re.search(r"<textarea[^>]*>\s*acme-monitor\r?\nuptime</textarea>", page)
    assert 'value="5"' in page
    assert f'href="{PATH}"' in owner.get("/app/settings").text


@pytest.mark.parametrize(
    ("field", "typed", "told"),
    [
        ("excluded_ranges", "192.0.2.1\nnonsense\n10.0.0.0/8", "Line 2, “nonsense”: that is neither an address nor"),
        ("excluded_ranges", "10.0.0.0/7", "Line 1, “10.0.0.0/7”: that is too wide: /8 is the widest"),
        ("excluded_ranges", "2000::/3", "that is too wide: /16"),
        ("excluded_ranges", "\n".join(f"10.0.{n}.1" for n in range(201)), "At most 200 lines."),
        ("blocked_agents", "fine\nab", "Line 2, “ab”: a part of an agent has 3 to 120 characters"),
        ("allowed_agents", "x" * 121, "has 3 to 120 characters"),
        ("allowed_agents", "\n".join("ab" for _ in range(9)), "And 4 more."),
        ("blocked_agents", "\n".join(f"agent-{n}" for n in range(AGENTS_MAX + 1)), f"At most {AGENTS_MAX} lines."),
        ("double_click_s", "61", "a whole number from 0 to 60"),
        ("double_click_s", "-1", "a whole number from 0 to 60"),
        ("flood_per_min", "many", "a whole number from 0 to 1000"),
        ("flood_per_min", "", "a whole number from 0 to 1000"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_and_kept_as_typed(
    owner: FlaskClient, session: Session, workspace: Workspace, field: str, typed: str, told: str
) -> None:
    answer = owner.post(PATH, data=FORM | {"blocked_agents": "kept"} | {field: typed})
    assert answer.status_code == 422
    error = re.search(rf'id="{field}-error">([^<]*)<', answer.text)
    assert error is not None
    assert told in error[1]
    first = typed.partition("\n")[0]
    assert first in answer.text
    session.refresh(workspace)
    assert (workspace.blocked_agents, workspace.flood_per_min) == ([], 20)


def test_a_form_without_its_token_changes_nothing(
    app: Flask, owner: FlaskClient, session: Session, workspace: Workspace
) -> None:
    app.config["WTF_CSRF_ENABLED"] = True
    for path in ("", "/opt-out", "/opt-in"):
        assert owner.post(PATH + path, data=FORM | {"flood_per_min": "1"}).status_code == 400
    session.refresh(workspace)
    assert workspace.flood_per_min == 20


def test_a_browser_leaves_itself_out_and_comes_back(
    owner: FlaskClient,
    make_link: Callable[..., Link],
    load: Callable[[], int],
    store: EventStore,
    workspace: Workspace,
) -> None:
    owner.environ_base["HTTP_USER_AGENT"] = BROWSER
    at = {"base_url": "https://go.example"}
    first, second = make_link(), make_link()
    # The session of this test is one of another host; here it is this one's as well.
    session_cookie = owner.get_cookie("tracker_session")
    assert session_cookie is not None
    owner.set_cookie("tracker_session", session_cookie.value, domain="go.example")
    assert "Do not count this browser" in owner.get(PATH, **at).text
    answer = owner.post(f"{PATH}/opt-out", **at)
    assert answer.status_code == 303
    (cookie,) = (each for each in answer.headers.getlist("Set-Cookie") if each.startswith("tracker_optout"))
    assert {"Secure", "HttpOnly", "SameSite=None", "Path=/"} <= set(cookie.split("; "))
    assert "Count this browser again" in owner.get(PATH, **at).text
    owner.get(f"/{first.code}", **at)
    owner.post(f"{PATH}/opt-in", **at)
    owner.get(f"/{second.code}", **at)
    load()
    verdicts = [event.verdict for event in store.recent(workspace.id, before=None, limit=9)]
    assert verdicts == [Verdict.COUNTED, Verdict.INTERNAL]


def test_without_https_the_cookie_can_do_without(owner: FlaskClient, app: Flask) -> None:
    services = app.extensions["tracker"]
    object.__setattr__(services.settings, "base_url", None)
    (cookie,) = (
        each
        for each in owner.post(f"{PATH}/opt-out").headers.getlist("Set-Cookie")
        if each.startswith("tracker_optout")
    )
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


def test_at_another_host_than_the_links_the_page_says_where_to_go(owner: FlaskClient) -> None:
    page = owner.get(PATH).text
    assert f'href="https://go.example{PATH}"' in page
    assert "Do not count this browser" not in page
