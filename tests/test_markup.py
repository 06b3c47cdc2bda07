"""A page's HTML is read as browsers read it, as far as it matters, and within a limit of time."""

from __future__ import annotations

import itertools
import time

import pytest

from tracker.checking import markup

pytestmark = pytest.mark.any_database


def test_scripts_and_pictures_are_found_with_their_attributes() -> None:
    found = markup.read(
        b"<!doctype html><head><base href='/de/'><base href='/fr/'>"
        b"<SCRIPT SRC=https://go.example/t.js data-key=a data-key=b Defer></SCRIPT>"
        b"<script>if (a < b && c) { x('</p>') }</script></head>"
        b"<body><img src='/c/w.gif?a=1&amp;b=2' loading=LAZY><img/src=x>"
    )
    assert found.base == "/de/"
    assert [tag.get("src") for tag in found.scripts] == ["https://go.example/t.js", ""]
    assert (found.scripts[0].get("data-key"), found.scripts[0].attributes["defer"]) == ("a", "")
    assert found.scripts[1].text == "if (a < b && c) { x('</p>') }"
    assert [tag.get("src") for tag in found.images] == ["/c/w.gif?a=1&b=2", "x"]
    assert not found.is_cut


def test_what_does_not_run_where_scripts_do_is_marked() -> None:
    found = markup.read(
        b"<head><noscript><img src=1></head><body><img src=2><template><script src=3></script></template>"
        b"<noscript><img src=4></noscript><img src=5><!-- <img src=6> <script src=7></script> -->"
    )
    assert [(tag.get("src"), tag.where) for tag in found.images] == [
        ("1", "noscript"),
        ("2", ""),
        ("4", "noscript"),
        ("5", ""),
    ]
    assert [(tag.get("src"), tag.where) for tag in found.scripts] == [("3", "template")]
    assert "script src=7" in found.comments[0]


def test_a_slash_does_not_close_a_script() -> None:
    found = markup.read(b"<script src=a /><img src=b></script><img src=c>")
    assert [tag.get("src") for tag in found.images] == ["c"]


def test_an_address_with_bare_ampersands_is_read_as_browsers_do() -> None:
    found = markup.read(
        b"<img src='/c?cid=1&currency=EUR&copy=2&order=3&amp;lt=4&#38;a=5&lt;'>"
        b"<script>if(a&&b&copy&amp;c)x()</script><!--&copy-->"
    )
    assert found.images[0].get("src") == "/c?cid=1&currency=EUR&copy=2&order=3&lt=4&a=5<"
    assert found.scripts[0].text == "if(a&&b&copy&amp;c)x()"
    assert found.comments == ["&copy"]


def test_policies_and_refreshes_of_meta_are_found_in_order() -> None:
    found = markup.read(
        b"<script src=a></script><meta HTTP-EQUIV='content-security-policy' content=\"default-src 'self'\">"
        b"<script src=b></script><meta http-equiv=refresh content='0;url=/next'>"
        b"<meta http-equiv=content-security-policy-report-only content=x>"
    )
    (position, policy) = found.policies[0]
    assert policy == "default-src 'self'"
    assert found.scripts[0].position < position < found.scripts[1].position
    assert len(found.policies) == 1
    assert markup.refresh_url(found.refresh, "https://shop.example/a/b") == "https://shop.example/next"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("5; URL='b?c'", "https://shop.example/a/b?c"),
        ("0,https://x.example/", "https://x.example/"),
        ("300", None),
        ("", None),
        ("0;url=http://[", ""),
    ],
)
def test_a_refresh_leads_somewhere_or_only_reloads(text: str, url: str | None) -> None:
    assert markup.refresh_url(text, "https://shop.example/a/") == url


def test_other_encodings_are_read_as_far_as_it_matters() -> None:
    assert markup.read("<img src='ü'>".encode("utf-16")).images[0].get("src") == "ü"
    assert markup.read(b"<title>\xfc\xff</title><img src=a>").images[0].get("src") == "a"


def test_a_long_script_is_read_whole() -> None:
    found = markup.read(b"<script>" + b"x" * 1_000_000 + b"</script><img src=a>")
    assert len(found.scripts[0].text) == 1_000_000
    assert (len(found.images), found.is_cut) == (1, False)


@pytest.mark.parametrize(
    "piece",
    ["<", "<!--", "<a ", "</", "</a ", "<!", "<![CDATA[", "<?", "&", "&#", "<script>", "</s", "<img>", "<noscript>"],
)
@pytest.mark.parametrize("begun", ["", "<a x='", "<script>"])
def test_no_text_takes_the_parser_long(begun: str, piece: str) -> None:
    text = begun + piece * (2_000_000 // len(piece))
    began = time.process_time()
    markup.read(text.encode())
    assert time.process_time() - began < 5


def test_reading_ends_by_the_clock() -> None:
    ticking = itertools.count()
    found = markup.read(b"<img src=a>" * 100_000, clock=lambda: float(next(ticking)))
    assert found.is_cut
    assert found.images
