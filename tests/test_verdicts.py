"""What counts: real requests of people, previews, mail providers and scanners, played over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.conftest import BROWSER, Api
from tests.crowd import CHROME, IPHONE, Crowd, words
from tracker import days
from tracker.config import Settings
from tracker.edge.spool import Spool
from tracker.events import Kind, Verdict
from tracker.models import Link, Workspace
from tracker.pipeline.loader import Loader
from tracker.pipeline.rules import ONE_ADDRESS
from tracker.stores import EventStore, StoredEvent

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Load = Callable[[], int]
Stored = Callable[[], list[StoredEvent]]

GMAIL_PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
GMAIL_PROXY = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
YAHOO_PROXY = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
IMESSAGE = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 "
    "Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0"
)
BLUESKY = (
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Bluesky Cardyb/1.1; +mailto:support@bsky.app) "
    "Chrome/141.0.0.0 Safari/537.36"
)
LINKEDIN = "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)"
FACEBOOK = "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)"


@pytest.fixture
def stored(load: Load, store: EventStore, workspace: Workspace) -> Stored:
    """Everything, in the order it came, once it is loaded."""

    def stored() -> list[StoredEvent]:
        load()
        return store.recent(workspace.id, before=None, limit=200)[::-1]

    return stored


@pytest.fixture(autouse=True)
def _sums_are_true(store: EventStore) -> Any:
    yield
    assert [drift for day in store.whole_days() for drift in store.drifts(day)] == []


def told(events: list[StoredEvent]) -> list[tuple[str, str | None, str | None]]:
    return [(Verdict(event.verdict).word, event.detail, event.rule) for event in events]


def test_the_link_checks_of_x_are_told_by_their_method(crowd: Crowd, make_link: MakeLink, stored: Stored) -> None:
    """One GET that names itself, then three HEADs from elsewhere under agents of browsers, and of nobody."""
    code = make_link().code
    crowd.get(f"/{code}", "Twitterbot/1.0")
    for number, agent in enumerate((IPHONE, CHROME, "")):
        crowd.get(f"/{code}", agent, f"198.51.100.{number}", method="HEAD")
    assert told(stored()) == [("bot", "X preview", "is-bot: “Twitterbot”"), *[("head", None, "method HEAD")] * 3]


@pytest.mark.parametrize(
    ("agent", "label"),
    [
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "Slack preview"),
        ("Slack-ImgProxy 1.138 (+https://api.slack.com/robots)", "Slack preview"),
        ("WhatsApp/2.23.20.0 A", "WhatsApp preview"),
        (FACEBOOK, "Facebook preview"),
        ("meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)", "Meta crawler"),
        (LINKEDIN, "LinkedIn preview"),
        ("Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)", "Discord preview"),
        ("TelegramBot (like TwitterBot)", "Telegram preview"),
        (IMESSAGE, "iMessage preview"),
        (BLUESKY, "Bluesky preview"),
        ("facebookexternalhit/1.1;line-poker/1.0", "LINE preview"),
        ("facebookexternalhit/1.1; kakaotalk-scrap/1.0; +https://devtalk.kakao.com/t/scrap/33984", "KakaoTalk preview"),
        ("Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5", "Skype preview"),
        ("Barracuda Sentinel (EE)", "Barracuda"),
        ("", "no user agent"),
        ("curl/8.5.0", "curl"),
        ("python-requests/2.32.5", "python-requests"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot"),
    ],
)
def test_previews_and_tools_are_named_as_people_know_them(
    crowd: Crowd, make_link: MakeLink, stored: Stored, agent: str, label: str
) -> None:
    link = make_link()
    crowd.get(f"/{link.code}", agent)
    crowd.get(f"/i/{link.code}.gif", agent)
    found = stored()
    assert [(word, detail) for word, detail, _ in told(found)] == [("bot", label)] * 2
    assert all(rule and rule.startswith(("is-bot: “", "no user agent")) for _, _, rule in told(found))


@pytest.mark.parametrize(
    ("agent", "provider"),
    [("Mozilla/5.0", "Apple Mail Privacy Protection"), (GMAIL_PREFETCH, "Gmail prefetch")],
)
def test_what_a_provider_fetches_at_delivery_is_nobodys_look(
    crowd: Crowd, make_link: MakeLink, stored: Stored, agent: str, provider: str
) -> None:
    crowd.get(f"/i/{make_link().code}.gif", agent)
    assert told(stored()) == [("machine_open", provider, f"fetched at delivery: {provider}")]


@pytest.mark.parametrize(("agent", "name"), [(GMAIL_PROXY, "GoogleImageProxy"), (YAHOO_PROXY, "YahooMailProxy")])
def test_many_people_behind_one_image_proxy_are_no_flood(
    crowd: Crowd, make_link: MakeLink, stored: Stored, agent: str, name: str
) -> None:
    code = make_link().code
    for _ in range(30):
        crowd.get(f"/i/{code}.gif", agent, "66.249.84.1")
        crowd.clock.forward(0.5)
    assert set(told(stored())) == {("counted", "via_proxy", f"image proxy: “{name}”")}


def test_a_mail_scanners_sweep_takes_back_what_it_did_before(
    crowd: Crowd, make_link: MakeLink, stored: Stored, store: EventStore, load: Load
) -> None:
    """It fetches the picture 9 s after sending, tries one link, and 33 s later follows all ten in under a second."""
    links = [make_link(content=str(number)) for number in range(10)]
    crowd.clock.forward(9)
    crowd.get(f"/i/{links[0].code}.gif", CHROME, "198.51.100.7")
    crowd.clock.forward(1)
    crowd.get(f"/{links[3].code}", CHROME, "198.51.100.7")
    crowd.get(f"/{links[3].code}", IPHONE, "203.0.113.5")
    assert words(stored()) == ["counted"] * 3
    crowd.clock.forward(32)
    for link in links:
        crowd.get(f"/{link.code}", CHROME, "198.51.100.7")
        crowd.clock.forward(0.09)
    found = stored()
    assert words(found) == ["scanner", "scanner", "counted"] + ["scanner"] * 10
    assert set(told(found)) == {("scanner", "sweep", "sweep: 3 links within 1 s"), ("counted", None, None)}
    cells = store.totals(links[0].campaign_id, 0, 1 << 30)
    counted = [cell for cell in cells if cell.verdict == Verdict.COUNTED and cell.n]
    assert [(cell.link_id, cell.kind, cell.n, cell.unique_n) for cell in counted] == [(links[3].id, Kind.CLICK, 1, 1)]
    crowd.clock.forward(300)
    crowd.get(f"/{links[5].code}", CHROME, "198.51.100.7")
    crowd.get(f"/i/{links[5].code}.gif", CHROME, "198.51.100.7")
    assert words(stored())[-2:] == ["scanner", "scanner"]
    crowd.clock.forward(1000)
    crowd.get(f"/{links[5].code}", CHROME, "198.51.100.7")
    assert words(stored())[-1] == "counted"


def test_whoever_opens_five_articles_in_tabs_is_a_reader(crowd: Crowd, make_link: MakeLink, stored: Stored) -> None:
    for number in range(6):
        crowd.get(f"/{make_link(content=str(number)).code}")
        crowd.clock.forward(2)
    assert words(stored()) == ["counted"] * 6


def test_prefetches_of_many_links_are_no_sweep(crowd: Crowd, make_link: MakeLink, stored: Stored) -> None:
    """A page may ask the browser to fetch all of its links ahead, and then somebody follows one."""
    links = [make_link(content=str(number)) for number in range(6)]
    for link in links:
        assert crowd.get(f"/{link.code}", Sec_Purpose="prefetch").status_code == 503
    crowd.get(f"/{links[2].code}", Sec_Purpose="prefetch;prerender")
    crowd.get(f"/{links[2].code}")
    found = stored()
    assert words(found) == ["prefetch"] * 7 + ["counted"]
    assert [event.rule for event in found[5:]] == ["purpose: prefetch", "purpose: prefetch, prerender", None]


def test_whoever_follows_the_honeypot_is_a_scanner_before_and_after(
    crowd: Crowd, make_link: MakeLink, stored: Stored
) -> None:
    link = make_link()
    crowd.get(f"/i/{link.code}.gif", CHROME, "198.51.100.7")
    crowd.get(f"/{link.code}", CHROME, "198.51.100.7")
    crowd.clock.forward(1)
    assert words(stored()) == ["counted", "counted"]
    crowd.get(f"/h/{link.code}", CHROME, "198.51.100.7")
    crowd.clock.forward(5)
    crowd.get(f"/{link.code}", CHROME, "198.51.100.7")
    crowd.get(f"/{link.code}", CHROME, "198.51.100.8")
    found = stored()
    assert told(found)[:4] == [("scanner", "honeypot", "honeypot")] * 4
    assert words(found)[4:] == ["counted"]


def test_a_double_click_counts_once(crowd: Crowd, make_link: MakeLink, stored: Stored) -> None:
    first, second = make_link(), make_link(content="b")
    crowd.get(f"/{first.code}")
    crowd.clock.forward(0.3)
    crowd.get(f"/{first.code}")
    crowd.get(f"/{second.code}")
    crowd.get(f"/{first.code}", address="192.0.2.2")
    crowd.clock.forward(1.5)
    crowd.get(f"/{first.code}")
    crowd.clock.forward(0.6)
    crowd.get(f"/{first.code}")
    double = ("double_click", None, "double click: within 2 s")
    counted = ("counted", None, None)
    assert sorted(told(stored()), key=str) == sorted([counted] * 4 + [double] * 2, key=str)


def test_who_asks_more_often_in_a_minute_than_a_person_does_is_a_flood(
    crowd: Crowd, make_link: MakeLink, stored: Stored
) -> None:
    code = make_link().code
    for _ in range(21):
        crowd.get(f"/{code}")
        crowd.clock.forward(2.5)
    crowd.get(f"/i/{code}.gif")
    found = stored()
    assert told(found[:20]) == [("counted", None, None)] * 20
    assert told(found[20:]) == [("flood", None, "flood: more than 20 a minute"), ("counted", None, None)]


def test_hits_that_do_not_count_make_a_flood_too(crowd: Crowd, make_link: MakeLink, stored: Stored) -> None:
    code = make_link().code
    for _ in range(20):
        crowd.get(f"/{code}", method="HEAD")
        crowd.clock.forward(0.1)
    crowd.get(f"/{code}")
    assert words(stored())[-1] == "flood"


def test_without_a_visitor_nothing_is_held_against_another_hit(
    crowd: Crowd, make_link: MakeLink, stored: Stored
) -> None:
    code = make_link().code
    for _ in range(25):
        crowd.get(f"/{code}", Sec_GPC="1")
    assert words(stored()) == ["counted"] * 25


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("nam01.safelinks.protection.outlook.com", "Safe Links"),
        ("urldefense.com", "Proofpoint URL Defense"),
        ("protect-eu.mimecast.com", "Mimecast URL Protect"),
    ],
)
def test_whoever_comes_over_a_mail_gateway_is_a_reader(
    crowd: Crowd, make_link: MakeLink, stored: Stored, host: str, name: str
) -> None:
    crowd.get(f"/{make_link().code}", Referer=f"https://{host}/?url=x")
    crowd.get(f"/{make_link().code}", address="192.0.2.2", Referer=f"https://{host}.example/")
    assert told(stored()) == [("counted", name, f"rewritten link: {name}"), ("counted", None, None)]


@pytest.mark.parametrize(
    ("entry", "address", "rule"),
    [
        ("192.0.2.0/24", "192.0.2.77", "192.0.2.0/24"),
        ("192.0.2.7", "192.0.2.7", ONE_ADDRESS),
        ("192.0.2.7", "::ffff:192.0.2.7", ONE_ADDRESS),
        ("2001:db8:5::/48", "2001:db8:5:9::1", "2001:db8:5::/48"),
    ],
)
def test_hits_from_an_excluded_range_are_internal(
    crowd: Crowd,
    make_link: MakeLink,
    stored: Stored,
    session: Session,
    workspace: Workspace,
    entry: str,
    address: str,
    rule: str,
) -> None:
    workspace.excluded_ranges = [entry, "10.0.0.0/8"]
    session.commit()
    link = make_link()
    for path in (f"/{link.code}", f"/i/{link.code}.gif", f"/h/{link.code}"):
        crowd.get(path, address=address)
    crowd.get(f"/{link.code}", address="198.51.100.1")
    found = stored()
    # An address is stored nowhere, also not as the entry that names it.
    why = rule if rule == ONE_ADDRESS else f"excluded range: {rule}"
    assert told(found) == [("internal", rule, why)] * 3 + [("counted", None, None)]


def test_a_list_is_in_force_with_the_next_batch(
    crowd: Crowd, make_link: MakeLink, stored: Stored, session: Session, workspace: Workspace
) -> None:
    code = make_link().code
    crowd.get(f"/{code}", CHROME + " AcmeApp/3")
    crowd.get(f"/{code}", "python-requests/2 acme-fetch/1", "192.0.2.2")
    assert words(stored()) == ["counted", "bot"]
    workspace.blocked_agents, workspace.allowed_agents = ["acme", "firefox"], ["ACME-Fetch", "Firefox/143"]
    session.commit()
    crowd.clock.forward(60)
    crowd.get(f"/{code}", CHROME + " AcmeApp/3")
    crowd.get(f"/{code}", "python-requests/2 acme-fetch/1", "192.0.2.2")
    crowd.get(f"/{code}", BROWSER, "192.0.2.3")
    assert told(stored())[2:] == [
        ("bot", "acme", "block list: “acme”"),
        ("counted", None, "allow list: “ACME-Fetch”"),
        ("counted", None, "allow list: “Firefox/143”"),
    ]


def test_the_limits_are_the_workspaces(
    crowd: Crowd, make_link: MakeLink, stored: Stored, session: Session, workspace: Workspace
) -> None:
    workspace.double_click_s, workspace.flood_per_min = 0, 3
    session.commit()
    code = make_link().code
    for _ in range(4):
        crowd.get(f"/{code}")
        crowd.clock.forward(0.1)
    assert words(stored()) == ["counted"] * 3 + ["flood"]


def test_what_two_workers_wrote_is_judged_in_the_order_of_time(
    crowd: Crowd, make_link: MakeLink, stored: Stored, app: Flask, settings: Settings
) -> None:
    """Each worker writes a segment of its own; this one writes two by turns."""
    code = make_link().code
    edge = app.extensions["tracker_edge"]
    spools = [edge.spool, Spool(settings.spool_dir, durable=False, segment_bytes=1 << 20, bytes_max=1 << 30)]
    for number in range(6):
        edge.spool = spools[number % 2]
        crowd.get(f"/{code}")
        crowd.clock.forward(1.5)
    edge.spool = spools[0]
    assert words(stored()) == ["counted", "double_click"] * 3
    spools[1].close()


def test_a_loader_that_starts_anew_goes_on_where_the_last_one_was(
    crowd: Crowd, make_link: MakeLink, stored: Stored, settings: Settings, engine: Engine, store: EventStore
) -> None:
    code = make_link().code
    for _ in range(20):
        crowd.get(f"/{code}")
        crowd.clock.forward(2.4)
    stored()
    crowd.get(f"/{code}")
    crowd.clock.forward(0.5)
    crowd.get(f"/i/{code}.gif")
    Loader(settings, engine, store).drain()
    assert words(stored()) == ["counted"] * 20 + ["flood", "counted"]
    crowd.clock.forward(30)
    crowd.get(f"/{code}", address="192.0.2.2")
    Loader(settings, engine, store).drain()
    crowd.clock.forward(1)
    crowd.get(f"/{code}", address="192.0.2.2")
    Loader(settings, engine, store).drain()
    assert words(stored())[-2:] == ["counted", "double_click"]


def test_a_crash_before_a_sweep_was_taken_back_is_made_good(
    crowd: Crowd,
    make_link: MakeLink,
    stored: Stored,
    settings: Settings,
    engine: Engine,
    store: EventStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links = [make_link(content=str(number)) for number in range(4)]
    loader = Loader(settings, engine, store)
    crowd.get(f"/i/{links[0].code}.gif")
    loader.drain()
    for link in links:
        crowd.get(f"/{link.code}")
        crowd.clock.forward(0.1)

    def fail(_revisions: object) -> int:
        raise OSError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(store, "revise", fail)
        with pytest.raises(OSError, match="killed"):
            loader.load_once()
    events = store.between((0, 0), (2**62, 0), 99)
    assert words(events) == ["counted", "counted", "counted", "scanner", "scanner"]
    Loader(settings, engine, store).drain()
    assert words(stored()) == ["scanner"] * 5


def test_a_batch_that_is_tried_again_is_judged_the_same(
    crowd: Crowd,
    make_link: MakeLink,
    settings: Settings,
    engine: Engine,
    store: EventStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = make_link().code
    loader = Loader(settings, engine, store)
    crowd.get(f"/{code}")
    loader.drain()
    crowd.clock.forward(1)
    for _ in range(21):
        crowd.get(f"/{code}")
        crowd.clock.forward(1.1)

    def fail(_batch: object) -> None:
        raise OSError("the database went away")

    for _ in range(3):
        with monkeypatch.context() as broken:
            broken.setattr(store, "append", fail)
            with pytest.raises(OSError, match="went away"):
                loader.load_once()
    loader.drain()
    events = store.between((0, 0), (2**62, 0), 99)
    assert words(events) == ["counted"] + ["double_click", "counted"] * 9 + ["double_click"] + ["flood"] * 2


def test_a_click_that_converted_is_not_taken_back_by_a_sweep(
    crowd: Crowd, make_link: MakeLink, stored: Stored, workspace: Workspace, api: Api
) -> None:
    links = [make_link(content=str(number)) for number in range(5)]
    cid = crowd.get(f"/{links[0].code}").headers["Location"].partition("cid=")[2].partition("#")[0]
    crowd.clock.forward(0.5)
    again = crowd.get(f"/{links[0].code}").headers["Location"].partition("cid=")[2].partition("#")[0]
    crowd.clock.forward(30)
    for order, which in enumerate((cid, again)):
        crowd.get(f"/c/{workspace.key}.gif?cid={which}&order={order}&value=5")
    assert words(stored()) == ["counted", "double_click", "counted", "counted"]
    for link in links[1:]:
        crowd.get(f"/{link.code}")
    crowd.get(f"/{links[0].code}")
    found = [event for event in stored() if event.kind == Kind.CLICK]
    # Both sales belong to the first of the pair, which stays; the second brought nothing and goes with the rest.
    assert words(found) == ["counted"] + ["scanner"] * 6


def test_a_flood_that_converts_counts(
    crowd: Crowd, make_link: MakeLink, stored: Stored, session: Session, workspace: Workspace
) -> None:
    workspace.flood_per_min = 1
    session.commit()
    code = make_link().code
    crowd.get(f"/{code}")
    crowd.clock.forward(5)
    cid = crowd.get(f"/{code}").headers["Location"].partition("cid=")[2].partition("#")[0]
    assert words(stored()) == ["counted", "flood"]
    crowd.get(f"/c/{workspace.key}.gif?cid={cid}&order=1&value=5")
    assert words(stored())[:2] == ["counted", "counted"]


def test_a_double_clicks_sale_is_the_first_clicks(
    crowd: Crowd, make_link: MakeLink, stored: Stored, workspace: Workspace, api: Api
) -> None:
    """Both clicks are of one visitor on one link, so the sale stands where the click that counts does."""
    link = make_link()
    crowd.get(f"/{link.code}")
    crowd.clock.forward(1)
    cid = crowd.get(f"/{link.code}").headers["Location"].partition("cid=")[2].partition("#")[0]
    crowd.get(f"/c/{workspace.key}.gif?cid={cid}&order=1&value=5")
    assert words(stored())[:2] == ["counted", "double_click"]
    day = days.from_ms(crowd.clock.now_ms).date()
    totals = api("GET", f"/campaigns/spring-sale/stats?from={day}&to={day}").json["totals"]
    assert (totals["clicks"], totals["conversions"], totals["conversion_rate"]["value"]) == (1, 1, 1)


def test_a_browser_that_opted_out_is_internal(crowd: Crowd, make_link: MakeLink, stored: Stored) -> None:
    link = make_link()
    assert crowd.get(f"/{link.code}", Cookie="a=1; tracker_optout=1").status_code == 302
    crowd.get(f"/i/{link.code}.gif", Cookie="tracker_optout=1")
    crowd.get(f"/{link.code}", Cookie="tracker_optout=10; not_tracker_optout=1", address="192.0.2.2")
    crowd.get(f"/{link.code}", Cookie="tracker_optout=1", method="HEAD")
    internal = ("internal", "this browser opted out", "opt-out cookie")
    assert told(stored()) == [internal, internal, ("counted", None, None), ("head", None, "method HEAD")]


def test_a_sale_of_an_opted_out_browser_is_a_sale(
    crowd: Crowd, make_link: MakeLink, stored: Stored, workspace: Workspace
) -> None:
    crowd.get(f"/c/{workspace.key}.gif?order=1&value=5", Cookie="tracker_optout=1")
    assert words(stored()) == ["counted"]
