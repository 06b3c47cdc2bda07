"""The page checker names what is wrong with a page, and nothing that is not."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tracker.answers import Page
from tracker.checking import Kind, Site, check
from tracker.checking.findings import MEANINGS, Severity
from tracker.destinations import OwnDomain
from tracker.errors import Unfetchable
from tracker.fetching import Hop, Journey
from tracker.models import Workspace
from tracker.snippets import of_workspace

pytestmark = pytest.mark.any_database

KEY = "w_abcdefghijkl"
CID = "BaH_-JYUAAAAAWDnsUO_L6cF2UlZ"
WORKSPACE = Workspace(key=KEY, currency="EUR", name="Shop", timezone="UTC")
OURS = of_workspace(WORKSPACE, "https://go.example", "cid")
SITE = Site(WORKSPACE, OwnDomain(("https://go.example",)), CID)
PAGE = f"https://shop.example/landing?cid={CID}"
PIXEL = f"https://go.example/c/{KEY}.gif"
GOOD = f"{PIXEL}?cid={CID}&amp;order=1001&amp;value=49.90&amp;currency=EUR"
SCRIPT = OURS.script_html
CALL = '<script type="module">tracker.convert({order: "1001", value: "49.90", currency: "EUR"})</script>'
GTM = "<script>(function(w,d,s){j.src='https://www.googletagmanager.com/gtm.js?id='+i;})(window)</script>"


def img(url: str = GOOD, more: str = "") -> str:
    return f'<img src="{url}" width="1" height="1" alt="" {more}>'


def journey(html: str, url: str = PAGE, status: int = 200, is_cut: bool = False, **headers: str) -> Journey:
    given = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    page = Page(url, status, given, html.encode(), is_cut)
    return Journey((Hop(url, status),), url, page)


def names(kind: Kind, way: Journey, site: Site = SITE) -> set[str]:
    return {finding.name for finding in check(kind, way, site).findings}


def landing(html: str, **given: str) -> set[str]:
    return names(Kind.LANDING, journey(html, **given)) - {"click_id_kept"}


def thanks(html: str, **given: str) -> set[str]:
    return names(Kind.THANK_YOU, journey(html, url="https://shop.example/thanks"), Site(SITE.workspace, SITE.own)) - {
        "pixel_found"
    }


def test_a_page_as_the_install_page_says_is_well() -> None:
    assert names(Kind.LANDING, journey(f"<head>{SCRIPT}</head>")) == {"snippet_found", "click_id_kept"}
    found = check(Kind.THANK_YOU, journey(SCRIPT + CALL, url="https://shop.example/thanks"), SITE)
    assert {finding.name for finding in found.findings} == {"snippet_found", "pixel_found"}
    assert {finding.severity for finding in found.findings} == {Severity.OK}


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<p>Hello</p>", {"snippet_absent"}),
        ("<script src='/t.js'></script>", {"snippet_absent"}),
        (GTM, {"tag_manager"}),
        (
            '<noscript><iframe src="https://www.googletagmanager.com/ns.html?id=GTM-1"></iframe></noscript>',
            {"tag_manager"},
        ),
        ('<script async src="https://www.googletagmanager.com/gtag/js?id=G-1"></script>', {"snippet_absent"}),
        (f"<!-- {SCRIPT} -->", {"snippet_commented_out"}),
        (f"<noscript>{SCRIPT}</noscript>", {"snippet_inert"}),
        (f"<template>{SCRIPT}</template>", {"snippet_inert"}),
        (SCRIPT + SCRIPT, {"snippet_twice", "snippet_found"}),
        (SCRIPT + GTM, {"snippet_found"}),
        (SCRIPT.replace(KEY, "w_ABCDEFGHIJKL"), {"wrong_key", "snippet_found"}),
        (SCRIPT.replace(KEY, "YOUR_KEY"), {"wrong_key", "snippet_found"}),
        (SCRIPT.replace(f' data-key="{KEY}"', ""), {"wrong_key", "snippet_found"}),
        (SCRIPT.replace("go.example", "cdn.example"), {"wrong_host", "snippet_found"}),
        (SCRIPT.replace("https://go.example", "/assets/.."), {"site_host", "snippet_found"}),
        (SCRIPT.replace("https://go.example", ""), {"site_host", "snippet_found"}),
        ("<base href='https://go.example/x/'>" + SCRIPT.replace("https://go.example/", "../"), {"snippet_found"}),
        (SCRIPT.replace("https:", ""), {"snippet_found"}),
        (SCRIPT.replace("https:", "http:"), {"snippet_insecure", "snippet_found"}),
        (SCRIPT.replace("t.js", "t.1.js"), {"snippet_found"}),
        (f"<script src='https://go.example/t.1.js?key={KEY}' defer></script>", {"snippet_found"}),
        (SCRIPT.replace("<script", '<script type="text/plain"'), {"snippet_waits", "snippet_found"}),
        (SCRIPT + "<meta http-equiv=refresh content='3;url=/next'>", {"snippet_found", "page_moves_on"}),
        (SCRIPT + "<meta http-equiv=refresh content=300>", {"snippet_found"}),
        ("<meta name=robots content=noindex><meta name=referrer content=no-referrer>" + SCRIPT, {"snippet_found"}),
    ],
)
def test_a_landing_pages_script_is_judged(html: str, found: set[str]) -> None:
    assert landing(html) == found


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        ("default-src 'self' https://go.example", {"csp_open"}),
        ("script-src https:; connect-src https:; img-src 'self'", {"csp_open"}),
        ("default-src 'self'", {"csp_script"}),
        ("script-src 'nonce-abc' 'strict-dynamic' https:", {"csp_script"}),
        ("script-src https:; default-src 'self'", {"csp_report"}),
        ("script-src https:; connect-src 'self'; img-src *", {"csp_request"}),
        ("script-src https:; connect-src 'self'; img-src data:", {"csp_report"}),
        ("sandbox allow-forms", {"csp_script"}),
    ],
)
def test_a_policy_is_judged_in_header_and_meta_alike(policy: str, found: set[str]) -> None:
    found |= {"snippet_found"}
    assert landing(SCRIPT, content_security_policy=policy) == found
    inside = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    in_meta = {"snippet_found", "csp_open"} if policy.startswith("sandbox") else found
    assert landing(inside + SCRIPT) - {"csp_open"} == in_meta - {"csp_open"}


def test_a_policy_that_only_reports_blocks_nothing() -> None:
    assert landing(SCRIPT, content_security_policy_report_only="default-src 'none'") == {"snippet_found"}


def test_a_policy_in_meta_holds_for_what_stands_behind_it() -> None:
    policy = "<meta http-equiv=Content-Security-Policy content=\"script-src 'self'\">"
    assert "csp_script" in landing(policy + SCRIPT)
    assert "csp_script" not in landing(SCRIPT + policy)


def test_a_nonce_lets_the_script_and_the_call_in() -> None:
    policy = "script-src 'nonce-abc' 'strict-dynamic'"
    with_nonce = (SCRIPT + CALL).replace("<script", '<script nonce="abc"')
    assert thanks_under(policy, with_nonce) == {"snippet_found", "csp_open"}
    assert thanks_under(policy, SCRIPT.replace("<script", '<script nonce="abc"') + CALL) == {
        "snippet_found",
        "csp_open",
        "csp_inline",
    }


def thanks_under(policy: str, html: str) -> set[str]:
    way = journey(html, url="https://shop.example/thanks", content_security_policy=policy)
    return names(Kind.THANK_YOU, way) - {"pixel_found"}


def test_an_upgrade_makes_http_harmless() -> None:
    policy = "upgrade-insecure-requests"
    assert thanks_under(policy, img(GOOD.replace("https:", "http:"))) == set()
    assert "snippet_insecure" not in landing(SCRIPT.replace("https:", "http:"), content_security_policy=policy)


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<p>Thank you</p>", {"pixel_absent"}),
        (SCRIPT, {"pixel_absent"}),
        (GTM, {"tag_manager"}),
        (img(), set()),
        ("<img src='/c/logo.gif'>" + img(), set()),
        ("<img src='/c/logo.gif'>", {"pixel_absent"}),
        (CALL, {"snippet_absent"}),
        (SCRIPT + CALL, {"snippet_found"}),
        (
            SCRIPT + "<script>tracker.convert({order: '1', value: 5, currency: 'EUR'})</script>",
            {"snippet_found", "call_early"},
        ),
        (
            SCRIPT + "<script>addEventListener('load', () => tracker.convert({order, value, currency}))</script>",
            {"snippet_found"},
        ),
        (SCRIPT + '<script type="module">tracker.convert(sale); f({order: "ORDER"})</script>', {"snippet_found"}),
        (
            SCRIPT + '<script type="module">tracker.convert({order: `${id}`, value: v, currency})</script>',
            {"snippet_found"},
        ),
        (
            SCRIPT + '<script>tracker.push(["convert", {order: "7", value: "1.234,56", currency: "EUR"}])</script>',
            {"snippet_found", "value_invalid"},
        ),
        (
            SCRIPT.replace(" defer", ' data-order="{{ order }}" data-value="5" data-currency="EUR" defer'),
            {"snippet_found", "macro_left"},
        ),
        (img().replace(KEY, "w_ABCDEFGHIJKL"), {"wrong_key"}),
        (img().replace("go.example", "other.example"), {"wrong_host"}),
        (img().replace("https://go.example", ""), {"site_host"}),
        (img().replace("https:", "http:"), {"pixel_insecure"}),
        (img(more='loading="lazy"'), {"pixel_lazy"}),
        (img().replace("src=", "data-src="), {"pixel_lazy"}),
        (f"<noscript>{img()}</noscript>", {"pixel_noscript"}),
        (f"<template>{img()}</template>", {"pixel_inert"}),
        (f"<!-- {img()} -->", {"pixel_absent"}),
    ],
)
def test_a_thank_you_pages_reports_are_found(html: str, found: set[str]) -> None:
    assert thanks(html) == found


def test_a_policy_keeps_the_pixel_out() -> None:
    assert thanks_under("img-src 'self' data:", img()) == {"csp_pixel"}
    assert thanks_under("img-src 'self' *.example", img()) == set()


FILLED = {"cid": CID, "order": "1001", "value": "49.90", "currency": "EUR"}


def pixel(**changed: str | None) -> str:
    pairs = {name: value for name, value in (FILLED | changed).items() if value is not None}
    return img(PIXEL + "?" + "&amp;".join(f"{name}={value}" for name, value in pairs.items()))


@pytest.mark.parametrize(
    ("html", "found"),
    [
        (OURS.conversion_pixel_html, {"macro_left"}),
        (pixel(cid="{clickid}"), {"macro_left"}),
        (pixel(cid="%7Bclickid%7D"), {"macro_left"}),
        (pixel(cid="%257Bclickid%257D"), {"macro_left"}),
        (pixel(order="{{order}}"), {"macro_left"}),
        (pixel(order="{{ order.id | escape }}"), {"macro_left"}),
        (pixel(order="[order_id]"), {"macro_left"}),
        (pixel(order="${order.id}"), {"macro_left"}),
        (pixel(order="%%ORDER%%"), {"macro_left"}),
        (pixel(order="__ORDER_ID__"), {"macro_left"}),
        (pixel(order="{% order %}"), {"macro_left"}),
        (pixel(order="&lt;?= $order ?&gt;"), {"macro_left"}),
        (pixel(order="undefined"), {"macro_left"}),
        (pixel(order="A-1001 [2]"), set()),
        (pixel(order="%231001/ORDER"), set()),
        (pixel(value="1.234,56"), {"value_invalid"}),
        (pixel(value="1,234.56"), {"value_invalid"}),
        (pixel(value="49,90"), {"value_invalid"}),
        (pixel(value="€49.90"), {"value_invalid"}),
        (pixel(value="-5"), {"value_invalid"}),
        (pixel(value="49.999"), {"value_invalid"}),
        (pixel(value="infinity"), {"value_invalid"}),
        (pixel(value="NaN"), {"macro_left"}),
        (pixel(value="500.00", currency="JPY"), set()),
        (pixel(value="500.50", currency="JPY"), {"value_invalid"}),
        (pixel(value="1.250", currency="KWD"), set()),
        (pixel(currency="EURO"), {"currency_invalid"}),
        (pixel(currency="€"), {"currency_invalid"}),
        (pixel(currency="eur"), set()),
        (pixel(currency=None), {"currency_default"}),
        (pixel(value=None), {"value_absent"}),
        (pixel(value=""), {"value_absent"}),
        (pixel(order=None), {"order_absent"}),
        (pixel(cid=None), {"click_id_absent"}),
        (pixel(cid=""), set()),
        (pixel(cid="12345"), {"click_id_invalid"}),
        (pixel(cid=None, clickid=CID), set()),
        (pixel(order=None, transaction_id="7", value=None, amount="5"), set()),
        (pixel(status="paid"), {"parameter_invalid"}),
        (pixel(goal="a b"), {"parameter_invalid"}),
        (pixel(order="1" * 300), {"parameter_invalid"}),
        (pixel(customer="ada@example.org"), set()),
        (pixel().replace("&amp;", "&amp;amp;"), {"parameters_glued", "order_absent", "value_absent"}),
    ],
)
def test_a_pixels_parameters_are_judged_as_the_tracker_would(html: str, found: set[str]) -> None:
    assert thanks(html) == found


def way(*urls: str, html: str = SCRIPT) -> Journey:
    hops = [Hop(url, 302, following) for url, following in pairwise(urls)]
    return Journey((*hops, Hop(urls[-1], 200)), urls[-1], Page(urls[-1], 200, (), html.encode()))


def found_of(journey: Journey, site: Site = SITE) -> dict[str, str]:
    return {finding.name: finding.sentence for finding in check(Kind.LANDING, journey, site).findings}


def test_the_hop_that_loses_the_click_id_is_named() -> None:
    found = found_of(way(f"https://a.example/?cid={CID}", f"https://b.example/?cid={CID}", "https://c.example/"))
    assert "Hop 2, https://b.example/" in found["click_id_lost"]
    assert "https://c.example/" in found["click_id_lost"]
    assert "click_id_kept" not in found


def test_where_the_click_id_stood_is_told_of_each_hop() -> None:
    journey = way(
        f"https://a.example/{CID}",
        f"https://b.example/?x=1&click={CID}",
        f"https://c.example/#{CID}",
        "https://d.example/",
    )
    assert check(Kind.LANDING, journey, SITE).places == ("path", "query click", "fragment", "")


@pytest.mark.parametrize(
    ("url", "html", "name"),
    [
        (f"https://a.example/?cid={CID}", SCRIPT, "click_id_kept"),
        (f"https://a.example/?cid={CID}", "", "click_id_kept"),
        (f"https://a.example/?xid={CID}", SCRIPT, "click_id_name"),
        (f"https://a.example/?xid={CID}", SCRIPT.replace("defer", 'data-param="xid"'), "click_id_kept"),
        (f"https://a.example/?xid={CID}", SCRIPT.replace("t.js", "t.js?param=xid"), "click_id_kept"),
        (f"https://a.example/?cid={CID}", SCRIPT.replace("defer", 'data-param="xid"'), "click_id_name"),
        (f"https://a.example/{CID}/", SCRIPT, "click_id_name"),
        (f"https://a.example/#cid={CID}", SCRIPT, "click_id_fragment"),
    ],
)
def test_the_click_id_has_to_stand_where_the_script_looks(url: str, html: str, name: str) -> None:
    assert {"click_id_kept", "click_id_name", "click_id_fragment"} & found_of(way(url, html=html)).keys() == {name}


def test_a_link_without_click_id_is_told_of() -> None:
    off = Site(SITE.workspace, SITE.own, is_off=True)
    assert names(Kind.LANDING, way("https://a.example/"), off) == {"click_id_off", "snippet_found"}


def test_a_redirect_from_https_to_http_is_noted() -> None:
    assert "redirect_insecure" in found_of(way(f"https://a.example/?cid={CID}", f"http://a.example/?cid={CID}"))


def test_an_error_page_is_not_looked_into() -> None:
    assert names(Kind.LANDING, journey("<p>Forbidden</p>", status=403)) == {"page_status"}


def test_what_ended_the_way_is_a_finding_of_its_name() -> None:
    problem = Unfetchable("address_private", "That address is private.")
    ended = Journey((Hop(PAGE, 302, "http://10.0.0.1/"),), "http://10.0.0.1/", None, problem)
    assert names(Kind.LANDING, ended) == {"address_private", "click_id_lost", "redirect_insecure"}


def test_a_page_that_was_cut_says_so() -> None:
    assert names(Kind.LANDING, journey(SCRIPT, is_cut=True)) == {"snippet_found", "click_id_kept", "page_cut"}


def test_the_worst_stands_first() -> None:
    findings = check(Kind.LANDING, journey(SCRIPT.replace(KEY, "x") * 2), SITE).findings
    assert [finding.severity for finding in findings] == [
        Severity.ERROR,
        Severity.WARNING,
        Severity.OK,
        Severity.OK,
    ]


def test_each_finding_says_what_to_do_unless_all_is_well() -> None:
    for name, meaning in MEANINGS.items():
        assert re.fullmatch("[a-z_]{3,30}", name)
        assert bool(meaning.advice) != (meaning.severity == Severity.OK), name


def test_the_documentation_lists_every_finding_as_it_is() -> None:
    text = (Path(__file__).parent.parent / "docs" / "checking.md").read_text()
    listed = re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \| ([^|]+) \| ([^|]*) ?\|$", text, re.MULTILINE)
    told = [(name, severity, title, advice.strip()) for name, severity, title, advice in listed]
    assert told == [(name, str(m.severity), m.title, m.advice) for name, m in MEANINGS.items()]


def test_every_name_in_the_code_has_a_meaning_and_every_meaning_is_used() -> None:
    folder = Path(__file__).parent.parent / "tracker"
    files = [*folder.glob("checking/*.py"), *(folder / n for n in ("answers.py", "fetching.py", "web/checker.py"))]
    used = set()
    for file in files:
        if file.name != "findings.py":
            used |= set(re.findall(r'(?:Finding|Unfetchable)\(\s*"([a-z_]+)"', file.read_text()))
    computed = {"pixel_noscript", "pixel_inert", "value_invalid", "currency_invalid", "parameter_invalid"}
    assert used | computed == MEANINGS.keys()


def test_of_very_many_tags_the_first_are_looked_at() -> None:
    found = check(Kind.LANDING, journey(SCRIPT * 2000), SITE).findings
    (twice,) = (finding for finding in found if finding.name == "snippet_twice")
    assert "at least 20 times" in twice.sentence
    pixels = "".join(img(f"{PIXEL}?order={n}") for n in range(2000))
    found = check(Kind.THANK_YOU, journey(pixels, content_security_policy="img-src 'self'"), SITE).findings
    assert sum(finding.name == "csp_pixel" for finding in found) == 20
