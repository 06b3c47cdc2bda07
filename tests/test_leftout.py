"""What is in no figure: by verdict and label, with samples; unknown codes; and events looked for by what they are."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from tests.conftest import BROWSER, Api
from tracker import codes, days
from tracker.events import Kind, Verdict
from tracker.models import Link, Workspace
from tracker.pipeline import strangers
from tracker.stores import Batch, EventStore, StoredEvent, searching

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Load = Callable[[], int]
SLACK = "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"
PROXY = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
NOW_MS = days.to_ms(days.now())
BLANK = StoredEvent(NOW_MS, 0, Kind.CLICK, Verdict.COUNTED, *[None] * 14)


@pytest.fixture
def hit(client: FlaskClient, make_link: MakeLink, load: Load) -> Link:
    """A link with three hits left out, one with a remark and two that just count."""
    link = make_link(code="teapot")
    for agent in (SLACK, SLACK, "curl/8.4.0", BROWSER):
        client.get("/teapot", headers={"User-Agent": agent, "Referer": "https://news.example/a?b"})
    client.get("/i/teapot.gif", headers={"User-Agent": PROXY})
    client.get("/i/teapot.gif")
    load()
    return link


def table(page: str, verdict: str) -> list[list[str]]:
    """The rows of one verdict's table, as text, without the samples."""
    found = re.search(rf'<section id="verdict-{verdict}".*?</section>', page, re.DOTALL)
    assert found, f"{verdict} has no section"
    body = found[0].partition("<tbody>")[2]
    rows = [row for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL) if 'class="more"' not in row]
    return [
        [" ".join(re.sub("<[^>]+>", " ", cell).split()) for cell in re.split(r"</t[hd]>", row)[:-1]] for row in rows
    ]


@pytest.mark.parametrize("path", ["/app/filtered", "/app/campaigns/spring-sale/filtered"])
def test_what_was_left_out_is_told_by_verdict_and_label(owner: FlaskClient, hit: Link, path: str) -> None:
    page = html.unescape(owner.get(path).text)
    assert "3 of 6 impressions and clicks are in no figure, 50.0 %" in page
    labels = {row[0]: row[1:] for row in table(page, "bot")}
    assert sorted(labels.values()) == [["0", "1", "16.7 %"], ["0", "2", "33.3 %"]]
    assert [row[1:] for row in table(page, "counted")] == [["1", "0", "16.7 %"]]
    assert "The user agent is a bot, a tool or a link preview." in page


def test_each_label_has_samples_and_leads_to_its_events(owner: FlaskClient, hit: Link) -> None:
    page = html.unescape(owner.get("/app/campaigns/spring-sale/filtered").text)
    assert page.count(SLACK) == 2
    assert "from news.example" in page
    (leads_to,) = re.findall(r'href="(/app/events\?verdict=bot&label=[^"]*curl[^"]*)"', page)
    events = owner.get(leads_to).text
    assert events.count("<time") == 1
    assert "curl/8.4.0" in events


def test_the_campaign_page_names_the_labels_and_leads_on(owner: FlaskClient, hit: Link) -> None:
    page = html.unescape(owner.get("/app/campaigns/spring-sale").text)
    section = page[page.index('id="left-out"') :]
    assert "bots and link previews" in section
    assert "curl 1" in section
    assert "1 hit came with a remark" in section
    assert 'href="/app/campaigns/spring-sale/filtered' in section


def test_days_without_anything_left_out_say_so(owner: FlaskClient, client: FlaskClient, hit: Link) -> None:
    path = "/app/campaigns/spring-sale/filtered"
    assert "Nothing happened in these days" in owner.get(f"{path}?from=2026-01-01&to=2026-01-02").text
    refused = owner.get(f"{path}?from=2026-01-03&to=2026-01-02")
    assert refused.status_code == 422
    assert 'id="to-error"' in refused.text


def test_rare_labels_are_a_row_together(
    owner: FlaskClient, api: Api, store: EventStore, workspace: Workspace, make_link: MakeLink
) -> None:
    link = make_link()
    own = {"workspace_id": workspace.id, "campaign_id": link.campaign_id, "link_id": link.id, "verdict": Verdict.BOT}
    rows = [BLANK._replace(nonce=n, detail=f"bot {min(n, 40)}", **own) for n in range(50)]
    store.append(Batch("s", 0, 1, rows))
    shown = table(owner.get("/app/filtered").text, "bot")
    assert shown[0] == ["bot 40", "0", "10", "20.0 %"]
    assert shown[-1] == ["11 rarer labels", "0", "11", "22.0 %"]
    assert len(shown) == 31
    today = days.now().date()
    found = api("GET", f"/filtered?from={today}&to={today}").json
    assert sum(row["clicks"] for row in found["items"]) == found["left_out"] == found["hits"] == 50


