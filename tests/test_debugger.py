"""The debugger's live list: what came in under a code, what would have become of it, and what it lacks."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tests.conftest import Api
from tracker import days, links, testcodes
from tracker.models import Conversion, Link, Report, Workspace
from tracker.sums import SaleDay, SaleQuarter

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Load = Callable[[], int]


@pytest.fixture
def code(session: Session, workspace: Workspace) -> str:
    return testcodes.start(session, workspace, days.now()).code


@pytest.fixture
def click(client: FlaskClient, make_link: MakeLink, code: str) -> Callable[..., str]:
    """Follows a link under the code and answers the genuine click id that the landing page gets."""

    def click(link: Link | None = None) -> str:
        location = client.get(f"/{(link or make_link()).code}?tracker_test={code}").headers["Location"]
        return str(location.partition("cid=")[2][:28])

    return click


@pytest.fixture
def seen(owner: FlaskClient, load: Load, code: str) -> Callable[[], list[dict[str, Any]]]:
    """The lines of the live list, newest first."""

    def seen() -> list[dict[str, Any]]:
        load()
        found: list[dict[str, Any]] = owner.get(f"/app/debugger/tests/{code}.json").json["items"]
        return found

    return seen


def faults(line: dict[str, Any]) -> dict[str, str]:
    return {fault["field"]: fault["severity"] for fault in line["faults"]}


@pytest.mark.parametrize("path", ["/app/debugger", "/app/debugger/tests/Abcd1234", "/app/debugger/tests/Abcd1234.json"])
def test_a_stranger_is_sent_to_the_login(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/app/login")


def test_a_stranger_starts_and_ends_no_test(client: FlaskClient, code: str, session: Session) -> None:
    for path in ("/app/debugger/tests", f"/app/debugger/tests/{code}/end"):
        assert client.post(path).headers["Location"].startswith("/app/login")
    assert session.scalar(select(func.count()).select_from(testcodes.TestCode)) == 1


def test_a_test_is_started_with_a_post_and_shown_with_addresses_that_carry_its_code(
    owner: FlaskClient, make_link: MakeLink, workspace: Workspace
) -> None:
    make_link(code="teapot")
    assert "No test yet" in owner.get("/app/debugger").text
    where = owner.post("/app/debugger/tests").headers["Location"]
    code = where.rpartition("/")[2]
    page = html.unescape(owner.get(where).text)
    assert f"https://go.example/teapot?tracker_test={code}" in page
    assert f"https://go.example/i/teapot.gif?tracker_test={code}" in page
    assert f"utm_campaign=spring-sale&tracker_test={code}#top" in page
    assert f"/c/{workspace.key}.gif?order=TEST-1&value=49.90&currency=EUR&cid=CID&test={code}" in page
    assert "Nothing yet." in page
    assert code in owner.get("/app/debugger").text


def test_the_addresses_are_those_of_the_link_that_is_asked_for(
    owner: FlaskClient, make_link: MakeLink, code: str
) -> None:
    make_link(code="teapot")
    make_link(code="newest")
    assert "go.example/newest?tracker_test=" in owner.get(f"/app/debugger/tests/{code}").text
    assert "go.example/teapot?tracker_test=" in owner.get(f"/app/debugger/tests/{code}?link=teapot").text
    refused = owner.get(f"/app/debugger/tests/{code}?link=nowhere")
    assert refused.status_code == 422
    assert "There is no link “nowhere”." in html.unescape(refused.text)
    assert 'value="nowhere"' in refused.text


def test_an_archived_link_is_said_to_lead_nowhere(
    owner: FlaskClient, make_link: MakeLink, session: Session, code: str
) -> None:
    links.set_archived(session, make_link(code="teapot"), True)
    assert "This link is archived" in owner.get(f"/app/debugger/tests/{code}?link=teapot").text
    assert "A link is needed" in owner.get(f"/app/debugger/tests/{code}").text


def test_a_whole_test_is_listed_newest_first_with_the_matched_click(
    owner: FlaskClient,
    client: FlaskClient,
    make_link: MakeLink,
    workspace: Workspace,
    code: str,
    click: Callable[..., str],
    seen: Callable[[], list[dict[str, Any]]],
    session: Session,
) -> None:
    link = make_link(code="teapot")
    client.get(f"/i/teapot.gif?tracker_test={code}")
    cid = click(link)
    sale = {"cid": cid, "order": "A-1", "value": "49.90", "currency": "EUR", "customer": "ada", "test": code}
    answer = client.post(f"/c/{workspace.key}", data=sale)
    assert (answer.status_code, answer.json["reason"]) == (202, "test")
    report, clicked, impression = seen()
    assert [line["kind"] for line in (impression, clicked, report)] == ["impression", "click", "callback"]
    assert (clicked["verdict"], clicked["code"], clicked["campaign"]) == ("test", "teapot", "spring-sale")
    assert (report["result"], report["faults"], report["campaign"]) == ("recorded", [], "spring-sale")
    assert report["click"] == {"at": clicked["at"], "matched_by": "click", "verdict": "test", "is_of_test": True}
    assert report["params"]["customer"] == "given, hashed"
    assert session.scalar(select(func.count(Conversion.id))) == 0
    page = html.unescape(owner.get(f"/app/debugger/tests/{code}").text)
    for text in (
        "An impression came in.",
        "It found its click.",
        "would be a new conversion",
        "€49.90",
        "given, hashed",
    ):
        assert text in page
    assert "Matched by its click id to the click" in page


def test_the_same_sale_reported_twice_is_one_and_says_of_which_it_is_the_repeat(
    owner: FlaskClient,
    client: FlaskClient,
    workspace: Workspace,
    code: str,
    click: Callable[..., str],
    seen: Callable[[], list[dict[str, Any]]],
) -> None:
    sale = {"cid": click(), "order": "A-1", "test": code}
    client.get(f"/c/{workspace.key}.gif", query_string=sale)
    client.post(f"/c/{workspace.key}", data=sale | {"value": "10"})
    client.post(f"/c/{workspace.key}", data=sale | {"value": "10"})
    client.post(f"/c/{workspace.key}", data={"order": "A-1", "status": "refunded", "test": code})
    client.post(f"/c/{workspace.key}", data={"order": "A-2", "status": "refunded", "test": code})
    other, refund, repeat, second, first, _ = seen()
    assert [line["result"] for line in (first, second, repeat, refund, other)] == [
        "recorded",
        "updated",
        "duplicate",
        "updated",
        "unmatched",
    ]
    assert [faults(line).get("cid") for line in (refund, other)] == [None, "wrong"]
    assert [line["duplicate_of"] for line in (second, repeat, refund)] == [first["id"]] * 3
    page = owner.get(f"/app/debugger/tests/{code}").text
    assert page.count(f'href="#hit-{first["id"]}"') == 3
    assert "duplicate of the conversion pixel at" in page


@pytest.mark.parametrize(
    ("params", "found", "result"),
    [
        ({}, {"cid": "wrong", "order": "missing", "value": "missing", "customer": "missing"}, "unmatched"),
        ({"cid": "{clickid}", "order": "1", "value": "1"}, {"cid": "wrong", "customer": "missing"}, "unmatched"),
        ({"cid": "A" * 28, "order": "1", "value": "1"}, {"cid": "wrong"}, "unmatched"),
        ({"order": "1", "value": "1,2,3"}, {"value": "wrong"}, "refused"),
        ({"order": "1", "value": "1", "currency": "EURO"}, {"currency": "wrong"}, "refused"),
        ({"order": "{{order_id}}", "value": "1"}, {"order": "wrong"}, "unmatched"),
        ({"order": "1", "value": "1"}, {"currency": "missing"}, "unmatched"),
        ({"order": "1", "valeu": "9"}, {"valeu": "missing"}, "unmatched"),
    ],
)
def test_what_is_wrong_or_missing_is_named_by_field(
    client: FlaskClient,
    workspace: Workspace,
    code: str,
    seen: Callable[[], list[dict[str, Any]]],
    params: dict[str, str],
    found: dict[str, str],
    result: str,
) -> None:
    client.post(f"/c/{workspace.key}", data=params | {"test": code})
    (line,) = seen()
    assert line["result"] == result
    assert faults(line).items() >= found.items()


def test_a_parameter_that_we_do_not_know_shows_its_name_alone_and_what_may_be_meant(
    owner: FlaskClient, client: FlaskClient, workspace: Workspace, code: str, seen: Callable[[], list[dict[str, Any]]]
) -> None:
    client.post(f"/c/{workspace.key}", data={"ordre_id": "secret@example.org", "test": code})
    (line,) = seen()
    assert line["params"]["ordre_id"] is None
    page = owner.get(f"/app/debugger/tests/{code}").text
    assert "secret@example.org" not in page
    assert "Is order_id meant?" in page


def test_a_sale_from_a_test_click_is_listed_though_it_carries_no_code(
    client: FlaskClient,
    workspace: Workspace,
    click: Callable[..., str],
    seen: Callable[[], list[dict[str, Any]]],
) -> None:
    client.post(f"/c/{workspace.key}", data={"cid": click(), "order": "A-1", "value": "5"})
    report, _ = seen()
    assert (report["kind"], report["result"]) == ("callback", "recorded")
    assert report["click"]["is_of_test"] is True


def test_a_sale_from_a_test_click_is_in_no_figure_and_no_sum(
    owner: FlaskClient,
    client: FlaskClient,
    api: Api,
    workspace: Workspace,
    click: Callable[..., str],
    seen: Callable[[], list[dict[str, Any]]],
    session: Session,
    engine: Engine,
) -> None:
    client.post(f"/c/{workspace.key}", data={"cid": click(), "order": "A-1", "value": "5"})
    client.get(f"/c/{workspace.key}.gif", query_string={"order": "A-1", "customer": "ada"})
    seen()
    sale = session.scalars(select(Conversion)).one()
    assert (sale.is_test, sale.click_settled) == (True, True)
    today = days.now().date().isoformat()
    totals = api("GET", f"/campaigns/spring-sale/stats?from={today}&to={today}").json["totals"]
    assert (totals["clicks"], totals["conversions"], totals["revenue"], totals["filtered"]) == (0, 0, [], {})
    with engine.connect() as connection:
        for table in (SaleQuarter, SaleDay):
            n = func.coalesce(func.sum(table.n + table.outside_n + table.view_n), 0)
            assert connection.scalar(select(n)) == 0
    assert "never" in owner.get("/app/links/" + str(session.get_one(Link, sale.link_id).code)).text


def test_a_real_sales_order_under_a_test_is_known_already(
    client: FlaskClient,
    make_link: MakeLink,
    workspace: Workspace,
    code: str,
    seen: Callable[[], list[dict[str, Any]]],
    load: Load,
) -> None:
    location = client.get(f"/{make_link().code}").headers["Location"]
    sale = {"cid": location.partition("cid=")[2][:28], "order": "A-1", "value": "5"}
    client.post(f"/c/{workspace.key}", data=sale)
    load()
    client.post(f"/c/{workspace.key}", data=sale | {"test": code})
    (report,) = seen()
    assert (report["result"], report["recorded_before"]) == ("duplicate", True)
    assert report["click"]["is_of_test"] is False


def test_where_signatures_are_required_a_test_without_one_would_be_refused(
    client: FlaskClient,
    workspace: Workspace,
    session: Session,
    code: str,
    click: Callable[..., str],
    seen: Callable[[], list[dict[str, Any]]],
) -> None:
    cid = click()
    workspace.signature_mode = "required"
    session.commit()
    client.post(f"/c/{workspace.key}", data={"cid": cid, "order": "1", "test": code})
    client.get(f"/c/{workspace.key}.gif", query_string={"cid": cid, "order": "1", "test": code})
    results = {line["kind"]: (line["result"], line["reason"]) for line in seen() if line["kind"] != "click"}
    assert results["conversion"] == ("unmatched", "signature_required")
    assert results.get("callback", ("refused", ""))[0] == "refused"


def test_another_workspace_sees_nothing_of_a_test(owner: FlaskClient, session: Session, api: Api) -> None:
    other = Workspace(name="Other", key="other-key")
    session.add(other)
    session.commit()
    foreign = testcodes.start(session, other, days.now()).code
    for path in (f"/app/debugger/tests/{foreign}", f"/app/debugger/tests/{foreign}.json"):
        assert owner.get(path).status_code == 404
    assert owner.post(f"/app/debugger/tests/{foreign}/end").status_code == 404
    assert api("GET", f"/tests/{foreign}").status_code == 404
    assert foreign not in owner.get("/app/debugger").text


def test_a_report_under_another_workspaces_code_is_seen_in_neither_list(
    client: FlaskClient,
    owner: FlaskClient,
    session: Session,
    workspace: Workspace,
    code: str,
    seen: Callable[[], list[dict[str, Any]]],
) -> None:
    other = Workspace(name="Other", key="other-key")
    session.add(other)
    session.commit()
    client.post("/c/other-key", data={"order": "1", "test": code})
    assert session.scalar(select(func.count(Report.id)).where(Report.test_code == code)) == 1
    assert seen() == []
    assert "unknown code" not in owner.get("/app/debugger").text


def test_tests_under_codes_that_nobody_has_issued_are_told_of(
    client: FlaskClient, owner: FlaskClient, make_link: MakeLink, workspace: Workspace, load: Load
) -> None:
    assert 'id="strays"' not in owner.get("/app/debugger").text
    client.get(f"/{make_link(code='teapot').code}?tracker_test=1")
    client.post(f"/c/{workspace.key}", data={"order": "1", "test": "1"})
    client.post(f"/c/{workspace.key}", data={"order": "1", "test": "Nobodys1"})
    load()
    strays = re.search(r'<section id="strays">.*?</section>', owner.get("/app/debugger").text, re.DOTALL)
    assert strays
    assert strays[0].count("unknown code") == 3
    assert "teapot" in strays[0]
    assert "Nobodys1" in strays[0]


def test_a_test_that_is_ended_says_so_and_takes_no_more(
    client: FlaskClient, owner: FlaskClient, make_link: MakeLink, code: str, seen: Callable[[], list[dict[str, Any]]]
) -> None:
    link = make_link()
    client.get(f"/{link.code}?tracker_test={code}")
    assert len(seen()) == 1
    assert owner.post(f"/app/debugger/tests/{code}/end").status_code == 303
    assert "This test ended" in owner.get(f"/app/debugger/tests/{code}").text
    client.get(f"/{link.code}?tracker_test={code}")
    assert len(seen()) == 1


def test_too_many_tests_at_once_are_refused_in_words(
    owner: FlaskClient, session: Session, workspace: Workspace
) -> None:
    for _ in range(testcodes.AT_ONCE_MAX):
        testcodes.start(session, workspace, days.now())
    refused = owner.post("/app/debugger/tests")
    assert refused.status_code == 422
    assert "20 tests are under way" in refused.text


def test_a_test_can_be_run_over_the_api(
    api: Api, client: FlaskClient, make_link: MakeLink, workspace: Workspace, load: Load
) -> None:
    make_link(code="teapot")
    assert api("POST", "/tests", {"link": "nowhere"}).status_code == 404
    made = api("POST", "/tests", {"link": "teapot"})
    assert made.status_code == 201
    code, addresses = made.json["code"], made.json["addresses"]
    client.get(addresses["short_url"].removeprefix("https://go.example"))
    client.get(addresses["conversion_pixel_url"].removeprefix("https://go.example"))
    load()
    assert [row["code"] for row in api("GET", "/tests").json["items"]] == [code]
    report, click = api("GET", f"/tests/{code}").json["items"]
    assert (click["kind"], click["verdict"]) == ("click", "test")
    assert (report["kind"], report["result"], report["reason"]) == ("conversion", "unmatched", "bad_click_id")
    assert api("DELETE", f"/tests/{code}").status_code == 204
    assert "short_url" not in api("POST", "/tests", {}).json["addresses"]


def test_what_can_be_no_code_is_not_there(owner: FlaskClient) -> None:
    assert owner.get("/app/debugger/tests/x%00").status_code == 404
