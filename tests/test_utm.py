"""Tagging, held against examples and against an independent WHATWG URL parser."""

from __future__ import annotations

from urllib.parse import unquote_plus

import pytest
from ada_url import URL
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker import utm
from tracker.edge.linkcache import _ascii_url

pytestmark = pytest.mark.any_database

OWN = {"source": "news letter", "medium": "e&mail", "campaign": "ü"}
TAIL = "utm_source=news%20letter&utm_medium=e%26mail&utm_campaign=%C3%BC"


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("https://x.example", f"https://x.example?{TAIL}"),
        ("https://x.example/#top", f"https://x.example/?{TAIL}#top"),
        ("https://x.example/?", f"https://x.example/?{TAIL}"),
        ("https://x.example/?#", f"https://x.example/?{TAIL}#"),
        ("https://x.example/?a=1&a=2&&b=+&c&=d&", f"https://x.example/?a=1&a=2&&b=+&c&=d&&{TAIL}"),
        ("https://x.example/?a=%2f%2F?#?&#", f"https://x.example/?a=%2f%2F?&{TAIL}#?&#"),
        ("https://x.example/a?b?c=1", f"https://x.example/a?b?c=1&{TAIL}"),
        ("https://x.example/?utm_term=kept", f"https://x.example/?utm_term=kept&{TAIL}"),
        (
            "https://x.example/?utm_medium=old&z=1&utm%5fmedium=older",
            "https://x.example/?utm_medium=e%26mail&z=1&utm_source=news%20letter&utm_campaign=%C3%BC",
        ),
        ("https://x.example/?UTM_SOURCE=other", f"https://x.example/?UTM_SOURCE=other&{TAIL}"),
    ],
)
def test_own_values_replace_equal_names_and_nothing_else_changes(destination: str, expected: str) -> None:
    assert utm.tag(destination, OWN) == expected


def test_without_values_a_destination_stays_as_it_is() -> None:
    assert utm.tag("https://x.example/?utm_source=a&utm_source=b#", {"source": "", "term": None}) == (
        "https://x.example/?utm_source=a&utm_source=b#"
    )


def test_tagging_twice_is_tagging_once() -> None:
    once = utm.tag("https://x.example/?utm_source=a&q#f", OWN)
    assert utm.tag(once, OWN) == once


ODD = st.text(alphabet="abcABC019-._~!$'()*+,;=:@/?%&#[]^|`{}\"<>\\ üß語😀", max_size=40)


@settings(max_examples=600, deadline=None)
@given(path=ODD, values=st.tuples(ODD.filter(bool), ODD.filter(bool), ODD.filter(bool)))
def test_a_browser_reads_the_tagged_url_as_the_destination_plus_the_tags(
    path: str, values: tuple[str, str, str]
) -> None:
    destination = ("https://shop.example/" + path).rstrip()
    own = dict(zip(("source", "medium", "campaign"), values, strict=True))
    tagged = _ascii_url(utm.tag(destination, own))
    assert tagged.isascii()
    assert " " not in tagged
    before, after = URL(destination), URL(tagged)
    assert (after.protocol, after.host, after.pathname, after.hash) == (
        before.protocol,
        before.host,
        before.pathname,
        before.hash,
    )
    names = {f"utm_{field}" for field in own}
    pairs = after.search.removeprefix("?").split("&")
    found = {unquote_plus(name): unquote_plus(value) for name, _, value in (pair.partition("=") for pair in pairs)}
    assert {name: found[name] for name in names} == {f"utm_{field}": value for field, value in own.items()}
    assert sum(utm.name_of(pair) in names for pair in pairs) == 3
    others = [pair for pair in before.search.removeprefix("?").split("&") if utm.name_of(pair) not in names]
    kept = [pair for pair in pairs if utm.name_of(pair) not in names]
    assert kept == (others if before.search else [])