def test_the_api_tells_the_same_and_as_csv(api: Api, hit: Link) -> None:
    today = days.now().date()
    for path in ("/filtered", "/campaigns/spring-sale/filtered"):
        found = api("GET", f"{path}?from={today}&to={today}").json
        assert (found["from"], found["hits"], found["left_out"]) == (str(today), 6, 3)
        assert found["items"][0] == {
            "verdict": "bot",
            "label": found["items"][0]["label"],
            "counted": False,
            "impressions": 0,
            "clicks": 2,
            "share": 0.333333,
        }
        assert found["items"][-1]["counted"] is True
        rows = list(csv.DictReader(io.StringIO(api("GET", f"{path}.csv?from={today}&to={today}").text)))
        assert [row["label"] for row in rows] == [item["label"] for item in found["items"]]
    assert api("GET", "/filtered?from=x").status_code == 422
    assert api("GET", "/campaigns/nothing/filtered").status_code == 404


# Events


def seen(page: str) -> int:
    return page.count("<time")


def test_events_are_left_by_what_the_address_asks_for(
    owner: FlaskClient, client: FlaskClient, hit: Link, load: Load
) -> None:
    client.get("/teepot")
    load()
    asked = {
        "": 7,
        "?code=teapot": 6,
        "?code=teepot": 1,
        "?code=nobody": 0,
        "?verdict=bot": 3,
        "?verdict=unknown_code": 1,
        "?kind=impression": 2,
        "?verdict=bot&kind=impression": 0,
        "?label=no+such+label": 0,
        "?campaign=spring-sale": 6,
        "?verdict=&code=&kind=": 7,
    }
    assert {query: seen(owner.get(f"/app/events{query}").text) for query in asked} == asked


def test_a_filter_that_cannot_be_is_told_at_its_field_and_kept(owner: FlaskClient, hit: Link) -> None:
    for query, field in {"verdict=nice": "verdict", "kind=9": "kind", f"label={'x' * 201}": "label"}.items():
        response = owner.get(f"/app/events?{query}")
        assert response.status_code == 422
        assert f'id="{field}-error"' in response.text
    assert f'value="{"x" * 201}"' in response.text
    assert owner.get("/app/events?campaign=nothing").status_code == 422
    assert '<option value="bot" selected>' in owner.get("/app/events?verdict=bot").text


@pytest.mark.parametrize("field", ["code", "label", "campaign"])
@pytest.mark.parametrize("text", ["a%00b", "a%1Fb", "x" * 201])
def test_what_no_event_can_hold_is_refused_as_a_filter(owner: FlaskClient, api: Api, field: str, text: str) -> None:
    page = owner.get(f"/app/events?{field}={text}")
    assert page.status_code == 422
    assert f'id="{field}-error"' in page.text
    for path in ("/events", "/events.csv"):
        refused = api("GET", f"{path}?{field}={text}")
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json["errors"]] == [field]


def test_a_page_of_filtered_events_leads_to_the_next(
    owner: FlaskClient, store: EventStore, workspace: Workspace, make_link: MakeLink
) -> None:
    link = make_link(code="teapot")
    own = {"workspace_id": workspace.id, "campaign_id": link.campaign_id, "link_id": link.id}
    store.append(Batch("s", 0, 1, [BLANK._replace(nonce=n, **own) for n in range(70)]))
    first = owner.get("/app/events?code=teapot").text
    (older,) = re.findall(r'href="([^"]*)" rel="next"', html.unescape(first))
    assert (seen(first), seen(owner.get(older).text)) == (50, 20)
    assert "code=teapot" in older


def test_a_search_that_ended_early_says_so_and_goes_on(
    owner: FlaskClient,
    api: Api,
    store: EventStore,
    workspace: Workspace,
    make_link: MakeLink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(searching, "SEARCHED_AT_ONCE", 10)
    monkeypatch.setattr(searching, "SEARCHED_MAX", 20)
    own = {"workspace_id": workspace.id, "campaign_id": make_link().campaign_id}
    rows = [BLANK._replace(nonce=n, verdict=Verdict.BOT if n < 5 else Verdict.COUNTED, **own) for n in range(30)]
    store.append(Batch("s", 0, 1, rows))
    first = html.unescape(owner.get("/app/events?verdict=bot").text)
    assert "events that were looked at" in first
    (further,) = re.findall(r'href="([^"]*)" rel="next"', first)
    assert seen(owner.get(further).text) == 5
    page = api("GET", "/events?verdict=bot").json
    assert page["items"] == []
    assert len(api("GET", f"/events?verdict=bot&cursor={page['next_cursor']}").json["items"]) == 5


def test_an_event_tells_its_label_and_rule(
    owner: FlaskClient, api: Api, store: EventStore, workspace: Workspace
) -> None:
    row = BLANK._replace(workspace_id=workspace.id, visitor=7, verdict=Verdict.FLOOD, detail="<b>many</b>")
    store.append(Batch("s", 0, 1, [row._replace(rule="flood: more than 20 a minute", country="DE", channel="mail")]))
    page = owner.get("/app/events").text
    assert "&lt;b&gt;many" in page
    assert "<b>many" not in page
    assert "flood: more than 20 a minute" in page
    assert "DE, mail" in page
    (event,) = api("GET", "/events").json["items"]
    assert (event["label"], event["rule"]) == ("<b>many</b>", "flood: more than 20 a minute")
    assert (event["country"], event["channel"], event["reason"]) == ("DE", "mail", event["label"])


def test_the_api_leaves_events_by_query(api: Api, hit: Link) -> None:
    def found(query: str) -> int:
        return len(api("GET", f"/events?{query}").json["items"])

    assert [found(query) for query in ("verdict=bot", "kind=click", "code=teapot&verdict=counted", "code=x")] == [
        *(3, 4, 3, 0)
    ]
    assert found("since=2999-01-01T00:00:00Z") == 0
    assert found("since=1999-01-01T00:00:00%2B01:00") == 6
    for query in ("verdict=nice", "kind=", "since=yesterday", "cursor=x", f"cursor={2**70}-1", "colour=red"):
        assert api("GET", f"/events?{query}").status_code == 422, query
    assert api("GET", "/events?campaign=nothing").status_code == 404


def test_a_link_leads_to_its_own_hits(owner: FlaskClient, hit: Link) -> None:
    assert 'href="/app/events?code=teapot"' in owner.get("/app/links/teapot").text


# Unknown codes


def test_unknown_codes_come_by_frequency_each_with_a_link_to_be_made(
    owner: FlaskClient, client: FlaskClient, api: Api, make_link: MakeLink, load: Load
) -> None:
    for code in ("teepot", "teepot", "old", "api2"):
        client.get(f"/{code}")
    client.get("/i/%3Cscript%3E.gif")
    client.get("/i/App.gif")
    client.post("/c/w_nobody", data={"order": "1"})
    load()
    make_link(code="api2")
    page = owner.get("/app/orphans").text
    assert page.index(">teepot<") < page.index(">old<")
    assert re.findall(r'href="/app/links/new\?code=([^"]+)"', page) == ["teepot", "old"]
    assert "made since" in page
    assert "is reserved" in html.unescape(page)
    assert "<script>" not in page
    assert "w_nobody" not in page
    rows = api("GET", "/orphans").json["items"]
    assert rows[0] == {"code": "teepot", "hits": 2, "last_on": str(days.now().date()), "can_be_a_link": True}
    assert {row["code"]: row["can_be_a_link"] for row in rows}["<script>"] is False
    first = next(csv.DictReader(io.StringIO(api("GET", "/orphans.csv").text)))
    assert (first["code"], first["hits"]) == ("teepot", "2")


def test_the_link_to_be_made_has_its_code_already(owner: FlaskClient) -> None:
    page = owner.get("/app/links/new?code=teepot").text
    assert re.search(r'<input[^>]*name="code"[^>]*value="teepot"', page)
    assert re.search(r"<details open>\s*<summary>Short code", page)


def test_without_unknown_codes_the_page_says_what_it_is_for(owner: FlaskClient) -> None:
    assert "Nobody asked for a code that is not there" in owner.get("/app/orphans").text


def test_a_scan_of_random_codes_is_counted_and_fills_no_table(
    owner: FlaskClient, client: FlaskClient, api: Api, load: Load, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "CODES_A_DAY_MAX", 3)
    for code in ("a1", "a2", "a3", "a4", "a5", "a1"):
        client.get(f"/{code}")
    load()
    hits = {row["code"]: row["hits"] for row in api("GET", "/orphans").json["items"]}
    assert hits == {"a1": 2, "a2": 1, "a3": 1, codes.OTHERS: 2}
    assert "2 hits asked for one of very many other codes" in owner.get("/app/orphans").text
    for _ in range(2):
        client.get("/a5")
    load()
    hits = {row["code"]: row["hits"] for row in api("GET", "/orphans").json["items"]}
    assert (hits["a5"], hits[codes.OTHERS]) == (2, 2), "what comes again is no random code"
    assert [drift for day in store.whole_days() for drift in store.drifts(day)] == []
